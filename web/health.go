package web

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"
)

// readyWithin is how long Ready and Probe have to say so.
const readyWithin = 3 * time.Second

// A NotReadyError says what the server lacks to do its work.
type NotReadyError struct {
	// Missing are the names of what is not there, for anybody to read: /readyz
	// tells them.
	Missing []string
	// Err is why, for the log.
	Err error
}

// Error names what is missing, and why.
func (e *NotReadyError) Error() string {
	missing := strings.Join(e.Missing, ", ")
	if e.Err == nil {
		return missing
	}
	return missing + ": " + e.Err.Error()
}

// Unwrap returns Err.
func (e *NotReadyError) Unwrap() error { return e.Err }

// livez says that the process runs. It asks nobody: a server is not to be
// started anew because the database is gone.
func (s *Web) livez(w http.ResponseWriter, _ *http.Request) { plainText(w, http.StatusOK, "ok\n") }

// readyz says whether the server can do its work, and names what it lacks.
func (s *Web) readyz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readyWithin)
	defer cancel()
	err := s.probe(ctx)
	switch missing, ok := errors.AsType[*NotReadyError](err); {
	case err == nil:
		plainText(w, http.StatusOK, "ready\n")
	case ok:
		plainText(w, http.StatusServiceUnavailable, "not ready: "+strings.Join(missing.Missing, ", ")+"\n")
	default:
		plainText(w, http.StatusServiceUnavailable, "not ready\n")
	}
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
