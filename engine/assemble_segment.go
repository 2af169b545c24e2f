package engine

import (
	"spoor/engine/erasure"
	"spoor/engine/identity"
	"spoor/index"
	"spoor/segment"
	"spoor/segment/batch"

	"github.com/cespare/xxhash/v2"
)

// segmentInput gives rows of a segment: those of some days, without what is erased.
type segmentInput struct {
	r       *segment.Reader
	days    func(day int32) bool // nil: all
	drop    func(s *segment.Section) (*erasure.Drop, error)
	set     *rowSet
	base    int
	take    []*taken
	scratch segment.Scratch
	codes   []uint32
	cols    map[columnKey][]sectionColumn
}

// sectionColumn is one column of a taken section.
type sectionColumn struct {
	t *taken
	c segment.Column
}

// taken is a section whose rows are taken: place is each row's place in the set, from base.
// Of an erased row only the id is taken.
type taken struct {
	s     *segment.Section
	place []uint32
	raw   []uint32 // person of each row, as it was written
	drop  *erasure.Drop
	ids   bool // the section is of erased events: ids are all it has
}

// has tells whether the row is taken with its values.
func (t *taken) has(row int) bool {
	if t.drop.Rows == nil {
		return !t.ids
	}
	return !t.drop.Rows.Has(row)
}

func newSegmentInput(r *segment.Reader, days func(day int32) bool, drop func(s *segment.Section) (*erasure.Drop, error)) *segmentInput {
	return &segmentInput{r: r, days: days, drop: drop}
}

func (in *segmentInput) rows(r *rowSet) error {
	in.set, in.base = r, len(r.Time)
	var failed error
	in.r.Days(func(day int32, sections []segment.Section) {
		if failed == nil && (in.days == nil || in.days(day)) {
			failed = in.day(r, day, sections)
		}
	})
	return failed
}

// day appends the rows of one day in the order of its timeline, which keeps the
// order of arrival among rows of one person and time.
func (in *segmentInput) day(r *rowSet, day int32, sections []segment.Section) error {
	type cursor struct {
		keys   []uint64
		name   uint32
		erased uint32 // the name of erased events
		at     int
		t      *taken // nil if nothing is taken
	}
	begin := int64(day) * segment.MicrosPerDay
	cursors := make([]cursor, len(sections))
	n := 0
	for i := range sections {
		s := &sections[i]
		c := &cursors[i]
		c.keys = make([]uint64, s.Rows())
		if err := s.Keys(c.keys, 0, s.Rows(), &in.scratch); err != nil {
			return err
		}
		n += s.Rows()
		drop, err := in.drop(s)
		if err != nil {
			return err
		}
		if drop.Forgotten {
			continue
		}
		if c.name = r.name([]byte(s.Event())); s.Erased() {
			c.erased = c.name
		} else if drop.Rows != nil {
			c.erased = r.name([]byte(segment.ErasedPrefix + s.Event()))
		}
		c.t = &taken{s: s, place: make([]uint32, s.Rows()), raw: make([]uint32, s.Rows()), drop: drop, ids: s.Erased()}
		in.take = append(in.take, c.t)
	}
	timeline := make([]uint32, n)
	if err := in.r.Timeline(day, timeline, 0, n, &in.scratch); err != nil {
		return err
	}
	for _, s := range timeline {
		c := &cursors[s]
		if c.at == len(c.keys) {
			return segment.ErrCorrupt
		}
		at, key := c.at, c.keys[c.at]
		c.at++
		if c.t == nil {
			continue
		}
		c.t.place[at] = uint32(len(r.Time) - in.base)
		c.t.raw[at] = segment.KeyPerson(key)
		if !c.t.has(at) {
			r.Name, r.Person, r.Time = append(r.Name, c.erased), append(r.Person, 0), append(r.Time, begin)
			continue
		}
		r.Name = append(r.Name, c.name)
		r.Person = append(r.Person, r.person(segment.KeyPerson(key)))
		r.Time = append(r.Time, segment.KeyTime(key, day))
	}
	return nil
}

// out is where row of t is in the segment that is assembled.
func (in *segmentInput) out(t *taken, row int) uint32 {
	return in.set.layout.Out[in.base+int(t.place[row])]
}

func (in *segmentInput) columns() ([]columnKey, error) {
	in.cols = map[columnKey][]sectionColumn{}
	var keys []columnKey
	for _, t := range in.take {
		cols, err := t.s.AllStoredColumns()
		if err != nil {
			return nil, err
		}
		for _, c := range cols {
			if t.drop.Column(c.Path()) {
				continue
			}
			k := columnKey{c.Path(), c.Kind()}
			of, seen := in.cols[k]
			if !seen {
				keys = append(keys, k)
			}
			in.cols[k] = append(of, sectionColumn{t, c})
		}
	}
	return keys, nil
}

// eachColumn calls f with the column of every taken section that has it.
func (in *segmentInput) eachColumn(k columnKey, f func(t *taken, c segment.Column) error) error {
	for _, c := range in.cols[k] {
		if err := f(c.t, c.c); err != nil {
			return err
		}
	}
	return nil
}

// keeps tells whether the row is taken and its value is not erased.
func (t *taken) keeps(row int, wiped []*index.Persons) bool {
	if !t.has(row) {
		return false
	}
	for _, p := range wiped {
		if p.Has(t.raw[row]) {
			return false
		}
	}
	return true
}

// remapper maps the codes of one dictionary after another to those of d.
type remapper struct {
	d     *dictionary
	from  *batch.Texts
	table []uint32
}

func (m *remapper) use(texts *batch.Texts) {
	if m.from != texts {
		m.from, m.table = texts, make([]uint32, texts.Len()+1)
	}
}

func (m *remapper) code(c uint32) uint32 {
	if c != 0 && m.table[c] == 0 {
		m.table[c] = m.d.code(m.from.At(int(c - 1)))
	}
	return m.table[c]
}

func (in *segmentInput) scatter(t *taken, c segment.Column, m *remapper, out []uint32) error {
	n := t.s.Rows()
	wiped := t.drop.Wiped(c.Path())
	if cap(in.codes) < n {
		in.codes = make([]uint32, n)
	}
	codes := in.codes[:n]
	texts, err := c.Codes(codes, 0, n, &in.scratch)
	if err != nil {
		return err
	}
	if texts != nil {
		m.use(texts)
	}
	for row, code := range codes {
		if code == 0 || !t.keeps(row, wiped) {
			continue
		}
		if texts != nil {
			code = m.code(code)
		}
		out[in.out(t, row)] = code
	}
	return nil
}

func (in *segmentInput) text(k columnKey, out []uint32, d *dictionary) error {
	m := &remapper{d: d}
	return in.eachColumn(k, func(t *taken, c segment.Column) error { return in.scatter(t, c, m, out) })
}

func (in *segmentInput) flags(k columnKey, out []uint32) error {
	return in.eachColumn(k, func(t *taken, c segment.Column) error { return in.scatter(t, c, nil, out) })
}

func (in *segmentInput) numbers(path string, out []float64) error {
	return in.eachColumn(columnKey{path, batch.KindNumber}, func(t *taken, c segment.Column) error {
		vals := make([]float64, t.s.Rows())
		if err := c.Numbers(vals, 0, len(vals), &in.scratch); err != nil {
			return err
		}
		wiped := t.drop.Wiped(path)
		for row, v := range vals {
			if v == v && t.keeps(row, wiped) {
				out[in.out(t, row)] = v
			}
		}
		return nil
	})
}

func (in *segmentInput) ints(path string, out []int64, has []bool) error {
	return in.eachColumn(columnKey{path, batch.KindInt}, func(t *taken, c segment.Column) error {
		vals, present := make([]int64, t.s.Rows()), make([]bool, t.s.Rows())
		if err := c.Ints(vals, present, 0, len(vals), &in.scratch); err != nil {
			return err
		}
		wiped := t.drop.Wiped(path)
		for row, v := range vals {
			if present[row] && t.keeps(row, wiped) {
				o := in.out(t, row)
				out[o], has[o] = v, true
			}
		}
		return nil
	})
}

func (in *segmentInput) received(out []int64) error {
	for _, t := range in.take {
		vals := make([]int64, t.s.Rows())
		if err := t.s.Received(vals, 0, len(vals), &in.scratch); err != nil {
			return err
		}
		for row, v := range vals {
			if !t.has(row) { // the day says how long the id is remembered
				v = int64(segment.Day(v)) * segment.MicrosPerDay
			}
			out[in.out(t, row)] = v
		}
	}
	return nil
}

func (in *segmentInput) refs(x *identity.Map, keys []uint64, users, anons []uint32) error {
	x.RLock()
	defer x.RUnlock()
	for _, t := range in.take {
		n := t.s.Rows()
		us, as := make([]uint32, n), make([]uint32, n)
		if err := t.s.Users(us, 0, n, &in.scratch); err != nil {
			return err
		}
		if err := t.s.Anons(as, 0, n, &in.scratch); err != nil {
			return err
		}
		for row := range n {
			if !t.has(row) {
				continue
			}
			o := in.out(t, row)
			person := segment.KeyPerson(keys[o])
			if x.Nameless(person) {
				continue
			}
			if person == t.raw[row] { // the references stand
				users[o], anons[o] = us[row], as[row]
				continue
			}
			if u, ok := x.User(t.raw[row], us[row]); ok {
				users[o] = x.UserRef(person, u)
			}
			if a, ok := x.Anon(t.raw[row], as[row]); ok {
				anons[o] = x.AnonRef(person, a)
			}
		}
	}
	return nil
}

func (in *segmentInput) sources(out []uint32, d *dictionary) error {
	return in.meta((*segment.Section).Sources, out, d)
}

func (in *segmentInput) shapes(out []uint32, d *dictionary) error {
	return in.meta((*segment.Section).Shapes, out, d)
}

func (in *segmentInput) meta(column func(*segment.Section) (segment.Column, bool, error), out []uint32, d *dictionary) error {
	m := &remapper{d: d}
	for _, t := range in.take {
		c, ok, err := column(t.s)
		if err != nil {
			return err
		}
		if ok {
			if err := in.scatter(t, c, m, out); err != nil {
				return err
			}
		}
	}
	return nil
}

func (in *segmentInput) ids(s *idSet) error {
	if len(in.take) == 0 {
		return nil
	}
	// One pass over the id blocks of the file serves all sections.
	last := in.take[len(in.take)-1].s
	from, to := in.take[0].s.FirstRow(), last.FirstRow()+last.Rows()
	all, err := in.r.IDs(from, to)
	if err != nil {
		return err
	}
	for _, t := range in.take {
		first := t.s.FirstRow() - from
		for row := range t.s.Rows() {
			o := in.out(t, row)
			if all.Texts != nil && all.Texts[first+row] != nil {
				text := all.Texts[first+row]
				s.setText(o, xxhash.Sum64(text), text)
			} else {
				s.ids[o] = all.IDs[first+row]
			}
		}
	}
	return nil
}
