package cluster

import (
	"context"
	"fmt"

	"github.com/hashicorp/raft"
)

// changeTimeout is how long a change of the members waits before the log takes it.
const changeTimeout = enqueueTimeout

// do asks the library for something that it answers in its own time, and waits for the answer.
func (n *Node) do(ctx context.Context, what string, ask func() raft.Future) error {
	if _, err := n.load.add(0); err != nil {
		return err
	}
	p := &pending{future: ask(), done: make(chan struct{})}
	n.queue <- p
	select {
	case <-p.done:
	case <-ctx.Done():
		return fmt.Errorf("%s: %w: %w", what, ErrUnknown, ctx.Err())
	}
	if p.err != nil {
		return fmt.Errorf("%s: %w", what, proposeError(p.err))
	}
	return nil
}

// AddMember makes a node a member without a vote, or stores the address of one
// that is a member, whose vote stays as it is. This node has to lead, as for all changes below.
func (n *Node) AddMember(ctx context.Context, id, address string) error {
	sid, addr := raft.ServerID(id), raft.ServerAddress(address)
	return n.do(ctx, "add node "+id, func() raft.Future {
		for _, s := range n.raft.GetConfiguration().Configuration().Servers {
			if s.ID == sid && s.Suffrage == raft.Voter {
				return n.raft.AddVoter(sid, addr, 0, changeTimeout)
			}
		}
		return n.raft.AddNonvoter(sid, addr, 0, changeTimeout)
	})
}

// GiveVote makes a member a voter. It should have caught up: until it has, the cluster
// may wait for it with every write.
func (n *Node) GiveVote(ctx context.Context, id string) error {
	m, err := n.member(id)
	if err != nil {
		return err
	}
	return n.do(ctx, "give node "+id+" a vote", func() raft.Future {
		return n.raft.AddVoter(m.ID, m.Address, 0, changeTimeout)
	})
}

// TakeVote makes a member one without a vote.
func (n *Node) TakeVote(ctx context.Context, id string) error {
	if _, err := n.member(id); err != nil {
		return err
	}
	return n.do(ctx, "take the vote of node "+id, func() raft.Future {
		return n.raft.DemoteVoter(raft.ServerID(id), 0, changeTimeout)
	})
}

// RemoveMember takes a node out of the cluster.
func (n *Node) RemoveMember(ctx context.Context, id string) error {
	if _, err := n.member(id); err != nil {
		return err
	}
	return n.do(ctx, "remove node "+id, func() raft.Future {
		return n.raft.RemoveServer(raft.ServerID(id), 0, changeTimeout)
	})
}

// TransferLead lets another voter lead. It has to have caught up: the library refuses
// writes until it has, and forgets to take them again when it never does.
func (n *Node) TransferLead(ctx context.Context, id string) error {
	m, err := n.member(id)
	if err != nil {
		return err
	}
	return n.do(ctx, "let node "+id+" lead", func() raft.Future {
		return n.raft.LeadershipTransferToServer(m.ID, m.Address)
	})
}

func (n *Node) member(id string) (raft.Server, error) {
	for _, s := range n.raft.GetConfiguration().Configuration().Servers {
		if s.ID == raft.ServerID(id) {
			return s, nil
		}
	}
	return raft.Server{}, fmt.Errorf("%w: %s", ErrNoPeer, id)
}
