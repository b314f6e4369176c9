//go:build slim

package web

import "net/http"

// withGallery adds nothing to builds that have nothing under /dev.
func (s *Web) withGallery(others http.Handler) http.Handler { return others }
