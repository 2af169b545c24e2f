package rawtier

import (
	"context"
	"fmt"

	"spoor/engine"
	"spoor/engine/event"
	"spoor/engine/query/lang"
	"spoor/segment/batch"
	"spoor/server/rawtier/parquetfile"
)

// lastTime is the latest that an event can have.
const lastTime = batch.MaxTime

// sum adds up what goes into the files of a day.
type sum struct {
	rows     int64
	hash     uint64
	who      uint64
	received int64 // the latest
	json     []byte
	buf      []byte
}

func (s *sum) add(row *event.Row) uint64 {
	s.json = parquetfile.AppendEvent(s.json[:0], row)
	var h uint64
	h, s.buf = sumOf(s.json, row.Source, row.ReceivedAt, s.buf)
	var who uint64
	who, s.buf = whoOf(row.ID, row.UserID, row.AnonymousID, s.buf)
	s.rows++
	s.hash += h
	s.who += who
	s.received = max(s.received, row.ReceivedAt)
	return h
}

// seal writes a day for the first time.
func (t *Tier) seal(ctx context.Context, view *engine.View, day int32) error {
	c, err := takeCensus(view, day)
	if err != nil {
		return err
	}
	layout := layOut(c.groups, t.opts.MinRows)
	there, err := t.there(ctx, day)
	if err != nil {
		return err
	}
	d := &Day{Version: manifestVersion, Date: dayName(day), Through: view.AppliedIndex, Erasures: view.Erasures()}
	all := sum{}
	for _, p := range passes(layout) {
		if err := t.writePass(ctx, view, day, p, layout, c.schema(p.events), there, d, &all); err != nil {
			return err
		}
	}
	if all.rows != int64(c.rows) {
		return fmt.Errorf("%d events were written, there are %d", all.rows, c.rows)
	}
	d.Rows, d.Sum, d.Who, d.Received = all.rows, hexOf(all.hash), hexOf(all.who), all.received
	return t.commit(ctx, day, d)
}

// writePass reads the day once and writes the files of a pass.
func (t *Tier) writePass(ctx context.Context, view *engine.View, day int32, p pass, layout map[group]place, schema *parquetfile.Schema, there map[string]int64, d *Day, all *sum) error {
	q, err := dayQuery(day, p.events, 0)
	if err != nil {
		return err
	}
	open := map[place]*output{}
	defer func() {
		for _, o := range open {
			o.drop(t.shop.fs)
		}
	}()
	end := func(at place) error {
		o := open[at]
		delete(open, at)
		return t.publish(ctx, o, day, there, d)
	}
	err = t.events.Rows(ctx, view, q, func(row *event.Row) error {
		at := layout[group{string(row.Name), string(row.Source), hourOf(row.Time, day)}]
		if at.rest != p.rest || !p.rest && !p.sources[at.source] {
			return nil
		}
		o := open[at]
		if o == nil {
			for other := range open { // those of an hour that is over
				if other.hour != allHours && other.hour != at.hour && at.hour != allHours {
					if err := end(other); err != nil {
						return err
					}
				}
			}
			if o, err = t.shop.output(at, false, schema); err != nil {
				return err
			}
			open[at] = o
		}
		all.add(row)
		return o.add(row)
	})
	if err != nil {
		return err
	}
	for at := range open {
		if err := end(at); err != nil {
			return err
		}
	}
	return nil
}

// publish ends a file, puts it into the store, and adds it to a manifest that is being made.
func (t *Tier) publish(ctx context.Context, o *output, day int32, there map[string]int64, d *Day) error {
	defer o.drop(t.shop.fs)
	f, err := o.finish(day, t.opts.Now())
	if err != nil {
		return err
	}
	if err := upload(ctx, t.store, f.Key, o.f, f.Bytes, f.SHA256, there); err != nil {
		return err
	}
	t.status.add(f)
	d.Files = append(d.Files, *f)
	return nil
}

// late adds the events of a day that came after it was sealed, to a file of their own.
// Those received later than all that the files have are the late ones exactly if they are
// as many as the files miss; ok is false if they are not, because a clock was set back.
func (t *Tier) late(ctx context.Context, view *engine.View, day int32, rows int64) (ok bool, err error) {
	have := t.days[day].Day
	q, err := dayQuery(day, nil, have.Received)
	if err != nil {
		return false, err
	}
	c, err := takeCensus(view, day)
	if err != nil {
		return false, err
	}
	d := have.clone()
	all := sum{received: have.Received}
	if all.hash, err = parseHex(have.Sum); err != nil {
		return false, fmt.Errorf("read the manifest of %s: %w", have.Date, err)
	}
	if have.Who != "" {
		if all.who, err = parseHex(have.Who); err != nil {
			return false, fmt.Errorf("read the manifest of %s: %w", have.Date, err)
		}
	}
	ok, err = t.writeLate(ctx, view, day, q, c.schema(nil), d, &all, rows-have.Rows, func(*event.Row) bool { return true })
	if err != nil || !ok {
		return false, err
	}
	d.Rows, d.Sum, d.Received = rows, hexOf(all.hash), all.received
	if have.Who != "" {
		d.Who = hexOf(all.who)
	}
	d.Through = view.AppliedIndex
	return true, t.commit(ctx, day, d)
}

// writeLate writes the events of q that are wanted to one more file, if they are as many as expected.
func (t *Tier) writeLate(ctx context.Context, view *engine.View, day int32, q *lang.Query, schema *parquetfile.Schema, d *Day, all *sum, expected int64, wanted func(*event.Row) bool) (ok bool, err error) {
	there, err := t.there(ctx, day)
	if err != nil {
		return false, err
	}
	o, err := t.shop.output(restPlace, true, schema)
	if err != nil {
		return false, err
	}
	err = t.events.Rows(ctx, view, q, func(row *event.Row) error {
		if !wanted(row) {
			return nil
		}
		all.add(row)
		return o.add(row)
	})
	if err != nil || int64(o.w.Rows()) != expected {
		o.drop(t.shop.fs)
		return false, err
	}
	return true, t.publish(ctx, o, day, there, d)
}
