// Package errorsx is what fosite uses of github.com/ory/x/errorsx.
package errorsx

// WithStack returns err as it is. Upstream captures a stack trace here, also
// on the success path of every token request (each handler that is not
// responsible answers with an error), which was 9 % of the processor time of a
// client_credentials request. Our error writer logs the hint and debug text of
// fosite's errors, which say where they come from.
func WithStack(err error) error { return err }

// Cause follows Cause and Unwrap to the innermost error.
func Cause(err error) error {
	for err != nil {
		switch e := err.(type) {
		case interface{ Cause() error }:
			next := e.Cause()
			if next == nil {
				return err
			}
			err = next
		case interface{ Unwrap() error }:
			next := e.Unwrap()
			if next == nil {
				return err
			}
			err = next
		default:
			return err
		}
	}
	return nil
}

// DebugCarrier has text for developers.
type DebugCarrier interface{ Debug() string }

// ReasonCarrier has a reason.
type ReasonCarrier interface{ Reason() string }

// RequestIDCarrier has the id of a request.
type RequestIDCarrier interface{ RequestID() string }

// StatusCarrier has the text of an HTTP status.
type StatusCarrier interface{ Status() string }

// StatusCodeCarrier has an HTTP status code.
type StatusCodeCarrier interface{ StatusCode() int }

// DetailsCarrier has details by name.
type DetailsCarrier interface{ Details() map[string]interface{} }
