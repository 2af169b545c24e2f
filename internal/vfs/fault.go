package vfs

import (
	"fmt"
	"io"
	"io/fs"
	"sync"
)

// Op names a call of an FS or a File.
type Op string

// The calls that a Fault counts. Asking a file's size is none: it does no I/O.
const (
	OpOpen      Op = "open"
	OpCreate    Op = "create"
	OpOpenRW    Op = "openrw"
	OpRename    Op = "rename"
	OpLink      Op = "link"
	OpRemove    Op = "remove"
	OpRemoveAll Op = "removeall"
	OpMkdirAll  Op = "mkdir"
	OpReadDir   Op = "readdir"
	OpStat      Op = "stat"
	OpSyncDir   Op = "syncdir"
	OpLock      Op = "lock"
	OpFree      Op = "free"
	OpRead      Op = "read"
	OpWrite     Op = "write"
	OpSync      Op = "sync"
	OpTruncate  Op = "truncate"
	OpClose     Op = "close"
)

// Call is one call; N counts from 1.
type Call struct {
	N    int
	Op   Op
	Path string
}

// Plan says which call fails and how. The zero Plan fails none.
type Plan struct {
	// FailAt is the number of the call that fails, 0 for none.
	FailAt int
	// Only limits the calls that are counted; nil counts all.
	Only func(Op, string) bool
	// Err is the error, such as syscall.EIO or syscall.ENOSPC.
	Err error
	// Sticky makes all later calls fail too, like a disk that is gone. Without
	// it they succeed, as on Linux after a failed fsync, although the bytes are lost.
	Sticky bool
	// Before, if set, runs before each counted call is done, for instance to
	// take a CrashClone. It must not call the Fault.
	Before func(Call)
}

// Fault is a file system that fails a call of another one. A failing write
// writes its first half; a failing Sync on a Mem loses the unsynced bytes for
// good; a failing Close closes; any other failing call does nothing.
type Fault struct {
	inner FS
	plan  Plan

	mu     sync.Mutex
	calls  int
	failed *Call
}

// NewFault wraps inner.
func NewFault(inner FS, plan Plan) *Fault {
	if plan.FailAt > 0 && plan.Err == nil {
		panic("vfs: a Fault without an error")
	}
	return &Fault{inner: inner, plan: plan}
}

// Calls is how many calls were counted.
func (x *Fault) Calls() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.calls
}

// Failed is the first call that failed; ok is false if none did.
func (x *Fault) Failed() (call Call, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.failed == nil {
		return Call{}, false
	}
	return *x.failed, true
}

// call counts a call and returns the error if it is to fail.
func (x *Fault) call(op Op, name string) error {
	if x.plan.Only != nil && !x.plan.Only(op, name) {
		return nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.calls++
	c := Call{N: x.calls, Op: op, Path: name}
	if x.plan.Before != nil {
		x.plan.Before(c)
	}
	if x.plan.FailAt == 0 || x.calls < x.plan.FailAt || x.calls > x.plan.FailAt && !x.plan.Sticky {
		return nil
	}
	if x.failed == nil {
		x.failed = &c
	}
	return &fs.PathError{Op: string(op), Path: name, Err: x.plan.Err}
}

func (x *Fault) file(op Op, name string, open func(string) (File, error)) (File, error) {
	if err := x.call(op, name); err != nil {
		return nil, err
	}
	f, err := open(name)
	if err != nil {
		return nil, err
	}
	return &faultFile{File: f, x: x, name: name}, nil
}

// Open implements FS.
func (x *Fault) Open(name string) (File, error) { return x.file(OpOpen, name, x.inner.Open) }

// Create implements FS.
func (x *Fault) Create(name string) (File, error) { return x.file(OpCreate, name, x.inner.Create) }

// OpenReadWrite implements FS.
func (x *Fault) OpenReadWrite(name string) (File, error) {
	return x.file(OpOpenRW, name, x.inner.OpenReadWrite)
}

// Rename implements FS.
func (x *Fault) Rename(from, to string) error {
	if err := x.call(OpRename, to); err != nil {
		return err
	}
	return x.inner.Rename(from, to)
}

// Link implements FS.
func (x *Fault) Link(from, to string) error {
	if err := x.call(OpLink, to); err != nil {
		return err
	}
	return x.inner.Link(from, to)
}

// Remove implements FS.
func (x *Fault) Remove(name string) error {
	if err := x.call(OpRemove, name); err != nil {
		return err
	}
	return x.inner.Remove(name)
}

// RemoveAll implements FS.
func (x *Fault) RemoveAll(name string) error {
	if err := x.call(OpRemoveAll, name); err != nil {
		return err
	}
	return x.inner.RemoveAll(name)
}

// MkdirAll implements FS.
func (x *Fault) MkdirAll(dir string) error {
	if err := x.call(OpMkdirAll, dir); err != nil {
		return err
	}
	return x.inner.MkdirAll(dir)
}

// ReadDir implements FS.
func (x *Fault) ReadDir(dir string) ([]fs.DirEntry, error) {
	if err := x.call(OpReadDir, dir); err != nil {
		return nil, err
	}
	return x.inner.ReadDir(dir)
}

// Stat implements FS.
func (x *Fault) Stat(name string) (fs.FileInfo, error) {
	if err := x.call(OpStat, name); err != nil {
		return nil, err
	}
	return x.inner.Stat(name)
}

// SyncDir implements FS.
func (x *Fault) SyncDir(dir string) error {
	if err := x.call(OpSyncDir, dir); err != nil {
		return err
	}
	return x.inner.SyncDir(dir)
}

// Lock implements FS.
func (x *Fault) Lock(name string) (io.Closer, error) {
	if err := x.call(OpLock, name); err != nil {
		return nil, err
	}
	return x.inner.Lock(name)
}

// FreeBytes implements FS.
func (x *Fault) FreeBytes(dir string) (uint64, error) {
	if err := x.call(OpFree, dir); err != nil {
		return 0, err
	}
	return x.inner.FreeBytes(dir)
}

type faultFile struct {
	File
	x    *Fault
	name string
}

func (f *faultFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.x.call(OpRead, f.name); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

func (f *faultFile) Write(p []byte) (int, error) {
	if err := f.x.call(OpWrite, f.name); err != nil {
		return half(p, err, f.File.Write)
	}
	return f.File.Write(p)
}

func (f *faultFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.x.call(OpWrite, f.name); err != nil {
		return half(p, err, func(p []byte) (int, error) { return f.File.WriteAt(p, off) })
	}
	return f.File.WriteAt(p, off)
}

func half(p []byte, failure error, write func([]byte) (int, error)) (int, error) {
	n, err := write(p[:len(p)/2])
	if err != nil {
		failure = fmt.Errorf("%w, and then: %w", failure, err)
	}
	return n, failure
}

func (f *faultFile) Sync() error {
	if err := f.x.call(OpSync, f.name); err != nil {
		if l, ok := f.File.(interface{ loseUnsynced() }); ok {
			l.loseUnsynced()
		}
		return err
	}
	return f.File.Sync()
}

func (f *faultFile) Truncate(size int64) error {
	if err := f.x.call(OpTruncate, f.name); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

func (f *faultFile) Close() error {
	err := f.x.call(OpClose, f.name)
	if cerr := f.File.Close(); err == nil {
		err = cerr
	}
	return err
}
