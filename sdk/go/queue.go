package spoor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"spoor/sdk/go/internal/spool"
)

// Errors of Enqueue, to be asked for with errors.Is.
var (
	// ErrFull: there was no room, and the event is not queued.
	ErrFull = errors.New("the queue is full")
	// ErrClosed: Close was called before; the event is not queued.
	ErrClosed = errors.New("the client is closed")
	// ErrSpool: the disk refused the event, and it is not queued.
	ErrSpool = errors.New("the event could not be written to the spool")
	// ErrNotDurable: the event is queued and will be sent, but the disk did not
	// confirm it within MaxBlock, or refused to fsync it.
	ErrNotDurable = errors.New("the event is queued, but not known to be on the disk")
)

// queue applies a policy to a store and knows when there is something to send.
// Events have numbers in the order of their coming, from 1 on.
type queue struct {
	store  store
	policy Policy
	bound  time.Duration // of one put
	counts *counters
	wake   chan struct{} // for the sender: something has changed

	// A batch is due when it is as large as this, or as old.
	batchEvents, batchBytes int
	flushEvery              time.Duration

	mu      sync.Mutex
	closed  bool
	pushed  int64         // the number of the newest event
	taken   int64         // the number of the oldest event that is being sent; 0: none is
	since   time.Time     // when the oldest waiting event came, or a little later
	flushTo int64         // somebody waits for events up to this number
	changed chan struct{} // closed when there is room or a batch is settled; nil while nobody waits
}

func newQueue(o *Options, counts *counters) *queue {
	return &queue{
		policy: o.WhenFull, bound: o.MaxBlock, counts: counts, wake: make(chan struct{}, 1),
		batchEvents: o.BatchEvents, batchBytes: o.BatchBytes, flushEvery: o.FlushEvery,
	}
}

// put adds an event, within the bound and as the policy says.
func (q *queue) put(ctx context.Context, data []byte) error {
	var limit <-chan time.Time // begins with the first wait
	for {
		write, wait, err := q.tryPut(data)
		if err != nil {
			return err
		}
		if wait == nil {
			if write == nil {
				return nil
			}
			return q.confirm(write, limit)
		}
		if limit == nil {
			timer := time.NewTimer(q.bound)
			defer timer.Stop()
			limit = timer.C
		}
		select {
		case <-wait:
		case <-limit:
			q.counts.droppedNewest.Add(1)
			return fmt.Errorf("%w, and there was no room within %v", ErrFull, q.bound)
		case <-ctx.Done():
			q.counts.droppedNewest.Add(1)
			return fmt.Errorf("%w: %w", ErrFull, ctx.Err())
		}
	}
}

// tryPut adds an event, or returns what to wait for before the next try.
func (q *queue) tryPut(data []byte) (write *spool.Write, wait <-chan struct{}, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return nil, nil, ErrClosed
	}
	dropped := false
	for {
		ok, drop := q.store.room(len(data))
		if ok {
			break
		}
		if !drop || q.policy == Block {
			return nil, q.change(), nil
		}
		events, ok := 0, false
		if q.policy == DropOldest {
			events, ok = q.store.dropOldest()
		}
		if !ok {
			q.counts.droppedNewest.Add(1)
			return nil, nil, ErrFull
		}
		dropped = true
		q.counts.droppedOldest.Add(uint64(events))
	}
	waiting, _, bytes := q.store.size()
	if waiting == 0 {
		q.since = time.Now()
	}
	q.pushed++
	write = q.store.push(data)
	if dropped {
		q.spread()
	}
	if waiting == 0 || waiting+1 >= int64(q.batchEvents) || bytes+int64(len(data)) >= int64(q.batchBytes) {
		q.notify()
	}
	return write, nil, nil
}

// confirm waits until an event is in its file. limit is what is left of the bound
// where the event had to wait before; else nil.
func (q *queue) confirm(w *spool.Write, limit <-chan time.Time) error {
	select {
	case <-w.Done:
	default:
		if limit == nil {
			timer := time.NewTimer(q.bound)
			defer timer.Stop()
			limit = timer.C
		}
		select {
		case <-w.Done:
		case <-limit:
			return fmt.Errorf("%w within %v", ErrNotDurable, q.bound)
		}
	}
	switch {
	case w.Err == nil:
		return nil
	case w.Kept:
		return fmt.Errorf("%w: %w", ErrNotDurable, w.Err)
	}
	q.mu.Lock()
	q.pushed--
	q.mu.Unlock()
	q.counts.spoolFailed.Add(1)
	return fmt.Errorf("%w: %w", ErrSpool, w.Err)
}

// notify lets the sender look.
func (q *queue) notify() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// change returns what is closed with the next change. The caller holds mu.
func (q *queue) change() <-chan struct{} {
	if q.changed == nil {
		q.changed = make(chan struct{})
	}
	return q.changed
}

// spread lets all who wait look, the sender excepted. The caller holds mu.
func (q *queue) spread() {
	if q.changed != nil {
		close(q.changed)
		q.changed = nil
	}
}

// onDisk is called by the spool when it has written.
func (q *queue) onDisk() {
	q.mu.Lock()
	q.spread()
	q.mu.Unlock()
	q.notify()
}

func (q *queue) waiting() int64 {
	waiting, _, _ := q.store.size()
	return waiting
}

// oldest is the number of the oldest event that is not settled; of the next
// event where all are. The caller holds mu.
func (q *queue) oldest() int64 {
	if q.taken != 0 {
		return q.taken
	}
	return q.pushed - q.waiting() + 1
}

// take waits until a batch is due and takes it. It returns nil when the queue
// is closed and empty, or when ctx has ended.
func (q *queue) take(ctx context.Context, batch [][]byte) [][]byte {
	timer := time.NewTimer(idle)
	defer timer.Stop()
	for ctx.Err() == nil {
		due, wait, end := q.due()
		if end {
			return nil
		}
		if due {
			var damaged int
			batch, damaged = q.store.take(batch[:0], q.batchEvents, q.batchBytes)
			q.counts.damaged.Add(uint64(damaged))
			if len(batch) > 0 {
				return batch
			}
			if q.none() == 0 {
				continue
			}
			wait = idle // the disk has not answered yet, and will wake us
		}
		timer.Reset(wait)
		select {
		case <-q.wake:
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	return nil
}

// idle bounds a wait that an event or a call will end.
const idle = time.Hour

// none says that nothing was taken, and returns how many events wait.
func (q *queue) none() (waiting int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.taken = 0
	q.spread()
	waiting, _, _ = q.store.size()
	return waiting
}

// due tells whether a batch is to be sent now, or how long it may wait.
func (q *queue) due() (due bool, wait time.Duration, end bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	waiting, _, bytes := q.store.size()
	if waiting == 0 {
		return false, idle, q.closed
	}
	oldest := q.pushed - waiting + 1
	full := waiting >= int64(q.batchEvents) || bytes >= int64(q.batchBytes)
	if wait = q.flushEvery - time.Since(q.since); wait > 0 && !full && q.flushTo < oldest && !q.closed {
		return false, wait, false
	}
	q.taken = oldest
	return true, 0, false
}

// settle lets go of the batch that was taken.
func (q *queue) settle() {
	q.store.settle()
	q.mu.Lock()
	q.taken = 0
	q.since = time.Now()
	q.spread()
	q.mu.Unlock()
}

// flush waits until every event that came before is settled.
func (q *queue) flush(ctx context.Context) error {
	q.mu.Lock()
	to := q.pushed
	q.flushTo = max(q.flushTo, to)
	q.notify()
	for q.oldest() <= to && (q.taken != 0 || q.waiting() > 0) {
		changed := q.change()
		q.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
		q.mu.Lock()
	}
	q.mu.Unlock()
	return nil
}

// close refuses further events.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.spread()
	q.notify()
}

// size is how many events are not settled, and their bytes.
func (q *queue) size() (events, bytes int64) {
	waiting, taken, bytes := q.store.size()
	return waiting + taken, bytes
}
