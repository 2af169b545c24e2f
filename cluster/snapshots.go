package cluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"spoor/internal/vfs"
)

const (
	// maxManifestBytes bounds the payload of a snapshot.
	maxManifestBytes = 16 << 20
	keptSnapshots    = 2

	snapshotPrefix  = "snapshot-"
	snapshotVersion = 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// snapshots keeps the library's snapshots: small files, each replaced never and
// written whole. The name carries index and term, so that names sort by age.
//
//	8 hex digits: CRC32C of what follows | space | JSON
type snapshots struct {
	fs      vfs.FS
	dir     string
	accept  func(manifest) error // decides about what another node sends; nil: nothing is accepted
	latest  atomic.Uint64
	term    atomic.Uint64 // of the newest
	machine atomic.Uint64 // what the newest says of the machine
}

type snapshotFile struct {
	Version int               `json:"version"`
	Meta    raft.SnapshotMeta `json:"meta"`
	Data    []byte            `json:"data"`
}

func openSnapshots(fsys vfs.FS, dir string) (*snapshots, error) {
	if err := fsys.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("open snapshots: %w", err)
	}
	s := &snapshots{fs: fsys, dir: dir}
	newest, data, err := s.newest()
	if err != nil {
		return nil, err
	}
	if newest.Index > 0 {
		m, err := readManifest(data)
		if err != nil {
			return nil, err
		}
		s.machine.Store(m.MachineIndex)
	}
	s.latest.Store(newest.Index)
	s.term.Store(newest.Term)
	return s, nil
}

// names of the snapshots, newest first.
func (s *snapshots) names() ([]string, error) {
	entries, err := s.fs.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	var names []string
	for _, e := range entries {
		if n := e.Name(); strings.HasPrefix(n, snapshotPrefix) && !strings.HasSuffix(n, vfs.TempSuffix) {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	slices.Reverse(names)
	return names, nil
}

func (s *snapshots) read(name string) (snapshotFile, error) {
	var f snapshotFile
	path := filepath.Join(s.dir, filepath.Base(name))
	b, err := vfs.ReadFile(s.fs, path)
	if err != nil {
		return f, fmt.Errorf("read snapshot: %w", err)
	}
	if f, err = parseSnapshot(b); err != nil {
		return f, fmt.Errorf("read snapshot %s: %w", path, err)
	}
	return f, nil
}

// checked is what follows the checksum in a file.
func checked(b []byte) ([]byte, error) {
	sum, body, ok := bytes.Cut(b, []byte(" "))
	if !ok || string(sum) != fmt.Sprintf("%08x", crc32.Checksum(body, castagnoli)) {
		return nil, errors.New("it is damaged; restore the data directory from a backup")
	}
	return body, nil
}

func parseSnapshot(b []byte) (f snapshotFile, err error) {
	body, err := checked(b)
	if err != nil {
		return f, err
	}
	if err := json.Unmarshal(body, &f); err != nil {
		return f, err
	}
	if f.Version != snapshotVersion {
		return f, fmt.Errorf("unknown version %d, this program knows %d", f.Version, snapshotVersion)
	}
	return f, nil
}

// SnapshotData is what the bytes of a snapshot's file hold of the state.
func SnapshotData(file []byte) ([]byte, error) {
	f, err := parseSnapshot(file)
	return f.Data, err
}

// newest returns the newest snapshot, with index 0 if there is none.
func (s *snapshots) newest() (raft.SnapshotMeta, []byte, error) {
	names, err := s.names()
	if err != nil || len(names) == 0 {
		return raft.SnapshotMeta{}, nil, err
	}
	f, err := s.read(names[0])
	return f.Meta, f.Data, err
}

// List implements raft.SnapshotStore.
func (s *snapshots) List() ([]*raft.SnapshotMeta, error) {
	names, err := s.names()
	if err != nil {
		return nil, err
	}
	metas := make([]*raft.SnapshotMeta, 0, len(names))
	for _, n := range names {
		f, err := s.read(n)
		if err != nil {
			return nil, err
		}
		metas = append(metas, &f.Meta)
	}
	return metas, nil
}

// Open implements raft.SnapshotStore.
func (s *snapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	f, err := s.read(id)
	if err != nil {
		return nil, nil, err
	}
	return &f.Meta, io.NopCloser(bytes.NewReader(f.Data)), nil
}

// Create implements raft.SnapshotStore. A snapshot that a leader sends is stored only
// when its state is in the machine, see takeover.go.
func (s *snapshots) Create(version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration,
	configurationIndex uint64, _ raft.Transport,
) (raft.SnapshotSink, error) {
	return &sinkFile{s: s, file: snapshotFile{Version: snapshotVersion, Meta: raft.SnapshotMeta{
		Version: version, ID: fmt.Sprintf("%s%016x-%016x", snapshotPrefix, index, term), Index: index, Term: term,
		Configuration: configuration, ConfigurationIndex: configurationIndex,
	}}}, nil
}

// sinkFile is a snapshot that is being written. It exists from Close on.
type sinkFile struct {
	s    *snapshots
	file snapshotFile
	own  bool // of this node, not one that another node sends
	done bool
	err  error
}

func (k *sinkFile) ID() string { return k.file.Meta.ID }

func (k *sinkFile) Write(p []byte) (int, error) {
	if len(k.file.Data)+len(p) > maxManifestBytes {
		return 0, fmt.Errorf("write snapshot %s: more than %d bytes", k.ID(), maxManifestBytes)
	}
	k.file.Data = append(k.file.Data, p...)
	return len(p), nil
}

func (k *sinkFile) Cancel() error {
	k.done = true
	return nil
}

// Close makes the snapshot durable. The library may call it twice.
func (k *sinkFile) Close() error {
	if k.done {
		return k.err
	}
	k.done = true
	m, err := readManifest(k.file.Data)
	if err == nil && !k.own {
		if k.s.accept == nil {
			err = errInstall
		} else {
			err = k.s.accept(m)
		}
	}
	if err != nil {
		k.err = err
		return err
	}
	k.file.Meta.Size = int64(len(k.file.Data))
	b, err := json.Marshal(k.file)
	if err == nil {
		b = append(b, '\n')
		b = append(fmt.Appendf(nil, "%08x ", crc32.Checksum(b, castagnoli)), b...)
		err = vfs.WriteFileAtomic(k.s.fs, filepath.Join(k.s.dir, k.ID()), b)
	}
	if err != nil {
		k.err = fmt.Errorf("write snapshot %s: %w", k.ID(), err)
		return k.err
	}
	k.s.latest.Store(k.file.Meta.Index)
	k.s.term.Store(k.file.Meta.Term)
	k.s.machine.Store(m.MachineIndex)
	k.err = k.s.removeOld()
	return k.err
}

func (s *snapshots) removeOld() error {
	names, err := s.names()
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range names[min(keptSnapshots, len(names)):] {
		errs = append(errs, s.fs.Remove(filepath.Join(s.dir, n)))
	}
	return errors.Join(errs...)
}
