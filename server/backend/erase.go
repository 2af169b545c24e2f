package backend

import (
	"context"
	"fmt"
	"time"

	"spoor/engine"
	"spoor/engine/document"
	"spoor/engine/erasure"
	"spoor/engine/event"
	"spoor/engine/identity"
	"spoor/engine/query/lang"
)

// Erase commits a request to erase.
func (b *Backend) Erase(ctx context.Context, r *erasure.Request) (rec *erasure.Record, index uint64, err error) {
	entry, err := engine.EraseEntry(r)
	if err != nil {
		return nil, 0, err
	}
	result, index, err := b.propose(ctx, entry)
	if err != nil {
		return nil, 0, err
	}
	rec, ok := result.(*erasure.Record)
	if !ok {
		return nil, 0, fmt.Errorf("apply an erasure: the answer is a %T", result)
	}
	return rec, index, nil
}

// SetRetention commits how long events are kept.
func (b *Backend) SetRetention(ctx context.Context, r *erasure.Retention, now time.Time) (index uint64, err error) {
	entry, err := engine.RetentionEntry(r, now)
	if err != nil {
		return 0, err
	}
	_, index, err = b.propose(ctx, entry)
	return index, err
}

// Erasures are the requests that were carried out, oldest first.
func (b *Backend) Erasures() ([]erasure.Record, error) { return b.db.Erasures() }

// EraseStatus tells how far a request is in the bytes of this node's files.
func (b *Backend) EraseStatus(r *erasure.Record) engine.EraseStatus { return b.db.EraseStatus(r) }

// Retention is how long events are kept, and the cutoffs that are in force.
func (b *Backend) Retention() (erasure.Retention, erasure.Cutoffs, error) { return b.db.Retention() }

// Refusals are all ids that are refused, as hashes; RefusedCount is how many.
func (b *Backend) Refusals() []identity.Refusals { return b.db.Refusals() }

// RefusedCount see Refusals.
func (b *Backend) RefusedCount() int { return b.db.RefusedCount() }

// Refuse refuses ids that another store refused.
func (b *Backend) Refuse(ctx context.Context, r *identity.Refusals) (index uint64, err error) {
	_, index, err = b.propose(ctx, engine.RefuseEntry(r))
	return index, err
}

// GoverningDocuments are the documents of a kind by name.
func (b *Backend) GoverningDocuments(kind string) []document.Document { return b.db.Documents(kind) }

// RestoreRetention commits how long events are kept, from now on, and what has gone already.
func (b *Backend) RestoreRetention(ctx context.Context, r *erasure.Retention, gone erasure.Cutoffs, now time.Time) (index uint64, err error) {
	entry, err := engine.CutoffsEntry(gone)
	if err != nil {
		return 0, err
	}
	if _, _, err := b.propose(ctx, entry); err != nil {
		return 0, err
	}
	return b.SetRetention(ctx, r, now)
}

// View is the store as it is now.
func (b *Backend) View() (*engine.View, error) { return b.db.View() }

// Rows calls yield with the events of a query over a view, ordered by time, then eventId.
func (b *Backend) Rows(ctx context.Context, view *engine.View, q *lang.Query, yield func(row *event.Row) error) error {
	return b.query.Rows(ctx, view, q, yield)
}

// Leads tells whether this node serves, and leads its cluster.
func (b *Backend) Leads() bool {
	s := b.log.Cluster()
	return b.log.Ready() == nil && s.Leader == s.Node
}

// maxLeap is how many days may expire at once without anybody asking for it. What
// has expired is gone for good, and a clock may be wrong.
const maxLeap = 31

// expireEvery is how often it is looked whether a day has ended.
const expireEvery = time.Minute

// Expire lets events expire as the retention says, day by day, until ctx ends: while this
// node leads, it moves the cutoffs in the log on. failed is told what went wrong.
func (b *Backend) Expire(ctx context.Context, now func() time.Time, failed func(error)) {
	tick := time.NewTicker(expireEvery)
	defer tick.Stop()
	for {
		if err := b.expire(ctx, now()); err != nil && ctx.Err() == nil {
			failed(err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (b *Backend) expire(ctx context.Context, now time.Time) error {
	if !b.Leads() {
		return nil
	}
	rules, cutoffs, err := b.db.Retention()
	if err != nil {
		return err
	}
	next := cutoffs.Advance(rules.At(now.UnixMicro()))
	if next.Equal(cutoffs) {
		return nil
	}
	if days := cutoffs.Leap(next); days > maxLeap {
		return fmt.Errorf("%d days would expire at once: the clock says %s. If that is right, set the retention again, as after a long time without a server; nothing expires by itself until then", days, now.UTC().Format(time.DateOnly))
	}
	entry, err := engine.CutoffsEntry(rules.At(now.UnixMicro()))
	if err != nil {
		return err
	}
	wait, cancel := context.WithTimeout(ctx, expireEvery)
	defer cancel()
	_, _, err = b.propose(wait, entry)
	return err
}
