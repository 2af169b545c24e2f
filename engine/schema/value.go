package schema

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"spoor/engine/event"
	"spoor/segment/batch"
)

// value is a scalar as rules see it.
type value struct {
	kind    kinds // one of them; isNumber also of whole numbers
	text    []byte
	num     float64 // of KindNumber
	decimal string  // of other numbers: their text
	boolean bool
}

// maxExponent is beyond every float64. A number with a larger one is compared as
// a float64: it is zero, or nearly.
const maxExponent = 1200

// exactNumber reads a JSON number; false where its exponent would make it huge.
func exactNumber(text string) (*big.Rat, bool) {
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		exp, err := strconv.Atoi(text[i+1:])
		if err != nil || exp > maxExponent || exp < -maxExponent {
			return nil, false
		}
	}
	return new(big.Rat).SetString(text)
}

func leafValue(l *event.Leaf) value {
	switch l.Kind {
	case batch.KindString:
		return value{kind: isString, text: l.Text}
	case batch.KindNumber:
		return value{kind: isNumber, num: l.Num}
	case batch.KindInt:
		return value{kind: isNumber, decimal: strconv.FormatInt(l.Int, 10)}
	case batch.KindNumText:
		return value{kind: isNumber, decimal: string(l.Text)}
	case batch.KindBool:
		return value{kind: isBoolean, boolean: l.Bool}
	}
	return value{kind: isNull}
}

func (v *value) float() float64 {
	if v.decimal == "" {
		return v.num
	}
	f, _ := strconv.ParseFloat(v.decimal, 64)
	return f
}

func (v *value) whole() bool {
	if v.decimal == "" {
		return v.num == math.Trunc(v.num)
	}
	if r, ok := exactNumber(v.decimal); ok {
		return r.IsInt()
	}
	mantissa, _, _ := strings.Cut(strings.ToLower(v.decimal), "e")
	return !strings.ContainsAny(mantissa, "123456789") // else it is nearly zero
}

// compare is -1, 0 or 1 as v is below, at or above b.
func (v *value) compare(b *bound) int {
	if v.decimal == "" && b.exact {
		switch {
		case v.num < b.float:
			return -1
		case v.num > b.float:
			return 1
		}
		return 0
	}
	text := v.decimal
	if text == "" {
		text = strconv.FormatFloat(v.num, 'e', -1, 64)
	}
	if r, ok := exactNumber(text); ok {
		return r.Cmp(b.rat)
	}
	f := v.float()
	switch {
	case f < b.float:
		return -1
	case f > b.float:
		return 1
	}
	return 0
}

// constant is a value of an enum.
type constant struct {
	value
	bound *bound // of numbers
	json  string
}

func readConstant(text jsontext.Value) (constant, error) {
	x := constant{json: string(text)}
	switch text.Kind() {
	case 'n':
		x.kind = isNull
	case 't', 'f':
		x.kind, x.boolean = isBoolean, text.Kind() == 't'
	case '"':
		var s string
		if err := json.Unmarshal(text, &s); err != nil {
			return x, err
		}
		x.kind, x.text = isString, []byte(s)
	case '0':
		var err error
		x.kind = isNumber
		if x.bound, err = readBound(text); err != nil {
			return x, err
		}
	default:
		return x, fmt.Errorf("only texts, numbers, true, false and null are supported as values")
	}
	return x, nil
}

func (x *constant) equals(v *value) bool {
	if x.kind != v.kind {
		return false
	}
	switch x.kind {
	case isString:
		return string(x.text) == string(v.text)
	case isNumber:
		return v.compare(x.bound) == 0
	case isBoolean:
		return x.boolean == v.boolean
	}
	return true
}

// admits tells whether the field takes values of a kind.
func (f *field) admits(v *value) bool {
	if f.kinds&v.kind != 0 {
		return true
	}
	return v.kind == isNumber && f.kinds&isInteger != 0 && v.whole()
}

// scalar finds the first keyword that the value does not obey; "" for none.
func (f *field) scalar(v *value) (keyword string) {
	if !f.admits(v) {
		return "type"
	}
	if f.enum != nil {
		found := false
		for i := range f.enum {
			if found = f.enum[i].equals(v); found {
				break
			}
		}
		if !found {
			return "enum"
		}
	}
	switch v.kind {
	case isNumber:
		switch {
		case f.minimum != nil && v.compare(f.minimum) < 0:
			return "minimum"
		case f.maximum != nil && v.compare(f.maximum) > 0:
			return "maximum"
		case f.exclusiveMin != nil && v.compare(f.exclusiveMin) <= 0:
			return "exclusiveMinimum"
		case f.exclusiveMax != nil && v.compare(f.exclusiveMax) >= 0:
			return "exclusiveMaximum"
		}
	case isString:
		if f.minLength >= 0 || f.maxLength >= 0 {
			n := utf8.RuneCount(v.text)
			if f.minLength >= 0 && n < f.minLength {
				return "minLength"
			}
			if f.maxLength >= 0 && n > f.maxLength {
				return "maxLength"
			}
		}
		if f.pattern != nil && !f.pattern.Match(v.text) {
			return "pattern"
		}
	}
	return ""
}

// tree judges an array or an object that did not spread into leaves. It
// returns where the first fault is.
func (f *field) tree(text jsontext.Value) (path, keyword string) {
	switch text.Kind() {
	case '[':
		return f.array(text)
	case '{':
		return f.object(text)
	case '0':
		return f.path, f.scalar(&value{kind: isNumber, decimal: string(text)})
	default:
		x, err := readConstant(text)
		if err != nil {
			return f.path, "type"
		}
		return f.path, f.scalar(&x.value)
	}
}

func (f *field) array(text jsontext.Value) (path, keyword string) {
	switch {
	case f.kinds&isArray == 0:
		return f.path, "type"
	case f.enum != nil:
		return f.path, "enum"
	case f.items == nil && f.minItems < 0 && f.maxItems < 0:
		return f.path, ""
	}
	var items []jsontext.Value
	if json.Unmarshal(text, &items) != nil {
		return f.path, "type"
	}
	if f.minItems >= 0 && len(items) < f.minItems {
		return f.path, "minItems"
	}
	if f.maxItems >= 0 && len(items) > f.maxItems {
		return f.path, "maxItems"
	}
	if f.items != nil {
		for _, item := range items {
			if path, keyword := f.items.tree(item); keyword != "" {
				return path, keyword
			}
		}
	}
	return f.path, ""
}

func (f *field) object(text jsontext.Value) (path, keyword string) {
	switch {
	case f.kinds&isObject == 0:
		return f.path, "type"
	case f.enum != nil:
		return f.path, "enum"
	case f.fields == nil && f.additional == Allow:
		return f.path, ""
	}
	var members map[string]jsontext.Value
	if json.Unmarshal(text, &members) != nil {
		return f.path, "type"
	}
	for _, kid := range f.required {
		if _, ok := members[kid.name]; !ok {
			return kid.path, "required"
		}
	}
	for _, name := range sortedKeys(members) {
		kid := f.field(name)
		switch {
		case kid != nil && (!kid.implied || f.additional == Allow):
			if path, keyword := kid.tree(members[name]); keyword != "" {
				return path, keyword
			}
		case f.additional != Allow:
			return batch.JoinPath(f.path, name), "additional"
		}
	}
	return f.path, ""
}
