package web

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/gatehouse-id/gatehouse/login"
	"github.com/gatehouse-id/gatehouse/provider"
	"github.com/gatehouse-id/gatehouse/storage"
)

// A refusal is what a reason of the login engine becomes.
type refusal struct {
	// status is that of the page the person sees next. 200 is the form itself,
	// which they correct; 303 is the sign-in page with a message; others are
	// pages of their own.
	status int
	// field is the id of the input on the registration page; at sign-in the
	// address is called "identifier". Empty concerns the page as a whole.
	field string
	// sentence is the key under "problem", "notice" (303) or "error".
	sentence string
}

// refusals has every reason of the login engine.
var refusals = map[login.Reason]refusal{
	login.BadCredentials:       {http.StatusOK, "email", "credentials"},
	login.AccountRestricted:    {http.StatusForbidden, "", "paused"},
	login.AlreadyVerified:      {http.StatusSeeOther, "", "verified"},
	login.CodeMissing:          {http.StatusOK, "code", "code_missing"},
	login.BadCode:              {http.StatusOK, "code", "bad_code"},
	login.CodeDead:             {http.StatusOK, "code", "code_dead"},
	login.CodeUsed:             {http.StatusOK, "code", "code_used"},
	login.Expired:              {http.StatusSeeOther, "", "code_expired"},
	login.TooSoon:              {http.StatusOK, "", "too_soon"},
	login.Busy:                 {http.StatusOK, "", "busy"},
	login.RateLimited:          {http.StatusTooManyRequests, "", "limited"},
	login.SecondFactorLocked:   {http.StatusTooManyRequests, "", "limited"},
	login.Reauthenticate:       {http.StatusSeeOther, "", "reauthenticate"},
	login.RegistrationClosed:   {http.StatusOK, "", "registration_closed"},
	login.DomainNotAllowed:     {http.StatusOK, "email", "email_domain"},
	login.NameMissing:          {http.StatusOK, "name", "name_missing"},
	login.NameTooLong:          {http.StatusOK, "name", "name_too_long"},
	login.NameMalformed:        {http.StatusOK, "name", "name_malformed"},
	login.EmailMissing:         {http.StatusOK, "email", "email_missing"},
	login.EmailMalformed:       {http.StatusOK, "email", "email_malformed"},
	login.PasswordMissing:      {http.StatusOK, "password", "password_missing"},
	login.PasswordTooShort:     {http.StatusOK, "password", "password_too_short"},
	login.PasswordTooLong:      {http.StatusOK, "password", "password_too_long"},
	login.PasswordCommon:       {http.StatusOK, "password", "password_common"},
	login.PasswordPersonal:     {http.StatusOK, "password", "password_personal"},
	login.PasswordTooManyBytes: {http.StatusOK, "password", "password_too_many_bytes"},
	login.PasswordReused:       {http.StatusOK, "password", "password_reused"},
	login.WrongPassword:        {http.StatusOK, "current_password", "password_wrong"},
	login.AlreadyOn:            {http.StatusOK, "", "two_step_on"},
	login.NotOn:                {http.StatusOK, "", "two_step_off"},
	login.NotFound:             {http.StatusNotFound, "", "not_found"},
}

// wordings is what pages say in their own way: the input that a problem of the
// table above stands at, and its sentence.
var wordings = map[string]struct{ field, sentence map[string]string }{
	"login":            {field: map[string]string{"email": "identifier"}},
	"reset":            {field: map[string]string{"email": "identifier"}},
	"register":         {sentence: map[string]string{"password_missing": "new_password_missing"}},
	"reset-password":   {sentence: map[string]string{"password_missing": "new_password_missing"}},
	"account-password": {sentence: map[string]string{"password_missing": "new_password_missing"}},
	"account-confirm": {
		field:    map[string]string{"email": "password"},
		sentence: map[string]string{"credentials": "password_incorrect"},
	},
	"code":         {sentence: map[string]string{"code_missing": "totp_missing", "bad_code": "totp_wrong"}},
	"two-step-app": {sentence: map[string]string{"code_missing": "totp_missing", "bad_code": "enrol_wrong"}},
	"two-step-off": {sentence: map[string]string{"code_missing": "off_missing", "bad_code": "off_wrong"}},
	"recovery": {
		field:    map[string]string{"code": "recovery_code"},
		sentence: map[string]string{"code_missing": "recovery_missing", "bad_code": "recovery_wrong"},
	},
}

// refused answers what the login engine refused at a page. Anything that is no
// refusal is returned: it is our fault.
func (s *Web) refused(v *visit, page string, err error) error {
	e, ok := errors.AsType[*login.Error](err)
	if !ok {
		return err
	}
	how, ok := refusals[e.Reason]
	if !ok {
		return fmt.Errorf("web: no page for reason %q", e.Reason)
	}
	switch how.status {
	case http.StatusOK:
		problems := make([]storage.Problem, len(e.Problems))
		for i, p := range e.Problems {
			how, ok := refusals[p.Reason]
			if !ok {
				return fmt.Errorf("web: no sentence for reason %q", p.Reason)
			}
			if p.Field == login.FieldCurrent && p.Reason == login.PasswordMissing { // at the other password of the page
				problems[i] = storage.Problem{Field: login.FieldCurrent, Message: "current_password_missing"}
				continue
			}
			problems[i] = storage.Problem{Field: how.field, Message: how.sentence}
			if p.Reason == login.DomainNotAllowed && s.frame.domain != "" {
				problems[i].Message = "email_domain_one"
			}
			if own, ok := wordings[page].field[how.field]; ok {
				problems[i].Field = own
			}
			if own, ok := wordings[page].sentence[how.sentence]; ok {
				problems[i].Message = own
			}
		}
		return s.retry(v, page, problems...)
	case http.StatusSeeOther:
		if e.Reason == login.Reauthenticate {
			return s.again(v, page)
		}
		s.endStep(v)
		if e.Reason == login.Expired {
			return s.lapsed(v, page)
		}
		return s.move(v, "login", how.sentence)
	case http.StatusForbidden:
		s.endStep(v)
		return s.move(v, how.sentence, "")
	case http.StatusTooManyRequests:
		return s.limit(v, page, e)
	default:
		return &stop{status: how.status, page: how.sentence}
	}
}

// lapsed leads on from a step that has ended before it was done: to where the
// next code is to be had, or to the page itself, which has no step any more and
// says so.
func (s *Web) lapsed(v *visit, page string) error {
	switch page {
	case "verify":
		return s.move(v, "login", "code_expired")
	case "reset-verify":
		return s.move(v, "reset", "reset_expired")
	default:
		return s.move(v, page, "")
	}
}

// limit keeps the end of a wait and what it is about, and leads to the page
// that tells. A second factor that may not be tried is of no use after the wait
// either: the password comes first again.
func (s *Web) limit(v *visit, page string, e *login.Error) error {
	about := "login"
	switch page {
	case "register", "reset":
		return s.enoughMail(v, page, e)
	case "code", "recovery":
		about = "codes"
		s.endStep(v)
	case "verify", "reset-verify", "two-step-app", "two-step-off":
		about = "codes"
	case "two-step", "recovery-codes-new": // nobody guesses there: the page itself can tell
		return s.leave(v, page, "", s.until(e), storage.Problem{Message: "too_often"})
	case "reset-password":
		about = "requests"
	case "account-password":
		about = "password"
	}
	if e.RetryAfter <= 0 {
		about = "locked"
	}
	return s.leave(v, "limited", about, s.until(e))
}

// enoughMail keeps somebody at the page who has asked for too many letters: the
// code they have is still good.
func (s *Web) enoughMail(v *visit, page string, e *login.Error) error {
	message := "resend_limit"
	switch {
	case e.RetryAfter <= time.Minute:
		message = "resend_wait"
	case s.frame.links.Help != "":
		message = "resend_limit_help"
	}
	return s.leave(v, page, "", s.until(e), storage.Problem{Message: message})
}

// retryAfter says in a header how long a wait is.
func retryAfter(h http.Header, wait time.Duration) {
	h.Set("Retry-After", strconv.Itoa(int((wait+time.Second-1)/time.Second)))
}

// until is when a refusal ends.
func (s *Web) until(e *login.Error) time.Time { return s.now().UTC().Add(e.RetryAfter) }

// showLimited tells until when somebody has to wait. The time was set when they
// were refused; looking at the page does not move it.
func (s *Web) showLimited(v *visit) error {
	if err := s.resume(v, v.query.Get("flow")); err != nil {
		return err
	}
	if v.flow.Page != "limited" || !v.flow.Until.After(s.now()) && v.flow.Notice != "locked" {
		s.redirect(v, at("/login", v.flow.ID))
		return nil
	}
	s.tellLimit(v)
	return nil
}

// tellLimit writes the page of a wait that is not over.
func (s *Web) tellLimit(v *visit) {
	wait := v.flow.Until.Sub(s.now())
	text, about := s.frame.text, v.flow.Notice
	data := errorPage{
		Code: "limited", Reference: reference(), Title: text.plain("error.limited.title", "wait", s.words(wait)),
		Heading: text.plain("error.limited.heading"), Note: text.plain("error.limited.note"),
		Lede:   text.html("error.limited."+about, "time", text.utc(v.flow.Until), "0", clock(v.flow.Until), "wait", s.words(wait)),
		Action: &action{at("/reset", v.flow.ID), text.plain("error.to_reset")},
		Also:   &action{at("/login", v.flow.ID), text.plain("error.to_back")},
	}
	if v.flow.UserID != "" { // somebody who is signed in, at a page of theirs
		data.Also = &action{"/account", text.plain("error.to_account")}
	}
	if about == "password" {
		data.Note = text.plain("error.limited.note_password")
	}
	if about == "locked" {
		data.Title = data.Heading
	}
	if about != "locked" {
		retryAfter(v.w.Header(), wait)
	}
	s.log.InfoContext(v.r.Context(), "too many attempts", "about", about, "reference", data.Reference)
	s.writeError(v.w, v.r, http.StatusTooManyRequests, "limited", data)
}

// words is how long a wait is, rounded up.
func (s *Web) words(wait time.Duration) string {
	return s.frame.text.Minutes(wait)
}

// errorPage is the data of the page.
type errorPage struct {
	// Title, Heading and Lede are by the page's name when they are empty; the
	// heading is the title.
	Title   string
	Heading string
	Lede    template.HTML
	// Note is one thing more to know, or empty.
	Note        string
	Code        string
	Description string
	ClientID    string
	Reference   string
	At          string
	Action      *action
	// Also is another way on, or nil.
	Also *action
}

// An action is a way on from an error.
type action struct{ Href, Label string }

// reference is what a person can quote and we can find in the log.
func reference() string {
	t := rand.Text()
	return t[:4] + "-" + t[4:8]
}

// fail ends a request that met err.
func (s *Web) fail(w http.ResponseWriter, r *http.Request, err error) {
	if e, ok := errors.AsType[*stop](err); ok {
		s.stopped(w, r, e)
		return
	}
	s.fault(w, r, err)
}

// stopped shows the page of a stop.
func (s *Web) stopped(w http.ResponseWriter, r *http.Request, e *stop) {
	data := errorPage{Code: e.page, Reference: reference()}
	on, label := "/account", "error.to_account"
	switch e.page {
	case "expired":
		on, label = "/login", "error.to_login"
		switch {
		case e.on != "":
			on, label = e.on, "error.continue"
		case e.flow.Page == "reset-verify" || e.flow.Page == "reset-password":
			on, label = at("/reset", e.flow.ID), "error.restart_reset"
		case e.flow.ID != "":
			on, label = s.resumeAt(e.flow), "error.continue"
		}
	case "cookies":
		on, label = e.on, "error.again"
	case "answered":
		if home := linksOf(e.client).Home; home != "" {
			on, label = home, "error.to_app"
		}
		data.Lede = s.frame.text.html("error.answered.lede", "app", bdi(e.client.Name))
	case "paused":
		on, label = at("/login", e.flow.ID), "error.to_back"
		s.log.InfoContext(r.Context(), "sign-in to an account that is paused", "reference", data.Reference)
	}
	if e.lede != "" {
		data.Lede = s.frame.text.html(e.lede)
	}
	data.Action = &action{on, s.frame.text.plain(label, "app", e.client.Name)}
	s.writeError(w, r, e.status, e.page, data)
}

// resumeAt is where a flow goes on.
func (s *Web) resumeAt(flow storage.Interaction) string {
	if flow.Request != nil {
		return at("/authorize", flow.ID)
	}
	return at("/login", flow.ID)
}

// fault answers for something that is our fault: it is logged here, once, with
// its chain, and the person gets a reference to it. When the server is not
// ready, or what it waited for did not come, that is what they read.
func (s *Web) fault(w http.ResponseWriter, r *http.Request, err error) {
	ref := reference()
	s.log.ErrorContext(r.Context(), "page failed", "path", r.URL.Path, "reference", ref, "err", err)
	var e interface{ Timeout() bool }
	s.faulty(w, r, ref, errors.As(err, &e) && e.Timeout())
}

// faulty is fault for what is logged already; late says that something was waited
// for and did not come.
func (s *Web) faulty(w http.ResponseWriter, r *http.Request, ref string, late bool) {
	status := http.StatusInternalServerError
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), readyWithin)
	defer cancel()
	if late || s.ready(ctx) != nil {
		status = http.StatusServiceUnavailable
	}
	s.broken(w, r, status, ref)
}

// broken is the page of what is our fault.
func (s *Web) broken(w http.ResponseWriter, r *http.Request, status int, ref string) {
	page := "fault"
	if status == http.StatusServiceUnavailable {
		page = "down"
		w.Header().Set("Retry-After", "5")
	}
	data := errorPage{Code: page, Reference: ref}
	if r.Method == http.MethodGet { // a link to what was asked for, on this host
		data.Action = &action{r.URL.RequestURI(), s.frame.text.plain("error.again")}
	}
	s.writeError(w, r, status, page, data)
}

// ErrorPage shows an error of the authorization endpoint where redirecting back
// to the app would be unsafe (RFC 6749 section 4.1.2.1).
func (s *Web) ErrorPage(w http.ResponseWriter, r *http.Request, e *provider.Error) {
	s = s.to(r)
	page := "link"
	switch {
	case e.Code == provider.FlowExpired:
		over := &stop{status: http.StatusOK, page: "expired"}
		s.fail(w, r, s.orAnswered(r, over))
		return
	case e.Status >= http.StatusInternalServerError:
		s.faulty(w, r, e.Reference, e.Status == http.StatusServiceUnavailable)
		return
	case e.Status == http.StatusRequestURITooLong:
		page = "too_long"
	case e.Status == http.StatusRequestEntityTooLarge:
		page = "too_large"
	case e.Code == "invalid_client":
		page = "unknown_app"
	case e.ClientID != "":
		page = "app"
	}
	s.writeError(w, r, e.Status, page, errorPage{
		Code: e.Code, Description: e.Description, ClientID: e.ClientID, Reference: e.Reference,
		Action: &action{"/account", s.frame.text.plain("error.to_account")},
	})
}

// writeError needs nothing but what is in memory.
func (s *Web) writeError(w http.ResponseWriter, r *http.Request, status int, page string, data errorPage) {
	s.errorPages.Add(r.Context(), 1, page)
	text := s.frame.text
	if data.Lede == "" {
		data.Lede = text.html("error."+page+".lede", "brand", s.frame.brand, "reference", data.Reference)
	}
	if data.Title == "" {
		data.Title = text.plain("error." + page + ".title")
	}
	if data.Heading == "" {
		data.Heading = data.Title
	}
	data.At = s.now().UTC().Format("2 Jan 2006 15:04:05 UTC")
	err := s.write(w, r, "error", Page{
		Name: "error", BodyID: "error-page", Status: status, Title: data.Title, Data: data,
	})
	if err != nil {
		s.log.ErrorContext(r.Context(), "the error page failed", "reference", data.Reference, "err", err)
		plainText(w, http.StatusInternalServerError, "Something went wrong on our side.\n")
	}
}

// always is a page that says one thing.
func (s *Web) always(status int, page string) gin.HandlerFunc {
	return func(c *gin.Context) {
		s.to(c.Request).stopped(c.Writer, c.Request, &stop{status: status, page: page})
		c.Writer.WriteHeaderNow()
	}
}

// maxURI is the longest request target, in bytes.
const maxURI = 8 << 10

// guard stands before everything.
func (s *Web) guard(c *gin.Context) {
	s.frame.everywhere(c.Writer.Header())
	if len(c.Request.RequestURI) > maxURI {
		s.always(http.StatusRequestURITooLong, "too_long")(c)
		c.Abort()
	}
}

// recovered turns a panic into a fault that is answered.
func (s *Web) recovered(answer func(*Web, http.ResponseWriter, *http.Request, error)) gin.HandlerFunc {
	return func(c *gin.Context) {
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(p) // the server's own way to hang up
			}
			err := fmt.Errorf("panic: %v\n%s", p, debug.Stack())
			if c.Writer.Written() {
				s.log.ErrorContext(c.Request.Context(), "panic after the answer began", "path", c.Request.URL.Path, "err", err)
			} else {
				answer(s.to(c.Request), c.Writer, c.Request, err)
			}
			c.Abort()
		}()
		c.Next()
	}
}

// faultJSON is fault for the endpoints of apps (RFC 6749 section 5.2).
func (s *Web) faultJSON(w http.ResponseWriter, r *http.Request, err error) {
	ref := reference()
	s.log.ErrorContext(r.Context(), "endpoint failed", "path", r.URL.Path, "reference", ref, "err", err)
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusInternalServerError)
	_, _ = fmt.Fprintf(w, `{"error":"server_error","error_description":"The server met an unexpected condition. Reference: %s."}`, ref)
}
