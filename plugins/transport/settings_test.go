package transport

import (
	"errors"
	"strings"
	"testing"
)

func TestSettingsNameWhatIsWrong(t *testing.T) {
	for _, c := range []struct{ config, field string }{
		{`{"listen":"a","peers":["b"]}`, ""},
		{`{}`, ""},
		{`{"lisen":"a"}`, "lisen"},
		{`{"listen":5}`, "listen"},
		{`{"peers":[5]}`, "peers"},
		{`{"peers":"b"}`, "peers"},
		{`{"listen":`, "config"},
		{``, "config"},
		{`[]`, "config"},
		{`{} {}`, "config"},
	} {
		var s struct {
			Listen string   `json:"listen"`
			Peers  []string `json:"peers"`
		}
		err := Options{Config: []byte(c.config)}.Settings(&s)
		if c.field == "" {
			if err != nil {
				t.Errorf("%s: %v", c.config, err)
			}
			continue
		}
		var e *Error
		if !errors.As(err, &e) || e.Code != CodeInvalid || !strings.HasPrefix(e.Field, c.field) || e.Reason == "" {
			t.Errorf("%s: got %v, want invalid: %s", c.config, err, c.field)
		}
	}
}
