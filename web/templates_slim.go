//go:build slim

package web

import (
	_ "embed"

	"github.com/gatehouse-id/gatehouse/web/render"
)

// escaped is what html/template makes of templates/. It is made with every other
// file that is generated; a test holds the two together.
//
//go:embed escaped.tmpl
var escaped string

// templates are those of the pages.
func (f *Frame) templates() (*render.Set, error) { return render.Parse(escaped, f.funcs) }
