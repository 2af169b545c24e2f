// Package catalog knows what is in the data: the names of events, their fields
// and some of their values. A person who writes a query is offered them, and the
// page shows them. Names and volumes come from the footers of segments, fields
// and values from a sample of rows, so that a catalog costs little however much is stored.
package catalog

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"spoor/engine"
	"spoor/engine/query/scan"
	"spoor/segment"
	"spoor/segment/batch"
)

// Bounds of what a catalog reads.
const (
	sampleSections = 4    // of an event: those with most rows
	sampleRows     = 4096 // of a section
	sampleEvents   = 20   // whose fields are those of any event
	maxValueBytes  = 200  // longer texts are no values to choose from
	maxExamples    = 5
)

// Event is a name with its volume. Times are microseconds.
type Event struct {
	Name        string
	Events      int64
	First, Last int64

	sections []*segment.Section // some of those with most rows
}

// Field is a column of an event: what kinds of values it has, and some of them.
type Field struct {
	Path     string // as in lang.Field
	Kinds    []string
	Share    float64 // of the sampled events that have it
	Examples []any
}

// Catalog is what a view holds. It is good while the view is.
type Catalog struct {
	events  []*Event // most frequent first
	byName  map[string]*Event
	left    map[*segment.Section]scan.Bits // the rows that are not erased, of sections where some are
	cohorts []string
}

// Of makes the catalog of a view; cohorts are the names of saved users queries.
func Of(v *engine.View, cohorts []string) *Catalog {
	c := &Catalog{byName: map[string]*Event{}, left: map[*segment.Section]scan.Bits{}, cohorts: cohorts}
	for _, r := range v.Segments {
		r.Days(func(_ int32, sections []segment.Section) {
			for i := range sections {
				c.add(v, &sections[i])
			}
		})
	}
	slices.SortFunc(c.events, func(a, b *Event) int {
		return cmp.Or(cmp.Compare(b.Events, a.Events), strings.Compare(a.Name, b.Name))
	})
	return c
}

// add counts what a section holds that is not erased. What cannot be read is left out: a query
// over these rows says what is wrong with them.
func (c *Catalog) add(v *engine.View, s *segment.Section) {
	left, n, err := v.Left(s)
	if err != nil || n == 0 {
		return
	}
	if left != nil {
		c.left[s] = left
	}
	first, last, err := times(s, left)
	if err != nil {
		return
	}
	e := c.byName[s.Event()]
	if e == nil {
		e = &Event{Name: s.Event(), First: first, Last: last}
		c.byName[e.Name] = e
		c.events = append(c.events, e)
	}
	e.Events += int64(n)
	e.First, e.Last = min(e.First, first), max(e.Last, last)
	if len(e.sections) < sampleSections {
		e.sections = append(e.sections, s)
		return
	}
	least := slices.MinFunc(e.sections, func(a, b *segment.Section) int { return a.Rows() - b.Rows() })
	if least.Rows() < s.Rows() {
		e.sections[slices.Index(e.sections, least)] = s
	}
}

// times are those of the first and the last event of a section that is left; of nil rows all are.
func times(s *segment.Section, left scan.Bits) (first, last int64, err error) {
	if left == nil {
		return s.MinTime(), s.MaxTime(), nil
	}
	var x segment.Scratch
	keys := make([]uint64, s.Rows())
	if err := s.Keys(keys, 0, len(keys), &x); err != nil {
		return 0, 0, err
	}
	first, last = math.MaxInt64, math.MinInt64
	for row, k := range keys {
		if left.Has(row) {
			t := segment.KeyTime(k, s.Day())
			first, last = min(first, t), max(last, t)
		}
	}
	return first, last, nil
}

// present counts the rows of a section that are left and have a value in one of its columns.
func (c *Catalog) present(s *segment.Section, col segment.Column) (n int, err error) {
	left, some := c.left[s]
	if !some {
		return col.Present(), nil
	}
	var x segment.Scratch
	count := func(has func(row int) bool) {
		for row := range s.Rows() {
			if left.Has(row) && has(row) {
				n++
			}
		}
	}
	switch col.Kind() {
	case batch.KindNumber:
		nums := make([]float64, s.Rows())
		err = col.Numbers(nums, 0, len(nums), &x)
		count(func(row int) bool { return nums[row] == nums[row] })
	case batch.KindInt:
		ints, has := make([]int64, s.Rows()), make([]bool, s.Rows())
		err = col.Ints(ints, has, 0, len(ints), &x)
		count(func(row int) bool { return has[row] })
	default:
		codes := make([]uint32, s.Rows())
		_, err = col.Codes(codes, 0, len(codes), &x)
		count(func(row int) bool { return codes[row] != 0 })
	}
	return n, err
}

// has tells whether a row is not erased.
func (c *Catalog) has(s *segment.Section, row int) bool {
	left, ok := c.left[s]
	return !ok || left.Has(row)
}

// Events are the names, the most frequent first.
func (c *Catalog) Events(limit int) []*Event { return c.events[:min(limit, len(c.events))] }

// EventNames implements lang.Catalog.
func (c *Catalog) EventNames(prefix string, limit int) (names []string) {
	for _, e := range c.events {
		if len(names) < limit && begins(e.Name, prefix) {
			names = append(names, e.Name)
		}
	}
	return names
}

// begins tells whether a text begins with a prefix, in capital letters or small ones.
func begins(text, prefix string) bool {
	return len(text) >= len(prefix) && strings.EqualFold(text[:len(prefix)], prefix)
}

// Cohorts implements lang.Catalog.
func (c *Catalog) Cohorts(prefix string, limit int) (names []string) {
	for _, n := range c.cohorts {
		if len(names) < limit && begins(n, prefix) {
			names = append(names, n)
		}
	}
	return names
}

// of are the events that a name means: all that are sampled for "".
func (c *Catalog) of(event string) []*Event {
	if event == "" {
		return c.Events(sampleEvents)
	}
	if e := c.byName[event]; e != nil {
		return []*Event{e}
	}
	return nil
}

// Fields implements lang.Catalog: the paths of columns, those of most events first.
func (c *Catalog) Fields(event, prefix string, limit int) (paths []string) {
	for _, f := range c.describe(event, prefix, false) {
		if len(paths) < limit {
			paths = append(paths, f.Path)
		}
	}
	return paths
}

// Describe are the fields of an event with kinds and examples.
func (c *Catalog) Describe(event string) []Field { return c.describe(event, "", true) }

func (c *Catalog) describe(event, prefix string, examples bool) []Field {
	present, kinds := map[string]int{}, map[string][]string{}
	rows := 0
	for _, e := range c.of(event) {
		for _, s := range e.sections {
			columns, err := s.AllColumns()
			if err != nil {
				continue // a query over these rows says what is wrong with them
			}
			if left, some := c.left[s]; some {
				rows += left.Count()
			} else {
				rows += s.Rows()
			}
			for _, col := range columns {
				path := col.Path()
				if !begins(path, prefix) {
					continue
				}
				n, err := c.present(s, col)
				if err != nil || n == 0 {
					continue
				}
				present[path] += n
				if k := kindNames[col.Kind()]; !slices.Contains(kinds[path], k) {
					kinds[path] = append(kinds[path], k)
				}
			}
		}
	}
	out := make([]Field, 0, len(present))
	for path, n := range present {
		f := Field{Path: path, Kinds: kinds[path], Share: float64(n) / float64(max(rows, 1))}
		slices.Sort(f.Kinds)
		if examples {
			f.Examples = c.examples(event, path)
		}
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b Field) int { return cmp.Or(cmp.Compare(b.Share, a.Share), strings.Compare(a.Path, b.Path)) })
	return out
}

var kindNames = [...]string{
	batch.KindString: "string", batch.KindNumber: "number", batch.KindInt: "number", batch.KindNumText: "number",
	batch.KindBool: "boolean", batch.KindNull: "null", batch.KindJSON: "json",
}

func (c *Catalog) examples(event, path string) (out []any) {
	for _, v := range c.Values(event, path, "", maxExamples) {
		out = append(out, v)
	}
	if len(out) > 0 {
		return out
	}
	var x segment.Scratch
	for _, e := range c.of(event) {
		for _, s := range e.sections {
			columns, err := s.Columns(path)
			if err != nil {
				continue
			}
			for _, col := range columns {
				if col.Kind() != batch.KindNumber {
					continue
				}
				nums := make([]float64, min(s.Rows(), sampleRows))
				if col.Numbers(nums, 0, len(nums), &x) != nil {
					continue
				}
				for row, v := range nums {
					if v == v && c.has(s, row) && len(out) < maxExamples && !slices.Contains(out, any(v)) {
						out = append(out, v)
					}
				}
			}
		}
	}
	return out
}

// Values implements lang.Catalog: texts of a field in a sample of rows, the most frequent first.
func (c *Catalog) Values(event, path, prefix string, limit int) []string {
	if path == "eventName" {
		return c.EventNames(prefix, limit)
	}
	count := map[string]int{}
	var x segment.Scratch
	for _, e := range c.of(event) {
		for _, s := range e.sections {
			columns, err := s.Columns(path)
			if err != nil {
				continue
			}
			for _, col := range columns {
				if col.Kind() != batch.KindString {
					continue
				}
				codes := make([]uint32, min(s.Rows(), sampleRows))
				texts, err := col.Codes(codes, 0, len(codes), &x)
				if err != nil {
					continue
				}
				for row, code := range codes {
					if code == 0 || !c.has(s, row) {
						continue
					}
					if t := texts.At(int(code - 1)); len(t) <= maxValueBytes && begins(string(t), prefix) {
						count[string(t)]++
					}
				}
			}
		}
	}
	values := make([]string, 0, len(count))
	for v := range count {
		values = append(values, v)
	}
	slices.SortFunc(values, func(a, b string) int { return cmp.Or(cmp.Compare(count[b], count[a]), strings.Compare(a, b)) })
	return values[:min(limit, len(values))]
}
