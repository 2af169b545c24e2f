// Package nodes is what a request needs of other nodes: a write goes to the leader
// as it came, so that keys, rates, consent and duplicates are decided in one place;
// a read waits until this node knows what it shall see; operators change the members.
package nodes

import (
	"context"
	"fmt"
	"time"

	"github.com/valyala/fasthttp"

	"spoor/cluster/peer"
	"spoor/cluster/roster"
)

// Cluster is this node among the others.
type Cluster interface {
	// Leader is the node that leads, "" while there is none.
	Leader() (id, address string)
	IsLeader() bool
	// Call sends a request to a node once; peer.ErrNotReached: nothing was sent.
	Call(ctx context.Context, id string, req *fasthttp.Request, resp *fasthttp.Response) error

	AppliedIndex() uint64
	// WaitApplied returns when this node has applied an entry.
	WaitApplied(ctx context.Context, index uint64) error
	// ReadIndex is the entry that a linearizable read has to see that begins now.
	ReadIndex(ctx context.Context) (uint64, error)
	// LastContact is how long ago this node heard of its leader.
	LastContact() (age time.Duration, ok bool)

	Survey(ctx context.Context) roster.Status
	Counts() roster.Counts
	Join(ctx context.Context, q roster.JoinRequest, trusted bool) (roster.JoinAnswer, error)
	Remove(ctx context.Context, id string, force bool) error
	Promote(ctx context.Context, id string) (now bool, err error)
	Demote(ctx context.Context, id string) error
	Transfer(ctx context.Context, id string) error
	NewToken(ctx context.Context, life time.Duration) (roster.Token, error)
}

// Alone is the Cluster of a server that stands over a store without other nodes.
type Alone struct {
	// Status is the server itself.
	Status func() roster.Status
	// Applied is the log index that it has applied.
	Applied func() uint64
}

// Leader is the server.
func (a Alone) Leader() (id, address string) { return a.Status().Leader, "" }

// IsLeader is true.
func (a Alone) IsLeader() bool { return true }

// Call reaches nobody.
func (a Alone) Call(context.Context, string, *fasthttp.Request, *fasthttp.Response) error {
	return peer.ErrNotReached
}

// AppliedIndex is Applied.
func (a Alone) AppliedIndex() uint64 { return a.Applied() }

// WaitApplied does not wait: what is not applied here never will be.
func (a Alone) WaitApplied(_ context.Context, index uint64) error {
	if a.Applied() < index {
		return context.DeadlineExceeded
	}
	return nil
}

// ReadIndex is what was applied.
func (a Alone) ReadIndex(context.Context) (uint64, error) { return a.Applied(), nil }

// LastContact is now.
func (a Alone) LastContact() (age time.Duration, ok bool) { return 0, true }

// Survey is Status.
func (a Alone) Survey(context.Context) roster.Status { return a.Status() }

// Counts are of nobody.
func (a Alone) Counts() roster.Counts { return roster.Counts{} }

var errAlone = fmt.Errorf("%w: this server has no cluster", roster.ErrRefused)

// Join is refused, as are all changes below.
func (a Alone) Join(context.Context, roster.JoinRequest, bool) (roster.JoinAnswer, error) {
	return roster.JoinAnswer{}, errAlone
}

// Remove is refused.
func (a Alone) Remove(context.Context, string, bool) error { return errAlone }

// Promote is refused.
func (a Alone) Promote(context.Context, string) (now bool, err error) { return false, errAlone }

// Demote is refused.
func (a Alone) Demote(context.Context, string) error { return errAlone }

// Transfer is refused.
func (a Alone) Transfer(context.Context, string) error { return errAlone }

// NewToken is refused.
func (a Alone) NewToken(context.Context, time.Duration) (roster.Token, error) {
	return roster.Token{}, errAlone
}
