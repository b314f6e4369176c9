// Package render writes pages from templates in which html/template has put its
// escapers already.
//
// What stands in a page is escaped by its place there, and html/template decides
// how: [Escape] has it do so. It does not execute the result, because it looks up
// methods by a name that is known only then. A program that does so keeps every
// exported method of every type in it, needed or not: for the server that is more
// than it consists of otherwise. See docs/decisions/0014-image-size.md.
//
// Templates here read fields, maps and slices and call functions. They call no
// methods, and of the built-in functions there are those in [builtins].
package render

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"text/template/parse"
)

// Funcs are functions by name. Each returns one value, or one and an error.
type Funcs map[string]any

// A Set is templates that call each other by name, and the functions they call.
// It is safe for concurrent use.
type Set struct {
	trees map[string]*parse.Tree
	funcs map[string]reflect.Value
	page  string
}

// Parse reads the output of [Escape]. The functions it calls must be in funcs.
func Parse(text string, funcs Funcs) (*Set, error) {
	trees, err := parse.Parse("pages", text, "", "", builtins, escapers, funcs)
	if err != nil {
		return nil, fmt.Errorf("render: %w", err)
	}
	s := &Set{trees: trees, funcs: map[string]reflect.Value{}}
	for _, group := range []Funcs{builtins, escapers, funcs} {
		if err := s.add(group); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// With returns the same templates with other functions instead of those of the
// same names.
func (s *Set) With(funcs Funcs) (*Set, error) {
	other := &Set{trees: s.trees, funcs: maps.Clone(s.funcs), page: s.page}
	return other, other.add(funcs)
}

// Page returns the set as a page has it: a template "page/name" is called "name"
// in it, and hides one that is only called that.
func (s *Set) Page(page string) *Set {
	return &Set{trees: s.trees, funcs: s.funcs, page: page}
}

// Pages returns the names that [Set.Page] knows, in order.
func (s *Set) Pages() []string {
	var names []string
	for name := range s.trees {
		if page, _, found := strings.Cut(name, "/"); found {
			names = append(names, page)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (s *Set) tree(name string) *parse.Tree {
	if t := s.trees[s.page+"/"+name]; t != nil {
		return t
	}
	return s.trees[name]
}

var errorType = reflect.TypeFor[error]()

func (s *Set) add(funcs Funcs) error {
	for name, f := range funcs {
		v := reflect.ValueOf(f)
		if t := v.Type(); t.Kind() != reflect.Func || t.NumOut() != 1 && (t.NumOut() != 2 || t.Out(1) != errorType) {
			return fmt.Errorf("render: %s is a %T, and not a function of one result", name, f)
		}
		s.funcs[name] = v
	}
	return nil
}

// Render appends what the template makes of data. When it fails, w has a part of
// that.
func (s *Set) Render(w *bytes.Buffer, name string, data any) (err error) {
	defer func() {
		switch f := recover().(type) {
		case nil:
		case fault:
			err = fmt.Errorf("render: template %q: %w", name, f.error)
		default:
			panic(f)
		}
	}()
	r := run{set: s, w: w}
	r.template(name, reflect.ValueOf(data))
	return nil
}

// A fault ends a run, from however deep.
type fault struct{ error }

func fail(format string, args ...any) { panic(fault{fmt.Errorf(format, args...)}) }

// A run is one template being executed; each template it calls is a run of its
// own, with its own variables.
type run struct {
	set   *Set
	w     *bytes.Buffer
	vars  []variable
	depth int
}

type variable struct {
	name  string
	value reflect.Value
}

// maxDepth is how deep templates call each other at most.
const maxDepth = 100

func (r *run) template(name string, dot reflect.Value) {
	t := r.set.tree(name)
	switch {
	case t == nil || t.Root == nil:
		fail("there is no template %q", name)
	case r.depth == maxDepth:
		fail("%q calls itself", name)
	}
	inner := run{set: r.set, w: r.w, vars: []variable{{"$", dot}}, depth: r.depth + 1}
	inner.list(t.Root, dot)
}

func (r *run) list(l *parse.ListNode, dot reflect.Value) {
	if l == nil {
		return
	}
	for _, n := range l.Nodes {
		r.node(n, dot)
	}
}

func (r *run) node(n parse.Node, dot reflect.Value) {
	switch n := n.(type) {
	case *parse.TextNode:
		r.w.Write(n.Text)
	case *parse.ActionNode:
		v := r.pipe(n.Pipe, dot)
		if len(n.Pipe.Decl) > 0 {
			return
		}
		// An escaper is the last of every pipeline: what is no string has not been
		// through one.
		if v = inside(v); !v.IsValid() || v.Kind() != reflect.String {
			fail("%s is not escaped", n)
		}
		r.w.WriteString(v.String())
	case *parse.TemplateNode:
		r.template(n.Name, r.pipe(n.Pipe, dot))
	case *parse.IfNode:
		r.scope(func() {
			if truth(r.pipe(n.Pipe, dot)) {
				r.list(n.List, dot)
			} else {
				r.list(n.ElseList, dot)
			}
		})
	case *parse.WithNode:
		r.scope(func() {
			if v := r.pipe(n.Pipe, dot); truth(v) {
				r.list(n.List, v)
			} else {
				r.list(n.ElseList, dot)
			}
		})
	case *parse.RangeNode:
		r.scope(func() { r.each(n, dot) })
	case *parse.CommentNode:
	default:
		fail("%s is not known here", n)
	}
}

// scope forgets the variables that f declares.
func (r *run) scope(f func()) {
	n := len(r.vars)
	f()
	r.vars = r.vars[:n]
}

func (r *run) each(n *parse.RangeNode, dot reflect.Value) {
	v := inside(r.commands(n.Pipe, dot))
	if !v.IsValid() {
		r.list(n.ElseList, dot)
		return
	}
	if v.Kind() != reflect.Slice && v.Kind() != reflect.Array {
		fail("%s is a %s, and has no elements in order", n.Pipe, v.Type())
	}
	if v.Len() == 0 {
		r.list(n.ElseList, dot)
	}
	for i := range v.Len() {
		r.scope(func() {
			declared := []reflect.Value{reflect.ValueOf(i), v.Index(i)}
			for j, d := range n.Pipe.Decl {
				// One variable is the element, the first of two its index.
				r.vars = append(r.vars, variable{d.Ident[0], declared[2-len(n.Pipe.Decl)+j]})
			}
			r.list(n.List, v.Index(i))
		})
	}
}

// pipe is the value of a pipeline, and that of the variable it declares. No
// pipeline is the zero Value.
func (r *run) pipe(p *parse.PipeNode, dot reflect.Value) reflect.Value {
	if p == nil {
		return reflect.Value{}
	}
	v := r.commands(p, dot)
	for _, d := range p.Decl {
		if p.IsAssign {
			fail("%s assigns, which is not known here", p)
		}
		r.vars = append(r.vars, variable{d.Ident[0], v})
	}
	return v
}

// commands is what the last command of a pipeline makes of what the one before
// gives it, as its last argument.
func (r *run) commands(p *parse.PipeNode, dot reflect.Value) (v reflect.Value) {
	for i, c := range p.Cmds {
		v = r.command(c, dot, v, i > 0)
	}
	return v
}

func (r *run) command(c *parse.CommandNode, dot, before reflect.Value, piped bool) reflect.Value {
	if id, ok := c.Args[0].(*parse.IdentifierNode); ok {
		if id.Ident == "and" || id.Ident == "or" {
			return r.short(id.Ident == "or", c.Args[1:], dot, before, piped)
		}
		args := make([]reflect.Value, 0, len(c.Args))
		for _, a := range c.Args[1:] {
			args = append(args, r.value(a, dot))
		}
		if piped {
			args = append(args, before)
		}
		return r.call(id.Ident, args)
	}
	if len(c.Args) > 1 || piped {
		fail("%s is no function", c.Args[0])
	}
	return r.value(c.Args[0], dot)
}

// short is and, or or: the first argument that decides, or the last.
func (r *run) short(or bool, args []parse.Node, dot, before reflect.Value, piped bool) (v reflect.Value) {
	for _, a := range args {
		if v = r.value(a, dot); truth(v) == or {
			return v
		}
	}
	if piped {
		return before
	}
	return v
}

func (r *run) value(n parse.Node, dot reflect.Value) reflect.Value {
	switch n := n.(type) {
	case *parse.DotNode:
		return dot
	case *parse.FieldNode:
		return fields(dot, n.Ident, n)
	case *parse.VariableNode:
		for _, v := range slices.Backward(r.vars) {
			if v.name == n.Ident[0] {
				return fields(v.value, n.Ident[1:], n)
			}
		}
		fail("there is no variable %s", n)
	case *parse.ChainNode:
		return fields(r.value(n.Node, dot), n.Field, n)
	case *parse.PipeNode:
		return r.pipe(n, dot)
	case *parse.IdentifierNode:
		return r.call(n.Ident, nil)
	case *parse.StringNode:
		return reflect.ValueOf(n.Text)
	case *parse.BoolNode:
		return reflect.ValueOf(n.True)
	case *parse.NumberNode:
		if n.IsInt && int64(int(n.Int64)) == n.Int64 {
			return reflect.ValueOf(int(n.Int64))
		}
	}
	fail("%s is not known here", n)
	return reflect.Value{}
}

// inside is what an interface holds; the zero Value when that is nothing.
func inside(v reflect.Value) reflect.Value {
	for v.IsValid() && v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	return v
}

// fields follows the names from v: fields of structs, through pointers, and keys
// of maps.
func fields(v reflect.Value, names []string, n parse.Node) reflect.Value {
	for _, name := range names {
		v = inside(v)
		for v.IsValid() && v.Kind() == reflect.Pointer {
			v = inside(v.Elem())
		}
		if !v.IsValid() {
			fail("%s: there is nothing to take %q of", n, name)
		}
		switch v.Kind() {
		case reflect.Struct:
			f, ok := v.Type().FieldByName(name)
			if !ok || !f.IsExported() {
				fail("%s: %s has no field %q", n, v.Type(), name)
			}
			in, err := v.FieldByIndexErr(f.Index)
			if err != nil {
				fail("%s: %w", n, err)
			}
			v = in
		case reflect.Map:
			v = entry(v, reflect.ValueOf(name))
		default:
			fail("%s: %s has no fields", n, v.Type())
		}
	}
	return v
}

// entry is what a map has for the key, and the zero value when it has none.
func entry(m, key reflect.Value) reflect.Value {
	if key = inside(key); !key.IsValid() || !key.Type().AssignableTo(m.Type().Key()) {
		fail("%s has no such keys", m.Type())
	}
	if v := m.MapIndex(key); v.IsValid() {
		return v
	}
	return reflect.Zero(m.Type().Elem())
}

// call calls a function of the set. An argument that is nothing, as the inside of
// a nil interface is, is the zero value of its parameter.
func (r *run) call(name string, args []reflect.Value) reflect.Value {
	f, ok := r.set.funcs[name]
	if !ok {
		fail("there is no function %s", name)
	}
	t := f.Type()
	if n := t.NumIn(); len(args) != n && !(t.IsVariadic() && len(args) >= n-1) {
		fail("%s takes %d arguments, and is given %d", name, n, len(args))
	}
	for i, a := range args {
		want := t.In(min(i, t.NumIn()-1))
		if t.IsVariadic() && i >= t.NumIn()-1 {
			want = want.Elem()
		}
		if !a.IsValid() {
			if want.Kind() != reflect.Interface && want.Kind() != reflect.Pointer {
				fail("argument %d of %s is nothing", i+1, name)
			}
			args[i] = reflect.Zero(want)
			continue
		}
		if !a.Type().AssignableTo(want) {
			a = inside(a)
		}
		if !a.IsValid() || !a.Type().AssignableTo(want) {
			fail("argument %d of %s cannot be a %s", i+1, name, want)
		}
		args[i] = a
	}
	out := f.Call(args)
	if len(out) == 2 && !out[1].IsNil() {
		err, _ := out[1].Interface().(error)
		panic(fault{err})
	}
	return out[0]
}

// truth is whether v counts as true: it is neither nothing nor zero nor empty. A
// struct is always true.
func truth(v reflect.Value) bool {
	v = inside(v)
	if !v.IsValid() {
		return false
	}
	switch v.Kind() {
	case reflect.String, reflect.Slice, reflect.Map, reflect.Array:
		return v.Len() > 0
	case reflect.Struct:
		return true
	default:
		return !v.IsZero()
	}
}

// builtins are the functions that every template may call, next to "and" and
// "or", which stop at the first argument that decides.
var builtins = Funcs{
	"and":    func(...any) (any, error) { return nil, errShort },
	"or":     func(...any) (any, error) { return nil, errShort },
	"not":    func(v any) bool { return !truth(reflect.ValueOf(v)) },
	"eq":     equal,
	"printf": fmt.Sprintf,
	"index":  index,
}

var errShort = errors.New("it stands where it cannot stop early")

// equal reports whether the first is one of the others. They are strings, whole
// numbers or truths; two kinds of them are never compared.
func equal(v any, others ...any) (bool, error) {
	if len(others) == 0 {
		return false, errors.New("eq compares two")
	}
	first := reflect.ValueOf(v)
	for _, o := range others {
		second := reflect.ValueOf(o)
		same := false
		switch {
		case !first.IsValid() || !second.IsValid():
			return false, errors.New("eq is given nothing")
		case first.Kind() == reflect.String && second.Kind() == reflect.String:
			same = first.String() == second.String()
		case first.CanInt() && second.CanInt():
			same = first.Int() == second.Int()
		case first.Kind() == reflect.Bool && second.Kind() == reflect.Bool:
			same = first.Bool() == second.Bool()
		default:
			return false, fmt.Errorf("eq does not compare a %s with a %s", first.Type(), second.Type())
		}
		if same {
			return true, nil
		}
	}
	return false, nil
}

// index is an element of a slice, or what a map has for a key.
func index(of, at any) (any, error) {
	v, i := reflect.ValueOf(of), reflect.ValueOf(at)
	switch {
	case v.IsValid() && v.Kind() == reflect.Map:
		if !i.IsValid() || !i.Type().AssignableTo(v.Type().Key()) {
			return nil, fmt.Errorf("index: %s has no such keys", v.Type())
		}
		return entry(v, i).Interface(), nil
	case v.IsValid() && v.Kind() == reflect.Slice && i.IsValid() && i.CanInt():
		if n := i.Int(); n >= 0 && n < int64(v.Len()) {
			return v.Index(int(n)).Interface(), nil
		}
		return nil, fmt.Errorf("index: there is no element %d of %d", i.Int(), v.Len())
	default:
		return nil, errors.New("index takes a map or a slice")
	}
}
