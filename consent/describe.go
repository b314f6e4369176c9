package consent

// A Description is a scope in words that a person understands.
type Description struct {
	Scope string
	// Heading starts with a verb: what the client will be able to do.
	Heading string
	// Detail is the line below it. It is empty where a page shows the person's
	// own value instead (name, address, …), and where there is nothing to add.
	Detail string
}

// Describe returns the words for a scope (OIDC Core sections 5.4 and 11). A
// scope it does not know belongs to an API, and is called by its name. Pages
// list "openid" only when it is alone.
func Describe(scope string) Description {
	d := Description{Scope: scope}
	switch scope {
	case "openid":
		d.Heading, d.Detail = "Know that it’s you", "Nothing else is shared"
	case "profile":
		d.Heading = "See your name and profile"
	case "email":
		d.Heading = "See your email address"
	case "phone":
		d.Heading = "See your phone number"
	case "address":
		d.Heading = "See your postal address"
	case "groups", "roles":
		d.Heading = "See which groups you’re in"
	case "offline_access":
		d.Heading, d.Detail = "Stay connected when you’re away", "Until you remove access"
	default:
		d.Heading = "Use " + scope + " for you"
	}
	return d
}
