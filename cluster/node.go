// Package cluster takes an event from the server to every replica: Propose puts
// an entry into the Raft log, which is the only write-ahead log, and returns
// when a majority has synced it and this node's state machine has applied it. A
// single node is a group of one and goes the same way, without a network.
//
// The state machine is durable by itself, later and in larger pieces. Checkpoint
// waits for that and then cuts the log; at a start the machine is given the
// entries that it does not hold yet.
//
// The package wraps the Raft library with guards against what is known to go
// wrong in it. Its log is in cluster/logstore.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/google/uuid"
	"github.com/hashicorp/raft"

	"spoor/cluster/logstore"
	"spoor/cluster/peer"
)

// Node is one member of the cluster. Its methods are safe for concurrent use.
type Node struct {
	cfg   Config
	log   *slog.Logger
	store *logstore.Store
	feed  *feed
	snaps *snapshots
	sm    *machine
	raft  *raft.Raft
	addr  raft.ServerAddress // of this node, for the others
	peers *peer.Port         // nil where nobody can reach this node

	queue chan *pending // asked of the library and not answered, oldest first
	load  load

	takeover  takeover
	readiness readiness
	commands  atomic.Uint32 // newest version of entries that may be proposed
	fatal     atomic.Pointer[error]
	// refusedSince is when proposals began to be refused while the lead is handed over, in ns; 0: they are taken.
	refusedSince atomic.Int64
	checkpoint   chan struct{} // holds a token while none is taken
	notify       chan bool     // the library says here whether this node leads
	ctx          context.Context
	stop         context.CancelFunc
	wg           sync.WaitGroup // watch and what it starts
	answering    sync.WaitGroup // the goroutine that hands answers on
	closing      sync.Once
	closed       error
}

// Open starts a node. Entries that are in the log and not durable in the machine
// are applied in the background; WaitReady tells when they are.
func Open(cfg Config, sm StateMachine) (*Node, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, fmt.Errorf("open node: %w", err)
	}
	n := &Node{
		cfg: cfg, log: cfg.Logger,
		queue:      make(chan *pending, cfg.MaxInFlight+maxInternal),
		load:       newLoad(&cfg),
		readiness:  newReadiness(),
		checkpoint: make(chan struct{}, 1),
		notify:     make(chan bool, 16),
	}
	n.checkpoint <- struct{}{}
	n.AllowCommands(1)
	n.ctx, n.stop = context.WithCancel(context.Background())
	if err := n.open(sm); err != nil {
		n.stop()
		if n.peers != nil {
			_ = n.peers.Close()
		}
		if n.store != nil {
			_ = n.store.Close()
		}
		return nil, fmt.Errorf("open node %s: %w", cfg.ID, err)
	}
	n.answering.Add(1)
	go n.answer()
	n.wg.Add(1)
	go n.watch()
	return n, nil
}

func (n *Node) open(sm StateMachine) error {
	var err error
	n.store, err = logstore.Open(logstore.Options{
		FS: n.cfg.FS, Dir: filepath.Join(n.cfg.Dir, LogDir),
		Cluster: n.cfg.ClusterID, NewCluster: logstore.ClusterID(uuid.New()),
		SegmentBytes: n.cfg.SegmentBytes, StallLimit: n.cfg.StallLimit,
		OnFatal: n.fail, Logger: n.log,
	})
	if err != nil {
		return err
	}
	if n.snaps, err = openSnapshots(n.cfg.FS, filepath.Join(n.cfg.Dir, SnapshotsDir)); err != nil {
		return err
	}
	first, _ := n.store.FirstIndex()
	last, _ := n.store.LastIndex()
	if err := checkFit(n.snaps, first, last, sm.DurableIndex(), n.cfg.Dir); err != nil {
		return err
	}
	n.feed = newFeed(n.store, func() (index, term uint64) { return n.snaps.latest.Load(), n.snaps.term.Load() })
	n.sm = &machine{sm: sm, skip: sm.DurableIndex(), feed: n.feed, latest: &n.snaps.latest, fail: n.fail}
	n.sm.applied.Store(n.sm.skip) // a session that was served before the start is served after it
	n.snaps.accept = n.accept
	trans, err := n.newTransport()
	if err != nil {
		return err
	}
	if err := n.start(trans); err != nil {
		if t, ok := trans.(raft.WithClose); ok {
			_ = t.Close()
		}
		return err
	}
	return nil
}

// start runs the library.
func (n *Node) start(trans raft.Transport) error {
	rc := n.cfg.raftConfig(n.notify)
	self := raft.Server{ID: rc.LocalID, Address: trans.LocalAddr()}
	stable := votes{n.store.StableStore(), &n.feed.ghosts, trans.EncodePeer(self.ID, self.Address)}
	if n.cfg.Bootstrap {
		if err := n.bootstrap(stable, self); err != nil {
			return fmt.Errorf("make a cluster: %w", err)
		}
	}
	r, err := raft.NewRaft(rc, n.sm, n.feed, stable, n.snaps, trans)
	if err != nil {
		return err
	}
	n.raft, n.addr = r, self.Address
	n.takeover.open.Store(true)
	if n.peers != nil {
		n.serveOthers(n.peers)
	}
	committed := r.CommitIndex
	n.feed.committed.Store(&committed)
	if servers := r.GetConfiguration().Configuration().Servers; len(servers) == 1 {
		if servers[0].ID != self.ID {
			return errors.Join(fmt.Errorf("the data in %s is that of node %s alone; start it as that one", n.cfg.Dir, servers[0].ID), r.Shutdown().Error())
		}
		if last, durable := r.LastIndex(), n.sm.sm.DurableIndex(); durable > last {
			return errors.Join(fmt.Errorf("the store in %s holds what entry %d brought, the log ends with entry %d, and there is no other node to get the rest from; restore a backup", n.cfg.Dir, durable, last), r.Shutdown().Error())
		}
		n.electAlone()
	} else if len(servers) > 1 && n.peers == nil && n.cfg.Transport == nil {
		return errors.Join(fmt.Errorf("the data in %s is that of a node of a cluster of %d, so it needs an address for the others (spoor serve --raft HOST:PORT)", n.cfg.Dir, len(servers)), r.Shutdown().Error())
	}
	return nil
}

// bootstrap writes the first entry of a new cluster: this node is its only
// member. The library's own way is not taken up again after a crash in the middle of it.
func (n *Node) bootstrap(stable raft.StableStore, self raft.Server) error {
	if last, err := n.store.LastIndex(); err != nil || last > 0 || n.snaps.latest.Load() > 0 {
		return err
	}
	const firstTerm = 1
	term, err := stable.GetUint64([]byte(keyCurrentTerm))
	if err == nil && term > firstTerm {
		return fmt.Errorf("this node has taken part in another one; give it an empty directory in place of %s", n.cfg.Dir)
	}
	if err := stable.SetUint64([]byte(keyCurrentTerm), firstTerm); err != nil {
		return err
	}
	servers := raft.Configuration{Servers: []raft.Server{self}}
	return n.store.StoreLog(&raft.Log{Index: 1, Term: firstTerm, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(servers)})
}

// electAlone ends the wait for a leader that cannot exist. The library looks at
// its election timer anew when the timeout becomes shorter.
func (n *Node) electAlone() {
	rc := n.raft.ReloadableConfig()
	rc.HeartbeatTimeout--
	if err := n.raft.ReloadConfig(rc); err != nil {
		n.log.Warn("the first election takes its time", "error", err)
	}
}

// checkFit compares what the log, the newest snapshot and the machine say of each
// other, so that entries that are in none of them are noticed.
func checkFit(snaps *snapshots, first, last, durable uint64, dir string) error {
	meta, data, err := snaps.newest()
	if err != nil {
		return err
	}
	if first > meta.Index+1 {
		return fmt.Errorf("%w: it begins with entry %d, and the newest snapshot ends with entry %d; restore %s from a backup", logstore.ErrDamaged, first, meta.Index, dir)
	}
	installed, err := snaps.installed()
	if err != nil {
		return err
	}
	if durable > max(last, meta.Index, installed) {
		return fmt.Errorf("%w: it ends with entry %d, but the store holds what entry %d brought; the two are not of the same moment, restore them together", logstore.ErrDamaged, max(last, meta.Index), durable)
	}
	if meta.Index == 0 {
		return nil
	}
	m, err := readManifest(data)
	if err != nil {
		return err
	}
	if durable < m.MachineIndex {
		return fmt.Errorf("%w: it was cut when the store held everything up to entry %d, but the store holds it only up to %d; the two are not of the same moment, restore them together", logstore.ErrDamaged, m.MachineIndex, durable)
	}
	return nil
}

// fail is called when the log is at its end.
func (n *Node) fail(err error) {
	if n.fatal.CompareAndSwap(nil, &err) {
		n.log.Error("the node cannot go on", "error", err)
		n.cfg.OnFatal(err)
	}
}

// Failed returns the error that ended the node, nil while it works.
func (n *Node) Failed() error {
	if e := n.fatal.Load(); e != nil {
		return *e
	}
	return nil
}

// Close lets what is in flight finish, takes a checkpoint, so that the next start
// has nothing to apply, and stops the node. When ctx ends before, what is not
// done is left out; acknowledged entries are safe in any case.
func (n *Node) Close(ctx context.Context) error {
	n.closing.Do(func() { n.closed = n.close(ctx) })
	return n.closed
}

func (n *Node) close(ctx context.Context) error {
	drained := n.load.close()
	var errs []error
	select {
	case <-drained:
	case <-ctx.Done():
		errs = append(errs, fmt.Errorf("close node: proposals are still on their way: %w", ctx.Err()))
	}
	if n.Failed() == nil && len(errs) == 0 {
		if err := n.Checkpoint(ctx); isMembersPending(err) {
			n.log.Info("ended without a checkpoint, as a change of the members is under way; the next start reads the log", "error", err)
		} else if err != nil {
			errs = append(errs, fmt.Errorf("close node: %w", err))
		}
	}
	return errors.Join(append(errs, n.shutdown(ctx))...)
}

// shutdown stops everything that runs.
func (n *Node) shutdown(ctx context.Context) error {
	n.takeover.mu.Lock() // background begins nothing any more
	n.stop()
	n.takeover.mu.Unlock()
	n.feed.release()
	stopped := make(chan error, 1)
	go func() {
		n.wg.Wait()
		err := n.raft.Shutdown().Error()
		close(n.queue)
		n.answering.Wait()
		if n.peers != nil {
			err = errors.Join(err, n.peers.Close())
		}
		stopped <- errors.Join(err, n.store.Close())
	}()
	select {
	case err := <-stopped:
		return err
	case <-ctx.Done():
		return fmt.Errorf("stop node: %w", ctx.Err())
	}
}
