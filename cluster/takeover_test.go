package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spoor/cluster/logstore"
	"spoor/internal/vfs"
)

// listInstaller takes over the entries of other lists.
type listInstaller struct {
	own   *list
	other func(id string) *list
	// before is called with the number of each Fetch, from 1 on, which fails with its error.
	before func(n int) error
	// after is the same, when the entries have been copied.
	after  func(n int) error
	calls  int
	took   chan uint64 // is told of each Swap
	inside func()      // is called at each, while nothing is applied
}

type listInstall struct {
	i       *listInstaller
	entries []listEntry
}

func (i *listInstaller) Fetch(_ context.Context, from Member, atLeast uint64) (Install, error) {
	i.calls++
	if i.before != nil {
		if err := i.before(i.calls); err != nil {
			return nil, err
		}
	}
	o := i.other(from.ID)
	o.mu.Lock()
	got := &listInstall{i, slices.Clone(o.entries)}
	o.mu.Unlock()
	if i.after != nil {
		if err := i.after(i.calls); err != nil {
			return nil, err
		}
	}
	if got.AppliedIndex() < atLeast {
		return nil, fmt.Errorf("node %s is at %d, %d is wanted", from.ID, got.AppliedIndex(), atLeast)
	}
	return got, nil
}

func (i *listInstaller) Settled() {}

func (g *listInstall) AppliedIndex() uint64 { return g.entries[len(g.entries)-1].Index }
func (g *listInstall) Discard()             {}

func (g *listInstall) Swap() error {
	l := g.i.own
	l.mu.Lock()
	l.entries = g.entries
	l.mu.Unlock()
	_, err := l.Checkpoint(context.Background())
	if g.i.inside != nil {
		g.i.inside()
	}
	g.i.took <- g.AppliedIndex()
	return err
}

// installers gives every node of a group an installer and a log that is cut short.
func (g *group) installers(c *Config, l *list) {
	c.TrailingBytes, c.SegmentBytes = 1, logstore.MinSegmentBytes
	c.Installer = &listInstaller{own: l, took: make(chan uint64, 16), other: func(id string) *list {
		for i := range g.lists {
			if id == fmt.Sprintf("n%d", i) {
				return g.lists[i]
			}
		}
		return nil
	}}
}

func (g *group) installer(i int) *listInstaller { return g.nodes[i].cfg.Installer.(*listInstaller) }

// leave takes a follower off the network and writes so that the others cut their logs behind it.
func (g *group) leave(t *testing.T, i, entries int) {
	t.Helper()
	g.cut(i)
	for k := range entries {
		_, err := g.propose(within(t), fmt.Sprintf("without %d: %d", i, k), i)
		require.NoError(t, err)
	}
	for j, n := range g.nodes {
		if j != i {
			require.Eventually(t, func() bool { return len(g.lists[j].all()) == len(g.lists[0].all()) }, 20*time.Second, time.Millisecond)
			require.NoError(t, n.Checkpoint(within(t)))
			require.Greater(t, n.Status().FirstIndex, g.nodes[i].Status().LastIndex+1)
		}
	}
}

func (g *group) join(i int) {
	for j := range g.wires {
		if j != i {
			g.wires[i].Connect(g.wires[j].LocalAddr(), g.wires[j])
			g.wires[j].Connect(g.wires[i].LocalAddr(), g.wires[i])
		}
	}
}

// requireEqual waits until all nodes have the entries of the one that leads.
func (g *group) requireEqual(t *testing.T) {
	t.Helper()
	leader, err := g.propose(within(t), "the last one", -1)
	require.NoError(t, err)
	want := g.lists[leader].all()
	for i := range g.lists {
		if !assert.Eventually(t, func() bool { return slices.Equal(g.lists[i].all(), want) }, 25*time.Second, 2*time.Millisecond, "node %d", i) {
			for j, n := range g.nodes {
				t.Logf("node %d, %d entries: %+v", j, len(g.lists[j].all()), n.Status())
			}
			t.FailNow()
		}
	}
	require.Empty(t, g.failed)
}

func TestAFollowerThatTheLogNoLongerReachesTakesTheStateOver(t *testing.T) {
	g := startGroup(t, (*group).installers)
	g.leave(t, 2, 300)
	g.join(2)
	g.requireEqual(t)
	require.NotEmpty(t, g.installer(2).took)
	require.Empty(t, g.installer(1).took, "nobody else took anything")
	s := g.nodes[2].Status()
	require.Equal(t, 1, s.Install.Done)
	require.Equal(t, "n0", s.Install.From)
	require.Eventually(t, func() bool {
		first := g.nodes[2].Status().FirstIndex
		return first == 0 || first > 300
	}, 20*time.Second, time.Millisecond, "the old log is gone")
	require.NoError(t, g.nodes[2].Checkpoint(within(t)))
}

func TestAnInstallThatFailsIsTriedAgain(t *testing.T) {
	g := startGroup(t, (*group).installers)
	g.leave(t, 2, 100)
	g.installer(2).before = func(n int) error {
		if n < 4 {
			return errors.New("the connection was cut")
		}
		return nil
	}
	g.join(2)
	g.requireEqual(t)
	require.Equal(t, 4, g.installer(2).calls)
}

func TestTheLeaderGoesOnWritingAndCuttingItsLogDuringAnInstall(t *testing.T) {
	g := startGroup(t, (*group).installers)
	g.leave(t, 2, 100)
	written := make(chan struct{})
	g.installer(2).after = func(n int) error {
		if n == 1 { // after the leader has said how far its snapshot reaches
			defer close(written)
			for k := range 100 {
				if _, err := g.propose(within(t), fmt.Sprintf("meanwhile %d", k), 2); err != nil {
					return err
				}
			}
			return g.nodes[0].Checkpoint(within(t))
		}
		return nil
	}
	g.join(2)
	select {
	case <-written:
	case <-within(t).Done():
		t.Fatal("nothing was fetched")
	}
	g.requireEqual(t)
	require.Eventually(t, func() bool { return g.nodes[2].Status().Install.Done == 2 }, 10*time.Second, time.Millisecond, "the second one brings what came meanwhile")
}

func TestACrashBetweenTheStateAndTheSnapshotOfTheLogIsNoDamage(t *testing.T) {
	g := startGroup(t, (*group).installers)
	g.leave(t, 2, 100)
	mem := g.nodes[2].cfg.FS.(*vfs.Mem)
	crashed := make(chan *vfs.Mem, 1)
	g.installer(2).inside = sync.OnceFunc(func() { crashed <- mem.CrashClone(rand.New(rand.NewPCG(1, 2))) })
	g.join(2)
	var left *vfs.Mem
	select {
	case left = <-crashed:
	case <-within(t).Done():
		t.Fatal("nothing was taken over")
	}
	g.cut(2)
	old := g.nodes[2]
	require.NoError(t, old.Close(within(t)))

	_, wire := raft.NewInmemTransport(g.wires[2].LocalAddr())
	g.wires[2] = wire
	cfg := old.cfg
	cfg.FS, cfg.Transport = left, wire
	l := openList(t, left, "/data-n2")
	require.Greater(t, l.durable, uint64(100))
	cfg.Installer = &listInstaller{own: l, other: g.installer(2).other, took: make(chan uint64, 4)}
	g.lists[2] = l
	n, err := Open(cfg, l)
	require.NoError(t, err, "a machine that is ahead of its log because it took over a state")
	g.nodes[2] = n
	defer func() { require.NoError(t, n.Close(within(t))) }()
	g.join(2)
	g.requireEqual(t)
	require.Empty(t, cfg.Installer.(*listInstaller).took, "once is enough")
}

func TestANodeWhoseStateWentWrongTakesAnothersAndAppliesTheRestAgain(t *testing.T) {
	g := startGroup(t, (*group).installers)
	for k := range 100 {
		_, err := g.propose(within(t), fmt.Sprint(k), -1)
		require.NoError(t, err)
	}
	g.requireEqual(t)
	l := g.lists[1]
	l.mu.Lock()
	l.entries[40].Data = "wrong"
	l.mu.Unlock()
	// The other node is a few entries behind when it is asked.
	stale := g.lists[2].entries[:80:80]
	g.installer(1).other = func(string) *list { return &list{entries: stale} }
	require.NoError(t, g.nodes[1].Reinstall(within(t), Member{ID: "n2"}))
	require.Equal(t, g.lists[0].all(), l.all())
	g.requireEqual(t)
	require.NoError(t, g.nodes[1].Checkpoint(within(t)))

	// What is behind its own cut cannot be applied again: such a state is refused.
	_, err := g.nodes[1].snaps.installed()
	require.NoError(t, err)
	require.ErrorContains(t, g.nodes[1].Reinstall(within(t), Member{ID: "n2"}), "is wanted")
	g.requireEqual(t)
}

func TestAMachineAheadOfItsLogWithoutAnInstallIsRefused(t *testing.T) {
	mem := vfs.NewMem()
	n, _ := start(t, testConfig(mem))
	_, _, err := n.Propose(within(t), []byte("x"))
	require.NoError(t, err)
	require.NoError(t, n.snaps.writeInstalled(500))
	stop(t, n)
	l := openList(t, mem, "/data-n1")
	l.durable = 500
	_, err = Open(testConfig(mem), l)
	require.ErrorContains(t, err, "no other node to get the rest from")
	l.durable = 501
	_, err = Open(testConfig(mem), l)
	require.ErrorIs(t, err, logstore.ErrDamaged)
}

func TestALeaderThatComesBackWithMoreThanTheSnapshotCoversGoesOnFromTheSnapshot(t *testing.T) {
	g := startGroup(t, (*group).installers)
	_, err := g.propose(within(t), "before", -1)
	require.NoError(t, err)
	g.cut(0)
	answers := make(chan error, 50)
	for i := range cap(answers) { // it cannot commit them
		go func() {
			_, _, err := g.nodes[0].Propose(within(t), []byte(fmt.Sprintf("lost %d", i)))
			answers <- err
		}()
	}
	for range cap(answers) {
		require.Error(t, <-answers)
	}
	tail := g.nodes[0].Status().LastIndex
	leader, err := g.propose(within(t), "after", 0)
	require.NoError(t, err)
	require.NoError(t, g.nodes[leader].Checkpoint(within(t)))
	s := g.nodes[leader].Status()
	require.Greater(t, tail, s.CheckpointIndex)
	require.Greater(t, s.FirstIndex, uint64(3), "the log is cut")
	g.join(0)
	g.requireEqual(t) // by the state that it takes over
	g.requireEqual(t) // and by the log behind it
	require.False(t, g.nodes[0].feed.ghosts.present())
}

func TestANodeThatDoesNotKnowTheEndOfItsLogDoesNotStandForElection(t *testing.T) {
	n, _ := start(t, testConfig(vfs.NewMem()))
	defer stop(t, n)
	v := votes{n.store.StableStore(), &n.feed.ghosts, []byte("me")}
	n.feed.ghosts.appear(5, 2, 9)
	require.ErrorIs(t, v.Set([]byte(keyVoteCandidate), []byte("me")), errGhosts)
	require.NoError(t, v.Set([]byte(keyVoteCandidate), []byte("another")))
	for index, term := range map[uint64]uint64{5: 2, 6: 0, 9: 0} {
		var l raft.Log
		require.True(t, n.feed.ghosts.get(index, &l))
		require.Equal(t, term, l.Term)
	}
	require.False(t, n.feed.ghosts.get(4, &raft.Log{}))
	require.False(t, n.feed.ghosts.get(10, &raft.Log{}))
	_, _, err := n.Propose(within(t), []byte("x"))
	require.NoError(t, err)
	require.NoError(t, v.Set([]byte(keyVoteCandidate), []byte("me")), "an entry was stored")

	failed := make(chan error, 1)
	m := &machine{sm: &list{}, feed: n.feed, fail: func(err error) { failed <- err }}
	require.Nil(t, m.Apply(&raft.Log{Index: 7, Type: raft.LogCommand, Data: ghostData}))
	require.ErrorContains(t, <-failed, "before it was there")
}
