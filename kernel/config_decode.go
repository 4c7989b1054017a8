package kernel

import (
	"encoding"
	"errors"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// field is what the tags of a struct field say.
type field struct {
	name    string // in the file; empty: not in the file
	inline  bool
	secret  bool
	comment string
}

func fieldOf(f reflect.StructField) field {
	name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	switch {
	case !f.IsExported() || name == "-":
		return field{}
	case name == "":
		name = strings.ToLower(f.Name)
	}
	return field{name, options == "inline", f.Tag.Get("secret") == "true", f.Tag.Get("comment")}
}

// isPath says whether the value of the key is expanded as a path.
func (f field) isPath() bool { return f.name == "data_dir" || strings.HasSuffix(f.name, "_file") }

// decoder puts nodes into values and gathers what does not fit.
type decoder struct{ errs []error }

var (
	durationType = reflect.TypeFor[time.Duration]()
	textType     = reflect.TypeFor[encoding.TextUnmarshaler]()
)

func (d *decoder) mismatch(n *node, f field, expected string) {
	d.errs = append(d.errs, n.fault("", "is %s, expected %s", n.describe(f.secret), expected))
}

func (d *decoder) decode(v reflect.Value, n *node, f field) {
	if v.Type() == durationType {
		d.duration(v, n, f)
		return
	}
	if v.CanAddr() && v.Addr().Type().Implements(textType) && v.Kind() != reflect.Pointer {
		d.text(v, n, f)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.structure(v, n, f)
	case reflect.Map:
		d.mapping(v, n, f)
	case reflect.Slice, reflect.Array:
		d.list(v, n, f)
	case reflect.Pointer:
		if n.kind == null {
			return
		}
		p := reflect.New(v.Type().Elem())
		if !v.IsNil() {
			p.Elem().Set(v.Elem())
		}
		d.decode(p.Elem(), n, f)
		v.Set(p)
	case reflect.Interface:
		v.Set(reflect.ValueOf(plain(n)))
	default:
		d.scalar(v, n, f)
	}
}

func (d *decoder) structure(v reflect.Value, n *node, f field) {
	if n.kind == null {
		return
	}
	if n.kind != mapping {
		d.mismatch(n, f, "a mapping")
		return
	}
	targets, order := map[string]target{}, []string(nil)
	collect(v, targets, &order)
	for _, key := range n.keys {
		if t, known := targets[key]; known {
			t.field.secret = t.field.secret || f.secret
			d.decode(t.value, n.fields[key], t.field)
			continue
		}
		d.errs = append(d.errs, n.fields[key].fault("", "is no known key; known are %s", strings.Join(order, ", ")))
	}
}

// target is a struct field that a key can go to.
type target struct {
	value reflect.Value
	field field
}

func collect(v reflect.Value, targets map[string]target, order *[]string) {
	for i := range v.NumField() {
		f := fieldOf(v.Type().Field(i))
		switch {
		case f.name == "":
		case f.inline:
			collect(v.Field(i), targets, order)
		default:
			targets[f.name] = target{v.Field(i), f}
			*order = append(*order, f.name)
		}
	}
}

func (d *decoder) mapping(v reflect.Value, n *node, f field) {
	if n.kind == null {
		return
	}
	if n.kind != mapping || v.Type().Key().Kind() != reflect.String {
		d.mismatch(n, f, "a mapping")
		return
	}
	m := reflect.MakeMap(v.Type())
	for i := v.MapRange(); i.Next(); {
		m.SetMapIndex(i.Key(), i.Value())
	}
	for _, key := range n.keys {
		k := reflect.ValueOf(key).Convert(v.Type().Key())
		item := reflect.New(v.Type().Elem()).Elem()
		if old := m.MapIndex(k); old.IsValid() {
			item.Set(old)
		}
		d.decode(item, n.fields[key], field{name: key, secret: f.secret})
		m.SetMapIndex(k, item)
	}
	v.Set(m)
}

func (d *decoder) list(v reflect.Value, n *node, f field) {
	if n.kind != list {
		d.mismatch(n, f, "a list")
		return
	}
	items := v
	if v.Kind() == reflect.Slice {
		items = reflect.MakeSlice(v.Type(), len(n.items), len(n.items))
	} else if len(n.items) != v.Len() {
		d.mismatch(n, f, fmt.Sprintf("a list of %d", v.Len()))
		return
	}
	for i, item := range n.items {
		d.decode(items.Index(i), item, f)
	}
	v.Set(items)
}

func (d *decoder) text(v reflect.Value, n *node, f field) {
	if n.kind != scalar {
		d.mismatch(n, f, "a text")
		return
	}
	if err := v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(n.text)); err != nil {
		reason := err.Error()
		if f.secret {
			reason = "has not the right form"
		}
		d.errs = append(d.errs, n.fault("", "%s", reason))
	}
}

func (d *decoder) duration(v reflect.Value, n *node, f field) {
	const expected = "a duration with a unit, such as 300ms, 5s, 10m or 24h"
	if n.kind != scalar {
		d.mismatch(n, f, expected)
		return
	}
	t, err := time.ParseDuration(n.text)
	if err == nil {
		v.SetInt(int64(t))
		return
	}
	if _, e := strconv.ParseFloat(n.text, 64); e == nil && !n.quoted {
		d.errs = append(d.errs, n.fault("", "is %s without a unit, expected %s: did you mean %ss?", n.text, expected, n.text))
		return
	}
	d.mismatch(n, f, expected)
}

func (d *decoder) scalar(v reflect.Value, n *node, f field) {
	switch k := v.Kind(); k {
	case reflect.String:
		if n.kind != scalar {
			d.mismatch(n, f, "a text")
			return
		}
		d.string(v, n, f)
	case reflect.Bool:
		if n.kind != scalar || n.quoted || n.text != "true" && n.text != "false" {
			d.mismatch(n, f, "true or false")
			return
		}
		v.SetBool(n.text == "true")
	case reflect.Float32, reflect.Float64:
		x, err := strconv.ParseFloat(n.text, v.Type().Bits())
		if n.kind != scalar || n.quoted || err != nil || math.IsNaN(x) || math.IsInf(x, 0) {
			d.mismatch(n, f, "a number")
			return
		}
		v.SetFloat(x)
	default:
		d.integer(v, n, f)
	}
}

func (d *decoder) string(v reflect.Value, n *node, f field) {
	text := n.text
	if f.isPath() {
		var err error
		if text, err = expandPath(n.at.file, text); err != nil {
			d.errs = append(d.errs, n.fault("", "%v", err))
			return
		}
	}
	v.SetString(text)
}

// octal is how YAML 1.1 writes 8; nobody who types 010 means it.
var octal = regexp.MustCompile(`^[+-]?0[0-9]`)

func (d *decoder) integer(v reflect.Value, n *node, f field) {
	expected := "a whole number"
	var err error
	switch bits := v.Type().Bits(); {
	case n.kind != scalar || n.quoted || octal.MatchString(n.text):
		err = strconv.ErrSyntax
	case v.CanUint():
		expected = fmt.Sprintf("a whole number from 0 to %d", uint64(math.MaxUint64)>>(64-bits))
		var x uint64
		if x, err = strconv.ParseUint(n.text, 0, bits); err == nil {
			v.SetUint(x)
		}
	case v.CanInt():
		most := int64(math.MaxInt64) >> (64 - bits)
		var x int64
		if x, err = strconv.ParseInt(n.text, 0, bits); err == nil {
			v.SetInt(x)
		} else if errors.Is(err, strconv.ErrRange) {
			expected = fmt.Sprintf("a whole number from %d to %d", -most-1, most)
		}
	default:
		panic("kernel: configuration field of type " + v.Type().String())
	}
	if err != nil {
		d.mismatch(n, f, expected)
	}
}

// plain returns n as what encoding/json would make of it; scalars as their
// texts, but for true and false and whole numbers.
func plain(n *node) any {
	switch n.kind {
	case list:
		items := make([]any, len(n.items))
		for i, item := range n.items {
			items[i] = plain(item)
		}
		return items
	case mapping:
		m := make(map[string]any, len(n.keys))
		for _, key := range n.keys {
			m[key] = plain(n.fields[key])
		}
		return m
	case null:
		return ""
	}
	if !n.quoted {
		if b, err := strconv.ParseBool(n.text); err == nil && len(n.text) > 1 {
			return b
		}
		if i, err := strconv.ParseInt(n.text, 10, 64); err == nil {
			return i
		}
	}
	return n.text
}
