package index

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math"

	"github.com/klauspost/compress/zstd"

	"spoor/internal/vfs"
)

// A generation of Filters is the file dedupe-<number>.bloom:
//
//	| "SPDF" | version u8 | sealed u8 | packed u8 | 0 | number u32 | first number of its set u32 |
//	| capacity u64 | keys u64 | covered log index u64 | last day i32 | CRC32C of all before u32 | a filter, see bloom.go |
//
// all numbers little endian. A set starts when there was no filter or a damaged one, and
// again when old generations were let go: the newest says where, files with numbers before that
// are of no use. The last day is that on which one of its ids may be asked for; version 1 has none and
// is kept for ever. Packed, since version 3, the filter is a zstd frame and the CRC32C u32 of the frame: while less than half of its keys were added, most of its bits
// are zero. Files that are not packed are of version 2 still.
const (
	filterMagic   = "SPDF"
	filterVersion = 3
	filterPlain   = 2 // the version of what is not packed
	filterHead    = 48
	filterHeadOne = 44 // of version 1

	// packShare: a filter with fewer keys than this part of its capacity is packed, unless it is so large that unpacking
	// would be felt at a start and the bytes are few beside those of the events: packing 12 MiB takes some 40 ms.
	packShare     = 2
	maxPackedKeys = 16 << 20
	// packWindow is what the packer looks back over, which is of no use among random bits; what counts is how rare ones are.
	packWindow = 64 << 10
)

// packer packs what is written to it. Close ends the frame and writes the sum of its bytes, for some
// of them say nothing about what is packed, and damage to them is damage.
type packer struct {
	*zstd.Encoder
	w   io.Writer
	sum uint32
}

func newPacker(w io.Writer) (*packer, error) {
	p := &packer{w: w}
	var err error
	p.Encoder, err = zstd.NewWriter(summed{p}, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithAllLitEntropyCompression(true), zstd.WithWindowSize(packWindow), zstd.WithEncoderCRC(false))
	return p, err
}

// summed is what a packer's encoder writes to.
type summed struct{ p *packer }

func (s summed) Write(b []byte) (int, error) {
	s.p.sum = crc32.Update(s.p.sum, castagnoli, b)
	return s.p.w.Write(b)
}

func (p *packer) Close() error {
	if err := p.Encoder.Close(); err != nil {
		return err
	}
	_, err := p.w.Write(appendSum(nil, p.sum))
	return err
}

// unpack reads a packed filter, which cannot be longer than one of so many keys is.
func unpack(b []byte, keys uint64) ([]byte, error) {
	if len(b) < bloomTail {
		return nil, corrupt("dedupe filter is cut off")
	}
	b, sum := b[:len(b)-bloomTail], binary.LittleEndian.Uint32(b[len(b)-bloomTail:])
	if sum != crc32.Checksum(b, castagnoli) {
		return nil, corrupt("checksum of a packed dedupe filter differs")
	}
	size := bloomHead + bloomBlocks(int(keys), filterKeyBits)*blockBytes + bloomTail
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(max(size, packWindow))))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	out, err := d.DecodeAll(b, make([]byte, 0, size))
	if err != nil {
		return nil, corrupt("dedupe filter: %v", err)
	}
	return out, nil
}

type fileHead struct {
	number, first           uint32
	sealed, packed          bool
	capacity, keys, covered uint64
	until                   int32
}

func (h *fileHead) append(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, filterMagic...)
	dst = append(dst, filterPlain, 0, 0, 0)
	if h.sealed {
		dst[start+5] = 1
	}
	if h.packed {
		dst[start+4], dst[start+6] = filterVersion, 1
	}
	le := binary.LittleEndian
	dst = le.AppendUint32(dst, h.number)
	dst = le.AppendUint32(dst, h.first)
	dst = le.AppendUint64(dst, h.capacity)
	dst = le.AppendUint64(dst, h.keys)
	dst = le.AppendUint64(dst, h.covered)
	dst = le.AppendUint32(dst, uint32(h.until))
	return appendSum(dst, crc32.Checksum(dst[start:], castagnoli))
}

func appendSum(dst []byte, sum uint32) []byte { return binary.LittleEndian.AppendUint32(dst, sum) }

// parseGeneration reads the bytes of a filter file.
func parseGeneration(b []byte) (*generation, error) {
	if len(b) < filterHead || string(b[:4]) != filterMagic {
		return nil, corrupt("%d bytes are no dedupe filter", len(b))
	}
	head := filterHead
	switch b[4] {
	case filterPlain, filterVersion:
	case 1:
		head = filterHeadOne
	default:
		return nil, corrupt("dedupe filter of version %d, this program reads version %d and before", b[4], filterVersion)
	}
	le := binary.LittleEndian
	if le.Uint32(b[head-4:]) != crc32.Checksum(b[:head-4], castagnoli) {
		return nil, corrupt("checksum of a dedupe filter's head differs")
	}
	h := fileHead{
		number: le.Uint32(b[8:]), first: le.Uint32(b[12:]), sealed: b[5] == 1, packed: b[4] == filterVersion,
		capacity: le.Uint64(b[16:]), keys: le.Uint64(b[24:]), covered: le.Uint64(b[32:]),
		until: math.MaxInt32,
	}
	if head == filterHead {
		h.until = int32(le.Uint32(b[40:]))
	}
	if h.first == 0 || h.first > h.number || h.capacity == 0 || h.capacity > maxFilterKeys || h.keys > h.capacity || b[5] > 1 || b[6] == 1 != h.packed || b[6] > 1 || b[7] != 0 {
		return nil, corrupt("dedupe filter %d of set %d with %d of %d keys", h.number, h.first, h.keys, h.capacity)
	}
	b = b[head:]
	if h.packed {
		var err error
		if b, err = unpack(b, h.capacity); err != nil {
			return nil, err
		}
	}
	bloom, err := ParseBloom(b)
	if err != nil {
		return nil, err
	}
	if len(bloom.blocks) != bloomBlocks(int(h.capacity), filterKeyBits) {
		return nil, corrupt("dedupe filter of %d blocks for %d keys", len(bloom.blocks), h.capacity)
	}
	return &generation{
		number: h.number, first: h.first, capacity: int(h.capacity), bloom: bloom,
		keys: int(h.keys), saved: int(h.keys), covered: h.covered, onDisk: true, sealed: h.sealed, until: h.until,
	}, nil
}

func (f *Filters) read(number uint32) (*generation, error) {
	name := f.path(number)
	b, err := vfs.ReadFile(f.fsys, name)
	if err != nil {
		return nil, err
	}
	g, err := parseGeneration(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if g.number != number {
		return nil, corrupt("%s holds filter %d", name, g.number)
	}
	return g, nil
}
