package erasure

import (
	"maps"
	"slices"
	"strings"
	"time"

	"spoor/engine/query/lang"
	"spoor/engine/query/predicate"
	"spoor/engine/query/scan"
	"spoor/index"
	"spoor/segment"
)

// Set is everything that is erased at one moment; it never changes. A nil Set erases nothing.
type Set struct {
	// Index is the log index of the last erasure.
	Index uint64
	// Gone are the persons, as written, whose rows are erased; nil for none.
	Gone *index.Persons
	// Cutoffs are nil if everything is kept.
	Cutoffs *Cutoffs

	rows   []*rule           // of kind events
	shown  bool              // conditions see what queries see: of a set that only counts
	fields []*rule           // of the kinds field and anonymise, with paths
	owner  map[uint32]string // person as written -> request
}

// rule is an erasure that is not of whole persons. It is about the rows of the log before it.
type rule struct {
	index    uint64
	id       string
	events   []string // nil: all
	from, to int64
	where    *scan.Filter   // nil: all
	paths    []string       // of fields
	persons  *index.Persons // nil: everybody's

	// A condition is about the fields that were there at its time, whether files have lost some
	// earlier, later or not at all: before are earlier erasures of fields that it reads, cond is itself.
	before []*rule
	cond   lang.Expr
}

// NewSet makes a set of the records of all erasures, in the order of the log. Records that cannot be
// read are an error: what they erased would come back.
func NewSet(records []Record, gone *index.Persons, cutoffs *Cutoffs) (*Set, error) {
	s := &Set{Gone: gone, Cutoffs: cutoffs, owner: map[uint32]string{}}
	for i := range records {
		if err := s.add(&records[i]); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// NewPreview is a set that erases what one request would, to count it.
func NewPreview(r *Record, gone *index.Persons) (*Set, error) {
	s := &Set{Gone: gone, owner: map[uint32]string{}, shown: true}
	return s, s.add(r)
}

// With is the set with one more erasure, after which gone are all persons whose rows are erased.
func (s *Set) With(r *Record, gone *index.Persons) (*Set, error) {
	next := &Set{}
	if s != nil {
		*next = *s
		next.rows, next.fields = slices.Clip(s.rows), slices.Clip(s.fields)
	}
	next.Gone, next.owner = gone, maps.Clone(next.owner)
	if next.owner == nil {
		next.owner = map[uint32]string{}
	}
	return next, next.add(r)
}

// Until is the set with other cutoffs.
func (s *Set) Until(c *Cutoffs) *Set {
	next := &Set{}
	if s != nil {
		*next = *s
	}
	next.Cutoffs = c
	return next
}

func (s *Set) add(r *Record) error {
	s.Index = max(s.Index, r.Index)
	p, err := r.compile()
	if err != nil {
		return err
	}
	switch r.Kind {
	case Person, History:
		for _, o := range r.Ordinals {
			s.owner[o] = r.ID
		}
	case Events:
		r := &rule{index: r.Index, id: r.ID, events: r.Events, from: p.from, to: p.to, cond: p.where}
		if r.where, err = r.compile(s.shown, func(path string) []*rule {
			for _, f := range s.fields {
				if f.covers(path) && !slices.Contains(r.before, f) {
					r.before = append(r.before, f)
				}
			}
			return nil
		}); err != nil {
			return err
		}
		s.rows = append(s.rows, r)
	case Field:
		s.fields = append(s.fields, &rule{index: r.Index, id: r.ID, events: r.Events, paths: p.paths})
	case Anonymise:
		if len(p.paths) > 0 {
			sorted := slices.Sorted(slices.Values(r.Ordinals))
			s.fields = append(s.fields, &rule{index: r.Index, id: r.ID, paths: p.paths, persons: index.NewPersons(sorted)})
		}
	}
	return nil
}

// Last is the log index of the last erasure, 0 for none.
func (s *Set) Last() uint64 {
	if s == nil {
		return 0
	}
	return s.Index
}

// Expired tells whether the events of a name on a day are older than the retention allows.
func (s *Set) Expired(name string, day int32) bool {
	return s != nil && s.Cutoffs != nil && day < s.Cutoffs.Of(name)
}

// Forgets tells whether the id of an event of a day, received on another, counts no more.
func (s *Set) Forgets(day, received int32) bool {
	return s != nil && s.Cutoffs != nil && s.Cutoffs.Forgets(day, received)
}

// File is what a segment has behind it.
type File struct {
	// Last is the log index of its newest rows, Done that of the last erasure that was
	// carried out in its bytes.
	Last, Done uint64
}

// Mask is what a query leaves out of a section.
type Mask struct {
	// All rows are left out.
	All bool
	// Where holds for the rows that remain; nil for all.
	Where *scan.Filter
}

// GoneAsAWhole tells whether nothing is left of a section, as far as its footer says so.
func (s *Set) GoneAsAWhole(sec *segment.Section, f File) bool {
	return sec.Erased() || s.Expired(sec.Event(), sec.Day()) ||
		s != nil && f.Done < s.Index && slices.ContainsFunc(s.rows, func(r *rule) bool { return r.meets(sec, f) && r.takesAll(sec) })
}

// Mask says what is left out of a section of a file.
func (s *Set) Mask(sec *segment.Section, f File) (Mask, error) {
	switch {
	case s.GoneAsAWhole(sec, f):
		return Mask{All: true}, nil
	case s == nil || f.Done >= s.Index:
		return Mask{}, nil
	}
	m := Mask{}
	touched, err := holds(sec, s.Gone)
	if err != nil {
		return Mask{}, err
	}
	if touched {
		m.Where = scan.OfPerson(func(p uint32) bool { return !s.Gone.Has(p) })
	}
	for _, r := range s.rows {
		if !r.meets(sec, f) {
			continue
		}
		where, err := r.filter(sec, f)
		if err != nil {
			return Mask{}, err
		}
		m.Where = scan.And(m.Where, scan.Not(where))
	}
	return m, nil
}

// holds tells whether a section has rows of persons, as they were written; of nil it has none.
func holds(sec *segment.Section, persons *index.Persons) (bool, error) {
	if persons == nil {
		return false, nil
	}
	p, err := sec.Persons()
	if err != nil {
		return false, err
	}
	return p.Intersects(persons), nil
}

// meets tells whether a rule may be about rows of a section that still has them.
func (r *rule) meets(sec *segment.Section, f File) bool {
	return f.Last <= r.index && f.Done < r.index && (r.events == nil || slices.Contains(r.events, sec.Event())) &&
		(r.paths != nil || sec.MaxTime() >= r.from && sec.MinTime() < r.to)
}

// covers tells whether a rule erases the field of a path.
func (r *rule) covers(path string) bool {
	return slices.ContainsFunc(r.paths, func(p string) bool { return path == p || strings.HasPrefix(path, p+".") })
}

// compile makes a filter of the condition of a rule. lost are erasures of a field
// that the rows may not have lost yet, though it was gone when the rule came.
func (r *rule) compile(shown bool, lost func(path string) []*rule) (*scan.Filter, error) {
	c := predicate.Compiler{Location: time.UTC, Where: func(f *lang.Field, t scan.Test) *scan.Filter {
		field := predicate.Column(f)
		if field.Kind != scan.FieldColumn {
			return scan.Where(field, t)
		}
		field.Hidden = !shown
		out := scan.Where(field, t)
		for _, l := range lost(field.Path) {
			if l.persons == nil {
				return scan.Where(field, scan.Test{})
			}
			out = scan.And(out, scan.Not(scan.OfPerson(l.persons.Has)))
		}
		return out
	}}
	return c.Filter(r.cond)
}

// filter holds for the rows that a rule erases, in a section that it meets.
func (r *rule) filter(sec *segment.Section, f File) (where *scan.Filter, err error) {
	where = r.where
	if slices.ContainsFunc(r.before, func(b *rule) bool { return b.meets(sec, f) }) {
		if where, err = r.compile(false, func(path string) (lost []*rule) {
			for _, b := range r.before {
				if b.covers(path) && b.meets(sec, f) {
					lost = append(lost, b)
				}
			}
			return lost
		}); err != nil {
			return nil, err
		}
	}
	within := scan.Where(scan.Field{Kind: scan.FieldTime}, scan.Test{Int: func(t int64) bool { return r.from <= t && t < r.to }})
	return scan.And(within, where), nil
}

// takesAll tells whether a rule erases all rows of a section that it meets.
func (r *rule) takesAll(sec *segment.Section) bool {
	return r.cond == nil && r.from <= sec.MinTime() && sec.MaxTime() < r.to
}

// Hide hides fields that are erased in a section. The fields of single persons are not
// hidden but go when the file is written anew, see Drop.
func (s *Set) Hide(sec *segment.Section, f File) {
	if s == nil {
		return
	}
	for _, r := range s.fields {
		if r.persons == nil && r.meets(sec, f) {
			for _, path := range r.paths {
				sec.Hide(path)
			}
		}
	}
}

// Drop is what is left out when a section is written anew.
type Drop struct {
	// Forgotten sections leave nothing behind, not even the eventIds.
	Forgotten bool
	// Rows that are erased; nil for none.
	Rows scan.Bits
	// Counts says how many rows each request erased.
	Counts map[string]int64

	fields []*rule
}

// Drop says what a section loses when its file is written anew.
func (s *Set) Drop(sec *segment.Section, f File, w *scan.Worker) (*Drop, error) {
	d := &Drop{}
	if s == nil {
		return d, nil
	}
	if d.Forgotten = s.Expired(strings.TrimPrefix(sec.Event(), segment.ErasedPrefix), sec.Day()); d.Forgotten {
		return d, nil
	}
	if sec.Erased() {
		var err error
		d.Forgotten, err = s.forgetsAll(sec)
		return d, err
	}
	if f.Done >= s.Index {
		return d, nil
	}
	d.Counts = map[string]int64{}
	touched, err := holds(sec, s.Gone)
	if err != nil {
		return nil, err
	}
	if touched {
		rows, err := w.Rows(scan.OfPerson(s.Gone.Has), sec)
		if err != nil {
			return nil, err
		}
		if err := s.countPersons(sec, rows, d.Counts, w); err != nil {
			return nil, err
		}
		d.take(rows)
	}
	for _, r := range s.rows {
		if !r.meets(sec, f) {
			continue
		}
		where, err := r.filter(sec, f)
		if err != nil {
			return nil, err
		}
		rows, err := w.Rows(where, sec)
		if err != nil {
			return nil, err
		}
		if n := d.take(rows); n > 0 {
			d.Counts[r.id] += n
		}
	}
	for _, r := range s.fields {
		if r.meets(sec, f) {
			d.fields = append(d.fields, r)
		}
	}
	return d, nil
}

// forgetsAll tells whether no id of a section of erased events counts any more: nothing else is left of them.
func (s *Set) forgetsAll(sec *segment.Section) (bool, error) {
	if !s.Forgets(sec.Day(), sec.Day()) {
		return false, nil
	}
	received := make([]int64, sec.Rows())
	if err := sec.Received(received, 0, len(received), &segment.Scratch{}); err != nil {
		return false, err
	}
	return s.Forgets(sec.Day(), segment.Day(slices.Max(received))), nil
}

// Takes are the rows of a section that the set erases or takes fields of, whatever
// the section's file; nil for none.
func (s *Set) Takes(sec *segment.Section, w *scan.Worker) (scan.Bits, error) {
	if sec.Erased() {
		return nil, nil
	}
	d, err := s.Drop(sec, File{}, w)
	if err != nil {
		return nil, err
	}
	for _, r := range s.fields {
		if r.persons != nil || !r.meets(sec, File{}) {
			continue
		}
		columns, err := sec.AllColumns()
		if err != nil {
			return nil, err
		}
		var has []*scan.Filter
		for _, c := range columns {
			if r.covers(c.Path()) {
				has = append(has, scan.Where(scan.Field{Kind: scan.FieldColumn, Path: c.Path()}, anyValue))
			}
		}
		if len(has) == 0 {
			continue
		}
		rows, err := w.Rows(scan.Or(has...), sec)
		if err != nil {
			return nil, err
		}
		d.take(rows)
	}
	return d.Rows, nil
}

// anyValue holds where there is a value, null too.
var anyValue = scan.Test{
	Text: func([]byte) bool { return true }, Number: func(float64) bool { return true }, Int: func(int64) bool { return true },
	Bool: func(bool) bool { return true }, JSON: func([]byte) bool { return true }, Null: true,
}

// Has tells whether a row is erased.
func (d *Drop) Has(row int) bool { return d.Rows != nil && d.Rows.Has(row) }

// take adds rows and returns how many are new.
func (d *Drop) take(rows scan.Bits) (fresh int64) {
	n := rows.Count()
	if d.Rows == nil {
		if n > 0 {
			d.Rows = slices.Clone(rows)
		}
		return int64(n)
	}
	before := d.Rows.Count()
	for i := range d.Rows {
		d.Rows[i] |= rows[i]
	}
	return int64(d.Rows.Count() - before)
}

// countPersons counts rows for the requests that erased their persons.
func (s *Set) countPersons(sec *segment.Section, rows scan.Bits, counts map[string]int64, w *scan.Worker) error {
	return w.EachPerson(sec, func(row int, person uint32) {
		if rows.Has(row) {
			if id, ok := s.owner[person]; ok {
				counts[id]++
			}
		}
	})
}

// Column tells whether the column of a path is dropped as a whole. What is hidden in
// the section may be more than that: erasures that came since the set, whose conditions will ask for it.
func (d *Drop) Column(path string) bool {
	return slices.ContainsFunc(d.fields, func(r *rule) bool { return r.persons == nil && r.covers(path) })
}

// Wiped are persons whose values at a path are dropped; nil for none.
func (d *Drop) Wiped(path string) []*index.Persons {
	var out []*index.Persons
	for _, r := range d.fields {
		if r.persons != nil && r.covers(path) {
			out = append(out, r.persons)
		}
	}
	return out
}

// Due tells whether a file holds anything that is erased, so that it has to be written anew.
func (s *Set) Due(r *segment.Reader, f File) (bool, error) {
	if s == nil {
		return false, nil
	}
	sections := r.Sections()
	for i := range sections {
		sec := &sections[i]
		if s.Expired(strings.TrimPrefix(sec.Event(), segment.ErasedPrefix), sec.Day()) {
			return true, nil
		}
		if sec.Erased() || f.Done >= s.Index {
			continue
		}
		if touched, err := holds(sec, s.Gone); err != nil || touched {
			return touched, err
		}
		for _, r := range slices.Concat(s.rows, s.fields) {
			if !r.meets(sec, f) {
				continue
			}
			if r.persons == nil {
				return true, nil
			}
			if touched, err := holds(sec, r.persons); err != nil || touched {
				return touched, err
			}
		}
	}
	return false, nil
}
