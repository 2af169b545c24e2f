package scan

import (
	"math"
	"strconv"

	"spoor/segment"
	"spoor/segment/batch"
)

// Groups numbers the distinct values of a field, from 1 in the order they are
// met; 0 is missing. Values keep their type: the text "1", the number 1 and true
// are three groups.
type Groups struct {
	byText map[string]uint32
	byNum  map[uint64]uint32
	values []any // string, float64, int64, bool or json text (RawJSON); values[0] is nil
	from   *batch.Texts
	table  []uint32
	kind   batch.Kind
}

// RawJSON is a value that is an array or an empty object, as JSON text.
type RawJSON string

// NewGroups makes an empty numbering.
func NewGroups() *Groups {
	return &Groups{byText: map[string]uint32{}, byNum: map[uint64]uint32{}, values: []any{nil}}
}

// Len is the number of groups, the missing one included.
func (g *Groups) Len() int { return len(g.values) }

// Value is the value of a group: nil, string, float64, int64, bool or RawJSON.
func (g *Groups) Value(i uint32) any { return g.values[i] }

// Of numbers a value; it must be of one of the types that Value returns.
func (g *Groups) Of(v any) uint32 {
	switch v := v.(type) {
	case nil:
		return 0
	case string:
		return g.text(batch.KindString, []byte(v))
	case float64:
		return g.number(v)
	case int64:
		return g.text(batch.KindInt, strconv.AppendInt(nil, v, 10))
	case bool:
		return g.bool(v)
	case RawJSON:
		return g.text(batch.KindJSON, []byte(v))
	case Decimal:
		return g.text(batch.KindNumText, []byte(v))
	}
	return 0
}

func (g *Groups) text(kind batch.Kind, text []byte) uint32 {
	key := make([]byte, 0, 64)
	key = append(append(key, byte(kind)), text...)
	if i, ok := g.byText[string(key)]; ok {
		return i
	}
	i := uint32(len(g.values))
	g.byText[string(key)] = i
	switch kind {
	case batch.KindJSON:
		g.values = append(g.values, RawJSON(text))
	case batch.KindInt:
		v, _ := strconv.ParseInt(string(text), 10, 64)
		g.values = append(g.values, v)
	case batch.KindBool:
		g.values = append(g.values, text[0] == 1)
	case batch.KindNumText:
		g.values = append(g.values, Decimal(text))
	default:
		g.values = append(g.values, string(text))
	}
	return i
}

func (g *Groups) number(v float64) uint32 {
	b := math.Float64bits(v)
	i, ok := g.byNum[b]
	if !ok {
		i = uint32(len(g.values))
		g.byNum[b] = i
		g.values = append(g.values, v)
	}
	return i
}

func (g *Groups) bool(v bool) uint32 {
	if v {
		return g.text(batch.KindBool, []byte{1})
	}
	return g.text(batch.KindBool, []byte{0})
}

// Read numbers the values of field for the rows [from, to) of s into dst.
func (g *Groups) Read(w *Worker, s *segment.Section, field Field, dst []uint32, from, to int) error {
	clear(dst)
	e := &w.eval
	switch field.Kind {
	case FieldColumn:
		cols, err := s.Columns(field.Path)
		if err != nil {
			return err
		}
		for _, c := range cols {
			if err := g.column(w, c, dst, from, to); err != nil {
				return err
			}
		}
		return nil
	case FieldSource:
		c, ok, err := s.Sources()
		if err != nil || !ok {
			return err
		}
		return g.texts(w, c, batch.KindString, dst, from, to)
	case FieldEvent:
		i := g.text(batch.KindString, []byte(s.Event()))
		for r := range dst {
			dst[r] = i
		}
		return nil
	}
	e.keys = grow(e.keys, to-from)
	if err := s.Keys(e.keys, from, to, &w.x); err != nil {
		return err
	}
	e.codes = grow(e.codes, to-from)
	switch field.Kind {
	case FieldTrait:
		field.Trait.groups(g, e.keys, dst)
	case FieldUser:
		if err := s.Users(e.codes, from, to, &w.x); err != nil {
			return err
		}
		for r, k := range e.keys {
			if t := e.names.UserText(segment.KeyPerson(k), e.codes[r]); t != nil {
				dst[r] = g.text(batch.KindString, t)
			}
		}
	case FieldAnonymous:
		if err := s.Anons(e.codes, from, to, &w.x); err != nil {
			return err
		}
		for r, k := range e.keys {
			if t := e.names.AnonText(segment.KeyPerson(k), e.codes[r]); t != nil {
				dst[r] = g.text(batch.KindString, t)
			}
		}
	case FieldPerson:
		for r, k := range e.keys {
			dst[r] = g.text(batch.KindString, []byte(e.names.Name(segment.KeyPerson(k))))
		}
	case FieldTime:
		for r, k := range e.keys {
			dst[r] = g.Of(segment.KeyTime(k, s.Day()))
		}
	case FieldReceived:
		e.ints = grow(e.ints, to-from)
		if err := s.Received(e.ints, from, to, &w.x); err != nil {
			return err
		}
		for r, v := range e.ints {
			dst[r] = g.Of(v)
		}
	}
	return nil
}

func (g *Groups) column(w *Worker, c segment.Column, dst []uint32, from, to int) error {
	e := &w.eval
	switch c.Kind() {
	case batch.KindString, batch.KindJSON, batch.KindNumText:
		return g.texts(w, c, c.Kind(), dst, from, to)
	case batch.KindNumber:
		e.nums = grow(e.nums, to-from)
		if err := c.Numbers(e.nums, from, to, &w.x); err != nil {
			return err
		}
		last, lastGroup := math.NaN(), uint32(0)
		for r, v := range e.nums {
			if v != v {
				continue
			}
			if v != last {
				last, lastGroup = v, g.number(v)
			}
			dst[r] = lastGroup
		}
	case batch.KindInt:
		e.ints, e.has = grow(e.ints, to-from), grow(e.has, to-from)
		clear(e.has)
		if err := c.Ints(e.ints, e.has, from, to, &w.x); err != nil {
			return err
		}
		for r, v := range e.ints {
			if e.has[r] {
				dst[r] = g.Of(v)
			}
		}
	case batch.KindBool:
		e.codes = grow(e.codes, to-from)
		if _, err := c.Codes(e.codes, from, to, &w.x); err != nil {
			return err
		}
		for r, code := range e.codes {
			if code != 0 {
				dst[r] = g.bool(code == 2)
			}
		}
	case batch.KindNull:
		// An explicit null counts as missing.
	}
	return nil
}

func (g *Groups) texts(w *Worker, c segment.Column, kind batch.Kind, dst []uint32, from, to int) error {
	e := &w.eval
	e.codes = grow(e.codes, to-from)
	texts, err := c.Codes(e.codes, from, to, &w.x)
	if err != nil {
		return err
	}
	if g.from != texts || g.kind != kind {
		g.from, g.kind = texts, kind
		g.table = make([]uint32, texts.Len()+1)
	}
	for r, code := range e.codes {
		if code == 0 {
			continue
		}
		if g.table[code] == 0 {
			g.table[code] = g.text(kind, texts.At(int(code-1)))
		}
		dst[r] = g.table[code]
	}
	return nil
}

// MarshalJSON writes the value as it stands.
func (r RawJSON) MarshalJSON() ([]byte, error) { return []byte(r), nil }

// Decimal is a number that neither a float64 nor an int64 holds, in its own digits.
type Decimal string

// MarshalJSON writes the number as it was sent.
func (d Decimal) MarshalJSON() ([]byte, error) { return []byte(d), nil }

// Tuples numbers the distinct combinations of several fields, from 0 in the
// order they are met.
type Tuples struct {
	fields []*Groups
	index  map[string]uint32
	tuples [][]uint32
	buf    []byte
	cols   [][]uint32
	table  []uint32 // with one field: group -> combination
	rows   []uint32
}

// NewTuples makes an empty numbering of combinations of n fields.
func NewTuples(n int) *Tuples {
	t := &Tuples{index: map[string]uint32{}, cols: make([][]uint32, n)}
	for range n {
		t.fields = append(t.fields, NewGroups())
	}
	return t
}

// Len is the number of combinations.
func (t *Tuples) Len() int { return len(t.tuples) }

// Values are the values of a combination; nil for missing ones.
func (t *Tuples) Values(i uint32) []any {
	out := make([]any, len(t.fields))
	for f, g := range t.tuples[i] {
		out[f] = t.fields[f].Value(g)
	}
	return out
}

// Part is the group that field f has in a combination.
func (t *Tuples) Part(i uint32, f int) uint32 { return t.tuples[i][f] }

// of numbers the combination of the groups in row i of cols.
func (t *Tuples) of(i int) uint32 {
	t.buf = t.buf[:0]
	for f := range t.fields {
		g := t.cols[f][i]
		t.buf = append(t.buf, byte(g), byte(g>>8), byte(g>>16), byte(g>>24))
	}
	n, ok := t.index[string(t.buf)]
	if !ok {
		n = uint32(len(t.tuples))
		t.index[string(t.buf)] = n
		tuple := make([]uint32, len(t.fields))
		for f := range tuple {
			tuple[f] = t.cols[f][i]
		}
		t.tuples = append(t.tuples, tuple)
	}
	return n
}

// Section numbers the rows [from, to) of a section.
func (t *Tuples) Section(w *Worker, s *segment.Section, fields []Field, dst []uint32, from, to int) error {
	if err := w.stopped(); err != nil {
		return err
	}
	for f := range fields {
		t.cols[f] = grow(t.cols[f], to-from)
		if err := t.fields[f].Read(w, s, fields[f], t.cols[f], from, to); err != nil {
			return err
		}
	}
	if len(fields) == 1 {
		t.single(dst)
		return nil
	}
	last, lastGroup := -1, uint32(0)
	for i := range dst {
		same := last >= 0
		for f := range fields {
			same = same && t.cols[f][i] == t.cols[f][last]
		}
		if !same {
			lastGroup = t.of(i)
		}
		last = i
		dst[i] = lastGroup
	}
	return nil
}

// single numbers combinations of one field by a table from its groups.
func (t *Tuples) single(dst []uint32) {
	groups := t.cols[0]
	for len(t.table) < t.fields[0].Len() {
		t.table = append(t.table, noTuple)
	}
	table := t.table
	for i := range dst {
		n := table[groups[i]]
		if n == noTuple {
			n = t.of(i)
			table[groups[i]] = n
		}
		dst[i] = n
	}
}

const noTuple = ^uint32(0)

// rowSpan are the rows [lo, hi) of a part that keys are of; row r stands at place at+r.
type rowSpan struct {
	lo, hi uint32
	at     int
}

// Rows numbers the rows of keys, which were collected from parts with their rows.
func (t *Tuples) Rows(w *Worker, parts []Part, keys *Keys, fields []Field, dst []uint32) error {
	if len(keys.K) == 0 {
		return nil
	}
	if len(parts) == 1 && !parts[0].Remap { // rows ascend
		lo, hi := int(keys.Row[0]), int(keys.Row[len(keys.Row)-1])+1
		if hi-lo == len(keys.K) {
			return t.Section(w, parts[0].S, fields, dst, lo, hi)
		}
		t.rows = grow(t.rows, hi-lo)
		if err := t.Section(w, parts[0].S, fields, t.rows, lo, hi); err != nil {
			return err
		}
		for i, row := range keys.Row[:len(keys.K)] {
			dst[i] = t.rows[int(row)-lo]
		}
		return nil
	}
	spans := make([]rowSpan, len(parts))
	for i, part := range keys.Part {
		s, row := &spans[part], keys.Row[i]
		if s.hi == 0 {
			s.lo = row
		}
		s.lo, s.hi = min(s.lo, row), max(s.hi, row+1)
	}
	total := 0
	for _, s := range spans {
		total += int(s.hi - s.lo)
	}
	t.rows = grow(t.rows, total)
	at := 0
	for p := range spans {
		s := &spans[p]
		n := int(s.hi - s.lo)
		if n == 0 {
			continue
		}
		s.at = at - int(s.lo)
		if err := t.Section(w, parts[p].S, fields, t.rows[at:at+n], int(s.lo), int(s.hi)); err != nil {
			return err
		}
		at += n
	}
	for i := range keys.K {
		dst[i] = t.rows[spans[keys.Part[i]].at+int(keys.Row[i])]
	}
	return nil
}

// Empty numbers the combination of no fields, so that it has one.
func (t *Tuples) Empty() {
	if len(t.tuples) == 0 {
		t.of(0)
	}
}

// Timeline numbers the events of a timeline that was collected with rows.
func (t *Tuples) Timeline(w *Worker, files []DayFile, line *Timeline, fields []Field, dst []uint32) ([]uint32, error) {
	bySection := make([][][]uint32, len(files))
	for f := range files {
		bySection[f] = make([][]uint32, len(files[f].Sections))
	}
	for i := range line.K {
		f, s := line.File[i], line.Section[i]
		if bySection[f][s] == nil {
			sec := &files[f].Sections[s]
			bySection[f][s] = make([]uint32, sec.Rows())
			if err := t.Section(w, sec, fields, bySection[f][s], 0, sec.Rows()); err != nil {
				return nil, err
			}
		}
		dst = append(dst, bySection[f][s][line.Row[i]])
	}
	return dst, nil
}

// NonEmpty tells whether all values of a combination are there and no empty text.
func (t *Tuples) NonEmpty(i uint32) bool {
	for f, g := range t.tuples[i] {
		if v := t.fields[f].Value(g); v == nil || v == "" {
			return false
		}
	}
	return true
}

// Find is the combination of one field's value; ok is false when no row had it.
func (t *Tuples) Find(value any) (i uint32, ok bool) {
	known := t.fields[0].Len()
	g := t.fields[0].Of(value)
	if int(g) >= known || int(g) >= len(t.table) || t.table[g] == noTuple {
		return 0, false
	}
	return t.table[g], true
}
