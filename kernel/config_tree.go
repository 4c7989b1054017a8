package kernel

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// maxDepth is how deep a configuration file may nest. The parser recurses.
const maxDepth = 32

// Fault is something wrong in a configuration file.
type Fault struct {
	File         string
	Line, Column int    // from 1; 0 if the fault is in no particular line
	Path         string // the keys that lead there, "layers.datasync.settings.retransmit_after"
	Reason       string
}

// Error implements error: file, line and column, path, reason.
func (f Fault) Error() string {
	var b strings.Builder
	if f.File != "" {
		b.WriteString(f.File)
		if f.Line > 0 {
			fmt.Fprintf(&b, ":%d:%d", f.Line, f.Column)
		}
		b.WriteString(": ")
	}
	if f.Path != "" {
		b.WriteString(f.Path + ": ")
	}
	return b.String() + f.Reason
}

// place is a place in a file.
type place struct {
	file         string
	line, column int
}

// kind says what a node is.
type kind uint8

const (
	null kind = iota
	scalar
	list
	mapping
)

// node is a value in a configuration file that knows where it stands. The
// decoder of the YAML library would stop at the first fault, and knows one file
// only; hence a tree of our own over its parser, which keeps the place of every
// value over the merging of files.
type node struct {
	kind kind
	at   place  // of the value
	key  place  // of its key, if it has one
	path string // the keys that lead to it

	text   string // of a scalar
	quoted bool   // the scalar is a text, whatever it looks like
	items  []*node
	keys   []string // of a mapping, in the order of the file
	fields map[string]*node
}

// fault returns a Fault at the key, below n if one is named, else at n.
func (n *node) fault(key, format string, args ...any) error {
	at, path := n.at, n.path
	if n.key.line > 0 {
		at = n.key
	}
	if key != "" {
		path = join(path, key)
	}
	return Fault{File: at.file, Line: at.line, Column: at.column, Path: path, Reason: fmt.Sprintf(format, args...)}
}

// describe names the value for an error; the value of a secret is not shown.
func (n *node) describe(secret bool) string {
	switch {
	case n.kind == null:
		return "empty"
	case n.kind == list:
		return "a list"
	case n.kind == mapping:
		return "a mapping"
	case secret:
		return "something else"
	case n.quoted:
		return strconv.Quote(clip(n.text))
	}
	return clip(n.text)
}

func clip(s string) string {
	const most = 40 // bytes
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// parse makes the tree of one file. There must be one document, without
// anchors, aliases and tags; a key may stand once.
func parse(file string, text []byte) (*node, error) {
	if err := checkTokens(file, lexer.Tokenize(string(text))); err != nil {
		return nil, err
	}
	doc, err := parser.ParseBytes(text, 0)
	if err != nil {
		return nil, syntaxFault(file, err)
	}
	b := &builder{file: file}
	root := &node{kind: null, at: place{file, 1, 1}}
	for i, d := range doc.Docs {
		if i > 0 && d.Body != nil {
			b.refuse(d.Body.GetToken(), "", "a second document is not read: merge it with the first, or put it into a file of its own")
		} else if d.Body != nil {
			root = b.value("", d.Body)
		}
	}
	return root, errors.Join(b.errs...)
}

// checkTokens refuses, before the parser sees it, what would cost it much, and
// what is not needed.
func checkTokens(file string, tokens token.Tokens) error {
	depth, line, entries := 0, 0, 0
	for _, t := range tokens {
		if t.Position.Line != line {
			line, entries = t.Position.Line, 0
		}
		reason := ""
		switch t.Type {
		case token.MappingStartType, token.SequenceStartType:
			depth++
		case token.MappingEndType, token.SequenceEndType:
			depth--
		case token.SequenceEntryType, token.MappingKeyType:
			entries++
		case token.AnchorType, token.AliasType, token.MergeKeyType:
			reason = "anchors, aliases and merge keys are not allowed"
		case token.TagType:
			reason = "tags are not allowed"
		}
		if depth > maxDepth || entries > maxDepth || t.Position.IndentLevel > maxDepth {
			reason = fmt.Sprintf("nested deeper than %d", maxDepth)
		}
		if reason != "" {
			return Fault{File: file, Line: t.Position.Line, Column: t.Position.Column, Reason: reason}
		}
	}
	return nil
}

func syntaxFault(file string, err error) error {
	f := Fault{File: file, Reason: err.Error()}
	var e yaml.Error
	if errors.As(err, &e) {
		f.Reason = e.GetMessage()
		if t := e.GetToken(); t != nil {
			f.Line, f.Column = t.Position.Line, t.Position.Column
		}
	}
	return f
}

// builder turns the parser's tree into ours, and gathers what is wrong.
type builder struct {
	file  string
	depth int
	errs  []error
}

func (b *builder) place(t *token.Token) place {
	if t == nil {
		return place{file: b.file}
	}
	return place{b.file, t.Position.Line, t.Position.Column}
}

func (b *builder) refuse(t *token.Token, path, format string, args ...any) {
	at := b.place(t)
	b.errs = append(b.errs, Fault{b.file, at.line, at.column, path, fmt.Sprintf(format, args...)})
}

func (b *builder) value(path string, a ast.Node) *node {
	n := &node{path: path, at: b.place(a.GetToken())}
	if b.depth++; b.depth > maxDepth {
		b.refuse(a.GetToken(), path, "nested deeper than %d", maxDepth)
		return n
	}
	defer func() { b.depth-- }()
	switch a := a.(type) {
	case *ast.NullNode, *ast.CommentGroupNode, *ast.CommentNode:
	case *ast.StringNode:
		n.kind, n.text = scalar, a.Value
		n.quoted = a.Token.Type == token.SingleQuoteType || a.Token.Type == token.DoubleQuoteType
	case *ast.LiteralNode:
		n.kind, n.text, n.quoted = scalar, a.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		n.kind, n.text = scalar, a.GetToken().Value
	case *ast.SequenceNode:
		n.kind = list
		for i, item := range a.Values {
			n.items = append(n.items, b.value(fmt.Sprintf("%s[%d]", path, i), item))
		}
	case ast.MapNode:
		b.mapping(n, a)
	default:
		b.refuse(a.GetToken(), path, "a %s is not allowed", a.Type().YAMLName())
	}
	return n
}

func (b *builder) mapping(n *node, m ast.MapNode) {
	n.kind, n.fields = mapping, map[string]*node{}
	for i := m.MapRange(); i.Next(); {
		t := i.Key().GetToken()
		key := t.Value
		path := join(n.path, key)
		if first, twice := n.fields[key]; twice {
			b.refuse(t, path, "stands twice, first in line %d", first.key.line)
			continue
		}
		v := b.value(path, i.Value())
		v.key = b.place(t)
		if len(n.keys) == 0 {
			n.at = v.key
		}
		n.keys = append(n.keys, key)
		n.fields[key] = v
	}
}

// isLayer says whether n stands directly below "layers".
func (n *node) isLayer() bool {
	slot, found := strings.CutPrefix(n.path, "layers.")
	return found && !strings.Contains(slot, ".")
}

// merge returns lower with upper over it. Neither is used afterwards.
func merge(lower, upper *node) (*node, error) {
	if upper.kind == null && lower.kind == mapping {
		return lower, nil // an empty section changes nothing
	}
	if lower.kind == null || upper.kind != mapping && lower.kind != mapping {
		return upper, nil
	}
	if upper.kind != lower.kind {
		return nil, upper.fault("", "is %s here and %s in %s:%d",
			upper.describe(true), lower.describe(true), lower.at.file, lower.at.line)
	}
	if use := upper.fields["use"]; use != nil && upper.isLayer() {
		if was := lower.fields["use"]; was != nil && was.text != use.text {
			return upper, nil
		}
	}
	var errs []error
	for _, key := range upper.keys {
		over := upper.fields[key]
		if under, found := lower.fields[key]; found {
			merged, err := merge(under, over)
			errs = append(errs, err)
			over = merged
		} else {
			lower.keys = append(lower.keys, key)
		}
		lower.fields[key] = over
	}
	return lower, errors.Join(errs...)
}
