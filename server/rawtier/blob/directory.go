package blob

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"spoor/internal/vfs"
)

// directory keeps objects as files. Each is written under another name, fsynced and renamed.
type directory struct {
	root *os.Root // keys cannot lead out of it
	dir  string
	fs   vfs.FS
	mu   sync.Mutex // held by Replace, which reads before it writes
}

// replaceLock is the file that Replace locks, so that of two processes one wins.
const replaceLock = ".lock"

func openDirectory(dir string) (*directory, error) {
	fsys := vfs.OS()
	if err := fsys.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("open the raw tier in %s: %w", dir, err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the raw tier in %s: %w", dir, err)
	}
	return &directory{root: root, dir: dir, fs: fsys}, nil
}

func (d *directory) String() string { return d.dir }

func (d *directory) path(key string) string { return filepath.Join(d.dir, filepath.FromSlash(key)) }

func (d *directory) failure(what, key string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = ErrMissing
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		err = fmt.Errorf("%w: %w", ErrFull, err)
	}
	return fmt.Errorf("%s %s in %s: %w", what, key, d.dir, err)
}

func (d *directory) write(key string, fill func(w io.Writer) error) error {
	if err := checkKey(key); err != nil {
		return err
	}
	name := d.path(key)
	err := d.fs.MkdirAll(filepath.Dir(name))
	if err == nil {
		err = vfs.WriteAtomic(d.fs, name, fill)
	}
	if err != nil {
		return d.failure("write", key, err)
	}
	return nil
}

func (d *directory) Put(ctx context.Context, key string, content io.ReaderAt, size int64) error {
	return d.write(key, func(w io.Writer) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		_, err := io.Copy(w, io.NewSectionReader(content, 0, size))
		return err
	})
}

func (d *directory) Replace(_ context.Context, key string, content []byte, version string) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	lock, err := d.fs.Lock(filepath.Join(d.dir, replaceLock))
	if errors.Is(err, vfs.ErrLocked) {
		return "", fmt.Errorf("write %s in %s: %w", key, d.dir, ErrChanged)
	}
	if err != nil {
		return "", d.failure("write", key, err)
	}
	defer lock.Close()
	_, now, err := d.read(key)
	if err != nil && !errors.Is(err, ErrMissing) {
		return "", err
	}
	if now != version {
		return "", fmt.Errorf("write %s in %s: %w", key, d.dir, ErrChanged)
	}
	if err := d.write(key, func(w io.Writer) error { _, err := w.Write(content); return err }); err != nil {
		return "", err
	}
	return versionOf(content), nil
}

func versionOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

func (d *directory) Read(_ context.Context, key string) ([]byte, string, error) { return d.read(key) }

func (d *directory) read(key string) ([]byte, string, error) {
	f, err := d.open(key)
	if err != nil {
		return nil, "", err
	}
	defer f.Close()
	b, err := readSmall(f)
	if err != nil {
		return nil, "", d.failure("read", key, err)
	}
	return b, versionOf(b), nil
}

// readSmall reads all there is, if it is not too much.
func readSmall(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxSmallBytes+1))
	if err == nil && len(b) > MaxSmallBytes {
		err = fmt.Errorf("it has more than %d bytes", MaxSmallBytes)
	}
	return b, err
}

func (d *directory) Open(_ context.Context, key string) (io.ReadCloser, error) { return d.open(key) }

func (d *directory) open(key string) (*os.File, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	f, err := d.root.Open(filepath.FromSlash(key))
	if err != nil {
		return nil, d.failure("read", key, err)
	}
	return f, nil
}

func (d *directory) ReadAt(ctx context.Context, key string, p []byte, off int64) error {
	if err := ctx.Err(); err != nil {
		return d.failure("read", key, err)
	}
	f, err := d.open(key)
	if err != nil {
		if errors.Is(err, ErrMissing) { // a disk that is not mounted has lost nothing
			if _, derr := d.root.Stat(filepath.Dir(filepath.FromSlash(key))); derr != nil {
				return fmt.Errorf("read %s in %s: the directory is not there: %v", key, d.dir, derr)
			}
		}
		return err
	}
	defer f.Close()
	if n, err := f.ReadAt(p, off); n < len(p) {
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("%w: it ends before byte %d", ErrMissing, off+int64(len(p)))
		}
		return d.failure("read", key, err)
	}
	return nil
}

func (d *directory) List(ctx context.Context, prefix string, f func(Object) error) error {
	var found []Object
	// Only what is below the last slash of the prefix can begin with it.
	below := "."
	if i := strings.LastIndexByte(prefix, '/'); i > 0 {
		below = prefix[:i]
	}
	err := fs.WalkDir(d.root.FS(), below, func(name string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it was removed meanwhile, or there is nothing yet
		}
		if err != nil || e.IsDir() || !strings.HasPrefix(name, prefix) || strings.HasSuffix(name, vfs.TempSuffix) || name == replaceLock {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		found = append(found, Object{Key: name, Bytes: info.Size(), Changed: info.ModTime()})
		return ctx.Err()
	})
	if err != nil {
		return d.failure("list", prefix, err)
	}
	slices.SortFunc(found, func(a, b Object) int { return strings.Compare(a.Key, b.Key) })
	for _, o := range found {
		if err := f(o); err != nil {
			return err
		}
	}
	return nil
}

func (d *directory) Remove(_ context.Context, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	err := d.fs.Remove(d.path(key))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = d.fs.SyncDir(filepath.Dir(d.path(key)))
	}
	if err != nil {
		return d.failure("remove", key, err)
	}
	return nil
}
