package cold

import (
	"container/list"
	"fmt"
	"hash/crc32"
	"sync"

	"spoor/internal/vfs"
)

const (
	// DefaultBlockBytes are read from the store and kept together.
	DefaultBlockBytes = 1 << 20
	// MinBlocks is the smallest cache: some for each that reads.
	MinBlocks = 8
	// sumsOfBlock are the parts of a block that have checksums of their own: what is read of a block is checked, no more.
	sumsOfBlock = 16
	// CacheName is the file of the cache. It is made anew by every start and of no use to anybody else.
	CacheName = "blocks.cache"
)

// cache keeps blocks of objects in one file of slots, the least recently used of which makes room.
// Checksums in memory say whether a slot still has what was put there; where it has
// not, or the disk fails or is full, the block is read from the store again.
type cache struct {
	block int64 // bytes of one
	sum   int   // bytes under one checksum
	slots int

	mu     sync.Mutex
	file   vfs.File // nil: nothing is kept
	free   []int
	used   int
	zero   []byte
	blocks map[blockKey]*list.Element // of *block
	order  list.List                  // most recently used first
}

type blockKey struct {
	file uint64
	n    int64
}

type block struct {
	key  blockKey
	slot int
	size int
	sums []uint32
}

// open makes the file of so many bytes, in place of one that is there.
func (c *cache) open(fsys vfs.FS, name string, bytes int64) error {
	f, err := fsys.Create(name)
	if err != nil {
		return fmt.Errorf("make the cache of cold segments: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.file, c.slots, c.blocks = f, int(max(bytes/c.block, MinBlocks)), map[blockKey]*list.Element{}
	return nil
}

func (c *cache) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.file != nil {
		_ = c.file.Close() // it is of no use any more
		c.file = nil
	}
}

// bytes is what the blocks take.
func (c *cache) bytes() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return int64(len(c.blocks)) * c.block
}

// get fills p with what a block holds at off; false where it does not have it.
func (c *cache) get(k blockKey, p []byte, off int) bool {
	c.mu.Lock()
	e := c.blocks[k]
	if e == nil || c.file == nil {
		c.mu.Unlock()
		return false
	}
	c.order.MoveToFront(e)
	b, f := e.Value.(*block), c.file
	c.mu.Unlock()
	// Meanwhile the slot may get another block: its checksums tell.
	from := off / c.sum * c.sum
	to := min((off+len(p)+c.sum-1)/c.sum*c.sum, b.size)
	buf := make([]byte, to-from)
	if n, _ := f.ReadAt(buf, int64(b.slot)*c.block+int64(from)); n < len(buf) {
		c.drop(e)
		return false
	}
	for at := 0; at < len(buf); at += c.sum {
		if crc32.Checksum(buf[at:min(at+c.sum, len(buf))], castagnoli) != b.sums[(from+at)/c.sum] {
			c.drop(e)
			return false
		}
	}
	copy(p, buf[off-from:])
	return true
}

// drop lets a block go that cannot be read.
func (c *cache) drop(e *list.Element) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if b := e.Value.(*block); c.blocks[b.key] == e {
		c.remove(e)
		_ = c.clear(b.slot)
		c.free = append(c.free, b.slot)
	}
}

// clear overwrites a slot. The caller holds mu.
func (c *cache) clear(slot int) error {
	if c.file == nil {
		return nil
	}
	if c.zero == nil {
		c.zero = make([]byte, c.block)
	}
	_, err := c.file.WriteAt(c.zero, int64(slot)*c.block)
	return err
}

// remove takes a block out. The caller holds mu, and the slot is its own then.
func (c *cache) remove(e *list.Element) {
	delete(c.blocks, e.Value.(*block).key)
	c.order.Remove(e)
}

// put keeps a block.
func (c *cache) put(k blockKey, data []byte) {
	b := &block{key: k, size: len(data)}
	for at := 0; at < len(data); at += c.sum {
		b.sums = append(b.sums, crc32.Checksum(data[at:min(at+c.sum, len(data))], castagnoli))
	}
	c.mu.Lock()
	f := c.file
	if f == nil || c.blocks[k] != nil {
		c.mu.Unlock()
		return
	}
	switch n := len(c.free); {
	case n > 0:
		b.slot, c.free = c.free[n-1], c.free[:n-1]
	case c.used < c.slots:
		b.slot = c.used
		c.used++
	case c.order.Len() > 0:
		oldest := c.order.Back()
		b.slot = oldest.Value.(*block).slot
		c.remove(oldest)
	default: // all slots are being written
		c.mu.Unlock()
		return
	}
	c.mu.Unlock()
	if n := int64(len(data)); n < c.block { // nothing of another file may stay behind it
		data = append(make([]byte, 0, c.block), data...)[:c.block]
	}
	_, err := f.WriteAt(data, int64(b.slot)*c.block)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil || c.blocks[k] != nil {
		_ = c.clear(b.slot) // of a disk that fails the next start makes the file anew
		c.free = append(c.free, b.slot)
		return
	}
	c.blocks[k] = c.order.PushFront(b)
}

// forget overwrites what is kept of a file that nobody reads any more: it may hold what was erased.
func (c *cache) forget(file uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.file == nil {
		return nil
	}
	var failed error
	for k, e := range c.blocks {
		if k.file != file {
			continue
		}
		b := e.Value.(*block)
		c.remove(e)
		if err := c.clear(b.slot); err != nil {
			failed = err
		}
		c.free = append(c.free, b.slot)
	}
	if failed != nil {
		return fmt.Errorf("overwrite blocks of a cold segment that is gone: %w", failed)
	}
	return nil
}
