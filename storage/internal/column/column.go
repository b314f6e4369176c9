// Package column holds the Go types of columns that both databases share. Each
// reads and writes itself, so the generated code of the two engines has the
// same fields.
package column

import (
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"time"
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

// Strings is a list of strings, kept as JSON. An empty list is read as nil.
type Strings []string

// Value implements [driver.Valuer].
func (s Strings) Value() (driver.Value, error) { return marshal(s) }

// Scan implements [database/sql.Scanner].
func (s *Strings) Scan(src any) error { return unmarshal((*[]string)(s), src) }

// Sums is a list of hash sums, kept as JSON. An empty list is read as nil.
type Sums [][]byte

// Value implements [driver.Valuer].
func (s Sums) Value() (driver.Value, error) { return marshal(s) }

// Scan implements [database/sql.Scanner].
func (s *Sums) Scan(src any) error { return unmarshal((*[][]byte)(s), src) }

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
