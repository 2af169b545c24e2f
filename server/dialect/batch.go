package dialect

import (
	"bytes"
	"fmt"
	"slices"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"spoor/engine/event"
)

// Batch gathers what one request says: events and identify calls as JSON of the
// native API, in the order in which they were said, and what was refused. Take one
// with NewBatch and Release it.
type Batch struct {
	// items is a JSON array of native events and calls, without its closing bracket
	// while more are added; empty where there are none.
	items []byte
	from  []int  // place in the request of each item
	once  []bool // of each item, see IsOnce
	// Refused are in no particular order.
	Refused []Rejection
	// Seen is how many messages the request had.
	Seen int

	host  Host
	frees []func() // memory that was reserved
	room  int
	scrap []byte
}

// Rejection is a message that was refused.
type Rejection struct {
	Index   int
	ID      []byte // as far as it is known
	Code    string
	Message string
}

const (
	// MaxBatchBytes bounds the native JSON that one request becomes: what a batch says
	// once for all its messages, each of them carries.
	MaxBatchBytes = 16 << 20
	// MaxCallBytes bounds one identify call, as it is for the native ones.
	MaxCallBytes = 128 << 10
	// MaxMessages bounds the messages of one request,
	MaxMessages = 10_000
	// ItemsPerMessage what becomes of one: an event, and calls that set traits, and set them once.
	ItemsPerMessage = 3
	// reserveBytes is how much memory is asked for at a time.
	reserveBytes = 256 << 10
	maxKeptBytes = 1 << 20
)

var batches = sync.Pool{New: func() any { return new(Batch) }}

// NewBatch returns an empty batch, whose memory host accounts for.
func NewBatch(host Host) *Batch {
	b := batches.Get().(*Batch)
	b.host = host
	return b
}

// Release gives the batch back; neither it nor its parts may be used afterwards.
func (b *Batch) Release() {
	for _, free := range b.frees {
		free()
	}
	kept := Batch{items: b.items[:0], from: b.from[:0], once: b.once[:0], scrap: b.scrap[:0]}
	if cap(kept.items) > maxKeptBytes {
		kept.items = nil
	}
	if cap(kept.scrap) > maxKeptBytes {
		kept.scrap = nil
	}
	*b = kept
	batches.Put(b)
}

// Items are the events and calls as one JSON array, as POST /api/events/batch takes
// it, and the place in the request of each; nil where there are none.
func (b *Batch) Items() (array []byte, from []int) {
	if len(b.items) == 0 {
		return nil, nil
	}
	return append(b.items, ']'), b.from
}

// IsOnce tells of an item that it sets traits that the person has not, as of the
// call's time: the first such call wins, and every other call wins over it.
func (b *Batch) IsOnce(item int) bool { return b.once[item] }

// Begin counts a message and returns its place. The error refuses the whole request.
func (b *Batch) Begin() (index int, err error) {
	if b.Seen >= MaxMessages {
		return 0, &Refusal{Status: 413, Code: "too_many_events", Message: fmt.Sprintf("one request holds at most %d messages; send several", MaxMessages)}
	}
	b.Seen++
	return b.Seen - 1, nil
}

// Open begins a message and takes it apart into dst; o is nil where it is refused
// already. what is its name for a person.
func (b *Batch) Open(dst Object, message []byte, what string) (index int, o Object, err error) {
	if index, err = b.Begin(); err != nil {
		return 0, nil, err
	}
	if rej := Check(message); rej != nil {
		b.Refuse(index, nil, rej.Code, rej.Message)
		return index, nil, nil
	}
	if o, err = Split(dst[:0], message); err != nil {
		b.Refuse(index, nil, event.CodeNotObject, what+" is a JSON object")
		return index, nil, nil
	}
	if o == nil {
		o = Object{}
	}
	return index, o, nil
}

// Refuse notes that a message is refused.
func (b *Batch) Refuse(index int, id []byte, code, message string) {
	b.Refused = append(b.Refused, Rejection{Index: index, ID: bytes.Clone(id[:min(len(id), maxQuotedID)]), Code: code, Message: message})
}

// maxQuotedID bounds what an answer repeats of an id, in bytes.
const maxQuotedID = 100

func (b *Batch) grow(bytes int) error {
	if b.room >= bytes {
		b.room -= bytes
		return nil
	}
	if len(b.items)+bytes > MaxBatchBytes {
		return &Refusal{Status: 413, Code: "too_large", Message: fmt.Sprintf("the messages with what the batch says for all of them have more than %d bytes; send several smaller requests", MaxBatchBytes)}
	}
	more := max(bytes, reserveBytes)
	free, err := b.host.Reserve(more)
	if err != nil {
		return err
	}
	b.frees = append(b.frees, free)
	b.room += more - bytes
	return nil
}

// Head is what every message says beside its fields.
type Head struct {
	ID          []byte // text; empty: one is assigned
	Name        []byte // text
	UserID      []byte // text; empty: absent
	AnonymousID []byte // text; empty: absent
	Time        []byte // JSON, as Time makes it; empty: the time of receipt
	SentAt      []byte // JSON; empty: absent
}

// Event adds an event. The error refuses the whole request; what is wrong with
// the event itself shows when the batch is stored.
func (b *Batch) Event(index int, h *Head, properties, context *Fields) error {
	e := append(b.scrap[:0], '{')
	if len(h.ID) > 0 { // first, so that it is known of an event that is refused
		e = append(Quote(append(e, `"eventId":`...), h.ID), ',')
	}
	e = Quote(append(e, `"eventName":`...), h.Name)
	e = h.appendPerson(e)
	if len(h.Time) > 0 {
		e = append(append(e, `,"timestamp":`...), h.Time...)
	}
	if len(h.SentAt) > 0 {
		e = append(append(e, `,"sentAt":`...), h.SentAt...)
	}
	e = properties.appendAs(e, "properties")
	e = context.appendAs(e, "context")
	e = append(e, '}')
	b.scrap = e
	return b.add(index, e, false)
}

// add adds an item.
func (b *Batch) add(index int, e []byte, once bool) error {
	if err := b.grow(len(e) + 1); err != nil {
		return err
	}
	if len(b.items) == 0 {
		b.items = append(b.items, '[')
	} else {
		b.items = append(b.items, ',')
	}
	b.items = append(b.items, e...)
	b.from, b.once = append(b.from, index), append(b.once, once)
	return nil
}

func (h *Head) appendPerson(e []byte) []byte {
	if len(h.UserID) > 0 {
		e = Quote(append(e, `,"userId":`...), h.UserID)
	}
	if len(h.AnonymousID) > 0 {
		e = Quote(append(e, `,"anonymousId":`...), h.AnonymousID)
	}
	return e
}

// Identify adds a call that links the ids of h, if there are two, and sets
// traits, a JSON object or nothing. One that says nothing is left out.
func (b *Batch) Identify(index int, h *Head, traits []byte, once bool) error {
	if len(h.UserID) == 0 && len(h.AnonymousID) == 0 {
		b.Refuse(index, h.ID, event.CodeMissingPerson, "neither a userId nor an anonymousId, in the dialect's own words, came with the call")
		return nil
	}
	empty := len(traits) == 0 || traits[0] != '{' || space(traits, 1) < len(traits) && traits[space(traits, 1)] == '}'
	if empty && (len(h.UserID) == 0 || len(h.AnonymousID) == 0) {
		return nil
	}
	e := h.appendPerson(append(b.scrap[:0], `{"type":"identify"`...))
	if len(h.Time) > 0 {
		e = append(append(e, `,"timestamp":`...), h.Time...)
	}
	if !empty {
		e = append(append(e, `,"traits":`...), traits...)
	}
	e = append(e, '}')
	b.scrap = e
	if len(e) > MaxCallBytes {
		b.Refuse(index, h.ID, event.CodeEventTooLarge, fmt.Sprintf("the traits have more than %d bytes", MaxCallBytes))
		return nil
	}
	return b.add(index, e, once)
}

// MaxListed bounds the refused messages that an answer lists.
const MaxListed = 100

// AppendRefused appends the refused messages as members of a JSON object, each
// behind a comma; nothing where none was refused:
//
//	,"rejectedCount":n,"rejected":[{"index","eventId","code","message"}]
func (b *Batch) AppendRefused(dst []byte) []byte {
	if len(b.Refused) == 0 {
		return dst
	}
	dst = fmt.Appendf(dst, `,"rejectedCount":%d,"rejected":[`, len(b.Refused))
	for i := range b.Refused[:min(len(b.Refused), MaxListed)] {
		r := &b.Refused[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = fmt.Appendf(dst, `{"index":%d`, r.Index)
		if len(r.ID) > 0 {
			dst = Quote(append(dst, `,"eventId":`...), r.ID)
		}
		dst = Quote(append(dst, `,"code":`...), []byte(r.Code))
		dst = append(Quote(append(dst, `,"message":`...), []byte(r.Message)), '}')
	}
	return append(dst, ']')
}

// Fields is a JSON object that is being written: members in the order in which
// they are set, objects within it as its children. The zero value is empty.
type Fields struct {
	base   []byte    // JSON whose members come first, see Base
	json   []byte    // members, each behind a comma
	names  []string  // that were set
	copied [][]byte  // names that were copied
	inner  []*Fields // made by In; memory of further ones follows
	titles []string  // of inner
}

// Reset forgets all members and keeps their memory.
func (f *Fields) Reset() {
	f.base, f.json, f.names, f.copied, f.inner, f.titles = nil, f.json[:0], f.names[:0], f.copied[:0], f.inner[:0], f.titles[:0]
}

// Base lets the members of a JSON object stand before all others, as they are.
// The caller sees to it that those it adds are none of them. JSON that is no
// object is written instead of one, for the native API to refuse; but an empty
// array, which PHP makes of an empty map, says nothing.
func (f *Fields) Base(object []byte) {
	if len(object) > 1 && object[0] == '[' && object[space(object, 1)] == ']' {
		object = nil
	}
	f.base = object
}

// Set adds a member with a JSON value. The caller sees to it that no name comes twice.
func (f *Fields) Set(name string, value []byte) {
	if len(value) == 0 {
		return
	}
	f.begin(name)
	f.json = append(f.json, value...)
}

func (f *Fields) begin(name string) {
	f.json, _ = jsontext.AppendQuote(append(f.json, ','), name)
	f.json = append(f.json, ':')
	f.names = append(f.names, name)
}

// SetText adds a member with a text; nothing where it is empty.
func (f *Fields) SetText(name string, text []byte) {
	if len(text) > 0 {
		f.begin(name)
		f.json = Quote(f.json, text)
	}
}

// Copy adds a member as it stands in other JSON.
func (f *Fields) Copy(m *Member) {
	f.json = append(append(append(append(f.json, ','), m.Quoted...), ':'), m.Value...)
	f.copied = append(f.copied, m.Name)
}

// HasValue tells whether a member was set, not as an object by In.
func (f *Fields) HasValue(name string) bool {
	for _, n := range f.copied {
		if string(n) == name {
			return true
		}
	}
	return slices.Contains(f.names, name)
}

// Has tells whether there is a member that was set or made by In.
func (f *Fields) Has(name string) bool {
	return slices.Contains(f.titles, name) || f.HasValue(name)
}

// In returns the object that is the member of a name, which it makes. Such a
// member must not be set otherwise.
func (f *Fields) In(name string) *Fields {
	for i, t := range f.titles {
		if t == name {
			return f.inner[i]
		}
	}
	f.titles = append(f.titles, name)
	n := len(f.inner)
	if n < cap(f.inner) && f.inner[:n+1][n] != nil {
		f.inner = f.inner[:n+1]
		f.inner[n].Reset()
	} else {
		f.inner = append(f.inner, &Fields{})
	}
	return f.inner[n]
}

func (f *Fields) appendAs(dst []byte, name string) []byte {
	if f == nil || len(f.base) == 0 && len(f.json) == 0 && len(f.inner) == 0 {
		return dst
	}
	dst, _ = jsontext.AppendQuote(append(dst, ','), name)
	return f.AppendJSON(append(dst, ':'))
}

// AppendJSON appends the object.
func (f *Fields) AppendJSON(dst []byte) []byte {
	if len(f.base) > 0 && (len(f.json) == 0 && len(f.inner) == 0 || f.base[0] != '{') {
		return append(dst, f.base...)
	}
	at := len(dst)
	dst = append(dst, '{')
	if len(f.base) > 0 {
		if p := space(f.base, 1); f.base[p] != '}' {
			dst = append(append(dst, ','), f.base[p:len(f.base)-1]...)
		}
	}
	dst = append(dst, f.json...)
	for i, in := range f.inner {
		dst = in.appendAs(dst, f.titles[i])
	}
	if len(dst) > at+1 {
		dst = append(dst[:at+1], dst[at+2:]...) // the comma before the first member
	}
	return append(dst, '}')
}
