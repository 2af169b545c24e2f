package traits

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"path"

	"spoor/engine/event"
	"spoor/internal/vfs"
	"spoor/segment/batch"
)

// The file is a head and frames. Each checkpoint that has news appends one; when
// what was appended outgrows what the file began with, or a person was erased,
// the file is written anew from the columns:
//
//	"SPOORTRT" | version u32 | frames
//	frame: length u32 | CRC32C of the body u32 | body
//	body:  uvarint log index that it is of | operations
//
// Operations are numbers (uvarint) and texts (uvarint length and bytes); paths,
// values and stamps are numbered in the order in which they come in the file:
//
//	1 path text                                                   the next path
//	2 person, time (varint), seq, n, n x (path, value text)       what a call set
//	3 from, to                                                    two persons became one
//	4 n, n x value text; n, n x (time (varint), seq)              all values and stamps
//	5 path, n, n x (gap to the person before, value, stamp)       a whole column
const (
	fileMagic   = "SPOORTRT"
	fileVersion = 1
	fileHead    = 12
	frameHead   = 8

	opPath   = 1
	opSet    = 2
	opJoin   = 3
	opTables = 4
	opColumn = 5

	// Operations below this are kept however small the rest is.
	minJournal = 1 << 20
	// Suffix ends the names of files of traits.
	Suffix = ".traits"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrFile is wrapped when a file of traits cannot be read.
var ErrFile = errors.New("traits cannot be read")

// File says which file has the traits and how many of its bytes count. What a
// crash left behind them is overwritten.
type File struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
}

// journal is what the file does not have yet.
type journal struct {
	ops     []byte // since the last checkpoint
	dirty   bool   // there is something to write, be it only the log index
	rewrite bool
	base    int64 // bytes of the columns that the file begins with
	behind  int64 // bytes of operations behind them, ops included
}

// Change is what a checkpoint writes. It is of one moment: take it under the
// lock that orders identity and traits.
type Change struct {
	whole bool
	body  []byte
}

// Take returns what the file misses, nil for nothing. Where the change cannot be
// written, give it Back.
func (s *Store) Take() *Change {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.dirty {
		return nil
	}
	c := &Change{whole: s.rewrite || s.behind > max(s.base, minJournal)}
	c.body = binary.AppendUvarint(nil, s.last)
	if c.whole {
		c.body = s.compact(c.body)
		s.base, s.behind = int64(len(c.body)), 0
	} else {
		c.body = append(c.body, s.ops...)
	}
	s.ops, s.dirty, s.rewrite = nil, false, false
	return c
}

// Waiting is how many bytes of operations wait for a checkpoint.
func (s *Store) Waiting() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.ops)
}

// Back returns a change that could not be written: the next one is a whole file.
func (s *Store) Back(c *Change) {
	if c != nil {
		s.mu.Lock()
		s.dirty, s.rewrite = true, true
		s.mu.Unlock()
	}
}

// Write makes a change durable. A file that is written anew has the name that
// newName gives; the old one is the caller's to remove once nothing names it.
func (c *Change) Write(fsys vfs.FS, dir string, old File, newName func() string) (File, error) {
	frame := frameOf(c.body)
	if c.whole || old.Name == "" {
		b := binary.LittleEndian.AppendUint32([]byte(fileMagic), fileVersion)
		b = append(b, frame...)
		f := File{newName(), int64(len(b))}
		if err := vfs.WriteFileAtomic(fsys, path.Join(dir, f.Name), b); err != nil {
			return old, fmt.Errorf("write traits: %w", err)
		}
		return f, nil
	}
	f, err := fsys.OpenReadWrite(path.Join(dir, old.Name))
	if err != nil {
		return old, fmt.Errorf("write traits: %w", err)
	}
	_, err = f.WriteAt(frame, old.Bytes)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return old, fmt.Errorf("write traits: %w", err)
	}
	return File{old.Name, old.Bytes + int64(len(frame))}, nil
}

func frameOf(body []byte) []byte {
	b := binary.LittleEndian.AppendUint32(make([]byte, 0, frameHead+len(body)), uint32(len(body)))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(body, castagnoli))
	return append(b, body...)
}

// logSet notes what a call set.
func (s *Store) logSet(person uint32, st stamp, leaves []event.Leaf) {
	before := len(s.ops)
	for i := range leaves {
		if c := s.byPath[leaves[i].Path]; !c.logged {
			s.ops = appendText(append(s.ops, opPath), []byte(c.path))
			c.logged = true
		}
	}
	s.ops = binary.AppendUvarint(append(s.ops, opSet), uint64(person))
	s.ops = binary.AppendUvarint(binary.AppendVarint(s.ops, st.time), st.seq)
	s.ops = binary.AppendUvarint(s.ops, uint64(len(leaves)))
	for i := range leaves {
		s.ops = binary.AppendUvarint(s.ops, uint64(s.byPath[leaves[i].Path].number))
		s.ops = appendText(s.ops, appendValue(nil, &leaves[i]))
	}
	s.behind += int64(len(s.ops) - before)
	s.dirty = true
}

func (s *Store) logJoin(from, to uint32) {
	s.ops = binary.AppendUvarint(binary.AppendUvarint(append(s.ops, opJoin), uint64(from)), uint64(to))
	s.behind += 8
	s.dirty = true
}

func appendText(dst, text []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(text))), text...)
}

// compact drops what nobody has any more, numbers the rest anew, and appends it
// as operations.
func (s *Store) compact(dst []byte) []byte {
	oldColumns, oldValues, oldStamps := s.columns, s.values, s.stamps
	s.clear()
	values, stamps := make([]uint32, oldValues.Len()+1), make([]uint32, len(oldStamps))
	var columns []byte
	for _, c := range oldColumns {
		if c.live == 0 {
			continue
		}
		n := s.column(c.path)
		n.logged = true
		dst = appendText(append(dst, opPath), []byte(c.path))
		columns = binary.AppendUvarint(append(columns, opColumn), uint64(n.number))
		columns = binary.AppendUvarint(columns, uint64(c.live))
		last := uint32(0)
		c.each(func(person uint32, x cell) {
			if values[x.value] == 0 {
				v, _ := s.values.GetOrAdd(oldValues.Text(x.value - 1))
				values[x.value] = v + 1
			}
			if stamps[x.stamp] == 0 {
				s.stamps = append(s.stamps, oldStamps[x.stamp])
				stamps[x.stamp] = uint32(len(s.stamps))
			}
			x = cell{values[x.value], stamps[x.stamp] - 1}
			s.put(n, person, x)
			columns = binary.AppendUvarint(columns, uint64(person-last))
			columns = binary.AppendUvarint(columns, uint64(x.value-1))
			columns = binary.AppendUvarint(columns, uint64(x.stamp))
			last = person
		})
	}
	dst = binary.AppendUvarint(append(dst, opTables), uint64(s.values.Len()))
	for v := range s.values.Len() {
		dst = appendText(dst, s.values.Text(uint32(v)))
	}
	dst = binary.AppendUvarint(dst, uint64(len(s.stamps)))
	for _, st := range s.stamps {
		dst = binary.AppendUvarint(binary.AppendVarint(dst, st.time), st.seq)
	}
	return append(dst, columns...)
}

// A value is kept as its kind, one byte, and what it is: a text, or the 8 bytes
// of a number.
func appendValue(dst []byte, l *event.Leaf) []byte {
	dst = append(dst, byte(l.Kind))
	switch l.Kind {
	case batch.KindNumber:
		return binary.LittleEndian.AppendUint64(dst, math.Float64bits(l.Num))
	case batch.KindInt:
		return binary.LittleEndian.AppendUint64(dst, uint64(l.Int))
	case batch.KindBool:
		if l.Bool {
			return append(dst, 1)
		}
		return append(dst, 0)
	}
	return append(dst, l.Text...)
}

// valueSize is how many bytes a value counts.
func valueSize(l *event.Leaf) int {
	switch l.Kind {
	case batch.KindNumber, batch.KindInt:
		return 8
	case batch.KindBool:
		return 1
	}
	return len(l.Text)
}

// leafOf is the value that appendValue wrote; ok is false for none of its kinds.
func leafOf(path string, value []byte) (l event.Leaf, ok bool) {
	if len(value) == 0 {
		return l, false
	}
	l = event.Leaf{Path: path, Kind: batch.Kind(value[0])}
	value = value[1:]
	switch l.Kind {
	case batch.KindNumber, batch.KindInt:
		if len(value) != 8 {
			return l, false
		}
		bits := binary.LittleEndian.Uint64(value)
		if l.Kind == batch.KindInt {
			l.Int = int64(bits)
		} else {
			l.Num = math.Float64frombits(bits)
		}
	case batch.KindBool:
		if len(value) != 1 {
			return l, false
		}
		l.Bool = value[0] == 1
	case batch.KindNull:
		return l, len(value) == 0
	case batch.KindString, batch.KindNumText, batch.KindJSON:
		l.Text = value
	default:
		return l, false
	}
	return l, true
}
