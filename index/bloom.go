package index

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"unsafe"
)

// A filter is written as
//
//	| "SPBF" | version u8 | 0 | 0 | 0 | blocks u32 | blocks x 64 bytes: 8 words u64 | CRC32C of all before u32 |
//
// all numbers little endian.
const (
	bloomMagic   = "SPBF"
	bloomVersion = 1
	bloomHead    = 12
	bloomTail    = 4
	blockBytes   = 64
	blockBits    = 8 * blockBytes

	// maxBloomBlocks bounds a filter to 16 GiB: beyond it a caller's count is wrong.
	maxBloomBlocks = 1 << 28

	// probeBatch keys are touched before the first is tested, so that their cache
	// misses run side by side.
	probeBatch = 64

	// probeMix makes the bits inside a block independent of the choice of the block.
	probeMix = 0x9e3779b97f4a7c15
)

// Bloom is a blocked bloom filter over 64-bit hashes: a key owns one 512-bit
// block, a cache line, and sets one bit in each of its eight words. That is as
// selective as eight free probes in the block (Putze, Sanders, Singler: Cache-,
// Hash- and Space-Efficient Bloom Filters, 2007) and needs one miss, no branch.
// A hash must be spread evenly over 64 bits.
//
// Has never denies a key that was added. Of others it admits about 2.7 % with 8
// bits per key, 1.1 % with 10, 0.5 % with 12.
//
// Readers may share a filter that nobody adds to.
type Bloom struct {
	blocks []block // 64-byte aligned
}

type block = [8]uint64

// NewBloom makes a filter sized for keys at bitsPerKey; more keys only admit more strangers.
func NewBloom(keys, bitsPerKey int) *Bloom {
	return &Bloom{blocks: alignedBlocks(bloomBlocks(keys, bitsPerKey))}
}

func bloomBlocks(keys, bitsPerKey int) int {
	if keys < 0 || bitsPerKey < 1 || keys > maxBloomBlocks*blockBits/bitsPerKey {
		panic(fmt.Sprintf("index: a filter of %d keys at %d bits", keys, bitsPerKey))
	}
	return max(1, (keys*bitsPerKey+blockBits-1)/blockBits)
}

// alignedBlocks puts every block into one cache line.
func alignedBlocks(n int) []block {
	raw := make([]block, n+1)
	first := unsafe.Pointer(&raw[0])
	skip := -uintptr(first) & (blockBytes - 1) // the heap never moves an object
	if skip == 0 {
		return raw[:n:n]
	}
	return unsafe.Slice((*block)(unsafe.Add(first, skip)), n)
}

// Bytes is the memory of the filter.
func (f *Bloom) Bytes() int { return len(f.blocks) * blockBytes }

func (f *Bloom) at(hash uint64) uint64 { return hash >> 32 * uint64(len(f.blocks)) >> 32 }

// Add adds a key. It tells whether that changed the filter; a key that did not
// was there, or passes for one that was.
func (f *Bloom) Add(hash uint64) bool {
	b := &f.blocks[f.at(hash)]
	g := hash * probeMix
	had := b[0] >> (g >> 58) & (b[1] >> (g >> 52 & 63)) & (b[2] >> (g >> 46 & 63)) & (b[3] >> (g >> 40 & 63)) &
		(b[4] >> (g >> 34 & 63)) & (b[5] >> (g >> 28 & 63)) & (b[6] >> (g >> 22 & 63)) & (b[7] >> (g >> 16 & 63))
	if had&1 != 0 {
		return false
	}
	b[0] |= 1 << (g >> 58)
	b[1] |= 1 << (g >> 52 & 63)
	b[2] |= 1 << (g >> 46 & 63)
	b[3] |= 1 << (g >> 40 & 63)
	b[4] |= 1 << (g >> 34 & 63)
	b[5] |= 1 << (g >> 28 & 63)
	b[6] |= 1 << (g >> 22 & 63)
	b[7] |= 1 << (g >> 16 & 63)
	return true
}

// Has tells whether a key may have been added; false is certain.
func (f *Bloom) Has(hash uint64) bool {
	b := &f.blocks[f.at(hash)]
	g := hash * probeMix
	return rest(b, g, b[0]>>(g>>58))
}

// rest tests the words after the first, whose answer is in the low bit of had.
func rest(b *block, g, had uint64) bool {
	had &= b[1] >> (g >> 52 & 63)
	had &= b[2] >> (g >> 46 & 63)
	had &= b[3] >> (g >> 40 & 63)
	had &= b[4] >> (g >> 34 & 63)
	had &= b[5] >> (g >> 28 & 63)
	had &= b[6] >> (g >> 22 & 63)
	had &= b[7] >> (g >> 16 & 63)
	return had&1 != 0
}

// HasAll sets maybe[i] to Has(hashes[i]); both slices have one length.
func (f *Bloom) HasAll(hashes []uint64, maybe []bool) {
	clear(maybe[:len(hashes)])
	f.orAll(hashes, maybe)
}

// orAll sets maybe[i] where Has(hashes[i]) and leaves the others.
func (f *Bloom) orAll(hashes []uint64, maybe []bool) {
	maybe = maybe[:len(hashes)]
	for len(hashes) > probeBatch {
		f.orBatch(hashes[:probeBatch], maybe[:probeBatch])
		hashes, maybe = hashes[probeBatch:], maybe[probeBatch:]
	}
	f.orBatch(hashes, maybe)
}

func (f *Bloom) orBatch(hashes []uint64, maybe []bool) {
	var first [probeBatch]uint64
	for i, h := range hashes {
		first[i&(probeBatch-1)] = f.blocks[f.at(h)][0]
	}
	for i, h := range hashes {
		g := h * probeMix
		if rest(&f.blocks[f.at(h)], g, first[i&(probeBatch-1)]>>(g>>58)) {
			maybe[i] = true
		}
	}
}

// EncodedSize is the length of what AppendTo appends.
func (f *Bloom) EncodedSize() int { return bloomHead + f.Bytes() + bloomTail }

// AppendTo appends the filter's bytes to dst.
func (f *Bloom) AppendTo(dst []byte) []byte {
	dst = slices.Grow(dst, f.EncodedSize())
	start := len(dst)
	dst = f.appendHead(dst)
	dst = appendBlocks(dst, f.blocks)
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

func (f *Bloom) appendHead(dst []byte) []byte {
	dst = append(dst, bloomMagic...)
	dst = append(dst, bloomVersion, 0, 0, 0)
	return binary.LittleEndian.AppendUint32(dst, uint32(len(f.blocks)))
}

func appendBlocks(dst []byte, blocks []block) []byte {
	for i := range blocks {
		for _, w := range &blocks[i] {
			dst = binary.LittleEndian.AppendUint64(dst, w)
		}
	}
	return dst
}

// ParseBloom reads what AppendTo wrote; b is not kept. Every flipped bit is an
// error that wraps ErrCorrupt.
func ParseBloom(b []byte) (*Bloom, error) {
	if len(b) < bloomHead+bloomTail || string(b[:4]) != bloomMagic {
		return nil, corrupt("%d bytes are no filter", len(b))
	}
	if b[4] != bloomVersion {
		return nil, corrupt("filter of version %d, this program reads version %d", b[4], bloomVersion)
	}
	n := binary.LittleEndian.Uint32(b[8:])
	if n == 0 || n > maxBloomBlocks || uint64(len(b)) != bloomHead+blockBytes*uint64(n)+bloomTail {
		return nil, corrupt("filter of %d blocks in %d bytes", n, len(b))
	}
	body := b[:len(b)-bloomTail]
	if sum := binary.LittleEndian.Uint32(b[len(body):]); sum != crc32.Checksum(body, castagnoli) || b[5]|b[6]|b[7] != 0 {
		return nil, corrupt("checksum of a filter of %d bytes differs", len(b))
	}
	f := &Bloom{blocks: alignedBlocks(int(n))}
	body = body[bloomHead:]
	for i := range f.blocks {
		words := body[i*blockBytes:][:blockBytes]
		for j := range f.blocks[i] {
			f.blocks[i][j] = binary.LittleEndian.Uint64(words[8*j:])
		}
	}
	return f, nil
}
