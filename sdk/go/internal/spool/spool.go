// Package spool is a queue of lines in files: what was pushed and written
// survives the death of the process, and what was fsynced the loss of power. On
// the way of an event it lies between Enqueue and the goroutine that sends.
//
// A directory holds segments, numbered from the oldest on, a cursor and a lock:
//
//	0000000000000001.spool
//	  spoor-spool 1 <id, 16 hex digits>\n                      the header; id is random
//	  <CRC-32C of the line, 8 hex digits> <line>\n             an event, any number of times
//	cursor
//	  <id of a segment> <offset, 16 hex digits> <CRC-32C of both, 8 hex digits>\n
//	lock
//
// Lines before the cursor are settled, as is every segment before its. It is
// not fsynced: an old cursor has events sent again, which the server counts
// once. A segment is written by one process only and never after it was
// closed; behind a torn end nothing is appended. A line whose checksum is
// wrong is counted and left out, and those behind it are read.
package spool

import (
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"sync"
	"time"
)

// Options of a spool. All are needed.
type Options struct {
	Dir      string
	MaxBytes int64         // of all files
	MaxLine  int           // bytes of one line
	Sync     time.Duration // between fsyncs; negative: one with every write
	Changed  func()        // called when lines can be taken and when there is room again
	Log      *slog.Logger
}

// Spool is the queue of one directory. One goroutine may take and settle; any
// may push.
type Spool struct {
	opts     Options
	lock     *os.File
	kick     chan struct{}
	done     chan struct{} // the writer has ended
	found    int           // events of earlier processes
	segBytes int64         // a segment that is larger gets no more

	mu       sync.Mutex
	closed   bool
	segments []*segment // the oldest first
	number   uint64     // of the newest segment
	pending  []byte     // pushed, and not handed to the disk
	pendingN int        // its events
	write    *Write     // of pending
	waiting  int64      // events that were pushed and not taken
	unread   int64      // their bytes
	bytes    int64      // of segments and pending
	trash    []string   // files to be removed

	// Of the writer's goroutine.
	file     *os.File
	active   *segment
	spare    []byte
	unsynced bool

	// Of the taking goroutine.
	reader  *os.File
	reading *segment
	buf     []byte
	cursor  *os.File
	flight  flight
}

// segment is one file. Its fields are guarded by the spool's mu.
type segment struct {
	path   string
	id     string
	size   int64 // of whole lines
	read   int64 // offset of the first line that was not taken
	events int   // lines that were not taken
	sealed bool  // nothing will be appended
	gone   bool  // dropped to make room
}

// flight is what was taken and not settled.
type flight struct {
	seg    *segment
	to     int64
	events int64
}

// Write is the fate of what was pushed at about the same time. Done is closed
// when the disk has answered; then Err is set, and Kept tells whether the
// events are in the queue all the same.
type Write struct {
	Done chan struct{}
	Err  error
	Kept bool
}

const (
	// maxPending bounds what waits for the disk, in bytes.
	maxPending = 1 << 20
	// segmentsOfSpool is into how many segments a full spool is divided: what is
	// dropped at once to make room is one of them.
	segmentsOfSpool = 8
	checksumBytes   = 8 + 1 // hex digits and a space
	lineBytes       = checksumBytes + 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrClosed is the Err of what was pushed behind Close.
var ErrClosed = errors.New("the spool is closed")

// Open opens the spool of a directory, which is made where it is missing, and
// finds what earlier processes have left.
func Open(o Options) (*Spool, error) {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	lock, err := lockDir(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("open spool %s: %w", o.Dir, err)
	}
	s := &Spool{
		opts: o, lock: lock, kick: make(chan struct{}, 1), done: make(chan struct{}),
		segBytes: o.MaxBytes / segmentsOfSpool,
	}
	s.write = newWrite()
	if err := s.recover(); err != nil {
		lock.Close()
		return nil, fmt.Errorf("open spool %s: %w", o.Dir, err)
	}
	go s.writeLoop()
	return s, nil
}

func newWrite() *Write { return &Write{Done: make(chan struct{})} }

// Room tells whether a line of so many bytes fits. Where it does not, drop
// tells whether DropOldest may help; otherwise the disk is behind.
func (s *Spool) Room(bytes int) (ok, drop bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.pending) > 0 && len(s.pending)+bytes+lineBytes > maxPending {
		return false, false
	}
	return s.bytes+int64(bytes)+lineBytes <= s.opts.MaxBytes, true
}

// Push hands a line, which it copies, to the goroutine that writes.
func (s *Spool) Push(line []byte) *Write {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		w := newWrite()
		w.Err = ErrClosed
		close(w.Done)
		return w
	}
	was := len(s.pending)
	s.pending = append(appendChecksum(s.pending, line), line...)
	s.pending = append(s.pending, '\n')
	s.pendingN++
	s.bytes += int64(len(s.pending) - was)
	s.unread += int64(len(s.pending) - was)
	s.waiting++
	s.wakeWriter()
	return s.write
}

func (s *Spool) wakeWriter() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// DropOldest drops the oldest segment but for what is being sent of it, and
// returns how many events that were; ok is false where there is none to drop.
func (s *Spool) DropOldest() (events int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.segments) == 0 || !s.segments[0].sealed {
		return 0, false
	}
	seg := s.segments[0]
	seg.gone = true
	s.remove(seg)
	s.waiting -= int64(seg.events)
	s.unread -= seg.size - seg.read
	s.wakeWriter()
	return seg.events, true
}

// remove takes a segment, the oldest one, out of the queue; its file is removed
// by the writer. The caller holds mu.
func (s *Spool) remove(seg *segment) {
	s.segments = s.segments[1:]
	s.bytes -= seg.size
	s.trash = append(s.trash, seg.path)
}

// Size is how many events wait to be taken, how many are being sent, and the
// bytes of those that wait.
func (s *Spool) Size() (waiting, taken, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting, s.flight.events, s.unread
}

// Found is how many events earlier processes have left.
func (s *Spool) Found() int { return s.found }

// Close writes and fsyncs what was pushed. The goroutine that takes must have ended.
func (s *Spool) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.wakeWriter()
	<-s.done
	s.closeReader()
	if s.cursor != nil {
		s.cursor.Close()
	}
	return s.lock.Close()
}

const hexDigits = "0123456789abcdef"

// appendChecksum writes the checksum that stands before a line.
func appendChecksum(dst, line []byte) []byte {
	sum := crc32.Checksum(line, castagnoli)
	for shift := 28; shift >= 0; shift -= 4 {
		dst = append(dst, hexDigits[sum>>shift&15])
	}
	return append(dst, ' ')
}

// lineOf returns the event of a line without its end; false where the checksum is wrong.
func lineOf(text []byte) ([]byte, bool) {
	if len(text) <= checksumBytes {
		return nil, false
	}
	line := text[checksumBytes:]
	var want [checksumBytes]byte
	return line, string(appendChecksum(want[:0], line)) == string(text[:checksumBytes])
}
