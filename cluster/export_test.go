package cluster

import "github.com/hashicorp/raft"

// AddVoter lets tests outside of the package put a cluster together.
func (n *Node) AddVoter(id string, address raft.ServerAddress) error {
	return n.raft.AddVoter(raft.ServerID(id), address, 0, 0).Error()
}
