package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/hashicorp/raft"

	"spoor/cluster/logstore"
	"spoor/cluster/peer"
	"spoor/internal/vfs"
)

// Limits and defaults.
const (
	// MaxEntryBytes bounds one proposal: the library counts entries, not bytes, when it sends them.
	MaxEntryBytes = 1 << 20
	// maxBatchEntries are written, sent and applied at once.
	maxBatchEntries = 64

	DefaultMaxInFlight      = 4096
	DefaultMaxInFlightBytes = 64 << 20
	DefaultCheckpointBytes  = 256 << 20
	DefaultTrailingBytes    = 64 << 20
	DefaultElectionTimeout  = time.Second

	// enqueueTimeout is how long a proposal waits before the log takes it.
	enqueueTimeout = 2 * time.Second
	// maxUnappliedBytes bounds what is read from the log ahead of the machine, when
	// a node starts or catches up. It has to be more than two batches.
	maxUnappliedBytes = 3 * maxBatchEntries * MaxEntryBytes
)

// StateMachine is what the log drives: the engine.
type StateMachine interface {
	// Apply is called for one entry after the other, in the order of the log and
	// never twice at once. It must not fail, for every node has to go through the
	// same entries. data is only valid during the call.
	Apply(index uint64, data []byte) any
	// DurableIndex is the index up to which every entry is durable in the machine's
	// own files. Entries up to the one that it answers at the start are not applied again.
	DurableIndex() uint64
	// Checkpoint makes everything durable that was applied before the call and
	// returns the index up to which that holds. It may take seconds; Apply goes on meanwhile.
	Checkpoint(ctx context.Context) (uint64, error)
}

// Config of a node.
type Config struct {
	// ID names the node in the cluster, for ever.
	ID string
	// RaftAddr is where the node listens for the others, "" for a cluster of one that listens nowhere.
	RaftAddr string
	// RaftAdvertise is where the others find it, "" for RaftAddr.
	RaftAdvertise string
	// PeerTLS are the certificates of the node; nil: none, and RaftAddr is a loopback address.
	PeerTLS *peer.TLS
	// Formats are the versions that this program understands.
	Formats peer.Formats
	// EntryVersion tells the version of an entry; nil: all are of version 1.
	EntryVersion func(entry []byte) uint32
	// PeerDial connects to other nodes; nil: TCP. Tests put faults here.
	PeerDial func(ctx context.Context, address string) (net.Conn, error)
	// Dir holds the log and the snapshots.
	Dir string
	FS  vfs.FS // nil for the operating system's
	// Bootstrap makes a cluster of this one node if there is no log in Dir yet.
	Bootstrap bool
	// ClusterID is expected of the log, or given to a new one; zero for any and a random one.
	ClusterID logstore.ClusterID
	Logger    *slog.Logger
	// OnFatal is called once when the node cannot go on: the process has to end at
	// once, and its next start recovers. It must not call the node.
	OnFatal func(error)

	MaxInFlight      int           // proposals that wait at once
	MaxInFlightBytes int64         // and their data
	SegmentBytes     int64         // of one log file
	CheckpointBytes  int64         // of log that make the node take a checkpoint by itself
	TrailingBytes    int64         // of log that are kept behind a checkpoint for slower nodes
	ElectionTimeout  time.Duration // without a leader until a node stands for election
	StallLimit       time.Duration // for one call to the disk

	// Installer takes over the state of other nodes when the log does not reach back as far as this
	// node is behind; nil: such a node has to be set up anew.
	Installer Installer

	// Transport takes the place of the Raft library's share of RaftAddr.
	Transport raft.Transport
}

func (c *Config) setDefaults() error {
	if c.ID == "" {
		return errors.New("the node has no id")
	}
	if c.OnFatal == nil {
		return errors.New("OnFatal is not set, and a node that fails must end the process")
	}
	if c.FS == nil {
		c.FS = vfs.OS()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	setDefault(&c.MaxInFlight, DefaultMaxInFlight)
	setDefault(&c.MaxInFlightBytes, DefaultMaxInFlightBytes)
	setDefault(&c.SegmentBytes, logstore.DefaultSegmentBytes)
	setDefault(&c.CheckpointBytes, DefaultCheckpointBytes)
	setDefault(&c.TrailingBytes, DefaultTrailingBytes)
	setDefault(&c.ElectionTimeout, DefaultElectionTimeout)
	setDefault(&c.StallLimit, logstore.DefaultStallLimit)
	if c.MaxInFlightBytes < MaxEntryBytes {
		return fmt.Errorf("%d bytes in flight are less than one entry of %d", c.MaxInFlightBytes, MaxEntryBytes)
	}
	return nil
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// raftConfig is the library's configuration. Snapshots are never taken by its own
// counting of entries: see watch.
func (c *Config) raftConfig(notify chan<- bool) *raft.Config {
	rc := raft.DefaultConfig()
	rc.LocalID = raft.ServerID(c.ID)
	rc.HeartbeatTimeout = c.ElectionTimeout
	rc.ElectionTimeout = c.ElectionTimeout
	rc.LeaderLeaseTimeout = c.ElectionTimeout / 2
	rc.MaxAppendEntries = maxBatchEntries
	rc.BatchApplyCh = true
	rc.ShutdownOnRemove = false
	rc.TrailingLogs = 1
	rc.SnapshotThreshold = 1 << 62
	rc.SnapshotInterval = 24 * time.Hour
	rc.NoSnapshotRestoreOnStart = true
	rc.NoLegacyTelemetry = true
	rc.NotifyCh = notify
	rc.Logger = newLogger(c.Logger)
	return rc
}
