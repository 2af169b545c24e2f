package spoor

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Event is something that a person did. It needs a name and a person. One of the
// name IdentifyEvent is what Identify and Alias say; the server does not count it as an event.
type Event struct {
	// ID identifies the event for ever: the server stores one of an ID, however
	// often it is sent. Empty: a UUIDv7, made at the call.
	ID   string
	Name string

	UserID      string // as the application knows the person
	AnonymousID string // of a device or browser; an event with both links them

	Timestamp  time.Time      // when it happened; zero: the time of the call
	Properties map[string]any // of what was done
	Traits     map[string]any // of the person, in an IdentifyEvent alone
	Context    map[string]any // of the surroundings; wins over that of ctx and Options
}

// What the server takes, in bytes and years.
const (
	maxEventBytes    = 512 << 10
	maxIdentifyBytes = 128 << 10
	maxNameBytes     = 256
	maxIDBytes       = 256
	maxPersonIDBytes = 1024
	minYear, maxYear = 1900, 2199
)

// ErrInvalid is wrapped by the errors of events that no server would take.
var ErrInvalid = errors.New("invalid event")

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

// isEmpty tells of an identify call that it neither links two ids nor sets traits.
func (e *Event) isEmpty() bool {
	return e.Name == IdentifyEvent && len(e.Traits) == 0 && (e.UserID == "") != (e.AnonymousID == "")
}

func (e *Event) check() error {
	switch {
	case e.Name == "":
		return invalid("it has no Name")
	case len(e.Name) > maxNameBytes:
		return invalid("its Name has %d bytes, the limit is %d", len(e.Name), maxNameBytes)
	case len(e.ID) > maxIDBytes:
		return invalid("its ID has %d bytes, the limit is %d", len(e.ID), maxIDBytes)
	case e.UserID == "" && e.AnonymousID == "":
		return invalid("%.256q has neither UserID nor AnonymousID", e.Name)
	case max(len(e.UserID), len(e.AnonymousID)) > maxPersonIDBytes:
		return invalid("an id of the person of %.256q has more than %d bytes", e.Name, maxPersonIDBytes)
	case len(e.Traits) > 0 && e.Name != IdentifyEvent:
		return invalid("%.256q has Traits, which belong to Identify; say with Properties what belongs to the event", e.Name)
	case e.Timestamp.UTC().Year() < minYear || e.Timestamp.UTC().Year() > maxYear:
		return invalid("the Timestamp of %.256q lies in the year %d, want %d to %d", e.Name, e.Timestamp.UTC().Year(), minYear, maxYear)
	}
	return nil
}

// append writes the event as JSON, on one line: that is how the spool keeps it.
// contexts go from the strongest to the weakest; a member of a stronger one
// hides that of the same name in a weaker one.
func (e *Event) append(dst []byte, contexts ...map[string]any) ([]byte, error) {
	start := len(dst)
	dst = appendString(append(dst, eventPrefix...), e.ID)
	call := e.Name == IdentifyEvent
	if call {
		dst = append(dst, `,"type":"identify"`...)
	} else {
		dst = appendString(append(dst, `,"eventName":`...), e.Name)
	}
	if e.UserID != "" {
		dst = appendString(append(dst, `,"userId":`...), e.UserID)
	}
	if e.AnonymousID != "" {
		dst = appendString(append(dst, `,"anonymousId":`...), e.AnonymousID)
	}
	dst = append(dst, `,"timestamp":"`...)
	dst = append(appendTime(dst, e.Timestamp), '"')
	name, members, limit := "properties", e.Properties, maxEventBytes
	if call {
		name, members, limit = "traits", e.Traits, maxIdentifyBytes
	}
	var err error
	if len(members) > 0 {
		dst = append(append(append(dst, `,"`...), name...), `":`...)
		if dst, err = appendMap(dst, members, 1); err != nil {
			return dst[:start], invalid("%s of %.256q: %v", name, e.Name, err)
		}
	}
	if !call {
		dst = append(dst, `,"context":{`...)
		if dst, err = appendMerged(dst, contexts); err != nil {
			return dst[:start], invalid("context of %.256q: %v", e.Name, err)
		}
		dst = append(dst, '}')
	}
	dst = append(dst, '}')
	if n := len(dst) - start; n > limit {
		return dst[:start], invalid("%.256q has %d bytes as JSON, the limit is %d", e.Name, n, limit)
	}
	return dst, nil
}

// eventPrefix begins every event that this package writes.
const eventPrefix = `{"eventId":`

// appendTime writes t as RFC 3339 in UTC, with the microseconds that the server
// keeps. The year must have four digits.
func appendTime(dst []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	digits := func(n, places int) {
		for at := len(dst) + places; len(dst) < at; {
			dst = append(dst, '0')
		}
		for at := len(dst) - 1; n > 0; at, n = at-1, n/10 {
			dst[at] += byte(n % 10)
		}
	}
	digits(year, 4)
	dst = append(dst, '-')
	digits(int(month), 2)
	dst = append(dst, '-')
	digits(day, 2)
	dst = append(dst, 'T')
	digits(hour, 2)
	dst = append(dst, ':')
	digits(minute, 2)
	dst = append(dst, ':')
	digits(second, 2)
	dst = append(dst, '.')
	digits(t.Nanosecond()/1000, 6)
	return append(dst, 'Z')
}

// appendMerged writes the members of all contexts, without braces.
func appendMerged(dst []byte, contexts []map[string]any) ([]byte, error) {
	first := len(dst)
	for i, members := range contexts {
		for name, value := range members {
			if hidden(name, contexts[:i]) {
				continue
			}
			if len(dst) > first {
				dst = append(dst, ',')
			}
			dst = append(appendString(dst, name), ':')
			var err error
			if dst, err = appendValue(dst, value, 2); err != nil {
				return dst, err
			}
		}
	}
	return dst, nil
}

func hidden(name string, stronger []map[string]any) bool {
	for _, m := range stronger {
		if _, ok := m[name]; ok {
			return true
		}
	}
	return false
}

type contextKey struct{}

// WithContext returns a ctx whose members go into the context of every event
// that is enqueued with it. members must not be changed afterwards.
func WithContext(ctx context.Context, members map[string]any) context.Context {
	return context.WithValue(ctx, contextKey{}, members)
}

func contextOf(ctx context.Context) map[string]any {
	members, _ := ctx.Value(contextKey{}).(map[string]any)
	return members
}
