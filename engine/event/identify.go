package event

import (
	"math"

	"spoor/segment/batch"
)

// Identify is a call that says who somebody is, and what is known of the person.
type Identify struct {
	UserID      []byte // nil: absent
	AnonymousID []byte // nil: absent
	Time        int64  // microseconds since the Unix epoch; of none sent, see HasTime
	HasTime     bool
	// Traits are as columns of events, with paths below the person (plan,
	// address.city), in the order of the JSON.
	Traits []Leaf
}

// traitsMember is the member of a call that holds the traits.
const traitsMember = "traits"

// Identify reads the one call that is data: userId, anonymousId, traits and
// timestamp by the rules and limits of events. Other members are checked as JSON and
// ignored. It leaves the batch alone; what it returns ends with the decoder's next call.
func (d *Decoder) Identify(data []byte) (*Identify, *Reject) {
	d.data = data
	p := d.begin(space(data, skipBOM(data)), true)
	if p >= 0 {
		p = d.identify(p)
	}
	if p < 0 {
		return nil, d.rej
	}
	if p = space(data, p); p < len(data) {
		d.malformed(p, "there is more behind the call; send calls one by one")
		return nil, d.rej
	}
	call := &Identify{Time: d.ev.ts.time, HasTime: d.ev.shape.form.kind != timeAbsent}
	if d.ev.user.n > 0 {
		call.UserID = d.text(d.ev.user)
	}
	if d.ev.anon.n > 0 {
		call.AnonymousID = d.text(d.ev.anon)
	}
	if call.UserID == nil && call.AnonymousID == nil {
		d.fail(CodeMissingPerson, 0, "one of userId and anonymousId is required, as a string that is not empty")
		return nil, d.rej
	}
	for i := range d.leaves {
		l := &d.leaves[i]
		call.Traits = append(call.Traits, d.leafAt(l, l.node.path[len(traitsMember)+1:]))
	}
	return call, nil
}

// identify reads the call at p and returns the index behind it, or -1.
func (d *Decoder) identify(p int) int {
	p = space(d.data, p+1)
	if p < len(d.data) && d.data[p] == '}' {
		return p + 1
	}
	for {
		n, v := d.key(p, d.root, nil)
		if v < 0 {
			return -1
		}
		var empty emptiness
		switch {
		case n.key == traitsMember:
			p = d.fieldObject(v, n, &empty)
		case n.member == memberUserID, n.member == memberAnonymousID, n.member == memberTimestamp:
			p = d.known(v, n)
		default:
			p = d.jsonValue(v, 1)
		}
		if p < 0 {
			return -1
		}
		var last bool
		if p, last = d.comma(p); p < 0 || last {
			return p
		}
	}
}

// leafAt gives a value that was read the form in which it is given back, under a path.
func (d *Decoder) leafAt(l *leaf, path string) Leaf {
	out := Leaf{Path: path, Kind: l.kind}
	switch l.kind {
	case batch.KindString, batch.KindNumText, batch.KindJSON:
		out.Text = d.text(span{uint32(l.bits >> 32), uint32(l.bits)})
	case batch.KindNumber:
		out.Num = math.Float64frombits(l.bits)
	case batch.KindInt:
		out.Int = int64(l.bits)
	case batch.KindBool:
		out.Bool = l.bits != 0
	}
	return out
}

// AppendObject appends leaves, ascending by path, as one JSON object without white space.
func AppendObject(dst []byte, leaves []Leaf) []byte {
	if len(leaves) == 0 {
		return append(dst, '{', '}')
	}
	from := len(dst)
	dst = appendLeaves(dst, leaves)
	dst[from] = '{' // in place of the comma that goes before a member
	return append(dst, '}')
}
