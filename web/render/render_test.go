package render_test

import (
	"bytes"
	"errors"
	"fmt"
	"html/template"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/web/render"
)

// colour is a type that says what it is in its own way.
type colour int

func (c colour) String() string { return fmt.Sprintf("#%06x<", int(c)) }

type person struct {
	Name   string
	Next   *person
	Bio    template.HTML
	Link   template.URL
	Tint   colour
	Any    any
	Tags   []string
	Values map[string]string
	N      int
	secret string
}

var funcs = render.Funcs{
	"upper": strings.ToUpper,
	"join":  func(sep string, parts ...string) string { return strings.Join(parts, sep) },
	"name":  func(p *person) string { return p.Name },
	"bold":  func(s string) template.HTML { return template.HTML("<b>" + template.HTMLEscapeString(s) + "</b>") },
	"none":  func() any { return nil },
	"fails": func() (string, error) { return "", errFails },
}

var errFails = errors.New("it fails")

// escaped is source with the escapers that html/template puts in, and its own
// template.
func escaped(t testing.TB, source string) (*render.Set, *template.Template, error) {
	t.Helper()
	theirs, err := template.New("page").Funcs(template.FuncMap(funcs)).Parse(source)
	if err != nil {
		t.Fatal(err)
	}
	all, err := render.Escape(theirs, "page")
	if err != nil {
		return nil, nil, err
	}
	set, err := render.Parse(render.Text(all), funcs)
	return set, theirs, err
}

var hostile = []string{
	"", "plain", `"><script>alert(1)</script>`, "javascript:alert(1)", "JAVASCRIPT:x", "data:text/html,x", "mailto:a@b", "https://a/?b=c&d=%2f%zz'()",
	"//host", "a/b:c", "\x00\xff\xfe", "नेपाली ☂ \uFDD0\uFFFE", "&amp; &lt;", "+ ` = \t\n", "</title>", "{{.}}",
}

// TestLikeHTMLTemplate compares with html/template, which is the judge.
func TestLikeHTMLTemplate(t *testing.T) {
	sources := map[string]string{
		"text":                         `<p>{{.Name}}</p>`,
		"a quoted attribute":           `<p title="{{.Name}}" lang='{{.Name}}'>`,
		"an address":                   `<a href="{{.Name}}">x</a>`,
		"part of an address":           `<a href="/x?y={{.Name}}&z={{.Link}}">x</a>`,
		"a title":                      `<title>{{.Name}}{{.Bio}}</title>`,
		"HTML, trusted":                `<p>{{.Bio}}{{bold .Name}}</p>`,
		"an address, trusted":          `<a href="{{.Link}}">x</a>`,
		"a value that is no string":    `<p title="{{.N}}">{{.N}}{{.Tint}}{{.Any}}{{.Tags}}</p>`,
		"nothing":                      `<p>{{.Any}}{{none}}</p>`,
		"if":                           `{{if .Name}}y{{else if .Tags}}t{{else}}n{{end}}{{if .Any}}a{{end}}{{if .Next}}x{{end}}{{if .N}}0{{end}}`,
		"with":                         `{{with .Next}}<p>{{.Name}}{{$.Name}}</p>{{else}}none{{end}}`,
		"range":                        `{{range .Tags}}<li>{{.}}</li>{{else}}none{{end}}`,
		"a variable":                   `{{$x := upper .Name}}{{with .Tags}}{{$x := "inner"}}{{$x}}{{end}}<p>{{$x}}</p>`,
		"range with variables":         `{{range $i, $tag := .Tags}}{{if $i}}, {{end}}{{$tag}}{{end}}{{range $tag := .Tags}}{{$tag}}{{.}}{{end}}`,
		"a map":                        `<p>{{.Values.key}}{{index .Values "key"}}{{index .Values "other"}}</p>`,
		"a slice":                      `{{if .Tags}}<p>{{index .Tags 0}}</p>{{end}}`,
		"a pipeline":                   `<p>{{.Name | upper | printf "%s-%s" "a"}}</p>`,
		"a call with several":          `<p>{{join "," "a" .Name}}{{join "x"}}</p>`,
		"a call with a pointer":        `{{with .Next}}<p>{{name .}}</p>{{end}}`,
		"a field of what is in parens": `<p>{{(index .Values "key" | printf "%s")}}</p>`,
		"and, or, not":                 `{{if and .Name .Tags}}1{{end}}{{if or .Name .Tags}}2{{end}}{{if not .Name}}3{{end}}<p>{{or .Name "nobody"}}{{and .Name "somebody"}}</p>`,
		"or stops early":               `<p>{{or "first" (fails)}}{{if and false (fails)}}x{{end}}</p>`,
		"eq":                           `{{if eq .Name "plain" "other"}}1{{end}}{{if eq .N 3}}2{{end}}{{if eq true true}}3{{end}}`,
		"another template":             `{{define "row"}}<li title="{{.}}">{{.}}</li>{{end}}<ul>{{range .Tags}}{{template "row" .}}{{end}}{{template "row" "x"}}</ul>`,
		"a comment and trimming":       `<p>  {{- /* nothing */ -}}  {{.Name}}</p>`,
	}
	for sentence, source := range sources {
		t.Run(sentence, func(t *testing.T) {
			set, theirs, err := escaped(t, source)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range hostile {
				for _, p := range []person{
					{Name: s, Bio: template.HTML(s), Link: template.URL(s), Any: s, Tags: []string{s, "b"}, Values: map[string]string{"key": s}, Next: &person{Name: s}, N: 3, Tint: 7},
					{Name: s, Any: colour(3)},
				} {
					var got, want bytes.Buffer
					if err := theirs.Execute(&want, p); err != nil {
						t.Fatal(err)
					}
					if err := set.Render(&got, "page", p); err != nil {
						t.Fatalf("%q: %v", s, err)
					}
					if got.String() != want.String() {
						t.Errorf("%q:\n%q\nhtml/template:\n%q", s, &got, &want)
					}
				}
			}
		})
	}
}

// FuzzLikeHTMLTemplate has a value in every place that we have an escaper for.
func FuzzLikeHTMLTemplate(f *testing.F) {
	set, theirs, err := escaped(f, `<title>{{.Name}}{{.Bio}}</title><p title="{{.Name}}" lang='{{.Link}}'>{{.Name}}{{.Bio}}<a href="{{.Name}}"><a href="{{.Link}}"><a href="/?a={{.Name}}&b={{.Link}}"></p>`)
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range hostile {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p := person{Name: s, Bio: template.HTML(s), Link: template.URL(s)}
		var got, want bytes.Buffer
		if err := errors.Join(set.Render(&got, "page", p), theirs.Execute(&want, p)); err != nil {
			t.Fatal(err)
		}
		if got.String() != want.String() {
			t.Errorf("%q:\n%q\nhtml/template:\n%q", s, &got, &want)
		}
	})
}

// TestRefused: what is not known is an error, never a guess.
func TestRefused(t *testing.T) {
	t.Run("a place without an escaper of ours", func(t *testing.T) {
		for _, source := range []string{`<script>x = {{.Name}}</script>`, `<p style="color: {{.Name}}">`, `<p title={{.Name}}>`, `<p {{.Name}}>`} {
			if _, _, err := escaped(t, source); err == nil {
				t.Errorf("%s is parsed", source)
			}
		}
	})
	t.Run("a template in places of two kinds", func(t *testing.T) {
		if _, _, err := escaped(t, `{{define "n"}}{{.Name}}{{end}}<p title="{{template "n" .}}">{{template "n" .}}</p>`); err == nil {
			t.Error("is escaped in one way")
		}
	})
	for _, row := range []struct{ sentence, text, says string }{
		{"a value that no escaper has seen", `{{.N}}`, "is not escaped"},
		{"a method", `{{if .Tint.String}}{{end}}`, "has no fields"},
		{"a field that is not there", `{{if .Nobody}}{{end}}`, `no field "Nobody"`},
		{"a field that is not exported", `{{if .secret}}{{end}}`, `no field "secret"`},
		{"a field of nothing", `{{if .Next.Name}}{{end}}`, "nothing to take"},
		{"elements in an attribute", `{{bold "x" | _html_template_attrescaper}}`, "an element stands in an attribute"},
		{"a function that fails", `{{fails}}`, "it fails"},
		{"too few arguments", `{{upper}}`, "takes 1 arguments"},
		{"an argument of another type", `{{upper .N}}`, "cannot be a string"},
		{"an argument that is nothing", `{{upper none}}`, "cannot be a string"},
		{"kinds that are not compared", `{{if eq .Name .N}}{{end}}`, "does not compare"},
		{"an element that is not there", `{{index .Tags 4}}`, "no element 4 of 0"},
		{"a range over no list", `{{range .N}}{{end}}`, "no elements in order"},
		{"an assignment", `{{$x := 1}}{{$x = 2}}`, "assigns"},
		{"a template that is not there", `{{template "other" .}}`, `no template "other"`},
		{"a template that calls itself", `{{template "page" .}}`, "calls itself"},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			set, err := render.Parse(`{{define "page"}}`+row.text+`{{end}}`, funcs)
			if err != nil {
				t.Fatal(err)
			}
			var w bytes.Buffer
			err = set.Render(&w, "page", person{secret: "x"})
			if err == nil || !strings.Contains(err.Error(), row.says) {
				t.Errorf("got %q, %v; want an error that says %q", &w, err, row.says)
			}
		})
	}
	t.Run("a function without a result", func(t *testing.T) {
		if _, err := render.Parse("", render.Funcs{"f": func() {}}); err == nil {
			t.Error("is taken")
		}
	})
	t.Run("an error of a function can be told by its identity", func(t *testing.T) {
		set, err := render.Parse(`{{define "page"}}{{fails}}{{end}}`, funcs)
		if err != nil {
			t.Fatal(err)
		}
		if err := set.Render(new(bytes.Buffer), "page", nil); !errors.Is(err, errFails) {
			t.Error(err)
		}
	})
}

func TestPages(t *testing.T) {
	set, err := render.Parse(`{{define "frame"}}<{{template "main" .}}>{{end}}{{define "a/main"}}a {{upper "x"}}{{end}}{{define "b/main"}}b{{end}}`, funcs)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(set.Pages(), " "); got != "a b" {
		t.Errorf("the pages are %q", got)
	}
	other, err := set.With(render.Funcs{"upper": func(string) string { return "other" }})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		set        *render.Set
		page, want string
	}{{set, "a", "<a X>"}, {set, "b", "<b>"}, {other, "a", "<a other>"}} {
		var w bytes.Buffer
		if err := row.set.Page(row.page).Render(&w, "frame", nil); err != nil || w.String() != row.want {
			t.Errorf("%q, %v; want %q", &w, err, row.want)
		}
	}
	if err := set.Page("c").Render(new(bytes.Buffer), "frame", nil); err == nil {
		t.Error("a page that is not there is written")
	}
}
