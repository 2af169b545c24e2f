package cluster

import (
	"bytes"
	"errors"
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
	newest    func() (index, term uint64)   // of the newest snapshot
	ghosts    ghosts

	applied atomic.Uint64
	waiting atomic.Int32
	mu      sync.Mutex
	cond    *sync.Cond
	closed  bool
}

func newFeed(s *logstore.Store, newest func() (index, term uint64)) *feed {
	f := &feed{Store: s, newest: newest}
	applied, _ := newest()
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
	err := f.Store.GetLog(index, l)
	if errors.Is(err, raft.ErrLogNotFound) && f.ghosts.get(index, l) {
		return nil
	}
	return err
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

// When a node accepts a snapshot whose index lies below the end of its log, what is behind that index
// conflicts with the leader's log, for otherwise entries would have been sent. The Raft library removes the whole
// log then, and goes on taking it for as long as it was: it finds neither the entry before what the leader sends
// nor those that it believes to have, refuses, is sent the same snapshot, and so on without a pause and without
// an end (MonotonicLogStore in 1.8.0; found by the tests of partitions).
//
// ghosts are these entries, from the end of the log's removal to the next entry that is stored. The
// entry of the snapshot has its term, the others have none, so that they conflict with whatever comes and are "removed"
// once more, which sets the library right. A node with ghosts does not stand for election: it would lead with a
// log that has a hole.
type ghosts struct {
	mu       sync.Mutex
	snapshot uint64 // index of the entry that the snapshot ends with; 0: there are no ghosts
	term     uint64 // of that entry
	last     uint64 // index of the last one that the library believes in
}

// ghostData is what a ghost brings to the machine, which nobody can propose. The library may take a ghost for
// committed when it hears of a commit and of no entry at that very moment; then the process ends, and
// the next start knows the log as it is.
var ghostData = []byte{0}

// errGhosts is answered when a node with ghosts would vote for itself.
var errGhosts = errors.New("the end of the log was removed and is not known anew yet; this node does not stand for election")

// appear remembers the entries behind a snapshot that are gone.
func (g *ghosts) appear(snapshot, term, last uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.snapshot, g.term, g.last = snapshot, term, last
}

// vanish is called when an entry is stored.
func (g *ghosts) vanish() { g.appear(0, 0, 0) }

func (g *ghosts) present() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.snapshot > 0
}

// get answers for an entry that is not in the log.
func (g *ghosts) get(index uint64, l *raft.Log) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.snapshot == 0 || index < g.snapshot || index > g.last:
		return false
	case index == g.snapshot:
		*l = raft.Log{Index: index, Term: g.term, Type: raft.LogNoop}
	default:
		*l = raft.Log{Index: index, Type: raft.LogCommand, Data: ghostData}
	}
	return true
}

// DeleteRange removes entries. When that empties the log and leaves a newer end in the library's
// mind than the newest snapshot has, ghosts appear.
func (f *feed) DeleteRange(lowest, highest uint64) error {
	last, err := f.LastIndex()
	if err == nil {
		err = f.Store.DeleteRange(lowest, highest)
	}
	if err != nil {
		return err
	}
	if now, err := f.LastIndex(); err != nil || now > 0 {
		return err
	}
	if index, term := f.newest(); index > 0 && last > index {
		f.ghosts.appear(index, term, last)
	}
	return nil
}

// StoreLogs stores entries.
func (f *feed) StoreLogs(logs []*raft.Log) error {
	err := f.Store.StoreLogs(logs)
	if err == nil && len(logs) > 0 {
		f.ghosts.vanish()
	}
	return err
}

// StoreLog stores an entry.
func (f *feed) StoreLog(l *raft.Log) error { return f.StoreLogs([]*raft.Log{l}) }

// votes is the stable store as the Raft library sees it. The library panics when
// it cannot store its term. After the store has failed the process is about to
// end, so a term that is not stored is let pass: the node can neither vote nor
// append any more, and a term alone binds nobody.
type votes struct {
	*logstore.Stable
	ghosts *ghosts
	self   []byte // this node as a candidate
}

const (
	keyCurrentTerm   = "CurrentTerm"
	keyVoteCandidate = "LastVoteCand"
)

// Set stores a value.
func (v votes) Set(key, val []byte) error {
	if string(key) == keyVoteCandidate && v.ghosts.present() && bytes.Equal(val, v.self) {
		return errGhosts
	}
	return v.Stable.Set(key, val)
}

// SetUint64 stores a number.
func (v votes) SetUint64(key []byte, val uint64) error {
	err := v.Stable.SetUint64(key, val)
	if err != nil && string(key) == keyCurrentTerm && v.Failed() {
		return nil
	}
	return err
}
