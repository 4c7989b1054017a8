package transport

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
)

// Settings decodes Config into the struct that into points to, and refuses
// unknown keys, repeated documents and wrong types with an error that names the
// setting, as Open is to return it.
func (o Options) Settings(into any) error {
	decoder := json.NewDecoder(bytes.NewReader(o.Config))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(into)
	if err == nil {
		if _, err := decoder.Token(); err != io.EOF {
			return Invalid("config", "more than one JSON value")
		}
		return nil
	}
	field := "config"
	if wrong := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrong) && wrong.Field != "" {
		field = wrong.Field
	} else if quoted, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return Invalid(strings.Trim(quoted, `"`), "no such setting")
	}
	return Invalid(field, "%s", strings.TrimPrefix(err.Error(), "json: "))
}
