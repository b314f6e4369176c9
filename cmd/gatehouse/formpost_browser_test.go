//go:build !slim

package main

import (
	"context"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/provider"
	"github.com/gatehouse-id/gatehouse/storage"
)

// The answer of an app that asks for response_mode=form_post goes through the
// browser's own rules: its Content-Security-Policy lets the page post to the app
// and nothing else, and without scripts there is a button.
func TestFormPostInBrowser(t *testing.T) {
	t.Parallel()
	browser := chromium(t)
	c := embeddedConfig(t)
	s := started(t, c)
	u := createUserAs(t, c, "ada@example.org", "Ada Lovelace")
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = fmt.Fprintf(w, `<!doctype html><link rel="icon" href="data:,"><html data-page="app"><p id="answer">%s %s state=%s code=%d query=%q</p>`,
			r.Method, r.URL.Path, html.EscapeString(r.PostFormValue("state")), len(r.PostFormValue("code")), r.URL.RawQuery)
	}))
	t.Cleanup(app.Close)
	_, hash := provider.NewClientSecret()
	now := time.Now().UTC().Truncate(time.Microsecond)
	client := storage.Client{
		ID: "poster", Name: "Poster", AuthMethod: storage.AuthSecretBasic, SecretHashes: [][]byte{hash},
		RedirectURIs: []string{app.URL + "/cb"}, GrantTypes: []string{"authorization_code"}, Scopes: []string{"openid"},
		FirstParty: true, OptionalPKCE: true, CreatedAt: now, UpdatedAt: now,
	}
	if err := s.sql.CreateClient(context.Background(), client); err != nil {
		t.Fatal(err)
	}
	const state = `"><b id="injected">é &amp;`
	ask := c.URL + "/authorize?" + url.Values{
		"client_id": {client.ID}, "redirect_uri": client.RedirectURIs, "response_type": {"code"}, "response_mode": {"form_post"},
		"scope": {"openid"}, "state": {state},
	}.Encode()
	arrived := func(p *person) {
		t.Helper()
		await(t, "the app has its answer", func() bool { return p.has("#answer") })
		p.reads("#answer", "POST /cb", "state="+state, "code=43", `query=""`)
		if p.has("#injected") {
			t.Error("the state became an element")
		}
	}

	t.Run("sec-A11 fosite-F9 with scripts the page posts by itself", func(t *testing.T) {
		p := newPerson(t, browser, laptop)
		p.visit(ask)
		p.signIn(u.Email, password)
		arrived(p)
	})
	t.Run("sec-A11 without them the person presses a button", func(t *testing.T) {
		p := newPerson(t, browser, phone)
		p.withoutScripts()
		p.visit(ask)
		p.signIn(u.Email, password)
		p.on("formpost")
		p.click("#formpost-submit")
		arrived(p)
	})
}
