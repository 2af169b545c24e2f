package logstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"spoor/internal/vfs"
)

// Names in the directory of the log.
const (
	metaName      = "meta" // written last when a log is made: with it the log exists
	markName      = "mark"
	voteName      = "vote"
	segmentSuffix = ".log"
)

func segmentName(seq uint64) string { return fmt.Sprintf("%016x%s", seq, segmentSuffix) }

// segmentSeq reads a name; ok is false for other files.
func segmentSeq(name string) (seq uint64, ok bool) {
	if len(name) != 16+len(segmentSuffix) {
		return 0, false
	}
	_, err := fmt.Sscanf(name, "%016x"+segmentSuffix, &seq)
	return seq, err == nil && name == segmentName(seq)
}

// meta says where the log begins.
//
//	payload: u64 first segment | u64 first index, 0 if the log is empty
type meta struct {
	cluster  ClusterID
	firstSeq uint64 // segments below are leftovers of a removal
	first    uint64
}

func (m meta) write(fsys vfs.FS, dir string) error {
	p := binary.LittleEndian.AppendUint64(nil, m.firstSeq)
	p = binary.LittleEndian.AppendUint64(p, m.first)
	return vfs.WriteFileAtomic(fsys, filepath.Join(dir, metaName), appendEnvelope(nil, magicMeta, m.cluster, p))
}

// readMeta answers fs.ErrNotExist where there is no log.
func readMeta(fsys vfs.FS, dir string) (meta, error) {
	name := filepath.Join(dir, metaName)
	b, err := vfs.ReadFile(fsys, name)
	if err != nil {
		return meta{}, err
	}
	cluster, p, err := openEnvelope(b, magicMeta)
	if err == nil && (len(p) != 16 || len(b) != len(p)+envelopeBytes) {
		err = errEnvelope
	}
	if err != nil {
		return meta{}, fmt.Errorf("%s: %w", name, err)
	}
	return meta{cluster: cluster, firstSeq: binary.LittleEndian.Uint64(p), first: binary.LittleEndian.Uint64(p[8:])}, nil
}

// exists tells whether there is a log in dir.
func exists(fsys vfs.FS, dir string) (bool, error) {
	_, err := fsys.Stat(filepath.Join(dir, metaName))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
