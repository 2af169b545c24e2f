package cluster

import (
	"context"
	"fmt"
	"sync"

	"github.com/hashicorp/raft"
)

// maxInternal bounds the entries of the node itself that wait at once.
const maxInternal = 64

// pending is an entry that the library was asked for.
type pending struct {
	future raft.Future
	bytes  int64 // counted in load
	done   chan struct{}
	err    error
	// then is called with the answer instead of closing done, if set.
	then func(error)
}

// load counts what is in flight.
type load struct {
	maxCount int
	maxBytes int64

	mu     sync.Mutex
	count  int
	bytes  int64
	closed bool
	empty  chan struct{} // closed when closed and count is 0
}

func newLoad(c *Config) load {
	return load{maxCount: c.MaxInFlight, maxBytes: c.MaxInFlightBytes, empty: make(chan struct{})}
}

// addInternal counts an entry of the node itself, for which there is always room.
func (l *load) addInternal() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.count >= l.maxCount+maxInternal {
		return false
	}
	l.count++
	return true
}

// add counts an entry and returns the bytes in flight with it.
func (l *load) add(bytes int64) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return 0, ErrClosed
	}
	if l.count >= l.maxCount || l.bytes+bytes > l.maxBytes {
		return 0, fmt.Errorf("%w: %d entries of %d bytes", ErrOverloaded, l.count, l.bytes)
	}
	l.count++
	l.bytes += bytes
	return l.bytes, nil
}

func (l *load) remove(bytes int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count--
	l.bytes -= bytes
	if l.closed && l.count == 0 {
		close(l.empty)
	}
}

// close refuses what comes and returns a channel that is closed when nothing is left.
func (l *load) close() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.closed = true
		if l.count == 0 {
			close(l.empty)
		}
	}
	return l.empty
}

func (l *load) get() (count int, bytes int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count, l.bytes
}

// Propose stores an entry. It returns when a majority of the voters has synced
// the entry and this node's machine has applied it, with what the machine
// answered and the entry's index. Many calls at once share an fsync.
//
// The node keeps data for as long as it needs: after nil the caller may use the
// bytes again, after an error it must leave them alone. ErrNotLeader,
// ErrOverloaded, ErrTooLarge, ErrDiskFull and ErrClosed mean that the entry
// surely is not stored, unless ErrUnknown is among what is wrapped.
func (n *Node) Propose(ctx context.Context, data []byte) (result any, index uint64, err error) {
	if len(data) > MaxEntryBytes {
		return nil, 0, fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, len(data), MaxEntryBytes)
	}
	if err := ctx.Err(); err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrOverloaded, err)
	}
	if f := n.cfg.EntryVersion; f != nil {
		if v, most := f(data), n.commands.Load(); v > most {
			return nil, 0, fmt.Errorf("%w: the entry is of version %d, and a member understands no more than %d", ErrTooNew, v, most)
		}
	}
	bytes := int64(len(data))
	inFlight, err := n.load.add(bytes)
	if err != nil {
		return nil, 0, err
	}
	if !n.store.HasRoom(inFlight) {
		n.load.remove(bytes)
		return nil, 0, fmt.Errorf("%w: there is no space for the log in %s", ErrDiskFull, n.cfg.Dir)
	}
	future := n.raft.Apply(data, enqueueTimeout)
	p := &pending{future: future, bytes: bytes, done: make(chan struct{})}
	n.queue <- p // has room for all that load lets pass
	select {
	case <-p.done:
	case <-ctx.Done():
		return nil, 0, fmt.Errorf("%w: %w", ErrUnknown, ctx.Err())
	}
	if p.err != nil {
		return nil, 0, proposeError(p.err)
	}
	return future.Response(), future.Index(), nil
}

// answer hands the library's answers on. It waits for them in the order of the
// questions, which is nearly that of the log; a waiter of its own for each
// proposal would cost a goroutine.
func (n *Node) answer() {
	defer n.answering.Done()
	for p := range n.queue {
		p.err = p.future.Error()
		n.noteRefusal(p.err)
		n.load.remove(p.bytes)
		if p.then != nil {
			p.then(p.err)
			continue
		}
		close(p.done)
	}
}

// AllowCommands says up to which version every member understands entries: newer ones are
// refused. A node begins with version 1.
func (n *Node) AllowCommands(version uint32) { n.commands.Store(version) }

// Barrier returns when everything that was proposed before it, on any node, is
// applied on this one, which has to lead: what is read then is no older than the call.
func (n *Node) Barrier(ctx context.Context) error {
	return n.do(ctx, "barrier", func() raft.Future { return n.raft.Barrier(enqueueTimeout) })
}
