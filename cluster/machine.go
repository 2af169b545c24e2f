package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
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

	mu      sync.Mutex                      // held while entries are applied, and while the state is exchanged
	applied atomic.Uint64                   // index of the last command that was applied or skipped
	ctx     atomic.Pointer[context.Context] // of the checkpoint that is being taken
	latest  *atomic.Uint64                  // index of the newest snapshot
	fail    func(error)                     // ends the node
}

var _ raft.BatchingFSM = (*machine)(nil)

// ApplyBatch answers exactly one value per entry, or the library panics.
func (m *machine) ApplyBatch(logs []*raft.Log) []any {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.answers)
	m.answers = m.answers[:0]
	for _, l := range logs {
		m.answers = append(m.answers, m.apply(l))
	}
	return m.answers
}

// Apply applies one entry.
func (m *machine) Apply(l *raft.Log) any {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.apply(l)
}

func (m *machine) apply(l *raft.Log) any {
	var answer any
	if l.Term == 0 && bytes.Equal(l.Data, ghostData) {
		m.fail(fmt.Errorf("entry %d was taken for committed before it was there; a start anew ends that", l.Index))
		return nil
	}
	if l.Type == raft.LogCommand {
		if l.Index > m.skip {
			answer = m.sm.Apply(l.Index, l.Data)
		}
		m.applied.Store(max(l.Index, m.applied.Load())) // a state that was taken over may be ahead
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
	if k, ok := sink.(*sinkFile); ok {
		k.own = true
	}
	_, err = sink.Write(b)
	return err
}

// Release ends the snapshot.
func (s *snapshot) Release() {}

// Restore is only called for a snapshot that another node sent, which was accepted because the
// machine holds what it stands for: the log goes on behind it.
func (m *machine) Restore(r io.ReadCloser) error {
	b, err := io.ReadAll(io.LimitReader(r, maxManifestBytes))
	if err = errors.Join(err, r.Close()); err != nil {
		return err
	}
	state, err := readManifest(b)
	if err != nil {
		return err
	}
	m.mu.Lock()
	m.applied.Store(max(state.MachineIndex, m.applied.Load()))
	m.mu.Unlock()
	m.feed.advance(max(m.latest.Load(), m.feed.applied.Load()))
	return nil
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
