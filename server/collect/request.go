package collect

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"spoor/engine/event"
	"spoor/segment/batch"
)

// Request carries the events of one request through the collector and holds
// what became of them. It is reused: take one with NewRequest, read it, Release it.
type Request struct {
	Accepted   int
	Calls      int // identify calls that are stored, see Told
	Duplicates int
	Dropped    int // of Rejected those with event.CodeNoConsent: nothing was wrong with them
	Rejected   []Rejection
	Assigned   []Assigned
	// Index is the log index at which the events are stored; 0 where there were none.
	Index uint64
	// Origin is where the events come from, set before One or Many.
	Origin event.Origin

	// Met is how many of the body's first events were decided on: they are counted
	// once. It is set before Many where the body was tried before.
	Met int

	// MaxItems bounds the items of a body, events and calls; 0: Options.MaxEvents do.
	// It is set before Many.
	MaxItems int

	// Tenant is whose request it is, among those who share the log. It is set before One or Many.
	Tenant string

	// Allow tells which event names may be stored; nil: all. Decoded is called once
	// when the body is not needed any more and the request only waits for the log,
	// or will not; nil: nothing is. Both are set before One or Many and go with Release.
	Allow   func(name []byte) bool
	Decoded func()
	// Caller takes what Many finds beside events; nil: nobody does. As Decoded.
	Caller Caller

	texts []byte // eventIds of Rejected and Assigned

	c       *Collector
	crowd   *crowd // of Tenant, while the request is inside
	paced   bool   // it counts among Collector.awake
	b       *builder
	first   int      // of this request's rows in b
	sealed  []entry  // of a long body, not yet with the committers
	letters [][]byte // refused events that are to be kept, in chunks
	source  string
	own     bool
	given   int                    // rows of sealed
	called  []int                  // places in the body of what Caller took
	watched bool                   // Caller is shown the events
	each    func(event.Item) error // the method item, bound once

	pending atomic.Int32 // parts that are not decided, and one more until all are handed over
	mu      sync.Mutex   // guards the counts, refused and err while parts are decided
	refused []refusedRow
	err     error
	done    chan struct{}
}

// Caller takes those items of a body that are identify calls.
type Caller interface {
	// Begin goes before the items of a body, which may begin anew. all: Event is
	// called for all events, and not only for those behind the first call.
	Begin() (all bool)
	// Take is given an item without an eventName: its place in the body, what its
	// member type says, and its JSON, which shares the body. mine is false where it is
	// no call, rej is of a call that is refused.
	Take(index int, kind string, raw []byte) (mine bool, rej *event.Reject)
	// Event is given the ids of an event, good until it returns.
	Event(user, anon []byte)
	// End comes behind the last item. Where it answers an error nothing of the body
	// is stored, and Many answers the same.
	End() error
}

// Rejection is an event that was refused.
type Rejection struct {
	Index   int
	Offset  int // of the byte that shows it, from the start of the body
	Code    string
	Message string
	Kept    bool // as a dead letter
	id      span
}

// Assigned is an event that came without an eventId and was given one.
type Assigned struct {
	Index int
	id    span
}

type span struct{ off, n int }

// maxQuotedID bounds what an answer repeats of a refused event's id, in bytes.
const maxQuotedID = 100

var requests = sync.Pool{New: func() any {
	r := &Request{done: make(chan struct{}, 1)}
	r.each = r.item
	return r
}}

// NewRequest returns an empty request.
func NewRequest() *Request { return requests.Get().(*Request) }

// Release gives the request back; it must not be used afterwards.
func (r *Request) Release() {
	const maxKept = 1024 // answers beyond are rare, their memory is not kept
	if cap(r.Rejected) > maxKept || cap(r.Assigned) > maxKept || cap(r.texts) > maxKept*36 {
		r.Rejected, r.Assigned, r.texts = nil, nil, nil
	}
	if cap(r.called) > maxKept {
		r.called = nil
	}
	r.reset()
	r.Origin, r.Met, r.MaxItems, r.Tenant = event.Origin{}, 0, 0, ""
	r.Allow, r.Decoded, r.Caller = nil, nil, nil
	requests.Put(r)
}

func (r *Request) reset() {
	clear(r.Rejected)
	r.Accepted, r.Calls, r.Duplicates, r.Dropped, r.Index = 0, 0, 0, 0, 0
	r.Rejected, r.Assigned, r.texts = r.Rejected[:0], r.Assigned[:0], r.texts[:0]
	r.c, r.b, r.err, r.own, r.given, r.source = nil, nil, nil, false, 0, ""
	r.letters, r.called, r.watched = nil, r.called[:0], false
	clear(r.refused)
	r.refused = r.refused[:0]
	clear(r.sealed)
	r.sealed = r.sealed[:0]
}

// RejectedID and AssignedID are the eventIds of entry i of Rejected and Assigned.
func (r *Request) RejectedID(i int) []byte { return r.text(r.Rejected[i].id) }

// AssignedID is the eventId that entry i of Assigned was given.
func (r *Request) AssignedID(i int) []byte { return r.text(r.Assigned[i].id) }

func (r *Request) text(s span) []byte { return r.texts[s.off : s.off+s.n] }

// errFull is answered by item where a shared builder has no room.
var errFull = errors.New("the shared batch is full")

// One stores the one event that is body and returns when it is durable. Where
// the event is refused Rejected has one entry and the error is nil. source is
// kept with the event, empty for none.
func (r *Request) One(c *Collector, body []byte, source string) error {
	if err := r.begin(c); err != nil {
		return err
	}
	defer c.leave(r)
	r.source = source
	r.open(false)
	row, rej := r.one(body, source)
	if rej != nil && rej.Code == event.CodeBatchFull && r.first > 0 {
		r.reopen()
		row, rej = r.one(body, source)
	}
	if rej != nil && rej.Code == event.CodeNoConsent {
		r.Dropped++
	}
	if rej != nil {
		kept := r.keepLetter(r.b.dec.Letter(), rej)
		r.Rejected = append(r.Rejected, Rejection{Offset: rej.Offset, Code: rej.Code, Message: rej.Message, Kept: kept})
		if !kept {
			r.abort()
			return nil
		}
		r.hand()
		return r.wait()
	}
	if len(r.Assigned) > 0 {
		r.Assigned[0].id = r.keepID(row)
	}
	r.hand()
	return r.wait()
}

func (r *Request) one(body []byte, source string) (row int, rej *event.Reject) {
	made := r.b.ids.made
	row, rej = r.b.dec.Add(body, source, r.b.newID)
	if rej == nil && r.b.ids.made != made {
		r.Assigned = append(r.Assigned, Assigned{})
	}
	return row, rej
}

// Many stores the events of body, see event.Decoder.AddAll for its forms, and
// returns when they are durable. An error of type *event.Reject says where the
// body is no JSON; nothing of it was stored then.
func (r *Request) Many(c *Collector, body []byte, source string) error {
	if err := r.begin(c); err != nil {
		return err
	}
	defer c.leave(r)
	r.source = source
	r.open(len(body) > maxSharedBody)
	err := r.all(body)
	if err == errFull {
		r.clearVerdicts()
		r.reopen()
		err = r.all(body)
	}
	if err != nil {
		r.clearVerdicts()
		r.abort()
		return err
	}
	r.hand()
	return r.wait()
}

// all decodes the items of body into the builder.
func (r *Request) all(body []byte) error {
	r.b.dec.Counted(r.Met > 0)
	if r.Caller == nil {
		return r.b.dec.AddAll(body, r.source, r.b.newID, r.each)
	}
	r.watched = r.Caller.Begin()
	if err := r.b.dec.AddAll(body, r.source, r.b.newID, r.each); err != nil {
		return err
	}
	err := r.Caller.End()
	if err != nil && r.b.dec.Rows() > r.first {
		r.b.dec.Rollback(r.first)
	}
	return err
}

func (r *Request) clearVerdicts() {
	clear(r.Rejected)
	r.Rejected, r.Assigned, r.texts = r.Rejected[:0], r.Assigned[:0], r.texts[:0]
	r.letters, r.Dropped, r.called = nil, 0, r.called[:0]
}

// item takes the verdict on one event of a body.
func (r *Request) item(it event.Item) error {
	if it.Index >= cmp.Or(r.MaxItems, r.c.opts.MaxEvents) {
		return ErrTooManyEvents
	}
	d := r.b.dec
	switch {
	case it.Reject != nil && it.Reject.Code == event.CodeBatchFull && !r.own:
		return errFull
	case it.Reject != nil && it.Reject.Code == event.CodeMissingName && r.Caller != nil && r.call(&it):
	case it.Reject != nil:
		if it.Reject.Code == event.CodeNoConsent {
			r.Dropped++
		}
		r.Rejected = append(r.Rejected, Rejection{
			Index: it.Index, Offset: it.Reject.Offset, Code: it.Reject.Code, Message: it.Reject.Message, Kept: r.keepLetter(it.Letter, it.Reject),
			id: r.keep(it.ID[:min(len(it.ID), maxQuotedID)]),
		})
	case it.Assigned:
		r.Assigned = append(r.Assigned, Assigned{Index: it.Index, id: r.keepID(it.Row)})
	}
	if r.Met = max(r.Met, it.Index+1); r.Met == it.Index+1 {
		d.Counted(false) // what follows was not decided on before
	}
	if r.watched && it.Row >= 0 {
		r.Caller.Event(d.Who())
	}
	if r.own && r.b.due() {
		r.seal(d)
	}
	return nil
}

// call hands an item to the Caller; false where it is none of theirs.
func (r *Request) call(it *event.Item) bool {
	mine, rej := r.Caller.Take(it.Index, r.b.dec.Type(), it.Raw)
	switch {
	case !mine:
		return false
	case rej == nil:
		r.called = append(r.called, it.Index)
		r.watched = true
	default:
		start := it.Reject.Offset // of an item without a name: its own
		r.Rejected = append(r.Rejected, Rejection{
			Index: it.Index, Offset: start + rej.Offset, Code: rej.Code, Message: rej.Message, id: r.keep(it.ID[:min(len(it.ID), maxQuotedID)]),
		})
	}
	return true
}

// Told tells the request that calls at places of its body are stored at an index
// of the log, but for those in refused, which are places in at.
func (r *Request) Told(at, refused []int, why *event.Reject, index uint64) {
	r.Calls += len(at) - len(refused)
	r.Index = max(r.Index, index)
	for _, i := range refused {
		r.Rejected = append(r.Rejected, Rejection{Index: at[i], Code: why.Code, Message: why.Message})
	}
	if len(refused) > 0 {
		slices.SortFunc(r.Rejected, func(a, b Rejection) int { return a.Index - b.Index })
	}
}

func (r *Request) keep(text []byte) span {
	off := len(r.texts)
	r.texts = append(r.texts, text...)
	return span{off, len(text)}
}

func (r *Request) keepID(row int) span {
	off := len(r.texts)
	r.texts = r.b.dec.EventID(r.texts, row)
	return span{off, len(r.texts) - off}
}

func copied(c batch.Codes) batch.Codes {
	return batch.Codes{Row: slices.Clone(c.Row), Dict: batch.Texts{Off: slices.Clone(c.Dict.Off), Bytes: slices.Clone(c.Dict.Bytes)}}
}

// seal ends the batch of a request that has its builder alone. The entry is
// held back until the body was read to its end.
func (r *Request) seal(d *event.Decoder) {
	rows := d.Rows()
	b := d.Seal(r.c.opts.Now().UnixMicro())
	e := entry{bytes: r.c.log.EventsEntry(nil, b), part: part{req: r, rows: rows, before: r.given}}
	if r.c.opts.Duplicates != nil {
		e.names = &batch.Batch{N: b.N, ReceivedAt: b.ReceivedAt, Names: copied(b.Names), Sources: copied(b.Sources)}
	}
	r.sealed = append(r.sealed, e)
	r.given += rows
}

func (r *Request) begin(c *Collector) error {
	if err := c.enter(r); err != nil {
		if r.Decoded != nil {
			r.Decoded()
		}
		return err
	}
	r.reset()
	r.c = c
	return nil
}

// open takes a decoding slot and a builder.
func (r *Request) open(own bool) {
	r.c.slots <- struct{}{}
	r.b, r.own = r.c.take(own), own
	r.b.dec.Restrict(r.Allow)
	r.first = r.b.dec.Rows()
	r.from()
}

// from tells the decoder of the request where its events come from.
func (r *Request) from() {
	if r.Origin.ReceivedAt == 0 {
		r.Origin.ReceivedAt = r.c.opts.Now().UnixMicro()
	}
	r.b.dec.SetOrigin(r.Origin)
}

// reopen leaves a shared builder that has no room for one of the request's own.
func (r *Request) reopen() {
	c := r.c
	c.mu.Lock()
	c.give(r.b, true)
	c.wake()
	c.mu.Unlock()
	r.b, r.own, r.first = c.take(true), true, 0
	r.from()
	r.b.dec.Restrict(r.Allow)
}

// abort gives the builder back as it was taken.
func (r *Request) abort() {
	c := r.c
	clear(r.sealed)
	r.sealed = r.sealed[:0]
	c.mu.Lock()
	c.give(r.b, false)
	c.wake()
	c.mu.Unlock()
	r.decoded()
}

// decoded ends the part of the way that takes a processor.
func (r *Request) decoded() {
	<-r.c.slots
	r.b = nil
	if r.Decoded != nil {
		r.Decoded()
	}
}

// hand gives the rows to the committers.
func (r *Request) hand() {
	c := r.c
	rows := r.b.dec.Rows()
	parts := int32(len(r.sealed))
	if rows > r.first {
		r.b.parts = append(r.b.parts, part{req: r, from: r.first, rows: rows - r.first, before: r.given})
		parts++
	}
	parts += int32(len(r.letters))
	r.pending.Store(parts)
	c.mu.Lock()
	if rows > r.first {
		r.crowd.gathered++
	}
	c.addLetters(r)
	c.full = append(c.full, r.sealed...)
	c.give(r.b, r.own)
	c.wake()
	c.mu.Unlock()
	r.decoded()
	if parts == 0 {
		r.done <- struct{}{}
	}
}

func (r *Request) wait() error {
	<-r.done
	r.rejectRefused()
	return r.err
}

// decide tells the request what became of one of its parts.
func (r *Request) decide(p part, v Verdicts, index uint64, err error) {
	dups := 0
	if v.Duplicate != nil {
		for _, dup := range v.Duplicate[p.from : p.from+p.rows] {
			if dup {
				dups++
			}
		}
	}
	refused := 0
	r.mu.Lock()
	if v.Refused != nil && err == nil {
		for row, why := range v.Refused[p.from : p.from+p.rows] {
			if why == nil {
				continue
			}
			refused++
			kept := v.kept(p.from + row)
			r.refused = append(r.refused, refusedRow{p.before + row, why, kept})
			if kept && v.lettersErr != nil {
				err = fmt.Errorf("%w: %v", ErrPartly, v.lettersErr)
			}
		}
	}
	if err != nil {
		if r.err == nil {
			r.err = err
		}
	} else {
		r.Accepted += p.rows - dups - refused
		r.Duplicates += dups
		r.Index = max(r.Index, index)
	}
	r.mu.Unlock()
	if r.pending.Add(-1) == 0 {
		r.c.answer(r)
	}
}
