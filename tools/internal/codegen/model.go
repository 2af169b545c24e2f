package codegen

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"spoor/engine/schema"
)

// Event is an event name and what its schema says of its properties.
type Event struct {
	Name    string
	Version int // of the schema; 0: not known
	Root    *Type
}

// Type is what a value may be. The language is that of package schema, which has
// checked it.
type Type struct {
	Kind     Kind
	Nullable bool
	Doc      Doc
	Enum     []string // JSON of the values, without null; Kind says of what kind all are
	Items    *Type    // of an array; nil: anything
	Fields   []Field  // of an object, by name; none: anything
}

// Field is a property.
type Field struct {
	Name     string
	Required bool
	Type     *Type
}

// Kind is the JSON type of a value.
type Kind int

// The kinds. Any is also where several are allowed.
const (
	Any Kind = iota
	Boolean
	Integer
	Number
	String
	Array
	Object
	Null // and nothing else
)

// Doc is what a schema says for persons.
type Doc struct {
	Text       []string // lines
	Deprecated bool
}

// Load compiles a schema and reads its types.
func Load(event string, version int, text []byte) (*Event, error) {
	if event == "" {
		return nil, fmt.Errorf("a schema is of no event")
	}
	if _, err := schema.Compile(event, version, text); err != nil {
		return nil, fmt.Errorf("schema of %q: %w", event, err)
	}
	root, err := readType(text)
	if err != nil {
		return nil, fmt.Errorf("schema of %q: %w", event, err)
	}
	root.Kind, root.Nullable = Object, false
	return &Event{Name: event, Version: version, Root: root}, nil
}

// words are the keywords that make a difference here.
type words struct {
	Type        json.RawMessage            `json:"type"`
	Enum        []json.RawMessage          `json:"enum"`
	Const       json.RawMessage            `json:"const"`
	Items       json.RawMessage            `json:"items"`
	Properties  map[string]json.RawMessage `json:"properties"`
	Required    []string                   `json:"required"`
	Title       string                     `json:"title"`
	Description string                     `json:"description"`
	Deprecated  bool                       `json:"deprecated"`
	PII         string                     `json:"pii"`

	Minimum          json.Number `json:"minimum"`
	Maximum          json.Number `json:"maximum"`
	ExclusiveMinimum json.Number `json:"exclusiveMinimum"`
	ExclusiveMaximum json.Number `json:"exclusiveMaximum"`
	MinLength        *int        `json:"minLength"`
	MaxLength        *int        `json:"maxLength"`
	MinItems         *int        `json:"minItems"`
	MaxItems         *int        `json:"maxItems"`
	Pattern          string      `json:"pattern"`
}

func readType(text []byte) (*Type, error) {
	if s := string(text); s == "" || s == "true" {
		return &Type{}, nil
	}
	var w words
	if err := json.Unmarshal(text, &w); err != nil {
		return nil, fmt.Errorf("read a field: %w", err)
	}
	t := &Type{Doc: w.doc()}
	t.Kind, t.Nullable = kindOf(w.Type)
	if t.Kind == Any && len(w.Type) == 0 { // what else it describes says what it is
		switch {
		case w.Properties != nil:
			t.Kind = Object
		case len(w.Items) > 0:
			t.Kind = Array
		}
	}
	if len(w.Const) > 0 {
		w.Enum = []json.RawMessage{w.Const}
	}
	t.enum(w.Enum)
	var err error
	if t.Kind == Array && len(w.Items) > 0 {
		if t.Items, err = readType(w.Items); err != nil {
			return nil, err
		}
	}
	if t.Kind == Object {
		for _, name := range w.Required {
			if _, ok := w.Properties[name]; !ok {
				if w.Properties == nil {
					w.Properties = map[string]json.RawMessage{}
				}
				w.Properties[name] = nil
			}
		}
		for _, name := range slices.Sorted(maps.Keys(w.Properties)) {
			of, err := readType(w.Properties[name])
			if err != nil {
				return nil, err
			}
			t.Fields = append(t.Fields, Field{Name: name, Required: slices.Contains(w.Required, name), Type: of})
		}
	}
	return t, nil
}

var kindNames = map[string]Kind{"boolean": Boolean, "integer": Integer, "number": Number, "string": String, "array": Array, "object": Object, "null": Null}

// kindOf reads the keyword type: one kind, beside null, or Any.
func kindOf(text json.RawMessage) (k Kind, nullable bool) {
	var names []string
	var one string
	if json.Unmarshal(text, &one) == nil {
		names = []string{one}
	} else if json.Unmarshal(text, &names) != nil {
		return Any, false
	}
	var kinds []Kind
	for _, name := range names {
		switch next := kindNames[name]; {
		case next == Null:
			nullable = true
		case next == Integer && slices.Contains(kinds, Number):
		case next == Number && slices.Contains(kinds, Integer):
			kinds[slices.Index(kinds, Integer)] = Number
		case !slices.Contains(kinds, next):
			kinds = append(kinds, next)
		}
	}
	switch {
	case len(kinds) == 0 && nullable:
		return Null, false
	case len(kinds) == 1:
		return kinds[0], nullable
	}
	return Any, false
}

// enum takes the values that are allowed, and narrows the kind to theirs.
func (t *Type) enum(values []json.RawMessage) {
	if values == nil {
		return
	}
	var kinds []Kind
	var texts []string
	null := false
	for _, v := range values {
		k := constantKind(v)
		if k == Null {
			null = true
			continue
		}
		if t.Kind != Any && !(k == t.Kind || t.Kind == Number && k == Integer) || slices.Contains(texts, string(v)) {
			continue // a value that the type forbids
		}
		texts = append(texts, string(v))
		if !slices.Contains(kinds, k) {
			kinds = append(kinds, k)
		}
	}
	t.Nullable = null && (t.Nullable || t.Kind == Any)
	t.Enum = texts
	switch {
	case len(texts) == 0:
		t.Kind, t.Nullable, t.Enum = Null, false, nil
	case len(kinds) == 1:
		t.Kind = kinds[0]
	case len(kinds) == 2 && !slices.Contains(kinds, String) && !slices.Contains(kinds, Boolean):
		t.Kind = Number
	default:
		t.Kind = Any
	}
}

func constantKind(v json.RawMessage) Kind {
	switch v[0] {
	case 'n':
		return Null
	case 't', 'f':
		return Boolean
	case '"':
		return String
	}
	if _, err := strconv.ParseInt(string(v), 10, 64); err == nil {
		return Integer
	}
	return Number
}

// maxDocBytes bounds what a comment takes of a description.
const maxDocBytes = 2000

// doc says in words what the types of a language do not.
func (w *words) doc() Doc {
	d := Doc{Deprecated: w.Deprecated}
	for _, text := range []string{w.Title, w.Description} {
		if len(text) > maxDocBytes {
			text = strings.ToValidUTF8(text[:maxDocBytes], "") + "..."
		}
		for line := range strings.FieldsFuncSeq(text, isLineEnd) {
			if line = strings.TrimSpace(plain(line)); line != "" {
				d.Text = append(d.Text, line)
			}
		}
	}
	var bounds []string
	add := func(format string, value any) { bounds = append(bounds, fmt.Sprintf(format, value)) }
	number := func(format string, value json.Number) {
		if value != "" {
			add(format, value)
		}
	}
	count := func(bound, of string, value *int) {
		if value != nil && *value == 1 {
			of = strings.TrimSuffix(of, "s")
		}
		if value != nil {
			add(bound+" %d "+of, *value)
		}
	}
	number("at least %s", w.Minimum)
	number("at most %s", w.Maximum)
	number("more than %s", w.ExclusiveMinimum)
	number("less than %s", w.ExclusiveMaximum)
	count("at least", "characters", w.MinLength)
	count("at most", "characters", w.MaxLength)
	count("at least", "items", w.MinItems)
	count("at most", "items", w.MaxItems)
	if w.Pattern != "" {
		add("matches %s", plain(w.Pattern))
	}
	if w.PII == "forbid" {
		add("%s", "no personal data")
	}
	if len(bounds) > 0 {
		text := strings.Join(bounds, ", ")
		d.Text = append(d.Text, strings.ToUpper(text[:1])+text[1:]+".")
	}
	return d
}

func isLineEnd(r rune) bool {
	return r == '\n' || r == '\r' || r == '\u2028' || r == '\u2029' || r == '\u0085'
}

// plain leaves out of a text what would end a comment or hide in one: it comes
// from a server, and ends up in a program.
func plain(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case isLineEnd(r) || r == '\t':
			return ' '
		case !strconv.IsGraphic(r) || r == '\ufeff':
			return -1
		}
		return r
	}, text)
	return strings.ReplaceAll(text, "*/", "* /")
}
