package api

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	authv1 "github.com/gatehouse-id/gatehouse/api/gatehouse/auth/v1"
	"github.com/gatehouse-id/gatehouse/login"
)

var contract = []protoreflect.FileDescriptor{authv1.File_gatehouse_auth_v1_authentication_proto, authv1.File_gatehouse_auth_v1_account_proto}

// TestRulesAreProtovalidates holds our verdicts against those of protovalidate,
// rule by rule, over messages that are near the edges of the rules.
func TestRulesAreProtovalidates(t *testing.T) {
	ours, err := readRules(contract...)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := protovalidate.New()
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	checked, broken := 0, 0
	for _, f := range contract {
		for i := range f.Messages().Len() {
			m := f.Messages().Get(i)
			if !strings.HasSuffix(string(m.Name()), "Request") {
				continue
			}
			for range 2000 {
				message := dynamicpb.NewMessage(m)
				for j := range m.Fields().Len() {
					if r.IntN(8) > 0 {
						message.Set(m.Fields().Get(j), protoreflect.ValueOfString(sample(r)))
					}
				}
				var got, want []string
				for _, v := range ours.check(message) {
					got = append(got, v.GetField()+" "+v.GetReason())
				}
				if err := theirs.Validate(message); err != nil {
					e, ok := errors.AsType[*protovalidate.ValidationError](err)
					if !ok {
						t.Fatal(err)
					}
					for _, v := range e.Violations {
						name := protovalidate.FieldPathString(v.Proto.GetField())
						want = append(want, name+" "+strings.ToUpper(strings.ReplaceAll(v.Proto.GetRuleId(), ".", "_")))
					}
				}
				slices.Sort(got)
				slices.Sort(want)
				if !slices.Equal(got, want) {
					t.Fatalf("%v breaks %q, and by protovalidate %q", message, got, want)
				}
				checked++
				if got != nil {
					broken++
				}
			}
		}
	}
	if checked < 40_000 || broken < checked/4 || broken == checked {
		t.Errorf("%d of %d messages broke a rule", broken, checked)
	}
}

// sample is a text near the edges of the contract's rules.
func sample(r *rand.Rand) string {
	letters := []string{"a", "é", "漢", "😀", "@", ".", " ", "-"}
	switch r.IntN(4) {
	case 0: // short
		var b strings.Builder
		for range r.IntN(30) {
			b.WriteString(letters[r.IntN(len(letters))])
		}
		return b.String()
	case 1: // around the lengths that the contract names
		edges := []int{0, 1, 12, 15, 24, 35, 64, 100, 200, 254, 256, 512}
		return strings.Repeat(letters[r.IntN(len(letters))], max(0, edges[r.IntN(len(edges))]+r.IntN(3)-1))
	case 2: // nearly an address
		parts := []string{"asha", "a.b", "", "a+b", "ä", "a b", `"a"`, strings.Repeat("a", 65)}
		domains := []string{"example.com", "localhost", "-a.com", "a-.com", "a..com", "", "[::1]", "exämple.com", strings.Repeat("a", 64) + ".com", strings.Repeat("a.", 126) + "b"}
		return parts[r.IntN(len(parts))] + []string{"@", "@", "@", "@@", ""}[r.IntN(5)] + domains[r.IntN(len(domains))]
	default:
		return []string{"asha@example.com", "12345678", "123456", "22222-22222-22222", "en"}[r.IntN(5)]
	}
}

// TestRulesOfContract: every text of a request is bounded, and there is nothing
// in a request that our rules could not be of.
func TestRulesOfContract(t *testing.T) {
	ours, err := readRules(contract...)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range contract {
		for i := range f.Messages().Len() {
			m := f.Messages().Get(i)
			if !strings.HasSuffix(string(m.Name()), "Request") {
				continue
			}
			for j := range m.Fields().Len() {
				field := m.Fields().Get(j)
				if field.Kind() != protoreflect.StringKind || field.IsList() {
					t.Errorf("%s is a %v", field.FullName(), field.Kind())
				}
				bounded := slices.ContainsFunc(ours[m.FullName()].fields, func(r fieldRules) bool {
					return r.field == field && (r.maxLen > 0 || r.maxBytes > 0)
				})
				if !bounded {
					t.Errorf("%s has no bound", field.FullName())
				}
			}
			for j := range m.Oneofs().Len() {
				if o := m.Oneofs().Get(j); !slices.Contains(ours[m.FullName()].required, o) {
					t.Errorf("%s need not be set", o.FullName())
				}
			}
		}
	}
}

// TestRulesNotUnderstood: a contract that states what is not read stops the
// server.
func TestRulesNotUnderstood(t *testing.T) {
	field := func(rules *validate.FieldRules, of descriptorpb.FieldDescriptorProto_Type) func(*descriptorpb.DescriptorProto) {
		return func(m *descriptorpb.DescriptorProto) {
			o := &descriptorpb.FieldOptions{}
			proto.SetExtension(o, validate.E_Field, rules)
			m.Field[0].Options, m.Field[0].Type = o, of.Enum()
		}
	}
	text := func(r *validate.StringRules) *validate.FieldRules {
		return &validate.FieldRules{Type: &validate.FieldRules_String_{String_: r}}
	}
	for _, c := range []struct {
		sentence   string
		change     func(*descriptorpb.DescriptorProto)
		understood bool
	}{
		{"a least length", field(text(&validate.StringRules{MinLen: proto.Uint64(1)}), descriptorpb.FieldDescriptorProto_TYPE_STRING), true},
		{"a pattern", field(text(&validate.StringRules{Pattern: proto.String("^a$")}), descriptorpb.FieldDescriptorProto_TYPE_STRING), false},
		{"a length beside a pattern", field(text(&validate.StringRules{MinLen: proto.Uint64(1), Pattern: proto.String("^a$")}), descriptorpb.FieldDescriptorProto_TYPE_STRING), false},
		{"a host name", field(text(&validate.StringRules{WellKnown: &validate.StringRules_Hostname{Hostname: true}}), descriptorpb.FieldDescriptorProto_TYPE_STRING), false},
		{"a number", field(&validate.FieldRules{Type: &validate.FieldRules_Int32{Int32: &validate.Int32Rules{}}}, descriptorpb.FieldDescriptorProto_TYPE_INT32), false},
		{"a program", field(&validate.FieldRules{Cel: []*validate.Rule{{Expression: proto.String("true")}}}, descriptorpb.FieldDescriptorProto_TYPE_STRING), false},
		{"a rule of the whole message", func(m *descriptorpb.DescriptorProto) {
			m.Options = &descriptorpb.MessageOptions{}
			proto.SetExtension(m.Options, validate.E_Message, &validate.MessageRules{})
		}, false},
	} {
		t.Run(c.sentence, func(t *testing.T) {
			m := &descriptorpb.DescriptorProto{Name: proto.String("M"), Field: []*descriptorpb.FieldDescriptorProto{{
				Name: proto.String("f"), Number: proto.Int32(1), Type: descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum(),
				Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
			}}}
			c.change(m)
			f, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
				Name: proto.String("f.proto"), Syntax: proto.String("proto3"), MessageType: []*descriptorpb.DescriptorProto{m},
			}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := readRules(f); (err == nil) != c.understood {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestRefusals: the map of errors is complete, and says nothing twice.
func TestRefusals(t *testing.T) {
	if len(refusals) != len(login.Reasons()) {
		t.Errorf("there are %d refusals for %d reasons", len(refusals), len(login.Reasons()))
	}
	said := map[string]login.Reason{}
	for _, r := range login.Reasons() {
		how, ok := refusals[r]
		if !ok {
			t.Errorf("no refusal for %s", r)
		}
		if !strings.HasSuffix(how.sentence, ".") {
			t.Errorf("%s is no sentence: %q", r, how.sentence)
		}
		if other, ok := said[how.sentence]; ok {
			t.Errorf("%s reads as %s", r, other)
		}
		said[how.sentence] = r
	}
}

// TestNeedsToken: what is added to the contract is closed until it is opened.
func TestNeedsToken(t *testing.T) {
	for method, want := range map[string]bool{
		"/gatehouse.auth.v1.AuthenticationService/Login":      false,
		"/gatehouse.auth.v1.AccountService/Profile":           true,
		"/gatehouse.auth.v1.AuthenticationServiceAdmin/Login": true,
		"/gatehouse.auth.v1.NewService/Anything":              true,
		"/grpc.health.v1.Health/Check":                        false,
		"/envoy.service.auth.v3.Authorization/Check":          false,
	} {
		if got := needsToken(method); got != want {
			t.Errorf("%s needs a token: %v", method, got)
		}
	}
}

// TestPersonAddress: the address is the connection's, or the last one that a
// proxy of ours has not written about another of ours.
func TestPersonAddress(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for _, c := range []struct {
		sentence, peer string
		forwarded      []string
		want           string
	}{
		{"nobody between", "203.0.113.7", nil, "203.0.113.7"},
		{"a stranger's word is not believed", "203.0.113.7", []string{"192.0.2.1"}, "203.0.113.7"},
		{"a proxy's is", "10.0.0.1", []string{"192.0.2.1"}, "192.0.2.1"},
		{"the last counts", "10.0.0.1", []string{"198.51.100.9, 192.0.2.1"}, "192.0.2.1"},
		{"over lines", "10.0.0.1", []string{"198.51.100.9", "192.0.2.1"}, "192.0.2.1"},
		{"behind a second proxy", "10.0.0.1", []string{"192.0.2.1, 10.0.0.2"}, "192.0.2.1"},
		{"in IPv6", "fd00::1", []string{"2001:db8::1"}, "2001:db8::1"},
		{"in two spellings", "10.0.0.1", []string{"::ffff:192.0.2.1"}, "192.0.2.1"},
		{"a proxy that says nothing", "10.0.0.1", nil, "10.0.0.1"},
		{"or nonsense", "10.0.0.1", []string{"192.0.2.1, unknown"}, "10.0.0.1"},
	} {
		t.Run(c.sentence, func(t *testing.T) {
			s := &Server{proxies: proxies}
			if got := s.personAddress(netip.MustParseAddr(c.peer), func() []string { return c.forwarded }); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
	if got := (&Server{}).personAddress(netip.Addr{}, nil); got != "" {
		t.Errorf("a connection without an address is from %q", got)
	}
	if got := printable("a\x1b[31mb\u202ec"+strings.Repeat("x", 300), maxUserAgent); len(got) != maxUserAgent || !strings.HasPrefix(got, "a[31mbc") {
		t.Errorf("got %q", got)
	}
}
