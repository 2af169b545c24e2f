package vfs

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/gofrs/flock"
)

// Files hold personal data: only the user that runs Spoor may read them.
const (
	filePermissions = 0o600
	dirPermissions  = 0o700
)

// maxHolderBytes bounds what is read of a lock file to name its holder.
const maxHolderBytes = 200

// OS is the operating system's file system.
func OS() FS { return osFS{} }

type osFS struct{}

func (osFS) Open(name string) (File, error) { return openOS(name, os.O_RDONLY) }

func (osFS) Create(name string) (File, error) {
	return openOS(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
}

func (osFS) OpenReadWrite(name string) (File, error) { return openOS(name, os.O_RDWR) }

func (osFS) Rename(from, to string) error { return os.Rename(from, to) }

func (osFS) Link(from, to string) error { return os.Link(from, to) }

func (osFS) Remove(name string) error { return os.Remove(name) }

func (osFS) RemoveAll(name string) error { return os.RemoveAll(name) }

func (osFS) ReadDir(dir string) ([]fs.DirEntry, error) { return os.ReadDir(dir) }

func (osFS) Stat(name string) (fs.FileInfo, error) { return os.Stat(name) }

func (osFS) SyncDir(dir string) error { return syncDir(dir) }

func (osFS) FreeBytes(dir string) (uint64, error) { return freeBytes(dir) }

func (osFS) MkdirAll(dir string) error {
	var missing []string // innermost first
	for d := filepath.Clean(dir); ; d = filepath.Dir(d) {
		_, err := os.Stat(d)
		if err == nil || d == filepath.Dir(d) {
			break
		}
		if !os.IsNotExist(err) {
			return err
		}
		missing = append(missing, d)
	}
	if err := os.MkdirAll(dir, dirPermissions); err != nil {
		return err
	}
	for _, d := range missing {
		if err := syncDir(filepath.Dir(d)); err != nil {
			return err
		}
	}
	return nil
}

func (osFS) Lock(name string) (io.Closer, error) {
	l := flock.New(name, flock.SetPermissions(filePermissions))
	taken, err := l.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	if !taken {
		return nil, &LockedError{Path: name, Holder: lockHolder(name)}
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	// The text only serves the message of whoever comes second: the lock holds without it.
	_ = os.WriteFile(name, fmt.Appendf(nil, "process %d on host %s\n", os.Getpid(), host), filePermissions)
	return l, nil
}

// lockHolder reads what the holder of a lock wrote about itself.
func lockHolder(name string) string {
	f, err := os.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxHolderBytes))
	if err != nil || !strings.HasPrefix(string(b), "process ") {
		return ""
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return line
}

// osFile keeps the length itself, so that asking for it cannot fail.
type osFile struct {
	f    *os.File
	size atomic.Int64
	at   int64 // of the next Write
}

func openOS(name string, flags int) (File, error) {
	f, err := os.OpenFile(name, flags, filePermissions)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = &fs.PathError{Op: "open", Path: name, Err: errIsDir}
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	o := &osFile{f: f}
	o.size.Store(info.Size())
	return o, nil
}

func (o *osFile) ReadAt(p []byte, off int64) (int, error) { return o.f.ReadAt(p, off) }

func (o *osFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := o.f.WriteAt(p, off)
	o.grow(off + int64(n))
	return n, err
}

func (o *osFile) Write(p []byte) (int, error) {
	n, err := o.f.WriteAt(p, o.at)
	o.at += int64(n)
	o.grow(o.at)
	return n, err
}

func (o *osFile) grow(end int64) {
	for size := o.size.Load(); size < end && !o.size.CompareAndSwap(size, end); size = o.size.Load() {
	}
}

func (o *osFile) Truncate(size int64) error {
	if err := o.f.Truncate(size); err != nil {
		return err
	}
	o.size.Store(size)
	return nil
}

func (o *osFile) Size() int64  { return o.size.Load() }
func (o *osFile) Sync() error  { return syncFile(o.f) }
func (o *osFile) Close() error { return o.f.Close() }
