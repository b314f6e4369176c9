package consent

// A Description is a scope in words that a person understands, by the keys of
// the sentences in the catalogues of package text.
type Description struct {
	Scope string
	// Heading starts with a verb: what the client will be able to do. Its
	// placeholder scope is the scope.
	Heading string
	// Detail is the line below it. It is empty where a page shows the person's
	// own value instead (name, address, …), and where there is nothing to add.
	Detail string
}

// Optional reports whether a scope is one that people choose for themselves: an
// app works without it, and it is granted only to who ticks it.
func Optional(scope string) bool { return scope == "phone" || scope == "address" }

// Describe returns the words for a scope (OIDC Core sections 5.4 and 11). A
// scope it does not know belongs to an API, and is called by its name. Pages
// list "openid" only when it is alone.
func Describe(scope string) Description {
	d := Description{Scope: scope}
	switch scope {
	case "openid", "offline_access":
		d.Heading, d.Detail = "scope."+scope+".heading", "scope."+scope+".detail"
	case "profile", "email", "phone", "address", "groups":
		d.Heading = "scope." + scope + ".heading"
	case "roles":
		d.Heading = "scope.groups.heading"
	default:
		d.Heading = "scope.api.heading"
	}
	return d
}
