package engine

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"spoor/engine/identity"
	"spoor/segment"
	"spoor/segment/batch"
)

// An input gives rows to a segment that is being assembled: a part of the
// memtable, or the rows of another segment. Assembling goes by columns: first
// every input names its rows, then they are sorted, then each column is
// scattered from all inputs into one vector and written.
type input interface {
	// rows appends the input's rows in the order of their arrival.
	rows(r *rowSet) error
	// columns lists the columns of the JSON.
	columns() ([]columnKey, error)

	// Each of these scatters one column: out is in segment order.
	text(k columnKey, out []uint32, d *dictionary) error
	flags(k columnKey, out []uint32) error // booleans and nulls, as segment.Writer takes them
	numbers(path string, out []float64) error
	ints(path string, out []int64, has []bool) error
	received(out []int64) error
	refs(x *identity.Map, keys []uint64, users, anons []uint32) error
	sources(out []uint32, d *dictionary) error
	shapes(out []uint32, d *dictionary) error
	ids(s *idSet) error
}

type columnKey struct {
	path string
	kind batch.Kind
}

func (k columnKey) compare(o columnKey) int {
	if c := strings.Compare(k.path, o.path); c != 0 {
		return c
	}
	return int(k.kind) - int(o.kind)
}

// rowSet collects the rows of all inputs; person maps an ordinal to the one it is now.
type rowSet struct {
	segment.Rows
	names  map[string]uint32
	person func(uint32) uint32
	// layout is set once all rows are known: row i of the set is row layout.Out[i] of the segment.
	layout *segment.Layout
}

func (r *rowSet) name(name []byte) uint32 {
	i, ok := r.names[string(name)]
	if !ok {
		i = uint32(len(r.Names))
		r.names[string(name)] = i
		r.Names = append(r.Names, string(name))
	}
	return i
}

// dictionary gives texts codes from 1 in the order they are first seen.
type dictionary struct {
	codes map[string]uint32
	texts batch.Texts
}

func newDictionary() *dictionary { return &dictionary{codes: map[string]uint32{}} }

func (d *dictionary) code(text []byte) uint32 {
	c, ok := d.codes[string(text)]
	if !ok {
		c = uint32(d.texts.Append(text)) + 1
		d.codes[string(text)] = c
	}
	return c
}

// idSet collects the ids of all rows in segment order.
type idSet struct {
	ids    []batch.ID
	isText []bool // nil until an id is no UUID
	texts  []byte
}

func (s *idSet) setText(row uint32, hash uint64, text []byte) {
	if s.isText == nil {
		s.isText = make([]bool, len(s.ids))
	}
	s.isText[row] = true
	s.ids[row] = batch.ID{Hi: uint64(len(s.texts))<<16 | uint64(len(text)), Lo: hash}
	s.texts = append(s.texts, text...)
}

// assemble writes the rows of inputs, oldest first, as one segment, of the persons that they are in a view.
func assemble(w io.Writer, inputs []input, x *identity.Map, view *identity.View, meta segment.Meta) (size int64, n int, err error) {
	rows := &rowSet{names: map[string]uint32{}, person: view.Person}
	for _, in := range inputs {
		if err := in.rows(rows); err != nil {
			return 0, 0, err
		}
	}
	rows.layout = segment.NewLayout(rows.Rows)
	if n = len(rows.Time); n == 0 {
		return 0, 0, nil
	}
	sw := segment.NewWriter(w, rows.layout)
	a := &assembly{inputs: inputs, w: sw, n: n, codes: make([]uint32, n)}
	if err := a.fixed(x, rows.layout.Keys); err != nil {
		return 0, 0, err
	}
	if err := a.columns(); err != nil {
		return 0, 0, err
	}
	size, err = sw.Finish(meta)
	return size, n, err
}

type assembly struct {
	inputs  []input
	w       *segment.Writer
	n       int
	codes   []uint32
	nums    []float64
	bigInts []int64
	has     []bool
}

func (a *assembly) each(f func(in input) error) error {
	for _, in := range a.inputs {
		if err := f(in); err != nil {
			return err
		}
	}
	return nil
}

// fixed writes what every row has.
func (a *assembly) fixed(x *identity.Map, keys []uint64) error {
	micros := make([]int64, a.n)
	if err := a.each(func(in input) error { return in.received(micros) }); err != nil {
		return err
	}
	a.w.Received(micros)

	users, anons := make([]uint32, a.n), make([]uint32, a.n)
	if err := a.each(func(in input) error { return in.refs(x, keys, users, anons) }); err != nil {
		return err
	}
	a.w.Users(users)
	a.w.Anons(anons)

	d := newDictionary()
	clear(a.codes)
	if err := a.each(func(in input) error { return in.sources(a.codes, d) }); err != nil {
		return err
	}
	a.w.Sources(a.codes, &d.texts)
	d = newDictionary()
	clear(a.codes)
	if err := a.each(func(in input) error { return in.shapes(a.codes, d) }); err != nil {
		return err
	}
	a.w.Shapes(a.codes, &d.texts)

	s := &idSet{ids: make([]batch.ID, a.n)}
	if err := a.each(func(in input) error { return in.ids(s) }); err != nil {
		return err
	}
	a.w.IDs(s.ids, s.isText, s.texts)
	return nil
}

// columns writes the columns of the JSON, in the order of their path and kind.
func (a *assembly) columns() error {
	holders := map[columnKey][]input{}
	for _, in := range a.inputs {
		keys, err := in.columns()
		if err != nil {
			return err
		}
		for _, k := range keys {
			holders[k] = append(holders[k], in)
		}
	}
	keys := make([]columnKey, 0, len(holders))
	for k := range holders {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, columnKey.compare)
	for _, k := range keys {
		if err := a.column(k, holders[k]); err != nil {
			return err
		}
	}
	return nil
}

func (a *assembly) column(k columnKey, holders []input) error {
	switch {
	case k.kind.HasText():
		clear(a.codes)
		d := newDictionary()
		for _, in := range holders {
			if err := in.text(k, a.codes, d); err != nil {
				return err
			}
		}
		a.w.Text(k.path, k.kind, a.codes, &d.texts)
	case k.kind == batch.KindBool || k.kind == batch.KindNull:
		clear(a.codes)
		for _, in := range holders {
			if err := in.flags(k, a.codes); err != nil {
				return err
			}
		}
		if k.kind == batch.KindBool {
			a.w.Bools(k.path, a.codes)
		} else {
			a.w.Nulls(k.path, a.codes)
		}
	case k.kind == batch.KindNumber:
		if a.nums == nil {
			a.nums = make([]float64, a.n)
		}
		for i := range a.nums {
			a.nums[i] = math.NaN()
		}
		for _, in := range holders {
			if err := in.numbers(k.path, a.nums); err != nil {
				return err
			}
		}
		a.w.Numbers(k.path, a.nums)
	case k.kind == batch.KindInt:
		if a.has == nil {
			a.bigInts, a.has = make([]int64, a.n), make([]bool, a.n)
		}
		clear(a.bigInts)
		clear(a.has)
		for _, in := range holders {
			if err := in.ints(k.path, a.bigInts, a.has); err != nil {
				return err
			}
		}
		a.w.Ints(k.path, a.bigInts, a.has)
	default:
		return fmt.Errorf("assemble segment: column %s of unknown kind %d", k.path, k.kind)
	}
	return nil
}

// batchInput gives the rows of a part of the memtable.
type batchInput struct {
	p    *part
	set  *rowSet
	base int     // its first row in the set
	pos  []int32 // per row of the batch: its place among the kept rows, -1 if skipped; nil when none is
	cols map[columnKey]*batch.Column
}

func newBatchInput(p *part) *batchInput { return &batchInput{p: p} }

func (in *batchInput) rows(r *rowSet) error {
	in.set, in.base = r, len(r.Time)
	b := in.p.b
	names := make([]uint32, b.Names.Dict.Len())
	for i := range names {
		names[i] = r.name(b.Names.Dict.At(i))
	}
	if in.p.skip != nil {
		in.pos = make([]int32, b.N)
	}
	kept := int32(0)
	for i := range b.N {
		if in.pos != nil {
			if in.p.skip[i] {
				in.pos[i] = -1
				continue
			}
			in.pos[i] = kept
		}
		kept++
		r.Name = append(r.Name, names[b.Names.Row[i]-1])
		r.Person = append(r.Person, r.person(in.p.person[i]))
		r.Time = append(r.Time, b.Times[i])
	}
	return nil
}

// each calls f with the kept rows and their rows in the segment.
func (in *batchInput) each(f func(row int, out uint32)) {
	for i := range in.p.b.N {
		if out, ok := in.out(i); ok {
			f(i, out)
		}
	}
}

func (in *batchInput) out(row int) (uint32, bool) {
	if in.pos != nil {
		if in.pos[row] < 0 {
			return 0, false
		}
		row = int(in.pos[row])
	}
	return in.set.layout.Out[in.base+row], true
}

func (in *batchInput) columns() ([]columnKey, error) {
	cols := in.p.b.Columns
	keys := make([]columnKey, len(cols))
	in.cols = make(map[columnKey]*batch.Column, len(cols))
	for i := range cols {
		keys[i] = columnKey{cols[i].Path, cols[i].Kind}
		in.cols[keys[i]] = &cols[i]
	}
	return keys, nil
}

func (in *batchInput) text(k columnKey, out []uint32, d *dictionary) error {
	c := in.cols[k]
	n := c.Len(in.p.b.N)
	if c.Codes == nil {
		for i := range n {
			if row, ok := in.out(c.Row(i)); ok {
				out[row] = d.code(c.Dict.At(i))
			}
		}
		return nil
	}
	remap := make([]uint32, c.Dict.Len())
	for i, code := range c.Codes[:n] {
		row, ok := in.out(c.Row(i))
		if !ok {
			continue
		}
		if remap[code] == 0 {
			remap[code] = d.code(c.Dict.At(int(code)))
		}
		out[row] = remap[code]
	}
	return nil
}

func (in *batchInput) flags(k columnKey, out []uint32) error {
	c := in.cols[k]
	for i := range c.Len(in.p.b.N) {
		row, ok := in.out(c.Row(i))
		if !ok {
			continue
		}
		out[row] = 1
		if k.kind == batch.KindBool && c.Bools[i] {
			out[row] = 2
		}
	}
	return nil
}

func (in *batchInput) numbers(path string, out []float64) error {
	c := in.cols[columnKey{path, batch.KindNumber}]
	for i, v := range c.Nums {
		if row, ok := in.out(c.Row(i)); ok {
			out[row] = v
		}
	}
	return nil
}

func (in *batchInput) ints(path string, out []int64, has []bool) error {
	c := in.cols[columnKey{path, batch.KindInt}]
	for i, v := range c.Ints {
		if row, ok := in.out(c.Row(i)); ok {
			out[row], has[row] = v, true
		}
	}
	return nil
}

func (in *batchInput) received(out []int64) error {
	in.each(func(_ int, o uint32) { out[o] = in.p.b.ReceivedAt })
	return nil
}

func (in *batchInput) refs(x *identity.Map, keys []uint64, users, anons []uint32) error {
	x.RLock()
	defer x.RUnlock()
	in.each(func(row int, o uint32) {
		person := segment.KeyPerson(keys[o])
		if u := in.p.user[row]; u != 0 {
			users[o] = x.UserRef(person, u-1)
		}
		if a := in.p.anon[row]; a != 0 {
			anons[o] = x.AnonRef(person, a-1)
		}
	})
	return nil
}

func (in *batchInput) sources(out []uint32, d *dictionary) error {
	return in.byRow(&in.p.b.Sources, out, d)
}

func (in *batchInput) shapes(out []uint32, d *dictionary) error {
	return in.byRow(&in.p.b.Shapes, out, d)
}

func (in *batchInput) byRow(c *batch.Codes, out []uint32, d *dictionary) error {
	remap := make([]uint32, c.Dict.Len()+1)
	in.each(func(row int, o uint32) {
		code := c.Row[row]
		if code != 0 && remap[code] == 0 {
			remap[code] = d.code(c.Dict.At(int(code - 1)))
		}
		out[o] = remap[code]
	})
	return nil
}

func (in *batchInput) ids(s *idSet) error {
	b := in.p.b
	in.each(func(row int, o uint32) {
		if isText(b, row) {
			s.setText(o, b.IDs[row].Lo, idText(b, row))
		} else {
			s.ids[o] = b.IDs[row]
		}
	})
	return nil
}
