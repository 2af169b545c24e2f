package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// machine is the face of the state machine towards the Raft library. Its methods
// are called by the library's one apply goroutine, except Persist.
type machine struct {
	sm      StateMachine
	skip    uint64 // entries up to here were durable at the start
	feed    *feed
	answers []any

	applied atomic.Uint64 // index of the last command that was applied or skipped
	// taking is true from Snapshot until Release, so that the snapshot store can
	// tell a snapshot of this node from one that another node sends.
	taking atomic.Bool
	ctx    atomic.Pointer[context.Context] // of the checkpoint that is being taken
}

var _ raft.BatchingFSM = (*machine)(nil)

// ApplyBatch answers exactly one value per entry, or the library panics.
func (m *machine) ApplyBatch(logs []*raft.Log) []any {
	clear(m.answers)
	m.answers = m.answers[:0]
	for _, l := range logs {
		m.answers = append(m.answers, m.Apply(l))
	}
	return m.answers
}

// Apply applies one entry.
func (m *machine) Apply(l *raft.Log) any {
	var answer any
	if l.Type == raft.LogCommand {
		if l.Index > m.skip {
			answer = m.sm.Apply(l.Index, l.Data)
		}
		m.applied.Store(max(l.Index, m.applied.Load()))
	}
	m.feed.advance(l.Index)
	return answer
}

// manifest is what a snapshot holds: the state itself is in the machine's files.
type manifest struct {
	Version int `json:"version"`
	// MachineIndex is what Checkpoint answered: the machine's files hold every
	// command up to it, and the log may be cut.
	MachineIndex uint64 `json:"machine_index"`
}

const manifestVersion = 1

// checkpointTries bounds how often a machine is asked that stays behind what was
// applied before it was asked first.
const checkpointTries = 3

type snapshot struct {
	m    *machine
	upTo uint64 // last command before the snapshot
}

// Snapshot pins nothing but an index: files that the machine makes durable later hold what was applied until now.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	m.taking.Store(true)
	return &snapshot{m: m, upTo: m.applied.Load()}, nil
}

// Persist returns when the machine is durable: the library cuts the log next.
func (s *snapshot) Persist(sink raft.SnapshotSink) error {
	ctx := context.Background()
	if p := s.m.ctx.Load(); p != nil {
		ctx = *p
	}
	var index uint64
	for try := 0; ; try++ {
		var err error
		if index, err = s.m.sm.Checkpoint(ctx); err != nil {
			return fmt.Errorf("checkpoint: %w", err)
		}
		if index >= s.upTo {
			break
		}
		if try == checkpointTries {
			return fmt.Errorf("checkpoint: the machine is durable up to entry %d, but entry %d was applied before", index, s.upTo)
		}
	}
	b, err := encodeManifest(max(index, s.upTo))
	if err != nil {
		return err
	}
	_, err = sink.Write(b)
	return err
}

// Release ends the snapshot.
func (s *snapshot) Release() { s.m.taking.Store(false) }

// errInstall is answered to a leader that sends a snapshot.
var errInstall = errors.New("this node is so far behind that the log has been cut; it has to be set up anew from a backup of the leader's data directory")

// Restore is only called for a snapshot that another node sent.
func (m *machine) Restore(r io.ReadCloser) error {
	_ = r.Close()
	return errInstall
}

func encodeManifest(index uint64) ([]byte, error) {
	return json.Marshal(manifest{Version: manifestVersion, MachineIndex: index})
}

// readManifest reads what Persist wrote.
func readManifest(b []byte) (manifest, error) {
	var m manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("read snapshot manifest: %w", err)
	}
	if m.Version != manifestVersion {
		return m, fmt.Errorf("read snapshot manifest: unknown version %d, this program knows %d", m.Version, manifestVersion)
	}
	return m, nil
}
