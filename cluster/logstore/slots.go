package logstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"

	"spoor/internal/vfs"
)

// slotFile is a small file that is rewritten in place, so that it needs neither
// space nor a change of the directory. It has two slots that are written by
// turns; of those that are whole, the one with the higher generation counts.
//
//	slot: an envelope, payload: u64 generation | what is stored
type slotFile struct {
	f          vfs.File
	name       string
	magic      string
	cluster    ClusterID
	slotBytes  int
	generation uint64
	buf        []byte
}

func createSlotFile(fsys vfs.FS, dir, name, magic string, slotBytes int, cluster ClusterID, payload []byte) error {
	b := make([]byte, 2*slotBytes)
	for i := range 2 {
		copy(b[i*slotBytes:], appendSlot(nil, magic, cluster, uint64(i), payload))
	}
	return vfs.WriteFileAtomic(fsys, filepath.Join(dir, name), b)
}

func appendSlot(dst []byte, magic string, cluster ClusterID, generation uint64, payload []byte) []byte {
	p := binary.LittleEndian.AppendUint64(make([]byte, 0, 8+len(payload)), generation)
	return appendEnvelope(dst, magic, cluster, append(p, payload...))
}

// openSlotFile returns the file and what is stored in it.
func openSlotFile(fsys vfs.FS, dir, name, magic string, slotBytes int, cluster ClusterID) (*slotFile, []byte, error) {
	s := &slotFile{name: filepath.Join(dir, name), magic: magic, cluster: cluster, slotBytes: slotBytes}
	f, err := fsys.OpenReadWrite(s.name)
	if err != nil {
		return nil, nil, err
	}
	s.f = f
	payload, err := s.read()
	if err != nil {
		_ = f.Close()
		return nil, nil, fmt.Errorf("%s: %w", s.name, err)
	}
	return s, payload, nil
}

func (s *slotFile) read() (payload []byte, err error) {
	b := make([]byte, 2*s.slotBytes)
	if n, err := s.f.ReadAt(b, 0); n < len(b) {
		return nil, errors.Join(errEnvelope, err)
	}
	var bad error
	for i := range 2 {
		cluster, p, err := openEnvelope(b[i*s.slotBytes:(i+1)*s.slotBytes], s.magic)
		if err == nil && len(p) < 8 {
			err = errEnvelope
		}
		if err == nil && cluster != s.cluster {
			err = errCluster
		}
		if err != nil {
			bad = err
			continue
		}
		if g := binary.LittleEndian.Uint64(p); payload == nil || g > s.generation {
			s.generation, payload = g, p[8:]
		}
	}
	if payload == nil {
		return nil, bad
	}
	return payload, nil
}

// set writes without a sync. Two sets without a sync between them are only safe
// if a slot is a single sector.
func (s *slotFile) set(payload []byte) error {
	s.buf = appendSlot(s.buf[:0], s.magic, s.cluster, s.generation+1, payload)
	if len(s.buf) > s.slotBytes {
		return fmt.Errorf("write %s: %d bytes are more than a slot of %d", s.name, len(s.buf), s.slotBytes)
	}
	s.buf = append(s.buf, make([]byte, s.slotBytes-len(s.buf))...) // so that every byte can be checked
	s.generation++
	_, err := s.f.WriteAt(s.buf, int64(s.generation%2)*int64(s.slotBytes))
	return err
}

// mark is the high-water mark: every entry up to index was synced, so a log that
// ends below it has lost its tail. An advance is written at once and synced
// within a second: it may lag behind the log, never run ahead. It is lowered and
// synced before entries are taken away.
//
//	stored: u64 index
type mark struct {
	file  *slotFile
	index uint64
}

// markSlotBytes is one sector: advances are not synced one by one.
const markSlotBytes = 512

func createMark(fsys vfs.FS, dir string, cluster ClusterID) error {
	return createSlotFile(fsys, dir, markName, magicMark, markSlotBytes, cluster, make([]byte, 8))
}

func openMark(fsys vfs.FS, dir string, cluster ClusterID) (*mark, error) {
	f, p, err := openSlotFile(fsys, dir, markName, magicMark, markSlotBytes, cluster)
	if err != nil {
		return nil, err
	}
	if len(p) != 8 {
		_ = f.f.Close()
		return nil, fmt.Errorf("%s: %w", f.name, errEnvelope)
	}
	return &mark{file: f, index: binary.LittleEndian.Uint64(p)}, nil
}

func (m *mark) set(index uint64) error {
	var p [8]byte
	binary.LittleEndian.PutUint64(p[:], index)
	m.index = index
	return m.file.set(p[:])
}
