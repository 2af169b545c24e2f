package spoor

import (
	"sync"

	"spoor/sdk/go/internal/spool"
)

// store keeps events from Enqueue until their fate is known, in the order of
// their coming. Its methods can be called by any goroutine, take and settle by
// one only.
type store interface {
	// room tells whether an event of so many bytes fits; where not, drop tells
	// whether dropOldest may help.
	room(bytes int) (ok, drop bool)
	// push adds an event, which it may keep. Where the event goes to a file, what
	// is returned tells when it is there.
	push(data []byte) *spool.Write
	// dropOldest drops as few of the oldest events as it can, but none that is taken.
	dropOldest() (events int, ok bool)
	// take appends the oldest events, at least one if there is one, to batch, and
	// on while they are at most maxEvents and maxBytes. They are good until settle.
	take(batch [][]byte, maxEvents, maxBytes int) (events [][]byte, damaged int)
	// settle lets go of what was taken; it must be called before the next take.
	settle()
	// size is how many events wait and are taken, and the bytes of those that wait.
	size() (waiting, taken, bytes int64)
	close() error
}

// memory is the store without files.
type memory struct {
	mu     sync.Mutex
	ring   [][]byte // events from head on, around the end
	head   int
	length int
	bytes  int64 // of the events in ring

	maxEvents int
	maxBytes  int64
	taken     int   // they count against the bounds
	sending   int64 // their bytes
}

func newMemory(maxEvents int, maxBytes int64) *memory {
	return &memory{maxEvents: maxEvents, maxBytes: maxBytes}
}

func (m *memory) room(bytes int) (ok, drop bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.length+m.taken < m.maxEvents && m.bytes+m.sending+int64(bytes) <= m.maxBytes, true
}

func (m *memory) push(data []byte) *spool.Write {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.length == len(m.ring) {
		m.grow()
	}
	m.ring[(m.head+m.length)%len(m.ring)] = data
	m.length++
	m.bytes += int64(len(data))
	return nil
}

func (m *memory) grow() {
	ring := make([][]byte, min(max(2*len(m.ring), 64), m.maxEvents))
	n := copy(ring, m.ring[m.head:])
	copy(ring[n:], m.ring[:m.head])
	m.ring, m.head = ring, 0
}

// pop removes the oldest event. The caller holds mu.
func (m *memory) pop() []byte {
	data := m.ring[m.head]
	m.ring[m.head] = nil
	m.head = (m.head + 1) % len(m.ring)
	m.length--
	m.bytes -= int64(len(data))
	return data
}

func (m *memory) dropOldest() (events int, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.length == 0 {
		return 0, false
	}
	m.pop()
	return 1, true
}

func (m *memory) take(batch [][]byte, maxEvents, maxBytes int) ([][]byte, int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.length > 0 && len(batch) < maxEvents {
		next := int64(len(m.ring[m.head]))
		if len(batch) > 0 && m.sending+next > int64(maxBytes) {
			break
		}
		batch = append(batch, m.pop())
		m.sending += next
	}
	m.taken = len(batch)
	return batch, 0
}

func (m *memory) settle() {
	m.mu.Lock()
	m.taken, m.sending = 0, 0
	m.mu.Unlock()
}

func (m *memory) size() (waiting, taken, bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return int64(m.length), int64(m.taken), m.bytes
}

func (m *memory) close() error { return nil }

// files is a spool as a store.
type files struct{ *spool.Spool }

func (f files) room(bytes int) (ok, drop bool)      { return f.Room(bytes) }
func (f files) push(data []byte) *spool.Write       { return f.Push(data) }
func (f files) dropOldest() (events int, ok bool)   { return f.DropOldest() }
func (f files) settle()                             { f.Settle() }
func (f files) size() (waiting, taken, bytes int64) { return f.Size() }
func (f files) close() error                        { return f.Close() }

func (f files) take(batch [][]byte, maxEvents, maxBytes int) ([][]byte, int) {
	return f.Take(batch, maxEvents, maxBytes)
}
