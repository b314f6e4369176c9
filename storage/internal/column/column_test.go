package column

import (
	"reflect"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

func TestTime(t *testing.T) {
	in := time.Date(2031, 5, 4, 3, 2, 1, 123456789, time.FixedZone("", -3*3600))
	want := time.Date(2031, 5, 4, 6, 2, 1, 123456000, time.UTC)
	value, err := Time(in).Value()
	if err != nil || value != any(want) {
		t.Errorf("kept as %v, %v; want %v", value, err, want)
	}
	var got Time
	if err := got.Scan(want.In(time.FixedZone("", 3600))); err != nil || time.Time(got) != want {
		t.Errorf("read as %v, %v; want %v", time.Time(got), err, want)
	}
	if value, err := (Time{}).Value(); err != nil || value != nil {
		t.Errorf("the zero time is kept as %v, %v", value, err)
	}
	if err := got.Scan(nil); err != nil || !time.Time(got).IsZero() {
		t.Errorf("NULL is read as %v, %v", time.Time(got), err)
	}
	if err := got.Scan("2031-05-04"); err == nil {
		t.Error("text was read as a time")
	}

	// PostgreSQL's driver does it in its own way.
	stamp, err := Time(in).TimestamptzValue()
	if err != nil || stamp != (pgtype.Timestamptz{Time: want, Valid: true}) {
		t.Errorf("kept as %v, %v", stamp, err)
	}
	if err := got.ScanTimestamptz(pgtype.Timestamptz{Time: want.In(time.FixedZone("", 3600)), Valid: true}); err != nil || time.Time(got) != want {
		t.Errorf("read as %v, %v; want %v", time.Time(got), err, want)
	}
	if stamp, err := (Time{}).TimestamptzValue(); err != nil || stamp.Valid {
		t.Errorf("the zero time is kept as %v, %v", stamp, err)
	}
	if err := got.ScanTimestamptz(pgtype.Timestamptz{}); err != nil || !time.Time(got).IsZero() {
		t.Errorf("NULL is read as %v, %v", time.Time(got), err)
	}
	if err := got.ScanTimestamptz(pgtype.Timestamptz{InfinityModifier: pgtype.Infinity, Valid: true}); err == nil {
		t.Error("infinity was read as a time")
	}
}

func TestStrings(t *testing.T) {
	for _, c := range []struct {
		list Strings
		text string
		back Strings
	}{
		{nil, `[]`, nil},
		{Strings{}, `[]`, nil},
		{Strings{"openid", "", "https://api.example/?a=b"}, `["openid","","https://api.example/?a=b"]`, Strings{"openid", "", "https://api.example/?a=b"}},
		{Strings{"a&b", "é"}, `["a\u0026b","é"]`, Strings{"a&b", "é"}},
		{Strings{"openid", "a b", `"\`, ""}, `["openid","a b","\"\\",""]`, Strings{"openid", "a b", `"\`, ""}},
	} {
		value, err := c.list.Value()
		if err != nil || value != any(c.text) {
			t.Errorf("%q is kept as %v, %v", c.list, value, err)
		}
		got := Strings{"left over"}
		if err := got.Scan(c.text); err != nil || !reflect.DeepEqual(got, c.back) {
			t.Errorf("%s is read as %#v, %v", c.text, got, err)
		}
	}
	var got Strings
	for _, bad := range []any{nil, 1, "{", `[1]`, ``} {
		if err := got.Scan(bad); err == nil {
			t.Errorf("%v was read as %q", bad, got)
		}
	}
}

func TestClaims(t *testing.T) {
	for _, c := range []struct {
		claims Claims
		text   string
		back   Claims
	}{
		{Claims{}, ``, Claims{}},
		{Claims{UserInfo: []string{}}, ``, Claims{}},
		{Claims{IDToken: []string{"acr"}}, `{"id_token":["acr"]}`, Claims{IDToken: []string{"acr"}}},
	} {
		value, err := c.claims.Value()
		if err != nil || value != any(c.text) {
			t.Errorf("%v is kept as %v, %v", c.claims, value, err)
		}
		got := Claims{UserInfo: []string{"left over"}}
		if err := got.Scan(c.text); err != nil || !reflect.DeepEqual(got, c.back) {
			t.Errorf("%s is read as %v, %v", c.text, got, err)
		}
	}
}

func TestProfile(t *testing.T) {
	got := Profile{Nickname: "left over"}
	if err := got.Scan("{}"); err != nil || !reflect.DeepEqual(got, Profile{}) {
		t.Errorf("none is read as %v, %v", got, err)
	}
	for _, bad := range []any{nil, 1, "", "[]"} {
		if err := got.Scan(bad); err == nil {
			t.Errorf("%v was read as %v", bad, got)
		}
	}
}
