package segment

import (
	"encoding/binary"

	"spoor/segment/encoding"
)

// A block of keys stores n rows sorted by (person, time), time in units that
// divide every time of the section:
//
//	| uvarint runs | uvarint first person | lane of person gaps-1, runs-1 values |
//	| lane of run lengths-1, runs values | lane of first times, runs values |
//	| patched lane of time steps, n-runs values |
//
// A run is the rows of one person in the block: its first time is the time of
// day, each further row adds the step to the row before.
type keyCoder struct {
	persons, lengths []uint32
	first, steps     []uint64
}

// appendBlock appends keys, whose times of day are multiples of unit.
func (c *keyCoder) appendBlock(dst []byte, keys []uint64, unit uint64) []byte {
	c.persons, c.lengths, c.first, c.steps = c.persons[:0], c.lengths[:0], c.first[:0], c.steps[:0]
	const timeMask = 1<<KeyTimeBits - 1
	for i := 0; i < len(keys); {
		person := keys[i] >> KeyTimeBits
		c.persons = append(c.persons, uint32(person))
		c.first = append(c.first, keys[i]&timeMask/unit)
		j := i + 1
		for ; j < len(keys) && keys[j]>>KeyTimeBits == person; j++ {
			c.steps = append(c.steps, (keys[j]-keys[j-1])/unit)
		}
		c.lengths = append(c.lengths, uint32(j-i-1))
		i = j
	}
	dst = binary.AppendUvarint(dst, uint64(len(c.persons)))
	dst = binary.AppendUvarint(dst, uint64(c.persons[0]))
	for i := len(c.persons) - 1; i > 0; i-- {
		c.persons[i] -= c.persons[i-1] + 1
	}
	dst = encoding.AppendLane(dst, c.persons[1:], true)
	dst = encoding.AppendLane(dst, c.lengths, true)
	dst = encoding.AppendLane(dst, c.first, false)
	return encoding.AppendLane(dst, c.steps, true)
}

// readBlock decodes len(dst) keys.
func (c *keyCoder) readBlock(dst []uint64, block []byte, unit uint64) error {
	l := encoding.NewLane(block)
	runs := l.Count(len(dst))
	person := l.Uvarint()
	if l.Err() != nil || runs == 0 || person >= MaxPersons {
		return corrupt("keys: %d runs for %d rows", runs, len(dst))
	}
	c.persons, c.lengths, c.first = grow(c.persons, runs), grow(c.lengths, runs), grow(c.first, runs)
	c.steps = grow(c.steps, len(dst)-runs)
	c.persons[0] = uint32(person)
	if encoding.ReadInts(l, c.persons[1:]) != nil || encoding.ReadInts(l, c.lengths) != nil ||
		encoding.ReadInts(l, c.first) != nil || encoding.ReadInts(l, c.steps) != nil {
		return corrupt("keys: bad lane")
	}
	at, step := 0, 0
	steps := c.steps
	for r, length := range c.lengths {
		if r > 0 {
			person += uint64(c.persons[r]) + 1
		}
		end := at + int(length) + 1
		if end > len(dst) || step+int(length) > len(steps) {
			return corrupt("keys: runs exceed %d rows", len(dst))
		}
		key := person<<KeyTimeBits | c.first[r]*unit
		dst[at] = key
		run := dst[at+1 : end]
		for i, s := range steps[step : step+len(run)] {
			key += s * unit
			run[i] = key
		}
		at, step = end, step+len(run)
	}
	if at != len(dst) || person >= MaxPersons {
		return corrupt("keys: runs hold %d of %d rows", at, len(dst))
	}
	return nil
}

// timeUnit is the largest of 1 s, 1 ms and 1 µs that divides every key's time of day.
func timeUnit(keys []uint64) uint64 {
	const timeMask = 1<<KeyTimeBits - 1
	seconds, millis := true, true
	for _, k := range keys {
		t := k & timeMask
		if t%1000 != 0 {
			millis = false
			break
		}
		seconds = seconds && t%1_000_000 == 0
	}
	switch {
	case !millis:
		return 1
	case seconds:
		return 1_000_000
	}
	return 1000
}

func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, n+n/4)
	}
	return s[:n]
}
