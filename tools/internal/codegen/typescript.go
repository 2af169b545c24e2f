package codegen

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
)

// typescriptTaken are names that the module needs or that the language has.
var typescriptTaken = []string{"Events", "Tracker", "Record", "track"}

// TypeScript writes a module of types and functions for events, which are sorted
// by name. It imports nothing: the clients of sdk/js for pages and for Node both are a Tracker.
func TypeScript(events []*Event) []byte {
	w := &typescript{}
	s := scope{}
	for _, name := range typescriptTaken {
		s[name] = true
	}
	names := namesOf(events)
	functions := distinct(s, names, func(name string) string { return "track" + exported(name) })
	types := distinct(s, names, exported)
	w.line("// %s", header("ts"))
	w.line("")
	w.line("/** What the functions need of a client: those for pages and for Node have it. */")
	w.line("export interface Tracker<Rest extends readonly unknown[]> {")
	w.line("  track(name: string, properties: Record<string, unknown> | undefined, ...rest: Rest): void;")
	w.line("}")
	for _, e := range events {
		w.line("")
		w.doc("", append([]string{fmt.Sprintf("Properties of the event %s%s.", plain(quoteJSON(e.Name)), e.version())}, e.Root.Doc.Text...), e.Root.Doc.Deprecated)
		w.line("export type %s = %s;", types[e.Name], w.typeOf(e.Root, ""))
		w.line("")
		w.doc("", []string{fmt.Sprintf("Tracks the event %s.", plain(quoteJSON(e.Name)))}, e.Root.Doc.Deprecated)
		empty := ""
		if !e.needs() {
			empty = " = {}"
		}
		w.line("export function %s<Rest extends readonly unknown[]>(client: Tracker<Rest>, properties: %s%s, ...rest: Rest): void {", functions[e.Name], types[e.Name], empty)
		w.line("  client.track(%s, { ...properties }, ...rest);", quoteJSON(e.Name))
		w.line("}")
	}
	w.line("")
	w.line("/** Properties by event name. */")
	w.line("export interface Events {")
	for _, e := range events {
		w.line("  %s: %s;", quoteJSON(e.Name), types[e.Name])
	}
	w.line("}")
	w.line("")
	w.line("/** Tracks an event by its name. */")
	w.line("export function track<Name extends keyof Events, Rest extends readonly unknown[]>(client: Tracker<Rest>, name: Name, properties: Events[Name], ...rest: Rest): void {")
	w.line("  client.track(name, { ...properties }, ...rest);")
	w.line("}")
	return w.out.Bytes()
}

type typescript struct{ out bytes.Buffer }

func (w *typescript) line(format string, args ...any) {
	fmt.Fprintf(&w.out, format, args...)
	w.out.WriteByte('\n')
}

func (w *typescript) doc(indent string, text []string, deprecated bool) {
	if deprecated {
		text = append(text, "@deprecated")
	}
	switch len(text) {
	case 0:
	case 1:
		w.line("%s/** %s */", indent, text[0])
	default:
		w.line("%s/**", indent)
		for _, line := range text {
			w.line("%s * %s", indent, line)
		}
		w.line("%s */", indent)
	}
}

// typeOf is a type as it stands behind a colon on a line with an indent.
func (w *typescript) typeOf(t *Type, indent string) string {
	text := "unknown"
	switch t.Kind {
	case Boolean:
		text = "boolean"
	case Integer, Number:
		text = "number"
	case String:
		text = "string"
	case Null:
		text = "null"
	case Array:
		items := &Type{}
		if t.Items != nil {
			items = t.Items
		}
		of := w.typeOf(items, indent)
		if items.Nullable || len(items.Enum) > 0 {
			of = "(" + of + ")"
		}
		text = "readonly " + of + "[]"
		if items.Kind == Array {
			text = "readonly (" + of + ")[]"
		}
	case Object:
		text = "Record<string, unknown>"
		if len(t.Fields) > 0 {
			text = w.object(t, indent)
		}
	}
	if len(t.Enum) > 0 {
		values := make([]string, len(t.Enum))
		for i, v := range t.Enum {
			values[i] = v
			if v[0] == '"' {
				var s string
				_ = json.Unmarshal([]byte(v), &s) // it was read before
				values[i] = quoteJSON(s)
			}
		}
		text = strings.Join(values, " | ")
	}
	if t.Nullable {
		text += " | null"
	}
	return text
}

func (w *typescript) object(t *Type, indent string) string {
	inner := &typescript{}
	inner.line("{")
	for _, f := range t.Fields {
		inner.doc(indent+"  ", f.Type.Doc.Text, f.Type.Doc.Deprecated)
		mark := ""
		if !f.Required {
			mark = "?"
		}
		inner.line("%s  %s%s: %s;", indent, propertyName(f.Name), mark, inner.typeOf(f.Type, indent+"  "))
	}
	inner.out.WriteString(indent + "}")
	return inner.out.String()
}

// propertyName quotes what is no identifier.
func propertyName(name string) string {
	for i, r := range name {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '_' || r == '$' || i > 0 && r >= '0' && r <= '9') {
			return quoteJSON(name)
		}
	}
	if name == "" || name == "__proto__" {
		return quoteJSON(name)
	}
	return name
}

// quoteJSON writes a text as JSON, which is a text of TypeScript, too, with
// escapes for what a reader would not see.
func quoteJSON(s string) string {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // of a text into memory it cannot fail
	var out strings.Builder
	for _, r := range strings.TrimSuffix(text.String(), "\n") {
		switch {
		case strconv.IsGraphic(r):
			out.WriteRune(r)
		case r < 1<<16:
			fmt.Fprintf(&out, `\u%04x`, r)
		default:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&out, `\u%04x\u%04x`, high, low)
		}
	}
	return out.String()
}
