package provider

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"
)

// A TokenName is what storage knows a token by.
type TokenName struct {
	// HandleHash names the grant of a refresh token; nil for an access token.
	HandleHash []byte
	// JTI and Expires are an access token's.
	JTI     string
	Expires time.Time
	// ClientID is whom an access token was issued to.
	ClientID string
}

// NameOf reads the name in a token, for an operator who wants it revoked. It does
// not check that the token is ours: a name that nobody has stops nothing.
func NameOf(token string) (TokenName, error) {
	if t, _, _, ok := parseRefreshToken(token); ok {
		return TokenName{HandleHash: t.handleHash()}, nil
	}
	none := errors.New("it is neither an access token nor a refresh token of this server")
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return TokenName{}, none
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return TokenName{}, none
	}
	var c accessClaims
	if json.Unmarshal(payload, &c) != nil || grantOf(c.JTI) == "" || c.ClientID == "" || c.Expires == 0 {
		return TokenName{}, none
	}
	return TokenName{JTI: c.JTI, Expires: time.Unix(c.Expires, 0).UTC(), ClientID: c.ClientID}, nil
}
