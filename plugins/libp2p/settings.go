package libp2p

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stratanode/strata/plugins/transport"
)

// section maps the keys of a JSON object to where their values go: a pointer
// for encoding/json, or a section for an object inside. It is decoded by hand
// because encoding/json names neither the path of an unknown key nor more than
// the first fault.
type section map[string]any

// faults gathers what is wrong with settings, in the order it was found.
type faults struct {
	fields  []string
	reasons []string
}

func (f *faults) add(field, format string, args ...any) {
	f.fields = append(f.fields, field)
	f.reasons = append(f.reasons, fmt.Sprintf(format, args...))
}

// err returns the first fault as the contract wants it; the reason carries the
// others.
func (f *faults) err() error {
	if len(f.fields) == 0 {
		return nil
	}
	reason := f.reasons[0]
	for i := 1; i < len(f.fields); i++ {
		reason += "; " + f.fields[i] + ": " + f.reasons[i]
	}
	return &transport.Error{Code: transport.CodeInvalid, Field: f.fields[0], Reason: "libp2p: " + reason}
}

// decode reads the object raw into s. path is that of the object, with a dot
// behind it unless it is empty.
func (s section) decode(path string, raw []byte, f *faults) {
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(raw, &keys); err != nil {
		f.add(nonEmpty(strings.TrimSuffix(path, "."), "config"), "is not a JSON object")
		return
	}
	names := make([]string, 0, len(keys))
	for name := range keys {
		names = append(names, name)
	}
	slices.Sort(names) // so that the same faults are always told in one order
	for _, name := range names {
		switch into := s[name].(type) {
		case nil:
			f.add(path+name, "unknown setting")
		case section:
			into.decode(path+name+".", keys[name], f)
		default:
			if err := json.Unmarshal(keys[name], into); err != nil {
				// The value itself is not repeated: it may be a key.
				f.add(path+name, "is not %s", kindOf(into))
			}
		}
	}
}

// kindOf says in words what a setting takes.
func kindOf(into any) string {
	switch into.(type) {
	case *string:
		return "a string"
	case *[]string:
		return "a list of strings"
	case *bool:
		return "true or false"
	case *Duration:
		return `a duration such as "500ms" or "2m"`
	default:
		return "a whole number"
	}
}

func nonEmpty(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// Duration is a time.Duration that is written as "500ms" in JSON.
type Duration time.Duration

// UnmarshalJSON implements json.Unmarshaler.
func (d *Duration) UnmarshalJSON(raw []byte) error {
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return fmt.Errorf("libp2p: a duration is a string: %w", err)
	}
	v, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("libp2p: %w", err)
	}
	*d = Duration(v)
	return nil
}

// MarshalJSON implements json.Marshaler.
func (d Duration) MarshalJSON() ([]byte, error) {
	return json.Marshal(time.Duration(d).String())
}
