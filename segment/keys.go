package segment

import "spoor/segment/encoding"

// A block of keys stores n rows sorted by (person, time), time in units that
// divide every time of the section:
//
//	| patched lane of n person gaps | lane of n times of day |
//
// The first gap is the person of the first row, each further one the distance
// to the person of the row before: 0 for the same. Runs of persons with steps
// of time would take half a byte less a row, but a loop without branches over two lanes
// decodes three times as fast, and every query decodes keys.
type keyCoder struct {
	gaps  []uint32
	times []uint64
}

const timeMask = 1<<KeyTimeBits - 1

// appendBlock appends keys, whose times of day are multiples of unit.
func (c *keyCoder) appendBlock(dst []byte, keys []uint64, unit uint64) []byte {
	c.gaps, c.times = c.gaps[:0], c.times[:0]
	last := uint64(0)
	for _, k := range keys {
		person := k >> KeyTimeBits
		c.gaps = append(c.gaps, uint32(person-last))
		c.times = append(c.times, k&timeMask/unit)
		last = person
	}
	// The first gap is an outlier: it stands apart so that it does not widen the rest.
	dst = encoding.AppendLane(dst, c.gaps[:1], false)
	dst = encoding.AppendLane(dst, c.gaps[1:], true)
	return encoding.AppendLane(dst, c.times, false)
}

// readBlock decodes len(dst) keys.
func (c *keyCoder) readBlock(dst []uint64, block []byte, unit uint64) error {
	l := encoding.NewLane(block)
	c.gaps = grow(c.gaps, len(dst))
	if encoding.ReadInts(l, c.gaps[:1]) != nil || encoding.ReadInts(l, c.gaps[1:]) != nil || encoding.ReadInts(l, dst) != nil {
		return corrupt("keys: bad lane")
	}
	// Every time of a day is below a power of two that is within timeMask, in each unit: so
	// are all bits of all times together.
	person, times := uint64(0), uint64(0)
	gaps, keys := c.gaps[:len(dst)], dst
	for len(keys) >= 4 && len(gaps) >= 4 {
		g, k := (*[4]uint32)(gaps), (*[4]uint64)(keys)
		times |= k[0] | k[1] | k[2] | k[3]
		first := person + uint64(g[0])
		second := first + uint64(g[1])
		third := second + uint64(g[2])
		person = third + uint64(g[3])
		k[0] = first<<KeyTimeBits + k[0]*unit
		k[1] = second<<KeyTimeBits + k[1]*unit
		k[2] = third<<KeyTimeBits + k[2]*unit
		k[3] = person<<KeyTimeBits + k[3]*unit
		gaps, keys = gaps[4:], keys[4:]
	}
	for i, t := range keys {
		person += uint64(gaps[i])
		times |= t
		keys[i] = person<<KeyTimeBits + t*unit
	}
	if person >= MaxPersons || times > timeMask/unit {
		return corrupt("keys: person %d, times of unit %d up to %d", person, unit, times)
	}
	return nil
}

// Scratch is working memory of one goroutine that reads. The zero value is ready.
type Scratch struct {
	keys   keyCoder
	ints   []int64
	codes  []uint32
	floats []float64
	block  []uint64
	words  []uint64
	held   heldKeys

	KeyBlocks, Blocks int64 // that were decoded: of keys, and of anything else
}

// Forget lets go of what was read, so that the memory may serve another reader.
func (x *Scratch) Forget() { x.held.s = nil }

// heldKeys is the block of keys in which a bound was looked for last: where few rows are
// wanted, as those of one person, they are in it.
type heldKeys struct {
	s     *Section // nil: none
	first int
	keys  []uint64
}

// rows are the keys of the rows [from, to) if the block holds them all, else nil.
func (h *heldKeys) rows(s *Section, from, to int) []uint64 {
	if h.s != s || from < h.first || to > h.first+len(h.keys) {
		return nil
	}
	return h.keys[from-h.first : to-h.first]
}

// timeUnit is the largest of 1 s, 1 ms and 1 µs that divides every key's time of day.
func timeUnit(keys []uint64) uint64 {
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

// greatest is the greatest of vals, 0 of none: four at a time, for each waits for the one before.
func greatest(vals []uint32) uint32 {
	var a, b, c, d uint32
	for ; len(vals) >= 4; vals = vals[4:] {
		a, b, c, d = max(a, vals[0]), max(b, vals[1]), max(c, vals[2]), max(d, vals[3])
	}
	for _, v := range vals {
		a = max(a, v)
	}
	return max(a, b, c, d)
}
