package letters

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"math"
	"path"
	"slices"

	"spoor/internal/vfs"
)

// The file is a head and frames. Each checkpoint that has news appends one;
// when what was appended outgrows what there is, the file is written anew:
//
//	"SPOORLET" | version u32 | frames
//	frame: length u32 | CRC32C of the body u32 | body
//	body:  operations: kind u8 | uvarint log index | uvarint length | bytes
//
// The bytes of kinds 1 and 2 are the body of the log entry that stored or
// removed letters. A file that is written anew has what is left of each entry, with bounds
// that let nothing expire, and a removal of nothing where the last entry left none. Kind 3, which
// is read but not written any more, is all letters: each its uvarint log index and itself
// as in an entry; nothing is before it in a file.
const (
	fileMagic   = "SPOORLET"
	fileVersion = 1
	fileHead    = 12
	frameHead   = 8

	minJournal = 1 << 20 // operations below this are kept however little there is
	frameBytes = 1 << 20 // a frame of a file that is written anew ends with the operation that reaches it
	// Suffix ends the names of files of letters.
	Suffix = ".letters"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrFile is wrapped when a file of letters cannot be read.
var ErrFile = errors.New("the file of dead letters cannot be read")

// File says which file has the letters and how many of its bytes count.
type File struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
}

// journal is what the file does not have yet.
type journal struct {
	ops     []byte
	fresh   map[*item]fresh // letters that are not in the file
	rewrite bool
	behind  int64 // bytes of operations since the file was written anew, ops included
}

// fresh is a letter that waits for a checkpoint.
type fresh struct {
	encoded []byte // as Append has it
	at      int64  // of it in ops
}

// note keeps an operation for the next checkpoint, and the letters that it added. The caller holds mu.
func (s *Store) note(index uint64, op byte, body []byte, added []*item) {
	before := len(s.ops)
	s.ops = binary.AppendUvarint(append(s.ops, op), index)
	s.ops = AppendText(s.ops, body)
	s.behind += int64(len(s.ops) - before)
	start := int64(len(s.ops) - len(body))
	if len(added) > 0 {
		body = slices.Clone(body) // the caller's is not kept
	}
	for _, it := range added {
		if s.byID[it.id] == it { // it may have expired at once
			s.fresh[it] = fresh{body[it.place : it.place+int64(it.length)], start + it.place}
		}
	}
}

// Waiting is how many bytes wait for a checkpoint.
func (s *Store) Waiting() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.ops)
}

// Save makes what the file misses durable and returns the file that counts then.
// newName names a file that is written anew; the old one is the caller's to
// remove once nothing names it. Calls must not overlap. After an error the next call writes a whole file.
func (s *Store) Save(fsys vfs.FS, dir string, old File, newName func() string) (File, error) {
	s.mu.Lock()
	if len(s.ops) == 0 && !s.rewrite {
		s.mu.Unlock()
		return old, nil
	}
	whole := s.rewrite || s.disk == nil || old.Name == "" || s.behind > max(2*s.bytes, minJournal)
	ops, waited, last := s.ops, maps.Clone(s.fresh), s.last
	var r *reading
	if whole {
		r = s.reading(s.queue)
		s.behind = 0
	}
	s.ops, s.rewrite = nil, false
	s.mu.Unlock()

	var f File
	var err error
	if whole {
		f, err = s.saveWhole(fsys, dir, newName(), r, last)
		r.close()
	} else {
		f, err = appendFrame(fsys, dir, old, frame(ops))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.rewrite = true
		return old, fmt.Errorf("write dead letters: %w", err)
	}
	if !whole {
		for it, w := range waited {
			it.place = old.Bytes + frameHead + w.at
		}
	}
	for it := range waited {
		delete(s.fresh, it)
	}
	return f, nil
}

// saveWhole writes a file anew of the letters of r, which it then takes for that of the store.
func (s *Store) saveWhole(fsys vfs.FS, dir, name string, r *reading, last uint64) (File, error) {
	f := File{Name: name}
	places := make([]int64, len(r.places))
	full := path.Join(dir, name)
	err := vfs.WriteAtomic(fsys, full, func(w io.Writer) (err error) {
		f.Bytes, err = writeWhole(w, r, places, last)
		return err
	})
	if err != nil {
		return f, err
	}
	h, err := fsys.Open(full)
	if err != nil {
		return f, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range r.places {
		r.places[i].item.place = places[i]
		delete(s.fresh, r.places[i].item)
	}
	s.disk.release()
	s.disk = newDisk(h, name)
	return f, nil
}

// writeWhole writes the letters of r, up to log index last, and notes where each is.
func writeWhole(w io.Writer, r *reading, places []int64, last uint64) (written int64, err error) {
	put := func(b []byte) error {
		written += int64(len(b))
		_, err := w.Write(b)
		return err
	}
	if err := put(binary.LittleEndian.AppendUint32([]byte(fileMagic), fileVersion)); err != nil {
		return 0, err
	}
	all := Bounds{Bytes: MaxBytes, Oldest: math.MinInt64}
	var ops []byte
	index := uint64(0)
	for i := 0; i < len(r.places); {
		index = r.places[i].item.index
		body, first := AppendBounds(nil, all), i
		for ; i < len(r.places) && r.places[i].item.index == index; i++ {
			b, err := r.encoded(i)
			if err != nil {
				return 0, err
			}
			places[i] = int64(len(body))
			body = append(body, b...)
		}
		ops = AppendText(binary.AppendUvarint(append(ops, opPut), index), body)
		start := written + frameHead + int64(len(ops)-len(body))
		for ; first < i; first++ {
			places[first] += start
		}
		if len(ops) >= frameBytes {
			if err := put(frame(ops)); err != nil {
				return 0, err
			}
			ops = ops[:0]
		}
	}
	if index < last {
		ops = AppendText(binary.AppendUvarint(append(ops, opRemove), last), AppendBounds(nil, all))
	}
	if len(ops) > 0 {
		err = put(frame(ops))
	}
	return written, err
}

// frame puts the head before operations.
func frame(ops []byte) []byte {
	b := binary.LittleEndian.AppendUint32(make([]byte, 0, frameHead+len(ops)), uint32(len(ops)))
	return append(binary.LittleEndian.AppendUint32(b, crc32.Checksum(ops, castagnoli)), ops...)
}

func appendFrame(fsys vfs.FS, dir string, old File, frame []byte) (File, error) {
	f, err := fsys.OpenReadWrite(path.Join(dir, old.Name))
	if err != nil {
		return old, err
	}
	if _, err = f.WriteAt(frame, old.Bytes); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return File{old.Name, old.Bytes + int64(len(frame))}, err
}

// Load opens the store of a file in dir. It reads all of what counts, and keeps the file open until Close.
func Load(fsys vfs.FS, dir string, f File) (*Store, error) {
	h, err := fsys.Open(path.Join(dir, f.Name))
	if err != nil {
		return nil, fmt.Errorf("read dead letters: %w", err)
	}
	s := New()
	if err := s.read(h, f.Bytes); err != nil {
		_ = h.Close()
		return nil, fmt.Errorf("%w: %s: %w", ErrFile, f.Name, err)
	}
	s.disk = newDisk(h, f.Name)
	return s, nil
}

// Check reads the first n bytes of a file of letters, all of which count.
func Check(file io.ReaderAt, n int64) error {
	if err := New().read(file, n); err != nil {
		return fmt.Errorf("%w: %w", ErrFile, err)
	}
	return nil
}

// read reads a file frame by frame.
func (s *Store) read(file io.ReaderAt, size int64) error {
	at := int64(0)
	var buf []byte
	next := func(n int64) ([]byte, error) {
		if n > size-at {
			return nil, fmt.Errorf("%d bytes are missing at byte %d", n-(size-at), at)
		}
		buf = slices.Grow(buf[:0], int(n))[:n]
		if got, err := file.ReadAt(buf, at); got < len(buf) {
			return nil, fmt.Errorf("%d of %d bytes at byte %d: %w", got, n, at, err)
		}
		at += n
		return buf, nil
	}
	head, err := next(fileHead)
	switch {
	case err != nil:
		return err
	case string(head[:8]) != fileMagic:
		return fmt.Errorf("it does not start with %s", fileMagic)
	}
	if v := binary.LittleEndian.Uint32(head[8:]); v != fileVersion {
		return fmt.Errorf("it has version %d, this program reads version %d", v, fileVersion)
	}
	for at < size {
		head, err := next(frameHead)
		if err != nil {
			return err
		}
		n, sum := int64(binary.LittleEndian.Uint32(head)), binary.LittleEndian.Uint32(head[4:])
		start := at
		body, err := next(n)
		if err != nil {
			return err
		}
		if crc32.Checksum(body, castagnoli) != sum {
			return fmt.Errorf("checksum of a frame of %d bytes differs at byte %d", n, start)
		}
		if err := s.operations(body, start); err != nil {
			return err
		}
	}
	s.behind = max(0, size-s.bytes)
	return nil
}

// operations applies those of the body of a frame, which is at a byte of the file.
func (s *Store) operations(b []byte, at int64) error {
	r := newReader(b)
	for r.more() {
		op, index, body := r.Byte(), r.Uvarint(), r.text()
		if err := r.error(); err != nil {
			return err
		}
		start := at + int64(len(b)-len(r.Rest())-len(body))
		switch {
		case op == opWhole && s.last == 0 && len(s.queue) == 0:
			if err := s.readWhole(index, body, start); err != nil {
				return err
			}
		case (op == opPut || op == opRemove) && index > s.last:
			added, _, err := s.change(index, op, body)
			if err != nil {
				return err
			}
			for _, it := range added {
				it.place += start
			}
		default:
			return fmt.Errorf("an operation of kind %d and log index %d behind %d", op, index, s.last)
		}
	}
	return nil
}

func (s *Store) readWhole(last uint64, body []byte, at int64) error {
	r := newReader(body)
	before := uint64(1)
	for r.more() {
		index := r.Uvarint()
		it := r.item(body, index)
		if err := r.error(); err != nil {
			return err
		}
		if index < before || index > last || s.byID[it.id] != nil {
			return fmt.Errorf("the letter %.100q of log index %d is out of order or there twice", it.id, index)
		}
		it.place += at
		before = index
		s.add(it)
	}
	s.last = last
	return nil
}
