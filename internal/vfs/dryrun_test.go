package vfs_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"spoor/internal/vfs"
)

func TestADryRunReadsAndChangesNothing(t *testing.T) {
	mem := vfs.NewMem()
	require.NoError(t, mem.MkdirAll("d"))
	require.NoError(t, vfs.WriteFileAtomic(mem, "d/a", []byte("abc")))
	dry := vfs.DryRun{FS: mem}
	require.NoError(t, vfs.WriteFileAtomic(dry, "d/a", []byte("other")))
	require.NoError(t, dry.Remove("d/a"))
	require.NoError(t, dry.Rename("d/a", "d/b"))
	require.NoError(t, dry.Link("d/a", "d/c"))
	require.NoError(t, dry.RemoveAll("d"))
	require.NoError(t, dry.MkdirAll("d/e"))
	f, err := dry.OpenReadWrite("d/a")
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("xyz"), 0)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(0))
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())

	made, err := dry.Create("d/new")
	require.NoError(t, err)
	_, err = made.Write([]byte("1234"))
	require.NoError(t, err)
	_, err = made.WriteAt([]byte("5"), 9)
	require.NoError(t, err)
	require.EqualValues(t, 10, made.Size())
	b := make([]byte, 12)
	n, err := made.ReadAt(b, 0)
	require.Error(t, err)
	require.Equal(t, 10, n)

	for _, fsys := range []vfs.FS{mem, mem.CrashClone(rand.New(rand.NewPCG(1, 1)))} {
		entries, err := fsys.ReadDir("d")
		require.NoError(t, err)
		require.Len(t, entries, 1)
		text, err := vfs.ReadFile(fsys, "d/a")
		require.NoError(t, err)
		require.Equal(t, "abc", string(text))
	}
}
