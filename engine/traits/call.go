package traits

import (
	"encoding/binary"
	"errors"
	"fmt"

	"spoor/engine/event"
)

// Call is what an identify call says, as a log entry carries it.
type Call struct {
	UserID, AnonymousID []byte // nil: absent; not both
	Time                int64  // microseconds since the Unix epoch
	Traits              []event.Leaf
}

// ErrCall is wrapped when the calls of a log entry cannot be read.
var ErrCall = errors.New("identify calls cannot be read")

// AppendCall appends a call to the body of a log entry:
//
//	| text userId | text anonymousId | varint time | uvarint n | n x (text path, text value) |
//
// A text is a uvarint length and its bytes; of an id that is absent it is empty.
func AppendCall(dst []byte, c *Call) []byte {
	dst = appendText(appendText(dst, c.UserID), c.AnonymousID)
	dst = binary.AppendUvarint(binary.AppendVarint(dst, c.Time), uint64(len(c.Traits)))
	for i := range c.Traits {
		dst = appendText(dst, []byte(c.Traits[i].Path))
		dst = appendText(dst, appendValue(nil, &c.Traits[i]))
	}
	return dst
}

// ReadCalls reads the calls of a log entry. They share its bytes.
func ReadCalls(body []byte) ([]Call, error) {
	r := reader{b: body}
	var calls []Call
	for len(r.b) > 0 {
		c := Call{UserID: r.text(), AnonymousID: r.text(), Time: r.varint()}
		if len(c.UserID) == 0 {
			c.UserID = nil
		}
		if len(c.AnonymousID) == 0 {
			c.AnonymousID = nil
		}
		for range r.count() {
			path, value := r.text(), r.text()
			l, ok := leafOf(string(path), value)
			if !ok {
				r.fail("a value of %d bytes is of no kind", len(value))
			}
			if r.err != nil {
				break
			}
			c.Traits = append(c.Traits, l)
		}
		if c.UserID == nil && c.AnonymousID == nil {
			r.fail("a call names nobody")
		}
		if r.err != nil {
			return nil, fmt.Errorf("%w: %w", ErrCall, r.err)
		}
		if calls = append(calls, c); len(calls) > MaxCalls {
			return nil, fmt.Errorf("%w: there are more than %d", ErrCall, MaxCalls)
		}
	}
	if r.err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCall, r.err)
	}
	return calls, nil
}
