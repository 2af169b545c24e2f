package engine

import (
	"spoor/segment"
	"spoor/segment/batch"
)

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

func (in *batchInput) refs(x *identity, keys []uint64, users, anons []uint32) error {
	x.mu.RLock()
	defer x.mu.RUnlock()
	in.each(func(row int, o uint32) {
		person := segment.KeyPerson(keys[o])
		if u := in.p.user[row]; u != 0 {
			users[o] = x.userRef(person, u-1)
		}
		if a := in.p.anon[row]; a != 0 {
			anons[o] = x.anonRef(person, a-1)
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
