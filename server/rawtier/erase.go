package rawtier

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"spoor/engine"
	"spoor/engine/erasure"
	"spoor/engine/event"
	"spoor/server/rawtier/parquetfile"
)

// ErrOlder is wrapped when the raw tier holds events that the store does not, and no
// erasure and no retention says why: it was restored from a backup, or is another one.
var ErrOlder = errors.New("the raw tier holds events that this store does not, and nothing erased them; replay it into the store first (spoor replay), or name another place")

// known is an event of a file of the raw tier. One of each event of a day is held
// while the day is compared: 32 bytes.
type known struct {
	id      [16]byte // hash of the eventId
	sum     uint64
	file    int32
	seen    bool // the view has it
	expires bool // the retention says that it goes
}

func idOf(id []byte) (h [16]byte) {
	sum := sha256.Sum256(id)
	copy(h[:], sum[:])
	return h
}

// MaxDayRows bounds the events of a day that are compared: 8 GiB of memory.
const MaxDayRows = 1 << 28

// idsTell tells whether it shows in the ids of a day, and of who did its events, what erasures took since the
// day was looked through: those of persons and of whole events take rows away, and an id of a person from rows of
// others. Only erasures of fields leave all ids as they were.
func (t *Tier) idsTell(have *Day) (bool, error) {
	if have.Who == "" || t.opts.Erasures == nil {
		return false, nil
	}
	records, err := t.opts.Erasures()
	if err != nil {
		return false, err
	}
	since := max(have.Erasures, t.erased.Erasures)
	for i := range records {
		r := &records[i]
		if r.Index > since && r.Kind != erasure.Person && r.Kind != erasure.History && r.Kind != erasure.Allow && (r.Kind != erasure.Events || len(r.Fields) > 0) {
			return false, nil
		}
	}
	return true, nil // older records are let go of the kinds that take rows, alone
}

// same tells whether the files of a day have what the view has.
func (t *Tier) same(ctx context.Context, view *engine.View, day int32) (bool, error) {
	if ids, err := t.idsTell(&t.days[day].Day); err != nil {
		return false, err
	} else if ids {
		rows, who, err := whoIn(view, day)
		return rows == t.days[day].Rows && hexOf(who) == t.days[day].Who, err
	}
	q, err := dayQuery(day, nil, 0)
	if err != nil {
		return false, err
	}
	all := sum{}
	if err := t.events.Rows(ctx, view, q, func(row *event.Row) error { all.add(row); return nil }); err != nil {
		return false, err
	}
	have := &t.days[day].Day
	return all.rows == have.Rows && hexOf(all.hash) == have.Sum, nil
}

// compared is a day's files beside what a view has.
type compared struct {
	rows    []known // by id
	dirty   []bool  // per file: something in it changed or went
	fresh   int64   // events that no file has
	expired bool    // something went because the retention says so
	all     sum     // of the view
}

func (c *compared) find(id [16]byte) *known {
	i, ok := slices.BinarySearchFunc(c.rows, id, func(k known, id [16]byte) int { return bytes.Compare(k.id[:], id[:]) })
	if !ok {
		return nil
	}
	return &c.rows[i]
}

// compare reads the files of a day, and then the view's events.
func (t *Tier) compare(ctx context.Context, view *engine.View, day int32) (*compared, error) {
	have := &t.days[day].Day
	if have.Rows > MaxDayRows {
		return nil, fmt.Errorf("%s has %d events in the raw tier; at most %d can be compared", have.Date, have.Rows, MaxDayRows)
	}
	c := &compared{rows: make([]known, 0, have.Rows), dirty: make([]bool, len(have.Files))}
	expired := map[string]bool{}
	for i := range have.Files {
		var buf []byte
		err := t.eachOf(ctx, &have.Files[i], func(e *parquetfile.Event) error {
			k := known{id: idOf(e.ID), file: int32(i)}
			k.sum, buf = sumOf(e.JSON, e.Source, e.ReceivedAt, buf)
			goes, asked := expired[string(e.Name)]
			if !asked {
				goes = view.Expired(string(e.Name), day)
				expired[string(e.Name)] = goes
			}
			k.expires = goes
			c.rows = append(c.rows, k)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(c.rows, func(a, b known) int { return cmp.Or(bytes.Compare(a.id[:], b.id[:]), cmp.Compare(a.file, b.file)) })
	for i := 1; i < len(c.rows); i++ {
		if c.rows[i].id == c.rows[i-1].id {
			return nil, fmt.Errorf("%w: an event of %s is in %s and in %s", ErrDamaged, have.Date, have.Files[c.rows[i-1].file].Key, have.Files[c.rows[i].file].Key)
		}
	}
	q, err := dayQuery(day, nil, 0)
	if err != nil {
		return nil, err
	}
	err = t.events.Rows(ctx, view, q, func(row *event.Row) error {
		h := c.all.add(row)
		k := c.find(idOf(row.ID))
		if k == nil {
			c.fresh++
			return nil
		}
		k.seen = true
		c.dirty[k.file] = c.dirty[k.file] || k.sum != h
		return nil
	})
	if err != nil {
		return nil, err
	}
	mayErase := view.Erasures() > max(have.Erasures, t.erased.Erasures) && view.AppliedIndex >= have.Through
	for i := range c.rows {
		k := &c.rows[i]
		if k.seen {
			continue
		}
		if !k.expires && !mayErase {
			return nil, fmt.Errorf("%s: %w", have.Date, ErrOlder)
		}
		c.expired = c.expired || k.expires
		c.dirty[k.file] = true
	}
	return c, nil
}

// rewrite makes the files of a day what the view has: those in which something changed or
// went are written anew, late events go to one more.
func (t *Tier) rewrite(ctx context.Context, view *engine.View, day int32) error {
	c, err := t.compare(ctx, view, day)
	if err != nil {
		return err
	}
	have := &t.days[day].Day
	d := have.clone()
	reason := becauseErased
	if c.expired {
		reason = becauseExpired
	}
	if err := t.rewriteFiles(ctx, view, day, c, d, reason); err != nil {
		return err
	}
	if c.fresh > 0 {
		if err := t.addFresh(ctx, view, day, c, d); err != nil {
			return err
		}
	}
	d.Rows, d.Sum, d.Who, d.Received = c.all.rows, hexOf(c.all.hash), hexOf(c.all.who), c.all.received
	d.Through, d.Erasures = view.AppliedIndex, view.Erasures()
	return t.commit(ctx, day, d)
}

func (t *Tier) addFresh(ctx context.Context, view *engine.View, day int32, c *compared, d *Day) error {
	q, err := dayQuery(day, nil, 0)
	if err != nil {
		return err
	}
	count, err := takeCensus(view, day)
	if err != nil {
		return err
	}
	ok, err := t.writeLate(ctx, view, day, q, count.schema(nil), d, &sum{}, c.fresh, func(row *event.Row) bool { return c.find(idOf(row.ID)) == nil })
	if err == nil && !ok {
		err = fmt.Errorf("the late events of %s were counted otherwise than they were written", dayName(day))
	}
	return err
}

// maxLateFiles bounds the late files of a day; beyond, they become one.
const maxLateFiles = 16

// mergeLate makes one file of the late ones of a day.
func (t *Tier) mergeLate(ctx context.Context, view *engine.View, day int32) error {
	c, err := t.compare(ctx, view, day)
	if err != nil {
		return err
	}
	d := t.days[day].clone()
	for i := range d.Files {
		if c.dirty[i] {
			return t.rewrite(ctx, view, day) // an erasure goes first
		}
	}
	for i := range d.Files {
		c.dirty[i] = d.Files[i].Late
	}
	if err := t.rewriteFiles(ctx, view, day, c, d, becauseMerged); err != nil {
		return err
	}
	return t.commit(ctx, day, d)
}

// rewriteFiles writes the dirty files of a day anew from the view, some at a time.
func (t *Tier) rewriteFiles(ctx context.Context, view *engine.View, day int32, c *compared, d *Day, reason string) error {
	there, err := t.there(ctx, day)
	if err != nil {
		return err
	}
	count, err := takeCensus(view, day)
	if err != nil {
		return err
	}
	old := t.days[day].Files
	var targets [][]int // each a file to write: of these old ones
	for i := range old {
		switch {
		case !c.dirty[i]:
		case reason == becauseMerged && len(targets) > 0:
			targets[0] = append(targets[0], i)
		default:
			targets = append(targets, []int{i})
		}
	}
	for chunk := range slices.Chunk(targets, maxOpenFiles) {
		if err := t.rewriteSome(ctx, view, day, chunk, c, count, there, d); err != nil {
			return err
		}
	}
	left := make([]int64, len(old))
	for i := range c.rows {
		if c.rows[i].seen {
			left[c.rows[i].file]++
		}
	}
	for i := range old {
		if c.dirty[i] {
			d.retire(old[i].Key, reason, left[i], view.Erasures(), stamp(t.opts.Now()))
		}
	}
	return nil
}

// rewriteSome writes some files in one reading of the day.
func (t *Tier) rewriteSome(ctx context.Context, view *engine.View, day int32, targets [][]int, c *compared, count *census, there map[string]int64, d *Day) error {
	old := t.days[day].Files
	var events []string // that the targets are of; nil: any
	to := map[int32]int{}
	for i, target := range targets {
		for _, f := range target {
			to[int32(f)] = i
			events = append(events, old[f].Event) // "" for several
		}
	}
	if slices.Contains(events, "") || len(events) > maxNamedEvents {
		events = nil
	} else {
		slices.Sort(events)
		events = slices.Compact(events)
	}
	q, err := dayQuery(day, events, 0)
	if err != nil {
		return err
	}
	open := make([]*output, len(targets))
	defer func() {
		for _, o := range open {
			if o != nil {
				o.drop(t.shop.fs)
			}
		}
	}()
	schema := count.schema(events)
	err = t.events.Rows(ctx, view, q, func(row *event.Row) error {
		k := c.find(idOf(row.ID))
		if k == nil {
			return nil
		}
		i, wanted := to[k.file]
		if !wanted {
			return nil
		}
		if open[i] == nil {
			f := &old[targets[i][0]]
			at := place{hour: allHours, event: f.Event, source: f.Source, rest: f.Event == ""}
			if f.Hour != nil {
				at.hour = *f.Hour
			}
			var err error
			if open[i], err = t.shop.output(at, f.Late, schema); err != nil {
				return err
			}
		}
		return open[i].add(row)
	})
	if err != nil {
		return err
	}
	for i, o := range open {
		if o == nil {
			continue // nothing is left of it
		}
		open[i] = nil
		if err := t.publish(ctx, o, day, there, d); err != nil {
			return err
		}
	}
	return nil
}
