package web

import (
	"net/url"

	"github.com/gatehouse-id/gatehouse/storage"
)

// appLinks are an app's own pages, as it is registered with them (RFC 7591
// section 2). An empty one is not shown.
type appLinks struct{ Home, Policy, Terms string }

func linksOf(c storage.Client) appLinks {
	m := c.Metadata
	return appLinks{Home: webPage(m.URI), Policy: webPage(m.PolicyURI), Terms: webPage(m.TermsURI)}
}

// webPage is an address that a link may lead to, whoever registered it: of the
// web, with a host. Any other is empty.
func webPage(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return ""
	}
	return address
}
