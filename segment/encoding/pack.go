// Package encoding turns runs of integers and texts into bytes and back: the
// innermost layer of a segment. An encoded run is called a lane. Every lane
// starts with one byte that names its encoding; the encoding with the fewest
// bytes is chosen when it is written. Decoders take any bytes and answer
// ErrCorrupt rather than panic: checksums catch accidents, these bounds catch
// the rest.
package encoding

import (
	"encoding/binary"
	"errors"
	"math/bits"
	"unsafe"
)

// ErrCorrupt is the answer to bytes that no encoder wrote.
var ErrCorrupt = errors.New("corrupt lane")

// Pad is how many readable bytes must follow a lane for the fast unpack loop.
// Readers allocate their buffers with Pad bytes to spare.
const Pad = 8

// maxPackWidth is the widest value that one unaligned 8-byte load can yield at any bit offset.
const maxPackWidth = 57

// Word is an element of an integer lane.
type Word interface{ ~uint32 | ~uint64 | ~int64 }

// packedLen is the number of bytes of n values of width bits.
func packedLen(n, width int) int {
	if width > maxPackWidth {
		return 8 * n
	}
	return (n*width + 7) / 8
}

// appendPacked appends v-base for each v, width bits each, least significant bit first.
func appendPacked[T Word](dst []byte, vals []T, base T, width int) []byte {
	if width == 0 {
		return dst
	}
	if width > maxPackWidth {
		for _, v := range vals {
			dst = binary.LittleEndian.AppendUint64(dst, uint64(v-base))
		}
		return dst
	}
	var acc uint64
	fill := 0
	for _, v := range vals {
		acc |= uint64(v-base) << fill
		fill += width
		for fill >= 8 {
			dst = append(dst, byte(acc))
			acc >>= 8
			fill -= 8
		}
	}
	if fill > 0 {
		dst = append(dst, byte(acc))
	}
	return dst
}

//go:generate go run ./genunpack

// unpack reads len(dst) values of width bits and adds base to each. src may be
// longer than the packed bytes; the loop is fast when Pad bytes follow them.
func unpack[T Word](dst []T, src []byte, base T, width int) error {
	n := len(dst)
	if width == 0 {
		for i := range dst {
			dst[i] = base
		}
		return nil
	}
	need := packedLen(n, width)
	if len(src) < need {
		return ErrCorrupt
	}
	if width > maxPackWidth {
		for i := range dst {
			dst[i] = T(binary.LittleEndian.Uint64(src[8*i:])) + base
		}
		return nil
	}
	mask := uint64(1)<<width - 1
	fast := n
	if len(src) < need+Pad { // the last values may sit in the last 8 bytes of src
		fast = 0
		if len(src) >= 8 {
			fast = min(n, (len(src)-8)*8/width)
		}
	}
	// Each of the first fast values lies within 8 bytes of src, as was just checked, so
	// the loop loads without further checks.
	step := uintptr(width)
	groups := fast &^ 7
	bit := uintptr(groups) * step
	if fast > 0 {
		p := unsafe.Pointer(unsafe.SliceData(src))
		unpackGroups(dst[:groups], p, base, width)
		for i := groups; i < fast; i++ {
			dst[i] = T(*(*uint64)(unsafe.Add(p, bit>>3))>>(bit&7)&mask) + base
			bit += step
		}
	}
	if fast < n {
		var tail [24]byte
		start := int(bit >> 3)
		for i := fast; i < n; i++ {
			at := int(bit >> 3)
			if at-start > 8 || i == fast {
				start = at
				clear(tail[:])
				copy(tail[:], src[at:])
			}
			w := binary.LittleEndian.Uint64(tail[at-start:])
			dst[i] = T(w>>(bit&7)&mask) + base
			bit += step
		}
	}
	return nil
}

// widthOf is the number of bits that hold v.
func widthOf(v uint64) int { return bits.Len64(v) }
