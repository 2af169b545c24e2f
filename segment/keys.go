package segment

import (
	"math/bits"
	"sort"

	"spoor/segment/encoding"
)

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
	gaps   []uint32
	times  []uint64
	places []uint32
	sums   []uint64
	spare  []uint64
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

// RowsOf returns the rows [from, to) of the persons [lo, hi).
func (s *Section) RowsOf(lo, hi uint64, x *Scratch) (from, to int, err error) {
	hold := hi-lo <= fewPersons
	if from, err = s.lowerBound(lo<<KeyTimeBits, hold, x); err != nil {
		return 0, 0, err
	}
	if hi >= MaxPersons {
		return from, s.rows, nil
	}
	to, err = s.lowerBound(hi<<KeyTimeBits, hold, x)
	return from, to, err
}

// fewPersons is up to how many persons are thought to have their rows in one block, which is
// then worth keeping.
const fewPersons = 8

// lowerBound is the first row whose key is not below key, the first one of a person. With hold
// the block where it was found is kept.
func (s *Section) lowerBound(key uint64, hold bool, x *Scratch) (int, error) {
	if key == 0 {
		return 0, nil
	}
	d, err := s.directory()
	if err != nil {
		return 0, err
	}
	b := sort.Search(len(d.firstKeys), func(i int) bool { return d.firstKeys[i] >= key })
	if b == 0 {
		return 0, nil
	}
	first := (b - 1) * blockRows
	last := min(first+blockRows, s.rows)
	if !hold {
		err = s.r.eachBlock(&d.columns[0], s.rows, first, last, func(block []byte, _, n int) (err error) {
			b, err = x.keys.placeOf(block, n, key>>KeyTimeBits)
			return err
		})
		return first + b, err
	}
	keys := x.held.rows(s, first, last)
	if keys == nil {
		x.held.keys = grow(x.held.keys, last-first)
		keys = x.held.keys
		x.held.s = nil
		if err := s.Keys(keys, first, last, x); err != nil {
			return 0, err
		}
		x.held.s, x.held.first = s, first
	}
	return first + sort.Search(len(keys), func(i int) bool { return keys[i] >= key }), nil
}

// Pick says which rows are wanted of those that are looked through.
type Pick struct {
	Rows    []uint64 // a bit for each row, from the first one that is looked through; nil: all
	Persons []uint64 // a bit for each person, from Lo on; nil: all
	Lo      uint32
}

// PickKeys reads the keys of the wanted rows among [from, to) into dst, which has room for all
// of them, and their rows into rows unless that is empty. It returns how many there are.
func (s *Section) PickKeys(dst []uint64, rows []uint32, from, to int, p Pick, x *Scratch) (kept int, err error) {
	d, err := s.directory()
	if err != nil {
		return 0, err
	}
	err = s.r.eachBlock(&d.columns[0], s.rows, from, to, func(b []byte, first, n int) error {
		lo, hi := max(first, from), min(first+n, to)
		x.KeyBlocks++
		some, err := x.keys.pickBlock(dst[kept:], b, s.unit, n, lo-first, hi-first, lo-from, &p)
		if err != nil {
			return err
		}
		if len(rows) > 0 {
			for i, place := range x.keys.places[:some] {
				rows[kept+i] = uint32(first) + place
			}
		}
		kept += some
		return nil
	})
	return kept, err
}

// pickBlock is readBlock of the wanted rows among the rows [from, to) of a block of n: it writes
// their keys to dst, which has room for all to-from, and says how many there are. Their
// places in the block are then in c.places. first is the place of row from in p.Rows. Of rows
// that nobody wants no time is decoded.
func (c *keyCoder) pickBlock(dst []uint64, block []byte, unit uint64, n, from, to, first int, p *Pick) (int, error) {
	wanted := to - from
	if p.Rows != nil {
		if wanted = countBits(p.Rows, first, first+to-from); wanted == 0 {
			return 0, nil
		}
	}
	l := encoding.NewLane(block)
	c.gaps, c.places = grow(c.gaps, n), grow(c.places, to-from)
	if encoding.ReadInts(l, c.gaps[:1]) != nil || encoding.ReadInts(l, c.gaps[1:]) != nil {
		return 0, corrupt("keys: bad lane")
	}
	dst = dst[:to-from]
	var kept int
	var err error
	if wanted < (to-from)/fewRows {
		kept, err = c.few(dst, from, to, first, p)
	} else {
		kept, err = c.many(dst, from, to, first, p)
	}
	if err != nil {
		return 0, err
	}
	dst = dst[:kept]
	if kept == 0 {
		return 0, nil
	}
	c.times = grow(c.times, kept)
	if encoding.Pick(l, n, c.places, c.times[:kept], &c.spare) != nil {
		return 0, corrupt("keys: bad lane")
	}
	times := uint64(0)
	for i, t := range c.times[:kept] {
		times |= t
		dst[i] += t * unit
	}
	if times > timeMask/unit {
		return 0, corrupt("keys: times of unit %d up to %d", unit, times)
	}
	return kept, nil
}

// fewRows: where less than this share of rows is wanted, they are looked up one by one.
const fewRows = 8

// many writes the persons of the wanted rows among [from, to) to dst and their places to c.places. No
// branch depends on the data.
func (c *keyCoder) many(dst []uint64, from, to, first int, p *Pick) (kept int, err error) {
	person := uint64(0)
	for _, gap := range c.gaps[:from] {
		person += uint64(gap)
	}
	gaps, places := c.gaps[from:to], c.places[:to-from]
	rows, persons, lo := p.Rows, p.Persons, uint64(p.Lo)
	switch {
	case rows == nil:
		for i, gap := range gaps {
			person += uint64(gap)
			bit := person - lo
			if bit>>6 >= uint64(len(persons)) {
				return 0, corrupt("keys: person %d", person)
			}
			dst[kept], places[kept] = person<<KeyTimeBits, uint32(from+i)
			kept += int(persons[bit>>6] >> (bit & 63) & 1)
		}
	case persons == nil:
		for i, gap := range gaps {
			person += uint64(gap)
			dst[kept], places[kept] = person<<KeyTimeBits, uint32(from+i)
			kept += int(rows[uint(first+i)>>6] >> (uint(first+i) & 63) & 1)
		}
	default:
		for i, gap := range gaps {
			person += uint64(gap)
			bit := person - lo
			if bit>>6 >= uint64(len(persons)) {
				return 0, corrupt("keys: person %d", person)
			}
			dst[kept], places[kept] = person<<KeyTimeBits, uint32(from+i)
			kept += int(rows[uint(first+i)>>6] >> (uint(first+i) & 63) & (persons[bit>>6] >> (bit & 63)) & 1)
		}
	}
	if person >= MaxPersons {
		return 0, corrupt("keys: person %d", person)
	}
	c.places = places[:kept]
	return kept, nil
}

// few is many where few rows are wanted.
func (c *keyCoder) few(dst []uint64, from, to, first int, p *Pick) (kept int, err error) {
	sum := uint64(0)
	c.sums = grow(c.sums, to)
	sums := c.sums[:to]
	for i, gap := range c.gaps[:to] {
		sum += uint64(gap)
		sums[i] = sum
	}
	if sum >= MaxPersons {
		return 0, corrupt("keys: person %d", sum)
	}
	places, lo := c.places[:to-from], uint64(p.Lo)
	end := first + to - from
	for w := first >> 6; w<<6 < end; w++ {
		word := p.Rows[w]
		if base := w << 6; base < first {
			word &= ^uint64(0) << (first - base)
		}
		for ; word != 0; word &= word - 1 {
			row := w<<6 + bits.TrailingZeros64(word)
			if row >= end {
				break
			}
			place := from + row - first
			person := sums[place]
			keep := 1
			if p.Persons != nil {
				bit := person - lo
				if bit>>6 >= uint64(len(p.Persons)) {
					return 0, corrupt("keys: person %d", person)
				}
				keep = int(p.Persons[bit>>6] >> (bit & 63) & 1)
			}
			dst[kept], places[kept] = person<<KeyTimeBits, uint32(place)
			kept += keep
		}
	}
	c.places = places[:kept]
	return kept, nil
}

// countBits counts the bits [from, to).
func countBits(set []uint64, from, to int) (n int) {
	for w := from >> 6; w<<6 < to; w++ {
		word := set[w]
		if base := w << 6; base < from {
			word &= ^uint64(0) << (from - base)
		}
		if over := w<<6 + 64 - to; over > 0 {
			word &= ^uint64(0) >> over
		}
		n += bits.OnesCount64(word)
	}
	return n
}

// placeOf is the first of a block of n rows whose person is not below person.
func (c *keyCoder) placeOf(block []byte, n int, person uint64) (int, error) {
	l := encoding.NewLane(block)
	c.gaps = grow(c.gaps, n)
	if encoding.ReadInts(l, c.gaps[:1]) != nil || encoding.ReadInts(l, c.gaps[1:]) != nil {
		return 0, corrupt("keys: bad lane")
	}
	at := uint64(0)
	for i, gap := range c.gaps {
		if at += uint64(gap); at >= person {
			return i, nil
		}
	}
	return n, nil
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
