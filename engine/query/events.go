package query

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"slices"

	"spoor/engine"
	"spoor/engine/event"
	"spoor/engine/query/lang"
	"spoor/engine/query/scan"
	"spoor/segment"
)

// EventsAnswer is the answer to a question for events themselves.
type EventsAnswer struct {
	Common
	Events []json.RawMessage `json:"events"`
	Next   *string           `json:"next"`
}

func (x *exec) events() (Answer, error) {
	a := &EventsAnswer{Events: []json.RawMessage{}}
	last := ""
	err := x.eachEvent(x.q.Limit+1, func(e *event.Row) error {
		if len(a.Events) == x.q.Limit {
			a.Next = &last
			return errEnough
		}
		a.Events = append(a.Events, event.AppendJSON(nil, e))
		last = cursorOf(e.Time, e.ID)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return a, nil
}

// Export calls yield with each event of an events query as JSON, oldest first or
// as the query says, without its limit, and with the cursor that goes on behind it.
// Nothing is held but some thousand events. line is good until yield returns.
func (e *Engine) Export(ctx context.Context, q *lang.Query, yield func(line []byte, cursor string) error) error {
	view, err := e.store.View()
	if err != nil {
		return err
	}
	defer view.Release()
	var buf []byte
	return e.Rows(ctx, view, q, func(row *event.Row) error {
		buf = event.AppendJSON(buf[:0], row)
		return yield(buf, cursorOf(row.Time, row.ID))
	})
}

// Rows is Export of a view that the caller holds, with events as rows. A row is good until yield returns.
func (e *Engine) Rows(ctx context.Context, view *engine.View, q *lang.Query, yield func(row *event.Row) error) error {
	if q.Kind != lang.KindEvents {
		return failf("bad_query", "an export takes an events query")
	}
	x, err := e.newExec(ctx, q, view)
	if err != nil {
		return err
	}
	return x.eachEvent(-1, yield)
}

// errEnough stops eachEvent without an error.
var errEnough = &Error{Code: "enough", Message: "enough"}

// cursor is a place in the order of time and eventId.
type cursor struct {
	time int64
	id   []byte
}

func cursorOf(t int64, id []byte) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(t))
	return base64.RawURLEncoding.EncodeToString(append(b, id...))
}

func parseCursor(text string) (*cursor, error) {
	if text == "" {
		return nil, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) < 8 {
		return nil, failf("bad_cursor", "the cursor is not one that an answer gave as \"next\"")
	}
	return &cursor{int64(binary.BigEndian.Uint64(b)), b[8:]}, nil
}

// eventRef is an event that was selected and not read yet.
type eventRef struct {
	time   int64
	part   uint32
	row    uint32
	person uint32 // as written, unless persons of the part were merged since
}

// chunkEvents is how many events are read at once.
const chunkEvents = 2048

// eachEvent calls f with the selected events in the order of time and eventId. A
// want of at least 0 says how many are needed at most.
func (x *exec) eachEvent(want int, f func(*event.Row) error) error {
	after, err := parseCursor(x.q.After)
	if err != nil {
		return err
	}
	sel, err := x.selects(&x.q.Events.Of)
	if err != nil {
		return err
	}
	times := scan.Times{From: x.from, To: x.to}
	if after != nil {
		if x.q.Newest {
			times.To = min(times.To, after.time+1)
		} else {
			times.From = max(times.From, after.time)
		}
	}
	days := slices.Clone(x.daysOf(times))
	if x.q.Newest {
		slices.Reverse(days)
	}
	w := scan.NewWorker(x.personRange(), x.view.Identity)
	r := &rowReader{x: x}
	defer func() {
		x.counters.took(w.TakeBlocks())
		x.counters.took(r.scratch.KeyBlocks, r.scratch.Blocks)
	}()
	for d := range days {
		if err := x.ctx.Err(); err != nil {
			return err
		}
		n, err := x.dayEvents(w, r, &days[d], sel, times, want, after, f)
		if err == errEnough {
			return nil
		}
		if err != nil {
			return err
		}
		if want >= 0 {
			if want -= n; want <= 0 {
				return nil
			}
		}
	}
	return nil
}

// personRange is the one person of a `user` clause, else all.
func (x *exec) personRange() scan.Persons {
	if x.q.User != "" {
		if p, ok := x.view.Identity.Find(x.q.User); ok {
			return scan.Persons{Lo: p, Hi: p + 1}
		}
	}
	return scan.Persons{Lo: 0, Hi: uint32(x.view.Identity.Persons())}
}

// dayEvents gives the events of one day.
func (x *exec) dayEvents(w *scan.Worker, r *rowReader, d *dayData, sel *selection, times scan.Times, want int, after *cursor, f func(*event.Row) error) (given int, err error) {
	parts, err := x.parts(d, sel, times)
	if err != nil {
		return 0, err
	}
	var refs []eventRef
	var keys scan.Keys
	for i, p := range parts {
		if x.q.User != "" && !p.Remap {
			persons, err := p.S.Persons()
			if err != nil {
				return 0, err
			}
			if !persons.Has(w.Persons.Lo) {
				continue
			}
		}
		if err := w.Keys(d.day, parts[i:i+1], times, true, &keys); err != nil {
			return 0, err
		}
		x.counters.rows.Add(int64(len(keys.K)))
		for j, k := range keys.K {
			refs = append(refs, eventRef{segment.KeyTime(k, d.day), uint32(i), keys.Row[j], segment.KeyPerson(k)})
		}
	}
	if want >= 0 && want+1 < len(refs) {
		refs = x.nearest64(refs, want)
	}
	slices.SortFunc(refs, func(a, b eventRef) int {
		c := cmp.Compare(a.time, b.time)
		if x.q.Newest {
			return -c
		}
		return c
	})
	for len(refs) > 0 {
		n := min(chunkEvents, len(refs))
		for n < len(refs) && refs[n].time == refs[n-1].time { // events of one time are ordered by their ids
			n++
		}
		rows, err := r.read(parts, refs[:n])
		if err != nil {
			return given, err
		}
		slices.SortFunc(rows, func(a, b *event.Row) int {
			c := cmp.Or(cmp.Compare(a.Time, b.Time), bytes.Compare(a.ID, b.ID))
			if x.q.Newest {
				return -c
			}
			return c
		})
		for _, row := range rows {
			if after != nil && !x.behind(row, after) {
				continue
			}
			if err := f(row); err != nil {
				return given, err
			}
			given++
		}
		refs = refs[n:]
		if err := x.ctx.Err(); err != nil {
			return given, err
		}
	}
	return given, nil
}

func (x *exec) behind(row *event.Row, c *cursor) bool {
	order := cmp.Or(cmp.Compare(row.Time, c.time), bytes.Compare(row.ID, c.id))
	if x.q.Newest {
		return order < 0
	}
	return order > 0
}

// nearest64 keeps at least the first want events of the wanted order, and all that
// share a time with the last of them; a histogram of the times finds the border without a sort.
func (x *exec) nearest64(refs []eventRef, want int) []eventRef {
	const bins = 4096
	lo, hi := refs[0].time, refs[0].time
	for i := range refs {
		lo, hi = min(lo, refs[i].time), max(hi, refs[i].time)
	}
	width := (hi-lo)/bins + 1
	var count [bins]int
	for i := range refs {
		count[(refs[i].time-lo)/width]++
	}
	// One more than wanted: the cursor's own event may be among them.
	need := want + 1
	kept := refs[:0]
	if x.q.Newest {
		b := bins - 1
		for ; b > 0 && need > count[b]; b-- {
			need -= count[b]
		}
		for _, r := range refs {
			if int((r.time-lo)/width) >= b {
				kept = append(kept, r)
			}
		}
		return kept
	}
	b := 0
	for ; b < bins-1 && need > count[b]; b++ {
		need -= count[b]
	}
	for _, r := range refs {
		if int((r.time-lo)/width) <= b {
			kept = append(kept, r)
		}
	}
	return kept
}
