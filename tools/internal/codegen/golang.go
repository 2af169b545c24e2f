package codegen

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/format"
	"slices"
	"strconv"
	"strings"
)

// goTaken are names that the file has anyway.
var goTaken = []string{"Tracker"}

// Go writes a package of types and functions for events, which are sorted by
// name. It imports sdk/go.
func Go(events []*Event, name string) ([]byte, error) {
	w := &golang{names: scope{}}
	for _, taken := range goTaken {
		w.names[taken] = true
	}
	names := namesOf(events)
	functions := distinct(w.names, names, func(name string) string { return "Track" + exported(name) })
	types := distinct(w.names, names, exported)
	var body bytes.Buffer
	for _, e := range events {
		w.out = &body
		text := append([]string{fmt.Sprintf("%s is the properties of the event %s%s.", types[e.Name], plain(strconv.Quote(e.Name)), e.version())}, e.Root.Doc.Text...)
		w.structure(types[e.Name], e.Root, text)
		w.doc([]string{fmt.Sprintf("%s tracks the event %s.", functions[e.Name], plain(strconv.Quote(e.Name)))}, e.Root.Doc.Deprecated)
		w.line("func %s(ctx context.Context, client Tracker, who spoor.Person, p %s) error {", functions[e.Name], types[e.Name])
		w.line("return client.Track(ctx, who, %s, p.properties())", strconv.Quote(e.Name))
		w.line("}")
		w.line("")
	}
	var file bytes.Buffer
	w.out = &file
	w.line("// %s", header("go"))
	w.line("")
	w.line("// Package %s has the events that may be tracked, with the types of their properties.", name)
	w.line("//")
	w.line("// Pointers are of properties that may be missing: those that are nil are not sent.")
	w.line("package %s", name)
	w.line("")
	w.line("import (\n\"context\"\n\nspoor \"spoor/sdk/go\"\n)")
	w.line("")
	w.line("// Tracker is a *spoor.Client, or what stands for it in tests.")
	w.line("type Tracker interface {")
	w.line("Track(ctx context.Context, who spoor.Person, name string, properties map[string]any) error")
	w.line("}")
	w.line("")
	if w.lists {
		w.line("// list writes each of values.")
		w.line("func list[T any](values []T, write func(T) any) []any {")
		w.line("out := make([]any, len(values))")
		w.line("for i, v := range values {\nout[i] = write(v)\n}")
		w.line("return out")
		w.line("}")
		w.line("")
	}
	file.Write(body.Bytes())
	text, err := format.Source(file.Bytes())
	if err != nil {
		return nil, fmt.Errorf("format what was generated: %w", err)
	}
	return text, nil
}

type golang struct {
	out   *bytes.Buffer
	names scope
	lists bool // the function list is needed
}

func (w *golang) line(format string, args ...any) {
	fmt.Fprintf(w.out, format, args...)
	w.out.WriteByte('\n')
}

func (w *golang) doc(text []string, deprecated bool) {
	for _, line := range text {
		w.line("// %s", line) // with the space: it is no directive
	}
	if deprecated {
		if len(text) > 0 {
			w.line("//")
		}
		w.line("// Deprecated: the schema says so.")
	}
}

// member is a field of a struct that is being written.
type member struct {
	Field
	id    string
	of    string // its type without the pointer
	value bool   // it is always there: nil means nothing
}

// structure writes the type of an object and its way to a map, and before them
// the types of what is in it.
func (w *golang) structure(name string, t *Type, text []string) {
	ids := scope{}
	var fieldNames []string
	for _, f := range t.Fields {
		fieldNames = append(fieldNames, f.Name)
	}
	given := distinct(ids, fieldNames, exported)
	out := w.out
	var inner bytes.Buffer
	w.out = &inner
	members := make([]member, len(t.Fields))
	for i, f := range t.Fields {
		members[i] = member{Field: f, id: given[f.Name], of: w.typeOf(f.Type, name+given[f.Name], name+"."+f.Name)}
		members[i].value = f.Required && !f.Type.Nullable
	}
	w.out = out
	w.doc(text, t.Doc.Deprecated)
	w.line("type %s struct {", name)
	for _, m := range members {
		w.doc(m.text(), m.Type.Doc.Deprecated)
		w.line("%s %s // %s", m.id, m.pointer()+m.of, m.note())
	}
	w.line("}")
	w.line("")
	w.line("func (p %s) properties() map[string]any {", name)
	w.line("m := map[string]any{")
	for _, m := range members {
		if m.value {
			w.line("%s: %s,", strconv.Quote(m.Name), w.write("p."+m.id, m.Type, m.of))
		}
	}
	w.line("}")
	for _, m := range members {
		if m.value {
			continue
		}
		at := "p." + m.id
		if m.pointer() != "" {
			at = "*" + at
			if m.Type.Kind == Object {
				at = "p." + m.id
			}
		}
		w.line("if p.%s != nil {", m.id)
		w.line("m[%s] = %s", strconv.Quote(m.Name), w.write(at, m.Type, m.of))
		if m.Required {
			w.line("} else {\nm[%s] = nil", strconv.Quote(m.Name))
		}
		w.line("}")
	}
	w.line("return m")
	w.line("}")
	w.line("")
	out.Write(inner.Bytes())
}

// text is what stands before a member: with the values that its type does not know of.
func (m *member) text() []string {
	t := m.Type
	if len(t.Enum) == 0 || t.Kind == String || t.Kind == Integer {
		return t.Doc.Text
	}
	values := make([]string, len(t.Enum))
	for i, v := range t.Enum {
		values[i] = plain(v)
	}
	return append(slices.Clone(t.Doc.Text), "One of "+strings.Join(values, ", ")+".")
}

// note stands behind a member: how it is called, and whether it must be there.
func (m *member) note() string {
	text := plain(strconv.Quote(m.Name))
	switch {
	case m.Required && m.Type.Nullable:
		return text + ", null where it is nil"
	case m.Required:
		return text + ", required"
	}
	return text
}

// pointer is "*" where the zero value could not be told from one that is absent.
func (m *member) pointer() string {
	if m.value || strings.HasPrefix(m.of, "[]") || strings.HasPrefix(m.of, "map[") || m.of == "any" {
		return ""
	}
	return "*"
}

// typeOf is the Go type of a value; types of its own are written first, with
// names that begin with want.
func (w *golang) typeOf(t *Type, want, key string) string {
	if len(t.Enum) > 0 && (t.Kind == String || t.Kind == Integer) {
		return w.constants(t, want, key)
	}
	switch t.Kind {
	case Boolean:
		return "bool"
	case Integer:
		return "int64"
	case Number:
		return "float64"
	case String:
		return "string"
	case Array:
		if t.Items == nil || t.Items.Nullable {
			return "[]any"
		}
		return "[]" + w.typeOf(t.Items, want+"Item", key+"[]")
	case Object:
		if len(t.Fields) == 0 {
			return "map[string]any"
		}
		name := w.names.take(want, key)
		w.structure(name, t, append([]string{name + " is a part of the properties."}, t.Doc.Text...))
		return name
	}
	return "any"
}

// constants writes the type of an enum.
func (w *golang) constants(t *Type, want, key string) string {
	name := w.names.take(want, key)
	base := "string"
	if t.Kind == Integer {
		base = "int64"
	}
	w.line("// %s is one of the constants below.", name)
	w.line("type %s %s", name, base)
	w.line("")
	w.line("// The values of %s.", name)
	w.line("const (")
	ids := distinct(w.names, t.Enum, func(value string) string {
		text := unquoted(value)
		if t.Kind == Integer {
			text = strings.Replace(text, "-", "Minus", 1)
		}
		if id := pascal(text); id != "" {
			return name + id
		}
		return name + "_" + short(text, 2)
	})
	for _, value := range t.Enum {
		if t.Kind == String {
			w.line("%s %s = %s", ids[value], name, strconv.Quote(unquoted(value)))
		} else {
			w.line("%s %s = %s", ids[value], name, value)
		}
	}
	w.line(")")
	w.line("")
	return name
}

func unquoted(value string) string {
	var s string
	if json.Unmarshal([]byte(value), &s) != nil {
		return value
	}
	return s
}

// write is an expression for the value at an expression. Lists become []any: they
// are written without reflection then, and as [] where they are nil.
func (w *golang) write(at string, t *Type, of string) string {
	switch item, list := strings.CutPrefix(of, "[]"); {
	case len(t.Enum) > 0 && t.Kind == String:
		return "string(" + at + ")"
	case len(t.Enum) > 0 && t.Kind == Integer:
		return "int64(" + at + ")"
	case t.Kind == Object && len(t.Fields) > 0:
		return at + ".properties()"
	case list && item != "any" && item != "string":
		w.lists = true
		return fmt.Sprintf("list(%s, func(v %s) any { return %s })", at, item, w.write("v", t.Items, item))
	}
	return at
}
