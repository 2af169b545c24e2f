package engine

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

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
	refs(x *identity, keys []uint64, users, anons []uint32) error
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

// assemble writes the rows of inputs, oldest first, as one segment.
func assemble(w io.Writer, inputs []input, x *identity, meta segment.Meta) (int64, error) {
	view := x.snapshot()
	rows := &rowSet{names: map[string]uint32{}, person: view.Person}
	for _, in := range inputs {
		if err := in.rows(rows); err != nil {
			return 0, err
		}
	}
	rows.layout = segment.NewLayout(rows.Rows)
	n := len(rows.Time)
	sw := segment.NewWriter(w, rows.layout)
	a := &assembly{inputs: inputs, w: sw, n: n, codes: make([]uint32, n)}
	if err := a.fixed(x, rows.layout.Keys); err != nil {
		return 0, err
	}
	if err := a.columns(); err != nil {
		return 0, err
	}
	return sw.Finish(meta)
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
func (a *assembly) fixed(x *identity, keys []uint64) error {
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
