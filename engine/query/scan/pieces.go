package scan

import (
	"slices"

	"spoor/engine/query/kernel"
	"spoor/segment"
)

// Pieces replays a day and cuts it where the keys of two events that follow each other
// differ by more than gap, without a list of the events. ok is false where that takes a
// Timeline: several files hold the day, or not all of its events count as they are.
func (w *Worker) Pieces(files []DayFile, times Times, gap uint64, out *kernel.Pieces) (ok bool, err error) {
	out.Reset()
	if len(files) != 1 {
		return len(files) == 0, nil
	}
	n, plain, err := w.prepare(&files[0], times)
	if err != nil || !plain || n == 0 {
		return plain, err
	}
	// Where the next key of each section is, all of whose keys follow each other.
	w.next = grow(w.next, len(w.cursors))
	at := 0
	for i := range w.cursors {
		w.next[i] = uint32(at)
		at += len(w.cursors[i].keys)
	}
	keys, next := w.arena[:at], w.next
	first, last, begin := slices.Grow(out.First, n+1)[:n+1], slices.Grow(out.Last, n+1)[:n+1], slices.Grow(out.Events, n+1)[:n+1]
	pieces, before := 0, uint64(0)
	for i, s := range w.line {
		place := next[s]
		if int(place) >= len(keys) {
			return false, segment.ErrCorrupt
		}
		next[s] = place + 1
		k := keys[place]
		if i == 0 {
			before = k - gap - 1
		}
		// This is where the next piece begins, unless a later event says otherwise.
		first[pieces], begin[pieces], last[pieces] = k, uint32(i), before
		if k-before > gap {
			pieces++
		}
		before = k
	}
	at = 0
	for i := range w.cursors {
		if at += len(w.cursors[i].keys); next[i] != uint32(at) {
			return false, segment.ErrCorrupt // the timeline has more events of a section than it holds
		}
	}
	last[pieces], begin[pieces] = before, uint32(n)
	for i := range pieces {
		begin[i] = begin[i+1] - begin[i]
	}
	// last was written where the next piece begins.
	out.First, out.Last, out.Events = first[:pieces], last[1:1+pieces], begin[:pieces]
	return true, nil
}
