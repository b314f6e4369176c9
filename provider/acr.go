package provider

import (
	"slices"
	"strings"

	"github.com/gatehouse-id/gatehouse/storage"
)

// The authentication context classes (OIDC Core section 2, acr): a password, and
// a password with a second factor. They are levels: the second includes the
// first.
const (
	acrPassword = "urn:gatehouse:acr:pwd"
	acrMFA      = "urn:gatehouse:acr:mfa"
)

// acrOf is the class that was performed, or empty: it follows from the methods
// (RFC 8176) alone, whatever was asked for.
func acrOf(amr []string) string {
	switch {
	case slices.Contains(amr, "mfa"):
		return acrMFA
	case slices.Contains(amr, "pwd"):
		return acrPassword
	}
	return ""
}

// An acrRequest is how strongly a person is to be proved.
type acrRequest struct {
	// values are the classes asked for, the most wanted first.
	values []string
	// essential says that nothing else will do (OIDC Core section 5.5.1.1).
	essential bool
}

// acrRequested is what acr_values, the claims parameter and the client's
// registration ask together. The acr_values parameter is always a wish; the
// claim decides when it is essential, and the registration when the request is
// silent.
func acrRequested(acrValues string, claim *acrRequest, c storage.Client) acrRequest {
	values := strings.Fields(acrValues)
	switch {
	case claim != nil && (claim.essential || len(values) == 0):
		return *claim
	case len(values) > 0:
		return acrRequest{values: values}
	}
	return acrRequest{values: c.Metadata.DefaultACR}
}

// stepsUp reports whether the class wanted most, of those there are, is a second
// factor that was not proved.
func (a acrRequest) stepsUp(amr []string) bool {
	for _, v := range a.values {
		switch v {
		case acrMFA:
			return acrOf(amr) != acrMFA
		case acrPassword:
			return false
		}
	}
	return false
}

// metBy reports whether what was performed is enough.
func (a acrRequest) metBy(amr []string) bool {
	if !a.essential || len(a.values) == 0 {
		return true
	}
	switch acrOf(amr) {
	case acrMFA:
		return slices.Contains(a.values, acrMFA) || slices.Contains(a.values, acrPassword)
	case acrPassword:
		return slices.Contains(a.values, acrPassword)
	}
	return false
}
