package web

import (
	"bytes"
	"fmt"
	"image/color"

	"github.com/boombuler/barcode/qr"
)

// quietZone is the white margin that readers need around a QR code, in modules
// (ISO/IEC 18004). It is in the picture, so that no style sheet and no dark
// theme takes it away.
const quietZone = 4

// qrCode draws text as an SVG picture, one unit a module. The level of error
// correction is the lowest: a screen has no stains, and fewer modules are
// larger ones.
func qrCode(text string) ([]byte, error) {
	code, err := qr.Encode(text, qr.L, qr.Unicode)
	if err != nil {
		return nil, fmt.Errorf("web: draw a QR code: %w", err)
	}
	size := code.Bounds().Dx()
	dark := func(x, y int) bool { return x < size && code.At(x, y) == color.Black }
	var b bytes.Buffer
	side := size + 2*quietZone
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %[1]d" shape-rendering="crispEdges">`, side)
	fmt.Fprintf(&b, `<path fill="#fff" d="M0 0h%dv%[1]dH0z"/><path d="`, side)
	for y := range size {
		run := 0
		for x := range size + 1 { // one beyond ends the last run
			if dark(x, y) {
				run++
				continue
			}
			if run > 0 {
				fmt.Fprintf(&b, "M%d %dh%dv1h-%[3]dz", quietZone+x-run, quietZone+y, run)
			}
			run = 0
		}
	}
	b.WriteString(`"/></svg>`)
	return b.Bytes(), nil
}
