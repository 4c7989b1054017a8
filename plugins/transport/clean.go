package transport

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Clean returns text as valid UTF-8 of at most max bytes without control
// characters, terminal escapes and invisible characters: line ends and tabs
// become spaces, the rest becomes U+FFFD. Whatever a plugin says passes through
// it before a person or a log sees it. The work is bounded by max, not by the
// length of text.
func Clean(text string, max int) string {
	if isClean(text, max) {
		return text
	}
	var b strings.Builder
	for _, r := range text { // an invalid byte ranges as U+FFFD
		switch {
		case r == '\n' || r == '\r' || r == '\t':
			r = ' '
		case !unicode.IsPrint(r):
			r = utf8.RuneError
		}
		if b.Len()+utf8.RuneLen(r) > max {
			break
		}
		b.WriteRune(r)
	}
	return b.String()
}

func isClean(text string, max int) bool {
	if len(text) > max || !utf8.ValidString(text) {
		return false
	}
	for _, r := range text {
		if !unicode.IsPrint(r) && r != utf8.RuneError {
			return false
		}
	}
	return true
}
