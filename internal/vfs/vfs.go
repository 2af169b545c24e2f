// Package vfs is the only door between Spoor and a disk. Segments, manifests,
// filters and the log are written and read through an FS that is handed in, so
// that an event's way to durability can be cut at any call: a test replaces the
// operating system by Mem, which knows what a power cut would leave, and wraps
// any FS in a Fault, which fails the call it is told to fail.
//
// What FS promises is what POSIX promises and no more: bytes are durable after
// Sync, names are durable after SyncDir of their directory. Only MkdirAll does
// both halves itself, because a directory that vanishes takes all its files along.
package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
)

// FS is a file system. Paths are those of the operating system; an
// implementation accepts what path/filepath makes. All methods are safe for
// concurrent use. Errors satisfy errors.Is with fs.ErrNotExist, fs.ErrExist,
// syscall.ENOSPC and the like, and name the operation and the path.
type FS interface {
	// Open opens an existing file for reading.
	Open(name string) (File, error)
	// Create makes an empty file, or empties the one that has the name, and opens it for reading and writing.
	Create(name string) (File, error)
	// OpenReadWrite opens an existing file for reading and writing in place.
	OpenReadWrite(name string) (File, error)
	// Rename gives a file another name, replacing the file that had it. Readers see the one or the other.
	Rename(from, to string) error
	// Link gives a file a second name. It fails with fs.ErrExist if the name is taken.
	Link(from, to string) error
	// Remove removes a file or an empty directory.
	Remove(name string) error
	// RemoveAll removes a file or a directory with what is in it. A missing one is no error.
	RemoveAll(name string) error
	// MkdirAll makes a directory with its parents, durably. One that exists is no error.
	MkdirAll(dir string) error
	// ReadDir lists a directory in the order of names.
	ReadDir(dir string) ([]fs.DirEntry, error)
	// Stat describes a file or directory.
	Stat(name string) (fs.FileInfo, error)
	// SyncDir makes the names in a directory durable.
	SyncDir(dir string) error
	// Lock takes the file's exclusive lock, which ends with Close or with the
	// process. It does not wait: a lock that is held is a *LockedError.
	Lock(name string) (io.Closer, error)
	// FreeBytes is the space that is left to this process on the disk of dir.
	FreeBytes(dir string) (uint64, error)
}

// File is an open file. ReadAt, WriteAt and Size are safe for concurrent use;
// Write appends at the handle's own offset, which starts at 0 and which
// WriteAt does not move.
type File interface {
	io.ReaderAt
	io.Writer
	io.WriterAt
	io.Closer
	// Size is the length in bytes as this handle knows it: at the opening, and
	// as its own writes and Truncate changed it since.
	Size() int64
	// Sync makes the file's bytes and length durable, not its name. After an
	// error nothing is known of what was written since the last success, and a
	// later success does not bring it back.
	Sync() error
	// Truncate sets the length. New bytes are zero.
	Truncate(size int64) error
}

// ErrLocked is wrapped by LockedError.
var ErrLocked = errors.New("locked by another process")

// LockedError says who holds a lock, as far as that is known.
type LockedError struct {
	Path   string
	Holder string // such as "process 4711 on host db1", "" if unknown
}

func (e *LockedError) Error() string {
	holder := e.Holder
	if holder == "" {
		holder = "another process"
	}
	return fmt.Sprintf("lock %s: in use by %s; stop it first, or choose another directory", e.Path, holder)
}

// Unwrap makes errors.Is(err, ErrLocked) true.
func (e *LockedError) Unwrap() error { return ErrLocked }

// TempSuffix ends the names of files that WriteFileAtomic has not finished. One
// that is found at a start was left by a crash and may be removed.
const TempSuffix = ".tmp"

// WriteFileAtomic makes the file name hold data, durably: after a crash it has
// the old content or the new one, and after success the new one. Two writers of
// one name must not run at once.
func WriteFileAtomic(fsys FS, name string, data []byte) error {
	return WriteAtomic(fsys, name, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// WriteAtomic is WriteFileAtomic for content that fill writes piece by piece.
func WriteAtomic(fsys FS, name string, fill func(w io.Writer) error) error {
	tmp := name + TempSuffix
	f, err := fsys.Create(tmp)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err = fill(f); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = fsys.Rename(tmp, name)
	}
	if err != nil {
		_ = fsys.Remove(tmp) // what cannot be removed is found by its suffix at the next start
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := fsys.SyncDir(filepath.Dir(name)); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// ReadFile reads a whole file.
func ReadFile(fsys FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	b := make([]byte, f.Size())
	n, err := f.ReadAt(b, 0)
	if n == len(b) && errors.Is(err, io.EOF) {
		err = nil
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return b, nil
}
