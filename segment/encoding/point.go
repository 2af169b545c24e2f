package encoding

import "encoding/binary"

// At reads value i of a lane of n values without decoding the others.
func At[T Word](l *Lane, n, i int) (v T, err error) {
	switch l.Byte() {
	case laneConst:
		v = T(l.Varint())
	case lanePacked:
		base := T(l.Varint())
		v = base + T(packedAt(l, n, i))
	case laneRuns:
		runs := l.Count(n)
		base := T(l.Varint())
		width := int(l.Byte())
		if l.err != nil || runs == 0 || width > 64 {
			l.fail()
			return 0, l.err
		}
		values := l.Bytes(packedLen(runs, width))
		lenWidth := int(l.Byte())
		lengths := l.Bytes(packedLen(runs, min(lenWidth, 64)))
		if l.err != nil || lenWidth > 32 {
			l.fail()
			return 0, l.err
		}
		r := 0
		for at := 0; ; r++ {
			if r == runs {
				l.fail()
				return 0, l.err
			}
			if at += int(bitsAt(lengths, r, lenWidth)) + 1; at > i {
				break
			}
		}
		v = base + T(bitsAt(values, r, width))
	case lanePatched:
		base := T(l.Varint())
		width := int(l.Byte())
		exceptions := l.Count(n)
		if l.err != nil || width > maxPackWidth {
			l.fail()
			return 0, l.err
		}
		v = base + T(bitsAt(l.Bytes(packedLen(n, width)), i, width))
		for at := 0; exceptions > 0 && l.err == nil; exceptions-- {
			at += l.Count(n)
			high := l.Uvarint()
			if at == i {
				v += T(high << width)
			}
			if at >= i {
				break
			}
		}
	case lanePlanes:
		v = T(planesAt(l, n, i))
	default:
		l.fail()
	}
	return v, l.err
}

func packedAt(l *Lane, n, i int) uint64 {
	width := int(l.Byte())
	if l.err != nil || width > 64 {
		l.fail()
		return 0
	}
	b := l.Bytes(packedLen(n, width))
	if l.err != nil {
		return 0
	}
	return bitsAt(b, i, width)
}

// bitsAt is value i of packed values; b holds all of them.
func bitsAt(b []byte, i, width int) uint64 {
	if width == 0 || b == nil {
		return 0
	}
	if width > maxPackWidth {
		return binary.LittleEndian.Uint64(b[8*i:])
	}
	bit := i * width
	var w uint64
	if off := bit >> 3; off+8 <= len(b) {
		w = binary.LittleEndian.Uint64(b[off:])
	} else {
		var tail [8]byte
		copy(tail[:], b[min(off, len(b)):])
		w = binary.LittleEndian.Uint64(tail[:])
	}
	return w >> (bit & 7) & (1<<width - 1)
}

// FloatAt reads value i of a float lane of n values.
func FloatAt(l *Lane, n, i int) (float64, error) {
	switch l.Byte() {
	case floatDecimal:
		scale := int(l.Byte())
		if scale > maxScale {
			l.fail()
			return 0, l.err
		}
		v, err := At[int64](l, n, i)
		return float64(v) / pow10[scale], err
	case floatRaw:
		b := l.Bytes(8 * n)
		if l.err != nil {
			return 0, l.err
		}
		return floatFrom(b[8*i:]), nil
	}
	l.fail()
	return 0, l.err
}
