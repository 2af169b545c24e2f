package cluster

import "github.com/hashicorp/raft"

// Status is what a node knows of itself and the others.
type Status struct {
	ID        string
	ClusterID string
	State     string // Leader, Follower, Candidate or Shutdown
	Ready     bool
	Term      uint64
	LeaderID  string // "" while there is none

	FirstIndex      uint64 // of the log
	LastIndex       uint64
	CommitIndex     uint64
	AppliedIndex    uint64 // last command that the machine applied
	DurableIndex    uint64 // up to which the machine is durable
	CheckpointIndex uint64 // of the newest checkpoint
	LogBytes        int64  // behind the newest checkpoint

	InFlight      int
	InFlightBytes int64
	Failed        string // why the node cannot go on, "" while it works
	Nodes         []Member
	Install       InstallStatus
}

// Member is a node of the cluster.
type Member struct {
	ID      string
	Address string
	Voter   bool
}

// Status describes the node at this moment.
func (n *Node) Status() Status {
	s := Status{
		ID: n.cfg.ID, ClusterID: n.store.Cluster().String(), State: n.raft.State().String(),
		Term: n.raft.CurrentTerm(), CommitIndex: n.raft.CommitIndex(),
		AppliedIndex: n.sm.applied.Load(), DurableIndex: n.sm.sm.DurableIndex(),
		CheckpointIndex: n.snaps.latest.Load(),
	}
	s.Ready, _ = n.readiness.get()
	s.LeaderID, _ = n.Leader()
	s.FirstIndex, _ = n.store.FirstIndex()
	s.LastIndex, _ = n.store.LastIndex()
	s.LogBytes = n.store.Bytes(s.CheckpointIndex, s.LastIndex)
	s.InFlight, s.InFlightBytes = n.load.get()
	s.Install = n.installStatus()
	if err := n.Failed(); err != nil {
		s.Failed = err.Error()
	}
	for _, v := range n.raft.GetConfiguration().Configuration().Servers {
		s.Nodes = append(s.Nodes, Member{ID: string(v.ID), Address: string(v.Address), Voter: v.Suffrage == raft.Voter})
	}
	return s
}

// Leader is the node that leads, as far as this one knows, and its address for
// other nodes; "" while there is none.
func (n *Node) Leader() (id, address string) {
	addr, leader := n.raft.LeaderWithID()
	return string(leader), string(addr)
}

// IsLeader tells whether this node takes proposals.
func (n *Node) IsLeader() bool { return n.raft.State() == raft.Leader }
