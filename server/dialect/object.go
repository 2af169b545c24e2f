package dialect

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"spoor/engine/event"
)

// Object is a JSON object as its members, in their order. It shares the JSON.
type Object []Member

// Member is one member of an object.
type Member struct {
	Name   []byte // unescaped
	Quoted []byte // as it stands in the JSON
	Value  []byte // JSON
}

// MaxMembers bounds the members of an object that is taken apart.
const MaxMembers = 2000

// Check tells what is wrong with the JSON of one value, by the rules of the
// native API: RFC 8259, UTF-8, no member twice. nil where nothing is.
func Check(value []byte) *event.Reject {
	if jsontext.Value(value).IsValid() {
		return nil
	}
	d := jsontext.NewDecoder(bytes.NewBuffer(value))
	_, err := d.ReadValue()
	if err == nil {
		if err = d.SkipValue(); err == nil {
			err = errors.New("there is more behind the value")
		}
	}
	rej := &event.Reject{Code: event.CodeMalformed, Message: fmt.Sprintf("%.200s", err)}
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		rej.Code = event.CodeDuplicateKey
	case !utf8.Valid(value):
		rej.Code = event.CodeInvalidUTF8
	}
	return rej
}

// Split takes the object that is all of value, beside white space, apart into
// dst. It looks at the members' bounds only, not into their values: check a value
// before it is used, unless the whole was checked.
func Split(dst Object, value []byte) (Object, error) {
	p := space(value, 0)
	if p >= len(value) || value[p] != '{' {
		return nil, errNotObject
	}
	if p = space(value, p+1); p < len(value) && value[p] == '}' {
		return dst, end(value, p+1)
	}
	for {
		nameEnd := stringEnd(value, p)
		if nameEnd < 0 {
			return nil, errMalformed
		}
		m := Member{Quoted: value[p:nameEnd], Name: value[p+1 : nameEnd-1]}
		if bytes.IndexByte(m.Name, '\\') >= 0 {
			plain, err := jsontext.AppendUnquote(nil, m.Quoted)
			if err != nil {
				return nil, errMalformed
			}
			m.Name = plain
		}
		if p = space(value, nameEnd); p >= len(value) || value[p] != ':' {
			return nil, errMalformed
		}
		from := space(value, p+1)
		if p = skip(value, from); p < 0 {
			return nil, errMalformed
		}
		m.Value = value[from:p]
		if len(dst) >= MaxMembers {
			return nil, errTooMany
		}
		dst = append(dst, m)
		if p = space(value, p); p >= len(value) {
			return nil, errMalformed
		}
		switch value[p] {
		case ',':
			p = space(value, p+1)
		case '}':
			return dst, end(value, p+1)
		default:
			return nil, errMalformed
		}
	}
}

// Each calls f for each value of the array that is all of value, with its JSON
// as Split has it, until f returns an error.
func Each(value []byte, f func(index int, item []byte) error) error {
	p := space(value, 0)
	if p >= len(value) || value[p] != '[' {
		return errNotArray
	}
	if p = space(value, p+1); p < len(value) && value[p] == ']' {
		return end(value, p+1)
	}
	for i := 0; ; i++ {
		to := skip(value, p)
		if to < 0 {
			return errMalformed
		}
		if err := f(i, value[p:to]); err != nil {
			return err
		}
		if p = space(value, to); p >= len(value) {
			return errMalformed
		}
		switch value[p] {
		case ',':
			p = space(value, p+1)
		case ']':
			return end(value, p+1)
		default:
			return errMalformed
		}
	}
}

var (
	errNotObject = BadRequest(event.CodeNotObject, "a JSON object is expected")
	errNotArray  = BadRequest(event.CodeMalformed, "a JSON array is expected")
	errMalformed = BadRequest(event.CodeMalformed, "the JSON is cut off or its brackets and quotes do not match; nothing was stored")
	errTooMany   = BadRequest(event.CodeTooManyKeys, fmt.Sprintf("an object has more than %d members", MaxMembers))
)

// end checks that only white space follows.
func end(b []byte, p int) error {
	if space(b, p) < len(b) {
		return errMalformed
	}
	return nil
}

func space(b []byte, p int) int {
	for p < len(b) && (b[p] == ' ' || b[p] == '\n' || b[p] == '\t' || b[p] == '\r') {
		p++
	}
	return p
}

// stringEnd returns the index behind the string at p, or -1.
func stringEnd(b []byte, p int) int {
	if p >= len(b) || b[p] != '"' {
		return -1
	}
	for p++; p < len(b); p++ {
		switch b[p] {
		case '"':
			return p + 1
		case '\\':
			p++
		}
	}
	return -1
}

// skip returns the index behind the value at p, of any depth, or -1 where it
// does not end.
func skip(b []byte, p int) int {
	for from, depth := p, 0; p < len(b); {
		switch b[p] {
		case '"':
			if p = stringEnd(b, p); p < 0 {
				return -1
			}
		case '{', '[':
			depth++
			p++
			continue
		case '}', ']':
			if depth == 0 {
				return bound(from, p)
			}
			depth--
			p++
		case ',', ' ', '\n', '\t', '\r':
			if depth == 0 {
				return bound(from, p)
			}
			p++
			continue
		default:
			p++
			continue
		}
		if depth == 0 {
			return p
		}
	}
	return -1
}

// bound is the end of a value, which has at least one byte.
func bound(from, p int) int {
	if from == p {
		return -1
	}
	return p
}

// Get returns the value of a member, nil where there is none or it is null.
func (o Object) Get(name string) []byte {
	for i := range o {
		if string(o[i].Name) == name {
			if string(o[i].Value) == "null" {
				return nil
			}
			return o[i].Value
		}
	}
	return nil
}

// Has tells whether there is a member, of any value.
func (o Object) Has(name []byte) bool {
	for i := range o {
		if bytes.Equal(o[i].Name, name) {
			return true
		}
	}
	return false
}

// Object returns the members of a member that is an object; nil where it is none.
func (o Object) Object(name string) Object {
	v := o.Get(name)
	if len(v) == 0 || v[0] != '{' {
		return nil
	}
	members, err := Split(nil, v)
	if err != nil {
		return nil
	}
	return members
}

// ID returns a member as an id: the text of a string, or the digits of a number,
// as some clients send ids. nil where it is absent, null, empty or of another type.
func (o Object) ID(names ...string) []byte {
	for _, name := range names {
		if id := Text(o.Get(name)); len(id) > 0 {
			return id
		}
	}
	return nil
}

// Text is the text of a JSON string or number; nil for other values.
func Text(value []byte) []byte {
	switch {
	case len(value) == 0:
		return nil
	case value[0] == '-' || value[0]-'0' <= 9:
		return value
	case value[0] != '"':
		return nil
	}
	if len(value) < 2 || bytes.IndexByte(value, '\\') < 0 {
		return bytes.Trim(value, `"`)
	}
	text, err := jsontext.AppendUnquote(nil, value)
	if err != nil {
		return nil
	}
	return text
}

// Quote appends text as a JSON string.
func Quote(dst, text []byte) []byte {
	dst, _ = jsontext.AppendQuote(dst, text)
	return dst
}
