package event

import (
	"encoding/binary"
	"strings"

	"spoor/segment/batch"
)

// A node is a column path that some event had. The tree of nodes serves four
// ends: it finds a path's columns without hashing the path, it predicts the
// next member name (events of one client have their members in one order), it
// notices a name that comes twice in an object, by the stamp, and it knows
// which members of an event mean something.
type node struct {
	key    string
	quoted string // the name as compact JSON has it, quotes included; impossible text if it would need an escape
	head   uint64 // the first 8 bytes of quoted, or fewer, masked by mask
	tail   uint64 // its last 8 bytes, once it has 8
	mask   uint64
	path   string
	stamp  uint64 // Decoder.seq of the event that had the path last
	first  *node  // the member that an object of this path began with, when last seen
	next   *node  // the member that followed this one, when last seen
	member member
	leaf   int32 // index of its value in Decoder.leaves, where that is one of this node
	flat   bool  // an object here spreads into columns, it does not become one JSON value
	depth  int   // parts of the path
	memo   Memo  // of the governor

	columns [batch.KindJSON + 1]*batch.ColumnBuilder
	kids    []*node
	byKey   map[string]*node // as kids, once they are many
}

// member is what a member of the event itself means.
type member uint8

const (
	memberOther member = iota // kept whole as one value
	memberEventID
	memberUserID
	memberAnonymousID
	memberEventName
	memberTimestamp
	memberProperties
	memberContext
	memberIgnored // comes from an export
)

var members = map[string]member{
	"eventId": memberEventID, "userId": memberUserID, "anonymousId": memberAnonymousID,
	"eventName": memberEventName, "timestamp": memberTimestamp,
	"properties": memberProperties, "context": memberContext,
	"receivedAt": memberIgnored, "person": memberIgnored, "source": memberIgnored,
}

const (
	// Paths have at most so many parts; an object below becomes a JSON value.
	maxFlatDepth = 16
	// A decoder that holds more nodes than this begins a new tree with the next event.
	maxNodes = 1 << 14
	// Children are looked for one by one up to here.
	maxListedKids = 8
)

func newRoot() *node { return &node{flat: true} }

// setQuoted prepares standsAt. A name that compact JSON would escape gets a
// text that stands nowhere.
func (n *node) setQuoted() {
	n.quoted = "\x00"
	if !strings.ContainsFunc(n.key, func(r rune) bool { return r < 0x20 || r == '"' || r == '\\' }) {
		n.quoted = `"` + n.key + `"`
	}
	var buf [8]byte
	size := copy(buf[:], n.quoted)
	n.head = binary.LittleEndian.Uint64(buf[:])
	n.mask = ^uint64(0) >> (64 - 8*size)
	if len(n.quoted) >= 8 {
		n.tail = binary.LittleEndian.Uint64([]byte(n.quoted[len(n.quoted)-8:]))
	}
}

// standsAt tells whether the quoted name is the text at p.
func (n *node) standsAt(b []byte, p int) bool {
	size := len(n.quoted)
	if len(b)-p < max(size, 8) {
		return len(b)-p >= size && string(b[p:p+size]) == n.quoted
	}
	if binary.LittleEndian.Uint64(b[p:])&n.mask != n.head {
		return false
	}
	if size <= 8 {
		return true
	}
	if binary.LittleEndian.Uint64(b[p+size-8:]) != n.tail {
		return false
	}
	return size <= 16 || string(b[p+8:p+size-8]) == n.quoted[8:size-8]
}

// child finds or makes the child of parent for key.
func (d *Decoder) child(parent *node, key []byte) *node {
	if parent.byKey != nil {
		if n := parent.byKey[string(key)]; n != nil {
			return n
		}
	} else {
		for _, n := range parent.kids {
			if n.key == string(key) {
				return n
			}
		}
	}
	n := &node{key: string(key), depth: parent.depth + 1}
	n.path = batch.JoinPath(parent.path, n.key)
	n.setQuoted()
	if parent.depth == 0 {
		n.member = members[n.key]
	}
	// Every possible path of a member must fit, so that the choice does not
	// depend on the members.
	n.flat = n.depth < maxFlatDepth && len(n.path)+1+2*d.limits.KeyBytes <= batch.MaxPathBytes
	d.nodes++
	parent.kids = append(parent.kids, n)
	if parent.byKey == nil && len(parent.kids) > maxListedKids {
		parent.byKey = make(map[string]*node, 2*maxListedKids)
		for _, k := range parent.kids {
			parent.byKey[k.key] = k
		}
	} else if parent.byKey != nil {
		parent.byKey[n.key] = n
	}
	return n
}
