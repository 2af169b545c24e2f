package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"

	"spoor/engine/cold"
	"spoor/engine/letters"
	"spoor/engine/traits"
	"spoor/index"
	"spoor/internal/frame"
	"spoor/internal/vfs"
	"spoor/segment"
)

// A snapshot is the state of a store at one log index: a manifest, which is that of a backup, and
// the files that it names. Another replica copies the files, by their sums, into a directory
// beside its store, opens them (Stage) and takes the state over in one step (Swap).

// SnapshotFile is a file of a snapshot.
type SnapshotFile struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"` // in hexadecimal
}

// PulledName is what a copy of the file is called: by its sum, so that it is the same whoever
// sent it, and by its kind.
func (f *SnapshotFile) PulledName() string { return f.SHA256 + path.Ext(f.Name) }

// Snapshot holds files of a store until Release, also those that merges replace. What
// was erased since may be in them, so it is not for keeping.
type Snapshot struct {
	// AppliedIndex is the log index that it includes.
	AppliedIndex uint64
	// Manifest names the files, see ReadSnapshot.
	Manifest []byte
	Files    []SnapshotFile

	readers map[string]io.ReaderAt
	close   []io.Closer
	files   *version
	once    sync.Once
}

// ReadAt reads what counts of a file.
func (s *Snapshot) ReadAt(name string, p []byte, off int64) (int, error) {
	r, ok := s.readers[name]
	if !ok {
		return 0, fmt.Errorf("read %s of a snapshot: %w", name, fs.ErrNotExist)
	}
	return r.ReadAt(p, off)
}

// Release lets go of the files. Nothing may read them any more.
func (s *Snapshot) Release() {
	s.once.Do(func() {
		for _, c := range s.close {
			_ = c.Close()
		}
		s.files.release()
	})
}

// Snapshot makes everything that was applied durable and takes hold of the files. It reads every
// file once, for its sum, unless an earlier snapshot did.
func (db *DB) Snapshot(ctx context.Context) (*Snapshot, error) {
	if _, err := db.Checkpoint(ctx); err != nil {
		return nil, fmt.Errorf("take a snapshot of %s: %w", db.dir, err)
	}
	s, m, err := db.hold()
	if err == nil {
		if err = s.describe(ctx, m); err != nil {
			s.Release()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("take a snapshot of %s: %w", db.dir, err)
	}
	return s, nil
}

// hold opens the files of the manifest at a moment when nobody changes it.
func (db *DB) hold() (s *Snapshot, m *manifest, err error) {
	db.manifestMu.Lock()
	defer db.manifestMu.Unlock()
	if m, err = readManifest(db.fs, db.dir); err != nil {
		return nil, nil, err
	}
	s = &Snapshot{AppliedIndex: m.Applied, readers: map[string]io.ReaderAt{}, files: db.files.acquire()}
	for _, f := range s.files.files {
		s.readers[f.meta.Name] = f.f
	}
	sizes, err := stateSizes(db.fs, db.dir, m)
	for name, n := range sizes {
		h, oerr := db.fs.Open(db.pathOf(name))
		if oerr != nil {
			err = errors.Join(err, oerr)
			continue
		}
		// The store may append to the file and remove it, but never changes what a manifest counted.
		s.readers[name] = io.NewSectionReader(h, 0, n)
		s.close = append(s.close, h)
	}
	if err == nil && len(s.files.files) != len(m.Files) {
		err = fmt.Errorf("%w: it names %d files, the store has %d", ErrManifest, len(m.Files), len(s.files.files))
	}
	if err != nil {
		s.Release()
		return nil, nil, err
	}
	return s, m, nil
}

// stateSizes tells how much counts of the files that a manifest names beside segments.
func stateSizes(fsys vfs.FS, dir string, m *manifest) (map[string]int64, error) {
	sizes := map[string]int64{m.IdentityFile: m.IdentityBytes, m.Traits.Name: m.Traits.Bytes, m.Letters.Name: m.Letters.Bytes}
	if m.Documents != "" {
		info, err := fsys.Stat(path.Join(dir, m.Documents))
		if err != nil {
			return nil, err
		}
		sizes[m.Documents] = info.Size()
	}
	delete(sizes, "")
	return sizes, nil
}

// describe sums the files and writes the manifest.
func (s *Snapshot) describe(ctx context.Context, m *manifest) error {
	sums := map[string]*file{}
	for _, f := range s.files.files {
		sums[f.meta.Name] = f
	}
	m.Backup = []backupFile{}
	m.warm() // whoever copies them gets the bytes
	for _, name := range manifestFiles(m) {
		f := backupFile{Name: name}
		if seg := sums[name]; seg != nil {
			sum, err := seg.sha(ctx)
			if err != nil {
				return err
			}
			f.Bytes, f.SHA = seg.meta.Bytes, sum
		} else {
			r := s.readers[name].(*io.SectionReader)
			sum, err := sumOf(ctx, r, r.Size())
			if err != nil {
				return fmt.Errorf("read %s: %w", name, err)
			}
			f.Bytes, f.SHA = r.Size(), sum
		}
		m.Backup = append(m.Backup, f)
	}
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	s.Manifest = frame.Wrap(manifestMagic, manifestVersion, body)
	s.Files, _, err = ReadSnapshot(s.Manifest)
	return err
}

// sha is the sum of a segment's bytes, which never change.
func (f *file) sha(ctx context.Context) (string, error) {
	if f.isCold() {
		return f.meta.Cold, nil
	}
	if sum := f.sum.Load(); sum != nil {
		return *sum, nil
	}
	sum, err := sumOf(ctx, f.f, f.meta.Bytes)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", f.meta.Name, err)
	}
	f.sum.Store(&sum)
	return sum, nil
}

// sumOf hashes the first n bytes.
func sumOf(ctx context.Context, r io.ReaderAt, n int64) (string, error) {
	h, b := sha256.New(), make([]byte, min(copyBytes, max(n, 1)))
	for off := int64(0); off < n; {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		p := b[:min(int64(len(b)), n-off)]
		if got, err := r.ReadAt(p, off); got < len(p) {
			return "", fmt.Errorf("%d of %d bytes at %d: %w", got, len(p), off, err)
		}
		h.Write(p)
		off += int64(len(p))
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// ErrSnapshot is wrapped when the manifest of a snapshot, or what it names, is not what it should be.
var ErrSnapshot = errors.New("snapshot cannot be used")

// ErrSourceDamaged is wrapped when bytes of a snapshot are what its manifest says, and no sound file.
var ErrSourceDamaged = errors.New("the snapshot was taken of a damaged store")

// ReadSnapshot lists the files that the manifest of a snapshot names, each once, and tells the log
// index that it includes.
func ReadSnapshot(manifest []byte) (files []SnapshotFile, applied uint64, err error) {
	m, err := parseSnapshot(manifest)
	if err != nil {
		return nil, 0, err
	}
	files = make([]SnapshotFile, 0, len(m.Backup))
	for _, f := range m.Backup {
		files = append(files, SnapshotFile{Name: f.Name, Bytes: f.Bytes, SHA256: f.SHA})
	}
	return files, m.Applied, nil
}

var snapshotSuffixes = []string{segmentSuffix, identitySuffix, docsSuffix, traits.Suffix, letters.Suffix}

func parseSnapshot(b []byte) (*manifest, error) {
	body, err := frame.Unwrap(b, manifestMagic, manifestVersion)
	if err != nil {
		return nil, fmt.Errorf("%w: its manifest: %w", ErrSnapshot, err)
	}
	m := &manifest{}
	if err := json.Unmarshal(body, m); err != nil {
		return nil, fmt.Errorf("%w: its manifest: %w", ErrSnapshot, err)
	}
	listed := filesByName(m)
	if len(listed) != len(m.Backup) {
		return nil, fmt.Errorf("%w: a file is listed twice", ErrSnapshot)
	}
	names := manifestFiles(m)
	for _, name := range names {
		f, ok := listed[name]
		sum, err := hex.DecodeString(f.SHA)
		if !ok || err != nil || len(sum) != sha256.Size || f.Bytes < 0 {
			return nil, fmt.Errorf("%w: %q is not listed with its length and sum", ErrSnapshot, name)
		}
		if !slices.Contains(snapshotSuffixes, path.Ext(name)) {
			return nil, fmt.Errorf("%w: %q is no name of a file of a store", ErrSnapshot, name)
		}
	}
	if len(names) != len(listed) {
		return nil, fmt.Errorf("%w: %d files are listed, %d are named", ErrSnapshot, len(listed), len(names))
	}
	return m, nil
}

// LinkHeld gives a file of the store with a length and sum the name dst as well, or copies it, and
// tells whether there is one. The bytes are read: a damaged file has another sum.
func (db *DB) LinkHeld(ctx context.Context, want SnapshotFile, dst string) (bool, error) {
	v := db.files.acquire()
	defer v.release()
	for _, f := range v.files {
		if f.meta.Bytes != want.Bytes || f.isCold() {
			continue
		}
		sum, err := sumOf(ctx, f.f, f.meta.Bytes)
		if err != nil || sum != want.SHA256 {
			if ctx.Err() != nil {
				return false, ctx.Err()
			}
			continue
		}
		return true, linkOrCopy(ctx, db.fs, f.path, dst, want)
	}
	return false, nil
}

// linkOrCopy gives a file another name, or copies it where the file system cannot link. The name
// is not durable yet.
func linkOrCopy(ctx context.Context, fsys vfs.FS, src, dst string, f SnapshotFile) error {
	if err := fsys.Link(src, dst); err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	c := &copier{from: fsys, to: fsys, report: &BackupReport{}}
	return c.copy(ctx, src, dst, backupFile{Name: f.Name, Bytes: f.Bytes, SHA: f.SHA256})
}

// Staged is the state of another replica, opened beside that of the store. It is taken over by
// Swap, or let go by Discard.
type Staged struct {
	// AppliedIndex is the log index that it includes.
	AppliedIndex uint64

	m     *manifest
	files []*file
	live  *live
	names []string
}

// Stage opens a snapshot whose files lie in dir, each under its PulledName and as long as listed. Segments
// are read to the last byte. The files get names of the store's own; a crash
// leaves them as orphans. Everything else goes on meanwhile.
func (db *DB) Stage(ctx context.Context, snapshot []byte, dir string) (*Staged, error) {
	m, err := parseSnapshot(snapshot)
	if err != nil {
		return nil, err
	}
	s := &Staged{AppliedIndex: m.Applied, m: m}
	if err := s.open(ctx, db, dir); err != nil {
		s.Discard(db)
		return nil, fmt.Errorf("open the snapshot of log index %d: %w", m.Applied, err)
	}
	return s, nil
}

func (s *Staged) open(ctx context.Context, db *DB, dir string) error {
	m, own := s.m, map[string]string{"": ""}
	for _, f := range m.Backup {
		name := db.newName(path.Ext(f.Name))
		want := SnapshotFile{Name: f.Name, Bytes: f.Bytes, SHA256: f.SHA}
		if err := linkOrCopy(ctx, db.fs, path.Join(dir, want.PulledName()), db.pathOf(name), want); err != nil {
			return err
		}
		s.names = append(s.names, name)
		own[f.Name] = name
	}
	if err := db.fs.SyncDir(db.dir); err != nil {
		return err
	}
	for i := range m.Files {
		m.Files[i].Name = own[m.Files[i].Name]
	}
	m.IdentityFile, m.Traits.Name = own[m.IdentityFile], own[m.Traits.Name]
	m.Letters.Name, m.Documents, m.Backup = own[m.Letters.Name], own[m.Documents], nil
	var err error
	if s.live, err = loadLive(db.fs, db.dir, m); err != nil {
		return fmt.Errorf("%w: %w", ErrSourceDamaged, err)
	}
	for _, fm := range m.Files {
		f, err := db.openFile(fm)
		if err != nil {
			return err
		}
		s.files = append(s.files, f)
		if _, err := f.r.Verify(ctx); err != nil {
			if ctx.Err() == nil {
				err = fmt.Errorf("%w: %w", ErrSourceDamaged, err)
			}
			return fmt.Errorf("%s: %w", fm.Name, err)
		}
	}
	s.live.filters = index.NewFilters(db.fs, db.dir, db.opts.firstFilterKeys)
	return s.live.know(s.files, 0, segment.Day(m.LastReceived))
}

// Discard lets a state go that is not taken over. After Swap it does nothing.
func (s *Staged) Discard(db *DB) {
	for _, f := range s.files {
		f.obsolete.Store(true)
		f.release()
	}
	for _, name := range s.names {
		_ = db.fs.Remove(db.pathOf(name)) // what stays is removed by the next start
	}
	if s.live != nil && len(s.names) > 0 { // else it is the store's
		s.live.close()
	}
	s.files, s.names = nil, nil
}

// Swap takes a staged state over in place of the store's, which is gone: after a crash the
// store has the one or the other. Views that were taken before go on with what they show.
// It must not run together with Apply; the next entry to apply is the one behind AppliedIndex of s,
// also where the store had more. After an error that is not ErrClosed the store has called OnFatal.
func (db *DB) Swap(s *Staged) error {
	db.compactMu.Lock()
	defer db.compactMu.Unlock()
	db.flushMu.Lock()
	defer db.flushMu.Unlock()
	db.eraseGate.Lock()
	defer db.eraseGate.Unlock()
	db.manifestMu.Lock()
	defer db.manifestMu.Unlock()
	db.filterMu.Lock()
	defer db.filterMu.Unlock()
	if err := db.broken(); err != nil {
		return err
	}
	if db.ctx.Err() != nil {
		return ErrClosed
	}
	old, err := db.replaceManifest(s)
	if err != nil {
		err = fmt.Errorf("take over the state of log index %d: %w", s.AppliedIndex, err)
		db.fatal(err)
		return err
	}
	s.live.swaps = db.live().swaps + 1
	if set := s.live.erasures.Load(); set != nil {
		for _, f := range s.files {
			hideErased(set, f.r, f.behind(), 0)
		}
	}
	db.mem.Lock()
	before := db.live()
	db.content.Store(s.live)
	db.adopt(s.m)
	db.erasedAt, db.purged = 0, purgeState{}
	db.docsDirty.Store(false)
	db.mem.active, db.mem.flushing, db.mem.closed = newMemtable(), nil, 0
	db.files.become(s.files)
	db.mem.room.Broadcast()
	db.mem.Unlock()
	before.close()
	s.files, s.names = nil, nil
	for _, name := range old {
		_ = db.fs.Remove(db.pathOf(name)) // what stays is removed by the next start
	}
	return nil
}

// replaceManifest writes the manifest of a staged state and returns the files beside segments that
// are superfluous now. Filters of the old state would deny ids of the new one, so they go first:
// what is there afterwards without them, they are built from at the next start.
func (db *DB) replaceManifest(s *Staged) (old []string, err error) {
	entries, err := db.fs.ReadDir(db.dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".bloom") {
			if err := db.fs.Remove(db.pathOf(e.Name())); err != nil {
				return nil, err
			}
		}
	}
	if err := db.fs.SyncDir(db.dir); err != nil {
		return nil, err
	}
	s.m.NextFile, s.m.Cold = db.nextFile.Load(), db.coldKey // below which objects are removed from now on
	if err := writeManifest(db.fs, db.dir, s.m); err != nil {
		return nil, err
	}
	for _, name := range append([]string{db.identityFile, db.docsFile, db.traitsFile.Name, db.lettersFile.Name}, db.strays...) {
		if name != "" && isOrphan(name, s.m) {
			old = append(old, name)
		}
	}
	db.strays = nil
	return old, nil
}

// become makes files the live ones. Those of before are removed when the last reader lets go.
func (s *fileSet) become(files []*file) {
	s.mu.Lock()
	gone := s.current.files
	s.current = &version{files: files}
	s.mu.Unlock()
	for _, f := range gone {
		f.obsolete.Store(true)
		f.release()
	}
	s.mu.Lock()
	s.kept = slices.DeleteFunc(append(s.kept, gone...), (*file).closed)
	s.mu.Unlock()
}

// EachObject calls f with every object of cold segments, needed or not, as a file on the local disk
// that is there until f returns.
func (db *DB) EachObject(ctx context.Context, f func(name string, content vfs.File) error) error {
	db.manifestMu.Lock()
	key := db.coldKey
	db.manifestMu.Unlock()
	if key == "" {
		return nil
	}
	return db.cold.List(ctx, key+"/", func(key string, bytes int64) error {
		name := db.pathOf(db.newName(vfs.TempSuffix))
		defer func() { _ = db.fs.Remove(name) }()
		content, err := db.fs.Create(name)
		if err != nil {
			return err
		}
		defer func() { _ = content.Close() }()
		if err := db.cold.Copy(ctx, key, bytes, content); err != nil {
			if errors.Is(err, cold.ErrMissing) { // it was removed meanwhile
				return nil
			}
			return err
		}
		return f(key, content)
	})
}
