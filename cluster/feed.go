package cluster

import (
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"spoor/cluster/logstore"
)

// feed is the log store as the Raft library sees it. When a node starts or
// catches up, the library reads committed entries far ahead of the machine: it
// queues up to 8192 of them, whatever their size. feed lets it wait instead when
// more than a bound of bytes is on the way.
//
// It only holds back entries that are known to be committed. Those are on their
// way to the machine or about to be, so the machine always has something to
// apply and the wait ends; an entry above the commit index is read at once, for
// the commit index may depend on it.
type feed struct {
	*logstore.Store
	committed atomic.Pointer[func() uint64] // nil until the library runs

	applied atomic.Uint64
	waiting atomic.Int32
	mu      sync.Mutex
	cond    *sync.Cond
	closed  bool
}

func newFeed(s *logstore.Store, applied uint64) *feed {
	f := &feed{Store: s}
	f.cond = sync.NewCond(&f.mu)
	f.applied.Store(applied)
	return f
}

// GetLog reads an entry when there is room for it.
func (f *feed) GetLog(index uint64, l *raft.Log) error {
	if f.tooFarAhead(index) {
		f.waiting.Add(1)
		f.mu.Lock()
		for !f.closed && f.tooFarAhead(index) {
			f.cond.Wait()
		}
		f.mu.Unlock()
		f.waiting.Add(-1)
	}
	return f.Store.GetLog(index, l)
}

func (f *feed) tooFarAhead(index uint64) bool {
	applied, committed := f.applied.Load(), f.committed.Load()
	return index > applied && committed != nil && index <= (*committed)() && f.Bytes(applied, index) > maxUnappliedBytes
}

// advance tells that the machine has applied an entry.
func (f *feed) advance(index uint64) {
	f.applied.Store(index)
	if f.waiting.Load() > 0 {
		f.mu.Lock()
		f.cond.Broadcast()
		f.mu.Unlock()
	}
}

// caughtUp tells whether the machine has applied everything up to a committed
// index. What the library writes for itself never reaches the machine.
func (f *feed) caughtUp(committed uint64) bool {
	for index := f.applied.Load() + 1; index <= committed; index++ {
		var l raft.Log
		if err := f.Store.GetLog(index, &l); err != nil || l.Type == raft.LogCommand || l.Type == raft.LogConfiguration {
			return false
		}
	}
	return true
}

// release lets all readers go on, for the node ends.
func (f *feed) release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	f.cond.Broadcast()
}

// votes is the stable store as the Raft library sees it. The library panics when
// it cannot store its term. After the store has failed the process is about to
// end, so a term that is not stored is let pass: the node can neither vote nor
// append any more, and a term alone binds nobody.
type votes struct{ *logstore.Stable }

const keyCurrentTerm = "CurrentTerm"

// SetUint64 stores a number.
func (v votes) SetUint64(key []byte, val uint64) error {
	err := v.Stable.SetUint64(key, val)
	if err != nil && string(key) == keyCurrentTerm && v.Failed() {
		return nil
	}
	return err
}
