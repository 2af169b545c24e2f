package vfs_test

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"spoor/internal/vfs"
)

// everyFS runs a test on each implementation, in a fresh directory.
func everyFS(t *testing.T, test func(t *testing.T, fsys vfs.FS, dir string)) {
	t.Run("os", func(t *testing.T) { test(t, vfs.OS(), t.TempDir()) })
	t.Run("mem", func(t *testing.T) {
		m := vfs.NewMem()
		require.NoError(t, m.MkdirAll("/data"))
		test(t, m, "/data")
	})
	t.Run("fault without a plan", func(t *testing.T) {
		test(t, vfs.NewFault(vfs.OS(), vfs.Plan{}), t.TempDir())
	})
}

func put(t testing.TB, fsys vfs.FS, name, content string) {
	t.Helper()
	f, err := fsys.Create(name)
	require.NoError(t, err)
	_, err = io.WriteString(f, content)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
}

func get(t testing.TB, fsys vfs.FS, name string) string {
	t.Helper()
	b, err := vfs.ReadFile(fsys, name)
	require.NoError(t, err)
	return string(b)
}

func TestAFileGivesBackWhatWasWritten(t *testing.T) {
	everyFS(t, func(t *testing.T, fsys vfs.FS, dir string) {
		name := filepath.Join(dir, "a")
		f, err := fsys.Create(name)
		require.NoError(t, err)
		for _, s := range []string{"one ", "two ", "three"} {
			_, err := io.WriteString(f, s)
			require.NoError(t, err)
		}
		n, err := f.WriteAt([]byte("TWO"), 4)
		require.NoError(t, err)
		require.Equal(t, 3, n)
		_, err = f.WriteAt([]byte("end"), 20)
		require.NoError(t, err)
		require.EqualValues(t, 23, f.Size())
		require.NoError(t, f.Close())
		require.Equal(t, "one TWO three\x00\x00\x00\x00\x00\x00\x00end", get(t, fsys, name))

		f, err = fsys.OpenReadWrite(name)
		require.NoError(t, err)
		require.EqualValues(t, 23, f.Size())
		require.NoError(t, f.Truncate(7))
		require.NoError(t, f.Truncate(9))
		require.EqualValues(t, 9, f.Size())
		b := make([]byte, 20)
		n, err = f.ReadAt(b, 4)
		require.ErrorIs(t, err, io.EOF)
		require.Equal(t, "TWO\x00\x00", string(b[:n]))
		require.NoError(t, f.Close())

		f, err = fsys.Create(name)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		require.Empty(t, get(t, fsys, name), "Create empties")
	})
}

func TestNamesFollowPOSIX(t *testing.T) {
	everyFS(t, func(t *testing.T, fsys vfs.FS, dir string) {
		at := func(name string) string { return filepath.Join(dir, name) }
		_, err := fsys.Open(at("missing"))
		require.ErrorIs(t, err, fs.ErrNotExist)
		_, err = fsys.OpenReadWrite(at("missing"))
		require.ErrorIs(t, err, fs.ErrNotExist)
		_, err = fsys.Create(at("no/dir"))
		require.ErrorIs(t, err, fs.ErrNotExist)
		_, err = fsys.Open(dir)
		require.Error(t, err, "a directory is no file")
		require.ErrorIs(t, fsys.Remove(at("missing")), fs.ErrNotExist)
		require.ErrorIs(t, fsys.Rename(at("missing"), at("x")), fs.ErrNotExist)
		require.NoError(t, fsys.RemoveAll(at("missing")))

		put(t, fsys, at("a"), "A")
		put(t, fsys, at("b"), "B")
		require.ErrorIs(t, fsys.Link(at("a"), at("b")), fs.ErrExist)
		require.NoError(t, fsys.Link(at("a"), at("c")))
		open, err := fsys.Open(at("b"))
		require.NoError(t, err)
		require.NoError(t, fsys.Rename(at("a"), at("b")))
		b := make([]byte, 1)
		_, err = open.ReadAt(b, 0)
		require.NoError(t, err)
		require.Equal(t, "B", string(b), "an open file outlives its name")
		require.NoError(t, open.Close())
		require.Equal(t, "A", get(t, fsys, at("b")))
		require.Equal(t, "A", get(t, fsys, at("c")))

		require.NoError(t, fsys.MkdirAll(at("d/e")))
		require.NoError(t, fsys.MkdirAll(at("d/e")))
		put(t, fsys, at("d/e/f"), "F")
		require.Error(t, fsys.Remove(at("d")), "it is not empty")
		info, err := fsys.Stat(at("d/e/f"))
		require.NoError(t, err)
		require.EqualValues(t, 1, info.Size())
		require.False(t, info.IsDir())
		entries, err := fsys.ReadDir(dir)
		require.NoError(t, err)
		var names []string
		for _, e := range entries {
			names = append(names, fmt.Sprint(e.Name(), e.IsDir()))
		}
		require.Equal(t, []string{"bfalse", "cfalse", "dtrue"}, names)
		require.NoError(t, fsys.RemoveAll(at("d")))
		_, err = fsys.Stat(at("d"))
		require.ErrorIs(t, err, fs.ErrNotExist)
		require.NoError(t, fsys.SyncDir(dir))
		require.ErrorIs(t, fsys.SyncDir(at("d")), fs.ErrNotExist)
		free, err := fsys.FreeBytes(dir)
		require.NoError(t, err)
		require.Positive(t, free)
	})
}

func TestAFileOpenedForReadingCannotBeWritten(t *testing.T) {
	everyFS(t, func(t *testing.T, fsys vfs.FS, dir string) {
		name := filepath.Join(dir, "a")
		put(t, fsys, name, "A")
		f, err := fsys.Open(name)
		require.NoError(t, err)
		_, err = f.WriteAt([]byte("B"), 0)
		require.Error(t, err)
		require.Error(t, f.Truncate(0))
		require.NoError(t, f.Close())
		require.Error(t, f.Close(), "twice")
		require.Equal(t, "A", get(t, fsys, name))
	})
}

func TestALockHasOneHolderWhomTheErrorNames(t *testing.T) {
	everyFS(t, func(t *testing.T, fsys vfs.FS, dir string) {
		name := filepath.Join(dir, "LOCK")
		held, err := fsys.Lock(name)
		require.NoError(t, err)
		_, err = fsys.Lock(name)
		require.ErrorIs(t, err, vfs.ErrLocked)
		var locked *vfs.LockedError
		require.ErrorAs(t, err, &locked)
		require.Contains(t, locked.Holder, "process")
		require.Contains(t, err.Error(), name)
		require.NoError(t, held.Close())
		held, err = fsys.Lock(name)
		require.NoError(t, err)
		require.NoError(t, held.Close())
	})
}

func TestWriteFileAtomicReplacesAndLeavesNothingBehind(t *testing.T) {
	everyFS(t, func(t *testing.T, fsys vfs.FS, dir string) {
		name := filepath.Join(dir, "a")
		for _, content := range []string{"one", "", "three"} {
			require.NoError(t, vfs.WriteFileAtomic(fsys, name, []byte(content)))
			require.Equal(t, content, get(t, fsys, name))
		}
		entries, err := fsys.ReadDir(dir)
		require.NoError(t, err)
		require.Len(t, entries, 1)
		require.ErrorIs(t, vfs.WriteAtomic(fsys, name, func(io.Writer) error { return io.ErrShortWrite }), io.ErrShortWrite)
		require.Equal(t, "three", get(t, fsys, name))
		entries, err = fsys.ReadDir(dir)
		require.NoError(t, err)
		require.Len(t, entries, 1)
	})
}

// TestMemAnswersLikeTheOperatingSystem makes the same random calls on both.
func TestMemAnswersLikeTheOperatingSystem(t *testing.T) {
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 1))
		mem, root := vfs.NewMem(), t.TempDir()
		systems := [2]vfs.FS{mem, vfs.OS()}
		dirs := [2]string{"/", root}
		for step := range 150 {
			names := []string{"a", "b", "c", "d/a", "d/b", "d"}
			from, to := names[rng.IntN(len(names))], names[rng.IntN(len(names))]
			op, off := rng.IntN(9), rng.IntN(1500)
			ofDirectory := from == "d" || to == "d"
			data := bytes.Repeat([]byte{byte(step)}, rng.IntN(1200))
			var got [2]string
			for i, fsys := range systems {
				from, to := filepath.Join(dirs[i], from), filepath.Join(dirs[i], to)
				var err error
				change := func(f vfs.File, err error, do func(vfs.File) error) error {
					if err != nil {
						return err
					}
					err = do(f)
					got[i] = fmt.Sprint(f.Size(), " ")
					if cerr := f.Close(); err == nil {
						err = cerr
					}
					return err
				}
				switch op {
				case 0:
					f, oerr := fsys.Create(from)
					err = change(f, oerr, func(f vfs.File) error { _, err := f.Write(data); return err })
				case 1:
					f, oerr := fsys.OpenReadWrite(from)
					err = change(f, oerr, func(f vfs.File) error { _, err := f.WriteAt(data, int64(off)); return err })
				case 2:
					f, oerr := fsys.OpenReadWrite(from)
					err = change(f, oerr, func(f vfs.File) error { return f.Truncate(int64(off)) })
				case 3:
					if !ofDirectory { // what happens to directories differs between systems
						err = fsys.Rename(from, to)
					}
				case 4:
					err = fsys.Link(from, to)
				case 5:
					err = fsys.Remove(from)
				case 6:
					err = fsys.MkdirAll(filepath.Join(dirs[i], "d"))
				case 7:
					if rng := step % 10; rng == 0 {
						err = fsys.RemoveAll(from)
					}
				case 8:
					var b []byte
					b, err = vfs.ReadFile(fsys, from)
					got[i] = string(b)
				}
				got[i] += fmt.Sprint(err == nil)
			}
			require.Equal(t, got[1], got[0], "seed %d step %d op %d %s %s", seed, step, op, from, to)
		}
	}
}
