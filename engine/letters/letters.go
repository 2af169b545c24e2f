// Package letters keeps the events that were refused by a schema or a policy:
// the dead letters. They wait until they are sent again, purged, or expire.
//
// Letters come and go by entries of the log and by nothing else, so every
// replica holds the same ones, within the bound that each entry carries. They are
// in a file of their own, to which each checkpoint appends the entries that came
// since (file.go). In memory are an index of all, by which they are counted and
// filtered, and those whole that no checkpoint has yet; the others are read from the
// file (disk.go).
package letters

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"unique"

	"github.com/cespare/xxhash/v2"

	"spoor/segment/encoding"
)

// Letter is an event that was refused. It must not be changed.
type Letter struct {
	ID       string // the eventId; there is one letter of it at most
	Name     string // the eventName
	Source   string // of the key that sent it; empty for none
	Reason   string // a code
	Message  string // for persons
	Path     string // of the value at fault; empty for none
	Version  int    // of the schema that refused it; 0 for none
	Received int64  // microseconds since the Unix epoch
	Event    []byte // JSON, after redaction, with its eventId and timestamp
	Index    uint64 // log index that stored it
}

// size is what a letter takes of the bound. It never changes, or replicas would expire
// differently.
func (l *Letter) size() int64 {
	const rest = 200 // of the index: the item, the map and the queue
	return int64(rest + len(l.ID) + len(l.Name) + len(l.Source) + len(l.Reason) + len(l.Message) + len(l.Path) + len(l.Event))
}

// Bounds say which letters stay. They come with every entry, so that all
// replicas expire alike.
type Bounds struct {
	Bytes  int64 // of all letters together; the oldest go first
	Oldest int64 // letters that were received before go; microseconds since the Unix epoch
}

// MaxBytes bounds Bounds.Bytes, for the index of letters is held in memory, and takes no more than they do.
const MaxBytes = 1 << 30

// ErrEntry is wrapped when an entry cannot be read.
var ErrEntry = errors.New("letters cannot be read")

// AppendBounds begins the body of an entry:
//
//	| uvarint bytes | varint oldest |
//
// To it are appended letters, for an entry that stores them, or texts of ids,
// for one that removes them.
func AppendBounds(dst []byte, b Bounds) []byte {
	return binary.AppendVarint(binary.AppendUvarint(dst, uint64(b.Bytes)), b.Oldest)
}

// Append appends a letter without its index:
//
//	| text id | name | source | reason | message | path | uvarint version | varint received | text event |
//
// A text is a uvarint length and its bytes.
func Append(dst []byte, l *Letter) []byte {
	for _, t := range []string{l.ID, l.Name, l.Source, l.Reason, l.Message, l.Path} {
		dst = AppendText(dst, t)
	}
	dst = binary.AppendVarint(binary.AppendUvarint(dst, uint64(l.Version)), l.Received)
	return AppendText(dst, l.Event)
}

// AppendText appends a text: an id that is to be removed.
func AppendText[T string | []byte](dst []byte, t T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(t))), t...)
}

// reader reads an entry. After an error it reads zeros.
type reader struct {
	*encoding.Lane
	nameless bool // a letter had no id
}

func newReader(b []byte) *reader { return &reader{Lane: encoding.NewLane(b)} }

func (r *reader) more() bool { return len(r.Rest()) > 0 }

// error says what was wrong first: behind a cut there is no letter.
func (r *reader) error() error {
	switch {
	case r.nameless:
		return fmt.Errorf("%w: a letter has no id", ErrEntry)
	case r.Err() != nil:
		return fmt.Errorf("%w: an entry is cut off", ErrEntry)
	}
	return nil
}

func (r *reader) text() []byte { return r.Bytes(r.Count(len(r.Rest()))) }

func (r *reader) letter() *Letter {
	l := &Letter{}
	for _, t := range []*string{&l.ID, &l.Name, &l.Source, &l.Reason, &l.Message, &l.Path} {
		*t = string(r.text())
	}
	l.Version, l.Received = int(r.Uvarint()), r.Varint()
	l.Event = slices.Clone(r.text())
	r.nameless = r.nameless || r.Err() == nil && l.ID == ""
	return l
}

// Kinds of operations, in entries and in the file.
const (
	opPut    byte = 1
	opRemove byte = 2
	opWhole  byte = 3 // in the file alone
)

// item is a letter in the index. Only place ever changes.
type item struct {
	id       string
	labels   unique.Handle[labels]
	received int64
	index    uint64
	size     uint32 // what it takes of the bound
	length   uint32 // of the letter as Append has it
	sum      uint64 // see sumOf
	place    int64  // of its first byte in the file; in the body of the entry until a checkpoint has it
}

// labels are what many letters have in common.
type labels struct {
	Name, Source, Reason, Path string
	Version                    int
}

// sumOf is the checksum of a letter as Append has it: XXH64 of what it adds to the
// hash of the state, "l" and two texts.
func sumOf(encoded []byte, index uint64) uint64 {
	b := AppendText(append(make([]byte, 0, len(encoded)+32), 'l'), encoded)
	return xxhash.Sum64(AppendText(b, binary.AppendUvarint(nil, index)))
}

// Store holds the letters. One goroutine applies; reading is safe for concurrent use.
// Close it.
type Store struct {
	mu    sync.RWMutex
	byID  map[string]*item
	queue []*item // in the order of the log; without an id where one is gone
	gone  int     // of them in queue
	bytes int64
	last  uint64 // log index of the last entry
	disk  *disk  // nil: there is no file yet
	journal
}

// New returns an empty store.
func New() *Store {
	return &Store{byID: map[string]*item{}, journal: journal{fresh: map[*item]fresh{}}}
}

// Put applies an entry that stores letters. A letter whose id is there is left
// out. Entries up to the last one that was applied are skipped.
func (s *Store) Put(index uint64, body []byte) (stored int, err error) {
	return s.apply(index, opPut, body)
}

// Remove applies an entry that removes letters by their ids. Ids that are not there are no error.
func (s *Store) Remove(index uint64, body []byte) (removed int, err error) {
	return s.apply(index, opRemove, body)
}

// Erase removes the letters of log indexes from since on for which gone holds, by the log entry of an index,
// and tells how many. It is for the goroutine that applies. The next checkpoint writes the file anew,
// so that nothing of them stays. After an error nothing is changed.
func (s *Store) Erase(index, since uint64, gone func(l *Letter) bool) (n int, err error) {
	s.mu.RLock()
	done := index < s.last // before the store was opened again
	from, _ := slices.BinarySearchFunc(s.queue, &item{index: since}, order)
	r := s.reading(s.queue[from:])
	s.mu.RUnlock()
	defer r.close()
	if done {
		return 0, nil
	}
	var out []*item
	for i := range r.places {
		l, err := r.letter(i)
		if err != nil {
			return 0, err
		}
		if gone(l) {
			out = append(out, r.places[i].item)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = index
	for _, it := range out {
		s.clear(s.at(it))
	}
	s.shrink()
	s.rewrite = s.rewrite || len(out) > 0
	return len(out), nil
}

func (s *Store) apply(index uint64, op byte, body []byte) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if index <= s.last {
		return 0, nil
	}
	added, n, err := s.change(index, op, body)
	if err != nil {
		return 0, err
	}
	s.note(index, op, body, added)
	return n, nil
}

// change applies an operation and returns the letters that it added, with places in
// body, and how many it added or removed. It reads it whole before it changes anything.
func (s *Store) change(index uint64, op byte, body []byte) (added []*item, n int, err error) {
	r := newReader(body)
	b := Bounds{Bytes: int64(min(r.Uvarint(), MaxBytes)), Oldest: r.Varint()}
	var put []*item
	var ids []string
	for r.more() {
		if op == opPut {
			put = append(put, r.item(body, index))
		} else {
			ids = append(ids, string(r.text()))
		}
	}
	if err := r.error(); err != nil {
		return nil, 0, err
	}
	for _, it := range put {
		if s.byID[it.id] == nil {
			s.add(it)
			added = append(added, it)
		}
	}
	n = len(added)
	for _, id := range ids {
		if it := s.byID[id]; it != nil {
			s.clear(s.at(it))
			s.shrink()
			n++
		}
	}
	s.expire(b)
	s.last = index
	return added, n, nil
}

// item reads a letter of body, of which r reads what is left.
func (r *reader) item(body []byte, index uint64) *item {
	at := len(body) - len(r.Rest())
	l := r.letter()
	encoded := body[at : len(body)-len(r.Rest())]
	return &item{
		id: l.ID, labels: unique.Make(labels{l.Name, l.Source, l.Reason, l.Path, l.Version}), received: l.Received, index: index,
		size: uint32(l.size()), length: uint32(len(encoded)), sum: sumOf(encoded, index), place: int64(at),
	}
}

// order compares items by index. One that is gone keeps its index, so that the queue stays sorted.
func order(a, b *item) int { return cmp.Compare(a.index, b.index) }

// at is where in the queue an item is, which must be there.
func (s *Store) at(it *item) int {
	i, _ := slices.BinarySearchFunc(s.queue, it, order)
	for s.queue[i] != it {
		i++
	}
	return i
}

func (s *Store) add(it *item) {
	s.byID[it.id] = it
	s.queue = append(s.queue, it)
	s.bytes += int64(it.size)
}

// forget takes an item out of all but the queue.
func (s *Store) forget(it *item) {
	delete(s.byID, it.id)
	delete(s.fresh, it)
	s.bytes -= int64(it.size)
}

// clear takes the letter out of a place of the queue, which stays.
func (s *Store) clear(i int) {
	s.forget(s.queue[i])
	s.queue[i] = &item{index: s.queue[i].index}
	s.gone++
}

// shrink takes the empty places out of the queue when they are many.
func (s *Store) shrink() {
	if s.gone > len(s.queue)/2 {
		s.queue = slices.DeleteFunc(s.queue, isGone)
		s.gone = 0
	}
}

func isGone(it *item) bool { return it.id == "" }

// expire drops letters from the oldest on while they are beyond the bounds.
func (s *Store) expire(b Bounds) {
	i := 0
	for ; i < len(s.queue); i++ {
		it := s.queue[i]
		if isGone(it) {
			s.gone--
			continue
		}
		if it.received >= b.Oldest && s.bytes <= b.Bytes {
			break
		}
		s.forget(it)
	}
	if i > 0 {
		s.queue = slices.Delete(s.queue, 0, i)
	}
}

// Filter says which letters are meant; empty members mean all.
type Filter struct {
	Name, Reason, Source, Path string
	From, To                   int64 // of receipt: [From, To); To 0: no end
}

func (f *Filter) has(it *item) bool {
	if isGone(it) || it.received < f.From || f.To != 0 && it.received >= f.To {
		return false
	}
	l := it.labels.Value()
	return (f.Name == "" || f.Name == l.Name) && (f.Reason == "" || f.Reason == l.Reason) && (f.Source == "" || f.Source == l.Source) &&
		(f.Path == "" || f.Path == l.Path)
}

// List returns letters in the order of the log, behind the one of the id after,
// which must be there unless it is empty; at most limit, and no more than one if more take above
// maxBytes. more: there are others. A damaged letter is an ErrFile.
func (s *Store) List(f Filter, after string, limit, maxBytes int) (list []*Letter, more bool, err error) {
	s.mu.RLock()
	items, more := s.listed(f, after, limit, maxBytes)
	r := s.reading(items)
	s.mu.RUnlock()
	defer r.close()
	for i := range r.places {
		l, err := r.letter(i)
		if err != nil {
			return nil, false, err
		}
		list = append(list, l)
	}
	return list, more, nil
}

// IDs are the ids of the letters that List would return if their bytes were not bounded. Nothing is read from the disk.
func (s *Store) IDs(f Filter, after string, limit int) (ids []string, more bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	items, more := s.listed(f, after, limit, MaxBytes)
	for _, it := range items {
		ids = append(ids, it.id)
	}
	return ids, more
}

func (s *Store) listed(f Filter, after string, limit, maxBytes int) (list []*item, more bool) {
	from := 0
	if after != "" {
		it := s.byID[after]
		if it == nil {
			return nil, false
		}
		from = s.at(it) + 1
	}
	for _, it := range s.queue[from:] {
		if !f.has(it) {
			continue
		}
		if maxBytes -= int(it.length); len(list) == limit || maxBytes < 0 && len(list) > 0 {
			return list, true
		}
		list = append(list, it)
	}
	return list, false
}

// Count is how many letters of one name were refused for one reason.
type Count struct {
	Name    string `json:"event"`
	Reason  string `json:"reason"`
	Path    string `json:"path,omitempty"`
	Version int    `json:"version,omitzero"`
	Letters int    `json:"letters"`
	Bytes   int64  `json:"bytes"`
}

// Counts counts letters by name, reason, path and version, the most first.
func (s *Store) Counts(f Filter) []Count {
	s.mu.RLock()
	defer s.mu.RUnlock()
	by := map[Count]*Count{}
	for _, it := range s.queue {
		if !f.has(it) {
			continue
		}
		l := it.labels.Value()
		key := Count{Name: l.Name, Reason: l.Reason, Path: l.Path, Version: l.Version}
		c := by[key]
		if c == nil {
			kept := key
			c = &kept
			by[key] = c
		}
		c.Letters++
		c.Bytes += int64(it.size)
	}
	out := make([]Count, 0, len(by))
	for _, c := range by {
		out = append(out, *c)
	}
	slices.SortFunc(out, func(a, b Count) int {
		return cmp.Or(cmp.Compare(b.Letters, a.Letters), strings.Compare(a.Name, b.Name), strings.Compare(a.Reason, b.Reason), strings.Compare(a.Path, b.Path), cmp.Compare(a.Version, b.Version))
	})
	return out
}

// Len is how many letters there are, Bytes what they take, and Oldest when the
// first was received; 0 where there are none.
func (s *Store) Len() (letters int, bytes, oldest int64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, it := range s.queue {
		if !isGone(it) {
			oldest = it.received
			break
		}
	}
	return len(s.byID), s.bytes, oldest
}

// Each calls f for every letter in the order of the log. A damaged letter is an ErrFile.
func (s *Store) Each(f func(*Letter)) error {
	s.mu.RLock()
	r := s.reading(s.queue)
	s.mu.RUnlock()
	defer r.close()
	for i := range r.places {
		l, err := r.letter(i)
		if err != nil {
			return err
		}
		f(l)
	}
	return nil
}

// EachSum calls f for every letter with what it adds to the hash of the state: the checksum by which its
// bytes are known. Nothing is read from the disk; f must not call the store.
func (s *Store) EachSum(f func(sum uint64)) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, it := range s.queue {
		if !isGone(it) {
			f(it.sum)
		}
	}
}
