package segment

import (
	"encoding/binary"
	"fmt"
	"sync"

	"spoor/segment/encoding"
)

// held is a file that is in memory as a whole for a while.
type held struct {
	file  []byte   // Pad readable bytes follow it
	texts sync.Map // offset of a dictionary -> *batch.Texts
}

// Hold reads the whole file into memory and serves reads from there until
// release is called. A merge, which reads everything once, so needs one read in place
// of one for each page, and leaves in the cache what queries ask for.
// What was returned meanwhile stays valid. Only one may hold a file at a time.
func (r *Reader) Hold() (release func(), err error) {
	b := make([]byte, r.size+encoding.Pad)
	if _, err := r.src.ReadAt(b[:r.size], 0); err != nil {
		return nil, fmt.Errorf("read segment %s: %w", r.name, err)
	}
	r.bytesRead.Add(r.size)
	h := &held{file: b[:r.size]}
	r.held.Store(h)
	return func() { r.held.CompareAndSwap(h, nil) }, nil
}

// region is Reader.region without a read.
func (h *held) region(ref ref) ([]byte, error) {
	b := h.file[ref.off : ref.off+uint64(ref.len)]
	if checksum(b) != ref.crc {
		return nil, corrupt("checksum of %d bytes at %d", ref.len, ref.off)
	}
	return b, nil
}

// page is Reader.page without a read.
func (h *held) page(off uint64, size uint32) ([]byte, error) {
	b := h.file[off : off+uint64(size)]
	if binary.LittleEndian.Uint32(b[size-4:]) != checksum(b[:size-4]) {
		return nil, corrupt("checksum of the page at %d", off)
	}
	return b, nil
}
