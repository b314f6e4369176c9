package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
)

//go:embed static
var staticFiles embed.FS

// An asset is a static file under a name that holds a hash of what is in it, so
// that a browser may keep it for ever.
type asset struct {
	contentType string
	body        []byte
	gzipped     []byte
}

// Types are named here and not asked of the system, which may not know them.
var contentTypes = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
}

// assets are the static files by path, and the paths by plain name.
type assets struct {
	files map[string]asset  // "/assets/app-0123456789ab.css"
	paths map[string]string // "app.css" → its path
}

func loadAssets() (assets, error) {
	a := assets{files: map[string]asset{}, paths: map[string]string{}}
	names, err := fs.Glob(staticFiles, "static/*")
	if err != nil {
		return a, fmt.Errorf("web: list static files: %w", err)
	}
	for _, file := range names {
		body, err := staticFiles.ReadFile(file)
		if err != nil {
			return a, fmt.Errorf("web: read static file: %w", err)
		}
		name, ext := path.Base(file), path.Ext(file)
		var zipped bytes.Buffer
		z, err := gzip.NewWriterLevel(&zipped, gzip.BestCompression)
		if err != nil {
			return a, fmt.Errorf("web: compress %s: %w", name, err)
		}
		if _, err := z.Write(body); err != nil {
			return a, fmt.Errorf("web: compress %s: %w", name, err)
		}
		if err := z.Close(); err != nil {
			return a, fmt.Errorf("web: compress %s: %w", name, err)
		}
		sum := sha256.Sum256(body)
		p := "/assets/" + strings.TrimSuffix(name, ext) + "-" + hex.EncodeToString(sum[:6]) + ext
		a.files[p] = asset{contentTypes[ext], body, zipped.Bytes()}
		a.paths[name] = p
	}
	return a, nil
}

// serve answers a request for the asset, or reports that there is none.
func (a assets) serve(w http.ResponseWriter, r *http.Request) bool {
	f, ok := a.files[r.URL.Path]
	if !ok {
		return false
	}
	h := w.Header()
	h.Set("Content-Type", f.contentType)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Vary", "Accept-Encoding")
	body := f.body
	if acceptsGzip(r.Header.Values("Accept-Encoding")) {
		h.Set("Content-Encoding", "gzip")
		body = f.gzipped
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // the reader has gone: nobody to tell
	}
	return true
}

// acceptsGzip reads Accept-Encoding (RFC 9110 section 12.5.3) as far as one
// coding needs.
func acceptsGzip(lines []string) bool {
	for coding := range strings.SplitSeq(strings.Join(lines, ","), ",") {
		name, params, _ := strings.Cut(strings.TrimSpace(coding), ";")
		if !strings.EqualFold(strings.TrimSpace(name), "gzip") {
			continue
		}
		q, isQ := strings.CutPrefix(strings.ToLower(strings.ReplaceAll(params, " ", "")), "q=")
		weight, err := strconv.ParseFloat(q, 64)
		return !isQ || err == nil && weight > 0
	}
	return false
}
