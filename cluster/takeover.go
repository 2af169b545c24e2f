package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"spoor/internal/vfs"
)

// A node that is so far behind that the log has been cut cannot be sent entries. The Raft library
// sends it a snapshot then, which here is a few bytes that name an index: the state itself is files
// of the machine, and the library must not wait for them. So the node refuses the snapshot as
// long as its machine does not hold what it stands for, takes over the state of the leader meanwhile,
// and accepts the snapshot when the library tries again, after a pause that grows to 10 s at most. The machine is
// then ahead of the log for a moment, of committed entries alone; installedName says so to a start in between.

// Installer takes over the state of other nodes for a machine.
type Installer interface {
	// Fetch makes the state of another node ready, which covers the log at least up to an
	// index. It may take long, and what it has got counts for a later call, also after a crash.
	Fetch(ctx context.Context, from Member, atLeast uint64) (Install, error)
	// Settled is called when the node has caught up: what an unfinished Fetch left behind may go.
	Settled()
}

// Install is a state that is ready.
type Install interface {
	// AppliedIndex is the log index that it includes.
	AppliedIndex() uint64
	// Swap makes it that of the machine, whole or not at all. Nothing is applied meanwhile.
	Swap() error
	// Discard lets it go; after Swap it does nothing to the machine.
	Discard()
}

var (
	errInstall    = errors.New("this node is so far behind that the log has been cut; it has to be set up anew from a backup of the leader's data directory")
	errInstalling = errors.New("the state is being fetched; the snapshot will be taken when it is there")
)

// takeover is what a node knows of the states that it takes over.
type takeover struct {
	open    atomic.Bool // the library runs: there is a leader to ask for
	running atomic.Bool
	mu      sync.Mutex
	from    string // node whose state is fetched, or was
	failed  error  // of the last one
	done    int    // how often it came to an end
	holds   atomic.Int32
}

// accept decides about a snapshot that the leader sends.
func (n *Node) accept(m manifest) error {
	if n.cfg.Installer == nil {
		return errInstall
	}
	if n.sm.sm.DurableIndex() >= m.MachineIndex {
		return nil
	}
	if !n.takeover.open.Load() {
		return errInstalling
	}
	id, address := n.Leader()
	if id == "" || !n.takeover.running.CompareAndSwap(false, true) {
		return errInstalling
	}
	n.background(func() {
		defer n.takeover.running.Store(false)
		_ = n.take(n.ctx, Member{ID: id, Address: address}, m.MachineIndex)
	})
	return errInstalling
}

// background runs something that Close waits for.
func (n *Node) background(f func()) {
	n.takeover.mu.Lock()
	defer n.takeover.mu.Unlock()
	if n.ctx.Err() == nil { // else nobody waits any more
		n.wg.Go(f)
	}
}

// Reinstall takes over the state of another node, which is sound where this one's is not. What the log
// has behind it is applied again. The machine answers what it had until then.
func (n *Node) Reinstall(ctx context.Context, from Member) error {
	if n.cfg.Installer == nil {
		return errInstall
	}
	if !n.takeover.running.CompareAndSwap(false, true) {
		return errInstalling
	}
	defer n.takeover.running.Store(false)
	defer n.HoldLog()() // what comes behind the other's state is applied from it
	return n.take(ctx, from, 0)
}

// take fetches a state and swaps it in.
func (n *Node) take(ctx context.Context, from Member, atLeast uint64) (err error) {
	n.log.Info("taking over the state of another node", "from", from.ID, "at_least", atLeast)
	defer func() {
		n.takeover.mu.Lock()
		n.takeover.from, n.takeover.failed = from.ID, err
		if err == nil {
			n.takeover.done++
		}
		n.takeover.mu.Unlock()
		if err != nil && n.ctx.Err() == nil {
			n.log.Warn("the state of another node could not be taken over; it is tried again", "from", from.ID, "error", err)
		}
	}()
	atLeast = max(atLeast, n.snaps.machine.Load())
	got, err := n.cfg.Installer.Fetch(ctx, from, atLeast)
	if err != nil {
		return fmt.Errorf("take over the state of node %s: %w", from.ID, err)
	}
	defer got.Discard()
	if err := n.swap(ctx, got); err != nil {
		return fmt.Errorf("take over the state of node %s: %w", from.ID, err)
	}
	n.log.Info("took over the state of another node", "from", from.ID, "applied", got.AppliedIndex())
	return nil
}

// swap exchanges the machine's state between two entries. No checkpoint runs meanwhile: it would
// remember what the old state had.
func (n *Node) swap(ctx context.Context, got Install) error {
	select {
	case <-n.checkpoint:
		defer func() { n.checkpoint <- struct{}{} }()
	case <-ctx.Done():
		return ctx.Err()
	}
	index := got.AppliedIndex()
	if least := n.snaps.machine.Load(); index < least {
		return fmt.Errorf("it covers the log up to %d, and this log was cut behind %d", index, least)
	}
	m := n.sm
	m.mu.Lock()
	defer m.mu.Unlock()
	applied := m.applied.Load()
	if first, _ := n.store.FirstIndex(); index < applied && first > index+1 {
		return fmt.Errorf("it covers the log up to %d, and this log begins with entry %d", index, first)
	}
	if index > applied {
		if err := n.snaps.writeInstalled(index); err != nil {
			return err
		}
	}
	if err := got.Swap(); err != nil {
		return err
	}
	for i := index + 1; i <= applied; i++ {
		var l raft.Log
		if err := n.store.GetLog(i, &l); err != nil {
			err = fmt.Errorf("apply entry %d again: %w", i, err)
			n.fail(err) // a start anew reads them
			return err
		}
		if l.Type == raft.LogCommand {
			m.sm.Apply(l.Index, l.Data)
		}
	}
	m.skip = max(m.skip, index)
	m.applied.Store(max(applied, index))
	if index < applied {
		// The next start must not find a machine that is behind what the newest snapshot says of it.
		if _, err := m.sm.Checkpoint(ctx); err != nil {
			return err
		}
	}
	return nil
}

// HoldLog keeps the log as long as it is until release is called: another node fetches what it
// follows on. Only a checkpoint that somebody asks for cuts it, and one for which the log has grown too long.
func (n *Node) HoldLog() (release func()) {
	n.takeover.holds.Add(1)
	return sync.OnceFunc(func() { n.takeover.holds.Add(-1) })
}

// heldLogs is how much longer than CheckpointBytes the log may become while it is held.
const heldLogs = 8

// installedName is the file that says up to which index the machine was ahead of its log when it
// took over the state of another node.
const installedName = "installed"

func (s *snapshots) writeInstalled(index uint64) error {
	b, err := encodeManifest(index)
	if err != nil {
		return err
	}
	b = append(fmt.Appendf(nil, "%08x ", crc32.Checksum(b, castagnoli)), b...)
	return vfs.WriteFileAtomic(s.fs, filepath.Join(s.dir, installedName), b)
}

// installed is the index in that file, 0 if there is none.
func (s *snapshots) installed() (uint64, error) {
	name := filepath.Join(s.dir, installedName)
	b, err := vfs.ReadFile(s.fs, name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	body, err := checked(b)
	var m manifest
	if err == nil {
		err = json.Unmarshal(body, &m)
	}
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", name, err)
	}
	return m.MachineIndex, nil
}

// InstallStatus is what a node tells of the state that it takes over.
type InstallStatus struct {
	Running bool
	From    string // node whose state it is, "" if there never was one
	Done    int    // how often one was taken over since the start
	Failed  string // why the last one was not, "" if it was
}

func (n *Node) installStatus() InstallStatus {
	n.takeover.mu.Lock()
	defer n.takeover.mu.Unlock()
	s := InstallStatus{Running: n.takeover.running.Load(), From: n.takeover.from, Done: n.takeover.done}
	if n.takeover.failed != nil {
		s.Failed = n.takeover.failed.Error()
	}
	return s
}
