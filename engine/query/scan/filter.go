package scan

import (
	"strconv"
	"sync"

	"spoor/segment"
	"spoor/segment/batch"
)

// Field names what a filter or a breakdown reads of an event.
type Field struct {
	Kind  FieldKind
	Path  string // column path, of FieldColumn
	Trait *Trait // of FieldTrait; filters are made by Trait.Where
	// Hidden reads a column that is hidden, too: of conditions that say what is erased.
	Hidden bool
}

// FieldKind tells where a field's value is stored.
type FieldKind uint8

// The kinds of fields.
const (
	FieldColumn FieldKind = iota // a path of properties or context
	FieldUser
	FieldAnonymous
	FieldSource
	FieldEvent
	FieldTime
	FieldReceived
	FieldTrait
	FieldPerson // the person: userId, or first anonymousId
)

// Names resolves what segments store as references.
type Names interface {
	// UserText and AnonText are the ids that a row of person refers to; nil for none.
	UserText(person, ref uint32) []byte
	AnonText(person, ref uint32) []byte
	// Name is the person's userId or first anonymousId.
	Name(person uint32) string
}

// Filter is a predicate over rows: a tree of tests. A test holds for a row that
// has a value it accepts; so on a missing field it is false, and its negation true.
type Filter struct {
	op    op
	kids  []*Filter
	field Field
	test  Test
	// tables remembers, per dictionary, which of its texts pass.
	tables sync.Map // *batch.Texts -> []bool
}

type op uint8

const (
	opTest op = iota
	opAnd
	opOr
	opNot
)

// Test accepts values by type. A nil member accepts no value of its type.
type Test struct {
	Text   func(text []byte) bool
	Number func(v float64) bool
	Int    func(v int64) bool // an integer that a float64 would not hold; time fields in microseconds
	Bool   func(v bool) bool
	JSON   func(text []byte) bool // an array or empty object
	Null   bool                   // an explicit null
}

// Where makes a filter of one test.
func Where(f Field, t Test) *Filter { return &Filter{op: opTest, field: f, test: t} }

// And holds where all do; nil filters hold everywhere.
func And(filters ...*Filter) *Filter { return combine(opAnd, filters) }

// Or holds where one does.
func Or(filters ...*Filter) *Filter { return combine(opOr, filters) }

// Not holds where f does not.
func Not(f *Filter) *Filter { return &Filter{op: opNot, kids: []*Filter{f}} }

func combine(o op, filters []*Filter) *Filter {
	var kids []*Filter
	for _, f := range filters {
		if f != nil {
			kids = append(kids, f)
		}
	}
	if len(kids) == 0 {
		return nil
	}
	if len(kids) == 1 {
		return kids[0]
	}
	return &Filter{op: o, kids: kids}
}

// evaluator runs filters; it owns buffers.
type evaluator struct {
	codes []uint32
	nums  []float64
	ints  []int64
	has   []bool
	keys  []uint64
	spare []Bits
	names Names
}

func (e *evaluator) take(n int) Bits {
	var b Bits
	if len(e.spare) > 0 {
		b, e.spare = e.spare[len(e.spare)-1], e.spare[:len(e.spare)-1]
	}
	return b.resize(n)
}

// run sets in out, which is empty, the rows [from, to) of s where f holds.
func (e *evaluator) run(f *Filter, s *segment.Section, from, to int, out Bits, x *segment.Scratch) error {
	n := to - from
	switch f.op {
	case opTest:
		return e.test(f, s, from, to, out, x)
	case opNot:
		if err := e.run(f.kids[0], s, from, to, out, x); err != nil {
			return err
		}
		out.not(n)
		return nil
	}
	for i, kid := range f.kids {
		if i == 0 {
			if err := e.run(kid, s, from, to, out, x); err != nil {
				return err
			}
			continue
		}
		b := e.take(n)
		if err := e.run(kid, s, from, to, b, x); err != nil {
			return err
		}
		for w := range out {
			if f.op == opAnd {
				out[w] &= b[w]
			} else {
				out[w] |= b[w]
			}
		}
		e.spare = append(e.spare, b)
	}
	return nil
}

func (e *evaluator) test(f *Filter, s *segment.Section, from, to int, out Bits, x *segment.Scratch) error {
	switch f.field.Kind {
	case FieldColumn:
		columns := s.Columns
		if f.field.Hidden {
			columns = s.StoredColumns
		}
		cols, err := columns(f.field.Path)
		if err != nil {
			return err
		}
		for _, c := range cols {
			if err := e.column(f, c, from, to, out, x); err != nil {
				return err
			}
		}
		return nil
	case FieldSource:
		c, ok, err := s.Sources()
		if err != nil || !ok {
			return err
		}
		return e.texts(f, c, f.test.Text, from, to, out, x)
	case FieldEvent:
		if f.test.Text != nil && f.test.Text([]byte(s.Event())) {
			out.fill(to - from)
		}
		return nil
	}
	return e.fixed(f, s, from, to, out, x)
}

// fixed tests what is not a column of codes: ids and times.
func (e *evaluator) fixed(f *Filter, s *segment.Section, from, to int, out Bits, x *segment.Scratch) error {
	n := to - from
	if f.field.Kind == FieldReceived {
		e.ints = grow(e.ints, n)
		if err := s.Received(e.ints, from, to, x); err != nil {
			return err
		}
		for i, v := range e.ints {
			if f.test.Int != nil && f.test.Int(v) {
				out.Set(i)
			}
		}
		return nil
	}
	e.keys = grow(e.keys, n)
	if err := s.Keys(e.keys, from, to, x); err != nil {
		return err
	}
	e.codes = grow(e.codes, n)
	switch f.field.Kind {
	case fieldOrdinal:
		for i, k := range e.keys {
			if f.test.Int(int64(segment.KeyPerson(k))) {
				out.Set(i)
			}
		}
		return nil
	case FieldTime:
		for i, k := range e.keys {
			if f.test.Int != nil && f.test.Int(segment.KeyTime(k, s.Day())) {
				out.Set(i)
			}
		}
		return nil
	case FieldUser:
		if err := s.Users(e.codes, from, to, x); err != nil {
			return err
		}
	case FieldAnonymous:
		if err := s.Anons(e.codes, from, to, x); err != nil {
			return err
		}
	}
	if f.test.Text == nil {
		return nil
	}
	lastKey, lastRef, lastPass := ^uint64(0), uint32(0), false
	for i, k := range e.keys {
		person := segment.KeyPerson(k)
		ref := uint32(1)
		if f.field.Kind != FieldPerson {
			ref = e.codes[i]
		}
		if uint64(person) != lastKey || ref != lastRef {
			lastKey, lastRef = uint64(person), ref
			var text []byte
			switch f.field.Kind {
			case FieldUser:
				text = e.names.UserText(person, ref)
			case FieldAnonymous:
				text = e.names.AnonText(person, ref)
			default:
				text = []byte(e.names.Name(person))
			}
			lastPass = text != nil && f.test.Text(text)
		}
		if lastPass {
			out.Set(i)
		}
	}
	return nil
}

func (e *evaluator) column(f *Filter, c segment.Column, from, to int, out Bits, x *segment.Scratch) error {
	t := &f.test
	n := to - from
	switch c.Kind() {
	case batch.KindString:
		return e.texts(f, c, t.Text, from, to, out, x)
	case batch.KindJSON:
		return e.texts(f, c, t.JSON, from, to, out, x)
	case batch.KindNumText:
		return e.texts(f, c, numText(t.Number), from, to, out, x)
	case batch.KindNumber:
		if t.Number == nil {
			return nil
		}
		e.nums = grow(e.nums, n)
		if err := c.Numbers(e.nums, from, to, x); err != nil {
			return err
		}
		for i, v := range e.nums {
			if v == v && t.Number(v) {
				out.Set(i)
			}
		}
	case batch.KindInt:
		if t.Int == nil {
			return nil
		}
		e.ints, e.has = grow(e.ints, n), grow(e.has, n)
		clear(e.has)
		if err := c.Ints(e.ints, e.has, from, to, x); err != nil {
			return err
		}
		for i, v := range e.ints {
			if e.has[i] && t.Int(v) {
				out.Set(i)
			}
		}
	default:
		if pass := t.codes(c.Kind()); pass != nil {
			return e.codesOf(c, pass, from, to, out, x)
		}
	}
	return nil
}

// texts tests a column with text: each text of a dictionary once.
func (e *evaluator) texts(f *Filter, c segment.Column, pass func([]byte) bool, from, to int, out Bits, x *segment.Scratch) error {
	if pass == nil {
		return nil
	}
	dict, err := c.Dict()
	if err != nil {
		return err
	}
	if dict != nil {
		return e.codesOf(c, f.table(dict, pass), from, to, out, x)
	}
	e.codes = grow(e.codes, to-from)
	texts, err := c.Codes(e.codes, from, to, x)
	if err != nil {
		return err
	}
	table := passing(texts, pass)
	for i, code := range e.codes {
		if table[code] {
			out.Set(i)
		}
	}
	return nil
}

// table tells for each code of a dictionary whether its text passes; it is made once.
func (f *Filter) table(dict *batch.Texts, pass func([]byte) bool) []bool {
	if t, ok := f.tables.Load(dict); ok {
		return t.([]bool)
	}
	table := passing(dict, pass)
	f.tables.Store(dict, table)
	return table
}

// passing tells for each code whether it passes; code 0 is missing.
func passing(dict *batch.Texts, pass func([]byte) bool) []bool {
	table := make([]bool, dict.Len()+1)
	for i := range dict.Len() {
		table[i+1] = pass(dict.At(i))
	}
	return table
}

func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, n+n/4)
	}
	return s[:n]
}

// numText lets a test of numbers see a number that is kept as text.
func numText(pass func(float64) bool) func([]byte) bool {
	if pass == nil {
		return nil
	}
	return func(text []byte) bool {
		v, err := strconv.ParseFloat(string(text), 64)
		return err == nil && pass(v)
	}
}

// OfPerson holds for rows whose person, as written, is wanted.
func OfPerson(wanted func(person uint32) bool) *Filter {
	return &Filter{op: opTest, field: Field{Kind: fieldOrdinal}, test: Test{Int: func(p int64) bool { return wanted(uint32(p)) }}}
}

const fieldOrdinal FieldKind = 255
