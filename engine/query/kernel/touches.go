package kernel

import "spoor/segment"

// LastTouch finds, for each conversion of a person, the last touch before or at it.
// Days come in order; per person it keeps the latest touch of the days before.
type LastTouch struct {
	lo   uint32
	time []int64 // by person-lo: of the latest touch, none for none
	tag  []uint32
}

// NewLastTouch makes the state for the persons [lo, hi).
func NewLastTouch(lo, hi uint32) *LastTouch {
	l := &LastTouch{lo: lo, time: make([]int64, hi-lo), tag: make([]uint32, hi-lo)}
	for i := range l.time {
		l.time[i] = none
	}
	return l
}

// Day takes the touches of one day with their tags and its conversions, both sorted by
// key. It calls found for each conversion with the index of it, and the age and tag of the
// last touch; without a touch the age is NoTouch.
func (l *LastTouch) Day(day int32, touches []uint64, tags []uint32, conversions []uint64, found func(i int, age int64, tag uint32)) {
	base := int64(day) * segment.MicrosPerDay
	at := 0 // touches behind the last conversion's
	for i, c := range conversions {
		for at < len(touches) && touches[at] <= c {
			at++
		}
		person := c >> segment.KeyTimeBits
		time, tag := l.time[uint32(person)-l.lo], l.tag[uint32(person)-l.lo]
		if at > 0 && touches[at-1]>>segment.KeyTimeBits == person {
			time, tag = int64(touches[at-1]&timeMask)+base, tags[at-1]
		}
		if time == none {
			found(i, NoTouch, 0)
			continue
		}
		found(i, int64(c&timeMask)+base-time, tag)
	}
	for i, k := range touches {
		p := uint32(k>>segment.KeyTimeBits) - l.lo
		l.time[p], l.tag[p] = int64(k&timeMask)+base, tags[i]
	}
}

// NoTouch is longer ago than every touch.
const NoTouch = -none
