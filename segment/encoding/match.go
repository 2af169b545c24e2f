package encoding

import "encoding/binary"

// matchRows bounds the values of a lane that is matched: a block.
const matchRows = 4096

// MatchLane sets in out, from bit at on, a bit for each of the n values of a lane, at most 4096,
// that pass marks. Runs are matched as runs and planes word by word: no value is
// widened. A value that pass has no place for does not pass and may be ErrCorrupt.
// It returns l.Err(), after which out holds anything.
func MatchLane(l *Lane, n int, pass []bool, out []uint64, at int) error {
	if n < 1 || n > matchRows || len(l.b) == 0 {
		l.fail()
		return l.err
	}
	switch l.b[0] {
	case laneConst:
		l.Byte()
		v := l.Varint()
		if v < 0 || v >= int64(len(pass)) {
			l.fail()
		}
		if l.err == nil && pass[v] {
			setRun(out, at, n)
		}
	case laneRuns:
		l.Byte()
		matchRuns(l, n, pass, out, at)
	case lanePlanes:
		l.Byte()
		matchPlanes(l, n, pass, out, at)
	default:
		var vals [matchRows]uint32
		if ReadInts(l, vals[:n]) == nil {
			matchValues(l, vals[:n], pass, out, at)
		}
	}
	return l.err
}

func matchValues(l *Lane, vals []uint32, pass []bool, out []uint64, at int) {
	for i, v := range vals {
		if int64(v) >= int64(len(pass)) {
			l.fail()
			return
		}
		if pass[v] {
			out[(at+i)>>6] |= 1 << ((at + i) & 63)
		}
	}
}

func matchRuns(l *Lane, n int, pass []bool, out []uint64, at int) {
	runs := l.Count(n)
	base := uint32(l.Varint())
	if l.err != nil || runs == 0 {
		l.fail()
		return
	}
	var buffer [matchRows]uint32
	values := buffer[:runs]
	readPacked(l, values, base)
	width := int(l.Byte())
	if l.err != nil || width > 32 || len(l.b) < packedLen(runs, width) {
		l.fail()
		return
	}
	for _, v := range values {
		if int64(v) >= int64(len(pass)) {
			l.fail()
			return
		}
	}
	lengths := l.b
	mask := uint64(1)<<width - 1
	end := at + n
	word, wordAt := uint64(0), at>>6 // the bits that are found of a word
	var tail [8]byte
	for r, v := range values {
		var w uint64
		bit := r * width
		if off := bit >> 3; off+8 <= len(lengths) {
			w = binary.LittleEndian.Uint64(lengths[off:])
		} else {
			clear(tail[:])
			copy(tail[:], lengths[min(off, len(lengths)):])
			w = binary.LittleEndian.Uint64(tail[:])
		}
		length := int(w>>(bit&7)&mask) + 1
		if length > end-at {
			l.fail()
			return
		}
		found := uint64(0)
		if pass[v] {
			found = ^uint64(0)
		}
		if in := at & 63; in+length < 64 {
			word |= found & (1<<length - 1) << in
			at += length
			continue
		}
		out[wordAt] |= word | found<<(at&63) // the run ends the word
		at += length
		for wordAt++; wordAt < at>>6; wordAt++ {
			out[wordAt] |= found
		}
		word = found & (1<<(at&63) - 1)
	}
	if word != 0 {
		out[wordAt] |= word
	}
	if at != end {
		l.fail()
		return
	}
	l.b = l.b[packedLen(runs, width):]
}
