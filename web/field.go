package web

import (
	"fmt"
	"strings"
)

// An input is a field as the partial "field" shows it. Label, hint, error and
// their ties for assistive technology are built here, so that a page cannot
// forget them.
type input struct {
	// ID is the id and the name of the input.
	ID           string
	Type         string
	Autocomplete string
	Inputmode    string
	Class        string
	// Dir is ltr for what reads left to right in every language.
	Dir string
	// Rules are for password managers that make one up.
	Rules  string
	MaxLen int
	// Exact switches automatic capitals off.
	Exact bool
	// Capitals switches them on.
	Capitals bool
	// Below puts the hint below the input.
	Below bool
	// ReadOnly is for what is known, and shown for password managers.
	ReadOnly bool
	// Focus is for pages with a single field.
	Focus bool

	Label string
	Hint  string
	Error string
	Value string
}

// describedBy lists the ids of what describes the input.
func describedBy(i input) string {
	var ids []string
	if i.Hint != "" {
		ids = append(ids, i.ID+"-hint")
	}
	if i.Error != "" {
		ids = append(ids, i.ID+"-error")
	}
	return strings.Join(ids, " ")
}

// inputs is the dictionary of fields, by key of the catalogue's "field".
var inputs = map[string]input{
	"identifier": {ID: "identifier", Type: "email", Autocomplete: "username", MaxLen: 254, Dir: "ltr", Exact: true},
	"known": {
		ID: "identifier", Type: "email", Autocomplete: "username", MaxLen: 254, Dir: "ltr", Exact: true, ReadOnly: true,
	},
	"password": {ID: "password", Type: "password", Autocomplete: "current-password", MaxLen: 128, Exact: true},
	"new_password": {
		ID: "password", Type: "password", Autocomplete: "new-password", MaxLen: 128, Exact: true,
		Rules: "minlength: 12; maxlength: 128;",
	},
	"name":  {ID: "name", Type: "text", Autocomplete: "name", MaxLen: 100},
	"email": {ID: "email", Type: "email", Autocomplete: "email", MaxLen: 254, Dir: "ltr", Exact: true},
	"code": {
		ID: "code", Type: "text", Autocomplete: "one-time-code", Inputmode: "numeric", MaxLen: 16, Dir: "ltr",
		Exact: true, Class: "code code-8", Focus: true,
	},
	"totp": {
		ID: "code", Type: "text", Autocomplete: "one-time-code", Inputmode: "numeric", MaxLen: 12, Dir: "ltr",
		Exact: true, Class: "code", Focus: true, Below: true,
	},
	"recovery_code": {
		ID: "recovery_code", Type: "text", Autocomplete: "off", Capitals: true, MaxLen: 24, Dir: "ltr",
		Class: "mono", Focus: true,
	},
	"enrol_code": { // below the QR code, which is to be read first
		ID: "code", Type: "text", Autocomplete: "one-time-code", Inputmode: "numeric", MaxLen: 12, Dir: "ltr",
		Exact: true, Class: "code",
	},
	"off_code": { // of the app, or a recovery code
		ID: "code", Type: "text", Autocomplete: "one-time-code", MaxLen: 24, Dir: "ltr", Exact: true, Class: "mono",
		Focus: true,
	},
	"forgotten": {
		ID: "identifier", Type: "email", Autocomplete: "username", MaxLen: 254, Dir: "ltr", Exact: true, Focus: true,
	},
	"current_password": {
		ID: "current_password", Type: "password", Autocomplete: "current-password", MaxLen: 128, Exact: true,
	},
	"reset_password": {
		ID: "password", Type: "password", Autocomplete: "new-password", MaxLen: 128, Exact: true,
		Rules: "minlength: 12; maxlength: 128;",
	},
}

// field is the input of that key on that page, with what was typed and what was
// wrong with it. A password is never filled in.
func (f *Frame) field(v view, key string) (input, error) {
	i, ok := inputs[key]
	if !ok {
		return input{}, fmt.Errorf("web: no field %q", key)
	}
	i.Label = f.text.plain("field." + key + ".label")
	if hint := "field." + key + ".hint"; f.text.has(hint) {
		i.Hint = f.text.plain(hint)
	}
	i.Error = f.fieldError(v, i.ID)
	if i.Type != "password" {
		i.Value = v.Values[i.ID]
	}
	i.Focus = i.Focus && len(v.Problems) == 0 // the summary of problems goes first
	return i, nil
}

// fieldError is the sentence that stands at the field: a shorter one than the
// summary's where there is one.
func (f *Frame) fieldError(v view, id string) string {
	for _, p := range v.Problems {
		if p.Field != id {
			continue
		}
		key := "problem." + p.Message
		if f.text.has(key + "_field") {
			key += "_field"
		}
		return f.text.plain(key, "domain", v.Domain)
	}
	return ""
}
