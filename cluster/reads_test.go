package cluster

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"spoor/internal/vfs"
)

func TestALeaderThatIsCutOffAnswersNoLinearizableRead(t *testing.T) {
	g := startGroup(t)
	_, err := g.propose(within(t), "before", -1)
	require.NoError(t, err)
	index, err := g.nodes[0].ReadIndex(within(t))
	require.NoError(t, err)
	require.Equal(t, g.nodes[0].AppliedIndex(), index)

	g.cut(0)
	_, err = g.propose(within(t), "after", 0)
	require.NoError(t, err)
	// It may believe that it leads; a majority does not.
	short, cancel := context.WithTimeout(within(t), 2*time.Second)
	defer cancel()
	_, err = g.nodes[0].ReadIndex(short)
	require.Error(t, err)
}

func TestAReadIndexHoldsWhatWasAcknowledgedBeforeIt(t *testing.T) {
	g := startGroup(t)
	for i := range 50 {
		leader, err := g.propose(within(t), fmt.Sprint(i), -1)
		require.NoError(t, err)
		index, err := g.nodes[leader].ReadIndex(within(t))
		require.NoError(t, err)
		follower := (leader + 1) % 3
		require.NoError(t, g.nodes[follower].WaitApplied(within(t), index))
		require.Len(t, g.lists[follower].all(), i+1)
	}
}

func TestWaitingForAnEntryEndsWithTheCallerOrTheNode(t *testing.T) {
	n, _ := start(t, testConfig(vfs.NewMem()))
	require.NoError(t, n.WaitApplied(within(t), 0))
	short, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, n.WaitApplied(short, 1000), context.DeadlineExceeded)
	done := make(chan error)
	go func() { done <- n.WaitApplied(context.Background(), 1000) }()
	require.Eventually(t, func() bool { return n.feed.waiting.Load() == 1 }, 10*time.Second, time.Millisecond)
	stop(t, n)
	require.ErrorIs(t, <-done, ErrClosed)
}

func TestASessionIsServedAfterARestartThatHadNothingToApply(t *testing.T) {
	mem := vfs.NewMem()
	n, _ := start(t, testConfig(mem))
	_, index, err := n.Propose(within(t), []byte("x"))
	require.NoError(t, err)
	stop(t, n)
	n, l := start(t, testConfig(mem))
	defer stop(t, n)
	require.Zero(t, l.replays)
	require.NoError(t, n.WaitApplied(within(t), index))
}

func TestALeaderThatRefusesWritesAsIfItHandedTheLeadOverForEverEnds(t *testing.T) {
	fatal := make(chan error, 1)
	cfg := testConfig(vfs.NewMem())
	cfg.ElectionTimeout = 100 * time.Millisecond
	cfg.OnFatal = func(err error) { fatal <- err }
	n, _ := start(t, cfg)
	n.noteRefusal(raft.ErrLeadershipTransferInProgress)
	n.noteRefusal(nil)
	require.Zero(t, n.refusedSince.Load(), "one that is taken ends it")
	n.noteRefusal(raft.ErrLeadershipTransferInProgress)
	first := n.refusedSince.Load()
	n.noteRefusal(raft.ErrLeadershipTransferInProgress)
	require.Equal(t, first, n.refusedSince.Load(), "it counts from the first one")
	n.watchRefusals(false)
	require.Zero(t, n.refusedSince.Load(), "another node leads")

	n.refusedSince.Store(time.Now().Add(-refusalTimeouts*cfg.ElectionTimeout - time.Second).UnixNano())
	require.ErrorContains(t, <-fatal, "has refused every write")
	_ = n.Close(within(t))
}

func TestANodeOfAClusterDoesNotStartWithoutAnAddressForTheOthers(t *testing.T) {
	g := startGroup(t)
	cfg := g.nodes[1].cfg
	require.NoError(t, g.nodes[1].Close(within(t)))
	cfg.Transport = nil
	_, err := Open(cfg, openList(t, cfg.FS, "/data-"+cfg.ID))
	require.ErrorContains(t, err, "it needs an address for the others")
}
