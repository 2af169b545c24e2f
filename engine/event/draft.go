package event

import (
	"encoding/binary"
	"math"
	"net/netip"
	"slices"
	"strings"

	"spoor/segment/batch"
)

// Governor decides over events between their reading and the batch: it may
// change an event, refuse it, or let it pass. Each Decoder has its own, which is
// called by one goroutine at a time.
type Governor interface {
	// Govern is called once for each event that was read without a fault. The draft
	// ends with the call.
	Govern(d *Draft) Verdict
}

// Verdict is what a Governor decided. The zero value lets the event pass.
type Verdict struct {
	Reject  *Reject // why the event is not stored; nil: it is
	Keep    bool    // the refused event goes to the dead letters, as the draft is now
	Path    string  // of the value that is at fault, empty for none
	Version int     // of the schema that refused it; 0: none
}

// Letter is a refused event that is to be kept.
type Letter struct {
	ID      []byte // eventId, assigned where none was sent
	Name    []byte
	Path    string
	Version int
	Event   []byte // JSON; with eventId and timestamp, so that it can be sent again
}

// Origin is what is known of an event beside its JSON.
type Origin struct {
	ReceivedAt int64      // microseconds since the Unix epoch; 0: not known
	SentAt     int64      // by the client's clock, the same; 0: not said
	Address    netip.Addr // of the client; the zero Addr: not known
	UserAgent  string     // of the request
	Again      bool       // a dead letter is sent again: what is completed was completed before
	Counted    bool       // it was decided on before, and the body is read again: it counts once
}

// Govern makes g decide over the events of d; nil lets all pass.
func (d *Decoder) Govern(g Governor) { d.gov = g }

// SetOrigin says where the events come from that are read next.
func (d *Decoder) SetOrigin(o Origin) { d.origin = o }

// Counted tells of the events that are read next whether they were counted before.
func (d *Decoder) Counted(before bool) { d.origin.Counted = before }

// Letter is the event that was refused last, where it is to be kept, else nil.
// It ends with the next call of the decoder.
func (d *Decoder) Letter() *Letter { return d.letter }

// govern asks the governor. It returns false where the event is refused.
func (d *Decoder) govern(p int, newID func() [16]byte) bool {
	v := d.gov.Govern(&d.draft)
	if v.Reject == nil {
		return true
	}
	if d.rej = v.Reject; d.rej.Offset == 0 {
		d.rej.Offset = p
	}
	if v.Keep {
		d.letter = d.draft.letter(&v, newID)
	}
	return false
}

// Memo is a note that a Governor keeps with a path, for the next event that has
// it: what Rule follows from Key and the path. Paths are forgotten at any time.
type Memo struct{ Key, Rule any }

// Draft is an event that was read and is not in the batch yet. Texts that it
// returns are shared and end with it; texts that it is given are copied.
type Draft struct{ d *Decoder }

// Name is the eventName.
func (g *Draft) Name() []byte { return g.d.text(g.d.ev.name) }

// ID is the eventId as it was sent; empty for none.
func (g *Draft) ID() []byte { return g.d.text(g.d.ev.id) }

// UserID is empty where none was sent.
func (g *Draft) UserID() []byte { return g.d.text(g.d.ev.user) }

// AnonymousID is empty where none was sent.
func (g *Draft) AnonymousID() []byte { return g.d.text(g.d.ev.anon) }

// Source is that of the write key; empty for none.
func (g *Draft) Source() []byte { return g.d.source }

// Origin is where the event comes from.
func (g *Draft) Origin() *Origin { return &g.d.origin }

// Time is the timestamp in microseconds since the Unix epoch; sent is false
// where there is none: then the time of receipt will count.
func (g *Draft) Time() (micros int64, sent bool) {
	return g.d.ev.ts.time, g.d.ev.shape.form.kind != timeAbsent
}

// TimeText is the timestamp as RFC 3339 text, or as milliseconds, as it was sent; nil where none was.
func (g *Draft) TimeText() []byte {
	f := &g.d.ev
	switch f.shape.form.kind {
	case timeText:
		return appendTime(nil, f.ts.time, &f.shape.form, f.ts.extra)
	case timeInteger:
		return appendNumber(nil, float64(f.ts.time/microsPerMilli))
	}
	return nil
}

// SetTime replaces the timestamp. It is spelled in UTC, cut to milliseconds.
func (g *Draft) SetTime(micros int64) {
	micros = min(max(micros, batch.MinTime), batch.MaxTime)
	micros -= ((micros % microsPerMilli) + microsPerMilli) % microsPerMilli
	f := &g.d.ev
	f.ts = timestamp{time: micros}
	f.shape.form = timeForm{kind: timeText, zone: 'Z', places: 3}
}

// ParseTime reads an RFC 3339 timestamp as events have it.
func ParseTime(text []byte) (micros int64, ok bool) {
	ts, ok := parseTimestamp(text)
	return ts.time, ok
}

// Len is the number of values, those included that were removed.
func (g *Draft) Len() int { return len(g.d.leaves) }

// Path is the path of value i, as batch.Column has it.
func (g *Draft) Path(i int) string { return g.d.leaves[i].node.path }

// Kind is the kind of value i; 0: it was removed.
func (g *Draft) Kind(i int) batch.Kind { return g.d.leaves[i].kind }

// Text is value i of a kind with text.
func (g *Draft) Text(i int) []byte {
	bits := g.d.leaves[i].bits
	return g.d.text(span{uint32(bits >> 32), uint32(bits)})
}

// Number is value i of KindNumber.
func (g *Draft) Number(i int) float64 { return math.Float64frombits(g.d.leaves[i].bits) }

// Int is value i of KindInt.
func (g *Draft) Int(i int) int64 { return int64(g.d.leaves[i].bits) }

// Leaf is value i. Its text is shared.
func (g *Draft) Leaf(i int) Leaf {
	l := &g.d.leaves[i]
	return g.d.leafAt(l, l.node.path)
}

// Memo is the note at the path of value i.
func (g *Draft) Memo(i int) *Memo { return &g.d.leaves[i].node.memo }

// Find returns the value at path, or -1 where there is none or an object stands there.
func (g *Draft) Find(path string) int {
	n := g.d.at(path)
	if n.stamp != g.d.seq || int(n.leaf) >= len(g.d.leaves) {
		return -1
	}
	if l := &g.d.leaves[n.leaf]; l.node != n || l.kind == 0 {
		return -1
	}
	return int(n.leaf)
}

// FindEscaped is Find for a path of which parts have escapes. It looks at each value.
func (g *Draft) FindEscaped(path string) int {
	for i := range g.d.leaves {
		if l := &g.d.leaves[i]; l.kind != 0 && l.node.path == path {
			return i
		}
	}
	return -1
}

// Place is a path that is looked for in every event. It serves one decoder best.
type Place struct {
	Path string
	node *node
	d    *Decoder // whose node it is
	tree int      // Decoder.trees when node was found
}

// FindAt is Find without a search for the path.
func (g *Draft) FindAt(p *Place) int {
	d, n := g.d, g.d.atPlace(p)
	if n.stamp != d.seq || int(n.leaf) >= len(d.leaves) {
		return -1
	}
	if l := &d.leaves[n.leaf]; l.node != n || l.kind == 0 {
		return -1
	}
	return int(n.leaf)
}

// Has tells whether the client sent a value or an object at path.
func (g *Draft) Has(path string) bool { return g.d.at(path).stamp == g.d.seq }

// HasAt is Has without a search for the path.
func (g *Draft) HasAt(p *Place) bool { return g.d.atPlace(p).stamp == g.d.seq }

// SetText makes value i a string.
func (g *Draft) SetText(i int, text []byte) { g.setText(i, batch.KindString, text) }

// SetJSON makes value i a JSON text without white space: an array or an object
// that does not spread into columns.
func (g *Draft) SetJSON(i int, text []byte) { g.setText(i, batch.KindJSON, text) }

func (g *Draft) setText(i int, kind batch.Kind, text []byte) {
	d := g.d
	from := len(d.scratch)
	d.scratch = append(d.scratch, text...)
	d.leaves[i].kind = kind
	d.leaves[i].bits = uint64(uint32(from)|inScratch)<<32 | uint64(len(text))
}

// Remove takes value i out.
func (g *Draft) Remove(i int) { g.d.leaves[i].kind = 0 }

// RemoveAt takes out what stands at path, above it and below it, so that a value
// may be added there.
func (g *Draft) RemoveAt(path string) {
	for i := range g.d.leaves {
		l := &g.d.leaves[i]
		if p := l.node.path; p == path || within(p, path) || within(path, p) {
			l.kind = 0
		}
	}
}

// AddText adds a string below context, where nothing may stand. False: the
// event has as many values as it may, or the text is longer than it may be.
func (g *Draft) AddText(path string, text []byte) bool {
	return g.addText(g.d.at(path), text)
}

// AddTextAt is AddText without a search for the path.
func (g *Draft) AddTextAt(p *Place, text []byte) bool { return g.addText(g.d.atPlace(p), text) }

func (g *Draft) addText(n *node, text []byte) bool {
	if len(text) > g.d.limits.StringBytes || !g.add(n, batch.KindString, 0) {
		return false
	}
	g.SetText(len(g.d.leaves)-1, text)
	return true
}

// AddBool is AddText for a boolean.
func (g *Draft) AddBool(path string, v bool) bool {
	var bits uint64
	if v {
		bits = 1
	}
	return g.add(g.d.at(path), batch.KindBool, bits)
}

// AddNumber is AddText for a number.
func (g *Draft) AddNumber(path string, v float64) bool {
	return g.add(g.d.at(path), batch.KindNumber, math.Float64bits(v))
}

func (g *Draft) add(n *node, kind batch.Kind, bits uint64) bool {
	d := g.d
	if len(d.leaves) >= d.limits.Keys {
		return false
	}
	n.stamp, n.leaf = d.seq, int32(len(d.leaves))
	d.leaves = append(d.leaves, leaf{n, bits, kind})
	d.ev.shape.empty[emptyContext] = notEmpty
	return true
}

// at finds or makes the node of a path of which no part needs an escape.
func (d *Decoder) at(path string) *node {
	if n := d.byPath[path]; n != nil {
		return n
	}
	n := d.root
	for part := range strings.SplitSeq(path, ".") {
		n = d.child(n, []byte(part))
	}
	if d.byPath == nil {
		d.byPath = map[string]*node{}
	}
	d.byPath[path] = n
	return n
}

// atPlace is at, with what was found for an event before.
func (d *Decoder) atPlace(p *Place) *node {
	if p.d != d || p.tree != d.trees {
		p.node, p.d, p.tree = d.at(p.Path), d, d.trees
	}
	return p.node
}

// newTree forgets all paths.
func (d *Decoder) newTree() {
	d.root, d.nodes = newRoot(), 0
	d.trees++
	clear(d.byPath)
}

// letter writes the event as it is now.
func (g *Draft) letter(v *Verdict, newID func() [16]byte) *Letter {
	d := g.d
	row := Row{ID: g.ID(), Name: g.Name(), UserID: g.UserID(), AnonymousID: g.AnonymousID(), Time: d.ev.ts.time}
	if len(row.ID) == 0 {
		id := newID()
		row.ID = batch.AppendUUID(nil, batch.ID{Hi: binary.BigEndian.Uint64(id[:]), Lo: binary.BigEndian.Uint64(id[8:])})
	}
	if len(row.UserID) == 0 {
		row.UserID = nil
	}
	if len(row.AnonymousID) == 0 {
		row.AnonymousID = nil
	}
	if d.ev.shape.form.kind == timeAbsent { // sent again, it shall have the time of this receipt
		g.SetTime(d.origin.ReceivedAt)
		row.Time = d.ev.ts.time
	}
	row.Shape = d.shapeText()
	for i := range d.leaves {
		if l := &d.leaves[i]; l.kind != 0 {
			row.Leaves = append(row.Leaves, d.leafAt(l, l.node.path))
		}
	}
	slices.SortFunc(row.Leaves, func(a, b Leaf) int { return strings.Compare(a.Path, b.Path) })
	return &Letter{ID: row.ID, Name: row.Name, Path: v.Path, Version: v.Version, Event: AppendJSON(nil, &row)}
}
