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

// Add collects the events of one day that match a selection and returns how many there were.
func (g *Gather) Add(w *Worker, files []StepFile, times Times) (int, error) {
	plain := make([]DayFile, len(files))
	for i := range files {
		plain[i] = files[i].DayFile
	}
	if err := w.Timeline(plain, times, true, &g.line); err != nil {
		return 0, err
	}
	masks := make([][][]uint64, len(files))
	voids := make([][][]uint64, len(files))
	holds := make([][][]uint32, len(files))
	tags := make([][][]uint32, len(files))
	nums := make([][][]float64, len(files))
	for f := range files {
		masks[f] = make([][]uint64, len(files[f].Sections))
		voids[f] = make([][]uint64, len(files[f].Sections))
		holds[f] = make([][]uint32, len(files[f].Sections))
		tags[f] = make([][]uint32, len(files[f].Sections))
		nums[f] = make([][]float64, len(files[f].Sections))
	}
	n := 0
	day := int32(0)
	if len(files) > 0 {
		day = files[0].Day
	}
	for i, k := range g.line.K {
		f, s, row := g.line.File[i], g.line.Section[i], g.line.Row[i]
		if masks[f][s] == nil {
			var err error
			if masks[f][s], voids[f][s], err = w.masks(&files[f], int(s)); err != nil {
				return 0, err
			}
			if len(g.HoldFields) > 0 {
				if holds[f][s], err = g.holds(w, &files[f].Sections[s]); err != nil {
					return 0, err
				}
			}
			sec := &files[f].Sections[s]
			if len(g.Fields) > 0 {
				tags[f][s] = make([]uint32, sec.Rows())
				if err := g.Groups.Section(w, sec, g.Fields, tags[f][s], 0, sec.Rows()); err != nil {
					return 0, err
				}
			}
			if g.Value != nil {
				if nums[f][s], err = w.numbers(sec, *g.Value); err != nil {
					return 0, err
				}
			}
		}
		mask := masks[f][s][row]
		e := kernel.Event{Time: segment.KeyTime(k, day), Steps: mask, Tag: g.line.Mark[i]}
		if voids[f][s] != nil {
			e.Void = voids[f][s][row]
		}
		if mask == 0 && e.Void == 0 && !g.All {
			continue
		}
		if len(g.HoldFields) > 0 {
			e.Hold = holds[f][s][row]
		}
		if len(g.Fields) > 0 {
			e.Tag = tags[f][s][row]
		}
		if g.Value != nil {
			e.Num = nums[f][s][row]
		}
		g.person = append(g.person, segment.KeyPerson(k))
		g.events = append(g.events, e)
		n++
	}
	return n, nil
}

// holds numbers what a chain must hold, for all rows of a section; 0 for missing.
func (g *Gather) holds(w *Worker, s *segment.Section) ([]uint32, error) {
	out := make([]uint32, s.Rows())
	if err := g.HoldGroups.Section(w, s, g.HoldFields, out, 0, s.Rows()); err != nil {
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

// masks are the selections and exclusions that each row of a section matches;
// voids is nil when there are no exclusions.
func (w *Worker) masks(f *StepFile, s int) (steps, voids []uint64, err error) {
	sec := &f.Sections[s]
	n := sec.Rows()
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
		if err := w.eval.run(st.Where, sec, 0, n, w.sel, &w.x); err != nil {
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
			if byPart[p], err = w.numbers(parts[p].S, field); err != nil {
				return nil, err
			}
		}
		dst[i] = byPart[p][keys.Row[i]]
	}
	return dst, nil
}

// numbers reads the numbers of a field for all rows of a section; NaN for none.
func (w *Worker) numbers(s *segment.Section, field Field) ([]float64, error) {
	out := make([]float64, s.Rows())
	for i := range out {
		out[i] = math.NaN()
	}
	if field.Kind == FieldTrait {
		keys := make([]uint64, len(out))
		if err := s.Keys(keys, 0, len(keys), &w.x); err != nil {
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
			if err := c.Numbers(vals, 0, len(vals), &w.x); err != nil {
				return nil, err
			}
			for i, v := range vals {
				if v == v {
					out[i] = v
				}
			}
		case batch.KindInt:
			vals, has := make([]int64, len(out)), make([]bool, len(out))
			if err := c.Ints(vals, has, 0, len(vals), &w.x); err != nil {
				return nil, err
			}
			for i, v := range vals {
				if has[i] {
					out[i] = float64(v)
				}
			}
		case batch.KindNumText:
			codes := make([]uint32, len(out))
			texts, err := c.Codes(codes, 0, len(codes), &w.x)
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
