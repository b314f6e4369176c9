package web

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"

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
	login.BadCredentials:     {http.StatusOK, "email", "credentials"},
	login.AccountRestricted:  {http.StatusForbidden, "", "paused"},
	login.AlreadyVerified:    {http.StatusSeeOther, "", "verified"},
	login.CodeMissing:        {http.StatusOK, "code", "code_missing"},
	login.BadCode:            {http.StatusOK, "code", "bad_code"},
	login.CodeDead:           {http.StatusOK, "code", "code_dead"},
	login.Expired:            {http.StatusSeeOther, "", "code_expired"},
	login.TooSoon:            {http.StatusOK, "", "too_soon"},
	login.Busy:               {http.StatusOK, "", "busy"},
	login.RegistrationClosed: {http.StatusOK, "", "registration_closed"},
	login.DomainNotAllowed:   {http.StatusOK, "email", "email_domain"},
	login.NameMissing:        {http.StatusOK, "name", "name_missing"},
	login.NameTooLong:        {http.StatusOK, "name", "name_too_long"},
	login.NameMalformed:      {http.StatusOK, "name", "name_malformed"},
	login.EmailMissing:       {http.StatusOK, "email", "email_missing"},
	login.EmailMalformed:     {http.StatusOK, "email", "email_malformed"},
	login.PasswordMissing:    {http.StatusOK, "password", "password_missing"},
	login.PasswordTooShort:   {http.StatusOK, "password", "password_too_short"},
	login.PasswordTooLong:    {http.StatusOK, "password", "password_too_long"},
	login.PasswordCommon:     {http.StatusOK, "password", "password_common"},
	login.PasswordPersonal:   {http.StatusOK, "password", "password_personal"},
}

// refused answers what the login engine refused at a page. Anything that is no
// refusal is returned: it is our fault.
func (s *Web) refused(v *visit, page string, err error) error {
	e, ok := errors.AsType[*login.Error](err)
	if !ok {
		return err
	}
	switch how := refusals[e.Reason]; how.status {
	case http.StatusOK:
		problems := make([]storage.Problem, len(e.Problems))
		for i, p := range e.Problems {
			how, ok := refusals[p.Reason]
			if !ok {
				return fmt.Errorf("web: no sentence for reason %q", p.Reason)
			}
			problems[i] = storage.Problem{Field: how.field, Message: how.sentence}
			switch {
			case page == "login" && how.field == "email":
				problems[i].Field = "identifier"
			case page == "register" && p.Reason == login.PasswordMissing:
				problems[i].Message = "new_password_missing"
			}
		}
		return s.retry(v, page, problems...)
	case http.StatusSeeOther:
		s.setStep(v, "")
		return s.move(v, "login", how.sentence)
	case 0:
		return fmt.Errorf("web: no page for reason %q", e.Reason)
	default:
		s.setStep(v, "")
		return s.move(v, how.sentence, "")
	}
}

// errorPage is the data of the page.
type errorPage struct {
	Lede        string
	Code        string
	Description string
	ClientID    string
	Reference   string
	At          string
	Action      *action
}

// An action is the one way on from an error.
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
		if e.flow.ID != "" {
			on, label = s.resumeAt(e.flow), "error.continue"
		}
	case "paused":
		on, label = at("/login", e.flow.ID), "error.to_back"
		s.log.InfoContext(r.Context(), "sign-in to an account that is paused", "reference", data.Reference)
	}
	data.Action = &action{on, s.frame.text.plain(label)}
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
// ready, that is what they read.
func (s *Web) fault(w http.ResponseWriter, r *http.Request, err error) {
	ref := reference()
	s.log.ErrorContext(r.Context(), "page failed", "path", r.URL.Path, "reference", ref, "err", err)
	s.faulty(w, r, ref)
}

func (s *Web) faulty(w http.ResponseWriter, r *http.Request, ref string) {
	status, page := http.StatusInternalServerError, "fault"
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), readyWithin)
	defer cancel()
	if s.ready(ctx) != nil {
		status, page = http.StatusServiceUnavailable, "down"
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
	page := "link"
	switch {
	case e.Code == provider.FlowExpired:
		s.stopped(w, r, &stop{status: http.StatusOK, page: "expired"})
		return
	case e.Status >= http.StatusInternalServerError:
		s.faulty(w, r, e.Reference)
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
	text := s.frame.text
	data.Lede = text.plain("error."+page+".lede", "brand", s.frame.brand, "reference", data.Reference)
	data.At = s.now().UTC().Format("2 Jan 2006 15:04:05 UTC")
	err := s.frame.Write(w, r, s.pages["error"], Page{
		Name: "error", BodyID: "error-page", Status: status, Title: text.plain("error." + page + ".title"), Data: data,
	})
	if err != nil {
		s.log.ErrorContext(r.Context(), "the error page failed", "reference", data.Reference, "err", err)
		plainText(w, http.StatusInternalServerError, "Something went wrong on our side.\n")
	}
}

// always is a page that says one thing.
func (s *Web) always(status int, page string) gin.HandlerFunc {
	return func(c *gin.Context) {
		s.stopped(c.Writer, c.Request, &stop{status: status, page: page})
		c.Writer.WriteHeaderNow()
	}
}

// maxURI is the longest request target, in bytes.
const maxURI = 8 << 10

// guard stands before everything.
func (s *Web) guard(c *gin.Context) {
	if s.frame.secure {
		c.Header("Strict-Transport-Security", "max-age=31536000")
	}
	if len(c.Request.RequestURI) > maxURI {
		s.always(http.StatusRequestURITooLong, "too_long")(c)
		c.Abort()
	}
}

// recovered turns a panic into a fault that is answered.
func (s *Web) recovered(answer func(http.ResponseWriter, *http.Request, error)) gin.HandlerFunc {
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
				answer(c.Writer, c.Request, err)
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
