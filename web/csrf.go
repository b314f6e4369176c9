package web

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// csrf returns the token of a form: good in this browser, for this flow. It is
// the key's id and a MAC over the browser's secret and the flow's id.
func (s *Web) csrf(browser, flow string) string {
	id, key := s.secret()
	return id + "." + base64.RawURLEncoding.EncodeToString(csrfMAC(key, browser, flow))
}

// checkCSRF reports whether the token was made for this browser and flow.
func (s *Web) checkCSRF(ctx context.Context, token, browser, flow string) bool {
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
	return err == nil && hmac.Equal(mac, csrfMAC(key, browser, flow))
}

func csrfMAC(key []byte, browser, flow string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(browser))
	h.Write([]byte{0}) // neither part holds one
	h.Write([]byte(flow))
	return h.Sum(nil)
}
