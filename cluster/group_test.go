package cluster

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"spoor/cluster/peer"
	"spoor/internal/vfs"
)

// group is three nodes in one process.
type group struct {
	nodes  []*Node
	lists  []*list
	wires  []*raft.InmemTransport
	failed chan error
}

// startGroup starts them; change sets up each one before.
func startGroup(t *testing.T, change ...func(g *group, c *Config, l *list)) *group {
	t.Helper()
	g := &group{failed: make(chan error, 3)}
	for i := range 3 {
		_, wire := raft.NewInmemTransport(raft.ServerAddress(fmt.Sprintf("addr%d", i)))
		g.wires = append(g.wires, wire)
	}
	for i, a := range g.wires {
		for j, b := range g.wires {
			if i != j {
				a.Connect(b.LocalAddr(), b)
			}
		}
	}
	for i := range 3 {
		cfg := testConfig(vfs.NewMem())
		cfg.ID, cfg.Bootstrap, cfg.Transport = fmt.Sprintf("n%d", i), i == 0, g.wires[i]
		cfg.ElectionTimeout = 400 * time.Millisecond
		cfg.ClusterID = [16]byte{1}
		cfg.OnFatal = func(err error) { g.failed <- err }
		l := openList(t, cfg.FS, "/data-"+cfg.ID)
		for _, f := range change {
			f(g, &cfg, l)
		}
		n, err := Open(cfg, l)
		require.NoError(t, err)
		t.Cleanup(func() { _ = n.Close(within(t)) })
		g.nodes, g.lists = append(g.nodes, n), append(g.lists, l)
	}
	require.NoError(t, g.nodes[0].WaitReady(within(t)))
	for i := 1; i < 3; i++ {
		f := g.nodes[0].raft.AddVoter(raft.ServerID(fmt.Sprintf("n%d", i)), g.wires[i].LocalAddr(), 0, 0)
		require.NoError(t, f.Error())
	}
	for _, n := range g.nodes {
		require.NoError(t, n.WaitReady(within(t)))
	}
	return g
}

// cut takes a node off the network.
func (g *group) cut(i int) {
	g.wires[i].DisconnectAll()
	for j, w := range g.wires {
		if j != i {
			w.Disconnect(g.wires[i].LocalAddr())
		}
	}
}

// propose stores an entry on whichever node leads and tells which.
func (g *group) propose(ctx context.Context, data string, not int) (int, error) {
	for {
		for i, n := range g.nodes {
			if i == not {
				continue
			}
			_, _, err := n.Propose(ctx, []byte(data))
			if err == nil || !errors.Is(err, ErrNotLeader) {
				return i, err
			}
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func TestWritesGoOnWhenTheLeaderIsGone(t *testing.T) {
	g := startGroup(t)
	var want []string
	for i := range 20 {
		want = append(want, fmt.Sprint(i))
		_, err := g.propose(within(t), fmt.Sprint(i), -1)
		require.NoError(t, err)
	}
	_, _, err := g.nodes[1].Propose(within(t), []byte("refused"))
	require.ErrorIs(t, err, ErrNotLeader)

	g.cut(0)
	began := time.Now()
	leader, err := g.propose(within(t), "after", 0)
	require.NoError(t, err)
	want = append(want, "after")
	t.Logf("writes again after %s", time.Since(began))
	require.NotZero(t, leader)

	// What the old leader takes now it cannot commit: it may not say that it did.
	_, _, err = g.nodes[0].Propose(within(t), []byte("lost"))
	require.Error(t, err)

	require.NoError(t, g.nodes[leader].Barrier(within(t)))
	require.Equal(t, want, g.lists[leader].all())

	// Back in the group, the old leader drops what it could not commit and gets what it missed.
	g.join(0)
	for i := range g.lists {
		require.Eventually(t, func() bool { return len(g.lists[i].all()) == len(want) }, 20*time.Second, 5*time.Millisecond)
		require.Equal(t, want, g.lists[i].all())
	}
	require.Empty(t, g.failed)
}

func TestAFollowerTakesItsOwnCheckpointAndKeepsALogForOthers(t *testing.T) {
	g := startGroup(t)
	for i := range 200 {
		_, err := g.propose(within(t), fmt.Sprint(i), -1)
		require.NoError(t, err)
	}
	for i, n := range g.nodes {
		require.Eventually(t, func() bool { return len(g.lists[i].all()) == 200 }, 20*time.Second, 5*time.Millisecond)
		require.NoError(t, n.Checkpoint(within(t)))
		require.GreaterOrEqual(t, n.Status().DurableIndex, uint64(200))
		require.Less(t, n.Status().FirstIndex, uint64(10), "a slower node may need them")
	}
}

func TestASnapshotFromAnotherNodeIsRefusedAsLongAsTheMachineLacksItsState(t *testing.T) {
	n, _ := start(t, testConfig(vfs.NewMem()))
	defer stop(t, n)
	for _, index := range []uint64{1, 1000} {
		sink, err := n.snaps.Create(1, index, 5, raft.Configuration{}, 1, nil)
		require.NoError(t, err)
		b, err := encodeManifest(index)
		require.NoError(t, err)
		_, err = sink.Write(b)
		require.NoError(t, err)
		require.ErrorIs(t, sink.Close(), errInstall)
	}
	list, err := n.snaps.List()
	require.NoError(t, err)
	require.Empty(t, list)
}

func TestAPortThatOthersReachIsRefused(t *testing.T) {
	for addr, ok := range map[string]bool{"127.0.0.1:0": true, "localhost:1": true, "[::1]:7": true, "0.0.0.0:7481": false, "10.0.0.1:1": false, ":1": false, "nonsense": false} {
		require.Equal(t, ok, peer.CheckLoopback(addr) == nil, addr)
	}
}

func TestANodeThatGetsAnAddressTellsTheCluster(t *testing.T) {
	mem := vfs.NewMem()
	n, _ := start(t, testConfig(mem))
	stop(t, n)
	cfg := testConfig(mem)
	cfg.RaftAddr = "127.0.0.1:0"
	n, _ = start(t, cfg)
	require.Eventually(t, func() bool { return n.Status().Nodes[0].Address == string(n.addr) }, 10*time.Second, time.Millisecond)
	require.Contains(t, string(n.addr), "127.0.0.1:")
	_, _, err := n.Propose(within(t), []byte("x"))
	require.NoError(t, err)
	stop(t, n)
}
