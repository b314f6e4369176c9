package api

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// rules are those that the contract states in the options of protovalidate, by
// the message.
//
// They are read here and not by protovalidate itself, whose rules may be
// programs: it links an interpreter for them, which is larger than the whole of
// this server's gRPC. The contract states lengths, one format and required
// oneofs; anything else stops the server at start, and a test holds every
// verdict against protovalidate's.
type rules map[protoreflect.FullName]messageRules

type messageRules struct {
	fields []fieldRules
	// required are the oneofs of which a field must be set.
	required []protoreflect.OneofDescriptor
}

// fieldRules are those of one field, a string. Zero is no bound.
type fieldRules struct {
	field protoreflect.FieldDescriptor
	// minLen and maxLen are in characters, maxBytes in bytes.
	minLen, maxLen, maxBytes uint64
	email                    bool
}

// address is the e-mail address of HTML ("valid e-mail address" in its section
// on the input element), which protovalidate means by email.
var address = regexp.MustCompile("^[a-zA-Z0-9.!#$%&'*+/=?^_`{|}~-]+@[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(?:\\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$")

// readRules returns the rules of every message in the files.
func readRules(files ...protoreflect.FileDescriptor) (rules, error) {
	all := rules{}
	for _, f := range files {
		for i := range f.Messages().Len() {
			m := f.Messages().Get(i)
			r, err := rulesOf(m)
			if err != nil {
				return nil, fmt.Errorf("api: the rules of %s: %w", m.FullName(), err)
			}
			if r.fields != nil || r.required != nil {
				all[m.FullName()] = r
			}
		}
	}
	return all, nil
}

func rulesOf(m protoreflect.MessageDescriptor) (r messageRules, _ error) {
	if proto.HasExtension(m.Options(), validate.E_Message) {
		return r, errors.New("a rule of the whole message is not understood")
	}
	for i := range m.Oneofs().Len() {
		o := m.Oneofs().Get(i)
		if !proto.HasExtension(o.Options(), validate.E_Oneof) {
			continue
		}
		stated, ok := proto.GetExtension(o.Options(), validate.E_Oneof).(*validate.OneofRules)
		if !ok || !stated.GetRequired() {
			return r, fmt.Errorf("the rule of the oneof %s is not understood", o.Name())
		}
		r.required = append(r.required, o)
	}
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		if !proto.HasExtension(f.Options(), validate.E_Field) {
			continue
		}
		stated, ok := proto.GetExtension(f.Options(), validate.E_Field).(*validate.FieldRules)
		if !ok || f.Kind() != protoreflect.StringKind || f.IsList() {
			return r, fmt.Errorf("the rule of %s, which is not a string, is not understood", f.Name())
		}
		text := stated.GetString()
		one := fieldRules{
			field: f, minLen: text.GetMinLen(), maxLen: text.GetMaxLen(), maxBytes: text.GetMaxBytes(), email: text.GetEmail(),
		}
		if !proto.Equal(stated, one.stated()) {
			return r, fmt.Errorf("a rule of %s is not understood: %v", f.Name(), stated)
		}
		r.fields = append(r.fields, one)
	}
	return r, nil
}

// stated is the rules as the contract would state them: what it states beside
// has not been read.
func (r fieldRules) stated() *validate.FieldRules {
	text := &validate.StringRules{}
	if r.minLen > 0 {
		text.MinLen = &r.minLen
	}
	if r.maxLen > 0 {
		text.MaxLen = &r.maxLen
	}
	if r.maxBytes > 0 {
		text.MaxBytes = &r.maxBytes
	}
	if r.email {
		text.WellKnown = &validate.StringRules_Email{Email: true}
	}
	return &validate.FieldRules{Type: &validate.FieldRules_String_{String_: text}}
}

// check returns what is wrong with a message, in the order of the contract; nil
// is nothing.
func (all rules) check(m protoreflect.Message) (broken []*errdetails.BadRequest_FieldViolation) {
	r := all[m.Descriptor().FullName()]
	for _, o := range r.required {
		if m.WhichOneof(o) == nil {
			broken = append(broken, violation(string(o.Name()), "required", "one of its fields must be set"))
		}
	}
	for i := range r.fields {
		f := &r.fields[i]
		if f.field.HasPresence() && !m.Has(f.field) {
			continue // of another arm of a oneof
		}
		broken = f.check(m.Get(f.field).String(), broken)
	}
	return broken
}

func (r *fieldRules) check(s string, broken []*errdetails.BadRequest_FieldViolation) []*errdetails.BadRequest_FieldViolation {
	name := string(r.field.Name())
	if r.minLen > 0 || r.maxLen > 0 {
		n := uint64(utf8.RuneCountInString(s))
		if n < r.minLen {
			broken = append(broken, violation(name, "string.min_len", fmt.Sprintf("must be at least %d characters", r.minLen)))
		}
		if r.maxLen > 0 && n > r.maxLen {
			broken = append(broken, violation(name, "string.max_len", fmt.Sprintf("must be at most %d characters", r.maxLen)))
		}
	}
	if r.maxBytes > 0 && uint64(len(s)) > r.maxBytes {
		broken = append(broken, violation(name, "string.max_bytes", fmt.Sprintf("must be at most %d bytes", r.maxBytes)))
	}
	switch {
	case !r.email:
	case s == "":
		broken = append(broken, violation(name, "string.email_empty", "must not be empty"))
	case !address.MatchString(s):
		broken = append(broken, violation(name, "string.email", "must be an e-mail address"))
	}
	return broken
}

// violation names the rule as protovalidate does, in the letters of a reason.
func violation(field, rule, sentence string) *errdetails.BadRequest_FieldViolation {
	return &errdetails.BadRequest_FieldViolation{
		Field: field, Reason: strings.ToUpper(strings.ReplaceAll(rule, ".", "_")), Description: sentence,
	}
}
