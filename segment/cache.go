package segment

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/maypok86/otter/v2"

	"spoor/segment/encoding"
)

// Cache keeps pages of segments in memory, verified and as they are stored, and
// what was decoded of dictionaries and ids. It is shared by all readers of a
// store and bounded in bytes. A nil *Cache keeps nothing.
type Cache struct {
	c *otter.Cache[cacheKey, cached]
}

type cacheKey struct {
	file uint64
	off  uint64
}

// cached is a page, or the decoded form of a region.
type cached struct {
	page    []byte
	decoded any
	bytes   uint32
}

// NewCache makes a cache of at most maxBytes.
func NewCache(maxBytes int64) *Cache {
	return &Cache{otter.Must(&otter.Options[cacheKey, cached]{
		MaximumWeight: uint64(maxBytes),
		Weigher:       func(_ cacheKey, v cached) uint32 { return v.bytes + 96 },
	})}
}

func (c *Cache) get(k cacheKey) (cached, bool) {
	if c == nil {
		return cached{}, false
	}
	return c.c.GetIfPresent(k)
}

func (c *Cache) set(k cacheKey, v cached) {
	if c != nil {
		c.c.Set(k, v)
	}
}

// Bytes is about what the cache holds.
func (c *Cache) Bytes() uint64 {
	if c == nil {
		return 0
	}
	return c.c.WeightedSize()
}

var lastFile atomic.Uint64

// fileNumber tells readers apart in a cache; it is not stored.
func fileNumber() uint64 { return lastFile.Add(1) }

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
