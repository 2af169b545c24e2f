package peer

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

const (
	// rpcTimeout bounds one request of the Raft library.
	rpcTimeout = 10 * time.Second
	// pooledConnections are kept open to each node.
	pooledConnections = 3
)

// RaftTransport is the way of the Raft library to the other nodes. Closing it
// does not close the port.
func (p *Port) RaftTransport(log hclog.Logger) raft.Transport {
	return &addressed{raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream:  stream{p.raft, p},
		Logger:  log,
		MaxPool: pooledConnections,
		// With more than one, a follower whose log failed for a moment can stay without entries for ever.
		MaxRPCsInFlight: 1,
		Timeout:         rpcTimeout,
	})}
}

// stream is the Raft library's share of a port.
type stream struct {
	*queue
	p *Port
}

// Dial implements raft.StreamLayer. The address is one that addressed made.
func (s stream) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	node, at, ok := strings.Cut(string(address), "@")
	if !ok {
		return nil, fmt.Errorf("dial %s: it does not say which node is meant", address)
	}
	ctx, cancel := context.WithTimeout(s.p.ctx, timeout)
	defer cancel()
	return s.p.dial(ctx, target{node, at}, purposeRaft)
}

// addressed tells the stream which node is meant, as node@address: the library
// knows at each request, but dials the address alone.
type addressed struct{ *raft.NetworkTransport }

func at(id raft.ServerID, target raft.ServerAddress) raft.ServerAddress {
	return raft.ServerAddress(string(id) + "@" + string(target))
}

func (t *addressed) AppendEntriesPipeline(id raft.ServerID, target raft.ServerAddress) (raft.AppendPipeline, error) {
	return t.NetworkTransport.AppendEntriesPipeline(id, at(id, target))
}

func (t *addressed) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	return t.NetworkTransport.AppendEntries(id, at(id, target), args, resp)
}

func (t *addressed) RequestVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	return t.NetworkTransport.RequestVote(id, at(id, target), args, resp)
}

func (t *addressed) RequestPreVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	return t.NetworkTransport.RequestPreVote(id, at(id, target), args, resp)
}

func (t *addressed) InstallSnapshot(id raft.ServerID, target raft.ServerAddress, args *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	return t.NetworkTransport.InstallSnapshot(id, at(id, target), args, resp, data)
}

func (t *addressed) TimeoutNow(id raft.ServerID, target raft.ServerAddress, args *raft.TimeoutNowRequest, resp *raft.TimeoutNowResponse) error {
	return t.NetworkTransport.TimeoutNow(id, at(id, target), args, resp)
}
