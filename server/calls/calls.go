// Package calls reads identify calls: alone, and as items of a batch of events,
// where it keeps their order; requests of other systems become such batches.
//
// On the way of an event it stands beside the collector: what a batch says of
// persons does not become rows, but log entries of its own, behind those of the
// batch's events.
package calls

import (
	"bytes"
	"slices"

	"spoor/engine/event"
	"spoor/engine/traits"
)

const (
	// MaxBytes bounds the JSON of one call.
	MaxBytes = 128 << 10
	// maxLogBytes bounds one call in the log, by estimate: long names around many values make it longer than its JSON.
	maxLogBytes = 512 << 10
	// entryBytes and entryCalls bound what shares a log entry, which has 1 MiB at most.
	entryBytes = 768 << 10
	entryCalls = 1000 // below traits.MaxCalls
)

// Of reads the call that is data. A time to come would outlast every later call:
// it counts as received, in microseconds, as does one that is missing. The call
// ends with the decoder's next.
func Of(d *event.Decoder, data []byte, received int64) (traits.Call, *event.Reject) {
	said, rej := d.Identify(data)
	if rej != nil {
		return traits.Call{}, rej
	}
	call := traits.Call{UserID: said.UserID, AnonymousID: said.AnonymousID, Time: received, Traits: said.Traits}
	if said.HasTime {
		call.Time = min(said.Time, received)
	}
	switch {
	case len(call.Traits) == 0 && !links(&call):
		return call, &event.Reject{Code: event.CodeMissingPerson, Message: "identify needs traits, or userId and anonymousId to link"}
	case logBytes(&call) > maxLogBytes:
		return call, &event.Reject{Code: event.CodeEventTooLarge, Message: "the traits are too large, or nested too often below long names"}
	}
	return call, nil
}

func links(c *traits.Call) bool { return c.UserID != nil && c.AnonymousID != nil }

// logBytes is about how many bytes a call takes in the log.
func logBytes(c *traits.Call) int {
	const other = 16 // lengths, kind and number
	size := len(c.UserID) + len(c.AnonymousID) + other
	for i := range c.Traits {
		size += len(c.Traits[i].Path) + len(c.Traits[i].Text) + other
	}
	return size
}

// Clone copies what ends with the decoder's next call.
func Clone(c *traits.Call) traits.Call {
	out := traits.Call{UserID: bytes.Clone(c.UserID), AnonymousID: bytes.Clone(c.AnonymousID), Time: c.Time, Traits: slices.Clone(c.Traits)}
	for i := range out.Traits {
		out.Traits[i].Text = bytes.Clone(out.Traits[i].Text)
	}
	return out
}

// Entry gathers calls that share a log entry.
type Entry struct {
	Calls []traits.Call
	Index []int // place in the request of each
	size  int
}

// Put adds a call, which the entry keeps. Where it has no room for it, store
// takes what is there before.
func (e *Entry) Put(c traits.Call, index int, store func(*Entry) error) error {
	n := logBytes(&c)
	if len(e.Calls) >= entryCalls || e.size+n > entryBytes {
		if err := e.Flush(store); err != nil {
			return err
		}
	}
	e.Calls, e.Index = append(e.Calls, c), append(e.Index, index)
	e.size += n
	return nil
}

// Flush gives the calls to store, if there are any, and forgets them.
func (e *Entry) Flush(store func(*Entry) error) error {
	if len(e.Calls) == 0 {
		return nil
	}
	err := store(e)
	clear(e.Calls)
	e.Calls, e.Index, e.size = e.Calls[:0], e.Index[:0], 0
	return err
}
