package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

const (
	watchEvery = time.Second
	// pollEvery is how often a follower that is not ready looks whether it is.
	pollEvery = 20 * time.Millisecond
	// askEvery is the pause after a leader has not said what there is to catch up with.
	askEvery = 200 * time.Millisecond
)

// readiness tells waiters when the node is ready.
type readiness struct {
	mu    sync.Mutex
	ready bool
	ch    chan struct{} // closed while ready
}

func newReadiness() readiness { return readiness{ch: make(chan struct{})} }

func (r *readiness) set(ready bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ready == r.ready {
		return
	}
	if r.ready = ready; ready {
		close(r.ch)
	} else {
		r.ch = make(chan struct{})
	}
}

func (r *readiness) get() (bool, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ready, r.ch
}

// WaitReady returns when the node leads and has applied every entry of the log,
// or follows a leader and has applied what that leader had committed.
func (n *Node) WaitReady(ctx context.Context) error {
	if n.ctx.Err() != nil {
		return ErrClosed
	}
	_, ready := n.readiness.get()
	select {
	case <-ready:
		return nil
	case <-n.ctx.Done():
		return ErrClosed
	case <-ctx.Done():
		if err := n.Failed(); err != nil {
			return fmt.Errorf("wait for the node: %w", err)
		}
		return fmt.Errorf("wait for the node, which is %s: %w", n.raft.State(), ctx.Err())
	}
}

// IsReady tells whether WaitReady would return at once.
func (n *Node) IsReady() bool {
	ready, _ := n.readiness.get()
	return ready
}

// watch follows the lead and takes checkpoints when the log has grown. It also
// empties notify, on which the library blocks.
func (n *Node) watch() {
	defer n.wg.Done()
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	var checks sync.WaitGroup
	defer checks.Wait()
	leads, terms := false, make(chan error, maxInternal)
	target := target{told: make(chan *uint64, 1)}
	for {
		pollFollower := poll.C
		if ready, _ := n.readiness.get(); ready || leads {
			pollFollower = nil
			target.forget()
		}
		select {
		case leads = <-n.notify:
			n.readiness.set(false)
			if leads {
				n.enter(terms)
			}
		case err := <-terms:
			if err == nil && leads && len(n.notify) == 0 {
				n.readiness.set(true)
			}
		case <-pollFollower:
			if _, id := n.raft.LeaderWithID(); id != "" && n.caughtUp() && target.reached(n, &checks) {
				n.readiness.set(true)
				if n.cfg.Installer != nil && !n.takeover.running.Load() {
					n.cfg.Installer.Settled()
				}
			}
		case <-tick.C:
			n.watchFollower(leads)
			n.watchRefusals(leads)
			if n.needsCheckpoint() {
				checks.Add(1)
				go func() {
					defer checks.Done()
					if err := n.Checkpoint(n.ctx); err != nil && n.ctx.Err() == nil {
						n.log.Error("checkpoint failed; the log grows until one succeeds", "error", err)
					}
				}()
			}
		case <-n.ctx.Done():
			return
		}
	}
}

// enter begins a time of leading: an entry of the new term brings everything
// before it to the machine. Until then this node may know less than its predecessor.
func (n *Node) enter(terms chan<- error) {
	n.submit(func() raft.Future { return n.raft.Barrier(enqueueTimeout) }, func(err error) {
		select {
		case terms <- err:
		default: // so many changes are not worth an answer each
		}
	})
	self := raft.ServerID(n.cfg.ID)
	for _, s := range n.raft.GetConfiguration().Configuration().Servers {
		if s.ID == self && s.Address != n.addr {
			n.log.Info("the node's address for others has changed", "from", s.Address, "to", n.addr)
			n.submit(func() raft.Future { return n.raft.AddVoter(self, n.addr, 0, enqueueTimeout) }, func(err error) {
				if err != nil {
					n.log.Warn("could not store the node's new address", "error", err)
				}
			})
		}
	}
}

// submit asks for an entry of the node itself.
func (n *Node) submit(ask func() raft.Future, then func(error)) {
	if n.load.addInternal() {
		n.queue <- &pending{future: ask(), then: then}
	}
}

// target is what a follower has to have applied before it is ready: what the leader had committed
// when it was asked. The follower's own commit index does not tell, it grows with what arrives.
type target struct {
	index *uint64 // nil while it is not known
	asked bool
	told  chan *uint64 // has room for the one answer that may come; nil: there was none
}

// forget has the leader asked anew, once an answer that is on its way has come.
func (t *target) forget() {
	if t.index = nil; t.asked {
		select {
		case <-t.told:
			t.asked = false
		default:
		}
	}
}

// reached asks the leader if need be, in the background, and tells whether the node has what it said.
func (t *target) reached(n *Node, asking *sync.WaitGroup) bool {
	if n.peers == nil { // a transport without a port for calls: nobody can be asked
		return true
	}
	if t.asked {
		select {
		case t.index = <-t.told:
			t.asked = false
		default:
		}
	} else if t.index == nil {
		t.asked = true
		asking.Go(func() {
			ctx, cancel := context.WithTimeout(n.ctx, leaderCallTimeout)
			defer cancel()
			index, err := n.ReadIndex(ctx)
			if err != nil {
				n.log.Debug("the leader has not said what there is to catch up with", "error", err)
				select {
				case <-time.After(askEvery):
				case <-n.ctx.Done():
				}
				t.told <- nil
				return
			}
			t.told <- &index
		})
	}
	return t.index != nil && n.sm.applied.Load() >= *t.index
}

func (n *Node) caughtUp() bool {
	committed := n.raft.CommitIndex()
	return committed > 0 && n.raft.AppliedIndex() >= committed && n.feed.caughtUp(committed)
}

// watchFollower makes a follower that has lost its leader unready.
func (n *Node) watchFollower(leads bool) {
	if _, id := n.raft.LeaderWithID(); id == "" && !leads {
		n.readiness.set(false)
	}
}

// noteRefusal remembers since when proposals are refused because the lead is being handed over.
func (n *Node) noteRefusal(err error) {
	switch {
	case err == nil:
		n.refusedSince.Store(0)
	case errors.Is(err, raft.ErrLeadershipTransferInProgress):
		n.refusedSince.CompareAndSwap(0, time.Now().UnixNano())
	}
}

// refusalTimeouts is for how many election timeouts a leader may refuse proposals.
const refusalTimeouts = 3

// watchRefusals ends a leader that goes on refusing: the library can forget that handing the
// lead over has failed. It asks for an entry of its own, so that it is not a silence that it counts.
func (n *Node) watchRefusals(leads bool) {
	since := n.refusedSince.Load()
	switch {
	case since == 0:
	case !leads:
		n.refusedSince.Store(0)
	case time.Since(time.Unix(0, since)) > refusalTimeouts*n.cfg.ElectionTimeout:
		n.fail(fmt.Errorf("it leads and has refused every write since %s, as if it still handed the lead over; a start anew ends that", time.Unix(0, since).UTC().Format(time.RFC3339)))
	default:
		n.submit(func() raft.Future { return n.raft.Barrier(enqueueTimeout) }, func(error) {})
	}
}

func (n *Node) needsCheckpoint() bool {
	last, err := n.store.LastIndex()
	if err != nil || n.Failed() != nil || len(n.checkpoint) == 0 {
		return false
	}
	limit := n.cfg.CheckpointBytes
	if n.takeover.holds.Load() > 0 {
		limit *= heldLogs
	}
	return n.store.Bytes(n.snaps.latest.Load(), last) > limit
}

// Checkpoint makes everything that was applied durable in the machine and cuts
// the log behind it. One runs at a time; another call waits for it and then takes its own.
func (n *Node) Checkpoint(ctx context.Context) error {
	select {
	case <-n.checkpoint:
	case <-ctx.Done():
		return fmt.Errorf("checkpoint: %w", ctx.Err())
	}
	if err := n.Failed(); err != nil {
		n.checkpoint <- struct{}{}
		return err
	}
	n.sm.ctx.Store(&ctx)
	rc := n.raft.ReloadableConfig()
	rc.TrailingLogs = n.trailing()
	if err := n.raft.ReloadConfig(rc); err != nil {
		n.checkpoint <- struct{}{}
		return fmt.Errorf("checkpoint: %w", err)
	}
	done := make(chan error, 1)
	go func() {
		err := n.raft.Snapshot().Error()
		n.checkpoint <- struct{}{}
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) {
			return fmt.Errorf("checkpoint: %w", err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("checkpoint: %w", ctx.Err())
	}
}

// isMembersPending tells whether a checkpoint was refused because a change of the members is in the log
// and not applied yet. It passes by itself; the library has no value for it, only a text.
func isMembersPending(err error) bool {
	return err != nil && strings.Contains(err.Error(), "cannot take snapshot now")
}

// CutLog takes a checkpoint and removes from the disk all entries that came before the
// call, where Checkpoint leaves what shares a file with later ones: after it, what was deleted from
// the machine is not in the log of this node either. Other nodes have to be asked themselves. It
// writes a file of the log's, so it is not for every checkpoint. The cluster needs a leader.
func (n *Node) CutLog(ctx context.Context) error {
	if err := n.store.Roll(); err != nil {
		return fmt.Errorf("cut the log: %w", err)
	}
	if err := n.newEntry(ctx); err != nil { // in the new file: one has to stay
		return fmt.Errorf("cut the log: %w", err)
	}
	// The snapshot before the newest is of an earlier cut and holds indexes alone.
	return n.Checkpoint(ctx)
}

// trailing is how many entries are kept behind a checkpoint, so that a slower
// node finds them. Alone there is nobody who could need them; one stays, because
// the library expects an end of the log.
func (n *Node) trailing() uint64 {
	if len(n.raft.GetConfiguration().Configuration().Servers) <= 1 {
		return 1
	}
	return max(1, n.store.EntriesWithin(n.cfg.TrailingBytes))
}
