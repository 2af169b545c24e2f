package scan

import (
	"cmp"
	"slices"

	"spoor/engine/query/kernel"
	"spoor/segment"
)

// maxWindows is how many sections of a day are replayed at once: the memory of a replay
// is so many blocks of keys.
const maxWindows = 256

// window is the rows of a section that a replay has yet to decode. Those that it has
// decoded stand at the end of the section's slot, which holds a block: where the next one
// is at a multiple of segment.BlockRows, there is none, and the next block is decoded.
type window struct {
	s      *segment.Section
	at, to int
}

// replay is the state of Pieces, kept for its memory.
type replay struct {
	windows []window
	next    []uint32 // by section: the place of its next key in slots
	slots   []uint64
	line    [segment.BlockRows]uint32
	// What has been cut, one piece more than a block of the timeline can begin: the first
	// of them may have begun before it.
	first, last [segment.BlockRows + 1]uint64
	begin       [segment.BlockRows + 1]uint32 // the event, counted from the start of the block
}

// Pieces replays a day and cuts it where the keys of two events that follow each other
// differ by more than gap, without a list of the events: each section's keys are decoded
// block by block, as the replay comes to them. each is called with some pieces at a time, in
// their order; they are good until it returns. ok is false, and nothing was cut, where it
// takes a Timeline: several files hold persons of the day, or not all of its events count as they are.
func (w *Worker) Pieces(files []DayFile, times Times, gap uint64, each func(*kernel.Pieces)) (ok bool, err error) {
	apart, ok, err := w.apart(files)
	if !ok || err != nil {
		return false, err
	}
	if len(apart) > 1 { // all or nothing
		for _, f := range apart {
			if _, _, ok, err := w.windows(f, times); !ok || err != nil {
				return false, err
			}
		}
	}
	for _, f := range apart {
		if ok, err := w.piecesOf(f, times, gap, each); !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

// apart are the files that hold persons of the worker, by persons; ok is false where two may hold the same.
func (w *Worker) apart(files []DayFile) (apart []*DayFile, ok bool, err error) {
	if len(files) == 1 {
		return []*DayFile{&files[0]}, true, nil
	}
	type span struct {
		f           *DayFile
		first, last uint32
	}
	var spans []span
	for i := range files {
		f := &files[i]
		if f.Remap {
			return nil, false, nil
		}
		out, err := w.outside(f.R, f.Day)
		if err != nil {
			return nil, false, err
		}
		if out {
			continue
		}
		p, err := f.R.Persons(f.Day)
		if err != nil {
			return nil, false, err
		}
		first, _ := p.Min()
		last, _ := p.Max()
		spans = append(spans, span{f, first, last})
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	for i, s := range spans {
		if i > 0 && s.first <= spans[i-1].last {
			return nil, false, nil
		}
		apart = append(apart, s.f)
	}
	return apart, true, nil
}

// piecesOf is Pieces of one file.
func (w *Worker) piecesOf(f *DayFile, times Times, gap uint64, each func(*kernel.Pieces)) (ok bool, err error) {
	first, n, ok, err := w.windows(f, times)
	if !ok || err != nil || n == 0 {
		return ok, err
	}
	r := w.replayed
	pieces := 0
	before := uint64(w.Persons.Lo)<<segment.KeyTimeBits - gap - 1 // before any event: the first one begins a piece
	for at := first; at < first+n; {
		end := min((at/segment.BlockRows+1)*segment.BlockRows, first+n)
		line := r.line[:end-at]
		if err := f.R.RawTimeline(f.Day, line, at, end, &w.x); err != nil {
			return false, err
		}
		if pieces, before, err = w.cut(line, gap, pieces, before); err != nil {
			return false, err
		}
		at = end
		open := pieces - 1 // goes on in the next block
		if open < 0 {
			return false, segment.ErrCorrupt
		}
		for i := range open {
			r.begin[i] = r.begin[i+1] - r.begin[i]
		}
		// last was written where the next piece begins.
		each(&kernel.Pieces{First: r.first[:open], Last: r.last[1 : 1+open], Events: r.begin[:open]})
		r.first[0], r.begin[0], pieces = r.first[open], r.begin[open]-uint32(len(line)), 1
	}
	each(&kernel.Pieces{First: r.first[:1], Last: []uint64{before}, Events: []uint32{-r.begin[0]}})
	return true, nil
}

// windows prepares a replay of the n events of a file from first on. ok is false where not
// all of them count as they are.
func (w *Worker) windows(f *DayFile, times Times) (first, n int, ok bool, err error) {
	if f.Remap || len(f.Sections) > maxWindows {
		return 0, 0, false, nil
	}
	if w.replayed == nil {
		w.replayed = &replay{}
	}
	r := w.replayed
	r.windows, r.next = grow(r.windows, len(f.Sections)), grow(r.next, len(f.Sections))
	r.slots = grow(r.slots, len(f.Sections)*segment.BlockRows)
	for i := range f.Sections {
		s := &f.Sections[i]
		from, to, err := w.rowsOf(s)
		if err != nil {
			return 0, 0, false, err
		}
		r.windows[i], r.next[i] = window{s: s, at: from, to: to}, uint32(i*segment.BlockRows)
		first += from
		n += to - from
		take := &f.Take[i]
		if from < to && (!take.Rows || take.Where != nil || s.MinTime() < times.From || s.MaxTime() >= times.To) {
			return 0, 0, false, nil
		}
	}
	return first, n, true, nil
}

// cut takes the events of a block of the timeline. It returns how many pieces have begun
// and the key of the last event.
func (w *Worker) cut(line []uint32, gap uint64, pieces int, before uint64) (int, uint64, error) {
	r := w.replayed
	slots, next := r.slots, r.next
	first, last, begin := &r.first, &r.last, &r.begin
	for i, s := range line {
		if int(s) >= len(next) {
			return 0, 0, segment.ErrCorrupt
		}
		place := next[s]
		if place%segment.BlockRows == 0 {
			var err error
			if place, err = w.decode(s); err != nil {
				return 0, 0, err
			}
		}
		next[s] = place + 1
		k := slots[place]
		// This is where the next piece begins, unless a later event says otherwise.
		first[pieces], begin[pieces], last[pieces] = k, uint32(i), before
		if k-before > gap {
			pieces++
		}
		before = k
	}
	return pieces, before, nil
}

// decode decodes the next block of a section into its slot and returns the place of the
// first key. A replay has as many events as its sections together: where the timeline has
// more of one than there are, that shows here.
func (w *Worker) decode(s uint32) (place uint32, err error) {
	r := w.replayed
	o := &r.windows[s]
	if o.at == o.to {
		return 0, segment.ErrCorrupt
	}
	end := min((o.at/segment.BlockRows+1)*segment.BlockRows, o.to)
	to := int(s+1) * segment.BlockRows
	from := to - (end - o.at)
	err = o.s.Keys(r.slots[from:to], o.at, end, &w.x)
	o.at = end
	return uint32(from), err
}
