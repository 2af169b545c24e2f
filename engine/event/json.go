package event

import (
	"hash/maphash"

	"spoor/segment/batch"
)

// jsonLeaf reads the value at p, which stays one JSON text, as a value of n.
func (d *Decoder) jsonLeaf(p int, n *node, depth int) int {
	d.spaced = false
	end := d.jsonValue(p, depth)
	if end < 0 {
		return -1
	}
	s := span{uint32(p), uint32(end - p)}
	if d.spaced {
		from := len(d.scratch)
		d.scratch = appendCompact(d.scratch, d.data[p:end])
		s = span{uint32(from) | inScratch, uint32(len(d.scratch) - from)}
	}
	return d.pushText(n, batch.KindJSON, s, end)
}

// jsonValue checks the value at p and returns the index behind it, or -1. It
// sets d.spaced where it meets white space.
func (d *Decoder) jsonValue(p, depth int) int {
	b := d.data
	switch c := b[p]; c {
	case '"':
		kept := len(d.scratch)
		_, next := d.str(p + 1)
		d.scratch = d.scratch[:kept]
		return next
	case '{':
		if depth >= d.limits.Depth {
			return d.tooDeep(p)
		}
		return d.jsonObject(p, depth+1)
	case '[':
		if depth >= d.limits.Depth {
			return d.tooDeep(p)
		}
		return d.jsonArray(p, depth+1)
	case 't':
		return d.literal(p, "true")
	case 'f':
		return d.literal(p, "false")
	case 'n':
		return d.literal(p, "null")
	default:
		if c == '-' || c-'0' <= 9 {
			return d.checkNumber(p)
		}
		return d.noValue(p)
	}
}

// gap passes white space inside a JSON value.
func (d *Decoder) gap(p int) int {
	if p < len(d.data) && d.data[p] <= ' ' {
		next := space(d.data, p)
		d.spaced = d.spaced || next > p
		return next
	}
	return p
}

func (d *Decoder) jsonArray(p, depth int) int {
	b := d.data
	p = d.gap(p + 1)
	if p < len(b) && b[p] == ']' {
		return p + 1
	}
	for {
		if p >= len(b) {
			return d.malformed(p, "an array does not end")
		}
		if p = d.jsonValue(p, depth); p < 0 {
			return -1
		}
		p = d.gap(p)
		switch {
		case p < len(b) && b[p] == ',':
			p = d.gap(p + 1)
		case p < len(b) && b[p] == ']':
			return p + 1
		default:
			return d.malformed(p, "a comma or the end of the array is expected")
		}
	}
}

func (d *Decoder) jsonObject(p, depth int) int {
	b := d.data
	object := d.keys.object()
	p = d.gap(p + 1)
	if p < len(b) && b[p] == '}' {
		return p + 1
	}
	for {
		if p >= len(b) || b[p] != '"' {
			return d.malformed(p, "a member name in quotes is expected")
		}
		if p = d.jsonKey(p, object); p < 0 {
			return -1
		}
		if p = d.colon(p); p < 0 {
			return -1
		}
		if p = d.jsonValue(p, depth); p < 0 {
			return -1
		}
		p = d.gap(p)
		switch {
		case p < len(b) && b[p] == ',':
			p = d.gap(p + 1)
		case p < len(b) && b[p] == '}':
			return p + 1
		default:
			return d.malformed(p, "a comma or the end of the object is expected")
		}
	}
}

// jsonKey reads a member name of an object that stays JSON. Unescaped names
// stay in scratch for the rest of the event: later ones are compared with them.
func (d *Decoder) jsonKey(p int, object uint32) int {
	s, next := d.str(p + 1)
	if next < 0 {
		return -1
	}
	if int(s.n) > d.limits.KeyBytes {
		return d.longKey(p, int(s.n))
	}
	if d.keys.add(d, object, s) {
		return d.duplicate(p, string(d.text(s)))
	}
	return next
}

// appendCompact appends a valid JSON text without the white space in it.
func appendCompact(dst, text []byte) []byte {
	for p := 0; p < len(text); {
		switch c := text[p]; c {
		case ' ', '\n', '\r', '\t':
			p++
		case '"':
			end, _ := scanString(text, p+1)
			dst = append(dst, text[p:end+1]...)
			p = end + 1
		default:
			dst = append(dst, c)
			p++
		}
	}
	return dst
}

// keySet holds the member names of an event's objects that stay JSON, to find
// names that come twice in one object. It is one open-addressing table for all
// of them, so that many objects and large ones both take time linear in their
// bytes; the hash is seeded, so that names cannot be chosen to collide.
type keySet struct {
	slots   []keySlot // a power of two; a slot is used if its event is the current one
	used    int
	event   uint32
	objects uint32
	seed    maphash.Seed
}

type keySlot struct {
	event, object, hash uint32
	key                 span
}

const (
	minKeySlots     = 64
	maxKeptKeySlots = 1 << 14
)

func newKeySet() keySet { return keySet{seed: maphash.MakeSeed()} }

// begin forgets all names.
func (k *keySet) begin() {
	k.used, k.objects = 0, 0
	if k.event++; k.event == 0 {
		clear(k.slots)
		k.event = 1
	}
	if len(k.slots) > maxKeptKeySlots {
		k.slots = nil
	}
}

// object returns a number for the next object.
func (k *keySet) object() uint32 {
	k.objects++
	return k.objects
}

// add notes a name of an object and tells whether it was there.
func (k *keySet) add(d *Decoder, object uint32, key span) bool {
	if (k.used+1)*2 > len(k.slots) {
		k.grow()
	}
	text := d.text(key)
	h64 := maphash.Bytes(k.seed, text)
	h := uint32(h64) ^ object*0x9e3779b1
	mask := uint32(len(k.slots) - 1)
	i := h & mask
	for k.slots[i].event == k.event {
		s := &k.slots[i]
		if s.hash == h && s.object == object && string(d.text(s.key)) == string(text) {
			return true
		}
		i = (i + 1) & mask
	}
	k.slots[i] = keySlot{k.event, object, h, key}
	k.used++
	return false
}

func (k *keySet) grow() {
	old := k.slots
	k.slots = make([]keySlot, max(minKeySlots, 2*len(old)))
	mask := uint32(len(k.slots) - 1)
	for _, s := range old {
		if s.event != k.event {
			continue
		}
		i := s.hash & mask
		for k.slots[i].event == k.event {
			i = (i + 1) & mask
		}
		k.slots[i] = s
	}
}
