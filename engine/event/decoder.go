package event

import (
	"encoding/binary"
	"fmt"
	"math"

	"spoor/segment/batch"
)

// A Decoder reads events and collects them in a batch. An event is first read
// as a whole into a short list of values, and enters the batch only when
// nothing was wrong with it, so a refused event leaves no trace.
//
// A Decoder learns the members that events have and keeps its memory, within
// bounds: use one for a long time. Not for concurrent use.
type Decoder struct {
	limits Limits
	b      *batch.Builder
	sealed bool // the builder is shown by Seal's batch; empty it before the next event

	root    *node
	nodes   int
	epoch   int
	seq     uint64 // number of the event that is being read
	untimed []int  // rows that wait for the time of receipt
	source  []byte
	allow   func(name []byte) bool // nil: all names

	// The event that is being read.
	data    []byte
	scratch []byte
	leaves  []leaf
	ev      fields
	rej     *Reject
	spaced  bool // white space was met since it was cleared
	keys    keySet

	lastShape shape
	shapeBuf  []byte

	gov    Governor // nil: none
	draft  Draft    // what it is shown
	origin Origin
	letter *Letter
	trees  int              // how often root was made anew
	byPath map[string]*node // of paths that the governor asked for
}

// leaf is a value on its way into a column. bits is a float64's or an int64's
// bits, a bool, or a span.
type leaf struct {
	node *node
	bits uint64
	kind batch.Kind
}

// fields are the members of an event that are no columns.
type fields struct {
	id, name, user, anon span
	ts                   timestamp
	shape                shape
}

const (
	// A batch at this size by Builder.Size, which may be a third of the encoded
	// one, is full: what the largest event could add still fits batch.MaxBytes.
	fullBytes = 2 << 20
	// Scratch memory and tables of a large event beyond this are not kept.
	maxKeptScratch = 1 << 20
)

// NewDecoder returns a decoder with an empty batch.
func NewDecoder(l Limits) *Decoder {
	d := &Decoder{limits: l.bounded(), b: batch.NewBuilder(), root: newRoot(), keys: newKeySet()}
	d.draft.d = d
	return d
}

// Rows is the number of events in the batch.
func (d *Decoder) Rows() int {
	if d.sealed {
		return 0
	}
	return d.b.Rows()
}

// Size is about how many bytes the encoded batch will have.
func (d *Decoder) Size() int {
	if d.sealed {
		return 0
	}
	return d.b.Size()
}

// Full tells that no further event may be added before Seal.
func (d *Decoder) Full() bool {
	return !d.sealed && (d.b.Rows() >= batch.MaxRows || d.b.Size() >= fullBytes || d.b.Columns()+d.limits.Keys > batch.MaxColumns)
}

// EventID appends the eventId of a row to dst, as it was sent or assigned.
func (d *Decoder) EventID(dst []byte, row int) []byte { return d.b.IDText(dst, row) }

// Rollback forgets the events from row rows on.
func (d *Decoder) Rollback(rows int) {
	if d.sealed && rows == 0 {
		return
	}
	d.b.Rollback(rows)
	for n := len(d.untimed); n > 0 && d.untimed[n-1] >= rows; n-- {
		d.untimed = d.untimed[:n-1]
	}
}

// Seal ends the batch and returns it. Events without a timestamp get
// receivedAt as their time: microseconds since the Unix epoch, which Seal
// cuts to milliseconds.
//
// The batch shares the decoder's memory and ends with the decoder's next Add,
// AddAll or Seal: encode it before, or Clone it.
func (d *Decoder) Seal(receivedAt int64) *batch.Batch {
	d.open()
	receivedAt -= receivedAt % microsPerMilli
	for _, row := range d.untimed {
		d.b.SetTime(row, receivedAt)
	}
	d.untimed = d.untimed[:0]
	d.sealed = true
	return d.b.Batch(receivedAt)
}

// open makes the builder ready after a Seal.
func (d *Decoder) open() {
	if !d.sealed {
		return
	}
	d.b.Reset()
	d.sealed = false
	if d.b.Epoch() != d.epoch {
		d.epoch = d.b.Epoch()
		d.newTree()
	}
}

// Add reads one event, which is all of data beside white space, and returns
// its row. A byte order mark at its start is skipped. newID assigns an eventId
// where none was sent. source is kept with the event; empty for none. Where
// the event is refused, the batch is as before.
func (d *Decoder) Add(data []byte, source string, newID func() [16]byte) (row int, rej *Reject) {
	d.setSource(source)
	d.data = data
	start := space(data, skipBOM(data))
	end := d.read(start, true)
	if end < 0 {
		return -1, d.rej
	}
	if end = space(data, end); end < len(data) {
		d.malformed(end, "there is more behind the event; send several events to the batch endpoint")
		return -1, d.rej
	}
	row, _ = d.commit(start, newID)
	if row < 0 {
		return -1, d.rej
	}
	return row, nil
}

// Who is the person of the event that was read last, as far as it was read; good
// until the next.
func (d *Decoder) Who() (user, anon []byte) { return d.text(d.ev.user), d.text(d.ev.anon) }

// Type is what the member type of the event that was read last says, one that
// means nothing for events; empty where it is no text.
func (d *Decoder) Type() string {
	for i := range d.leaves {
		if l := &d.leaves[i]; l.kind == batch.KindString && l.node.path == "type" {
			return string(d.text(span{uint32(l.bits >> 32), uint32(l.bits)}))
		}
	}
	return ""
}

// Restrict lets only events pass whose name allow accepts, until it is called
// again; nil lets all pass. What allow is given is good until it returns.
func (d *Decoder) Restrict(allow func(name []byte) bool) { d.allow = allow }

func skipBOM(data []byte) int {
	if len(data) >= 3 && string(data[:3]) == "\xef\xbb\xbf" {
		return 3
	}
	return 0
}

func (d *Decoder) setSource(source string) {
	d.open()
	if string(d.source) != source {
		d.source = append(d.source[:0], source...)
	}
}

// read reads the event at p and returns the index behind it, or -1. alone tells
// that nothing but white space may follow; the caller checks that, too.
func (d *Decoder) read(p int, alone bool) int {
	if d.begin(p, alone) < 0 {
		return -1
	}
	end := d.event(p)
	if end >= 0 && end-p > d.limits.EventBytes {
		return d.fail(CodeEventTooLarge, p, "the event has %d bytes, the limit is %d", end-p, d.limits.EventBytes)
	}
	return end
}

// begin forgets the event before and returns p where an object begins there, else -1.
func (d *Decoder) begin(p int, alone bool) int {
	d.open()
	d.seq++
	d.rej, d.letter = nil, nil
	d.leaves = d.leaves[:0]
	d.ev = fields{}
	d.keys.begin()
	if d.scratch = d.scratch[:0]; cap(d.scratch) > maxKeptScratch {
		d.scratch = nil
	}
	if d.nodes > maxNodes {
		d.newTree()
	}
	if p >= len(d.data) {
		return d.malformed(p, "an event is expected, the input ends")
	}
	if d.data[p] != '{' {
		end := d.jsonValue(p, 0)
		switch {
		case end < 0:
		case alone && space(d.data, end) < len(d.data):
			d.malformed(space(d.data, end), "an event is a JSON object; this is a value with more behind it")
		default:
			d.fail(CodeNotObject, p, "an event is a JSON object")
		}
		return -1
	}
	return p
}

// commit moves the event that was read from p into the batch. assigned tells
// that it came without an eventId.
func (d *Decoder) commit(p int, newID func() [16]byte) (row int, assigned bool) {
	f := &d.ev
	switch {
	case f.name.n == 0:
		return d.fail(CodeMissingName, p, "eventName is missing or empty"), false
	case f.user.n == 0 && f.anon.n == 0:
		return d.fail(CodeMissingPerson, p, "one of userId and anonymousId is required, as a string that is not empty"), false
	case d.allow != nil && !d.allow(d.text(f.name)):
		return d.fail(CodeNotAllowed, p, "this key may not send events of the name %.100q", d.text(f.name)), false
	case d.Full():
		return d.fail(CodeBatchFull, p, "the batch has no room; send fewer events in one request"), false
	case d.gov != nil && !d.govern(p, newID):
		return -1, false
	}
	head := batch.Head{
		Name: d.text(f.name), User: d.text(f.user), Anon: d.text(f.anon),
		Time: f.ts.time, Shape: d.shapeText(), Source: d.source, Values: len(d.leaves),
	}
	if assigned = f.id.n == 0; assigned {
		id := newID()
		head.ID = batch.ID{Hi: binary.BigEndian.Uint64(id[:]), Lo: binary.BigEndian.Uint64(id[8:])}
	} else {
		text := d.text(f.id)
		var isUUID bool
		if head.ID, isUUID = batch.ParseUUID(text); !isUUID {
			head.IDText = text
		}
	}
	row = d.b.AddRow(&head)
	if f.shape.form.kind == timeAbsent {
		d.untimed = append(d.untimed, row)
	}
	for i := range d.leaves {
		l := &d.leaves[i]
		if l.kind == 0 { // the governor took it out
			continue
		}
		c := l.node.columns[l.kind]
		if c == nil {
			c = d.b.Column(l.node.path, l.kind)
			l.node.columns[l.kind] = c
		}
		switch l.kind {
		case batch.KindString, batch.KindNumText, batch.KindJSON:
			c.Text(row, d.text(span{uint32(l.bits >> 32), uint32(l.bits)}))
		case batch.KindNumber:
			c.Number(row, math.Float64frombits(l.bits))
		case batch.KindInt:
			c.Int(row, int64(l.bits))
		case batch.KindBool:
			c.Bool(row, l.bits != 0)
		case batch.KindNull:
			c.Null(row)
		}
	}
	return row, assigned
}

// push notes a value and returns next, or -1 where the event has too many.
func (d *Decoder) push(n *node, kind batch.Kind, bits uint64, next int) int {
	if len(d.leaves) >= d.limits.Keys {
		return d.fail(CodeTooManyKeys, next, "the event has more than %d values; keep lists in arrays, they count as one", d.limits.Keys)
	}
	n.leaf = int32(len(d.leaves))
	d.leaves = append(d.leaves, leaf{n, bits, kind})
	return next
}

func (d *Decoder) pushText(n *node, kind batch.Kind, s span, next int) int {
	return d.push(n, kind, uint64(s.off)<<32|uint64(s.n), next)
}

// fail notes why the event is refused and returns -1. The first reason stands.
func (d *Decoder) fail(code string, at int, format string, args ...any) int {
	if d.rej == nil {
		d.rej = &Reject{Code: code, Message: fmt.Sprintf(format, args...), Offset: at}
	}
	return -1
}

func (d *Decoder) malformed(at int, what string) int {
	return d.fail(CodeMalformed, at, "%s", what)
}
