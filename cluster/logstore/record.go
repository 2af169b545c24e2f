package logstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"time"

	"github.com/hashicorp/raft"
)

// A record holds one log entry. All numbers are little-endian.
//
//	 0  u32  checksum: CRC32C of everything behind it, padding included, begun with the segment's salt
//	 4  u32  bytes of data
//	 8  u64  index
//	16  u64  term
//	24  i64  appendedAt, nanoseconds since 1970, 0 for none
//	32  u32  offset in the file at which the write that stored the record began
//	36  u32  bytes of extensions
//	40  u8   type of the entry
//	41  7    zero
//	48  data, extensions, zeros up to a multiple of 8 bytes
//
// The offset at 32 tells a torn write from damage: a record whose write began
// behind a bad one was written after the bad one had been synced.
const (
	recordHeaderBytes = 48
	recordAlign       = 8

	// MaxEntryBytes bounds the data and extensions of one entry.
	MaxEntryBytes = 16 << 20
)

// castagnoli is the polynomial that processors have an instruction for.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var (
	errRecordShort    = errors.New("record is cut off")
	errRecordFields   = errors.New("record header is not possible")
	errRecordChecksum = errors.New("record checksum does not match")
)

// recordBytes is the length on disk of an entry.
func recordBytes(l *raft.Log) int {
	return align(recordHeaderBytes + len(l.Data) + len(l.Extensions))
}

func align(n int) int { return (n + recordAlign - 1) &^ (recordAlign - 1) }

// appendRecord appends the record of an entry that is part of the write at writeStart.
func appendRecord(dst []byte, l *raft.Log, salt, writeStart uint32) []byte {
	at := len(dst)
	dst = append(dst, make([]byte, recordHeaderBytes)...)
	h := dst[at:]
	binary.LittleEndian.PutUint32(h[4:], uint32(len(l.Data)))
	binary.LittleEndian.PutUint64(h[8:], l.Index)
	binary.LittleEndian.PutUint64(h[16:], l.Term)
	binary.LittleEndian.PutUint64(h[24:], uint64(unixNanos(l.AppendedAt)))
	binary.LittleEndian.PutUint32(h[32:], writeStart)
	binary.LittleEndian.PutUint32(h[36:], uint32(len(l.Extensions)))
	h[40] = byte(l.Type)
	dst = append(dst, l.Data...)
	dst = append(dst, l.Extensions...)
	for len(dst)-at < align(len(dst)-at) {
		dst = append(dst, 0)
	}
	binary.LittleEndian.PutUint32(dst[at:], crc32.Update(salt, castagnoli, dst[at+4:]))
	return dst
}

// record is what a header says; data and ext are parts of the decoded bytes.
type record struct {
	index, term uint64
	appendedAt  int64
	writeStart  uint32
	kind        raft.LogType
	data, ext   []byte
	size        int // on disk
}

// decodeRecord reads the record at the beginning of b, which may be followed by others.
func decodeRecord(b []byte, salt uint32) (record, error) {
	r, err := decodeHeader(b)
	if err != nil {
		return record{}, err
	}
	if crc32.Update(salt, castagnoli, b[4:r.size]) != binary.LittleEndian.Uint32(b) {
		return record{}, errRecordChecksum
	}
	return r, nil
}

// decodeHeader reads a record without looking at its checksum.
func decodeHeader(b []byte) (record, error) {
	if len(b) < recordHeaderBytes {
		return record{}, errRecordShort
	}
	data, ext := binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint32(b[36:])
	r := record{
		index:      binary.LittleEndian.Uint64(b[8:]),
		term:       binary.LittleEndian.Uint64(b[16:]),
		appendedAt: int64(binary.LittleEndian.Uint64(b[24:])),
		writeStart: binary.LittleEndian.Uint32(b[32:]),
		kind:       raft.LogType(b[40]),
	}
	if r.index == 0 || uint64(data)+uint64(ext) > MaxEntryBytes || r.kind > raft.LogConfiguration ||
		b[41]|b[42]|b[43]|b[44]|b[45]|b[46]|b[47] != 0 {
		return record{}, errRecordFields
	}
	end := recordHeaderBytes + int(data) + int(ext)
	r.size = align(end)
	if r.size > len(b) {
		return record{}, errRecordShort
	}
	r.data = b[recordHeaderBytes : recordHeaderBytes+int(data) : recordHeaderBytes+int(data)]
	r.ext = b[recordHeaderBytes+int(data) : end : end]
	return r, nil
}

// entry fills l, which shares the bytes of r.
func (r *record) entry(l *raft.Log) {
	*l = raft.Log{Index: r.index, Term: r.term, Type: r.kind, Data: r.data, Extensions: r.ext}
	if r.appendedAt != 0 {
		l.AppendedAt = time.Unix(0, r.appendedAt)
	}
	if len(r.ext) == 0 {
		l.Extensions = nil
	}
}

// unixNanos is 0 for the zero time and for times that 64 bits do not reach: the
// field only serves to show the age of the log.
func unixNanos(t time.Time) int64 {
	if t.IsZero() || t.Year() < 1970 || t.Year() > 2261 {
		return 0
	}
	return t.UnixNano()
}

// checkEntry refuses what cannot be stored before anything is written.
func checkEntry(l *raft.Log, want uint64) error {
	if want != 0 && l.Index != want {
		return fmt.Errorf("store log entry %d: the next one is %d", l.Index, want)
	}
	if l.Index == 0 || l.Index == math.MaxUint64 || l.Type > raft.LogConfiguration {
		return fmt.Errorf("store log entry %d of type %d: not possible", l.Index, l.Type)
	}
	if n := len(l.Data) + len(l.Extensions); n > MaxEntryBytes {
		return fmt.Errorf("store log entry %d: %d bytes are more than the limit of %d", l.Index, n, MaxEntryBytes)
	}
	return nil
}
