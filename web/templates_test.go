package web

import (
	"bytes"
	"flag"
	"html/template"
	"os"
	"path"
	"strings"
	"sync"
	"testing"
)

var update = flag.Bool("update", false, "write escaped.tmpl")

//go:generate go test -run ^TestEscaped$ -update .

func TestEscaped(t *testing.T) {
	f, err := NewFrame("", Theme{}, Links{}, false)
	if err != nil {
		t.Fatal(err)
	}
	want, err := escape(f.funcs, templateFiles, "templates/*.html")
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("escaped.tmpl", []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("escaped.tmpl")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("escaped.tmpl, which slim builds have, is not what templates/ say: make generate")
	}
}

// Judge has html/template write every page of s as well: a page that differs
// fails the test. That is, whatever a test of this package looks at has been
// compared.
func Judge(t testing.TB, s *Web) {
	t.Helper()
	for _, face := range s.speaking {
		ours, funcs := face.pages, template.FuncMap(face.frame.funcs)
		shared, err := template.New("").Funcs(funcs).ParseFS(templateFiles, "templates/frame.html", "templates/partials.html")
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		judges := map[string]*template.Template{}
		face.pages = func(page string) Template {
			mu.Lock()
			defer mu.Unlock()
			judge := judges[page]
			if judge == nil {
				if judge, err = onePage(shared, templateFiles, path.Join("templates", page+".html")); err != nil {
					t.Errorf("the page %q: %v", page, err)
					return ours(page)
				}
				judges[page] = judge
			}
			return judged{t, page, ours(page), judge}
		}
	}
}

type judged struct {
	t     testing.TB
	page  string
	ours  Template
	judge *template.Template
}

func (j judged) Render(w *bytes.Buffer, name string, data any) error {
	var got, want bytes.Buffer
	err, judgesErr := j.ours.Render(&got, name, data), j.judge.ExecuteTemplate(&want, name, data)
	if err != nil || judgesErr != nil {
		j.t.Errorf("the page %q: %v; html/template: %v", j.page, err, judgesErr)
		return err
	}
	if got.String() != want.String() {
		at := 0
		for at < min(got.Len(), want.Len()) && got.Bytes()[at] == want.Bytes()[at] {
			at++
		}
		near := func(s string) string { return s[max(0, at-80):min(len(s), at+80)] }
		j.t.Errorf("the page %q is not what html/template makes of it. At byte %d:\n%q\n%q", j.page, at, near(got.String()), near(want.String()))
	}
	w.Write(got.Bytes())
	return nil
}

// TestJudge: a page that differs is noticed.
func TestJudge(t *testing.T) {
	other := template.Must(template.New("").Parse(`{{define "x"}}a page{{.}}{{end}}`))
	for _, row := range []struct {
		sentence, ours string
		fails          bool
	}{
		{"the same page is let pass", "a page&lt;", false},
		{"another is not", "a page<", true},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			rec := &recorder{TB: t}
			var w bytes.Buffer
			_ = judged{rec, "x", fixed(row.ours), other}.Render(&w, "x", "<")
			if rec.failed != row.fails || !strings.Contains(w.String(), "a page") {
				t.Errorf("failed: %v, wrote %q", rec.failed, &w)
			}
		})
	}
}

type fixed string

func (f fixed) Render(w *bytes.Buffer, _ string, _ any) error {
	w.WriteString(string(f))
	return nil
}

type recorder struct {
	testing.TB
	failed bool
}

func (r *recorder) Errorf(string, ...any) { r.failed = true }
