package web

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// csrf returns the token of a form: good in this browser, for this flow and, on
// the pages of an account, this session. It is the key's id and a MAC over the
// browser's secret and the ids of the others.
func (s *Web) csrf(browser, flow, session string) string {
	id, key := s.secret()
	return id + "." + base64.RawURLEncoding.EncodeToString(csrfMAC(key, browser, flow, session))
}

// checkCSRF reports whether the token was made for these.
func (s *Web) checkCSRF(ctx context.Context, token, browser, flow, session string) bool {
	id, sent, ok := strings.Cut(token, ".")
	if !ok || len(token) > 256 {
		return false
	}
	mac, err := base64.RawURLEncoding.DecodeString(sent)
	if err != nil {
		return false
	}
	// A key that cannot be found, for whatever reason, makes no token good: the
	// person gets the page that starts again.
	key, err := s.secretByID(ctx, id)
	return err == nil && hmac.Equal(mac, csrfMAC(key, browser, flow, session))
}

func csrfMAC(key []byte, browser, flow, session string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(browser))
	h.Write([]byte{0}) // no part holds one
	h.Write([]byte(flow))
	h.Write([]byte{0})
	h.Write([]byte(session))
	return h.Sum(nil)
}
