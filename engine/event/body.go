package event

import (
	"bytes"
)

// Item is the verdict on one event of a body.
type Item struct {
	Index    int     // of the event in the body, from 0; blank lines do not count
	Row      int     // in the batch; -1 where the event was refused
	Assigned bool    // it came without an eventId; see Decoder.EventID
	ID       []byte  // its eventId as far as it was read, for a refused event; good until the callback returns
	Raw      []byte  // its JSON; shares the body
	Letter   *Letter // of a refused event that is to be kept; good until the callback returns
	Reject   *Reject // nil where the event was accepted; the offset counts from the start of the body
}

// AddAll reads a body of many events in place: a JSON array, an object with
// such an array as its member "batch" (its member "sentAt" is Origin.SentAt of
// these events, other members are checked as JSON and ignored), or lines of one
// event each (NDJSON; blank lines are skipped, a final line end may be missing).
// A byte order mark at the very start is skipped. The form shows in the first bytes: a bracket, an object whose first
// members include a batch, or anything else.
//
// each is called after every event, in order. It may call EventID, Full and
// Seal; once the decoder is Full, further events are refused with
// CodeBatchFull, so a caller that takes long bodies seals there.
//
// In lines any fault is that line's alone. In an array an event that is JSON
// but no good event is refused alone, and a fault of the JSON itself ends the
// body. Where AddAll returns an error, a *Reject or what each returned,
// nothing of this body is left in the decoder; batches that each sealed are
// the caller's to drop.
func (d *Decoder) AddAll(body []byte, source string, newID func() [16]byte, each func(Item) error) error {
	d.setSource(source)
	r := bodyReader{d: d, body: body, newID: newID, each: each, rows: d.b.Rows()}
	d.data = body
	d.rej = nil
	p := space(body, skipBOM(body))
	var err error
	switch {
	case p < len(body) && body[p] == '[':
		var end int
		if end, err = r.array(p); err == nil {
			err = r.end(end)
		}
	case p < len(body) && body[p] == '{' && isWrapper(body, p):
		if sent, ok := sentAt(body, p); ok {
			d.origin.SentAt = sent
		}
		var end int
		if end, err = r.wrapper(p); err == nil {
			err = r.end(end)
		}
	default:
		err = r.lines(skipBOM(body))
	}
	if err != nil {
		r.undo()
	}
	return err
}

type bodyReader struct {
	d     *Decoder
	body  []byte
	newID func() [16]byte
	each  func(Item) error
	index int
	rows  int // of the batch before the body's first event in it
}

// undo drops the body's events from the batch.
func (r *bodyReader) undo() {
	if r.d.Rows() > r.rows {
		r.d.Rollback(r.rows)
	}
}

// verdict hands the event in body[start:end] to each, after it was committed
// or refused.
func (r *bodyReader) verdict(start, end, row int, assigned bool) error {
	d := r.d
	item := Item{Index: r.index, Row: row, Assigned: assigned, Raw: r.body[start:end]}
	if row < 0 {
		item.Reject, item.Letter = d.rej, d.letter
		if d.ev.id.n > 0 {
			item.ID = d.text(d.ev.id)
		}
	}
	r.index++
	err := r.each(item)
	if d.sealed {
		r.rows = 0 // what follows begins a batch of its own
	}
	return err
}

// array reads the events of the array at p and returns the index behind it.
func (r *bodyReader) array(p int) (int, error) {
	d, b := r.d, r.body
	p = space(b, p+1)
	if p < len(b) && b[p] == ']' {
		return p + 1, nil
	}
	for {
		end, err := r.item(p)
		if err != nil {
			return 0, err
		}
		p = space(b, end)
		switch {
		case p < len(b) && b[p] == ',':
			p = space(b, p+1)
		case p < len(b) && b[p] == ']':
			return p + 1, nil
		default:
			d.rej = nil
			d.malformed(p, "a comma or the end of the array is expected behind an event")
			return 0, d.rej
		}
	}
}

// item reads the event at p of an array and returns the index behind it.
func (r *bodyReader) item(p int) (end int, err error) {
	d := r.d
	row, assigned := -1, false
	if end = d.read(p, false); end >= 0 {
		row, assigned = d.commit(p, r.newID)
	} else {
		if d.rej.Code == CodeMalformed {
			return 0, d.rej
		}
		if end = skipValue(r.body, p); end < 0 {
			d.rej = nil
			d.malformed(len(r.body), "the array does not end")
			return 0, d.rej
		}
	}
	return end, r.verdict(p, end, row, assigned)
}

// wrapper reads the object at p around the events.
func (r *bodyReader) wrapper(p int) (int, error) {
	d, b := r.d, r.body
	seen := false
	d.rej = nil
	d.keys.begin()
	d.scratch = d.scratch[:0]
	names := map[string]bool{} // a request's own few members
	p = space(b, p+1)
	for {
		if p >= len(b) || b[p] != '"' {
			return 0, r.broken(p, "a member name in quotes is expected")
		}
		s, next := d.str(p + 1)
		if next < 0 {
			return 0, d.rej
		}
		name := string(d.text(s))
		if int(s.n) > d.limits.KeyBytes || len(names) >= d.limits.Keys {
			d.fail(CodeTooManyKeys, p, "the object around the batch has too many or too long members")
			return 0, d.rej
		}
		if names[name] {
			d.duplicate(p, name)
			return 0, d.rej
		}
		names[name] = true
		v := d.colon(next)
		if v < 0 {
			return 0, d.rej
		}
		if name == wrapperMember && b[v] == '[' {
			seen = true
			var err error
			if p, err = r.array(v); err != nil {
				return 0, err
			}
			d.rej = nil
		} else if p = d.jsonValue(v, 1); p < 0 {
			return 0, d.rej
		}
		var last bool
		if p, last = d.comma(p); p < 0 {
			return 0, d.rej
		}
		if last {
			break
		}
	}
	if !seen {
		return 0, r.broken(p, "the member batch must be an array of events")
	}
	return p, nil
}

func (r *bodyReader) broken(p int, what string) error {
	r.d.rej = nil
	r.d.malformed(p, what)
	return r.d.rej
}

// end checks that only white space follows.
func (r *bodyReader) end(p int) error {
	if p = space(r.body, p); p < len(r.body) {
		return r.broken(p, "there is more behind the end of the batch")
	}
	return nil
}

// lines reads one event per line from p on.
func (r *bodyReader) lines(p int) error {
	d, b := r.d, r.body
	for p < len(b) {
		end := len(b)
		if i := bytes.IndexByte(b[p:], '\n'); i >= 0 {
			end = p + i
		}
		start := space(b[:end], p)
		if start < end {
			if err := r.line(start, end); err != nil {
				return err
			}
		}
		p = end + 1
	}
	d.data = b
	return nil
}

func (r *bodyReader) line(start, end int) error {
	d := r.d
	d.data = r.body[:end]
	row, assigned := -1, false
	if end-start > d.limits.EventBytes {
		d.rej, d.letter, d.ev = nil, nil, fields{}
		d.fail(CodeEventTooLarge, start, "the line has %d bytes, the limit of an event is %d", end-start, d.limits.EventBytes)
	} else if next := d.read(start, true); next >= 0 {
		if next = space(d.data, next); next < end {
			d.malformed(next, "there is more behind the event; each event has a line of its own")
		} else {
			row, assigned = d.commit(start, r.newID)
		}
	}
	return r.verdict(start, end, row, assigned)
}

const wrapperMember = "batch"

// isWrapper tells whether the object at p is one around a batch: it has an
// array as its member batch before any member by which an event is known.
func isWrapper(b []byte, p int) bool {
	p = space(b, p+1)
	for p < len(b) && b[p] == '"' {
		end, _ := scanString(b, p+1)
		if end < 0 {
			return false
		}
		name := b[p+1 : end]
		if p = space(b, end+1); p >= len(b) || b[p] != ':' {
			return false
		}
		p = space(b, p+1)
		if string(name) == wrapperMember {
			return p < len(b) && b[p] == '['
		}
		if m := members[string(name)]; m != memberOther && m != memberContext {
			return false
		}
		if p = skipValue(b, p); p < 0 {
			return false
		}
		if p = space(b, p); p >= len(b) || b[p] != ',' {
			return false
		}
		p = space(b, p+1)
	}
	return false
}

// sentAt reads the time of sending that the object around a batch at p says, before
// the batch or behind it. Whether all of it is JSON shows later.
func sentAt(b []byte, p int) (micros int64, ok bool) {
	if !bytes.Contains(b, []byte(`"sentAt"`)) {
		return 0, false
	}
	for p = space(b, p+1); p < len(b) && b[p] == '"'; p = space(b, p+1) {
		end, _ := scanString(b, p+1)
		if end < 0 {
			break
		}
		name := b[p+1 : end]
		if p = space(b, end+1); p >= len(b) || b[p] != ':' {
			break
		}
		p = space(b, p+1)
		if string(name) == "sentAt" && p < len(b) && b[p] == '"' {
			if end, _ = scanString(b, p+1); end < 0 {
				break
			}
			return ParseTime(b[p+1 : end])
		}
		if p = skipValue(b, p); p < 0 {
			break
		}
		if p = space(b, p); p >= len(b) || b[p] != ',' {
			break
		}
	}
	return 0, false
}

// skipValue returns the index behind the value at p, or -1 where the input
// ends before. It looks at quotes and brackets only: it finds where an event
// ends that is refused already, of any depth, in constant memory.
func skipValue(b []byte, p int) int {
	depth := 0
	for p < len(b) {
		switch b[p] {
		case '"':
			end, _ := scanString(b, p+1)
			if end < 0 {
				return -1
			}
			p = end + 1
		case '{', '[':
			depth++
			p++
			continue
		case '}', ']':
			if depth == 0 {
				return p // the end of what holds the value
			}
			depth--
			p++
		case ' ', '\n', '\r', '\t', ',', ':':
			if depth == 0 {
				return p
			}
			p++
			continue
		default:
			p++
			if depth == 0 {
				continue
			}
		}
		if depth == 0 {
			return p
		}
	}
	if depth == 0 {
		return p
	}
	return -1
}
