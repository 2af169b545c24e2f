package engine

import (
	"cmp"
	"slices"

	"spoor/engine/erasure"
	"spoor/engine/identity"
	"spoor/engine/query/scan"
	"spoor/index"
	"spoor/segment"
	"spoor/segment/batch"

	"github.com/cespare/xxhash/v2"
)

// segmentInput gives rows of a segment: those of some days, without what is erased; of a piece of a
// day those of a range of persons.
type segmentInput struct {
	r       *segment.Reader
	days    func(day int32) bool // nil: all
	piece   piece
	drop    func(s *segment.Section) (*erasure.Drop, error)
	set     *rowSet
	base    int
	take    []*taken
	scratch segment.Scratch
	codes   []uint32
	cols    map[columnKey][]sectionColumn
}

// piece is a range of persons [lo, hi), as they are in view; erased events go with person 0.
type piece struct {
	lo, hi uint32
	view   *identity.View // nil: everything is taken
}

// spans are the ranges of persons as written, ascending, that hold the rows of the piece in a day of a
// file: its own range, and each person outside of that who is in it by now.
func (p *piece) spans(r *segment.Reader, day int32) ([]scan.Persons, error) {
	if p.view == nil {
		return []scan.Persons{{Lo: 0, Hi: segment.MaxPersons}}, nil
	}
	main := scan.Persons{Lo: p.lo, Hi: p.hi}
	spans := []scan.Persons{main}
	if p.view.Merged == nil {
		return spans, nil
	}
	persons, err := r.Persons(day)
	if err != nil {
		return nil, err
	}
	persons.And(p.view.Merged).Each(func(q uint32) {
		if now := p.view.Person(q); !main.Has(q) && main.Has(now) {
			spans = append(spans, scan.Persons{Lo: q, Hi: q + 1})
		}
	})
	slices.SortFunc(spans, func(a, b scan.Persons) int { return cmp.Compare(a.Lo, b.Lo) })
	return spans, nil
}

// has tells whether a row of a section belongs to the piece.
func (p *piece) has(s *segment.Section, person uint32) bool {
	if p.view == nil {
		return true
	}
	if !s.Erased() {
		person = p.view.Person(person)
	}
	return p.lo <= person && person < p.hi
}

// sectionColumn is one column of a taken section.
type sectionColumn struct {
	t *taken
	c segment.Column
}

// taken are rows of a section, from row from on: place is each one's place in the set, from base, or
// notTaken. Of an erased row only the id is taken.
type taken struct {
	s     *segment.Section
	from  int
	place []uint32
	raw   []uint32 // person of each row, as it was written
	drop  *erasure.Drop
	ids   bool // the section is of erased events: ids are all it has
}

// notTaken is the place of a row that belongs to another piece.
const notTaken = ^uint32(0)

// to is the row behind the last.
func (t *taken) to() int { return t.from + len(t.place) }

// in tells whether row i, from the first on, is taken; has whether it is with its values.
func (t *taken) in(i int) bool { return t.place[i] != notTaken }

func (t *taken) has(i int) bool { return t.in(i) && !t.ids && !t.drop.Has(t.from+i) }

func newSegmentInput(r *segment.Reader, days func(day int32) bool, p piece, drop func(s *segment.Section) (*erasure.Drop, error)) *segmentInput {
	return &segmentInput{r: r, days: days, piece: p, drop: drop}
}

func (in *segmentInput) rows(r *rowSet) error {
	in.set, in.base = r, len(r.Time)
	var failed error
	in.r.Days(func(day int32, sections []segment.Section) {
		if failed != nil || in.days != nil && !in.days(day) {
			return
		}
		spans, err := in.piece.spans(in.r, day)
		for i := range spans {
			if err == nil {
				err = in.day(r, day, sections, spans[i])
			}
		}
		failed = err
	})
	return failed
}

// day appends the rows of persons on one day in the order of its timeline, which keeps the
// order of arrival among rows of one person and time.
func (in *segmentInput) day(r *rowSet, day int32, sections []segment.Section, persons scan.Persons) error {
	type cursor struct {
		keys   []uint64
		name   uint32
		erased uint32 // the name of erased events
		at     int
		t      *taken // nil if nothing is taken
	}
	begin := int64(day) * segment.MicrosPerDay
	cursors := make([]cursor, len(sections))
	first, n := 0, 0
	for i := range sections {
		s := &sections[i]
		c := &cursors[i]
		from, to, err := s.RowsOf(uint64(persons.Lo), uint64(persons.Hi), &in.scratch)
		if err != nil {
			return err
		}
		first += from
		if from == to {
			continue
		}
		n += to - from
		c.keys = make([]uint64, to-from)
		if err := s.Keys(c.keys, from, to, &in.scratch); err != nil {
			return err
		}
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
		c.t = &taken{s: s, from: from, place: make([]uint32, to-from), raw: make([]uint32, to-from), drop: drop, ids: s.Erased()}
		in.take = append(in.take, c.t)
	}
	if n == 0 {
		return nil
	}
	timeline := make([]uint32, n)
	if err := in.r.Timeline(day, timeline, first, first+n, &in.scratch); err != nil {
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
		person := segment.KeyPerson(key)
		if c.t.raw[at] = person; !in.piece.has(c.t.s, person) {
			c.t.place[at] = notTaken
			continue
		}
		c.t.place[at] = uint32(len(r.Time) - in.base)
		if !c.t.has(at) {
			r.Name, r.Person, r.Time = append(r.Name, c.erased), append(r.Person, 0), append(r.Time, begin)
			continue
		}
		r.Name = append(r.Name, c.name)
		r.Person = append(r.Person, r.person(person))
		r.Time = append(r.Time, segment.KeyTime(key, day))
	}
	return nil
}

// out is where row i of t is in the segment that is assembled.
func (in *segmentInput) out(t *taken, i int) uint32 {
	return in.set.layout.Out[in.base+int(t.place[i])]
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

// keeps tells whether row i is taken and its value is not erased.
func (t *taken) keeps(i int, wiped []*index.Persons) bool {
	if !t.has(i) {
		return false
	}
	for _, p := range wiped {
		if p.Has(t.raw[i]) {
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
	n := len(t.place)
	wiped := t.drop.Wiped(c.Path())
	if cap(in.codes) < n {
		in.codes = make([]uint32, n)
	}
	codes := in.codes[:n]
	texts, err := c.Codes(codes, t.from, t.to(), &in.scratch)
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
		vals := make([]float64, len(t.place))
		if err := c.Numbers(vals, t.from, t.to(), &in.scratch); err != nil {
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
		vals, present := make([]int64, len(t.place)), make([]bool, len(t.place))
		if err := c.Ints(vals, present, t.from, t.to(), &in.scratch); err != nil {
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
		vals := make([]int64, len(t.place))
		if err := t.s.Received(vals, t.from, t.to(), &in.scratch); err != nil {
			return err
		}
		for row, v := range vals {
			if !t.in(row) {
				continue
			}
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
		n := len(t.place)
		us, as := make([]uint32, n), make([]uint32, n)
		if err := t.s.Users(us, t.from, t.to(), &in.scratch); err != nil {
			return err
		}
		if err := t.s.Anons(as, t.from, t.to(), &in.scratch); err != nil {
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
	if in.piece.view == nil {
		return in.idsOf(s, in.take) // one pass over the id blocks of the file serves all sections
	}
	for i := range in.take {
		if err := in.idsOf(s, in.take[i:i+1]); err != nil {
			return err
		}
	}
	return nil
}

// idsOf reads the ids of some sections, ascending.
func (in *segmentInput) idsOf(s *idSet, take []*taken) error {
	last := take[len(take)-1]
	from, to := take[0].s.FirstRow()+take[0].from, last.s.FirstRow()+last.to()
	all, err := in.r.IDs(from, to)
	if err != nil {
		return err
	}
	for _, t := range take {
		first := t.s.FirstRow() + t.from - from
		for row := range t.place {
			if !t.in(row) {
				continue
			}
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
