package web

import (
	"context"
	"io"
	"net/http"
	"time"
)

// readyWithin is how long a dependency has to show that it is there.
const readyWithin = 2 * time.Second

// healthz says that the process runs.
func (s *Web) healthz(w http.ResponseWriter, _ *http.Request) { plainText(w, http.StatusOK, "ok\n") }

// readyz says whether the server can do its work. Why not is in the log.
func (s *Web) readyz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readyWithin)
	defer cancel()
	if err := s.ready(ctx); err != nil {
		s.log.WarnContext(ctx, "not ready", "err", err)
		plainText(w, http.StatusServiceUnavailable, "not ready\n")
		return
	}
	plainText(w, http.StatusOK, "ready\n")
}

// asset serves what pages are made of.
func (s *Web) asset(w http.ResponseWriter, r *http.Request) {
	a, err := s.findAsset(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	a.serve(w, r)
}

func plainText(w http.ResponseWriter, status int, body string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body) // the reader has gone: nobody to tell
}
