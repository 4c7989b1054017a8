package transport

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestCleanLeavesNothingThatCommandsATerminal(t *testing.T) {
	for _, c := range []struct {
		text string
		max  int
		want string
	}{
		{"plain", 10, "plain"},
		{"", 10, ""},
		{"häß 世界", 20, "häß 世界"},
		{"a\tb\nc\r\n", 20, "a b c  "},
		{"\x1b[31m", 20, "\uFFFD[31m"},
		{"\u009b31m\u007f\x00", 20, "\uFFFD31m\uFFFD\uFFFD"},
		{"a\xffb", 20, "a\uFFFDb"},
		{"\u202eevil\u200b", 20, "\uFFFDevil\uFFFD"}, // right-to-left override, zero width
		{"äöü", 5, "äö"},
		{"abc", 0, ""},
	} {
		if got := Clean(c.text, c.max); got != c.want {
			t.Errorf("Clean(%q, %d) is %q, want %q", c.text, c.max, got, c.want)
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add("\x1b]0;title\x07", 256)
	f.Add(strings.Repeat("é", 200)+"\xc3", 255)
	f.Fuzz(func(t *testing.T, text string, max int) {
		max &= 1023
		got := Clean(text, max)
		if len(got) > max || !utf8.ValidString(got) || Clean(got, max) != got {
			t.Fatalf("Clean(%q, %d) is %q", text, max, got)
		}
		for _, r := range got {
			if r != utf8.RuneError && !unicode.IsPrint(r) {
				t.Fatalf("%q contains %U", got, r)
			}
		}
	})
}
