package encoding

import (
	"encoding/binary"
	"math"
)

// The encodings of an integer lane of n values (n is known from outside):
//
//	laneConst   | kind | svarint value |
//	lanePacked  | kind | svarint min | width u8 | n values of width bits |
//	laneRuns    | kind | uvarint runs | svarint min | width u8 | run values | width u8 | run lengths-1 |
//	lanePatched | kind | svarint min | width u8 | uvarint exceptions | n values of width bits |
//	            |        then for each exception: uvarint gap of position, uvarint high bits |
//	lanePlanes  | see planes.go |
//
// All but const are frame of reference: what is packed is value-min.
const (
	laneConst   = 0
	lanePacked  = 1
	laneRuns    = 2
	lanePatched = 3
	lanePlanes  = 4
)

// AppendLane appends vals in the smallest of the encodings const, packed and
// runs; with patch also patched, which suits values that are small but for a few.
func AppendLane[T Word](dst []byte, vals []T, patch bool) []byte {
	return appendLane(dst, vals, patch, false)
}

// appendLane with planes appends them in place of packed values, and of runs unless these take less than half.
func appendLane[T Word](dst []byte, vals []T, patch, planes bool) []byte {
	if len(vals) == 0 {
		return append(dst, laneConst, 0)
	}
	lo, hi := vals[0], vals[0]
	runs, longest, current := 1, 1, 1
	for i := 1; i < len(vals); i++ {
		v := vals[i]
		lo, hi = min(lo, v), max(hi, v)
		if v == vals[i-1] {
			current++
			continue
		}
		longest = max(longest, current)
		runs++
		current = 1
	}
	longest = max(longest, current)
	if lo == hi {
		dst = append(dst, laneConst)
		return binary.AppendVarint(dst, int64(lo))
	}
	width := widthOf(uint64(hi - lo))
	packed := packedLen(len(vals), width)
	lenWidth := widthOf(uint64(longest - 1))
	asRuns := packedLen(runs, width) + packedLen(runs, lenWidth) + 4
	asPatched, patchWidth := math.MaxInt, 0
	if patch && width <= maxPackWidth {
		asPatched, patchWidth = patchedSize(vals, lo, width)
	}
	planes = planes && width <= maxPlanes && len(vals) <= matchRows
	switch {
	case planes && 2*asRuns >= packed:
		dst = append(dst, lanePlanes)
		dst = binary.AppendVarint(dst, int64(lo))
		return appendPlanes(append(dst, byte(width)), vals, lo, width)
	case asRuns < packed && asRuns <= asPatched:
		return appendRuns(dst, vals, lo, width, runs, lenWidth)
	case asPatched < packed:
		return appendPatched(dst, vals, lo, patchWidth)
	}
	dst = append(dst, lanePacked)
	dst = binary.AppendVarint(dst, int64(lo))
	dst = append(dst, byte(width))
	return appendPacked(dst, vals, lo, width)
}

func appendRuns[T Word](dst []byte, vals []T, lo T, width, runs, lenWidth int) []byte {
	values := make([]T, 0, runs)
	lengths := make([]uint32, 0, runs)
	for i := 0; i < len(vals); {
		j := i + 1
		for j < len(vals) && vals[j] == vals[i] {
			j++
		}
		values = append(values, vals[i])
		lengths = append(lengths, uint32(j-i-1))
		i = j
	}
	dst = append(dst, laneRuns)
	dst = binary.AppendUvarint(dst, uint64(runs))
	dst = binary.AppendVarint(dst, int64(lo))
	dst = append(dst, byte(width))
	dst = appendPacked(dst, values, lo, width)
	dst = append(dst, byte(lenWidth))
	return appendPacked(dst, lengths, 0, lenWidth)
}

// patchedSize finds the width at which packed values plus exceptions are smallest.
func patchedSize[T Word](vals []T, lo T, full int) (size, width int) {
	var count [65]int
	for _, v := range vals {
		count[widthOf(uint64(v-lo))]++
	}
	size, width = math.MaxInt, full
	exceptions := 0
	for w := full; w >= 0; w-- {
		if w < full {
			exceptions += count[w+1]
		}
		perException := 1 + (full-w+6)/7 + 1
		if s := packedLen(len(vals), w) + exceptions*perException + 3; s < size {
			size, width = s, w
		}
	}
	return size, width
}

func appendPatched[T Word](dst []byte, vals []T, lo T, width int) []byte {
	low := make([]T, len(vals))
	mask := T(uint64(1)<<width - 1)
	exceptions := 0
	for i, v := range vals {
		d := v - lo
		low[i] = d & mask
		if low[i] != d {
			exceptions++
		}
	}
	dst = append(dst, lanePatched)
	dst = binary.AppendVarint(dst, int64(lo))
	dst = append(dst, byte(width))
	dst = binary.AppendUvarint(dst, uint64(exceptions))
	dst = appendPacked(dst, low, 0, width)
	last := 0
	for i, v := range vals {
		if d := uint64(v - lo); d>>width != 0 {
			dst = binary.AppendUvarint(dst, uint64(i-last))
			dst = binary.AppendUvarint(dst, d>>width)
			last = i
		}
	}
	return dst
}

// Lane is a cursor over encoded bytes: each method reads one part and moves on.
// The first bad part makes every later read fail too.
type Lane struct {
	b   []byte
	err error
}

// NewLane reads from b.
func NewLane(b []byte) *Lane { return &Lane{b: b} }

// Err is ErrCorrupt once a read failed.
func (l *Lane) Err() error { return l.err }

// Rest is what is not read yet.
func (l *Lane) Rest() []byte { return l.b }

func (l *Lane) fail() {
	l.err, l.b = ErrCorrupt, nil
}

// Fail makes this and every later read fail: for a caller who knows that what was read cannot be.
func (l *Lane) Fail() { l.fail() }

// Uvarint reads an unsigned varint.
func (l *Lane) Uvarint() uint64 {
	v, n := binary.Uvarint(l.b)
	if n <= 0 {
		l.fail()
		return 0
	}
	l.b = l.b[n:]
	return v
}

// Varint reads a signed varint.
func (l *Lane) Varint() int64 {
	v, n := binary.Varint(l.b)
	if n <= 0 {
		l.fail()
		return 0
	}
	l.b = l.b[n:]
	return v
}

// Count reads an unsigned varint that must not exceed limit.
func (l *Lane) Count(limit int) int {
	v := l.Uvarint()
	if v > uint64(limit) {
		l.fail()
		return 0
	}
	return int(v)
}

// Byte reads one byte.
func (l *Lane) Byte() byte {
	if len(l.b) == 0 {
		l.fail()
		return 0
	}
	c := l.b[0]
	l.b = l.b[1:]
	return c
}

// Bytes reads n bytes; they are shared with the input.
func (l *Lane) Bytes(n int) []byte {
	if n < 0 || n > len(l.b) {
		l.fail()
		return nil
	}
	p := l.b[:n:n]
	l.b = l.b[n:]
	return p
}

// ReadInts reads a lane of len(dst) values. It returns l.Err().
func ReadInts[T Word](l *Lane, dst []T) error {
	switch l.Byte() {
	case laneConst:
		v := T(l.Varint())
		if l.err != nil {
			return l.err
		}
		for i := range dst {
			dst[i] = v
		}
	case lanePacked:
		base := T(l.Varint())
		readPacked(l, dst, base)
	case laneRuns:
		readRuns(l, dst)
	case lanePatched:
		readPatched(l, dst)
	case lanePlanes:
		readPlanes(l, dst)
	default:
		l.fail()
	}
	return l.err
}

func readPacked[T Word](l *Lane, dst []T, base T) {
	width := int(l.Byte())
	if l.err != nil || width > 64 {
		l.fail()
		return
	}
	if unpack(dst, l.b, base, width) != nil {
		l.fail()
		return
	}
	l.b = l.b[packedLen(len(dst), width):]
}

// shortRun is the length up to which runs are filled without a loop.
const shortRun = 4

func readRuns[T Word](l *Lane, dst []T) {
	runs := l.Count(len(dst))
	if l.err != nil || runs == 0 {
		l.fail()
		return
	}
	base := T(l.Varint())
	// The run values are unpacked to the end of dst, ahead of the place that the
	// fill below has reached: run r is read before dst[len-runs+r] is overwritten.
	values := dst[len(dst)-runs:]
	readPacked(l, values, base)
	width := int(l.Byte())
	if l.err != nil || width > 32 || len(l.b) < packedLen(runs, width) {
		l.fail()
		return
	}
	lengths := l.b
	mask := uint64(1)<<width - 1
	at := 0
	var word [8]byte
	for r := range runs {
		bit := r * width
		var w uint64
		if off := bit >> 3; off+8 <= len(lengths) {
			w = binary.LittleEndian.Uint64(lengths[off:])
		} else {
			clear(word[:])
			copy(word[:], lengths[min(off, len(lengths)):])
			w = binary.LittleEndian.Uint64(word[:])
		}
		length := int(w>>(bit&7)&mask) + 1
		end := at + length
		if end > len(dst)-(runs-1-r) { // every later run needs at least one row
			l.fail()
			return
		}
		v := values[r]
		if at+shortRun <= len(dst)-(runs-1-r) { // most runs are short: what is written too far is written again
			short := (*[shortRun]T)(dst[at:])
			short[0], short[1], short[2], short[3] = v, v, v, v
			if length > shortRun {
				fill := dst[at+shortRun : end]
				for i := range fill {
					fill[i] = v
				}
			}
		} else {
			fill := dst[at:end]
			for i := range fill {
				fill[i] = v
			}
		}
		at = end
	}
	if at != len(dst) {
		l.fail()
		return
	}
	l.b = l.b[packedLen(runs, width):]
}

func readPatched[T Word](l *Lane, dst []T) {
	base := T(l.Varint())
	width := int(l.Byte())
	exceptions := l.Count(len(dst))
	if l.err != nil || width > maxPackWidth {
		l.fail()
		return
	}
	if unpack(dst, l.b, base, width) != nil {
		l.fail()
		return
	}
	l.b = l.b[packedLen(len(dst), width):]
	at := 0
	for e := range exceptions {
		gap := l.Count(len(dst))
		high := l.Uvarint()
		at += gap
		if l.err != nil || at >= len(dst) || (e > 0 && gap == 0) {
			l.fail()
			return
		}
		dst[at] += T(high << width)
	}
}
