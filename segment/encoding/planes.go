package encoding

import "encoding/binary"

// Planes are a packed lane on its side: what is packed of a value, its bits above the least
// one, stands in one plane a bit,
//
//	lanePlanes | kind | svarint min | width u8 | width planes of (n+7)/8 bytes, least significant first |
//
// so 64 values are compared with one by a few operations on words (O'Neil and Quass, "Improved
// query performance with variant indexes", 1997), and the planes are the bitmaps of all values in the bits of a code.
// They take what packed values take, but for less than a byte a plane.

// maxPlanes is the number of planes up to which a lane of codes has them.
const maxPlanes = 8

// planeBytes is the size of a plane of n values.
func planeBytes(n int) int { return (n + 7) / 8 }

// AppendCodes appends vals, codes of a dictionary that conditions are evaluated on: in planes, unless runs take
// less than half of them or the codes are wider than maxPlanes.
func AppendCodes(dst []byte, vals []uint32) []byte { return appendLane(dst, vals, false, true) }

func appendPlanes[T Word](dst []byte, vals []T, lo T, width int) []byte {
	size := planeBytes(len(vals))
	start := len(dst)
	dst = append(dst, make([]byte, width*size)...)
	planes := dst[start:]
	full := len(vals) / 8
	for i := range full {
		v := (*[8]T)(vals[8*i:])
		group := uint64(v[0]-lo) | uint64(v[1]-lo)<<8 | uint64(v[2]-lo)<<16 | uint64(v[3]-lo)<<24 |
			uint64(v[4]-lo)<<32 | uint64(v[5]-lo)<<40 | uint64(v[6]-lo)<<48 | uint64(v[7]-lo)<<56
		putGroup(planes[i:], group, size, width)
	}
	if rest := vals[8*full:]; len(rest) > 0 {
		var group uint64
		for j, v := range rest {
			group |= uint64(v-lo) << (8 * j)
		}
		putGroup(planes[full:], group, size, width)
	}
	return dst
}

// putGroup puts 8 values, a byte each, into the first byte of each plane.
func putGroup(planes []byte, group uint64, size, width int) {
	group = transpose(group)
	at := 0
	for range width {
		planes[at] = byte(group)
		group >>= 8
		at += size
	}
}

// transpose swaps rows and columns of 8 x 8 bits (Warren, Hacker's Delight, 7-3).
func transpose(x uint64) uint64 {
	t := (x ^ x>>7) & 0x00aa00aa00aa00aa
	x ^= t ^ t<<7
	t = (x ^ x>>14) & 0x0000cccc0000cccc
	x ^= t ^ t<<14
	t = (x ^ x>>28) & 0x00000000f0f0f0f0
	return x ^ t ^ t<<28
}

// readPlanesHead reads what stands before the planes, and the planes.
func readPlanesHead(l *Lane, n int) (base int64, width int, planes []byte) {
	base, width = l.Varint(), int(l.Byte())
	if width == 0 || width > maxPlanes {
		l.fail()
		return 0, 0, nil
	}
	return base, width, l.Bytes(width * planeBytes(n))
}

// spread has the bits of a byte as the least bits of 8 bytes.
var spread = func() (table [256]uint64) {
	for b := range table {
		table[b] = transpose(uint64(b))
	}
	return table
}()

// noPlane stands for the planes that a lane does not have.
var noPlane [matchRows / 8]byte

func readPlanes[T Word](l *Lane, dst []T) {
	least, width, planes := readPlanesHead(l, len(dst))
	if l.err != nil {
		return
	}
	size := planeBytes(len(dst))
	if size > len(noPlane) {
		l.fail() // no block is as long
		return
	}
	var plane [maxPlanes][]byte
	for p := range plane {
		if plane[p] = noPlane[:size]; p < width {
			plane[p] = planes[p*size : (p+1)*size]
		}
	}
	if width <= 4 {
		fromPlanes(dst, T(least), plane[0], plane[1], plane[2], plane[3])
		return
	}
	fromPlanes(dst, T(least), plane[0], plane[1], plane[2], plane[3])
	var high [matchRows]T
	fromPlanes(high[:len(dst)], 0, plane[4], plane[5], plane[6], plane[7])
	for i, v := range high[:len(dst)] {
		dst[i] += v << 4
	}
}

// fromPlanes gives values of 4 planes, 8 at a time.
func fromPlanes[T Word](dst []T, base T, p0, p1, p2, p3 []byte) {
	p1, p2, p3 = p1[:len(p0)], p2[:len(p0)], p3[:len(p0)]
	full := len(dst) / 8
	for i := range p0[:full] {
		group := spread[p0[i]] | spread[p1[i]]<<1 | spread[p2[i]]<<2 | spread[p3[i]]<<3
		to := (*[8]T)(dst[8*i:])
		to[0], to[1] = T(group&0xff)+base, T(group>>8&0xff)+base
		to[2], to[3] = T(group>>16&0xff)+base, T(group>>24&0xff)+base
		to[4], to[5] = T(group>>32&0xff)+base, T(group>>40&0xff)+base
		to[6], to[7] = T(group>>48&0xff)+base, T(group>>56)+base
	}
	for i := range dst[8*full:] {
		at := 8*full + i
		bit := func(p []byte) T { return T(p[full] >> i & 1) }
		dst[at] = base + (bit(p0) | bit(p1)<<1 | bit(p2)<<2 | bit(p3)<<3)
	}
}

// planesAt is value i of n.
func planesAt(l *Lane, n, i int) uint64 {
	base, width, planes := readPlanesHead(l, n)
	if l.err != nil {
		return 0
	}
	v := uint64(0)
	for p := range width {
		v |= uint64(planes[p*planeBytes(n)+i/8]>>(i&7)&1) << p
	}
	return uint64(base) + v
}

// matchPlanes sets the bits of the values that pass. Of the values that a lane of this width may
// have, those that pass or those that do not are looked for, whichever are fewer.
func matchPlanes(l *Lane, n int, pass []bool, out []uint64, at int) {
	base, width, planes := readPlanesHead(l, n)
	if l.err != nil {
		return
	}
	if base < 0 || base >= int64(len(pass)) {
		l.fail()
		return
	}
	var wanted, others [1 << maxPlanes]uint8
	wants, rest := wanted[:0], others[:0]
	for v := range 1 << width {
		if at := int(base) + v; at < len(pass) && pass[at] {
			wants = append(wants, uint8(v))
		} else {
			rest = append(rest, uint8(v))
		}
	}
	invert := uint64(0)
	if len(wants) > len(rest) {
		wants, invert = rest, ^uint64(0)
	}
	size := planeBytes(n)
	var words [matchRows / 64]uint64
	var plane [maxPlanes][matchRows / 64]uint64
	count := (n + 63) / 64
	for p := range width {
		loadPlane(plane[p][:count], planes[p*size:(p+1)*size])
	}
	for _, v := range wants {
		matchOne(words[:count], plane[:width], v)
	}
	for i := range words[:count] {
		words[i] ^= invert
	}
	if n&63 != 0 {
		words[count-1] &= 1<<(n&63) - 1
	}
	orBits(out, at, words[:count])
}

// loadPlane reads the words of a plane.
func loadPlane(dst []uint64, b []byte) {
	for len(b) >= 8 && len(dst) > 0 {
		dst[0] = binary.LittleEndian.Uint64(b)
		dst, b = dst[1:], b[8:]
	}
	if len(dst) > 0 {
		var tail [8]byte
		copy(tail[:], b)
		dst[0] = binary.LittleEndian.Uint64(tail[:])
	}
}

// matchOne adds to words where the planes hold v.
func matchOne(words []uint64, planes [][matchRows / 64]uint64, v uint8) {
	var found [matchRows / 64]uint64
	not := func(p int) uint64 { return uint64(v>>p&1) - 1 } // all ones where the bit is clear
	first := planes[0][:len(words)]
	n0 := not(0)
	for i, w := range first {
		found[i&63] = w ^ n0
	}
	for p := 1; p < len(planes); p++ {
		plane, n := planes[p][:len(words)], not(p)
		for i, w := range plane {
			found[i&63] &= w ^ n
		}
	}
	for i := range words {
		words[i] |= found[i&63]
	}
}

// orBits sets in out, from bit at on, what is set in words.
func orBits(out []uint64, at int, words []uint64) {
	shift := at & 63
	out = out[at>>6:]
	if shift == 0 {
		for i, w := range words {
			out[i] |= w
		}
		return
	}
	for i, w := range words {
		out[i] |= w << shift
		if high := w >> (64 - shift); high != 0 {
			out[i+1] |= high
		}
	}
}

// setRun sets the bits [at, at+n).
func setRun(out []uint64, at, n int) {
	for n > 0 {
		k := min(64-at&63, n)
		out[at>>6] |= ^uint64(0) >> (64 - k) << (at & 63)
		at, n = at+k, n-k
	}
}
