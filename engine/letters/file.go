package letters

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"path"

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
// removed letters. Kind 3 is all letters: each its uvarint log index and itself
// as in an entry; nothing is before it in a file.
const (
	fileMagic   = "SPOORLET"
	fileVersion = 1
	fileHead    = 12
	frameHead   = 8

	minJournal = 1 << 20 // operations below this are kept however little there is
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
	rewrite bool
	behind  int64 // bytes of operations since the file was written anew, ops included
}

// note keeps an operation for the next checkpoint. The caller holds mu.
func (s *Store) note(index uint64, op byte, body []byte) {
	before := len(s.ops)
	s.ops = binary.AppendUvarint(append(s.ops, op), index)
	s.ops = AppendText(s.ops, body)
	s.behind += int64(len(s.ops) - before)
}

// Waiting is how many bytes wait for a checkpoint.
func (s *Store) Waiting() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.ops)
}

// Save makes what the file misses durable and returns the file that counts then.
// newName names a file that is written anew; the old one is the caller's to
// remove once nothing names it. After an error the next call writes a whole file.
func (s *Store) Save(fsys vfs.FS, dir string, old File, newName func() string) (File, error) {
	s.mu.Lock()
	if len(s.ops) == 0 && !s.rewrite {
		s.mu.Unlock()
		return old, nil
	}
	whole := s.rewrite || old.Name == "" || s.behind > max(2*s.bytes, minJournal)
	body := s.ops
	if whole {
		body = s.appendWhole(nil)
		s.behind = 0
	}
	s.ops, s.rewrite = nil, false
	s.mu.Unlock()

	frame := binary.LittleEndian.AppendUint32(make([]byte, 0, frameHead+len(body)), uint32(len(body)))
	frame = append(binary.LittleEndian.AppendUint32(frame, crc32.Checksum(body, castagnoli)), body...)
	var f File
	var err error
	if whole {
		f, err = writeWhole(fsys, dir, newName(), frame)
	} else {
		f, err = appendFrame(fsys, dir, old, frame)
	}
	if err != nil {
		s.mu.Lock()
		s.rewrite = true
		s.mu.Unlock()
		return old, fmt.Errorf("write dead letters: %w", err)
	}
	return f, nil
}

func writeWhole(fsys vfs.FS, dir, name string, frame []byte) (File, error) {
	b := binary.LittleEndian.AppendUint32([]byte(fileMagic), fileVersion)
	b = append(b, frame...)
	return File{name, int64(len(b))}, vfs.WriteFileAtomic(fsys, path.Join(dir, name), b)
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

// appendWhole appends the operation of kind 3. The caller holds mu.
func (s *Store) appendWhole(dst []byte) []byte {
	var body []byte
	for _, l := range s.queue {
		if !isGone(l) {
			body = Append(binary.AppendUvarint(body, l.Index), l)
		}
	}
	dst = binary.AppendUvarint(append(dst, opWhole), s.last)
	return AppendText(dst, body)
}

// Load makes a store of the bytes of a file, all of which count. The bytes are not kept.
func Load(b []byte) (*Store, error) {
	s := New()
	if err := s.read(b); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFile, err)
	}
	return s, nil
}

func (s *Store) read(b []byte) error {
	if len(b) < fileHead || string(b[:8]) != fileMagic {
		return fmt.Errorf("it does not start with %s", fileMagic)
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != fileVersion {
		return fmt.Errorf("it has version %d, this program reads version %d", v, fileVersion)
	}
	b = b[fileHead:]
	for len(b) > 0 {
		if len(b) < frameHead {
			return fmt.Errorf("%d bytes remain", len(b))
		}
		n := int64(binary.LittleEndian.Uint32(b))
		if n > int64(len(b)-frameHead) || crc32.Checksum(b[frameHead:frameHead+n], castagnoli) != binary.LittleEndian.Uint32(b[4:]) {
			return fmt.Errorf("checksum of a frame of %d bytes differs", n)
		}
		if err := s.operations(b[frameHead : frameHead+n]); err != nil {
			return err
		}
		b = b[frameHead+n:]
	}
	return nil
}

func (s *Store) operations(b []byte) error {
	r := newReader(b)
	for r.more() {
		op, index, body := r.Byte(), r.Uvarint(), r.text()
		if err := r.error(); err != nil {
			return err
		}
		switch {
		case op == opWhole && s.last == 0 && len(s.queue) == 0:
			if err := s.readWhole(index, body); err != nil {
				return err
			}
		case (op == opPut || op == opRemove) && index > s.last:
			if _, err := s.change(index, op, body); err != nil {
				return err
			}
			s.behind += int64(len(body))
		default:
			return fmt.Errorf("an operation of kind %d and log index %d behind %d", op, index, s.last)
		}
	}
	return nil
}

func (s *Store) readWhole(last uint64, body []byte) error {
	r := newReader(body)
	before := uint64(0)
	for r.more() {
		index := r.Uvarint()
		l := r.letter()
		if err := r.error(); err != nil {
			return err
		}
		if index < before || index > last || s.byID[l.ID] != nil {
			return fmt.Errorf("the letter %.100q of log index %d is out of order or there twice", l.ID, index)
		}
		l.Index, before = index, index
		s.add(l)
	}
	s.last = last
	return nil
}
