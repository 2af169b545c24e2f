package logstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path/filepath"

	"spoor/internal/vfs"
)

// A segment file is an envelope, records back to back, and written zeros up to
// its full length.
//
//	envelope payload: u64 sequence number of the segment | u64 index of its first entry
//	64  records
const segmentHeaderBytes = 64

// segment is one file of the log. Its header is part of the first write to it;
// a file that is all zeros is one that was prepared and not used yet.
type segment struct {
	seq   uint64
	first uint64 // index of the first entry, known from the header on
	name  string
	f     vfs.File
	salt  uint32

	offsets []uint32 // of the records of first, first+1, ...
	end     int64    // where the next record goes; 0 before the header is written
	blank   bool     // it was found whole and all zeros
	base    int64    // position of the file's beginning in the log, for distances in bytes
}

func newSegment(dir string, cluster ClusterID, seq uint64) *segment {
	return &segment{seq: seq, name: filepath.Join(dir, segmentName(seq)), salt: segmentSalt(cluster, seq)}
}

// segmentSalt begins every record checksum, so that a record is only valid in the
// file that it was written to.
func segmentSalt(cluster ClusterID, seq uint64) uint32 {
	return crc32.Checksum(binary.LittleEndian.AppendUint64(cluster[:len(cluster):len(cluster)], seq), castagnoli)
}

// next is the index behind the last entry.
func (g *segment) next() uint64 { return g.first + uint64(len(g.offsets)) }

// recordEnd is where the record of the i-th entry ends.
func (g *segment) recordEnd(i int) int64 {
	if i+1 < len(g.offsets) {
		return int64(g.offsets[i+1])
	}
	return g.end
}

func appendSegmentHeader(dst []byte, cluster ClusterID, seq, first uint64) []byte {
	var p [16]byte
	binary.LittleEndian.PutUint64(p[:], seq)
	binary.LittleEndian.PutUint64(p[8:], first)
	at := len(dst)
	dst = appendEnvelope(dst, magicSegment, cluster, p[:])
	return append(dst, make([]byte, segmentHeaderBytes-(len(dst)-at))...)
}

// readHeader answers errEnvelope for a file that was not used yet or whose first write was torn.
func (g *segment) readHeader(cluster ClusterID) error {
	b := make([]byte, segmentHeaderBytes)
	n, err := g.f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: %w", g.name, err)
	}
	found, p, err := openEnvelope(b[:n], magicSegment)
	switch {
	case err != nil:
	case found != cluster:
		err = errCluster
	case len(p) != 16 || !isZero(b[envelopeBytes+len(p):]):
		err = errEnvelope
	case binary.LittleEndian.Uint64(p) != g.seq:
		err = errors.New("it has the header of another segment")
	case binary.LittleEndian.Uint64(p[8:]) == 0:
		err = errEnvelope
	default:
		g.first = binary.LittleEndian.Uint64(p[8:])
		g.end = segmentHeaderBytes
	}
	if err != nil {
		return fmt.Errorf("%s: %w", g.name, err)
	}
	return nil
}

// load finds the records in b, the content of the file. torn tells that behind
// them lies what is left of a write that was never acknowledged.
func (g *segment) load(b []byte, sealed bool, marked uint64) (torn bool, err error) {
	at := segmentHeaderBytes
	var bad error
	for at < len(b) {
		r, err := decodeRecord(b[at:], g.salt)
		if err == nil && (r.index != g.next() || int64(r.writeStart) > int64(at)) {
			err = fmt.Errorf("it holds entry %d, not %d", r.index, g.next())
		}
		if err != nil {
			bad = err
			break
		}
		g.offsets = append(g.offsets, uint32(at))
		at += r.size
	}
	g.end = int64(at)
	if bad == nil || isZero(b[at:]) {
		return false, nil
	}
	if sealed || g.next() <= marked || laterWrite(b, at, g.salt) {
		return false, damage("%s: the record of entry %d at offset %d is damaged (%w), and it had been stored durably", g.name, g.next(), at, bad)
	}
	return true, nil
}

// laterWrite tells whether b has a record of a write that began behind at: such a
// write was only begun after everything up to at had been synced.
func laterWrite(b []byte, at int, salt uint32) bool {
	for o := (at &^ (recordAlign - 1)) + recordAlign; o+recordHeaderBytes <= len(b); o += recordAlign {
		if start := int64(binary.LittleEndian.Uint32(b[o+32:])); start <= int64(at) || start > int64(o) {
			continue
		}
		if _, err := decodeRecord(b[o:], salt); err == nil {
			return true
		}
	}
	return false
}

// clearTorn puts zeros over what load found torn.
func (g *segment) clearTorn(b []byte) error {
	tail := b[g.end:]
	tail = tail[:len(bytes.TrimRight(tail, "\x00"))]
	if _, err := g.f.WriteAt(make([]byte, len(tail)), g.end); err != nil {
		return err
	}
	return g.f.Sync()
}

// read returns the entry at an index that the segment holds.
func (g *segment) read(index uint64) (record, error) {
	i := int(index - g.first)
	at := int64(g.offsets[i])
	b := make([]byte, g.recordEnd(i)-at)
	if n, err := g.f.ReadAt(b, at); n < len(b) {
		return record{}, fmt.Errorf("read log entry %d in %s: %w", index, g.name, err)
	}
	r, err := decodeRecord(b, g.salt)
	if err == nil && r.index != index {
		err = fmt.Errorf("it holds entry %d", r.index)
	}
	if err != nil {
		return record{}, damage("%s: the record of entry %d at offset %d is damaged: %w", g.name, index, at, err)
	}
	return r, nil
}

var zeros [64 << 10]byte

func isZero(b []byte) bool {
	for len(b) > len(zeros) {
		if !bytes.Equal(b[:len(zeros)], zeros[:]) {
			return false
		}
		b = b[len(zeros):]
	}
	return bytes.Equal(b, zeros[:len(b)])
}

// ErrDamaged is wrapped when the log is not what was stored.
var ErrDamaged = errors.New("the log is damaged")

func damage(format string, args ...any) error {
	return fmt.Errorf("%w: %w; restore the directory from a backup or, in a cluster, remove this node and let a new one take its place", ErrDamaged, fmt.Errorf(format, args...))
}
