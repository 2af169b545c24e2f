package cold

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"sort"

	"spoor/internal/vfs"
	"spoor/segment"
	"spoor/segment/encoding"
)

// Suffix ends the names of stubs. A stub, version 1, little-endian:
//
//	"SPOORCLD" | version u32 | length of the list u32 | CRC32C of the list u32
//	list:  uvarint bytes of the segment | uvarint extents, each: uvarint gap to the one before, uvarint length
//	bytes of the extents, one behind the other
//
// The bytes of an extent are regions of the segment with checksums of their own.
const (
	Suffix       = ".cold"
	stubMagic    = "SPOORCLD"
	stubVersion  = 1
	stubHead     = 20
	maxStubList  = 64 << 20
	stubCopySize = 256 << 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrStub is wrapped when a stub is damaged or was written by a newer program.
var ErrStub = errors.New("the stub of a cold segment cannot be read")

// extent is a range of the segment that the stub has at an offset.
type extent struct {
	segment.Extent
	at int64
}

// WriteStub writes what stays of a segment of size bytes, durably.
func WriteStub(fsys vfs.FS, name string, r io.ReaderAt, size int64, keep []segment.Extent) error {
	list := binary.AppendUvarint(nil, uint64(size))
	list = binary.AppendUvarint(list, uint64(len(keep)))
	end := int64(0)
	for _, e := range keep {
		list = binary.AppendUvarint(list, uint64(e.Off-end))
		list = binary.AppendUvarint(list, uint64(e.Len))
		end = e.Off + e.Len
	}
	head := append(make([]byte, 0, stubHead+len(list)), stubMagic...)
	head = binary.LittleEndian.AppendUint32(head, stubVersion)
	head = binary.LittleEndian.AppendUint32(head, uint32(len(list)))
	head = binary.LittleEndian.AppendUint32(head, crc32.Checksum(list, castagnoli))
	err := vfs.WriteAtomic(fsys, name, func(w io.Writer) error {
		if _, err := w.Write(append(head, list...)); err != nil {
			return err
		}
		buf := make([]byte, stubCopySize)
		for _, e := range keep {
			if _, err := io.CopyBuffer(struct{ io.Writer }{w}, io.NewSectionReader(r, e.Off, e.Len), buf); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("write the stub of a cold segment: %w", err)
	}
	return nil
}

// readStub reads the list of a stub.
func readStub(f vfs.File) (size int64, extents []extent, err error) {
	bad := func(format string, args ...any) (int64, []extent, error) {
		return 0, nil, fmt.Errorf("%w: %s", ErrStub, fmt.Sprintf(format, args...))
	}
	var head [stubHead]byte
	if f.Size() < stubHead {
		return bad("it has %d bytes", f.Size())
	}
	if _, err := f.ReadAt(head[:], 0); err != nil {
		return 0, nil, err
	}
	if string(head[:8]) != stubMagic {
		return bad("it does not start with %s", stubMagic)
	}
	if v := binary.LittleEndian.Uint32(head[8:]); v != stubVersion {
		return bad("it has version %d, this program reads version %d", v, stubVersion)
	}
	n := int64(binary.LittleEndian.Uint32(head[12:]))
	if n > maxStubList || n > f.Size()-stubHead {
		return bad("a list of %d bytes in %d", n, f.Size())
	}
	b := make([]byte, n, n+encoding.Pad)
	if _, err := f.ReadAt(b, stubHead); err != nil && !(errors.Is(err, io.EOF) && n == f.Size()-stubHead) {
		return 0, nil, err
	}
	if crc32.Checksum(b, castagnoli) != binary.LittleEndian.Uint32(head[16:]) {
		return bad("checksum of its list")
	}
	l := encoding.NewLane(b)
	size = int64(l.Count(math.MaxInt))
	extents = make([]extent, l.Count(len(b)))
	end, at := int64(0), stubHead+n
	for i := range extents {
		e := &extents[i]
		e.Off = end + int64(l.Count(int(size-end)))
		e.Len = int64(l.Count(int(size - e.Off)))
		e.at = at
		end, at = e.Off+e.Len, at+e.Len
	}
	if l.Err() != nil || at != f.Size() {
		return bad("its list does not fit %d bytes", f.Size())
	}
	return size, extents, nil
}

// find is the extent that holds all of [off, off+n), nil for none.
func find(extents []extent, off, n int64) *extent {
	i := sort.Search(len(extents), func(i int) bool { return extents[i].Off+extents[i].Len > off })
	if i == len(extents) || off < extents[i].Off || off+n > extents[i].Off+extents[i].Len {
		return nil
	}
	return &extents[i]
}
