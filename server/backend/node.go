package backend

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"spoor/cluster"
	"spoor/server"
	"spoor/server/collect"
)

// Node is the Log of a node of the cluster.
type Node struct {
	node  *cluster.Node
	ready atomic.Bool
}

// NewNode wraps a node. It is not ready before Wait has returned.
func NewNode(node *cluster.Node) *Node { return &Node{node: node} }

// Wait returns when the node has applied its log and writes can be taken.
func (n *Node) Wait(ctx context.Context) error {
	if err := n.node.WaitReady(ctx); err != nil {
		return err
	}
	n.ready.Store(true)
	return nil
}

// Ready is nil once Wait has returned.
func (n *Node) Ready() error {
	if !n.ready.Load() {
		return errors.New("it reads its log and waits for a leader")
	}
	return nil
}

// Propose commits an entry.
func (n *Node) Propose(ctx context.Context, data []byte) (result any, index uint64, err error) {
	result, index, err = n.node.Propose(ctx, data)
	if err != nil {
		return nil, 0, proposeFailure(err)
	}
	return result, index, nil
}

// proposeFailure makes the server's errors of those of the cluster. Unknown goes
// first: it may wrap one that alone would mean "not stored".
func proposeFailure(err error) error {
	for _, c := range []struct{ from, to error }{
		{cluster.ErrUnknown, server.ErrUnknown},
		{cluster.ErrNotLeader, server.ErrNotLeader},
		{cluster.ErrOverloaded, server.ErrOverloaded},
		{cluster.ErrTooLarge, server.ErrTooLarge},
		{cluster.ErrDiskFull, server.ErrDiskFull},
		{cluster.ErrClosed, collect.ErrClosed},
	} {
		if errors.Is(err, c.from) {
			return fmt.Errorf("%w: %w", c.to, err)
		}
	}
	return err
}

// Checkpoint makes what was applied durable and cuts the log.
func (n *Node) Checkpoint(ctx context.Context) error { return n.node.Checkpoint(ctx) }

// CutLog is Checkpoint, and removes from the disk what came before the call.
func (n *Node) CutLog(ctx context.Context) error {
	if err := n.node.CutLog(ctx); err != nil {
		return proposeFailure(err)
	}
	return nil
}

// Verify reads all that the log and its snapshots hold.
func (n *Node) Verify(ctx context.Context) (first, last uint64, err error) {
	r, err := n.node.VerifyLog(ctx)
	if err != nil {
		return 0, 0, err
	}
	return r.FirstIndex, r.LastIndex, nil
}

// Cluster is the node as its cluster sees it.
func (n *Node) Cluster() server.ClusterStatus {
	s := n.node.Status()
	status := server.ClusterStatus{
		Node: s.ID, Role: strings.ToLower(s.State), Leader: s.LeaderID, Term: s.Term,
		Commit: s.CommitIndex, Applied: s.AppliedIndex, Durable: s.DurableIndex,
	}
	for _, m := range s.Nodes {
		status.Members = append(status.Members, server.Member{ID: m.ID, Address: m.Address, Voter: m.Voter})
	}
	return status
}
