package cluster

import (
	"context"
	"flag"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"spoor/internal/vfs"
)

var update = flag.Bool("update", false, "write the golden files anew")

const goldenSnapshot = "snapshot-0000000000000007-0000000000000002"

// TestGoldenSnapshotIsWrittenAndReadAsEver pins the file of a snapshot. It is text:
// a checksum and JSON, in which the Data is the JSON of a manifest in base64.
func TestGoldenSnapshotIsWrittenAndReadAsEver(t *testing.T) {
	mem := vfs.NewMem()
	s, err := openSnapshots(mem, "snapshots")
	require.NoError(t, err)
	servers := raft.Configuration{Servers: []raft.Server{{ID: "n1", Address: "127.0.0.1:7481"}}}
	sink, err := s.Create(raft.SnapshotVersionMax, 7, 2, servers, 1, nil)
	require.NoError(t, err)
	m := &machine{sm: durableUpTo(6)}
	require.NoError(t, (&snapshot{m: m, upTo: 6}).Persist(sink))
	require.NoError(t, sink.Close())
	b, err := vfs.ReadFile(mem, filepath.Join("snapshots", goldenSnapshot))
	require.NoError(t, err)

	path := filepath.Join("testdata", goldenSnapshot)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, b, 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), string(b))

	opened, err := openSnapshots(snapshotsOf(t, want), "snapshots")
	require.NoError(t, err)
	meta, data, err := opened.newest()
	require.NoError(t, err)
	require.EqualValues(t, 7, meta.Index)
	require.EqualValues(t, 2, meta.Term)
	require.Equal(t, servers, meta.Configuration)
	state, err := readManifest(data)
	require.NoError(t, err)
	require.EqualValues(t, 6, state.MachineIndex)
}

func TestASnapshotOfAnotherVersionIsRefusedByName(t *testing.T) {
	want, err := os.ReadFile(filepath.Join("testdata", goldenSnapshot))
	require.NoError(t, err)
	_, body, _ := strings.Cut(string(want), " ")
	body = strings.Replace(body, `"version":1`, `"version":99`, 1)
	_, err = openSnapshots(snapshotsOf(t, fmt.Appendf(nil, "%08x %s", crc32.Checksum([]byte(body), castagnoli), body)), "snapshots")
	require.ErrorContains(t, err, "unknown version 99, this program knows 1")
}

// snapshotsOf is a file system with one snapshot.
func snapshotsOf(t *testing.T, file []byte) vfs.FS {
	mem := vfs.NewMem()
	require.NoError(t, mem.MkdirAll("snapshots"))
	require.NoError(t, vfs.WriteFileAtomic(mem, filepath.Join("snapshots", goldenSnapshot), file))
	return mem
}

// durableUpTo is a machine that has everything up to an index in its files.
type durableUpTo uint64

func (d durableUpTo) Apply(uint64, []byte) any                   { return nil }
func (d durableUpTo) DurableIndex() uint64                       { return uint64(d) }
func (d durableUpTo) Checkpoint(context.Context) (uint64, error) { return uint64(d), nil }
