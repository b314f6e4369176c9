// Package column holds the Go types of columns that both databases share. Each
// reads and writes itself, so the generated code of the two engines has the
// same fields.
package column

import (
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/gatehouse-id/gatehouse/storage"
)

// Time is a point in time, UTC to the microsecond. The zero time is NULL.
type Time time.Time

// Value implements [driver.Valuer].
func (t Time) Value() (driver.Value, error) {
	if time.Time(t).IsZero() {
		return nil, nil
	}
	return time.Time(t).UTC().Truncate(time.Microsecond), nil
}

// Scan implements [database/sql.Scanner].
func (t *Time) Scan(src any) error {
	switch src := src.(type) {
	case nil:
		*t = Time{}
	case time.Time:
		*t = Time(src.UTC())
	default:
		return fmt.Errorf("column: a time cannot be read from %T", src)
	}
	return nil
}

// TimestamptzValue implements [pgtype.TimestamptzValuer], which costs PostgreSQL's
// driver less than Value.
func (t Time) TimestamptzValue() (pgtype.Timestamptz, error) {
	if time.Time(t).IsZero() {
		return pgtype.Timestamptz{}, nil
	}
	return pgtype.Timestamptz{Time: time.Time(t).UTC().Truncate(time.Microsecond), Valid: true}, nil
}

// ScanTimestamptz implements [pgtype.TimestamptzScanner].
func (t *Time) ScanTimestamptz(v pgtype.Timestamptz) error {
	if v.InfinityModifier != pgtype.Finite {
		return fmt.Errorf("column: a time cannot be read from %v", v.InfinityModifier)
	}
	*t = Time{}
	if v.Valid {
		*t = Time(v.Time.UTC())
	}
	return nil
}

// Strings is a list of strings, kept as JSON. An empty list is read as nil.
type Strings []string

// Value implements [driver.Valuer].
func (s Strings) Value() (driver.Value, error) {
	if slices.ContainsFunc(s, needsEscape) {
		return marshal(s)
	}
	if len(s) == 0 {
		return "[]", nil
	}
	return `["` + strings.Join(s, `","`) + `"]`, nil
}

// needsEscape reports whether a string is more in JSON than what it is between
// quotes.
func needsEscape(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool {
		return r < ' ' || r > '~' || strings.ContainsRune(`"\<>&`, r)
	})
}

// Scan implements [database/sql.Scanner].
func (s *Strings) Scan(src any) error { return unmarshal((*[]string)(s), src) }

// Sums is a list of hash sums, kept as JSON. An empty list is read as nil.
type Sums [][]byte

// Value implements [driver.Valuer].
func (s Sums) Value() (driver.Value, error) { return marshal(s) }

// Scan implements [database/sql.Scanner].
func (s *Sums) Scan(src any) error { return unmarshal((*[][]byte)(s), src) }

// Metadata is a client's metadata, kept as JSON.
type Metadata storage.ClientMetadata

// Value implements [driver.Valuer].
func (m Metadata) Value() (driver.Value, error) { return marshalObject(storage.ClientMetadata(m)) }

// Scan implements [database/sql.Scanner].
func (m *Metadata) Scan(src any) error { return unmarshalObject((*storage.ClientMetadata)(m), src) }

// Profile is a user's profile, kept as JSON.
type Profile storage.Profile

// Value implements [driver.Valuer].
func (p Profile) Value() (driver.Value, error) {
	if p == (Profile{}) {
		return "{}", nil // as most are
	}
	return marshalObject(storage.Profile(p))
}

// Scan implements [database/sql.Scanner].
func (p *Profile) Scan(src any) error { return unmarshalObject((*storage.Profile)(p), src) }

// Claims are the claims that a grant was asked for, kept as JSON; none is the
// empty text.
type Claims storage.ClaimsRequest

// Value implements [driver.Valuer].
func (c Claims) Value() (driver.Value, error) {
	if len(c.UserInfo) == 0 && len(c.IDToken) == 0 {
		return "", nil
	}
	return marshalObject(storage.ClaimsRequest(c))
}

// Scan implements [database/sql.Scanner].
func (c *Claims) Scan(src any) error {
	if src == "" {
		*c = Claims{}
		return nil
	}
	return unmarshalObject((*storage.ClaimsRequest)(c), src)
}

func marshalObject(object any) (driver.Value, error) {
	b, err := json.Marshal(object)
	return string(b), err
}

func unmarshalObject[T any](object *T, src any) error {
	text, ok := src.(string)
	if !ok {
		return fmt.Errorf("column: an object cannot be read from %T", src)
	}
	*object = *new(T)
	if text == "{}" {
		return nil
	}
	return json.Unmarshal([]byte(text), object)
}

func marshal[T any](list []T) (driver.Value, error) {
	if len(list) == 0 {
		return "[]", nil
	}
	b, err := json.Marshal(list)
	return string(b), err
}

func unmarshal[T any](list *[]T, src any) error {
	text, ok := src.(string)
	if !ok {
		return fmt.Errorf("column: a list cannot be read from %T", src)
	}
	*list = nil
	if text == "[]" {
		return nil
	}
	return json.Unmarshal([]byte(text), list)
}
