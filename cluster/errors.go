package cluster

import (
	"errors"
	"fmt"

	"github.com/hashicorp/raft"

	"spoor/cluster/logstore"
)

// What Propose answers. After the first group of errors the entry is surely not
// stored; after ErrUnknown it may be, and the same event has to be sent again.
var (
	// ErrNotLeader: another node leads, or none does.
	ErrNotLeader = errors.New("this node does not lead the cluster")
	// ErrOverloaded: more waits for the disk than the node keeps in memory.
	ErrOverloaded = errors.New("too much is waiting to be stored")
	// ErrTooLarge: the entry is larger than MaxEntryBytes.
	ErrTooLarge = errors.New("entry is too large")
	// ErrDiskFull: the disk has no space for the log.
	ErrDiskFull = errors.New("the disk is full")
	// ErrTooNew: a member of the cluster would not understand the entry.
	ErrTooNew = errors.New("the cluster has nodes of an older release")
	// ErrClosed: the node is closing.
	ErrClosed = errors.New("the node is closed")

	// ErrUnknown: leadership was lost, time ran out or the node failed while the
	// entry was on its way.
	ErrUnknown = errors.New("it is not known whether the entry was stored")
)

// proposeError sorts the library's errors. Only those that it answers before an
// entry reaches the log mean that it surely was not stored.
func proposeError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader):
		return ErrNotLeader
	case errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return fmt.Errorf("%w: it is handing the lead over", ErrNotLeader)
	case errors.Is(err, raft.ErrEnqueueTimeout):
		return fmt.Errorf("%w: the log has not taken an entry for %s", ErrOverloaded, enqueueTimeout)
	case errors.Is(err, logstore.ErrNoSpace):
		return fmt.Errorf("%w: %w", ErrUnknown, ErrDiskFull)
	}
	return fmt.Errorf("%w: %w", ErrUnknown, err)
}
