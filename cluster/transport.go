package cluster

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/raft"
	"github.com/valyala/fasthttp"

	"spoor/cluster/peer"
)

// newTransport makes the way to the other nodes. Without an address there is
// none, and no port is opened.
func (n *Node) newTransport() (raft.Transport, error) {
	c := &n.cfg
	if c.RaftAddr != "" {
		var err error
		if n.peers, err = peer.Open(peer.Options{
			Listen: c.RaftAddr, Advertise: c.RaftAdvertise, Cluster: n.store.Cluster(), ID: c.ID,
			Formats: c.Formats, TLS: c.PeerTLS, Logger: c.Logger, Dial: c.PeerDial,
		}); err != nil {
			return nil, err
		}
	}
	switch {
	case c.Transport != nil:
		return steady{c.Transport}, nil
	case n.peers != nil:
		return steady{n.peers.RaftTransport(newLogger(c.Logger))}, nil
	}
	_, t := raft.NewInmemTransport(raft.ServerAddress(c.ID))
	return steady{t}, nil
}

// Peers is the port for the other nodes, nil where Config.RaftAddr is empty.
func (n *Node) Peers() *peer.Port { return n.peers }

// ErrNoPeer is wrapped when a node is not a member, or this one has no port for others.
var ErrNoPeer = errors.New("no such node in the cluster")

// Call sends a call to another member, see peer.Port.Call.
func (n *Node) Call(ctx context.Context, id string, req *fasthttp.Request, resp *fasthttp.Response) error {
	if n.peers != nil {
		for _, s := range n.raft.GetConfiguration().Configuration().Servers {
			if s.ID == raft.ServerID(id) {
				return n.peers.Call(ctx, id, string(s.Address), req, resp)
			}
		}
	}
	return fmt.Errorf("call %q: %w: %w", id, peer.ErrNotReached, ErrNoPeer)
}

// steady hands heartbeats to the library's main loop like all other messages.
// The shortcut past it races with the main loop and is unsafe after a partition heals.
type steady struct{ raft.Transport }

// SetHeartbeatHandler does nothing.
func (steady) SetHeartbeatHandler(func(raft.RPC)) {}

// RequestPreVote implements raft.WithPreVote, which embedding does not carry along.
func (s steady) RequestPreVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	t, ok := s.Transport.(raft.WithPreVote)
	if !ok {
		return fmt.Errorf("ask %s whether an election has a chance: the transport cannot", id)
	}
	return t.RequestPreVote(id, target, args, resp)
}

// Close implements raft.WithClose.
func (s steady) Close() error {
	if t, ok := s.Transport.(raft.WithClose); ok {
		return t.Close()
	}
	return nil
}
