package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"spoor/segment/batch"
)

// Version is the format that this program writes; it reads those from OldestVersion on. Version 2 has
// codes in planes, and in the directory how many rows have a value.
const (
	Version       = 2
	OldestVersion = 1
)

// A segment file:
//
//	header   16 bytes | "SPOORSEG" | version u32 | CRC32C of the 12 bytes before, u32 |
//	regions  pages of columns, dictionaries, ids, filter, bitmaps: each found by a ref
//	footer   the directory, see footer.go
//	trailer  36 bytes | footer offset u64 | footer length u32 | footer CRC32C u32 |
//	                  | version u32 | reserved u32 | CRC32C of the 24 bytes before, u32 | "SPOOREND" |
//
// All integers are little endian. The regions and the footer follow each other
// without gaps, so every byte of the file is under a checksum.
const (
	headerSize  = 16
	trailerSize = 36
	headMagic   = "SPOORSEG"
	tailMagic   = "SPOOREND"
)

// blockRows is the number of rows in a block, the unit of decoding; pageBlocks is
// the number of blocks in a page, the unit of reading and caching.
const (
	blockRows  = 4096
	pageBlocks = 16
)

// Kinds of columns that are not made of the event's JSON. They follow the kinds
// of batch.Kind and are written to disk; their numbers never change.
const (
	kindReceived batch.Kind = 128 // receivedAt, microseconds
	kindUser     batch.Kind = 129 // reference to the userId, given by the engine
	kindAnon     batch.Kind = 130 // reference to the anonymousId, given by the engine
	kindSource   batch.Kind = 131 // source, text
	kindShape    batch.Kind = 132 // shape, text
	kindKeys     batch.Kind = 133 // person and time
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// ErrCorrupt is wrapped by every error that damage causes.
var ErrCorrupt = errors.New("segment is damaged")

// ErrVersion is wrapped when a file was written by a newer program.
var ErrVersion = errors.New("unknown segment format version")

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
}

// ref is a region of the file with its checksum.
type ref struct {
	off uint64
	len uint32
	crc uint32
}

func (r ref) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, r.off)
	dst = binary.AppendUvarint(dst, uint64(r.len))
	return binary.LittleEndian.AppendUint32(dst, r.crc)
}

func appendHeader(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, headMagic...)
	dst = binary.LittleEndian.AppendUint32(dst, Version)
	return binary.LittleEndian.AppendUint32(dst, checksum(dst[start:]))
}

func appendTrailer(dst []byte, footer ref) []byte {
	start := len(dst)
	dst = binary.LittleEndian.AppendUint64(dst, footer.off)
	dst = binary.LittleEndian.AppendUint32(dst, footer.len)
	dst = binary.LittleEndian.AppendUint32(dst, footer.crc)
	dst = binary.LittleEndian.AppendUint32(dst, Version)
	dst = binary.LittleEndian.AppendUint32(dst, 0)
	dst = binary.LittleEndian.AppendUint32(dst, checksum(dst[start:]))
	return append(dst, tailMagic...)
}

// known checks that this program reads a version.
func known(version uint32) error {
	if version < OldestVersion || version > Version {
		return fmt.Errorf("%w %d; this program reads versions %d to %d", ErrVersion, version, OldestVersion, Version)
	}
	return nil
}

// parseHeader checks the header of a file and returns its version.
func parseHeader(b []byte) (version uint32, err error) {
	if string(b[:8]) != headMagic {
		return 0, corrupt("the file does not start with %s", headMagic)
	}
	if binary.LittleEndian.Uint32(b[12:]) != checksum(b[:12]) {
		return 0, corrupt("header checksum")
	}
	version = binary.LittleEndian.Uint32(b[8:])
	return version, known(version)
}

// parseTrailer returns where the footer of a file of the given size and version is.
func parseTrailer(b []byte, size int64, version uint32) (ref, error) {
	if string(b[28:]) != tailMagic {
		return ref{}, corrupt("the file does not end with %s", tailMagic)
	}
	if binary.LittleEndian.Uint32(b[24:]) != checksum(b[:24]) {
		return ref{}, corrupt("trailer checksum")
	}
	v := binary.LittleEndian.Uint32(b[16:])
	if err := known(v); err != nil {
		return ref{}, err
	}
	if v != version {
		return ref{}, corrupt("version %d at the beginning, %d at the end", version, v)
	}
	r := ref{off: binary.LittleEndian.Uint64(b), len: binary.LittleEndian.Uint32(b[8:]), crc: binary.LittleEndian.Uint32(b[12:])}
	if r.off < headerSize || r.off+uint64(r.len)+trailerSize != uint64(size) {
		return ref{}, corrupt("footer of %d bytes at %d in a file of %d", r.len, r.off, size)
	}
	return r, nil
}
