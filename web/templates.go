//go:build !slim

package web

import (
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"path"
	"strings"

	"github.com/gatehouse-id/gatehouse/web/render"
)

//go:embed templates
var templateFiles embed.FS

// templates are those of the pages. They are escaped here, so that whoever works
// on one sees it at the next start; slim builds have them as they are then.
func (f *Frame) templates() (*render.Set, error) {
	text, err := escape(f.funcs, templateFiles, "templates/*.html")
	if err != nil {
		return nil, err
	}
	return render.Parse(text, f.funcs)
}

// Parse returns the pages that match pattern in files, by the name of their file
// without extension. Each defines the template "main".
func (f *Frame) Parse(files fs.FS, pattern string) (map[string]Template, error) {
	text, err := escape(f.funcs, files, pattern)
	if err != nil {
		return nil, err
	}
	set, err := render.Parse(text, f.funcs)
	if err != nil {
		return nil, err
	}
	pages := map[string]Template{}
	for _, name := range set.Pages() {
		pages[name] = set.Page(name)
	}
	return pages, nil
}

// escape has html/template escape the pages that match pattern in files, and what
// they share. A page's own templates are named after it, as in "login/main".
func escape(funcs render.Funcs, files fs.FS, pattern string) (string, error) {
	shared, err := template.New("").Funcs(template.FuncMap(funcs)).ParseFS(templateFiles, "templates/frame.html", "templates/partials.html")
	if err != nil {
		return "", fmt.Errorf("web: parse the frame: %w", err)
	}
	names, err := fs.Glob(files, pattern)
	if err != nil {
		return "", fmt.Errorf("web: list templates: %w", err)
	}
	all := map[string]string{}
	for _, file := range names {
		page := strings.TrimSuffix(path.Base(file), path.Ext(file))
		if shared.Lookup(path.Base(file)) != nil {
			continue // not a page
		}
		t, err := onePage(shared, files, file)
		if err != nil {
			return "", err
		}
		root := "frame"
		if t.Lookup("document") != nil {
			root = "document"
		}
		escaped, err := render.Escape(t, root)
		if err != nil {
			return "", fmt.Errorf("web: escape %s: %w", file, err)
		}
		for name, text := range escaped {
			if shared.Lookup(name) == nil {
				name = page + "/" + name
			}
			if other, ok := all[name]; ok && other != text {
				return "", fmt.Errorf("web: %q is escaped in two ways", name)
			}
			all[name] = text
		}
	}
	return render.Text(all), nil
}

// onePage parses a page and what it shares with others.
func onePage(shared *template.Template, files fs.FS, file string) (*template.Template, error) {
	t, err := shared.Clone()
	if err != nil {
		return nil, fmt.Errorf("web: clone the frame: %w", err)
	}
	if t, err = t.ParseFS(files, file); err != nil {
		return nil, fmt.Errorf("web: parse %s: %w", file, err)
	}
	return t, nil
}
