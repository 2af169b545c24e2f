package encoding

import "encoding/binary"

// Pick reads the values at places, which ascend, of a lane of n values into dst, which is as
// long. Where values are packed, no others are decoded; else all are, into spare.
func Pick[T Word](l *Lane, n int, places []uint32, dst []T, spare *[]T) error {
	if len(places) == n {
		return ReadInts(l, dst)
	}
	if l.err == nil && len(l.b) > 0 && l.b[0] == lanePacked {
		l.Byte()
		base, width := T(l.Varint()), int(l.Byte())
		b := l.Bytes(packedLen(n, min(width, 64)))
		if l.err != nil || width > 64 || len(places) > 0 && int(places[len(places)-1]) >= n {
			l.fail()
			return l.err
		}
		if width <= maxPackWidth {
			pickPacked(dst, b, base, width, places)
			return nil
		}
		for i, place := range places {
			dst[i] = base + T(bitsAt(b, int(place), width))
		}
		return nil
	}
	if cap(*spare) < n {
		*spare = make([]T, n)
	}
	all := (*spare)[:n]
	if err := ReadInts(l, all); err != nil {
		return err
	}
	for i, place := range places {
		if int(place) >= n {
			l.fail()
			return l.err
		}
		dst[i] = all[place]
	}
	return nil
}

// pickPacked reads packed values; b holds all of them.
func pickPacked[T Word](dst []T, b []byte, base T, width int, places []uint32) {
	mask, step, i := uint64(1)<<width-1, uint64(width), 0
	dst = dst[:len(places)]
	for ; i < len(places); i++ {
		bit := uint64(places[i]) * step
		off := bit >> 3
		if off+8 > uint64(len(b)) { // the last ones lie within 8 bytes of the end
			break
		}
		dst[i] = T(binary.LittleEndian.Uint64(b[off:])>>(bit&7)&mask) + base
	}
	for ; i < len(places); i++ {
		dst[i] = T(bitsAt(b, int(places[i]), width)) + base
	}
}
