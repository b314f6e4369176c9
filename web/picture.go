package web

import (
	"bytes"
	"encoding/binary"
	"encoding/xml"
	"errors"
	"fmt"
	"image"
	_ "image/jpeg" // so that image.DecodeConfig knows it
	_ "image/png"  // likewise
	"io"
	"net/http"
	"strings"
)

const (
	// maxPicture is how much of a picture is ever sent, in bytes: the pages that
	// show it stay within 30 KB in all.
	maxPicture = 6 << 10
	// maxSVG is how large an SVG may be before it is compressed, in bytes.
	maxSVG = 32 << 10
	// maxSide is how wide and how high a picture may be, in pixels. It is shown
	// at 56 at most.
	maxSide = 1024
)

// A Picture is a logo: small, and of a kind that its bytes bear out.
type Picture struct {
	// Type is image/png, image/jpeg, image/webp or image/svg+xml.
	Type  string
	Bytes []byte
}

// ReadPicture takes a logo from a file's bytes. What kind it is, the bytes say,
// and no name. Its errors complete the sentence "the logo …".
func ReadPicture(b []byte) (Picture, error) {
	p := Picture{Type: http.DetectContentType(b), Bytes: b}
	switch p.Type {
	case "image/png", "image/jpeg":
		c, _, err := image.DecodeConfig(bytes.NewReader(b))
		if err != nil {
			return Picture{}, errors.New("is damaged; save it again")
		}
		if err := checkSides(c.Width, c.Height); err != nil {
			return Picture{}, err
		}
	case "image/webp":
		w, h, ok := webpSides(b)
		if !ok {
			return Picture{}, errors.New("is damaged; save it again")
		}
		if err := checkSides(w, h); err != nil {
			return Picture{}, err
		}
	default:
		if len(b) > maxSVG { // nothing of that size is read further
			return Picture{}, fmt.Errorf("must be a PNG, JPEG or WebP picture, or an SVG of at most %d KiB", maxSVG>>10)
		}
		p.Type = "image/svg+xml"
		if err := checkSVG(b); err != nil {
			return Picture{}, err
		}
	}
	sent, err := newAsset(p.Type, b)
	if err != nil {
		return Picture{}, err
	}
	if n := sent.least(); n > maxPicture {
		return Picture{}, fmt.Errorf("is %d KiB as browsers get it and may be %d; make it smaller: a PNG of 128 pixels or a plain SVG is enough", (n+1023)>>10, maxPicture>>10)
	}
	return p, nil
}

func checkSides(w, h int) error {
	if w < 1 || h < 1 || w > maxSide || h > maxSide {
		return fmt.Errorf("is %d × %d pixels and may be %d × %d; make it smaller", w, h, maxSide, maxSide)
	}
	return nil
}

// webpSides reads width and height from the first chunk of a WebP file (RFC 9649
// section 2.5).
func webpSides(b []byte) (w, h int, ok bool) {
	if len(b) < 30 {
		return 0, 0, false
	}
	switch first := b[20:]; string(b[12:16]) {
	case "VP8X":
		side := func(b []byte) int { return 1 + int(b[0]) + int(b[1])<<8 + int(b[2])<<16 }
		return side(first[4:]), side(first[7:]), true
	case "VP8L":
		bits := binary.LittleEndian.Uint32(first[1:])
		return 1 + int(bits&0x3fff), 1 + int(bits>>14&0x3fff), first[0] == 0x2f
	case "VP8 ":
		side := func(b []byte) int { return int(binary.LittleEndian.Uint16(b) & 0x3fff) }
		return side(first[6:]), side(first[8:]), bytes.Equal(first[3:6], []byte{0x9d, 0x01, 0x2a})
	}
	return 0, 0, false
}

// checkSVG refuses what an SVG shown by <img> cannot do anyway: run scripts and
// fetch other files. Who opens the file by itself is kept from both by the policy
// that it is served with; here the operator learns of it before anybody else.
func checkSVG(b []byte) error {
	notSVG := errors.New("must be a PNG, JPEG, WebP or SVG picture")
	d := xml.NewDecoder(bytes.NewReader(b))
	for depth, rooted := 0, false; ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) && rooted {
			return nil
		}
		if err != nil {
			return notSVG
		}
		switch token := token.(type) {
		case xml.Directive:
			if bytes.ContainsRune(token, '[') {
				return errors.New("must be without a DOCTYPE of its own; save it as plain SVG")
			}
		case xml.StartElement:
			if depth == 0 && (rooted || token.Name.Local != "svg" || token.Name.Space != "http://www.w3.org/2000/svg") {
				return notSVG
			}
			depth, rooted = depth+1, true
			if err := checkElement(token); err != nil {
				return err
			}
		case xml.EndElement:
			depth--
		}
	}
}

func checkElement(e xml.StartElement) error {
	switch strings.ToLower(e.Name.Local) {
	case "script", "foreignobject", "iframe", "object", "embed":
		return fmt.Errorf("must be without <%s>; save it as plain SVG", e.Name.Local)
	}
	for _, a := range e.Attr {
		switch name := strings.ToLower(a.Name.Local); {
		case strings.HasPrefix(name, "on"):
			return fmt.Errorf("must be without scripts, and has the attribute %s; save it as plain SVG", a.Name.Local)
		case name == "href" && !strings.HasPrefix(a.Value, "#") && !strings.HasPrefix(a.Value, "data:image/"):
			return errors.New("must hold everything that it shows, and points to another file; save it as plain SVG")
		}
	}
	return nil
}
