package encoding

import "encoding/binary"

// Marker finds which values of lanes of codes are marked, without writing the codes down. It
// keeps a table for the lane that comes next, which most often is packed alike. The zero
// value is ready.
type Marker struct {
	marks []bool // that pairs was made of, with base and width
	base  uint32
	width int
	// pairs says of two values that stand side by side which are marked, bit 0 the first.
	pairs [1 << (2 * maxPairWidth)]uint8
	codes []uint32
}

// pairMask are the bits of two values at most.
const pairMask = 1<<(2*maxPairWidth) - 1

// maxPairWidth is up to which width of a value the marks of two are looked up at once: the
// table then is small beside the values of a block.
const maxPairWidth = 5

// MarkWords is how many words Mark takes for n values.
func MarkWords(n int) int { return n/64 + 2 }

// Mark sets bit i of dst, which is empty and has MarkWords(n) words, for each value i of a lane
// of n codes that is marked. A code behind marks is damage. marks must not change.
func (m *Marker) Mark(l *Lane, n int, marks []bool, dst []uint64) error {
	dst = dst[:MarkWords(n)]
	if len(l.b) == 0 {
		l.fail()
		return l.err
	}
	switch l.b[0] {
	case laneConst:
		l.Byte()
		v := l.Varint()
		if l.err != nil || v < 0 || v >= int64(len(marks)) {
			l.fail()
			return l.err
		}
		if marks[v] {
			markRange(dst, 0, n)
		}
		return nil
	case lanePacked:
		if done, err := m.packed(l, n, marks, dst); done || err != nil {
			return err
		}
	case laneRuns:
		return m.runs(l, n, marks, dst)
	}
	if cap(m.codes) < n {
		m.codes = make([]uint32, n)
	}
	codes := m.codes[:n]
	if err := ReadInts(l, codes); err != nil {
		return err
	}
	for i, c := range codes {
		if int(c) >= len(marks) {
			l.fail()
			return l.err
		}
		if marks[c] {
			dst[i>>6] |= 1 << (i & 63)
		}
	}
	return nil
}

// packed is Mark of narrow packed values; done is false, and nothing was read, of others.
func (m *Marker) packed(l *Lane, n int, marks []bool, dst []uint64) (done bool, err error) {
	head := *l
	head.Byte()
	base, width := uint32(head.Varint()), int(head.Byte())
	if head.err != nil || width == 0 || width > maxPairWidth {
		return false, nil
	}
	*l = head
	rest := l.b
	if l.Bytes(packedLen(n, width)) == nil {
		return true, l.err
	}
	m.prepare(marks, base, width)
	pairs, beyond, i := &m.pairs, uint8(0), 0
	one, two, three := uint(2*width)&63, uint(4*width)&63, uint(6*width)&63
	mask := uint64(1)<<one - 1
	for word := uint64(0); i+8 <= n && len(rest) >= 8; i += 8 { // 8 values fill width bytes
		w := binary.LittleEndian.Uint64(rest)
		rest = rest[width:]
		a, b := pairs[w&mask&pairMask], pairs[w>>one&mask&pairMask]
		c, d := pairs[w>>two&mask&pairMask], pairs[w>>three&mask&pairMask]
		beyond |= a | b | c | d
		word |= uint64(a&3|b&3<<2|c&3<<4|d&3<<6) << (i & 63)
		dst[i>>6] = word
		if i&63 == 56 {
			word = 0
		}
	}
	for k := i; k < n; k++ {
		v := int(base) + int(bitsAt(rest, k-i, width))
		if v >= len(marks) {
			beyond = notMarks
			break
		}
		if marks[v] {
			dst[k>>6] |= 1 << (k & 63)
		}
	}
	if beyond&notMarks != 0 {
		l.fail()
	}
	return true, l.err
}

// notMarks in a pair says that a value lies behind the marks.
const notMarks = 4

// prepare makes the table of pairs.
func (m *Marker) prepare(marks []bool, base uint32, width int) {
	if m.width == width && m.base == base && len(m.marks) == len(marks) && len(marks) > 0 && &m.marks[0] == &marks[0] {
		return
	}
	m.marks, m.base, m.width = marks, base, width
	var one [1 << maxPairWidth]uint8
	for v := range 1 << width {
		switch at := int(base) + v; {
		case at >= len(marks):
			one[v] = notMarks
		case marks[at]:
			one[v] = 1
		}
	}
	for i := range 1 << (2 * width) {
		first, second := one[i&(1<<width-1)], one[i>>width]
		m.pairs[i] = first | second&1<<1 | second&notMarks
	}
}

// runs is Mark of runs: no value is looked at twice.
func (m *Marker) runs(l *Lane, n int, marks []bool, dst []uint64) error {
	l.Byte()
	runs := l.Count(n)
	base, width := uint32(l.Varint()), int(l.Byte())
	if l.err != nil || runs == 0 || width > 32 {
		l.fail()
		return l.err
	}
	values := l.b
	l.Bytes(packedLen(runs, width))
	lenWidth := int(l.Byte())
	lengths := l.b
	if l.err != nil || lenWidth > 32 {
		l.fail()
		return l.err
	}
	l.Bytes(packedLen(runs, lenWidth))
	if l.err != nil {
		return l.err
	}
	at, word := 0, uint64(0) // word: the bits of at>>6 so far
	valueMask, lenMask := uint64(1)<<width-1, uint64(1)<<lenWidth-1
	for r := range runs {
		v, length := uint64(base), 1
		vBit, lBit := r*width, r*lenWidth
		if lBit>>3+8 <= len(lengths) && vBit>>3+8 <= len(values) {
			v += binary.LittleEndian.Uint64(values[vBit>>3:]) >> (vBit & 7) & valueMask
			length += int(binary.LittleEndian.Uint64(lengths[lBit>>3:]) >> (lBit & 7) & lenMask)
		} else { // the last ones lie within 8 bytes of the end
			v += bitsAt(values, r, width)
			length += int(bitsAt(lengths, r, lenWidth))
		}
		if v >= uint64(len(marks)) || length > n-at {
			l.fail()
			return l.err
		}
		var mark uint64
		if marks[v] {
			mark = 1
		}
		if length >= 64 {
			dst[at>>6] |= word
			if mark != 0 {
				markRange(dst, at, at+length)
			}
			at += length
			word = dst[at>>6]
			continue
		}
		// Most are short: no branch tells those that are marked, and words are written once.
		ones, off := (uint64(1)<<length-1)*mark, at&63
		word |= ones << off
		if off+length >= 64 {
			dst[at>>6] = word
			word = ones >> (64 - off)
		}
		at += length
	}
	dst[at>>6] |= word
	if at != n {
		l.fail()
	}
	return l.err
}

// markRange sets the bits [from, to).
func markRange(dst []uint64, from, to int) {
	for ; from < to && from&63 != 0; from++ {
		dst[from>>6] |= 1 << (from & 63)
	}
	for ; from+64 <= to; from += 64 {
		dst[from>>6] = ^uint64(0)
	}
	for ; from < to; from++ {
		dst[from>>6] |= 1 << (from & 63)
	}
}
