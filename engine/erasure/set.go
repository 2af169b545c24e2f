package erasure

import (
	"slices"
	"strings"
	"sync"
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

	rows   []*rule // of kind events
	shown  bool    // conditions see what queries see: of a set that only counts
	fields []*rule // of the kinds field and anonymise, with paths
	owners []owner
	owner  *ownerIndex
}

// owner is a request that erased persons, as they were written.
type owner struct {
	id       string
	ordinals []uint32
}

// ownerIndex finds the request that erased a person. It is made when it is first asked: an
// erasure must not cost more for those that came before it.
type ownerIndex struct {
	once sync.Once
	of   map[uint32]string
}

func (s *Set) ownerOf(person uint32) (id string, ok bool) {
	s.owner.once.Do(func() {
		s.owner.of = map[uint32]string{}
		for _, o := range s.owners {
			for _, person := range o.ordinals {
				s.owner.of[person] = o.id
			}
		}
	})
	id, ok = s.owner.of[person]
	return id, ok
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
	s := &Set{Gone: gone, Cutoffs: cutoffs, owner: &ownerIndex{}}
	for i := range records {
		if err := s.add(&records[i]); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// NewPreview is a set that erases what one request would, to count it.
func NewPreview(r *Record, gone *index.Persons) (*Set, error) {
	s := &Set{Gone: gone, owner: &ownerIndex{}, shown: true}
	return s, s.add(r)
}

// With is the set with one more erasure, after which gone are all persons whose rows are erased.
func (s *Set) With(r *Record, gone *index.Persons) (*Set, error) {
	next := &Set{}
	if s != nil {
		*next = *s
		next.rows, next.fields, next.owners = slices.Clip(s.rows), slices.Clip(s.fields), slices.Clip(s.owners)
	}
	next.Gone, next.owner = gone, &ownerIndex{}
	return next, next.add(r)
}

// Until is the set with other cutoffs.
func (s *Set) Until(c *Cutoffs) *Set {
	next := &Set{owner: &ownerIndex{}}
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
		s.owners = append(s.owners, owner{r.ID, r.Ordinals})
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
// hidden but go when the file is written anew, see Drop. Erasures before the log index since
// are hidden already.
func (s *Set) Hide(sec *segment.Section, f File, since uint64) {
	if s == nil {
		return
	}
	for i := len(s.fields) - 1; i >= 0 && s.fields[i].index >= since; i-- {
		r := s.fields[i]
		if r.persons == nil && r.meets(sec, f) {
			for _, path := range r.paths {
				sec.Hide(path)
			}
		}
	}
}

// Lost tells whether the field of a path is erased in all of a file whose bytes may still name it.
func (s *Set) Lost(path string, f File) bool {
	return s != nil && slices.ContainsFunc(s.fields, func(r *rule) bool {
		return r.persons == nil && r.events == nil && f.Last <= r.index && f.Done < r.index && r.covers(path)
	})
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
