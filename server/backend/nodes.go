package backend

import (
	"context"
	"errors"
	"fmt"
	"time"

	"spoor/cluster/audit"
	"spoor/cluster/roster"
	"spoor/server"
	"spoor/server/nodes"
)

// Nodes is a roster whose errors are those of the server.
type Nodes struct {
	*roster.Roster
	Audit *audit.Auditor // nil: nothing is compared
}

var (
	_ nodes.Cluster  = Nodes{}
	_ nodes.Verifier = Nodes{}
)

// Verify compares the replicas.
func (n Nodes) Verify(begin bool) (audit.Report, error) {
	if n.Audit == nil {
		return audit.Report{}, fmt.Errorf("%w: this node was started without comparisons", roster.ErrRefused)
	}
	r, err := n.Audit.Compare(begin)
	if errors.Is(err, audit.ErrNotLeader) {
		err = fmt.Errorf("%w: %w", server.ErrNotLeader, err)
	}
	return r, err
}

// Replicas counts what comparisons found.
func (n Nodes) Replicas() audit.Counts {
	if n.Audit == nil {
		return audit.Counts{}
	}
	return n.Audit.Counts()
}

// ReadIndex is the entry that a linearizable read has to see that begins now.
func (n Nodes) ReadIndex(ctx context.Context) (uint64, error) {
	index, err := n.Roster.ReadIndex(ctx)
	return index, changeFailure(err)
}

// Join makes a node a member.
func (n Nodes) Join(ctx context.Context, q roster.JoinRequest, trusted bool) (roster.JoinAnswer, error) {
	a, err := n.Roster.Join(ctx, q, trusted)
	return a, changeFailure(err)
}

// Remove takes a member out of the cluster.
func (n Nodes) Remove(ctx context.Context, id string, force bool) error {
	return changeFailure(n.Roster.Remove(ctx, id, force))
}

// Promote gives a member a vote.
func (n Nodes) Promote(ctx context.Context, id string) (now bool, err error) {
	now, err = n.Roster.Promote(ctx, id)
	return now, changeFailure(err)
}

// Demote takes a member's vote.
func (n Nodes) Demote(ctx context.Context, id string) error {
	return changeFailure(n.Roster.Demote(ctx, id))
}

// Transfer lets another node lead.
func (n Nodes) Transfer(ctx context.Context, id string) error {
	return changeFailure(n.Roster.Transfer(ctx, id))
}

// NewToken makes a token that lets one node join.
func (n Nodes) NewToken(ctx context.Context, life time.Duration) (roster.Token, error) {
	t, err := n.Roster.NewToken(ctx, life)
	return t, changeFailure(err)
}

func changeFailure(err error) error {
	if err == nil {
		return nil
	}
	if made := proposeFailure(err); made != err {
		return made
	}
	return fmt.Errorf("change the cluster: %w", err)
}
