//go:build !slim

package main

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/valkey-io/valkey-go"

	"github.com/gatehouse-id/gatehouse/storage"
)

// bye is where the app wants people back after they signed out. The browser
// takes it for the app, because it begins as the callback does.
const bye = callback + "/bye"

// A backchannel is the server of an app that is told of logouts.
type backchannel struct {
	*httptest.Server
	mu     sync.Mutex
	tokens []string
	// answer is what it does with a request; nil takes it.
	answer func(http.ResponseWriter, *http.Request)
}

func newBackchannel(t *testing.T) *backchannel {
	t.Helper()
	r := &backchannel{}
	r.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		token := req.PostFormValue("logout_token")
		r.mu.Lock()
		r.tokens = append(r.tokens, token)
		answer := r.answer
		r.mu.Unlock()
		if answer != nil {
			answer(w, req)
		}
	}))
	r.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0) // servers that are killed
	r.StartTLS()
	t.Cleanup(r.Close)
	return r
}

func (r *backchannel) does(answer func(http.ResponseWriter, *http.Request)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

func (r *backchannel) told() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.tokens...)
}

func (r *backchannel) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.Certificate().Raw}))
}

// mayReach lets the cluster ask the servers.
func (c *cluster) mayReach(parties ...*backchannel) {
	var hosts []string
	var roots strings.Builder
	for _, r := range parties {
		hosts = append(hosts, r.Listener.Addr().String())
		roots.WriteString(r.pem())
	}
	c.env = append(c.env, "GATEHOUSE_EGRESS_ALLOW="+strings.Join(hosts, ","), "GATEHOUSE_EGRESS_CA="+roots.String())
}

// leaver registers an app that signs people out, and is told of it at r.
func (c *cluster) leaver(t *testing.T, id string, r *backchannel) {
	t.Helper()
	c.client(t, id)
	sql := c.open(t)
	app, err := sql.Client(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	app.Metadata.PostLogoutRedirectURIs = []string{bye}
	app.Metadata.BackchannelLogoutURI = r.URL + "/backchannel_logout"
	app.Metadata.BackchannelSessionRequired = true
	if err := sql.UpdateClient(t.Context(), app); err != nil {
		t.Fatal(err)
	}
}

// hint signs the person at the browser in to the app and returns the ID token.
func (c *cluster) hint(t *testing.T, b *browser, client string) string {
	t.Helper()
	resp, err := c.http.PostForm(c.at(0)+"/token", url.Values{
		"grant_type": {"authorization_code"}, "client_id": {client}, "code": {c.code(t, b, 0, client)},
		"redirect_uri": {callback}, "code_verifier": {verifier},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var tokens struct {
		IDToken string `json:"id_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&tokens); err != nil || tokens.IDToken == "" {
		t.Fatalf("no ID token: %s (%v)", resp.Status, err)
	}
	return tokens.IDToken
}

// claimsOf reads a token without checking it.
func claimsOf(t *testing.T, token string) map[string]any {
	t.Helper()
	var claims map[string]any
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is no JWS", token)
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(raw, &claims)
	}
	if err != nil {
		t.Fatal(err)
	}
	return claims
}

// A notice ends a session of the client made for it, with the grant that makes
// the client one to be told, at that time.
func endSessionAt(t *testing.T, sql storage.SQL, user storage.User, client string, at time.Time) (id string) {
	t.Helper()
	sid := uuid.Must(uuid.NewV7()).String()
	ctx := t.Context()
	err := sql.CreateSession(ctx, storage.Session{
		ID: sid, SecretHash: []byte(sid), UserID: user.ID, UserEpoch: user.Epoch, AuthTime: at, AMR: []string{"pwd"},
		CreatedAt: at, ExpiresAt: at.Add(12 * time.Hour), EndsAt: at.Add(12 * time.Hour),
	}, "")
	if err == nil {
		err = sql.CreateGrant(ctx, storage.Grant{
			ID: uuid.Must(uuid.NewV7()).String(), ClientID: client, UserID: user.ID, UserEpoch: user.Epoch, SessionID: sid,
			Scopes: []string{"openid"}, AuthTime: at, Generation: 1, CreatedAt: at, ExpiresAt: at.Add(12 * time.Hour), EndsAt: at.Add(12 * time.Hour),
		})
	}
	if err == nil {
		err = sql.EndSession(ctx, sid, at)
	}
	if err != nil {
		t.Fatal(err)
	}
	return sid + "." + client
}

// shown is what an operator sees of the client's notices.
func (c *cluster) shown(t *testing.T, client string) map[string]noticeRecord {
	t.Helper()
	var r clientRecord
	if err := json.Unmarshal(c.command(t, "client", "show", client, "--json"), &r); err != nil {
		t.Fatal(err)
	}
	by := map[string]noticeRecord{}
	for _, n := range r.Notices {
		by[n.SessionID+"."+client] = n
	}
	return by
}

// noticeEvents counts the audit events of a client's notices by outcome, when
// there are as many as notices have ended: an event follows its notice.
func noticeEvents(t *testing.T, sql storage.SQL, client string, ended int) (n map[string]int) {
	t.Helper()
	await(t, "the events are kept", func() bool {
		events, err := sql.ListEvents(t.Context(), "", 500)
		if err != nil {
			t.Fatal(err)
		}
		n = map[string]int{}
		all := 0
		for _, e := range events {
			if e.Kind == "logout.notice" && e.ClientID == client {
				n[e.Outcome]++
				all++
			}
		}
		return all >= ended
	})
	return n
}

// TestBackchannel is what happens when an app's server does not do what it
// should.
func TestBackchannel(t *testing.T) {
	t.Parallel()
	good, dead, late, broken, leaving := newBackchannel(t), newBackchannel(t), newBackchannel(t), newBackchannel(t), newBackchannel(t)
	gone := make(chan struct{})
	t.Cleanup(func() { close(gone) }) // before the server closes, which waits
	dead.does(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-gone:
		case <-r.Context().Done():
		}
	})
	c := embedded(t)
	c.mayReach(good, dead, late, broken, leaving)
	for id, app := range map[string]*backchannel{"good": good, "dead": dead, "late": late, "broken": broken, "leaving": leaving} {
		c.leaver(t, id, app)
	}
	c.start(t)
	sql := c.open(t)
	b := c.signIn(t, "ada@example.org")
	user, _, err := sql.UserByEmail(t.Context(), "ada@example.org")
	if err != nil {
		t.Fatal(err)
	}
	now := func() time.Time {
		at, err := sql.Time(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	became := func(id string) noticeRecord {
		n, err := sql.Notice(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return recordOfNotice(n)
	}
	// What takes pauses begins first.
	var tries atomic.Int32
	late.does(func(w http.ResponseWriter, _ *http.Request) {
		if tries.Add(1) < 3 {
			http.Error(w, "not now", http.StatusInternalServerError)
		}
	})
	lateID := endSessionAt(t, sql, user, "late", now())
	broken.does(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "canary", http.StatusBadGateway) })
	brokenID := endSessionAt(t, sql, user, "broken", now().Add(-storage.NoticeDeadline+4*time.Second))

	t.Run("sec-G4 one dead app delays neither the person nor the others", func(t *testing.T) {
		for range 100 { // three times as many as are told at a time
			endSessionAt(t, sql, user, "dead", now())
		}
		await(t, "the dead app is tried", func() bool { return len(dead.told()) > 0 })
		hint := c.hint(t, b, "good")
		c.hint(t, b, "dead")
		// The good app answers when the person is back.
		back := make(chan struct{})
		var waited atomic.Bool
		good.does(func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-back:
			case <-r.Context().Done():
				waited.Store(true)
			}
		})
		before, start := len(good.told()), time.Now()
		b.app = nil
		b.open(c.at(0) + "/logout?" + url.Values{"id_token_hint": {hint}, "post_logout_redirect_uri": {bye}}.Encode())
		t.Logf("the person was sent back after %v", time.Since(start).Round(time.Millisecond))
		close(back)
		if b.app == nil || waited.Load() {
			t.Errorf("the person was sent to %v, having waited for the app: %v", b.app, waited.Load())
		}
		await(t, "the good app is told", func() bool { return len(good.told()) > before })
		tries := len(dead.told())
		t.Logf("the good app was told after %v, with 101 notices waiting for the dead one, which was asked %d times",
			time.Since(start).Round(time.Millisecond), tries)
		// Some were before anything was known of it. Pauses double, so that few more
		// come however long a busy machine takes.
		if tries > 3*laneWidth {
			t.Errorf("the good app was told when the dead one had been asked %d times", tries)
		}
		sid, _ := claimsOf(t, hint)["sid"].(string)
		await(t, "it is kept that it was", func() bool { return became(sid+".good").Status == "delivered" })
		if s := c.shown(t, "good")[sid+".good"]; s.Status != "delivered" {
			t.Errorf("of the good app an operator sees %+v", s)
		}
		if s := c.shown(t, "dead")[sid+".dead"]; s.Status != "waiting" {
			t.Errorf("of the dead app an operator sees %+v", s)
		}
		if n := noticeEvents(t, sql, "good", 1); n["ok"] != 1 || n["failed"] != 0 {
			t.Errorf("the events are %v", n)
		}
	})
	t.Run("an app that answers 500 for a while is told when it does not", func(t *testing.T) {
		await(t, "it is told", func() bool { return became(lateID).Status == "delivered" })
		got := late.told()
		if len(got) != 3 || got[0] == got[1] || claimsOf(t, got[0])["jti"] == claimsOf(t, got[2])["jti"] {
			t.Errorf("%d tries, with tokens of their own: %v", len(got), got)
		}
		out := string(c.command(t, "client", "show", "late"))
		if !strings.Contains(out, "logout of "+strings.TrimSuffix(lateID, ".late")) || !strings.Contains(out, "delivered at 2") {
			t.Errorf("client show says\n%s", out)
		}
	})
	t.Run("what nobody took within two hours is given up, and says why", func(t *testing.T) {
		await(t, "it is given up", func() bool { return became(brokenID).Status == "failed" })
		failed := 1
		for left := 8 * time.Second; len(broken.told()) == 0 && left < time.Minute; left *= 2 {
			// The machine was too busy to try it in what was left of the two hours.
			brokenID = endSessionAt(t, sql, user, "broken", now().Add(-storage.NoticeDeadline+left))
			await(t, "it is given up", func() bool { return became(brokenID).Status == "failed" })
			failed++
		}
		n := c.shown(t, "broken")[brokenID]
		if n.Failure != "the client answered with the status 502" || n.At == nil {
			t.Errorf("it is %+v", n)
		}
		if got := noticeEvents(t, sql, "broken", failed); got["failed"] != failed {
			t.Errorf("the events are %v", got)
		}
	})
	t.Run("an app that is gone is told nothing", func(t *testing.T) {
		leaving.does(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "still here", http.StatusInternalServerError)
		})
		app, err := sql.Client(t.Context(), "leaving")
		if err != nil {
			t.Fatal(err)
		}
		id := endSessionAt(t, sql, user, "leaving", now())
		app.Metadata.BackchannelLogoutURI = ""
		if err := sql.UpdateClient(t.Context(), app); err != nil {
			t.Fatal(err)
		}
		await(t, "it is given up", func() bool { return became(id).Status == "failed" })
		if n := c.shown(t, "leaving")[id]; n.Failure != "the client has no back-channel logout URI any more" {
			t.Errorf("it is %+v", n)
		}
	})
}

// TestBackchannelCrash kills a server in the middle of telling.
func TestBackchannelCrash(t *testing.T) {
	t.Parallel()
	rp := newBackchannel(t)
	asked := make(chan struct{}, 10)
	rp.does(func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done() // the server is killed
	})
	c := clustered(t, 2)
	c.mayReach(rp)
	c.leaver(t, "notes", rp)
	c.start(t)
	sql := c.open(t)
	b := c.signIn(t, "ada@example.org")
	hint := c.hint(t, b, "notes")
	sid, _ := claimsOf(t, hint)["sid"].(string)
	b.app = nil
	began := time.Now()
	b.open(c.at(0) + "/logout?" + url.Values{"id_token_hint": {hint}, "post_logout_redirect_uri": {bye}}.Encode())
	if time.Since(began) > 2*time.Second {
		for len(asked) > 0 { // that try may have been given up; another comes
			<-asked
		}
	}
	select {
	case <-asked:
	case <-time.After(time.Minute):
		t.Fatal("the app was not told")
	}
	for _, p := range c.servers {
		p.kill()
	}
	before := len(rp.told())
	rp.does(nil)
	endLeases(t, c.valkeyURL, "notices")
	c.start(t)
	await(t, "the app is told again", func() bool { return len(rp.told()) > before })
	await(t, "and it is kept", func() bool {
		n, err := sql.Notice(t.Context(), sid+".notes")
		return err == nil && !n.DeliveredAt.IsZero()
	})
	if s := c.shown(t, "notes")[sid+".notes"]; s.Status != "delivered" {
		t.Errorf("an operator sees %+v", s)
	}
	if got := rp.told(); len(got) != before+1 || claimsOf(t, got[before])["sid"] != sid {
		t.Errorf("told %d times, %d of them before the crash", len(got), before)
	}
	if n := noticeEvents(t, sql, "notes", 1); n["ok"] != 1 {
		t.Errorf("the events are %v", n)
	}
	t.Run("sec-G5 sec-Q3 the old session is refused at every server", func(t *testing.T) {
		for i := range c.urls {
			b.t, b.app = t, nil
			b.open(c.authorizeURL(i, "notes") + "&prompt=none")
			if b.app == nil || b.app.Query().Get("error") != "login_required" {
				t.Errorf("%s sends the browser to %v", c.at(i), b.app)
			}
		}
	})
}

// endLeases makes a queue believe that its workers are dead that died just now.
// Otherwise that takes a minute.
func endLeases(t *testing.T, valkeyURL, queue string) {
	t.Helper()
	o, err := valkey.ParseURL(valkeyURL)
	if err != nil {
		t.Fatal(err)
	}
	client, err := valkey.NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	key := "asynq:{" + queue + "}:lease"
	ids, err := client.Do(t.Context(), client.B().Zrange().Key(key).Min("0").Max("-1").Build()).AsStrSlice()
	if err != nil || len(ids) == 0 {
		t.Fatalf("nothing is leased: %v (%v)", ids, err)
	}
	for _, id := range ids {
		if err := client.Do(t.Context(), client.B().Zadd().Key(key).Xx().ScoreMember().ScoreMember(1, id).Build()).Error(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLanes holds the rule by which clients do not delay each other.
func TestLanes(t *testing.T) {
	var l lanes
	now := time.Now()
	enter := func(client string) (bool, time.Duration, error) {
		wait, because := l.enter(client, now)
		return wait == 0, wait, because
	}
	for i := range laneWidth {
		if ok, wait, _ := enter("a"); !ok {
			t.Fatalf("try %d waits %v", i, wait)
		}
	}
	if ok, wait, _ := enter("a"); ok || wait != laneBusy {
		t.Errorf("a fifth runs, or waits %v", wait)
	}
	if ok, _, _ := enter("b"); !ok {
		t.Error("another client waits for the first")
	}
	failure := fmt.Errorf("no answer")
	for range laneWidth {
		l.leave("a", failure, now)
	}
	ok, wait, because := enter("a")
	if ok || wait < lanePause || !errors.Is(because, failure) {
		t.Errorf("after failures a try runs at once, or waits %v because of %v", wait, because)
	}
	now = now.Add(wait)
	if ok, _, _ := enter("a"); !ok {
		t.Error("after the pause nothing is tried")
	}
	if ok, _, because := enter("a"); ok || !errors.Is(because, failure) {
		t.Error("two are tried at a time by a client that does not answer")
	}
	l.leave("a", failure, now)
	if _, longer, _ := enter("a"); longer <= wait {
		t.Errorf("the pause is %v after %v", longer, wait)
	}
	now = now.Add(laneLongest)
	if ok, _, _ := enter("a"); !ok {
		t.Error("the pause is longer than the longest")
	}
	l.leave("a", nil, now)
	for i := range laneWidth {
		if ok, _, _ := enter("a"); !ok {
			t.Errorf("a client that answers again is told %d at a time", i)
		}
	}
	for range laneWidth {
		l.leave("a", nil, now)
	}
	l.leave("b", nil, now)
	if len(l.by) != 0 {
		t.Errorf("%d lanes are kept for nobody", len(l.by))
	}
}
