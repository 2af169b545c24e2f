package cluster

import (
	"fmt"
	"net"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// rpcTimeout bounds one request to another node.
	rpcTimeout = 10 * time.Second
	// pooledConnections are kept open to each node.
	pooledConnections = 3
)

// newTransport makes the way to the other nodes. Without an address there is
// none, and no port is opened.
func newTransport(c *Config) (raft.Transport, error) {
	if c.Transport != nil {
		return steady{c.Transport}, nil
	}
	if c.RaftAddr == "" {
		_, t := raft.NewInmemTransport(raft.ServerAddress(c.ID))
		return steady{t}, nil
	}
	if err := checkLoopback(c.RaftAddr); err != nil {
		return nil, err
	}
	t, err := raft.NewTCPTransportWithConfig(c.RaftAddr, nil, &raft.NetworkTransportConfig{
		Logger:  newLogger(c.Logger),
		MaxPool: pooledConnections,
		// With more than one, a follower whose log failed for a moment can stay without entries for ever.
		MaxRPCsInFlight: 1,
		Timeout:         rpcTimeout,
	})
	if err != nil {
		return nil, fmt.Errorf("listen for other nodes at %s: %w", c.RaftAddr, err)
	}
	return steady{t}, nil
}

// checkLoopback refuses addresses that others can reach: the port takes orders
// from whoever connects.
func checkLoopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("address for other nodes: %w", err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("address for other nodes: %s can be reached from other machines, and the port knows no authentication; use 127.0.0.1", addr)
	}
	return nil
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
