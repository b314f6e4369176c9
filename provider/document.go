package provider

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A document is a body that anybody may cache, made once with its headers, so
// that a request makes nothing.
type document struct {
	body []byte
	etag string
	// always are the headers of every answer, entity those of an answer with the
	// body. Their values are shared by all answers.
	always, entity http.Header
	// name is what requests for it are counted under.
	name string
}

// newDocument makes a document with a strong entity tag, quotes included. Scripts
// of any origin may read it; it is public.
func newDocument(name string, body []byte, etag, cacheControl string) *document {
	return &document{
		name: name, body: body, etag: etag,
		always: http.Header{
			"Access-Control-Allow-Origin": {"*"},
			"Cache-Control":               {cacheControl},
			"Etag":                        {etag},
			"X-Content-Type-Options":      {"nosniff"},
		},
		entity: http.Header{
			"Content-Type":   {"application/json"},
			"Content-Length": {strconv.Itoa(len(body))},
		},
	}
}

func newMetadata(v metadata) *document {
	body, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("provider: metadata: %v", err)) // text and lists of text
	}
	sum := sha256.Sum256(body)
	return newDocument("discovery", body, `"`+base64.RawURLEncoding.EncodeToString(sum[:16])+`"`, maxAge(metadataMaxAge))
}

// maxAge is a Cache-Control for everybody (RFC 9111 section 5.2.2).
func maxAge(d time.Duration) string { return "public, max-age=" + strconv.Itoa(int(d/time.Second)) }

// serve answers with a document, or 304 when the client has it (RFC 9110 section
// 13.1.2), and reports whether the client has it now.
func (p *Provider) serve(w http.ResponseWriter, r *http.Request, d *document) bool {
	if e := method(w, r, http.MethodGet, http.MethodHead); e != nil {
		p.writeError(w, r, "metadata", e)
		return false
	}
	h := w.Header()
	maps.Copy(h, d.always)
	if given := r.Header.Get("If-None-Match"); matchesETag(given, d.etag) {
		p.meters.documents.Add(r.Context(), 1, d.name, "304")
		w.WriteHeader(http.StatusNotModified)
		return strings.Contains(given, d.etag) // "*" matches and has nothing
	}
	p.meters.documents.Add(r.Context(), 1, d.name, "200")
	maps.Copy(h, d.entity)
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return false
	}
	_, err := w.Write(d.body)
	return err == nil
}

// matchesETag compares weakly, as If-None-Match is compared (RFC 9110 section
// 13.1.2).
func matchesETag(header, etag string) bool {
	for candidate := range strings.SplitSeq(header, ",") {
		candidate = strings.TrimPrefix(strings.TrimSpace(candidate), "W/")
		if candidate == etag || candidate == "*" {
			return true
		}
	}
	return false
}
