package vfs

import (
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Mem is a file system in memory that remembers what a disk would have made
// durable, see CrashClone. Like a disk it promises nothing that was not asked
// for: neither the bytes of a file that was not synced, nor the name of a file
// whose directory was not.
type Mem struct {
	mu      sync.Mutex
	root    *node
	changes []change // of names, not durable yet, in the order in which they were made
	locks   map[string]struct{}
	limit   int64 // bytes of the disk, 0 for no limit
	used    int64 // bytes of the files that have a name or a handle
}

// unlimitedFree is what FreeBytes answers without a limit.
const unlimitedFree = 1 << 40

// NewMem makes an empty file system.
func NewMem() *Mem {
	return &Mem{root: newDir(), locks: map[string]struct{}{}}
}

// WithDiskLimit makes writes fail with ENOSPC when the files would hold more
// than so many bytes, 0 for no limit, and returns m. It may be called again to
// put in a larger disk.
func (m *Mem) WithDiskLimit(bytes int64) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.limit = bytes
	return m
}

// node is a file or, with entries, a directory.
type node struct {
	entries map[string]*node // names as they are now
	durable map[string]*node // names as they are on the disk

	data    []byte
	synced  []byte  // data as of the last Sync
	pending []write // since then, in order
	names   int     // that lead to the file
	handles int
}

// write is a change of a file that is not durable: bytes at an offset or, if
// data is nil, a new length.
type write struct {
	off  int64
	data []byte
}

func (w *write) apply(b []byte) []byte {
	if w.data == nil {
		return resize(b, w.off)
	}
	if end := w.off + int64(len(w.data)); end > int64(len(b)) {
		b = resize(b, end)
	}
	copy(b[w.off:], w.data)
	return b
}

func resize(b []byte, size int64) []byte {
	if size <= int64(len(b)) {
		clear(b[size:])
		return b[:size]
	}
	n := len(b)
	b = slices.Grow(b, int(size)-n)[:size]
	clear(b[n:])
	return b
}

// change is what one call did to names. It becomes durable as a whole.
type change []nameChange

type nameChange struct {
	dir  *node
	name string
	to   *node // nil: the name is gone
	was  *node // that had the name, nil for none
}

func newDir() *node { return &node{entries: map[string]*node{}, durable: map[string]*node{}} }

func (n *node) isDir() bool { return n.entries != nil }

func failure(op, name string, err error) error { return &fs.PathError{Op: op, Path: name, Err: err} }

// parts splits a path; the working directory of a Mem is its root.
func parts(name string) []string {
	clean := filepath.ToSlash(filepath.Clean("/" + filepath.ToSlash(name)))
	if clean == "/" {
		return nil
	}
	return strings.Split(clean[1:], "/")
}

func (m *Mem) find(name string) (*node, error) {
	n := m.root
	for _, p := range parts(name) {
		if !n.isDir() {
			return nil, syscall.ENOTDIR
		}
		if n = n.entries[p]; n == nil {
			return nil, fs.ErrNotExist
		}
	}
	return n, nil
}

// parent finds the directory that holds name, and the name in it.
func (m *Mem) parent(name string) (dir *node, base string, err error) {
	p := parts(name)
	if len(p) == 0 {
		return nil, "", syscall.EBUSY
	}
	dir, err = m.find(strings.Join(p[:len(p)-1], "/"))
	if err == nil && !dir.isDir() {
		err = syscall.ENOTDIR
	}
	return dir, p[len(p)-1], err
}

// apply changes names and remembers that they are not durable.
func (m *Mem) apply(c change) {
	for i := range c {
		e := &c[i]
		e.was = e.dir.entries[e.name]
		e.put(e.dir.entries)
		if e.to != nil {
			e.to.names++
		}
		if e.was != nil {
			e.was.names--
			m.free(e.was)
		}
	}
	m.changes = append(m.changes, c)
}

// free gives the bytes of a file back that nothing leads to any more.
func (m *Mem) free(n *node) {
	if n.names == 0 && n.handles == 0 {
		m.used -= int64(len(n.data))
	}
}

// Open implements FS.
func (m *Mem) Open(name string) (File, error) { return m.open(name, true) }

// OpenReadWrite implements FS.
func (m *Mem) OpenReadWrite(name string) (File, error) { return m.open(name, false) }

func (m *Mem) open(name string, readOnly bool) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.find(name)
	if err == nil && n.isDir() {
		err = errIsDir
	}
	if err != nil {
		return nil, failure("open", name, err)
	}
	n.handles++
	return &memFile{m: m, n: n, name: name, readOnly: readOnly}, nil
}

// Create implements FS.
func (m *Mem) Create(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent(name)
	if err != nil {
		return nil, failure("create", name, err)
	}
	n := dir.entries[base]
	switch {
	case n == nil:
		n = &node{}
		m.apply(change{{dir: dir, name: base, to: n}})
	case n.isDir():
		return nil, failure("create", name, errIsDir)
	case len(n.data) > 0:
		m.used -= int64(len(n.data))
		n.change(write{off: 0})
	}
	n.handles++
	return &memFile{m: m, n: n, name: name}, nil
}

func (n *node) change(w write) {
	n.data = w.apply(n.data)
	n.pending = append(n.pending, w)
}

// Rename implements FS.
func (m *Mem) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	src, base, err := m.parent(from)
	if err != nil {
		return failure("rename", from, err)
	}
	n := src.entries[base]
	if n == nil {
		return failure("rename", from, fs.ErrNotExist)
	}
	dst, target, err := m.parent(to)
	if err != nil {
		return failure("rename", to, err)
	}
	if old := dst.entries[target]; old == n {
		return nil
	} else if old != nil && (n.isDir() || old.isDir()) {
		return failure("rename", to, fs.ErrExist)
	}
	m.apply(change{{dir: dst, name: target, to: n}, {dir: src, name: base}})
	return nil
}

// Link implements FS.
func (m *Mem) Link(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.find(from)
	if err == nil && n.isDir() {
		err = syscall.EPERM
	}
	if err != nil {
		return failure("link", from, err)
	}
	dir, base, err := m.parent(to)
	if err == nil && dir.entries[base] != nil {
		err = fs.ErrExist
	}
	if err != nil {
		return failure("link", to, err)
	}
	m.apply(change{{dir: dir, name: base, to: n}})
	return nil
}

// Remove implements FS.
func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent(name)
	if err == nil && dir.entries[base] == nil {
		err = fs.ErrNotExist
	}
	if err == nil && len(dir.entries[base].entries) > 0 {
		err = syscall.ENOTEMPTY
	}
	if err != nil {
		return failure("remove", name, err)
	}
	m.apply(change{{dir: dir, name: base}})
	return nil
}

// RemoveAll implements FS.
func (m *Mem) RemoveAll(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent(name)
	if err == nil && dir.entries[base] != nil {
		m.removeAll(dir, base)
	}
	if err != nil && err != fs.ErrNotExist {
		return failure("remove", name, err)
	}
	return nil
}

func (m *Mem) removeAll(dir *node, name string) {
	n := dir.entries[name]
	for _, child := range sortedNames(n.entries) {
		m.removeAll(n, child)
	}
	m.apply(change{{dir: dir, name: name}})
}

func sortedNames(entries map[string]*node) []string {
	names := make([]string, 0, len(entries))
	for name := range entries {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// MkdirAll implements FS.
func (m *Mem) MkdirAll(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir := m.root
	for _, p := range parts(name) {
		n := dir.entries[p]
		if n == nil {
			n = newDir()
			m.apply(change{{dir: dir, name: p, to: n}})
			m.syncDir(dir)
		}
		if !n.isDir() {
			return failure("mkdir", name, syscall.ENOTDIR)
		}
		dir = n
	}
	return nil
}

// SyncDir implements FS.
func (m *Mem) SyncDir(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.find(name)
	if err == nil && !n.isDir() {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return failure("sync", name, err)
	}
	m.syncDir(n)
	return nil
}

// syncDir makes the changes of a directory's names durable. A change that also
// concerns another directory takes along what happened there before.
func (m *Mem) syncDir(dir *node) {
	dirs := map[*node]bool{dir: true}
	done := make([]bool, len(m.changes))
	for i := len(m.changes) - 1; i >= 0; i-- {
		if slices.ContainsFunc(m.changes[i], func(e nameChange) bool { return dirs[e.dir] }) {
			done[i] = true
			for _, e := range m.changes[i] {
				dirs[e.dir] = true
			}
		}
	}
	rest := m.changes[:0]
	for i, c := range m.changes {
		if !done[i] {
			rest = append(rest, c)
			continue
		}
		for _, e := range c {
			e.put(e.dir.durable)
		}
	}
	clear(m.changes[len(rest):])
	m.changes = rest
}

// put makes the change in a directory's names.
func (e *nameChange) put(names map[string]*node) {
	if e.to != nil {
		names[e.name] = e.to
	} else {
		delete(names, e.name)
	}
}

// ReadDir implements FS.
func (m *Mem) ReadDir(name string) ([]fs.DirEntry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.find(name)
	if err == nil && !n.isDir() {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return nil, failure("readdir", name, err)
	}
	entries := make([]fs.DirEntry, 0, len(n.entries))
	for _, child := range sortedNames(n.entries) {
		entries = append(entries, fs.FileInfoToDirEntry(n.entries[child].info(child)))
	}
	return entries, nil
}

// Stat implements FS.
func (m *Mem) Stat(name string) (fs.FileInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.find(name)
	if err != nil {
		return nil, failure("stat", name, err)
	}
	return n.info(filepath.Base(name)), nil
}

// FreeBytes implements FS.
func (m *Mem) FreeBytes(dir string) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.find(dir); err != nil {
		return 0, failure("statfs", dir, err)
	}
	if m.limit == 0 {
		return unlimitedFree, nil
	}
	return uint64(max(0, m.limit-m.used)), nil
}

// Lock implements FS.
func (m *Mem) Lock(name string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent(name)
	if err != nil {
		return nil, failure("lock", name, err)
	}
	key := strings.Join(parts(name), "/")
	if _, taken := m.locks[key]; taken {
		return nil, &LockedError{Path: name, Holder: "another store of this process"}
	}
	if dir.entries[base] == nil {
		m.apply(change{{dir: dir, name: base, to: &node{}}})
	}
	m.locks[key] = struct{}{}
	return &memLock{m: m, key: key}, nil
}

type memLock struct {
	m    *Mem
	key  string
	once sync.Once
}

func (l *memLock) Close() error {
	l.once.Do(func() {
		l.m.mu.Lock()
		defer l.m.mu.Unlock()
		delete(l.m.locks, l.key)
	})
	return nil
}

// nodeInfo describes a node as it was. A Mem has no clock: files have no time.
type nodeInfo struct {
	name string
	size int64
	mode fs.FileMode
}

func (n *node) info(name string) fs.FileInfo {
	if n.isDir() {
		return nodeInfo{name: name, mode: fs.ModeDir | dirPermissions}
	}
	return nodeInfo{name: name, size: int64(len(n.data)), mode: filePermissions}
}

func (i nodeInfo) Name() string       { return i.name }
func (i nodeInfo) Size() int64        { return i.size }
func (i nodeInfo) Mode() fs.FileMode  { return i.mode }
func (i nodeInfo) ModTime() time.Time { return time.Time{} }
func (i nodeInfo) IsDir() bool        { return i.mode.IsDir() }
func (i nodeInfo) Sys() any           { return nil }

func (i nodeInfo) String() string { return fmt.Sprintf("%s %s %d", i.mode, i.name, i.size) }
