package query

import (
	"slices"
	"strings"

	"spoor/engine/event"
	"spoor/engine/query/scan"
	"spoor/segment"
	"spoor/segment/batch"
)

// rowReader reads whole events back out of columns.
type rowReader struct {
	x       *exec
	scratch segment.Scratch
	codes   []uint32
	nums    []float64
	ints    []int64
	has     []bool
}

// read returns the events of refs, in the order of refs.
func (r *rowReader) read(parts []scan.Part, refs []eventRef) ([]*event.Row, error) {
	rows := make([]*event.Row, len(refs))
	order := make([]int, len(refs))
	for i := range order {
		order[i] = i
		rows[i] = &event.Row{Time: refs[i].time}
	}
	slices.SortFunc(order, func(a, b int) int {
		if refs[a].part != refs[b].part {
			return int(refs[a].part) - int(refs[b].part)
		}
		return int(refs[a].row) - int(refs[b].row)
	})
	for i := 0; i < len(order); {
		part := refs[order[i]].part
		j := i
		for j < len(order) && refs[order[j]].part == part {
			j++
		}
		if err := r.section(&parts[part], refs, order[i:j], rows); err != nil {
			return nil, err
		}
		i = j
	}
	return rows, nil
}

// nearRows is how far apart two rows may be to be read as one range.
const nearRows = 1024

// section reads the rows of one section; order lists refs by row.
func (r *rowReader) section(p *scan.Part, refs []eventRef, order []int, rows []*event.Row) error {
	columns, err := p.S.AllColumns()
	if err != nil {
		return err
	}
	for i := 0; i < len(order); {
		from := int(refs[order[i]].row)
		to := from + 1
		j := i + 1
		for j < len(order) && int(refs[order[j]].row)-to < nearRows {
			to = int(refs[order[j]].row) + 1
			j++
		}
		if err := r.span(p, columns, from, to, refs, order[i:j], rows); err != nil {
			return err
		}
		i = j
	}
	return nil
}

// fewRows is how many rows of a span are read one by one rather than as a range.
const fewRows = 4

// span reads the rows [from, to) and fills those that order lists.
func (r *rowReader) span(p *scan.Part, columns []segment.Column, from, to int, refs []eventRef, order []int, rows []*event.Row) error {
	s, n := p.S, to-from
	if len(order) <= fewRows {
		for _, i := range order {
			at, person := int(refs[i].row), refs[i].person
			if p.Remap {
				var key [1]uint64
				if err := s.Keys(key[:], at, at+1, &r.scratch); err != nil {
					return err
				}
				person = segment.KeyPerson(key[0])
			}
			if err := r.one(s, columns, at, person, rows[i]); err != nil {
				return err
			}
		}
		return nil
	}
	x := &r.scratch
	r.codes = slices.Grow(r.codes[:0], n)[:n]
	keys := make([]uint64, n)
	if err := s.Keys(keys, from, to, x); err != nil {
		return err
	}
	id := r.x.view.Identity
	each := func(f func(row *event.Row, at int)) {
		for _, i := range order {
			f(rows[i], int(refs[i].row)-from)
		}
	}
	if err := s.Users(r.codes, from, to, x); err != nil {
		return err
	}
	each(func(row *event.Row, at int) {
		person := segment.KeyPerson(keys[at])
		row.Name = []byte(s.Event())
		row.Person = []byte(id.Name(person))
		row.UserID = id.UserText(person, r.codes[at])
	})
	if err := s.Anons(r.codes, from, to, x); err != nil {
		return err
	}
	each(func(row *event.Row, at int) { row.AnonymousID = id.AnonText(segment.KeyPerson(keys[at]), r.codes[at]) })
	r.ints = slices.Grow(r.ints[:0], n)[:n]
	if err := s.Received(r.ints, from, to, x); err != nil {
		return err
	}
	each(func(row *event.Row, at int) { row.ReceivedAt = r.ints[at] })
	if err := r.ids(s, from, to, refs, order, rows); err != nil {
		return err
	}
	if err := r.meta(s.Shapes, from, to, each, func(row *event.Row, t []byte) { row.Shape = t }); err != nil {
		return err
	}
	if err := r.meta(s.Sources, from, to, each, func(row *event.Row, t []byte) { row.Source = t }); err != nil {
		return err
	}
	for _, c := range columns {
		if err := r.column(c, from, to, each); err != nil {
			return err
		}
	}
	each(func(row *event.Row, _ int) {
		slices.SortFunc(row.Leaves, func(a, b event.Leaf) int { return strings.Compare(a.Path, b.Path) })
	})
	return nil
}

// ids reads the ids of a span: all of its rows where most are wanted, else one by one.
func (r *rowReader) ids(s *segment.Section, from, to int, refs []eventRef, order []int, rows []*event.Row) error {
	if len(order) < (to-from)/2 || len(order) < manyIDs {
		for _, i := range order {
			var err error
			if rows[i].ID, err = s.Reader().AppendID(nil, s.FirstRow()+int(refs[i].row)); err != nil {
				return err
			}
		}
		return nil
	}
	ids, err := s.Reader().IDs(s.FirstRow()+from, s.FirstRow()+to)
	if err != nil {
		return err
	}
	for _, i := range order {
		rows[i].ID = ids.AppendText(nil, int(refs[i].row)-from)
	}
	return nil
}

// manyIDs is from how many ids on whole pages are decoded: a page of each is likely another one.
const manyIDs = 64

func (r *rowReader) meta(column func() (segment.Column, bool, error), from, to int, each func(func(*event.Row, int)), set func(*event.Row, []byte)) error {
	c, ok, err := column()
	if err != nil || !ok {
		return err
	}
	texts, err := c.Codes(r.codes, from, to, &r.scratch)
	if err != nil {
		return err
	}
	each(func(row *event.Row, at int) {
		if code := r.codes[at]; code != 0 {
			set(row, texts.At(int(code-1)))
		}
	})
	return nil
}

// column adds the values of one column to the rows that have one.
func (r *rowReader) column(c segment.Column, from, to int, each func(func(*event.Row, int))) error {
	n := to - from
	add := func(row *event.Row, l event.Leaf) {
		l.Path, l.Kind = c.Path(), c.Kind()
		row.Leaves = append(row.Leaves, l)
	}
	switch c.Kind() {
	case batch.KindNumber:
		r.nums = slices.Grow(r.nums[:0], n)[:n]
		if err := c.Numbers(r.nums, from, to, &r.scratch); err != nil {
			return err
		}
		each(func(row *event.Row, at int) {
			if v := r.nums[at]; v == v {
				add(row, event.Leaf{Num: v})
			}
		})
		return nil
	case batch.KindInt:
		r.ints = slices.Grow(r.ints[:0], n)[:n]
		r.has = slices.Grow(r.has[:0], n)[:n]
		clear(r.has)
		if err := c.Ints(r.ints, r.has, from, to, &r.scratch); err != nil {
			return err
		}
		each(func(row *event.Row, at int) {
			if r.has[at] {
				add(row, event.Leaf{Int: r.ints[at]})
			}
		})
		return nil
	}
	texts, err := c.Codes(r.codes, from, to, &r.scratch)
	if err != nil {
		return err
	}
	each(func(row *event.Row, at int) {
		code := r.codes[at]
		if code == 0 {
			return
		}
		l := event.Leaf{}
		switch {
		case texts != nil:
			l.Text = texts.At(int(code - 1))
		case c.Kind() == batch.KindBool:
			l.Bool = code == 2
		}
		add(row, l)
	})
	return nil
}

// one reads a single row; person is as written.
func (r *rowReader) one(s *segment.Section, columns []segment.Column, at int, person uint32, row *event.Row) error {
	id := r.x.view.Identity
	row.Name, row.Person = []byte(s.Event()), []byte(id.Name(person))
	user, err := s.UserAt(at)
	if err != nil {
		return err
	}
	row.UserID = id.UserText(person, user)
	anon, err := s.AnonAt(at)
	if err != nil {
		return err
	}
	row.AnonymousID = id.AnonText(person, anon)
	if row.ReceivedAt, err = s.ReceivedAt(at); err != nil {
		return err
	}
	if row.ID, err = s.Reader().AppendID(nil, s.FirstRow()+at); err != nil {
		return err
	}
	if row.Shape, err = r.metaAt(s.Shapes, at); err != nil {
		return err
	}
	if row.Source, err = r.metaAt(s.Sources, at); err != nil {
		return err
	}
	for _, c := range columns {
		l, ok, err := r.leaf(c, at)
		if err != nil {
			return err
		}
		if ok {
			row.Leaves = append(row.Leaves, l)
		}
	}
	slices.SortFunc(row.Leaves, func(a, b event.Leaf) int { return strings.Compare(a.Path, b.Path) })
	return nil
}

func (r *rowReader) metaAt(column func() (segment.Column, bool, error), at int) ([]byte, error) {
	c, ok, err := column()
	if err != nil || !ok {
		return nil, err
	}
	text, _, err := c.TextAt(at, &r.scratch)
	return text, err
}

// leaf reads one value of one row.
func (r *rowReader) leaf(c segment.Column, at int) (l event.Leaf, ok bool, err error) {
	l.Path, l.Kind = c.Path(), c.Kind()
	switch c.Kind() {
	case batch.KindNumber:
		l.Num, err = c.NumberAt(at, &r.scratch)
		return l, l.Num == l.Num, err
	case batch.KindInt:
		var v [1]int64
		var has [1]bool
		err = c.Ints(v[:], has[:], at, at+1, &r.scratch)
		l.Int = v[0]
		return l, has[0], err
	case batch.KindBool, batch.KindNull:
		code, err := c.CodeAt(at)
		l.Bool = code == 2
		return l, code != 0, err
	}
	l.Text, ok, err = c.TextAt(at, &r.scratch)
	return l, ok, err
}
