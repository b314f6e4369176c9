//go:build !slim

package render

import (
	"errors"
	"fmt"
	"html/template"
	"io"
	"maps"
	"slices"
	"strings"
	"text/template/parse"
)

// Escape has html/template put its escapers into the template called root and
// whatever it calls, and returns them by name, each as it is written. A template
// is called in places of one kind only, such as between elements.
func Escape(t *template.Template, root string) (map[string]string, error) {
	// It escapes before it executes. How it fares with no data is of no interest.
	if err := t.ExecuteTemplate(io.Discard, root, nil); err != nil {
		if e, ok := errors.AsType[*template.Error](err); ok {
			return nil, fmt.Errorf("render: %w", e)
		}
	}
	escaped := map[string]string{}
	var missing error
	var reach func(name string)
	reach = func(name string) {
		if _, seen := escaped[name]; seen {
			return
		}
		called := t.Lookup(name)
		if called == nil || called.Tree == nil {
			// It has made another of a template, which it keeps to itself.
			missing = fmt.Errorf("render: %s: a template is called where its values are escaped in another way", name)
			return
		}
		escaped[name] = called.Tree.Root.String()
		references(called.Tree.Root, reach)
	}
	reach(root)
	return escaped, missing
}

// Text writes templates as [Parse] reads them.
func Text(templates map[string]string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(templates)) {
		fmt.Fprintf(&b, "{{define %q}}%s{{end}}\n", name, templates[name])
	}
	return b.String()
}

// references tells of the templates that n calls.
func references(n parse.Node, found func(name string)) {
	branch := func(b *parse.BranchNode) {
		references(b.List, found)
		if b.ElseList != nil {
			references(b.ElseList, found)
		}
	}
	switch n := n.(type) {
	case *parse.ListNode:
		for _, c := range n.Nodes {
			references(c, found)
		}
	case *parse.IfNode:
		branch(&n.BranchNode)
	case *parse.WithNode:
		branch(&n.BranchNode)
	case *parse.RangeNode:
		branch(&n.BranchNode)
	case *parse.TemplateNode:
		found(n.Name)
	}
}
