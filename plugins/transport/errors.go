package transport

import (
	"errors"
	"fmt"
)

// Code is the kind of an error. Codes survive the way through the process
// boundary; an unknown one counts as CodeInternal.
type Code uint8

const (
	CodeInternal    Code = 0 // the transport is at fault
	CodeInvalid     Code = 1 // the argument was bad; Field says which
	CodeTooLarge    Code = 2 // Data is longer than Info.MaxData
	CodeExpired     Code = 3 // the TTL is over
	CodeBusy        Code = 4 // no room now; try again
	CodeUnavailable Code = 5 // no network now; try again
	CodeUnsupported Code = 6 // an ability that was not declared
	CodeClosed      Code = 7 // after Close
)

var codeNames = [...]string{
	"internal", "invalid", "too large", "expired", "busy", "unavailable", "unsupported", "closed",
}

// String returns the code in words.
func (c Code) String() string {
	if int(c) < len(codeNames) {
		return codeNames[c]
	}
	return fmt.Sprintf("code %d", uint8(c))
}

// Error is an error that keeps its kind over the process boundary.
type Error struct {
	Code   Code
	Field  string // what was bad, as in the configuration file or the contract; may be empty
	Reason string // for people; at most MaxText bytes survive
}

// Error implements error.
func (e *Error) Error() string {
	text := e.Code.String()
	if e.Field != "" {
		text += ": " + e.Field
	}
	if e.Reason != "" {
		text += ": " + e.Reason
	}
	return text
}

// Is makes errors.Is compare kinds, so that errors.Is(err, ErrBusy) holds
// whatever the reason.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// Errors to return and to compare with.
var (
	ErrTooLarge    = &Error{Code: CodeTooLarge}
	ErrExpired     = &Error{Code: CodeExpired}
	ErrBusy        = &Error{Code: CodeBusy}
	ErrUnavailable = &Error{Code: CodeUnavailable}
	ErrUnsupported = &Error{Code: CodeUnsupported}
	ErrClosed      = &Error{Code: CodeClosed}
)

// Invalid returns an error about a bad argument or setting.
func Invalid(field, format string, args ...any) error {
	return &Error{CodeInvalid, field, fmt.Sprintf(format, args...)}
}

// ErrorOf returns err as an *Error: itself, what it wraps, or its text with
// CodeInternal. It returns nil for nil.
func ErrorOf(err error) *Error {
	if err == nil {
		return nil
	}
	if e := (*Error)(nil); errors.As(err, &e) {
		return e
	}
	return &Error{CodeInternal, "", err.Error()}
}
