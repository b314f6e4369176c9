package web

import (
	"bytes"
	"encoding/base64"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"math/rand/v2"
	"strings"
	"testing"
)

// drawn encodes a picture of this size; noisy ones do not compress.
func drawn(t *testing.T, w, h int, noisy bool, encode func(*bytes.Buffer, image.Image) error) []byte {
	t.Helper()
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	if noisy {
		for i := range m.Pix {
			m.Pix[i] = byte(rand.IntN(256))
		}
	} else {
		m.Set(0, 0, color.White)
	}
	var b bytes.Buffer
	if err := encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func asPNG(b *bytes.Buffer, m image.Image) error  { return png.Encode(b, m) }
func asJPEG(b *bytes.Buffer, m image.Image) error { return jpeg.Encode(b, m, nil) }

const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8">`

func TestReadPicture(t *testing.T) {
	// One transparent pixel, as cwebp writes it with and without loss.
	lossless, err := base64.StdEncoding.DecodeString("UklGRhoAAABXRUJQVlA4TA0AAAAvAAAAEAcQERGIiP4HAA==")
	if err != nil {
		t.Fatal(err)
	}
	lossy, err := base64.StdEncoding.DecodeString("UklGRiQAAABXRUJQVlA4IBgAAAAwAQCdASoBAAEAAwA0JaQAA3AA/vuUAAA=")
	if err != nil {
		t.Fatal(err)
	}
	wide := bytes.Clone(lossy)
	wide[27] = 0x3f // 16,129 pixels
	for _, tt := range []struct {
		about string
		in    []byte
		kind  string // when it is taken
		says  string // when it is not
	}{
		{"a PNG", drawn(t, 128, 128, false, asPNG), "image/png", ""},
		{"a JPEG", drawn(t, 64, 64, false, asJPEG), "image/jpeg", ""},
		{"a WebP without loss", lossless, "image/webp", ""},
		{"a WebP with loss", lossy, "image/webp", ""},
		{"an SVG", []byte(svg + `<path d="M0 0h8v8z"/></svg>`), "image/svg+xml", ""},
		{"an SVG as editors save it", []byte("\ufeff" + `<?xml version="1.0" encoding="UTF-8"?><!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">` + svg + `<style>path{fill:red}</style><defs><path id="a" d="M0 0"/></defs><use href="#a"/></svg>`), "image/svg+xml", ""},
		{"an SVG with a picture inside", []byte(svg + `<image href="data:image/png;base64,AAAA"/></svg>`), "image/svg+xml", ""},
		{"a large SVG that compresses well", []byte(svg + strings.Repeat(`<path d="M0 0h8v8z"/>`, 1000) + `</svg>`), "image/svg+xml", ""},

		{"nothing", nil, "", "must be a PNG, JPEG, WebP or SVG picture"},
		{"a web page", []byte(`<!doctype html><html><body><script>alert(1)</script></body></html>`), "", "must be a PNG, JPEG, WebP or SVG picture"},
		{"a web page that begins as a comment", []byte(`<!-- --><html xmlns="http://www.w3.org/2000/svg"></html>`), "", "must be a PNG, JPEG, WebP or SVG picture"},
		{"a web page called svg", []byte(`<svg xmlns="http://www.w3.org/1999/xhtml"></svg>`), "", "must be a PNG, JPEG, WebP or SVG picture"},
		{"a GIF", []byte("GIF89a\x01\x00\x01\x00\x00\x00\x00;"), "", "must be a PNG, JPEG, WebP or SVG picture"},
		{"a book", bytes.Repeat([]byte("word "), 20<<10), "", "must be a PNG, JPEG or WebP picture, or an SVG of at most 32 KiB"},
		{"half a PNG", drawn(t, 8, 8, false, asPNG)[:20], "", "is damaged; save it again"},
		{"half a WebP", lossless[:22], "", "is damaged; save it again"},
		{"a PNG of half a metre", drawn(t, 1025, 1, false, asPNG), "", "is 1025 × 1 pixels and may be 1024 × 1024; make it smaller"},
		{"a WebP of half a metre", wide, "", "is 16129 × 1 pixels and may be 1024 × 1024; make it smaller"},
		{"a photograph", drawn(t, 64, 64, true, asPNG), "", "as browsers get it and may be 6; make it smaller"},
		{"sec-H8 an SVG with a script", []byte(svg + `<script>alert(1)</script></svg>`), "", "must be without <script>"},
		{"sec-H8 an SVG with a script that has a prefix", []byte(`<svg xmlns="http://www.w3.org/2000/svg" xmlns:s="http://www.w3.org/2000/svg"><s:script/></svg>`), "", "must be without <script>"},
		{"sec-H8 an SVG with a handler", []byte(svg + `<g onload="alert(1)"/></svg>`), "", "has the attribute onload"},
		{"sec-H8 an SVG with a handler on its root", []byte(`<svg xmlns="http://www.w3.org/2000/svg" ONLOAD="alert(1)"/>`), "", "has the attribute ONLOAD"},
		{"sec-H8 an SVG with HTML inside", []byte(svg + `<foreignObject/></svg>`), "", "must be without <foreignObject>"},
		{"sec-H8 an SVG that fetches", []byte(svg + `<image href="https://evil.example/x.png"/></svg>`), "", "points to another file"},
		{"sec-H8 an SVG that fetches the old way", []byte(`<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"><image xlink:href="//evil.example/x.png"/></svg>`), "", "points to another file"},
		{"sec-H8 an SVG with a link that runs", []byte(svg + `<a href="javascript:alert(1)"/></svg>`), "", "points to another file"},
		{"sec-H8 an SVG with entities", []byte(`<!DOCTYPE svg [<!ENTITY a "b">]>` + svg + `&a;</svg>`), "", "must be without a DOCTYPE of its own"},
		{"two SVGs", []byte(svg + "</svg>" + svg + "</svg>"), "", "must be a PNG, JPEG, WebP or SVG picture"},
		{"half an SVG", []byte(svg), "", "must be a PNG, JPEG, WebP or SVG picture"},
	} {
		t.Run(tt.about, func(t *testing.T) {
			p, err := ReadPicture(tt.in)
			switch {
			case tt.kind != "" && (err != nil || p.Type != tt.kind || !bytes.Equal(p.Bytes, tt.in)):
				t.Errorf("ReadPicture gives %q and %v, want %s", p.Type, err, tt.kind)
			case tt.kind == "" && (err == nil || !strings.Contains(err.Error(), tt.says) || len(p.Bytes) > 0):
				t.Errorf("ReadPicture gives %q and %v, want %q", p.Type, err, tt.says)
			}
		})
	}
}

// Whatever is taken for a picture is small, and no page and no script.
func FuzzReadPicture(f *testing.F) {
	f.Add([]byte(svg + `<path d="M0 0"/></svg>`))
	f.Add([]byte("RIFF\x24\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Add([]byte("\x89PNG\r\n\x1a\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ReadPicture(b)
		if err != nil {
			return
		}
		if p.Type == "image/svg+xml" && bytes.Contains(bytes.ToLower(b), []byte("<script")) && !bytes.Contains(b, []byte("<!--")) && !bytes.Contains(b, []byte("<![CDATA[")) && !bytes.Contains(b, []byte("<?")) {
			t.Errorf("an SVG with a script: %q", b)
		}
		if len(p.Bytes) > maxSVG && p.Type == "image/svg+xml" {
			t.Errorf("%d bytes of SVG", len(p.Bytes))
		}
	})
}
