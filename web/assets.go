package web

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
)

//go:embed static
var staticFiles embed.FS

// An asset is a file that pages are made of. Its address holds a hash of what is
// in it, so that a browser may keep it for ever.
type asset struct {
	contentType string
	body        []byte
	// gzipped is the body compressed, or nil when that makes it no smaller.
	gzipped []byte
	hash    string
}

// newAsset compresses the body, but for pictures that are compressed already.
func newAsset(contentType string, body []byte) (asset, error) {
	a := asset{contentType: contentType, body: body, hash: hashOf(body)}
	if strings.HasPrefix(contentType, "image/") && contentType != "image/svg+xml" {
		return a, nil
	}
	var zipped bytes.Buffer
	z, err := gzip.NewWriterLevel(&zipped, gzip.BestCompression)
	if err == nil {
		_, err = z.Write(body)
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		return a, fmt.Errorf("web: compress: %w", err)
	}
	if zipped.Len() < len(body) {
		a.gzipped = zipped.Bytes()
	}
	return a, nil
}

// hashOf names what is in a file.
func hashOf(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:8])
}

// least is the number of bytes of the body as most browsers get it.
func (a asset) least() int {
	if a.gzipped != nil {
		return len(a.gzipped)
	}
	return len(a.body)
}

// assets are the files that are the same for everybody, and the stylesheet,
// which every app's accent ends in its own way.
type assets struct {
	files map[string]asset  // "/assets/app-0123456789abcdef.js"
	paths map[string]string // by name: "app" is the script, "logo" is there when the theme has one
	sheet sheet
}

func loadAssets(theme Theme) (assets, error) {
	a := assets{files: map[string]asset{}, paths: map[string]string{}}
	var wrong error
	read := func(name string) []byte {
		body, err := fs.ReadFile(staticFiles, "static/"+name)
		wrong = errors.Join(wrong, err)
		return body
	}
	add := func(name, ext, contentType string, body []byte) {
		f, err := newAsset(contentType, body)
		wrong = errors.Join(wrong, err)
		p := "/assets/" + name + "-" + f.hash + ext
		a.files[p], a.paths[name] = f, p
	}

	css, favicon := read("app.css"), read("favicon.svg")
	if theme.Accent.valid() {
		css = append(css, accentCSS(theme.Accent, true)...)
		favicon = bytes.ReplaceAll(favicon, []byte(ourAccent), []byte(theme.Accent.onLight().accent))
	}
	var err error
	a.sheet, err = newSheet(css)
	wrong = errors.Join(wrong, err)
	add("app", ".js", "text/javascript; charset=utf-8", read("app.js"))
	if len(theme.Logo.Bytes) > 0 {
		add("logo", "", theme.Logo.Type, theme.Logo.Bytes)
		a.paths["favicon"] = a.paths["logo"]
	} else {
		add("favicon", ".svg", "image/svg+xml", favicon)
	}
	if wrong != nil {
		return a, fmt.Errorf("web: read static files: %w", wrong)
	}
	return a, nil
}

// ourAccent is --accent of app.css.
const ourAccent = "#0e5a70"

// find returns the asset at the path, or reports that there is none.
func (a assets) find(path string) (asset, bool) {
	if f, ok := a.files[path]; ok {
		return f, true
	}
	return a.sheet.find(path)
}

// A sheet is the stylesheet, ready to be ended by an app's accent. Each accent
// makes a whole stylesheet: a page needs one, and not two. Nothing is kept of
// them, because making one costs next to nothing: the compressed form is the same
// up to where the accent begins.
type sheet struct {
	body []byte
	// zipped is body as deflate blocks (RFC 1951) that others may follow.
	zipped []byte
	crc    uint32
	plain  asset
}

func newSheet(body []byte) (sheet, error) {
	s := sheet{body: body, crc: crc32.ChecksumIEEE(body)}
	var err error
	if s.plain, err = newAsset("text/css; charset=utf-8", body); err != nil {
		return s, err
	}
	var zipped bytes.Buffer
	z, err := flate.NewWriter(&zipped, flate.BestCompression)
	if err == nil {
		_, err = z.Write(body)
	}
	if err == nil {
		err = z.Flush()
	}
	if err != nil {
		return s, fmt.Errorf("web: compress: %w", err)
	}
	s.zipped = zipped.Bytes()
	return s, nil
}

// path is the address of the stylesheet with the accent; without one, of the
// plain one.
func (s sheet) path(accent Colour) string {
	if !accent.valid() {
		return "/assets/app-" + s.plain.hash + ".css"
	}
	// The hash is of both parts, and needs neither to be joined nor compressed.
	return "/assets/app-" + string(accent[1:]) + "-" + hashOf([]byte(s.plain.hash+accentCSS(accent, false))) + ".css"
}

// find returns the stylesheet at the path. The colour stands in the path, so any
// server can answer for a page that another has made.
func (s sheet) find(path string) (asset, bool) {
	name, ok := strings.CutPrefix(path, "/assets/app-")
	if !ok {
		return asset{}, false
	}
	if path == s.path("") {
		return s.plain, true
	}
	digits, _, _ := strings.Cut(name, "-")
	if accent := Colour("#" + digits); accent.valid() && path == s.path(accent) {
		return s.with(accent), true
	}
	return asset{}, false
}

// with returns the stylesheet with the accent.
func (s sheet) with(accent Colour) asset {
	end := []byte(accentCSS(accent, false))
	a := asset{contentType: s.plain.contentType, body: append(s.body[:len(s.body):len(s.body)], end...)}
	a.hash = hashOf(a.body)

	// One gzip member (RFC 1952 section 2.3): a header, the blocks of the body,
	// the end in a last block that is stored as it is (RFC 1951 section 3.2.4:
	// too short to gain by more), sum and length of all.
	z := append([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255}, s.zipped...)
	z = append(z, 1)
	z = binary.LittleEndian.AppendUint16(z, uint16(len(end)))
	z = binary.LittleEndian.AppendUint16(z, ^uint16(len(end)))
	z = append(z, end...)
	z = binary.LittleEndian.AppendUint32(z, crc32.Update(s.crc, crc32.IEEETable, end))
	a.gzipped = binary.LittleEndian.AppendUint32(z, uint32(len(a.body)))
	return a
}

// serve answers a GET or HEAD of the asset.
func (a asset) serve(w http.ResponseWriter, r *http.Request) {
	body, tag := a.body, `"`+a.hash+`"`
	h := w.Header()
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	// Who opens a picture by itself gets it without its scripts. Styles of its own
	// it may have: many do.
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox")
	if a.gzipped != nil {
		h.Set("Vary", "Accept-Encoding")
		if acceptsGzip(r.Header.Values("Accept-Encoding")) {
			h.Set("Content-Encoding", "gzip")
			body, tag = a.gzipped, `"`+a.hash+`-gzip"`
		}
	}
	h.Set("ETag", tag)
	if matches(r.Header.Values("If-None-Match"), tag) {
		h.Del("Content-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", a.contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // the reader has gone: nobody to tell
	}
}

// matches reads If-None-Match (RFC 9110 section 13.1.2).
func matches(lines []string, tag string) bool {
	for t := range strings.SplitSeq(strings.Join(lines, ","), ",") {
		if t = strings.TrimSpace(t); t == "*" || strings.TrimPrefix(t, "W/") == tag {
			return true
		}
	}
	return false
}

// acceptsGzip reads Accept-Encoding (RFC 9110 section 12.5.3): gzip, by its name
// or by "*", must weigh something, and no less than what is not compressed does.
func acceptsGzip(lines []string) bool {
	weights := map[string]float64{}
	for coding := range strings.SplitSeq(strings.Join(lines, ","), ",") {
		name, params, _ := strings.Cut(coding, ";")
		weight := 1.
		if q, ok := strings.CutPrefix(strings.ToLower(strings.ReplaceAll(params, " ", "")), "q="); ok {
			// What cannot be read, and NaN, weigh nothing.
			if n, err := strconv.ParseFloat(q, 64); err == nil && n >= 0 && n <= 1 {
				weight = n
			} else {
				weight = 0
			}
		}
		weights[strings.ToLower(strings.TrimSpace(name))] = weight
	}
	gzip, named := weights["gzip"]
	if !named {
		gzip = weights["*"]
	}
	return gzip > 0 && gzip >= weights["identity"]
}
