package kernel

import (
	"errors"
	"reflect"
	"regexp"
	"strconv"
	"strings"
)

// Section is the part of the configuration that belongs to one layer or edge.
// The kernel does not look into it; who it belongs to calls Decode. The zero
// Section is an empty one.
type Section struct {
	Use string // the protocol that a layer is to use; empty for an edge

	settings *node // nil: empty
	slot     *node // what "use" and "settings" stand in; nil for an edge
}

// File returns the name of the file that the section is from, where its settings
// begin; empty for an empty section.
func (s Section) File() string {
	if s.settings != nil && s.settings.at.file != "" {
		return s.settings.at.file
	}
	if s.slot != nil {
		return s.slot.at.file
	}
	return ""
}

// Fault returns an error about key, which may be empty, with the place of the
// key if the section has it and of the section if not.
func (s Section) Fault(key, reason string) error {
	if s.settings == nil {
		return Fault{Path: key, Reason: reason}
	}
	if n := s.settings.find(key); n != nil {
		return n.fault("", "%s", reason)
	}
	return s.settings.fault(key, "%s", reason)
}

// SlotFault returns an error about the slot of a layer itself, or about its key
// "use", with its place.
func (s Section) SlotFault(key, reason string) error {
	if s.slot == nil {
		return Fault{Path: key, Reason: reason}
	}
	if n := s.slot.find(key); n != nil {
		return n.fault("", "%s", reason)
	}
	return s.slot.fault(key, "%s", reason)
}

// Decode returns the configuration in s: defaults first, what the file says on
// top, then Validate. A key that T has no field for is a fault. The error has
// all faults, each a Fault with its place; those of Validate too, if their text
// begins with the key, as in "retransmit_after: 1ms is below 1s".
//
// Fields are named by their yaml tags. Durations are written with a unit.
// defaults is not changed.
func Decode[T interface{ Validate() error }](s Section, defaults T) (T, error) {
	c := defaults
	var errs []error
	if s.settings != nil && s.settings.kind != null {
		d := decoder{}
		d.decode(reflect.ValueOf(&c).Elem(), s.settings, field{})
		errs = d.errs
	}
	if len(errs) > 0 {
		// What could not be decoded kept its default and would only be
		// reported a second time, or wrongly.
		return defaults, errors.Join(errs...)
	}
	for _, err := range parts(c.Validate()) {
		errs = append(errs, s.locate(err))
	}
	if len(errs) > 0 {
		return defaults, errors.Join(errs...)
	}
	return c, nil
}

var keyPath = regexp.MustCompile(`^[a-z0-9_]+(\[\d+\]|\.[a-z0-9_]+)*$`)

// locate gives an error of Validate its place in the file.
func (s Section) locate(err error) error {
	text := err.Error()
	if s.Use != "" {
		text = strings.TrimPrefix(text, s.Use+": ")
	}
	if key, reason, found := strings.Cut(text, ": "); found && keyPath.MatchString(key) {
		return s.Fault(key, reason)
	}
	return s.Fault("", text)
}

// find returns the value at path below n, nil if there is none.
func (n *node) find(path string) *node {
	if path == "" {
		return n
	}
	for _, step := range strings.Split(path, ".") {
		key, rest, _ := strings.Cut(step, "[")
		if n = n.fields[key]; n == nil {
			return nil
		}
		for rest != "" {
			digits, more, _ := strings.Cut(rest, "]")
			i, err := strconv.Atoi(digits)
			if err != nil || i >= len(n.items) {
				return nil
			}
			n, rest = n.items[i], strings.TrimPrefix(more, "[")
		}
	}
	return n
}

// parts returns the errors that err joins.
func parts(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, parts(e)...)
	}
	return all
}
