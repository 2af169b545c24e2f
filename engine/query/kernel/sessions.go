package kernel

import (
	"slices"

	"spoor/segment"
)

// Sessions cuts the events of persons into sessions: no gap between two events
// of one is longer than gap, and none lasts longer than max when that is set. It takes the
// events of a day by (person, time), day after day, and keeps the session that is still
// open of each person.
type Sessions struct {
	gap, max int64
	lo       uint32
	open     []openSession
	emit     func(person uint32, start, end int64, events int, tag uint32)
}

type openSession struct {
	start, end int64
	events     uint32
	tag        uint32
}

// NewSessions makes the state for the persons [lo, hi). emit is called once per
// session, when it is known to have ended; tag is that of its first event.
func NewSessions(gap, maxLength int64, lo, hi uint32, emit func(person uint32, start, end int64, events int, tag uint32)) *Sessions {
	return &Sessions{gap: gap, max: maxLength, lo: lo, open: make([]openSession, hi-lo), emit: emit}
}

// Day takes the events of one day, sorted by key; tags go with them or are empty.
func (s *Sessions) Day(day int32, keys []uint64, tags []uint32) {
	base := int64(day) * segment.MicrosPerDay
	for i := 0; i < len(keys); {
		person := uint32(keys[i] >> segment.KeyTimeBits)
		o := s.open[person-s.lo]
		for ; i < len(keys) && uint32(keys[i]>>segment.KeyTimeBits) == person; i++ {
			t := int64(keys[i]&timeMask) + base
			if o.events > 0 && t-o.end <= s.gap && (s.max == 0 || t-o.start <= s.max) {
				o.end = t
				o.events++
				continue
			}
			if o.events > 0 {
				s.emit(person, o.start, o.end, int(o.events), o.tag)
			}
			o = openSession{start: t, end: t, events: 1}
			if len(tags) > 0 {
				o.tag = tags[i]
			}
		}
		s.open[person-s.lo] = o
	}
}

// End emits the sessions that are still open.
func (s *Sessions) End() {
	for p, o := range s.open {
		if o.events > 0 {
			s.emit(s.lo+uint32(p), o.start, o.end, int(o.events), o.tag)
		}
	}
}

// SessionTotals sums sessions up.
type SessionTotals struct {
	Sessions  int
	Events    int
	Bounces   int
	Duration  int64     // microseconds, of all sessions
	Durations [][]int64 // of each, in pieces that are never copied
	Persons   PersonSet
}

// Add counts a session.
func (t *SessionTotals) Add(person uint32, duration int64, events int) {
	t.Sessions++
	t.Events += events
	t.Duration += duration
	if events == 1 {
		t.Bounces++
	}
	last := len(t.Durations) - 1
	if last < 0 || len(t.Durations[last]) == cap(t.Durations[last]) {
		t.Durations = append(t.Durations, make([]int64, 0, min(max(t.Sessions, 16), 1<<16)))
		last++
	}
	t.Durations[last] = append(t.Durations[last], duration)
	t.Persons.Add(person)
}

// Merge adds what o counted. The durations are shared.
func (t *SessionTotals) Merge(o *SessionTotals) {
	t.Sessions += o.Sessions
	t.Events += o.Events
	t.Bounces += o.Bounces
	t.Duration += o.Duration
	t.Durations = slices.Concat(t.Durations, o.Durations)
	t.Persons.Merge(&o.Persons)
}

// EachSession calls f with the events of each session of one person.
func EachSession(events []Event, gap int64, f func(session []Event)) {
	from := 0
	for i := 1; i <= len(events); i++ {
		if i == len(events) || events[i].Time-events[i-1].Time > gap {
			f(events[from:i])
			from = i
		}
	}
}
