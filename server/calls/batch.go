package calls

import (
	"errors"
	"fmt"
	"slices"

	"spoor/engine/event"
	"spoor/engine/traits"
)

// Batch is the identify calls among the events of one request: a collect.Caller.
// It keeps their bytes, which are the request's body, and reads them again when
// they are stored: values that were read take several times the memory.
//
// Calls are stored behind all events of their request, and links come out as if
// the items had been stored one by one. As the first link of an anonymousId
// stands for ever, that needs no more than this: where a call is the first item
// to link an anonymousId, and an event behind it links it to somebody else, the
// call's link is stored ahead of the events. That is rare, and found in two
// passes over the body: the first finds out which anonymousIds are in doubt, the
// second what links those first.
type Batch struct {
	// Once tells of the item at a place of the body that it sets traits once: the
	// first such call wins, and every other call wins over it. It links no ids that
	// no other item linked before. nil: no item does. Once is set before the body is
	// read and ends with Reset.
	Once func(index int) bool

	limits   event.Limits
	dec      *event.Decoder // made for the first call
	received int64
	items    []item
	pass     pass
	linked   map[string]string // users by the anonymousIds that calls link to them first
	doubt    map[string]bool   // anonymousIds; true once it was seen what links them first
	ahead    []traits.Call
}

type item struct {
	index int
	raw   []byte
}

// pass says what is looked for in the items of a body.
type pass int

const (
	doubts  pass = iota // anonymousIds that several items link
	firsts              // what links those first
	settled             // nothing more
)

// ErrAgain is what End answers where the body is to be read once more, behind
// what Ahead has to be stored.
var ErrAgain = errors.New("links are to be stored in their order")

// NewBatch returns an empty batch of calls within limits. It is worth keeping for
// a further request, behind a Reset.
func NewBatch(limits event.Limits) *Batch { return &Batch{limits: limits} }

// Reset makes the batch that of a request that was received at a time, in microseconds.
func (b *Batch) Reset(received int64) {
	clear(b.items)
	const maxKept = 1024
	if b.items = b.items[:0]; cap(b.items) > maxKept {
		b.items = nil
	}
	b.received, b.pass, b.Once = received, doubts, nil
	b.linked, b.doubt, b.ahead = nil, nil, nil
}

// Begin forgets the items of a body that is read once more, and tells whether
// Event is to be called for events that come before the first call, too.
func (b *Batch) Begin() (all bool) {
	clear(b.items)
	b.items = b.items[:0]
	return b.pass == firsts
}

// kind is the type of an item that is a call.
const kind = "identify"

// Take takes an item that is no event, if its type says that it is a call. raw,
// which is JSON, must stay as it is.
func (b *Batch) Take(index int, of string, raw []byte) (mine bool, rej *event.Reject) {
	if of != kind {
		return false, nil
	}
	if len(raw) > MaxBytes {
		return true, &event.Reject{Code: event.CodeEventTooLarge, Message: fmt.Sprintf("an identify call has at most %d bytes", MaxBytes)}
	}
	if b.dec == nil {
		b.dec = event.NewDecoder(b.limits)
	}
	call, rej := Of(b.dec, raw, b.received)
	if rej != nil {
		return true, rej
	}
	b.items = append(b.items, item{index, raw})
	if links(&call) {
		b.link(&call)
	}
	return true, nil
}

func (b *Batch) link(c *traits.Call) {
	anon := string(c.AnonymousID)
	switch b.pass {
	case doubts:
		if b.linked == nil {
			b.linked, b.doubt = map[string]string{}, map[string]bool{}
		}
		if _, ok := b.linked[anon]; !ok {
			b.linked[anon] = string(c.UserID)
		}
	case firsts:
		if seen, ok := b.doubt[anon]; ok && !seen {
			b.doubt[anon] = true
			first := Clone(c)
			first.Traits = nil
			b.ahead = append(b.ahead, first)
		}
	}
}

// Event is shown the ids of an event that comes behind calls.
func (b *Batch) Event(user, anon []byte) {
	if len(user) == 0 || len(anon) == 0 {
		return
	}
	switch b.pass {
	case doubts:
		if linked, ok := b.linked[string(anon)]; ok && linked != string(user) {
			b.doubt[string(anon)] = false
		}
	case firsts:
		if _, ok := b.doubt[string(anon)]; ok {
			b.doubt[string(anon)] = true
		}
	}
}

// End ends a pass over the body; nil where its events may be stored.
func (b *Batch) End() error {
	switch {
	case b.pass == doubts && len(b.doubt) == 0:
		b.pass = settled
		return nil
	case b.pass == settled:
		return nil
	}
	b.pass++
	return ErrAgain
}

// Ahead gives the links that go before the events to store, and forgets them.
func (b *Batch) Ahead(store func(*Entry) error) error {
	var e Entry
	for i := range b.ahead {
		if err := e.Put(b.ahead[i], 0, store); err != nil {
			return err
		}
	}
	b.ahead = nil
	return e.Flush(store)
}

// All gives all calls to store.
func (b *Batch) All(store func(*Entry) error) error {
	var e Entry
	var once []item
	for _, it := range b.items {
		if b.Once != nil && b.Once(it.index) {
			once = append(once, it)
			continue
		}
		call, rej := Of(b.dec, it.raw, b.received)
		if rej != nil {
			return rej // never: it was read before
		}
		if err := e.Put(Clone(&call), it.index, store); err != nil {
			return err
		}
	}
	for _, it := range slices.Backward(once) { // of two calls of one time the one that is stored last wins
		call, rej := Of(b.dec, it.raw, b.received)
		if rej != nil {
			return rej
		}
		// The latest call wins: the first one must be the latest of its kind, and
		// every other kind of call later than all of them.
		call.Time = -max(call.Time, 0)
		if err := e.Put(Clone(&call), it.index, store); err != nil {
			return err
		}
	}
	return e.Flush(store)
}
