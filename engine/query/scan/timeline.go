package scan

import (
	"slices"

	"spoor/segment"
)

// DayFile is one day of one segment: the sections that a query over all events reads.
type DayFile struct {
	R   *segment.Reader
	Day int32
	// Sections are all of the day in the file, as Reader.Days gives them.
	Sections []segment.Section
	// Take says for each section whether its rows count and by which filter.
	Take []Take
	// Remap tells that persons of the file were merged since it was written.
	Remap bool
}

// Take is what to read of a section in a timeline.
type Take struct {
	Rows  bool
	Where *Filter
	// Mark is a number that rows of the section carry, for example the event name.
	Mark uint32
}

// Timeline is the selected events of one day by (person, time, arrival).
type Timeline struct {
	K    []uint64
	Mark []uint32
	// File, Section and Row say where an event is stored; filled only when asked for.
	File    []uint16
	Section []uint32
	Row     []uint32
}

func (t *Timeline) reset() {
	t.K, t.Mark, t.File, t.Section, t.Row = t.K[:0], t.Mark[:0], t.File[:0], t.Section[:0], t.Row[:0]
}

// Timeline collects the events of a day from all files that hold it.
func (w *Worker) Timeline(files []DayFile, times Times, withRows bool, out *Timeline) error {
	out.reset()
	remapped := false
	for i := range files {
		if len(files) > 1 && !files[i].Remap {
			if out, err := w.outside(files[i].R, files[i].Day); out || err != nil {
				if err != nil {
					return err
				}
				continue
			}
		}
		if err := w.replay(uint16(i), &files[i], times, withRows, out); err != nil {
			return err
		}
		remapped = remapped || files[i].Remap
	}
	if len(files) > 1 || remapped {
		out.sort(withRows)
	}
	return nil
}

// cursor walks one section in a replay.
type cursor struct {
	keys []uint64
	sel  Bits
	at   int
	from int
	mark uint32
	take bool
}

// replay appends the events of one file in the order of its timeline: the
// timeline names the section of each event, the sections hold the events in the
// same order, so no keys are compared.
func (w *Worker) replay(file uint16, f *DayFile, times Times, withRows bool, out *Timeline) error {
	n, plain, err := w.prepare(f, times)
	if err != nil || n == 0 {
		return err
	}
	out.grow(n, withRows)
	if plain && !withRows {
		return w.replayAll(w.cursors, out)
	}
	return w.replaySome(file, f, w.cursors, withRows, out)
}

// prepare reads what a replay of a file takes: the timeline, and the keys of each
// section that counts. plain tells that all n events count, as they are.
func (w *Worker) prepare(f *DayFile, times Times) (n int, plain bool, err error) {
	w.cursors = grow(w.cursors, len(f.Sections))
	cursors := w.cursors
	first := 0
	for i := range f.Sections {
		s := &f.Sections[i]
		from, to := 0, s.Rows()
		if !f.Remap {
			if from, to, err = w.rowsOf(s); err != nil {
				return 0, false, err
			}
		}
		first += from
		n += to - from
		cursors[i] = cursor{from: from, at: to - from, take: f.Take[i].Rows, mark: f.Take[i].Mark}
	}
	if n == 0 {
		return 0, true, nil
	}
	w.arena = grow(w.arena, n)
	arena := w.arena
	plain = !f.Remap
	for i := range cursors {
		c, s := &cursors[i], &f.Sections[i]
		rows := c.at
		c.at = 0
		if !c.take || rows == 0 {
			plain = plain && rows == 0
			continue
		}
		c.keys, arena = arena[:rows:rows], arena[rows:]
		if err := s.Keys(c.keys, c.from, c.from+rows, &w.x); err != nil {
			return 0, false, err
		}
		w.keys = c.keys
		clip := s.MinTime() < times.From || s.MaxTime() >= times.To
		sel, err := w.selection(f.Day, Part{S: s, Where: f.Take[i].Where}, c.from, c.from+rows, times, clip)
		if err != nil {
			return 0, false, err
		}
		if sel != nil {
			c.sel, plain = slices.Clone(sel), false
		}
	}
	w.keys = nil
	w.line = grow(w.line, n)
	if err := f.R.Timeline(f.Day, w.line, first, first+n, &w.x); err != nil {
		return 0, false, err
	}
	return n, plain, nil
}

// replayAll takes every event.
func (w *Worker) replayAll(cursors []cursor, out *Timeline) error {
	at := len(out.K)
	n := len(w.line)
	keys, marks := out.K[at:at+n:at+n], out.Mark[at:at+n:at+n]
	for i, s := range w.line {
		c := &cursors[s]
		if c.at >= len(c.keys) {
			return segment.ErrCorrupt
		}
		keys[i] = c.keys[c.at]
		marks[i] = c.mark
		c.at++
	}
	out.K, out.Mark = out.K[:at+n], out.Mark[:at+n]
	return nil
}

func (w *Worker) replaySome(file uint16, f *DayFile, cursors []cursor, withRows bool, out *Timeline) error {
	for _, s := range w.line {
		c := &cursors[s]
		i := c.at
		c.at++
		if !c.take {
			continue
		}
		if i >= len(c.keys) {
			return segment.ErrCorrupt
		}
		if c.sel != nil && !c.sel.Has(i) {
			continue
		}
		key := c.keys[i]
		if f.Remap {
			person := w.Person(segment.KeyPerson(key))
			if !w.Persons.Has(person) {
				continue
			}
			key = uint64(person)<<segment.KeyTimeBits | key&(1<<segment.KeyTimeBits-1)
		}
		out.K = append(out.K, key)
		out.Mark = append(out.Mark, c.mark)
		if withRows {
			out.File = append(out.File, file)
			out.Section = append(out.Section, s)
			out.Row = append(out.Row, uint32(c.from+i))
		}
	}
	return nil
}

func (t *Timeline) grow(n int, withRows bool) {
	t.K, t.Mark = slices.Grow(t.K, n), slices.Grow(t.Mark, n) // replayAll reslices into the room
	if withRows {
		t.File, t.Section, t.Row = slices.Grow(t.File, n), slices.Grow(t.Section, n), slices.Grow(t.Row, n)
	}
}

// sort orders by key; equal keys stay as they are: older files first.
func (t *Timeline) sort(withRows bool) {
	if slices.IsSorted(t.K) {
		return
	}
	order := mergeRuns(t.K)
	permute(t.K, order)
	permute(t.Mark, order)
	if withRows {
		permute(t.File, order)
		permute(t.Section, order)
		permute(t.Row, order)
	}
}

// mergeRuns is the stable order of keys that consist of some sorted runs, one for each file
// most often: neighbours are merged until one run is left.
func mergeRuns(keys []uint64) []uint32 {
	order, spare := make([]uint32, len(keys)), make([]uint32, len(keys))
	var ends []int
	for i := range order {
		order[i] = uint32(i)
		if i+1 == len(keys) || keys[i+1] < keys[i] {
			ends = append(ends, i+1)
		}
	}
	for len(ends) > 1 {
		from, left := 0, ends[:0]
		for r := 0; r < len(ends); r += 2 {
			middle, to := ends[r], ends[min(r+1, len(ends)-1)]
			i, j := from, middle
			for at := from; at < to; at++ {
				if j == to || i < middle && keys[order[i]] <= keys[order[j]] {
					spare[at] = order[i]
					i++
				} else {
					spare[at] = order[j]
					j++
				}
			}
			from, left = to, append(left, to)
		}
		ends, order, spare = left, spare, order
	}
	return order
}

func permute[T any](s []T, order []uint32) {
	c := slices.Clone(s)
	for i, o := range order {
		s[i] = c[o]
	}
}
