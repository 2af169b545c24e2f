package erasure

import (
	"slices"
	"strings"

	"spoor/engine/query/scan"
	"spoor/index"
	"spoor/segment"
)

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
			if id, ok := s.ownerOf(person); ok {
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
