package provider

import "github.com/gatehouse-id/gatehouse/storage"

// userClaims are the claims about a person that the scopes allow (OIDC Core
// section 5.4). What we do not know is left out.
func userClaims(u storage.User, scope string) map[string]any {
	claims := map[string]any{"sub": u.ID}
	if hasScope(scope, "profile") {
		if u.Name != "" {
			claims["name"] = u.Name
		}
		claims["updated_at"] = u.UpdatedAt.Unix()
	}
	if hasScope(scope, "email") {
		claims["email"] = u.Email
		claims["email_verified"] = u.EmailVerified()
	}
	return claims
}
