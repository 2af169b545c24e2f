package letters

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"spoor/internal/vfs"
)

// disk is the open file of letters. It stays readable for who holds it when another
// takes its place and it is removed.
type disk struct {
	vfs.File
	name string
	refs atomic.Int32
}

func newDisk(f vfs.File, name string) *disk {
	d := &disk{File: f, name: name}
	d.refs.Store(1)
	return d
}

// release lets go of the file; the last one closes it.
func (d *disk) release() {
	if d != nil && d.refs.Add(-1) == 0 {
		_ = d.Close() // nothing was written by it
	}
}

// Close lets go of the file. Nothing may be applied, saved or read any more.
func (s *Store) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.disk.release()
	s.disk = nil
}

var errClosed = errors.New("the dead letters are closed, for the store is or took another state over")

// reading reads letters as they are at one moment. Close it.
type reading struct {
	disk   *disk
	places []place
	buf    []byte // what was read of the file from byte at on
	at     int64
}

// place is where a letter is: in memory, or in the file.
type place struct {
	item  *item
	fresh []byte
	at    int64
}

// reading prepares to read the items that are not gone. The caller holds mu.
func (s *Store) reading(items []*item) *reading {
	r := &reading{disk: s.disk, places: make([]place, 0, len(items))}
	if r.disk != nil {
		r.disk.refs.Add(1)
	}
	for _, it := range items {
		if !isGone(it) {
			r.places = append(r.places, place{it, s.fresh[it].encoded, it.place})
		}
	}
	return r
}

func (r *reading) close() { r.disk.release() }

const (
	aheadBytes = 256 << 10 // are read at once where the next letters are near
	nearBytes  = 16 << 10
)

// encoded is a letter as Append has it, valid until the next call.
func (r *reading) encoded(i int) ([]byte, error) {
	p := &r.places[i]
	b := p.fresh
	switch {
	case b != nil:
	case r.disk == nil:
		return nil, errClosed
	default:
		var err error
		if b, err = r.bytes(i); err != nil {
			return nil, fmt.Errorf("%w: %s: the letter %.100q at byte %d: %w", ErrFile, r.disk.name, p.item.id, p.at, err)
		}
	}
	if sumOf(b, p.item.index) != p.item.sum {
		return nil, fmt.Errorf("%w: the checksum of the letter %.100q at byte %d of %s differs; restore the store from a backup or replace this copy of the data", ErrFile, p.item.id, p.at, r.disk.name)
	}
	return b, nil
}

// bytes reads those of a letter, and with them of the letters behind it that are near.
func (r *reading) bytes(i int) ([]byte, error) {
	n, from := int64(r.places[i].item.length), r.places[i].at
	if from >= r.at && from+n <= r.at+int64(len(r.buf)) {
		return r.buf[from-r.at:][:n], nil
	}
	end := from + n
	for _, p := range r.places[i+1:] {
		next := p.at + int64(p.item.length)
		if p.fresh != nil || p.at < end || p.at > end+nearBytes || next > from+aheadBytes {
			break
		}
		end = next
	}
	if int64(cap(r.buf)) < end-from {
		r.buf = make([]byte, max(end-from, min(aheadBytes, int64(len(r.places)-i)<<10)))
	}
	r.buf, r.at = r.buf[:end-from], from
	if got, err := r.disk.ReadAt(r.buf, from); got < len(r.buf) {
		r.buf = r.buf[:0]
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return r.buf[:n], nil
}

// letter reads one.
func (r *reading) letter(i int) (*Letter, error) {
	b, err := r.encoded(i)
	if err != nil {
		return nil, err
	}
	in := newReader(b)
	l := in.letter()
	l.Index = r.places[i].item.index
	return l, in.error()
}
