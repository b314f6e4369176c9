package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
)

// submitForm posts the one form of the page, where it stands as it is here. It is
// the only script that the page may run, by its hash.
const submitForm = `document.forms[0].submit()`

// formPostPage is the data of the page.
type formPostPage struct {
	Action string
	Fields []hiddenField
}

// A hiddenField is one value that the form carries.
type hiddenField struct{ Name, Value string }

// FormPost shows the page that posts an answer of the authorization endpoint to
// the app (OAuth 2.0 Form Post Response Mode section 2): at once with scripts,
// and at the press of a button without. Its Content-Security-Policy is its own:
// it may do nothing but that.
func (s *Web) FormPost(w http.ResponseWriter, r *http.Request, action string, fields url.Values) {
	s = s.to(r)
	data := formPostPage{Action: action}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		for _, value := range fields[name] {
			data.Fields = append(data.Fields, hiddenField{name, value})
		}
	}
	page := Page{Name: "formpost", Title: s.frame.text.plain("formpost.title"), Data: data}
	var body bytes.Buffer
	if err := s.pages("formpost").Render(&body, "document", s.frame.view(r, page)); err != nil {
		s.fault(w, r, fmt.Errorf("web: render the form post: %w", err))
		return
	}
	h := w.Header()
	s.frame.headers(h, "")
	sum := sha256.Sum256([]byte(submitForm))
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'sha256-"+
		base64.StdEncoding.EncodeToString(sum[:])+"'; form-action "+source(action)+"; base-uri 'none'; frame-ancestors 'none'")
	h.Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(body.Bytes()) // the reader has gone: nobody to tell
}
