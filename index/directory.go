package index

import (
	"fmt"
	"hash/maphash"
	"sync/atomic"
)

// Limits of a Directory. Texts live in chunks of 1 MiB, a longer one in a chunk
// of its own; a reference is chunk number, offset and length in 64 bits.
const (
	MaxTextBytes = 1<<24 - 1
	MaxTexts     = maxTagValue

	textChunkBits  = 20
	maxTextChunks  = 1 << 20
	refChunkBits   = 13
	refsPerChunk   = 1 << refChunkBits
	directoryLoad  = 0.7
	firstDirectory = 256
)

// Directory numbers byte strings in the order in which they first came: 0, 1, 2
// and so on. The order alone decides the number; the hash is seeded afresh for
// every Directory, so that a client cannot choose ids that collide, and never leaves it.
//
// One goroutine calls GetOrAdd; Get needs the same lock as GetOrAdd. Len and
// Text need none: a text and its reference never move once they are written,
// and Len is published after them. So Text(ord) is safe beside GetOrAdd for every
// ord below a Len, or that came from GetOrAdd by way of any other synchronisation.
type Directory struct {
	seed  maphash.Seed
	table tagTable
	count atomic.Uint32

	// The chunk lists are replaced when they grow; chunks stay where they are.
	refs  atomic.Pointer[[]*refChunk]
	texts atomic.Pointer[[][]byte]

	free  int   // bytes left in the chunk that short texts go to
	chunk int   // its number
	bytes int64 // of all chunks
}

// refChunk holds the references of some texts: chunk<<44 | offset<<24 | length.
type refChunk [refsPerChunk]uint64

// NewDirectory makes an empty directory.
func NewDirectory() *Directory {
	d := &Directory{seed: maphash.MakeSeed(), table: newTagTable(firstDirectory, directoryLoad)}
	d.refs.Store(new([]*refChunk))
	d.texts.Store(new([][]byte))
	return d
}

// Len is how many texts there are; their ordinals are below it.
func (d *Directory) Len() int { return int(d.count.Load()) }

// Text is the text of an ordinal below Len. The bytes are shared and must not be changed.
func (d *Directory) Text(ord uint32) []byte {
	ref := (*d.refs.Load())[ord>>refChunkBits][ord&(refsPerChunk-1)]
	off, n := ref>>24&(1<<textChunkBits-1), ref&MaxTextBytes
	return (*d.texts.Load())[ref>>44][off : off+n : off+n]
}

// Get returns the ordinal of a text.
func (d *Directory) Get(text []byte) (ord uint32, ok bool) {
	return d.get(text, d.tag(text))
}

func (d *Directory) tag(text []byte) uint32 { return uint32(maphash.Bytes(d.seed, text) >> 32) }

func (d *Directory) get(text []byte, tag uint32) (ord uint32, ok bool) {
	it := Candidates{slots: d.table.slots, tag: tag, at: d.table.home(tag)}
	for it.Next() {
		if string(d.Text(it.loc)) == string(text) {
			return it.loc, true
		}
	}
	return 0, false
}

// GetOrAdd returns the ordinal of a text and gives it the next one if it has
// none. The text is copied. One longer than MaxTextBytes is a panic: callers bound ids.
func (d *Directory) GetOrAdd(text []byte) (ord uint32, added bool) {
	tag := d.tag(text)
	if ord, ok := d.get(text, tag); ok {
		return ord, false
	}
	ord = d.count.Load()
	if len(text) > MaxTextBytes || ord == MaxTexts {
		panic(fmt.Sprintf("index: directory: text %d of %d bytes", ord, len(text)))
	}
	ref := d.store(text)
	refs := *d.refs.Load()
	if int(ord>>refChunkBits) == len(refs) {
		refs = append(refs[:len(refs):len(refs)], new(refChunk))
		d.refs.Store(&refs)
		d.bytes += refsPerChunk * 8
	}
	refs[ord>>refChunkBits][ord&(refsPerChunk-1)] = ref
	d.table.insert(tag, ord)
	d.count.Store(ord + 1)
	return ord, true
}

// store copies a text into a chunk and returns its reference.
func (d *Directory) store(text []byte) uint64 {
	chunks := *d.texts.Load()
	if len(text) > d.free || d.free == 0 { // an empty text, too, needs an offset within a chunk
		size := 1 << textChunkBits
		if len(text) > size/4 {
			size = len(text) // the rest of the common chunk stays in use
		}
		if len(chunks) == maxTextChunks {
			panic(fmt.Sprintf("index: directory: %d chunks of texts", len(chunks)))
		}
		chunks = append(chunks[:len(chunks):len(chunks)], make([]byte, size))
		d.texts.Store(&chunks)
		d.bytes += int64(size)
		last := len(chunks) - 1
		if size == len(text) {
			copy(chunks[last], text)
			return uint64(last)<<44 | uint64(len(text))
		}
		d.chunk, d.free = last, size
	}
	c := chunks[d.chunk]
	off := len(c) - d.free
	copy(c[off:], text)
	d.free -= len(text)
	return uint64(d.chunk)<<44 | uint64(off)<<24 | uint64(len(text))
}

// Forget makes a text empty, so that nobody finds it; its ordinal stays taken, and
// the same text may come again and gets another. The bytes stay in memory, for
// whoever got them reads on. Text beside Forget needs the same lock.
func (d *Directory) Forget(ord uint32) {
	(*d.refs.Load())[ord>>refChunkBits][ord&(refsPerChunk-1)] &^= MaxTextBytes
}

// Bytes is the memory of the directory. It needs the same lock as GetOrAdd.
func (d *Directory) Bytes() int64 { return d.bytes + 8*int64(len(d.table.slots)) }
