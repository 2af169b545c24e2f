package vfs

import (
	"io"
	"path/filepath"
	"sync"
)

// DryRun is an FS that reads another one and answers success to every change
// without making it, so that what a start would find can be found while nothing
// is touched. Files that are made on it can be written, and are gone when closed.
type DryRun struct{ FS }

// Create makes a file that nobody else sees.
func (d DryRun) Create(string) (File, error) { return &discardedFile{}, nil }

// OpenReadWrite opens a file whose writes are dropped.
func (d DryRun) OpenReadWrite(name string) (File, error) {
	f, err := d.Open(name)
	if err != nil {
		return nil, err
	}
	return dryFile{f}, nil
}

// Rename does nothing.
func (d DryRun) Rename(string, string) error { return nil }

// Link does nothing.
func (d DryRun) Link(string, string) error { return nil }

// Remove does nothing.
func (d DryRun) Remove(string) error { return nil }

// RemoveAll does nothing.
func (d DryRun) RemoveAll(string) error { return nil }

// MkdirAll does nothing where the parent is there.
func (d DryRun) MkdirAll(dir string) error {
	_, err := d.Stat(filepath.Dir(dir))
	return err
}

// SyncDir does nothing.
func (d DryRun) SyncDir(string) error { return nil }

// Lock takes no lock: who looks must hold it, see FS.Lock.
func (d DryRun) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }

// dryFile reads a file and drops what is written to it.
type dryFile struct{ File }

func (dryFile) Write(p []byte) (int, error)            { return len(p), nil }
func (dryFile) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (dryFile) Sync() error                            { return nil }
func (dryFile) Truncate(int64) error                   { return nil }

// discardedFile knows its length and nothing else; it reads as zeros.
type discardedFile struct {
	mu   sync.Mutex
	size int64
}

func (f *discardedFile) ReadAt(p []byte, off int64) (int, error) {
	n := int(min(max(f.Size()-off, 0), int64(len(p))))
	clear(p[:n])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *discardedFile) Write(p []byte) (int, error) { return f.WriteAt(p, f.Size()) }

func (f *discardedFile) WriteAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.size = max(f.size, off+int64(len(p)))
	return len(p), nil
}

func (f *discardedFile) Close() error { return nil }

func (f *discardedFile) Size() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.size
}

func (f *discardedFile) Sync() error { return nil }

func (f *discardedFile) Truncate(size int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.size = size
	return nil
}
