package spoor

import "sync/atomic"

// Stats are a client's numbers since it was made. Every event that was enqueued
// or found in the spool ends in exactly one of Accepted, Duplicates, Dead,
// DroppedOldest and Damaged, or is one of QueuedEvents.
type Stats struct {
	Enqueued uint64 // calls that returned nil or ErrNotDurable
	Spooled  uint64 // events that an earlier client left in the spool

	Accepted   uint64 // stored by the server
	Duplicates uint64 // the server had them already: an answer was lost on the way
	Dead       uint64 // refused for good, see OnDead

	DroppedOldest uint64 // gave way to newer ones
	DroppedNewest uint64 // refused by Enqueue: no room
	DroppedByHook uint64 // BeforeSend said no
	Invalid       uint64 // refused by Enqueue: no server would take them
	SpoolFailed   uint64 // refused by Enqueue: the disk did
	Damaged       uint64 // lines of the spool whose checksum was wrong

	Requests  uint64 // that were sent, retries included
	Retries   uint64 // requests that were sent again
	SentBytes uint64 // of bodies, compressed

	QueuedEvents int64 // now, those being sent included
	QueuedBytes  int64 // now, in memory or in files, those being sent excluded
}

// counters are the parts of Stats that only grow.
type counters struct {
	enqueued, accepted, duplicates, dead                                       atomic.Uint64
	droppedOldest, droppedNewest, droppedByHook, invalid, spoolFailed, damaged atomic.Uint64
	requests, retries, sentBytes                                               atomic.Uint64
}

// dropped is how many events there was no room for.
func (n *counters) dropped() uint64 { return n.droppedOldest.Load() + n.droppedNewest.Load() }

// Stats returns the numbers of now. It is cheap enough for a metrics page.
func (c *Client) Stats() Stats {
	events, bytes := c.queue.size()
	n := &c.counters
	return Stats{
		Enqueued: n.enqueued.Load(), Spooled: c.found,
		Accepted: n.accepted.Load(), Duplicates: n.duplicates.Load(), Dead: n.dead.Load(),
		DroppedOldest: n.droppedOldest.Load(), DroppedNewest: n.droppedNewest.Load(), DroppedByHook: n.droppedByHook.Load(),
		Invalid: n.invalid.Load(), SpoolFailed: n.spoolFailed.Load(), Damaged: n.damaged.Load(),
		Requests: n.requests.Load(), Retries: n.retries.Load(), SentBytes: n.sentBytes.Load(),
		QueuedEvents: events, QueuedBytes: bytes,
	}
}
