package scan

import (
	"math"
	"slices"
	"strconv"

	"spoor/engine/query/kernel"
	"spoor/segment"
	"spoor/segment/batch"
)

// StepFile is one day of one segment with, per section, the steps that its rows may match.
type StepFile struct {
	DayFile
	Steps [][]StepFilter
}

// StepFilter says which rows of a section match a selection.
type StepFilter struct {
	Step  int     // bit of kernel.Event.Steps, or of Void
	Void  bool    // it is an exclusion
	Where *Filter // nil: all
}

// Gather collects events day after day and gives them back person by person.
type Gather struct {
	// Fields are numbered together in Groups as an event's tag; none: the tag is Take.Mark.
	Fields []Field
	Groups *Tuples
	// HoldFields are numbered together in HoldGroups as what a chain must hold; a row
	// that misses one of them has 0.
	HoldFields []Field
	HoldGroups *Tuples
	// Value is the field whose number an event carries; nil for none.
	Value *Field
	// All keeps events that match no selection too.
	All bool

	person []uint32
	events []kernel.Event
	line   Timeline
}

// Bytes is about the memory of the collected events.
func (g *Gather) Bytes() int64 { return int64(cap(g.events))*64 + int64(cap(g.person))*4 }

// gathered is what is known of the rows of one section, from row first on.
type gathered struct {
	ready bool
	first uint32
	steps []uint64
	voids []uint64 // nil: none is void
	holds []uint32
	tags  []uint32
	nums  []float64
}

// Add collects the events of one day that match a selection and returns how many there were.
func (g *Gather) Add(w *Worker, files []StepFile, times Times) (int, error) {
	if len(files) == 0 {
		return 0, nil
	}
	plain := make([]DayFile, len(files))
	sections := make([][]gathered, len(files))
	for i := range files {
		plain[i] = files[i].DayFile
		sections[i] = make([]gathered, len(files[i].Sections))
	}
	if err := w.Timeline(plain, times, true, &g.line); err != nil {
		return 0, err
	}
	before := len(g.events)
	g.events, g.person = slices.Grow(g.events, len(g.line.K)), slices.Grow(g.person, len(g.line.K))
	day := files[0].Day
	for i, k := range g.line.K {
		f, s := g.line.File[i], g.line.Section[i]
		of := &sections[f][s]
		if !of.ready {
			if err := g.section(w, &files[f], int(s), of); err != nil {
				return 0, err
			}
		}
		row := g.line.Row[i] - of.first
		e := kernel.Event{Time: segment.KeyTime(k, day), Steps: of.steps[row], Tag: g.line.Mark[i]}
		if of.voids != nil {
			e.Void = of.voids[row]
		}
		if e.Steps == 0 && e.Void == 0 && !g.All {
			continue
		}
		if of.holds != nil {
			e.Hold = of.holds[row]
		}
		if of.tags != nil {
			e.Tag = of.tags[row]
		}
		if of.nums != nil {
			e.Num = of.nums[row]
		}
		g.person = append(g.person, segment.KeyPerson(k))
		g.events = append(g.events, e)
	}
	return len(g.events) - before, nil
}

// section reads what Add needs of the rows that the worker may meet in a section.
func (g *Gather) section(w *Worker, f *StepFile, s int, out *gathered) (err error) {
	sec := &f.Sections[s]
	from, to := 0, sec.Rows()
	if !f.Remap {
		if from, to, err = w.rowsOf(sec); err != nil {
			return err
		}
	}
	out.ready, out.first = true, uint32(from)
	if out.steps, out.voids, err = w.masks(f, s, from, to); err != nil {
		return err
	}
	if len(g.HoldFields) > 0 {
		if out.holds, err = g.holds(w, sec, from, to); err != nil {
			return err
		}
	}
	if len(g.Fields) > 0 {
		out.tags = make([]uint32, to-from)
		if err := g.Groups.Section(w, sec, g.Fields, out.tags, from, to); err != nil {
			return err
		}
	}
	if g.Value != nil {
		out.nums, err = w.numbers(sec, *g.Value, from, to)
	}
	return err
}

// holds numbers what a chain must hold, for the rows [from, to) of a section; 0 for missing.
func (g *Gather) holds(w *Worker, s *segment.Section, from, to int) ([]uint32, error) {
	out := make([]uint32, to-from)
	if err := g.HoldGroups.Section(w, s, g.HoldFields, out, from, to); err != nil {
		return nil, err
	}
	for i, t := range out {
		if g.HoldGroups.complete(t) {
			out[i] = t + 1
		} else {
			out[i] = 0
		}
	}
	return out, nil
}

// complete tells whether no value of a combination is missing.
func (t *Tuples) complete(i uint32) bool {
	return !slices.Contains(t.tuples[i], 0)
}

// masks are the selections and exclusions that the rows [from, to) of a section match;
// voids is nil when there are no exclusions.
func (w *Worker) masks(f *StepFile, s, from, to int) (steps, voids []uint64, err error) {
	sec := &f.Sections[s]
	n := to - from
	steps = make([]uint64, n)
	for _, st := range f.Steps[s] {
		out := steps
		if st.Void {
			if voids == nil {
				voids = make([]uint64, n)
			}
			out = voids
		}
		bit := uint64(1) << st.Step
		if st.Where == nil {
			for i := range out {
				out[i] |= bit
			}
			continue
		}
		w.sel = w.sel.resize(n)
		if err := w.eval.run(st.Where, sec, from, to, w.sel, &w.x); err != nil {
			return nil, nil, err
		}
		for i := range out {
			if w.sel.Has(i) {
				out[i] |= bit
			}
		}
	}
	return steps, voids, nil
}

// Each calls f with the events of each person, in the order of time and arrival.
func (g *Gather) Each(persons Persons, f func(person uint32, events []kernel.Event) error) error {
	if len(g.events) == 0 {
		return nil
	}
	count := make([]uint32, persons.Hi-persons.Lo+1)
	for _, p := range g.person {
		count[p-persons.Lo+1]++
	}
	for i := 1; i < len(count); i++ {
		count[i] += count[i-1]
	}
	next := slices.Clone(count)
	sorted := make([]kernel.Event, len(g.events))
	for i, p := range g.person {
		sorted[next[p-persons.Lo]] = g.events[i]
		next[p-persons.Lo]++
	}
	for i := 0; i+1 < len(count); i++ {
		if count[i] < count[i+1] {
			if err := f(persons.Lo+uint32(i), sorted[count[i]:count[i+1]]); err != nil {
				return err
			}
		}
	}
	return nil
}

// Numbers reads the number of a field of each key, which were collected from parts with
// their rows, into dst; NaN for none.
func (w *Worker) Numbers(parts []Part, keys *Keys, field Field, dst []float64) ([]float64, error) {
	dst = grow(dst, len(keys.K))
	byPart := make([][]float64, len(parts))
	for i, p := range keys.Part {
		if byPart[p] == nil {
			var err error
			if byPart[p], err = w.numbers(parts[p].S, field, 0, parts[p].S.Rows()); err != nil {
				return nil, err
			}
		}
		dst[i] = byPart[p][keys.Row[i]]
	}
	return dst, nil
}

// numbers reads the numbers of a field for the rows [from, to) of a section; NaN for none.
func (w *Worker) numbers(s *segment.Section, field Field, from, to int) ([]float64, error) {
	out := make([]float64, to-from)
	for i := range out {
		out[i] = math.NaN()
	}
	if field.Kind == FieldTrait {
		keys := make([]uint64, len(out))
		if err := s.Keys(keys, from, to, &w.x); err != nil {
			return nil, err
		}
		field.Trait.numbers(keys, out)
	}
	if field.Kind != FieldColumn {
		return out, nil
	}
	cols, err := s.Columns(field.Path)
	if err != nil {
		return nil, err
	}
	for _, c := range cols {
		switch c.Kind() {
		case batch.KindNumber:
			vals := make([]float64, len(out))
			if err := c.Numbers(vals, from, to, &w.x); err != nil {
				return nil, err
			}
			for i, v := range vals {
				if v == v {
					out[i] = v
				}
			}
		case batch.KindInt:
			vals, has := make([]int64, len(out)), make([]bool, len(out))
			if err := c.Ints(vals, has, from, to, &w.x); err != nil {
				return nil, err
			}
			for i, v := range vals {
				if has[i] {
					out[i] = float64(v)
				}
			}
		case batch.KindNumText:
			codes := make([]uint32, len(out))
			texts, err := c.Codes(codes, from, to, &w.x)
			if err != nil {
				return nil, err
			}
			for i, code := range codes {
				if code != 0 {
					if v, err := strconv.ParseFloat(string(texts.At(int(code-1))), 64); err == nil {
						out[i] = v
					}
				}
			}
		}
	}
	return out, nil
}
