package index

import (
	"encoding/binary"
	"math/bits"
)

// Numbers of the portable roaring format.
const (
	roaringCookie      = 12347 // some containers are runs; the high half is containers-1
	roaringCookiePlain = 12346 // none is
	roaringNoOffsets   = 4     // with runs, fewer containers than this have no offsets
	roaringMaxArray    = 4096
	roaringMaxKeys     = 1 << 16
	roaringBitmapBytes = 8192
)

// checkRoaring tells whether b is a bitmap of the portable format, and how many
// values it holds. The library trusts what it reads, up to values that are
// silently wrong, and its own validation takes quadratic time over runs; this
// one reads every byte once.
//
//	| cookie | which are runs, 1 bit each | key u16, values-1 u16 | offset u32 | containers |
func checkRoaring(b []byte) (values int, err error) {
	le := binary.LittleEndian
	if len(b) < 8 {
		return 0, corrupt("persons: %d bytes", len(b))
	}
	var n, at int
	var runs []byte
	if cookie := le.Uint32(b); cookie&0xffff == roaringCookie {
		n, at = int(cookie>>16)+1, 4
		if len(b) < at+(n+7)/8 {
			return 0, corrupt("persons: %d bytes for %d containers", len(b), n)
		}
		runs = b[at : at+(n+7)/8]
		at += len(runs)
	} else if cookie == roaringCookiePlain && le.Uint32(b[4:]) <= roaringMaxKeys {
		n, at = int(le.Uint32(b[4:])), 8
	} else {
		return 0, corrupt("persons: %08x is no roaring bitmap", cookie)
	}
	perContainer := 8
	hasOffsets := runs == nil || n >= roaringNoOffsets
	if !hasOffsets {
		perContainer = 4
	}
	if len(b)-at < n*perContainer {
		return 0, corrupt("persons: %d bytes for %d containers", len(b), n)
	}
	heads, offsets := b[at:at+4*n], b[at+4*n:]
	at += n * perContainer
	lastKey := -1
	for i := range n {
		key, count := int(le.Uint16(heads[4*i:])), int(le.Uint16(heads[4*i+2:]))+1
		if key <= lastKey {
			return 0, corrupt("persons: container %d after %d", key, lastKey)
		}
		lastKey = key
		if hasOffsets && int64(le.Uint32(offsets[4*i:])) != int64(at) {
			return 0, corrupt("persons: container %d at %d instead of %d", key, le.Uint32(offsets[4*i:]), at)
		}
		var size int
		switch {
		case runs != nil && runs[i/8]>>(i%8)&1 != 0:
			size = checkRuns(b[at:], count)
		case count <= roaringMaxArray:
			size = checkArray(b[at:], count)
		default:
			size = checkBitmap(b[at:], count)
		}
		if size < 0 {
			return 0, corrupt("persons: container %d is not a set of %d", key, count)
		}
		at += size
		values += count
	}
	if at != len(b) {
		return 0, corrupt("persons: %d bytes after the last container", len(b)-at)
	}
	return values, nil
}

// The checks return the length of the container that b begins with, or -1.

func checkRuns(b []byte, count int) int {
	if len(b) < 2 {
		return -1
	}
	n := int(binary.LittleEndian.Uint16(b))
	if len(b) < 2+4*n {
		return -1
	}
	last, sum := -2, 0 // runs that touch would be one run
	for i := range n {
		start, more := int(binary.LittleEndian.Uint16(b[2+4*i:])), int(binary.LittleEndian.Uint16(b[4+4*i:]))
		if start <= last+1 || start+more > 0xffff {
			return -1
		}
		last = start + more
		sum += more + 1
	}
	if sum != count {
		return -1
	}
	return 2 + 4*n
}

func checkArray(b []byte, count int) int {
	if len(b) < 2*count {
		return -1
	}
	last := -1
	for i := range count {
		v := int(binary.LittleEndian.Uint16(b[2*i:]))
		if v <= last {
			return -1
		}
		last = v
	}
	return 2 * count
}

func checkBitmap(b []byte, count int) int {
	if len(b) < roaringBitmapBytes {
		return -1
	}
	sum := 0
	for i := 0; i < roaringBitmapBytes; i += 8 {
		sum += bits.OnesCount64(binary.LittleEndian.Uint64(b[i:]))
	}
	if sum != count {
		return -1
	}
	return roaringBitmapBytes
}
