package vfs

import (
	"io"
	"io/fs"
	"slices"
	"syscall"
)

// memFile is a handle of a file of a Mem. The file lives as long as it has a
// name or a handle.
type memFile struct {
	m        *Mem
	n        *node
	name     string
	at       int64 // of the next Write
	readOnly bool
	closed   bool
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.closed {
		return 0, failure("read", f.name, fs.ErrClosed)
	}
	if off < 0 {
		return 0, failure("read", f.name, syscall.EINVAL)
	}
	if off >= int64(len(f.n.data)) {
		if len(p) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	n := copy(p, f.n.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) Write(p []byte) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	n, err := f.write(p, f.at)
	f.at += int64(n)
	return n, err
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return f.write(p, off)
}

func (f *memFile) writable(op string) error {
	if f.closed {
		return failure(op, f.name, fs.ErrClosed)
	}
	if f.readOnly {
		return failure(op, f.name, syscall.EBADF)
	}
	return nil
}

// write writes what the disk has space for.
func (f *memFile) write(p []byte, off int64) (int, error) {
	if err := f.writable("write"); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, failure("write", f.name, syscall.EINVAL)
	}
	var err error
	size := int64(len(f.n.data))
	if m := f.m; m.limit > 0 && off+int64(len(p)) > size {
		if fits := size + max(0, m.limit-m.used) - off; fits < int64(len(p)) {
			p = p[:max(0, fits)]
			err = failure("write", f.name, syscall.ENOSPC)
		}
	}
	if len(p) > 0 {
		f.n.change(write{off: off, data: slices.Clone(p)})
		f.m.used += int64(len(f.n.data)) - size
	}
	return len(p), err
}

func (f *memFile) Truncate(size int64) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.writable("truncate"); err != nil {
		return err
	}
	old := int64(len(f.n.data))
	if size < 0 {
		return failure("truncate", f.name, syscall.EINVAL)
	}
	if f.m.limit > 0 && size-old > max(0, f.m.limit-f.m.used) {
		return failure("truncate", f.name, syscall.ENOSPC)
	}
	f.n.change(write{off: size})
	f.m.used += size - old
	return nil
}

func (f *memFile) Size() int64 {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return int64(len(f.n.data))
}

func (f *memFile) Sync() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.closed {
		return failure("sync", f.name, fs.ErrClosed)
	}
	for i := range f.n.pending {
		f.n.synced = f.n.pending[i].apply(f.n.synced)
	}
	f.n.pending = nil
	return nil
}

// loseUnsynced is what the kernel does when a write behind an fsync fails: it
// reports the error once and forgets that the pages were dirty. Readers still
// see them; the disk never gets them.
func (f *memFile) loseUnsynced() {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	f.n.pending = nil
}

func (f *memFile) Close() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.closed {
		return failure("close", f.name, fs.ErrClosed)
	}
	f.closed = true
	f.n.handles--
	f.m.free(f.n)
	return nil
}
