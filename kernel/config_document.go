package kernel

import (
	"bytes"
	"encoding"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
)

// Document writes cfg, a configuration with its default values, as a section
// called name, each key with the text of its comment tag above it. The name may
// be indented, the section then is; without a name the keys stand alone. What is
// written can be loaded again.
func Document(w io.Writer, name string, cfg any) error {
	return write(w, name, cfg, &printer{comments: true})
}

// Effective writes cfg, a configuration in use, as Document does, but without
// comments, and without the values of fields with the tag secret:"true".
func Effective(w io.Writer, name string, cfg any) error {
	return write(w, name, cfg, &printer{hide: true})
}

func write(w io.Writer, name string, cfg any, p *printer) error {
	v := reflect.ValueOf(cfg)
	indent := name[:len(name)-len(strings.TrimLeft(name, " "))]
	switch {
	case strings.TrimSpace(name) == "":
		p.structure(v, indent)
	case v.NumField() == 0:
		fmt.Fprintf(&p.out, "%s: {}\n", name)
	default:
		fmt.Fprintf(&p.out, "%s:\n", name)
		p.structure(v, indent+"  ")
	}
	_, err := w.Write(p.out.Bytes())
	return err
}

// hidden stands for the value of a secret field.
const hidden = "(hidden)"

// commentWidth is where comments are broken, in columns.
const commentWidth = 80

// printer writes values as YAML.
type printer struct {
	out      bytes.Buffer
	comments bool
	hide     bool
}

func (p *printer) structure(v reflect.Value, indent string) {
	for i := range v.NumField() {
		f := fieldOf(v.Type().Field(i))
		switch {
		case f.name == "":
		case f.inline:
			p.structure(v.Field(i), indent)
		default:
			if p.comments {
				p.comment(f.comment, indent)
			}
			p.out.WriteString(indent + f.name + ":")
			if p.hide && f.secret && !v.Field(i).IsZero() {
				p.out.WriteString(" " + quote(hidden) + "\n")
				continue
			}
			p.value(v.Field(i), indent)
		}
	}
}

// value writes what comes after a colon or dash, with the line's end.
func (p *printer) value(v reflect.Value, indent string) {
	if text, ok := inline(v); ok {
		p.out.WriteString(" " + text + "\n")
		return
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		p.value(v.Elem(), indent)
	case reflect.Struct:
		p.out.WriteString("\n")
		p.structure(v, indent+"  ")
	case reflect.Map:
		p.out.WriteString("\n")
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		for _, key := range keys {
			p.out.WriteString(indent + "  " + quote(key.String()) + ":")
			p.value(v.MapIndex(key), indent+"  ")
		}
	case reflect.Slice, reflect.Array:
		p.out.WriteString("\n")
		for i := range v.Len() {
			p.out.WriteString(indent + "  -")
			p.value(v.Index(i), indent+"  ")
		}
	default:
		panic("kernel: configuration field of type " + v.Type().String())
	}
}

// inline returns a value that fits on the line of its key.
func inline(v reflect.Value) (string, bool) {
	switch {
	case v.Type() == durationType:
		return duration(time.Duration(v.Int())), true
	case v.Kind() == reflect.Struct && v.NumField() == 0:
		return "{}", true
	}
	if t, ok := v.Interface().(encoding.TextMarshaler); ok && !(v.Kind() == reflect.Pointer && v.IsNil()) {
		text, err := t.MarshalText()
		if err != nil {
			panic(fmt.Sprintf("kernel: configuration field of type %s: %v", v.Type(), err))
		}
		return quote(string(text)), true
	}
	switch v.Kind() {
	case reflect.String:
		return quote(v.String()), true
	case reflect.Map:
		return "{}", v.Len() == 0
	case reflect.Pointer, reflect.Interface:
		return "null", v.IsNil()
	case reflect.Slice, reflect.Array:
		items := make([]string, v.Len())
		for i := range items {
			if k := v.Index(i).Kind(); k == reflect.Slice || k == reflect.Map {
				return "", false
			}
			item, ok := inline(v.Index(i))
			if !ok {
				return "", false
			}
			items[i] = item
		}
		return "[" + strings.Join(items, ", ") + "]", true
	case reflect.Struct:
		return "", false
	}
	return fmt.Sprint(v.Interface()), true
}

// duration writes 24h0m0s as 24h.
func duration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// quote writes a text so that it is read as one, in a list too.
func quote(s string) string {
	if strings.ContainsAny(s, ",[]{}\n#&*!|>%@`'\"\\") || strings.Contains(s, ": ") {
		return fmt.Sprintf("%q", s)
	}
	b, err := yaml.Marshal(s)
	if err != nil {
		return fmt.Sprintf("%q", s)
	}
	return strings.TrimSuffix(string(b), "\n")
}

func (p *printer) comment(text, indent string) {
	line := indent + "#"
	for _, word := range strings.Fields(text) {
		if len(line)+1+len(word) > commentWidth && line != indent+"#" {
			p.out.WriteString(line + "\n")
			line = indent + "#"
		}
		line += " " + word
	}
	if line != indent+"#" {
		p.out.WriteString(line + "\n")
	}
}
