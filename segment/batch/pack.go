package batch

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// Bit packing: value i stands in bits [i*width, (i+1)*width) of the bytes,
// little endian, without padding between values. The last byte is filled with
// zero bits.

// maxPackedWidth is the widest value that one unaligned 8-byte load holds at
// any bit offset. Wider ones are stored as 8 bytes each, as width 64.
const maxPackedWidth = 56

func packedBytes(n int, width uint) int { return (n*int(width) + 7) / 8 }

// appendPacked32 packs vals[i]-base.
func appendPacked32(dst []byte, vals []uint32, base uint32, width uint) []byte {
	if width == 0 {
		return dst
	}
	size := packedBytes(len(vals), width)
	dst = slices.Grow(dst, size+8)
	out := dst[len(dst) : len(dst)+size+8]
	var acc uint64
	var fill uint
	pos := 0
	for _, v := range vals {
		acc |= uint64(v-base) << (fill & 63)
		fill += width
		if fill >= 32 {
			binary.LittleEndian.PutUint32(out[pos:], uint32(acc))
			pos += 4
			acc >>= 32
			fill -= 32
		}
	}
	binary.LittleEndian.PutUint64(out[pos:], acc)
	return dst[:len(dst)+size]
}

// unpack32 fills out with base plus the packed values, and returns the largest
// packed value. src holds at least packedBytes(len(out), width) bytes; what
// follows them is read and ignored.
func unpack32(out []uint32, src []byte, base uint32, width uint) (largest uint32) {
	if width == 0 {
		for i := range out {
			out[i] = base
		}
		return 0
	}
	mask := uint32(1)<<width - 1
	safe := safeLoads(len(out), len(src), width)
	bit := uint(0)
	for i := range out[:safe] {
		v := uint32(binary.LittleEndian.Uint64(src[bit>>3:])>>(bit&7)) & mask
		largest = max(largest, v)
		out[i] = v + base
		bit += width
	}
	for i := safe; i < len(out); i++ {
		v := uint32(loadTail(src, bit)) & mask
		largest = max(largest, v)
		out[i] = v + base
		bit += width
	}
	return largest
}

// safeLoads is how many of n values can be read by a whole 8-byte load.
func safeLoads(n, srcLen int, width uint) int {
	if srcLen < 8 {
		return 0
	}
	return min(n, (8*(srcLen-8)+7)/int(width)+1)
}

// loadTail reads up to 8 bytes at a bit offset near the end of src.
func loadTail(src []byte, bit uint) uint64 {
	var tail [8]byte
	if int(bit>>3) < len(src) {
		copy(tail[:], src[bit>>3:])
	}
	return binary.LittleEndian.Uint64(tail[:]) >> (bit & 7)
}

// appendInts stores vals as multiples of unit above the smallest:
//
//	width byte, minimum zigzag varint, packed (val-minimum)/unit
//
// Every val minus the minimum is a multiple of unit. The width is at least
// minWidth.
func appendInts(dst []byte, vals []int64, unit int64, minWidth uint) []byte {
	lo, hi := vals[0], vals[0]
	for _, v := range vals {
		lo, hi = min(lo, v), max(hi, v)
	}
	width := max(uint(bits.Len64((uint64(hi)-uint64(lo))/uint64(unit))), minWidth)
	if width > maxPackedWidth {
		width = 64
	}
	dst = append(dst, byte(width))
	dst = binary.AppendVarint(dst, lo)
	size := packedBytes(len(vals), width)
	dst = slices.Grow(dst, size+8)
	out := dst[len(dst) : len(dst)+size+8]
	switch {
	case width == 64:
		for i, v := range vals {
			binary.LittleEndian.PutUint64(out[8*i:], (uint64(v)-uint64(lo))/uint64(unit))
		}
	case unit == 1:
		packDeltas(out, vals, lo, 1, width)
	default:
		packDeltas(out, vals, lo, uint64(unit), width)
	}
	return dst[:len(dst)+size]
}

func packDeltas(out []byte, vals []int64, lo int64, unit uint64, width uint) {
	var acc uint64
	var fill uint
	pos := 0
	for _, v := range vals {
		d := uint64(v) - uint64(lo)
		if unit != 1 {
			d /= unit
		}
		acc |= d << (fill & 7)
		binary.LittleEndian.PutUint64(out[pos:], acc)
		fill += width
		pos += int(fill >> 3)
		acc >>= fill &^ 7
		fill &= 7
	}
}

// unpack64 calls the same way as unpack32, for widths up to maxPackedWidth
// and 64. Sums wrap; the caller checks the range.
func unpack64(out []int64, src []byte, base, unit int64, width uint) {
	if width == 64 {
		for i := range out {
			out[i] = base + int64(binary.LittleEndian.Uint64(src[8*i:]))*unit
		}
		return
	}
	if width == 0 {
		for i := range out {
			out[i] = base
		}
		return
	}
	mask := uint64(1)<<width - 1
	safe := safeLoads(len(out), len(src), width)
	bit := uint(0)
	for i := range out[:safe] {
		v := binary.LittleEndian.Uint64(src[bit>>3:]) >> (bit & 7) & mask
		out[i] = base + int64(v)*unit
		bit += width
	}
	for i := safe; i < len(out); i++ {
		out[i] = base + int64(loadTail(src, bit)&mask)*unit
		bit += width
	}
}
