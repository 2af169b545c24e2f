// Package schema says what the properties of an event may be, and judges events
// by it.
//
// On the way of an event it stands between the decoder, which has the values of
// an event as leaves with paths, and the batch: a compiled Schema resolves each
// path once to a Rule, and a Checker applies rules to values. Schemas have
// versions; a new one is compared with the one before (compare.go), and a first
// one can be proposed from events that are stored (infer.go).
//
// The language is a part of JSON Schema, draft 2020-12, for the object
// properties of an event: type, enum, const, minimum, maximum,
// exclusiveMinimum, exclusiveMaximum, minLength, maxLength, pattern (RE2),
// items, minItems, maxItems, properties, required, additionalProperties as a
// boolean, and annotations. A keyword that is not known is an error, never
// ignored. Beyond the draft stand "additional": allow, drop or reject, and
// "pii": forbid, hash, mask, drop or allow.
package schema

import (
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"spoor/segment/batch"
)

// Limits of a schema.
const (
	MaxBytes     = 64 << 10 // of its JSON
	maxFields    = 512
	maxDepth     = 12   // objects and arrays in each other
	maxEnum      = 1000 // values of one field
	maxPattern   = 1000 // bytes of a regular expression
	maxNumber    = 64   // characters of a number
	maxFieldName = 256  // bytes
)

// Root is the path that schemas describe.
const Root = "properties"

// Additional says what becomes of properties that a schema does not name.
type Additional uint8

// What becomes of them.
const (
	Allow Additional = iota
	Drop
	Reject
)

// PII says what becomes of a field that holds personal data.
type PII uint8

// What becomes of it.
const (
	Unstated PII = iota
	Permit       // "allow": it stays as it is
	Forbid
	Hash
	Mask
	Remove // "drop"
)

var (
	additionalNames = []string{"allow", "drop", "reject"}
	piiNames        = []string{"", "allow", "forbid", "hash", "mask", "drop"}
)

// kinds is a set of JSON types.
type kinds uint8

const (
	isNull kinds = 1 << iota
	isBoolean
	isNumber
	isInteger // a number that is whole; isNumber holds it, too
	isString
	isArray
	isObject
	anyKind = isNull | isBoolean | isNumber | isString | isArray | isObject
)

var kindNames = []string{"null", "boolean", "number", "integer", "string", "array", "object"}

func (k kinds) String() string {
	text := ""
	for i, name := range kindNames {
		if k&(1<<i) != 0 {
			if text != "" {
				text += " or "
			}
			text += name
		}
	}
	return text
}

// field is one value that a schema describes.
type field struct {
	path    string // as batch.Column has it
	name    string
	parent  *field // nil for the root
	implied bool   // it is required and not described: additional, as the draft has it
	index   int    // among the fields that spread into leaves; -1 below an array

	kinds                                        kinds
	enum                                         []constant // nil: any value
	minimum, maximum, exclusiveMin, exclusiveMax *bound
	minLength, maxLength                         int // characters; -1: none
	minItems, maxItems                           int // -1: none
	pattern                                      *regexp.Regexp
	items                                        *field
	fields                                       []*field // ascending by name
	required                                     []*field // some of fields
	additional                                   Additional
	pii                                          PII
}

// Schema is compiled and immutable.
type Schema struct {
	Event   string
	Version int
	text    []byte
	root    *field
	all     []*field // by index
	byPath  map[string]*field
}

// JSON is the schema as it was given.
func (s *Schema) JSON() []byte { return s.text }

// Error says what is wrong with a schema and where.
type Error struct {
	Path    string // of the field, "properties" for the schema itself
	Message string
}

func (e *Error) Error() string { return e.Path + ": " + e.Message }

// Compile reads a schema. The error is an *Error.
func Compile(event string, version int, text []byte) (*Schema, error) {
	s := &Schema{Event: event, Version: version, text: slices.Clone(text), byPath: map[string]*field{}}
	if len(text) > MaxBytes {
		return nil, &Error{Root, fmt.Sprintf("the schema has %d bytes, the limit is %d", len(text), MaxBytes)}
	}
	c := compiler{schema: s}
	root, err := c.field(jsontext.Value(text), Root, Root, nil, 0, false)
	if err != nil {
		return nil, err
	}
	if root.kinds&isObject == 0 {
		return nil, &Error{Root, `the schema describes the object properties of an event: its type must be "object"`}
	}
	if root.enum != nil || root.pii != Unstated {
		return nil, &Error{Root, "enum, const and pii stand with single fields, not with all properties"}
	}
	root.kinds = isObject // properties are nothing else
	s.root = root
	return s, nil
}

type compiler struct {
	schema *Schema
	fields int
}

// keywords that say nothing about values.
var annotations = []string{"$schema", "$id", "$comment", "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "format"}

// field reads the schema of one value. inArray tells that it stands below items.
func (c *compiler) field(text jsontext.Value, path, name string, parent *field, depth int, inArray bool) (*field, error) {
	fail := func(format string, args ...any) (*field, error) {
		return nil, &Error{path, fmt.Sprintf(format, args...)}
	}
	if c.fields++; c.fields > maxFields {
		return fail("a schema has at most %d fields", maxFields)
	}
	if depth > maxDepth {
		return fail("objects and arrays are nested more than %d deep", maxDepth)
	}
	f := &field{path: path, name: name, parent: parent, index: -1, kinds: anyKind, minLength: -1, maxLength: -1, minItems: -1, maxItems: -1}
	if !inArray {
		f.index = len(c.schema.all)
		c.schema.all = append(c.schema.all, f)
		c.schema.byPath[path] = f
	}
	switch string(text) {
	case "true":
		return f, nil
	case "":
		return f, nil // required and not described
	}
	var words map[string]jsontext.Value
	if err := json.Unmarshal(text, &words); err != nil || words == nil {
		return fail("a schema is a JSON object with each member once: %v", err)
	}
	var required []string
	for _, word := range sortedKeys(words) {
		v := words[word]
		var err error
		switch word {
		case "type":
			f.kinds, err = readKinds(v)
		case "enum":
			err = c.enum(f, v)
		case "const":
			err = c.enum(f, jsontext.Value("["+string(v)+"]"))
		case "minimum":
			f.minimum, err = readBound(v)
		case "maximum":
			f.maximum, err = readBound(v)
		case "exclusiveMinimum":
			f.exclusiveMin, err = readBound(v)
		case "exclusiveMaximum":
			f.exclusiveMax, err = readBound(v)
		case "minLength":
			f.minLength, err = readCount(v)
		case "maxLength":
			f.maxLength, err = readCount(v)
		case "minItems":
			f.minItems, err = readCount(v)
		case "maxItems":
			f.maxItems, err = readCount(v)
		case "pattern":
			f.pattern, err = readPattern(v)
		case "required":
			if json.Unmarshal(v, &required) != nil || required == nil {
				err = fmt.Errorf("it is a list of names")
			}
		case "additional":
			var n int
			n, err = readName(v, additionalNames, 0)
			f.additional = Additional(n)
			if err == nil && f.additional == Drop && inArray {
				err = fmt.Errorf(`"drop" is not possible within arrays`)
			}
		case "additionalProperties":
			var allowed bool
			if json.Unmarshal(v, &allowed) != nil {
				err = fmt.Errorf("it is true or false here")
			} else if _, twice := words["additional"]; twice {
				err = fmt.Errorf("give either it or additional")
			} else if !allowed {
				f.additional = Reject
			}
		case "pii":
			var n int
			n, err = readName(v, piiNames, 1)
			f.pii = PII(n)
			if err == nil && inArray {
				err = fmt.Errorf("it stands with the array, not with what is in it")
			}
		case "properties":
			err = c.properties(f, v, depth, inArray)
		case "items":
			f.items, err = c.field(v, path+"[]", name, f, depth+1, true)
		default:
			if !slices.Contains(annotations, word) {
				err = fmt.Errorf("it is not supported; there are type, enum, const, minimum, maximum, exclusiveMinimum, exclusiveMaximum, minLength, maxLength, pattern, items, minItems, maxItems, properties, required, additionalProperties, additional and pii")
			}
		}
		if e, ok := err.(*Error); ok {
			return nil, e
		}
		if err != nil {
			return fail("%s: %v", word, err)
		}
	}
	return f, c.required(f, required, depth, inArray)
}

func sortedKeys(m map[string]jsontext.Value) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (c *compiler) properties(f *field, v jsontext.Value, depth int, inArray bool) error {
	var props map[string]jsontext.Value
	if err := json.Unmarshal(v, &props); err != nil || props == nil {
		return fmt.Errorf("it is an object of schemas by name")
	}
	for _, name := range sortedKeys(props) {
		if string(props[name]) == "false" {
			return fmt.Errorf("%.100q: false is not supported; use additional or pii", name)
		}
		if err := c.child(f, name, props[name], depth, inArray); err != nil {
			return err
		}
	}
	return nil
}

func (c *compiler) child(f *field, name string, text jsontext.Value, depth int, inArray bool) error {
	path := batch.JoinPath(f.path, name)
	if len(name) > maxFieldName || len(path) > batch.MaxPathBytes {
		return fmt.Errorf("the name %.50q... has %d bytes, the limit is %d", name, len(name), maxFieldName)
	}
	kid, err := c.field(text, path, name, f, depth+1, inArray)
	if err == nil {
		f.fields = append(f.fields, kid)
	}
	return err
}

// required finds the fields that must be there; one that is not described becomes a field of any value.
func (c *compiler) required(f *field, names []string, depth int, inArray bool) error {
	for _, name := range names {
		kid := f.field(name)
		if kid == nil {
			if err := c.child(f, name, nil, depth, inArray); err != nil {
				return &Error{f.path, "required: " + err.Error()}
			}
			kid = f.fields[len(f.fields)-1]
			kid.implied = true
			slices.SortFunc(f.fields, byName)
		}
		if slices.Contains(f.required, kid) {
			return &Error{f.path, fmt.Sprintf("required: %.100q stands there twice", name)}
		}
		f.required = append(f.required, kid)
	}
	return nil
}

func byName(a, b *field) int {
	switch {
	case a.name < b.name:
		return -1
	case a.name > b.name:
		return 1
	}
	return 0
}

// field finds a described member.
func (f *field) field(name string) *field {
	i, ok := slices.BinarySearchFunc(f.fields, name, func(k *field, name string) int { return byName(k, &field{name: name}) })
	if !ok {
		return nil
	}
	return f.fields[i]
}

func readKinds(v jsontext.Value) (kinds, error) {
	var names []string
	var one string
	if json.Unmarshal(v, &one) == nil {
		names = []string{one}
	} else if json.Unmarshal(v, &names) != nil || len(names) == 0 {
		return 0, fmt.Errorf("it is a type or a list of types")
	}
	var all kinds
	for _, name := range names {
		i := slices.Index(kindNames, name)
		if i < 0 {
			return 0, fmt.Errorf("there is no type %.50q", name)
		}
		all |= 1 << i
	}
	return all, nil
}

func (c *compiler) enum(f *field, v jsontext.Value) error {
	if f.enum != nil {
		return fmt.Errorf("give either enum or const")
	}
	var values []jsontext.Value
	if json.Unmarshal(v, &values) != nil || len(values) == 0 || len(values) > maxEnum {
		return fmt.Errorf("it is a list of 1 to %d values", maxEnum)
	}
	for _, text := range values {
		x, err := readConstant(text)
		if err != nil {
			return err
		}
		f.enum = append(f.enum, x)
	}
	return nil
}

func readCount(v jsontext.Value) (int, error) {
	n, err := strconv.Atoi(string(v))
	if err != nil || n < 0 {
		return 0, fmt.Errorf("it is a whole number from 0 on")
	}
	return n, nil
}

func readPattern(v jsontext.Value) (*regexp.Regexp, error) {
	var text string
	if json.Unmarshal(v, &text) != nil || len(text) > maxPattern {
		return nil, fmt.Errorf("it is a regular expression of at most %d bytes", maxPattern)
	}
	re, err := regexp.Compile(text)
	if err != nil {
		return nil, fmt.Errorf("it is no RE2 regular expression: %w", err)
	}
	return re, nil
}

func readName(v jsontext.Value, names []string, from int) (int, error) {
	var text string
	if json.Unmarshal(v, &text) == nil {
		if i := slices.Index(names[from:], text); i >= 0 {
			return i + from, nil
		}
	}
	return 0, fmt.Errorf("it is one of %q", names[from:])
}

// bound is a number that values are compared with.
type bound struct {
	text  string
	float float64
	exact bool // comparing as float64 is right for every value of KindNumber
	rat   *big.Rat
}

func readBound(v jsontext.Value) (*bound, error) {
	text := string(v)
	if v.Kind() != '0' {
		return nil, fmt.Errorf("it is a number")
	}
	r, ok := exactNumber(text)
	if !ok || len(text) > maxNumber {
		return nil, fmt.Errorf("the number %.40s is too long or too large", text)
	}
	b := &bound{text: text, rat: r}
	var err error
	if b.float, err = strconv.ParseFloat(text, 64); err != nil {
		return nil, fmt.Errorf("the number %.40s is beyond a 64-bit float", text)
	}
	short, _ := exactNumber(strconv.FormatFloat(b.float, 'e', -1, 64))
	b.exact = short != nil && short.Cmp(r) == 0
	return b, nil
}
