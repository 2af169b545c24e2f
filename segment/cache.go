package segment

import (
	"sync/atomic"

	"github.com/maypok86/otter/v2"
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
