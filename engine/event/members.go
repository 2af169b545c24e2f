package event

import (
	"fmt"

	"spoor/segment/batch"
)

// open values: the members of an event, and of the objects that spread into
// columns. Depths count the objects and arrays around a value.

// key reads the member name at p, the colon behind it and white space around
// it, and returns the child of parent and the index of the value, or -1.
// predicted is the child that the name is likely to be, or nil.
func (d *Decoder) key(p int, parent, predicted *node) (n *node, value int) {
	b := d.data
	if predicted != nil && predicted.standsAt(b, p) {
		n = predicted
		p += len(n.quoted)
	} else {
		if n, p = d.slowKey(p, parent); p < 0 {
			return nil, -1
		}
	}
	if n.stamp == d.seq {
		return nil, d.duplicate(p, n.key)
	}
	n.stamp = d.seq
	if p+1 < len(b) && b[p] == ':' && b[p+1] > ' ' {
		return n, p + 1
	}
	if p = d.colon(p); p < 0 {
		return nil, -1
	}
	return n, p
}

func (d *Decoder) slowKey(p int, parent *node) (n *node, next int) {
	if p >= len(d.data) || d.data[p] != '"' {
		return nil, d.malformed(p, "a member name in quotes is expected")
	}
	kept := len(d.scratch)
	s, next := d.str(p + 1)
	if next < 0 {
		return nil, -1
	}
	if int(s.n) > d.limits.KeyBytes {
		return nil, d.longKey(p, int(s.n))
	}
	n = d.child(parent, d.text(s))
	d.scratch = d.scratch[:kept]
	return n, next
}

func (d *Decoder) longKey(p, n int) int {
	return d.fail(CodeKeyTooLong, p, "a member name has %d bytes, the limit is %d", n, d.limits.KeyBytes)
}

func (d *Decoder) duplicate(p int, key string) int {
	return d.fail(CodeDuplicateKey, p, "the member %.100q comes twice in one object", key)
}

// colon passes the colon behind a name and returns the index of the value, or -1.
func (d *Decoder) colon(p int) int {
	b := d.data
	if p < len(b) && b[p] <= ' ' {
		d.spaced = true
		p = space(b, p)
	}
	if p >= len(b) || b[p] != ':' {
		return d.malformed(p, "a colon is expected behind a member name")
	}
	if p++; p < len(b) && b[p] <= ' ' {
		d.spaced = true
		p = space(b, p)
	}
	if p >= len(b) {
		return d.malformed(p, "a value is expected, the input ends")
	}
	return p
}

// comma passes what follows a member: next is the index of the next name, or,
// where the object ends, behind its brace with last set; -1 where neither comes.
func (d *Decoder) comma(p int) (next int, last bool) {
	b := d.data
	if p < len(b) && b[p] <= ' ' {
		p = space(b, p)
	}
	if p < len(b) {
		switch b[p] {
		case ',':
			if p++; p < len(b) && b[p] <= ' ' {
				p = space(b, p)
			}
			return p, false
		case '}':
			return p + 1, true
		}
	}
	return d.malformed(p, "a comma or the end of the object is expected"), true
}

// event reads the event at p and returns the index behind it, or -1.
func (d *Decoder) event(p int) int {
	b := d.data
	p = space(b, p+1)
	if p < len(b) && b[p] == '}' {
		return p + 1
	}
	predicted, slot := d.root.first, &d.root.first
	for {
		n, v := d.key(p, d.root, predicted)
		if v < 0 {
			return -1
		}
		if n != predicted {
			*slot = n
		}
		predicted, slot = n.next, &n.next
		if n.member == memberOther {
			p = d.value(v, n, 1)
		} else {
			p = d.known(v, n)
		}
		if p < 0 {
			return -1
		}
		if p+1 < len(b) && b[p] == ',' && b[p+1] > ' ' {
			p++
			continue
		}
		var last bool
		if p, last = d.comma(p); last {
			return p
		}
	}
}

// known reads the value of a member that means something.
func (d *Decoder) known(p int, n *node) int {
	f := &d.ev
	switch n.member {
	case memberEventID:
		s, next := d.required(p, n, CodeBadEventID, d.limits.IDBytes)
		f.id = s
		return next
	case memberEventName:
		s, next := d.required(p, n, CodeBadName, d.limits.NameBytes)
		f.name = s
		return next
	case memberUserID:
		s, next := d.person(p, n, &f.shape.empty[emptyUser])
		f.user = s
		return next
	case memberAnonymousID:
		s, next := d.person(p, n, &f.shape.empty[emptyAnon])
		f.anon = s
		return next
	case memberTimestamp:
		return d.timestamp(p)
	case memberProperties:
		return d.fieldObject(p, n, &f.shape.empty[emptyProperties])
	case memberContext:
		return d.fieldObject(p, n, &f.shape.empty[emptyContext])
	default:
		return d.jsonValue(p, 1)
	}
}

// required reads a string of at most limit bytes that is not empty.
func (d *Decoder) required(p int, n *node, code string, limit int) (s span, next int) {
	if d.data[p] != '"' {
		return s, d.wrongType(p, code, n.key+" must be a string")
	}
	if s, next = d.str(p + 1); next < 0 {
		return s, -1
	}
	switch {
	case s.n == 0 && n.member == memberEventName:
		return s, d.fail(CodeMissingName, p, "eventName is missing or empty")
	case s.n == 0:
		return s, d.fail(code, p, "%s is empty; leave it out to have one assigned", n.key)
	case int(s.n) > limit:
		return s, d.fail(code, p, "%s has %d bytes, the limit is %d", n.key, s.n, limit)
	}
	return s, next
}

// person reads userId or anonymousId, where null and "" count as absent.
func (d *Decoder) person(p int, n *node, empty *emptiness) (s span, next int) {
	if d.data[p] == 'n' {
		*empty = nullMember
		return s, d.literal(p, "null")
	}
	if d.data[p] != '"' {
		return s, d.wrongType(p, CodeBadPerson, n.key+" must be a string; send numbers in quotes")
	}
	if s, next = d.str(p + 1); next < 0 {
		return s, -1
	}
	if s.n == 0 {
		*empty = emptyValue
	}
	if int(s.n) > d.limits.PersonIDBytes {
		return s, d.fail(CodeBadPerson, p, "%s has %d bytes, the limit is %d", n.key, s.n, d.limits.PersonIDBytes)
	}
	return s, next
}

// wrongType refuses a value of another type, unless it is not even JSON.
func (d *Decoder) wrongType(p int, code, message string) int {
	if d.jsonValue(p, 1) >= 0 {
		d.fail(code, p, "%s", message)
	}
	return -1
}

const timestampHelp = "timestamp must be RFC 3339 with a zone, like 2026-05-01T10:20:30.456Z, or milliseconds since 1970 as an integer, between 1900 and 2199"

func (d *Decoder) timestamp(p int) int {
	f := &d.ev
	switch c := d.data[p]; {
	case c == '"':
		s, next := d.str(p + 1)
		if next < 0 {
			return -1
		}
		ts, ok := parseTimestamp(d.text(s))
		if !ok {
			return d.fail(CodeBadTimestamp, p, timestampHelp)
		}
		f.ts, f.shape.form = ts, ts.form
		return next
	case c == '-' || c-'0' <= 9:
		end := d.scanNumber(p)
		if end < 0 {
			return -1
		}
		time, ok := parseMillis(d.data[p:end])
		if !ok {
			return d.fail(CodeBadTimestamp, p, timestampHelp)
		}
		f.ts.time, f.shape.form = time, timeForm{kind: timeInteger}
		return end
	}
	return d.wrongType(p, CodeBadTimestamp, timestampHelp)
}

// fieldObject reads properties or context.
func (d *Decoder) fieldObject(p int, n *node, empty *emptiness) int {
	switch d.data[p] {
	case 'n':
		*empty = nullMember
		return d.literal(p, "null")
	case '{':
		first := space(d.data, p+1)
		if first < len(d.data) && d.data[first] == '}' {
			*empty = emptyValue
			return first + 1
		}
		return d.object(first, n, 2)
	}
	return d.wrongType(p, CodeBadProperties, n.key+" must be an object")
}

// object reads the members of the object of path parent, from the first name
// at p on, and returns the index behind its brace, or -1. depth counts it.
func (d *Decoder) object(p int, parent *node, depth int) int {
	if depth > d.limits.Depth {
		return d.tooDeep(p)
	}
	b := d.data
	predicted, slot := parent.first, &parent.first
	for {
		n, v := d.key(p, parent, predicted)
		if v < 0 {
			return -1
		}
		if n != predicted {
			*slot = n
		}
		predicted, slot = n.next, &n.next
		if p = d.value(v, n, depth); p < 0 {
			return -1
		}
		if p+1 < len(b) && b[p] == ',' && b[p+1] > ' ' {
			p++
			continue
		}
		var last bool
		if p, last = d.comma(p); last {
			return p
		}
	}
}

func (d *Decoder) tooDeep(p int) int {
	return d.fail(CodeTooDeep, p, "objects and arrays are nested more than %d deep", d.limits.Depth)
}

// value reads the value at p as that of n. depth counts the objects around it.
func (d *Decoder) value(p int, n *node, depth int) int {
	b := d.data
	switch c := b[p]; c {
	case '"':
		s, next := d.str(p + 1)
		if next < 0 {
			return -1
		}
		if int(s.n) > d.limits.StringBytes {
			return d.fail(CodeStringTooLong, p, "%.300s has %d bytes, the limit is %d", n.path, s.n, d.limits.StringBytes)
		}
		return d.pushText(n, batch.KindString, s, next)
	case '{':
		if depth == 1 || !n.flat {
			return d.jsonLeaf(p, n, depth)
		}
		first := space(b, p+1)
		if first >= len(b) || b[first] == '}' {
			return d.jsonLeaf(p, n, depth)
		}
		return d.object(first, n, depth+1)
	case '[':
		return d.jsonLeaf(p, n, depth)
	case 't':
		if next := d.literal(p, "true"); next >= 0 {
			return d.push(n, batch.KindBool, 1, next)
		}
		return -1
	case 'f':
		if next := d.literal(p, "false"); next >= 0 {
			return d.push(n, batch.KindBool, 0, next)
		}
		return -1
	case 'n':
		if next := d.literal(p, "null"); next >= 0 {
			return d.push(n, batch.KindNull, 0, next)
		}
		return -1
	default:
		if c == '-' || c-'0' <= 9 {
			return d.number(p, n)
		}
		return d.noValue(p)
	}
}

func (d *Decoder) noValue(p int) int {
	return d.malformed(p, fmt.Sprintf("a value cannot begin with %q", d.data[p:p+1]))
}

// literal passes true, false or null.
func (d *Decoder) literal(p int, want string) int {
	if len(d.data)-p >= len(want) && string(d.data[p:p+len(want)]) == want {
		return p + len(want)
	}
	return d.malformed(p, want+" is misspelled")
}
