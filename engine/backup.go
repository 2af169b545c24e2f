package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"spoor/engine/cold"
	"spoor/internal/vfs"
	"spoor/segment"
)

// A backup is a directory like that of a store, with the segments, the identity,
// the documents and, written last, the manifest of one moment, to which the sums of all
// files are added. It has no dedupe filters: the first start after a restore builds them
// from the segments. A later backup into the same directory copies only files that are new.

// backupFile is one file of a backup.
type backupFile struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`  // that count; an identity file may have more
	SHA   string `json:"sha256"` // of these bytes, in hexadecimal
}

// BackupReport tells what Backup or Restore did.
type BackupReport struct {
	// AppliedIndex is the log index that the backup includes.
	AppliedIndex uint64 `json:"applied_index"`
	Files        int    `json:"files"`
	Bytes        int64  `json:"bytes"`  // of the whole backup
	Linked       int    `json:"linked"` // files that share their bytes with the store
	Copied       int    `json:"copied"`
	CopiedBytes  int64  `json:"copied_bytes"`
	Reused       int    `json:"reused"` // files that were there
}

// ErrOtherBackup is wrapped when the directory of a backup holds something else.
var ErrOtherBackup = errors.New("the directory is in use for something else")

// Backup writes a consistent copy of the store as it is now, while writing goes
// on. Segments are linked if dst is the store's own file system and can link, else
// copied; every file is read once to be compared, and once from dst; one that is new is verified to
// the last value. A copy of an earlier backup that no longer has its bytes is made anew.
// If Backup fails, what was in dir before is as good as it was.
func (db *DB) Backup(ctx context.Context, dst vfs.FS, dir string, progress Progress) (*BackupReport, error) {
	report, err := db.backup(ctx, dst, dir, progress)
	if err != nil {
		return nil, fmt.Errorf("back up %s to %s: %w", db.dir, dir, err)
	}
	return report, nil
}

func (db *DB) backup(ctx context.Context, dst vfs.FS, dir string, progress Progress) (*BackupReport, error) {
	if path.Clean(dir) == path.Clean(db.dir) && dst == db.fs {
		return nil, fmt.Errorf("%w: it is the store's own", ErrOtherBackup)
	}
	if err := dst.MkdirAll(dir); err != nil {
		return nil, err
	}
	lock, err := dst.Lock(path.Join(dir, lockName))
	if err != nil {
		return nil, err
	}
	defer func() { _ = lock.Close() }()
	if _, err := db.Checkpoint(ctx); err != nil {
		return nil, err
	}
	pinned, m, err := db.pin()
	if err != nil {
		return nil, err
	}
	defer pinned.release()
	before, err := earlierBackup(dst, dir, m)
	if err != nil {
		return nil, err
	}
	c := &copier{cold: pinned.cold(), from: db.fs, fromDir: db.dir, to: dst, toDir: dir, before: before, progress: progress, report: &BackupReport{AppliedIndex: m.Applied}, total: m.IdentityBytes, files: []backupFile{}}
	for i := range m.Files {
		c.total += m.Files[i].Bytes
	}
	for i := range m.Files {
		if err := c.segment(ctx, &m.Files[i]); err != nil {
			return nil, err
		}
	}
	if m.IdentityFile != "" {
		// The store appends to this file: what the manifest counts is copied. An
		// earlier backup of it is a beginning of this one.
		b, err := readPrefix(db.fs, db.pathOf(m.IdentityFile), m.IdentityBytes)
		if err != nil {
			return nil, err
		}
		if err := c.whole(ctx, m.IdentityFile, b); err != nil {
			return nil, err
		}
	}
	if m.Traits.Name != "" {
		if err := c.whole(ctx, m.Traits.Name, pinned.traits); err != nil {
			return nil, err
		}
	}
	if m.Letters.Name != "" {
		if err := c.prefix(ctx, m.Letters.Name, pinned.letters, m.Letters.Bytes); err != nil {
			return nil, err
		}
	}
	if m.Documents != "" {
		if err := c.whole(ctx, m.Documents, pinned.docs); err != nil {
			return nil, err
		}
	}
	if err := dst.SyncDir(dir); err != nil {
		return nil, err
	}
	m.Backup = c.files
	m.warm()
	if err := writeManifest(dst, dir, m); err != nil {
		return nil, err
	}
	return c.report, removeReplaced(dst, dir, m)
}

// removeReplaced removes files that only the backup before had.
func removeReplaced(fsys vfs.FS, dir string, m *manifest) error {
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if isOrphan(e.Name(), m) {
			if err := fsys.Remove(path.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// earlierBackup returns the files of a backup of the same store that dir holds.
func earlierBackup(fsys vfs.FS, dir string, m *manifest) (map[string]backupFile, error) {
	old, err := readManifest(fsys, dir)
	if err != nil {
		return nil, err
	}
	switch {
	case old.DedupeKey == nil: // there is none
		return nil, nil
	case old.Backup == nil:
		return nil, fmt.Errorf("%w: %s holds a store; name an empty directory", ErrOtherBackup, dir)
	case string(old.DedupeKey) != string(m.DedupeKey):
		return nil, fmt.Errorf("%w: %s holds a backup of another store; name another directory", ErrOtherBackup, dir)
	}
	return filesByName(old), nil
}

func filesByName(m *manifest) map[string]backupFile {
	byName := make(map[string]backupFile, len(m.Backup))
	for _, f := range m.Backup {
		byName[f.Name] = f
	}
	return byName
}

func readPrefix(fsys vfs.FS, name string, n int64) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	b := make([]byte, n)
	read, err := f.ReadAt(b, 0)
	if read == len(b) && errors.Is(err, io.EOF) {
		err = nil
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return b, err
}

// copier copies files between directories.
type copier struct {
	cold           map[string]*file // by name: their bytes are in the object store
	from, to       vfs.FS
	fromDir, toDir string
	before         map[string]backupFile
	files          []backupFile
	progress       Progress
	report         *BackupReport
	done, total    int64
	buf            []byte
}

func (c *copier) add(f backupFile) {
	c.files = append(c.files, f)
	c.report.Files++
	c.report.Bytes += f.Bytes
	c.done += f.Bytes
	if c.progress != nil {
		c.progress(c.done, c.total)
	}
}

// segment links or copies a segment, or finds that it is there.
func (c *copier) segment(ctx context.Context, fm *fileMeta) error {
	src, dst := path.Join(c.fromDir, fm.Name), path.Join(c.toDir, fm.Name)
	far := c.cold[fm.Name]
	sum, err := fm.Cold, error(nil)
	if far == nil {
		sum, err = c.sum(ctx, c.from, src, fm.Bytes, nil)
	}
	if err != nil {
		return err
	}
	f := backupFile{Name: fm.Name, Bytes: fm.Bytes, SHA: sum}
	if c.before[fm.Name] != f && far == nil { // a cold one was verified when it was put into the store
		if err := c.sound(ctx, src, fm.Name); err != nil {
			return err
		}
	}
	info, err := c.to.Stat(dst)
	switch {
	case err == nil && c.before[fm.Name] == f && info.Size() == f.Bytes && c.holds(ctx, dst, f):
		c.report.Reused++
		c.add(f)
		return nil
	case err == nil && c.before[fm.Name].Name != "" && c.before[fm.Name] != f:
		return fmt.Errorf("%w: %s holds another file %s, as after a restore; name another directory", ErrOtherBackup, c.toDir, fm.Name)
	case err == nil: // an earlier try that was cut off, or a damaged copy
		if err := c.to.Remove(dst); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if far != nil {
		if err := c.fetch(ctx, far, dst, f); err != nil {
			return err
		}
		c.add(f)
		return nil
	}
	if c.from == c.to && c.to.Link(src, dst) == nil {
		c.report.Linked++
		c.add(f)
		return nil
	}
	if err := c.copy(ctx, src, dst, f); err != nil {
		return err
	}
	c.add(f)
	return nil
}

// sound verifies a segment that no backup has yet: one that is damaged must not
// take the place of a backup that is good.
func (c *copier) sound(ctx context.Context, src, name string) error {
	h, err := c.from.Open(src)
	if err != nil {
		return err
	}
	defer func() { _ = h.Close() }()
	r, err := segment.Open(h, h.Size(), name, nil)
	if err == nil {
		_, err = r.Verify(ctx)
	}
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("%w: %s: %w; restore the store from an earlier backup", ErrDamaged, src, err)
	}
	return err
}

// holds tells whether a file of an earlier backup still has its bytes.
func (c *copier) holds(ctx context.Context, name string, f backupFile) bool {
	sum, err := c.sum(ctx, c.to, name, f.Bytes, nil)
	return err == nil && sum == f.SHA
}

// copy copies what counts of a file and reads it back.
func (c *copier) copy(ctx context.Context, src, dst string, f backupFile) error {
	err := vfs.WriteAtomic(c.to, dst, func(w io.Writer) error {
		sum, err := c.sum(ctx, c.from, src, f.Bytes, w)
		if err == nil && sum != f.SHA {
			err = fmt.Errorf("%w: %s has other bytes than were summed before", ErrDamaged, src)
		}
		return err
	})
	if err != nil {
		return err
	}
	back, err := c.sum(ctx, c.to, dst, f.Bytes, nil)
	if err == nil && back != f.SHA {
		err = fmt.Errorf("%w: %s reads other bytes than were written", ErrDamaged, dst)
	}
	if err == nil {
		c.report.Copied++
		c.report.CopiedBytes += f.Bytes
	}
	return err
}

// whole writes a small file that is in memory.
func (c *copier) whole(ctx context.Context, name string, b []byte) error {
	sum := sha256.Sum256(b)
	f := backupFile{Name: name, Bytes: int64(len(b)), SHA: hex.EncodeToString(sum[:])}
	if info, err := c.to.Stat(path.Join(c.toDir, name)); err == nil && info.Size() >= f.Bytes && c.before[name] == f && c.holds(ctx, path.Join(c.toDir, name), f) {
		c.report.Reused++
	} else {
		if err := vfs.WriteFileAtomic(c.to, path.Join(c.toDir, name), b); err != nil {
			return err
		}
		c.report.Copied++
		c.report.CopiedBytes += f.Bytes
	}
	c.add(f)
	return nil
}

// prefix writes what counts of a file to which the store appends.
func (c *copier) prefix(ctx context.Context, name string, from io.ReaderAt, n int64) error {
	sum, err := sumOf(ctx, from, n)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	f, dst := backupFile{Name: name, Bytes: n, SHA: sum}, path.Join(c.toDir, name)
	if info, err := c.to.Stat(dst); err == nil && info.Size() >= n && c.before[name] == f && c.holds(ctx, dst, f) {
		c.report.Reused++
		c.add(f)
		return nil
	}
	err = vfs.WriteAtomic(c.to, dst, func(w io.Writer) error {
		_, err := io.CopyBuffer(w, io.NewSectionReader(from, 0, n), make([]byte, copyBytes))
		return err
	})
	if err == nil && !c.holds(ctx, dst, f) {
		err = fmt.Errorf("%w: %s reads other bytes than were written", ErrDamaged, dst)
	}
	if err != nil {
		return err
	}
	c.report.Copied++
	c.report.CopiedBytes += n
	c.add(f)
	return nil
}

// copyBytes are read at a time.
const copyBytes = 1 << 20

// sum reads the first n bytes of a file, hands them on to w unless that is nil, and returns their hash.
func (c *copier) sum(ctx context.Context, fsys vfs.FS, name string, n int64, w io.Writer) (string, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	if c.buf == nil {
		c.buf = make([]byte, copyBytes)
	}
	if f.Size() < n {
		return "", fmt.Errorf("%w: %s has %d bytes, %d are listed", ErrDamaged, name, f.Size(), n)
	}
	h := sha256.New()
	for off := int64(0); off < n; {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		b := c.buf[:min(copyBytes, n-off)]
		if n, err := f.ReadAt(b, off); n < len(b) {
			return "", fmt.Errorf("read %s: %d of %d bytes at %d: %w", name, n, len(b), off, err)
		}
		h.Write(b)
		if w != nil {
			if _, err := w.Write(b); err != nil {
				return "", err
			}
		}
		off += int64(len(b))
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Restore copies a backup to a directory that holds no store, compares every
// byte with the sums of the backup, and verifies the new store. The log goes on behind
// the AppliedIndex of the report.
func Restore(ctx context.Context, src vfs.FS, srcDir string, dst vfs.FS, dstDir string, progress Progress) (*BackupReport, error) {
	report, err := restore(ctx, src, srcDir, dst, dstDir, progress)
	if err != nil {
		return nil, fmt.Errorf("restore %s to %s: %w", srcDir, dstDir, err)
	}
	return report, nil
}

func restore(ctx context.Context, src vfs.FS, srcDir string, dst vfs.FS, dstDir string, progress Progress) (*BackupReport, error) {
	m, err := readManifest(src, srcDir)
	if err != nil {
		return nil, err
	}
	if m.Backup == nil {
		return nil, fmt.Errorf("%w: %s holds no backup", ErrOtherBackup, srcDir)
	}
	if err := dst.MkdirAll(dstDir); err != nil {
		return nil, err
	}
	if err := copyBack(ctx, src, srcDir, dst, dstDir, m, progress); err != nil {
		return nil, err
	}
	checked, err := Verify(ctx, dst, dstDir, nil)
	if err == nil {
		err = checked.Err()
	}
	if err != nil {
		return nil, err
	}
	report := &BackupReport{AppliedIndex: m.Applied, Files: len(m.Backup), Copied: len(m.Backup)}
	for _, f := range m.Backup {
		report.Bytes += f.Bytes
	}
	report.CopiedBytes = report.Bytes
	return report, nil
}

// copyBack copies the files of a backup and, when all are there, the manifest.
func copyBack(ctx context.Context, src vfs.FS, srcDir string, dst vfs.FS, dstDir string, m *manifest, progress Progress) error {
	lock, err := dst.Lock(path.Join(dstDir, lockName))
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	if _, err := dst.Stat(path.Join(dstDir, manifestName)); err == nil {
		return fmt.Errorf("%w: %s holds a store; name an empty directory", ErrOtherBackup, dstDir)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	c := &copier{from: src, fromDir: srcDir, to: dst, toDir: dstDir, progress: progress, report: &BackupReport{}}
	listed := filesByName(m)
	for _, f := range m.Backup {
		c.total += f.Bytes
	}
	for _, name := range manifestFiles(m) {
		f, ok := listed[name]
		if !ok {
			return fmt.Errorf("%w: the backup does not list %s", ErrDamaged, name)
		}
		if err := c.copy(ctx, path.Join(srcDir, name), path.Join(dstDir, name), f); err != nil {
			return err
		}
		c.add(f)
	}
	store := *m
	store.Backup = nil
	return writeManifest(dst, dstDir, &store)
}

// manifestFiles lists the files that a manifest names.
func manifestFiles(m *manifest) []string {
	var names []string
	for i := range m.Files {
		names = append(names, m.Files[i].Name)
	}
	for _, name := range []string{m.IdentityFile, m.Traits.Name, m.Letters.Name, m.Documents} {
		if name != "" {
			names = append(names, name)
		}
	}
	return names
}

// fetch copies a cold segment from the object store.
func (c *copier) fetch(ctx context.Context, far *file, dst string, f backupFile) error {
	if err := vfs.WriteAtomic(c.to, dst, func(w io.Writer) error { return far.f.(*cold.File).Whole(ctx, f.SHA, w) }); err != nil {
		return err
	}
	if !c.holds(ctx, dst, f) {
		return fmt.Errorf("%w: %s reads other bytes than were written", ErrDamaged, dst)
	}
	c.report.Copied++
	c.report.CopiedBytes += f.Bytes
	return nil
}
