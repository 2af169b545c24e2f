// Package scan reads the rows that a query asks for out of segments: keys of
// selected rows for a range of persons, predicates over columns, values for
// breakdowns. It knows days, sections and persons; what the rows mean is the
// kernels' business.
package scan

import (
	"slices"

	"spoor/segment"
)

// Persons is a range of person ordinals [Lo, Hi): what one worker owns.
type Persons struct{ Lo, Hi uint32 }

// Has tells whether the range holds p.
func (r Persons) Has(p uint32) bool { return r.Lo <= p && p < r.Hi }

// Part is the rows of one section that a selection wants.
type Part struct {
	S *segment.Section
	// Where must hold for a row; nil takes all.
	Where *Filter
	// Remap tells that persons of the section were merged since it was written.
	Remap bool
}

// Times is a range of event time [From, To) in microseconds.
type Times struct{ From, To int64 }

// Keys are selected rows of one day, sorted by (person, time); rows of one
// person and time are in the order of their arrival as far as parts tell.
type Keys struct {
	K []uint64
	// Part and Row say where a key came from; filled only when they were asked for.
	Part []uint16
	Row  []uint32
}

func (k *Keys) reset() { k.K, k.Part, k.Row = k.K[:0], k.Part[:0], k.Row[:0] }

// Worker reads for one range of persons; it owns its buffers and is used by one goroutine.
type Worker struct {
	Persons Persons
	// Person maps a person as written to the one it is now.
	Person func(uint32) uint32
	// Stop, if not nil, tells why nobody waits for what is read any more; it is asked before each section.
	Stop func() error

	all   uint32 // persons that there are
	x     segment.Scratch
	keys  []uint64
	sel   Bits
	lists []Keys
	spare Keys
	eval  evaluator

	cursors []cursor
	arena   []uint64 // keys of the cursors
	line    []uint32
	// What Pieces keeps; nil until it is asked for.
	replayed *replay
}

// Keys collects the rows of parts, all of one day, into out.
func (w *Worker) Keys(day int32, parts []Part, times Times, withRows bool, out *Keys) error {
	return w.KeysOf(nil, day, parts, times, withRows, out)
}

// KeysOf is Keys of those persons who have a bit in wanted, counted from the worker's first
// one; nil for all.
func (w *Worker) KeysOf(wanted []uint64, day int32, parts []Part, times Times, withRows bool, out *Keys) error {
	out.reset()
	if len(parts) == 1 {
		return w.part(wanted, day, 0, parts[0], times, withRows, out)
	}
	for len(w.lists) < len(parts) {
		w.lists = append(w.lists, Keys{})
	}
	lists := w.lists[:len(parts)]
	for i := range parts {
		lists[i].reset()
		if !parts[i].Remap {
			if out, err := w.outside(parts[i].S.Reader(), day); out || err != nil {
				if err != nil {
					return err
				}
				continue
			}
		}
		if err := w.part(wanted, day, i, parts[i], times, withRows, &lists[i]); err != nil {
			return err
		}
	}
	w.merge(lists, withRows, out)
	return nil
}

// part appends the selected rows of one part.
func (w *Worker) part(wanted []uint64, day int32, index int, p Part, times Times, withRows bool, out *Keys) error {
	s := p.S
	from, to := 0, s.Rows()
	if !p.Remap {
		var err error
		if from, to, err = w.rowsOf(s); err != nil {
			return err
		}
	}
	n := to - from
	if n == 0 {
		return nil
	}
	out.K = slices.Grow(out.K[:0], n)[:n]
	if withRows {
		out.Row = slices.Grow(out.Row[:0], n)[:n]
	}
	clip := s.MinTime() < times.From || s.MaxTime() >= times.To
	switch {
	case p.Where == nil && wanted == nil && !clip && !p.Remap:
		if withRows {
			out.all(index, from, n)
		}
		return s.Keys(out.K, from, to, &w.x)
	case p.Where == nil && (wanted == nil || p.Remap):
		if err := s.Keys(out.K, from, to, &w.x); err != nil {
			return err
		}
		for i := range out.Row {
			out.Row[i] = uint32(from + i)
		}
	default:
		pick := segment.Pick{Persons: wanted, Lo: w.Persons.Lo}
		if p.Remap { // persons are those that were written: whose they are now shows later
			pick.Persons = nil
		}
		if p.Where != nil {
			w.sel = w.sel.resize(n)
			if err := w.eval.run(p.Where, s, from, to, w.sel, &w.x); err != nil {
				return err
			}
			pick.Rows = w.sel
		}
		kept, err := s.PickKeys(out.K, out.Row, from, to, pick, &w.x)
		if err != nil {
			return err
		}
		out.cut(kept)
	}
	if p.Remap {
		w.remap(wanted, out)
	}
	if clip {
		out.clip(day, times)
	}
	if withRows {
		out.Part = slices.Grow(out.Part[:0], len(out.K))[:len(out.K)]
		for i := range out.Part {
			out.Part[i] = uint16(index)
		}
	}
	if p.Remap && !slices.IsSorted(out.K) {
		sortKeys(out, withRows)
	}
	return nil
}

// cut keeps the first n keys and, where there are, their rows.
func (k *Keys) cut(n int) {
	k.K, k.Row = k.K[:n], k.Row[:min(n, len(k.Row))]
}

// clip keeps the keys whose time is within times.
func (k *Keys) clip(day int32, times Times) {
	n := 0
	for i, key := range k.K {
		if t := segment.KeyTime(key, day); t < times.From || t >= times.To {
			continue
		}
		k.K[n] = key
		if len(k.Row) > 0 {
			k.Row[n] = k.Row[i]
		}
		n++
	}
	k.cut(n)
}

// remap makes persons those that they are now, and keeps the keys of the worker's who are wanted.
func (w *Worker) remap(wanted Bits, k *Keys) {
	n := 0
	for i, key := range k.K {
		person := w.Person(segment.KeyPerson(key))
		if !w.Persons.Has(person) || wanted != nil && !wanted.Has(int(person-w.Persons.Lo)) {
			continue
		}
		k.K[n] = uint64(person)<<segment.KeyTimeBits | key&(1<<segment.KeyTimeBits-1)
		if len(k.Row) > 0 {
			k.Row[n] = k.Row[i]
		}
		n++
	}
	k.cut(n)
}

// all says that the keys are n rows of one part, from row on.
func (k *Keys) all(part, row, n int) {
	k.Row, k.Part = slices.Grow(k.Row[:0], n)[:n], slices.Grow(k.Part[:0], n)[:n]
	for i := range n {
		k.Row[i], k.Part[i] = uint32(row+i), uint16(part)
	}
}

// selection is the rows [from, to) of the part that pass, nil for all.
func (w *Worker) selection(day int32, p Part, from, to int, times Times, clip bool) (Bits, error) {
	if p.Where == nil && !clip {
		return nil, nil
	}
	w.sel = w.sel.resize(to - from)
	if p.Where != nil {
		if err := w.eval.run(p.Where, p.S, from, to, w.sel, &w.x); err != nil {
			return nil, err
		}
	} else {
		w.sel.fill(to - from)
	}
	if clip {
		for i, k := range w.keys {
			if t := segment.KeyTime(k, day); t < times.From || t >= times.To {
				w.sel.Clear(i)
			}
		}
	}
	return w.sel, nil
}

// sortKeys sorts by key, stably.
func sortKeys(k *Keys, withRows bool) {
	if !withRows {
		slices.Sort(k.K)
		return
	}
	order := make([]uint32, len(k.K))
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortStableFunc(order, func(a, b uint32) int {
		switch {
		case k.K[a] < k.K[b]:
			return -1
		case k.K[a] > k.K[b]:
			return 1
		}
		return 0
	})
	c := Keys{K: slices.Clone(k.K), Part: slices.Clone(k.Part), Row: slices.Clone(k.Row)}
	for i, o := range order {
		k.K[i], k.Part[i], k.Row[i] = c.K[o], c.Part[o], c.Row[o]
	}
}

// merge merges sorted lists, two at a time; of equal keys the earlier list's comes first.
func (w *Worker) merge(lists []Keys, withRows bool, out *Keys) {
	for len(lists) > 1 {
		half := (len(lists) + 1) / 2
		for i := range half {
			if 2*i+1 == len(lists) {
				lists[i], lists[2*i] = lists[2*i], lists[i]
				continue
			}
			a, b := &lists[2*i], &lists[2*i+1]
			merge2(a, b, withRows, &w.spare)
			lists[2*i], w.spare = w.spare, lists[2*i]
			lists[i], lists[2*i] = lists[2*i], lists[i]
		}
		lists = lists[:half]
	}
	if len(lists) == 1 {
		*out, lists[0] = lists[0], *out
	}
}

// append appends the keys of o.
func (k *Keys) append(o *Keys, withRows bool) {
	k.K = append(k.K, o.K...)
	if withRows {
		k.Row, k.Part = append(k.Row, o.Row...), append(k.Part, o.Part...)
	}
}

// outside tells whether none of the persons of a day of a file, as written, are the worker's.
func (w *Worker) outside(r *segment.Reader, day int32) (bool, error) {
	p, err := r.Persons(day)
	if err != nil {
		return false, err
	}
	last, some := p.Max()
	if !some || last < w.Persons.Lo {
		return true, nil
	}
	first, _ := p.Min()
	return first >= w.Persons.Hi && w.Persons.Hi < w.all, nil
}

func merge2(a, b *Keys, withRows bool, out *Keys) {
	n := len(a.K) + len(b.K)
	switch { // pieces of a day share no person: one follows the other
	case len(b.K) == 0 || len(a.K) > 0 && a.K[len(a.K)-1] <= b.K[0]:
		a.append(b, withRows)
		*a, *out = *out, *a
		return
	case len(a.K) == 0 || b.K[len(b.K)-1] < a.K[0]:
		b.append(a, withRows)
		*b, *out = *out, *b
		return
	}
	out.K = slices.Grow(out.K[:0], n)[:n]
	if withRows {
		out.Row = slices.Grow(out.Row[:0], n)[:n]
		out.Part = slices.Grow(out.Part[:0], n)[:n]
	}
	i, j := 0, 0
	for at := range n {
		fromA := j == len(b.K) || i < len(a.K) && a.K[i] <= b.K[j]
		src, from := b, j
		if fromA {
			src, from = a, i
			i++
		} else {
			j++
		}
		out.K[at] = src.K[from]
		if withRows {
			out.Row[at], out.Part[at] = src.Row[from], src.Part[from]
		}
	}
}

// Rows are the rows of a section for which f holds. They are good until the next call.
func (w *Worker) Rows(f *Filter, s *segment.Section) (Bits, error) {
	w.sel = w.sel.resize(s.Rows())
	return w.sel, w.eval.run(f, s, 0, s.Rows(), w.sel, &w.x)
}

// EachPerson calls f with every row of a section and its person, as written.
func (w *Worker) EachPerson(s *segment.Section, f func(row int, person uint32)) error {
	w.keys = slices.Grow(w.keys[:0], s.Rows())[:s.Rows()]
	if err := s.Keys(w.keys, 0, s.Rows(), &w.x); err != nil {
		return err
	}
	for i, k := range w.keys {
		f(i, segment.KeyPerson(k))
	}
	return nil
}

// Identity resolves persons and their ids.
type Identity interface {
	Names
	Person(uint32) uint32
	Persons() int
}

// NewWorker makes a worker for a range of persons.
func NewWorker(persons Persons, id Identity) *Worker {
	return (&Worker{}).For(persons, id)
}

// TakeBlocks are the blocks of keys, and of anything else, that the worker has decoded
// since it was asked last.
func (w *Worker) TakeBlocks() (keys, others int64) {
	keys, others = w.x.KeyBlocks, w.x.Blocks
	w.x.KeyBlocks, w.x.Blocks = 0, 0
	return keys, others
}

// For makes the worker one for another range of persons; it keeps its buffers.
func (w *Worker) For(persons Persons, id Identity) *Worker {
	w.Persons, w.Person, w.all, w.eval.names = persons, id.Person, uint32(id.Persons()), id
	w.x.Forget()
	return w
}

// rowsOf are the rows [from, to) of the worker's persons. Beyond the last person nothing
// is stored, so a range that goes as far ends with the section: no block is read to find out.
func (w *Worker) rowsOf(s *segment.Section) (from, to int, err error) {
	if err := w.stopped(); err != nil {
		return 0, 0, err
	}
	lo, hi := uint64(w.Persons.Lo), uint64(w.Persons.Hi)
	if w.Persons.Hi >= w.all {
		hi = segment.MaxPersons
	}
	return s.RowsOf(lo, hi, &w.x)
}

func (w *Worker) stopped() error {
	if w.Stop == nil {
		return nil
	}
	return w.Stop()
}
