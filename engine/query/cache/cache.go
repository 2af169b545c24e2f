// Package cache keeps the answers of queries, up to a number of bytes; the one
// that was asked for longest ago goes first. A key names all that an answer
// follows from, so that nothing in the cache is ever wrong, only forgotten.
package cache

import (
	"container/list"
	"sync"
)

// entryBytes is about what an entry costs beside its key and value.
const entryBytes = 256

// Cache is safe for concurrent use.
type Cache[V any] struct {
	mu       sync.Mutex
	maxBytes int64
	bytes    int64
	byKey    map[string]*list.Element
	recent   *list.List // of *entry[V], the last that was asked for in front
}

type entry[V any] struct {
	key   string
	value V
	bytes int64
}

// New makes a cache of at most maxBytes; of 0 it keeps nothing.
func New[V any](maxBytes int64) *Cache[V] {
	return &Cache[V]{maxBytes: maxBytes, byKey: map[string]*list.Element{}, recent: list.New()}
}

// Get returns the value under a key. It is shared: nobody may change it.
func (c *Cache[V]) Get(key string) (value V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.byKey[key]
	if !ok {
		return value, false
	}
	c.recent.MoveToFront(e)
	return e.Value.(*entry[V]).value, true
}

// Put keeps a value of so many bytes, unless it would take more than an eighth of the cache.
func (c *Cache[V]) Put(key string, value V, bytes int64) {
	bytes += int64(len(key)) + entryBytes
	c.mu.Lock()
	defer c.mu.Unlock()
	if bytes > c.maxBytes/8 || c.byKey[key] != nil {
		return
	}
	c.byKey[key] = c.recent.PushFront(&entry[V]{key, value, bytes})
	c.bytes += bytes
	for c.bytes > c.maxBytes {
		last := c.recent.Back()
		e := c.recent.Remove(last).(*entry[V])
		delete(c.byKey, e.key)
		c.bytes -= e.bytes
	}
}

// Bytes is what the cache holds.
func (c *Cache[V]) Bytes() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes
}
