package api

import (
	"errors"
	"fmt"
	"strings"
)

// An ErrorKind says whose turn it is after an error.
type ErrorKind string

// The kinds of errors.
const (
	// Usage is a request that makes no sense as it stands.
	Usage ErrorKind = "usage"
	// NotFound is a request about something that is not there.
	NotFound ErrorKind = "not_found"
	// Refused is a request that makes sense but not now: a second entry for a
	// MAC, a full table, a configuration with problems.
	Refused ErrorKind = "refused"
	// Internal is everything else: the host refused, the daemon is at fault.
	Internal ErrorKind = "internal"
)

// An Error is the answer to a request that was not carried out.
type Error struct {
	Kind ErrorKind `json:"kind"`
	// Text is a sentence for people, without a full stop.
	Text string `json:"text"`
	// Problems are those of a configuration file, each as
	// `FILE:LINE: path.to.key: sentence`, in the file's order.
	Problems []string `json:"problems,omitempty"`
}

// Error returns the text, and each problem on a line of its own.
func (e *Error) Error() string {
	return strings.Join(append([]string{e.Text}, e.Problems...), "\n")
}

// Usagef makes an Error of kind [Usage].
func Usagef(format string, args ...any) *Error {
	return &Error{Kind: Usage, Text: fmt.Sprintf(format, args...)}
}

// NotFoundf makes an Error of kind [NotFound].
func NotFoundf(format string, args ...any) *Error {
	return &Error{Kind: NotFound, Text: fmt.Sprintf(format, args...)}
}

// Refusedf makes an Error of kind [Refused].
func Refusedf(format string, args ...any) *Error {
	return &Error{Kind: Refused, Text: fmt.Sprintf(format, args...)}
}

// AsError returns the Error in err's chain, or one of kind [Internal] that
// says what err says. It is nil when err is nil.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Kind: Internal, Text: err.Error()}
}
