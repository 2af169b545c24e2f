package vfs_test

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"spoor/internal/vfs"
)

// outcomes counts what describe says of many crashes of m.
func outcomes(m *vfs.Mem, describe func(fsys vfs.FS) string) map[string]int {
	rng := rand.New(rand.NewPCG(7, 7))
	seen := map[string]int{}
	for range 400 {
		seen[describe(m.CrashClone(rng))]++
	}
	return seen
}

func content(name string) func(vfs.FS) string {
	return func(fsys vfs.FS) string {
		b, err := vfs.ReadFile(fsys, name)
		if err != nil {
			return "missing"
		}
		return string(b)
	}
}

func keys(m map[string]int) []string {
	var k []string
	for s := range m {
		k = append(k, s)
	}
	return k
}

func TestWhatIsSyncedWithItsNameAlwaysSurvives(t *testing.T) {
	m := vfs.NewMem()
	put(t, m, "/a", "kept")
	require.NoError(t, m.SyncDir("/"))
	require.Equal(t, map[string]int{"kept": 400}, outcomes(m, content("/a")))

	require.NoError(t, m.MkdirAll("/d/e"))
	put(t, m, "/d/e/f", "deep")
	require.NoError(t, m.SyncDir("/d/e"))
	require.Equal(t, map[string]int{"deep": 400}, outcomes(m, content("/d/e/f")))
}

func TestANameThatWasNotSyncedMayVanish(t *testing.T) {
	m := vfs.NewMem()
	put(t, m, "/a", "A")
	require.ElementsMatch(t, []string{"missing", "A"}, keys(outcomes(m, content("/a"))))
}

func TestUnsyncedWritesSurviveSectorBySector(t *testing.T) {
	m := vfs.NewMem()
	const sectors = 6
	old, mid, next := bytes.Repeat([]byte("o"), 512), bytes.Repeat([]byte("m"), 512), bytes.Repeat([]byte("n"), 512)
	put(t, m, "/a", string(bytes.Repeat(old, sectors)))
	require.NoError(t, m.SyncDir("/"))
	f, err := m.OpenReadWrite("/a")
	require.NoError(t, err)
	for _, b := range [][]byte{mid, next} {
		_, err = f.WriteAt(bytes.Repeat(b, sectors), 0)
		require.NoError(t, err)
	}
	seen := outcomes(m, func(fsys vfs.FS) string {
		b := get(t, fsys, "/a")
		require.Len(t, b, 512*sectors)
		kinds := ""
		for i := range sectors {
			s := b[512*i : 512*i+512]
			require.Contains(t, []string{string(old), string(mid), string(next)}, s, "a sector is never torn")
			kinds += s[:1]
		}
		return kinds
	})
	require.Greater(t, seen["oooooo"], 20)
	require.Greater(t, seen["nnnnnn"], 20)
	require.Greater(t, len(seen), 50, "and many mixtures")
	require.NoError(t, f.Sync())
	require.Equal(t, map[string]int{string(bytes.Repeat(next, sectors)): 400}, outcomes(m, content("/a")))
}

func TestAnUnsyncedAppendNeverHarmsWhatIsBeforeIt(t *testing.T) {
	m := vfs.NewMem()
	head := string(bytes.Repeat([]byte("h"), 700))
	put(t, m, "/log", head)
	require.NoError(t, m.SyncDir("/"))
	f, err := m.OpenReadWrite("/log")
	require.NoError(t, err)
	_, err = f.WriteAt(bytes.Repeat([]byte("t"), 1500), 700)
	require.NoError(t, err)
	sizes := map[int]bool{}
	seen := outcomes(m, func(fsys vfs.FS) string {
		b := get(t, fsys, "/log")
		require.Equal(t, head, b[:700])
		sizes[len(b)] = true
		for _, c := range b[700:] {
			require.Contains(t, "t\x00", string(c))
		}
		return b
	})
	require.Equal(t, map[int]bool{700: true, 2200: true}, sizes)
	require.Greater(t, len(seen), 4)
}

func TestARenameHappensWholeOrNotAtAll(t *testing.T) {
	m := vfs.NewMem()
	put(t, m, "/a", "old")
	put(t, m, "/b", "new")
	require.NoError(t, m.SyncDir("/"))
	require.NoError(t, m.Rename("/b", "/a"))
	both := func(fsys vfs.FS) string { return content("/a")(fsys) + " " + content("/b")(fsys) }
	require.ElementsMatch(t, []string{"old new", "new missing"}, keys(outcomes(m, both)))
	require.NoError(t, m.SyncDir("/"))
	require.Equal(t, []string{"new missing"}, keys(outcomes(m, both)))

	require.NoError(t, m.MkdirAll("/d"))
	require.NoError(t, m.Rename("/a", "/d/a"))
	moved := func(fsys vfs.FS) string { return content("/a")(fsys) + " " + content("/d/a")(fsys) }
	require.ElementsMatch(t, []string{"new missing", "missing new"}, keys(outcomes(m, moved)))
	require.NoError(t, m.SyncDir("/d"))
	require.Equal(t, []string{"missing new"}, keys(outcomes(m, moved)))
}

func TestRemovalsAndLinksSurviveByThemselves(t *testing.T) {
	m := vfs.NewMem()
	put(t, m, "/a", "A")
	put(t, m, "/b", "B")
	require.NoError(t, m.SyncDir("/"))
	require.NoError(t, m.Remove("/a"))
	require.NoError(t, m.Link("/b", "/c"))
	state := func(fsys vfs.FS) string {
		return content("/a")(fsys) + " " + content("/b")(fsys) + " " + content("/c")(fsys)
	}
	require.ElementsMatch(t, []string{"A B missing", "A B B", "missing B missing", "missing B B"}, keys(outcomes(m, state)))
}

func TestAChangeDoesNotSurviveTheOneItBuildsOn(t *testing.T) {
	m := vfs.NewMem()
	put(t, m, "/0", "x")
	for i := range 5 {
		require.NoError(t, m.Rename(fmt.Sprintf("/%d", i), fmt.Sprintf("/%d", i+1)))
	}
	for s := range outcomes(m, func(fsys vfs.FS) string {
		entries, err := fsys.ReadDir("/")
		require.NoError(t, err)
		return fmt.Sprint(len(entries))
	}) {
		require.Contains(t, []string{"0", "1"}, s, "the file has one name or none")
	}
}

func TestAtomicReplacementShowsTheOldContentOrTheNew(t *testing.T) {
	// Cut the power before every call of a replacement.
	old, next := string(bytes.Repeat([]byte("old"), 900)), string(bytes.Repeat([]byte("new!"), 900))
	rng := rand.New(rand.NewPCG(1, 1))
	seen := map[string]int{}
	m := vfs.NewMem()
	require.NoError(t, vfs.WriteFileAtomic(m, "/m", []byte(old)))
	cut := vfs.NewFault(m, vfs.Plan{Before: func(vfs.Call) {
		for range 50 {
			seen[content("/m")(m.CrashClone(rng))]++
		}
	}})
	require.NoError(t, vfs.WriteFileAtomic(cut, "/m", []byte(next)))
	require.ElementsMatch(t, []string{old, next}, keys(seen))
	require.Equal(t, map[string]int{next: 400}, outcomes(m, content("/m")))
}

func TestAReplacementWithoutFsyncIsCaught(t *testing.T) {
	m := vfs.NewMem()
	require.NoError(t, vfs.WriteFileAtomic(m, "/m", []byte("old")))
	f, err := m.Create("/m.tmp")
	require.NoError(t, err)
	_, err = f.Write(bytes.Repeat([]byte("new!"), 900))
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.NoError(t, m.Rename("/m.tmp", "/m"))
	require.NoError(t, m.SyncDir("/"))
	seen := outcomes(m, content("/m"))
	require.Greater(t, seen[""], 20, "the name without the bytes")
	require.Greater(t, len(seen), 4, "and torn ones")
}

func TestACrashedFileSystemIsIndependentAndUnlocked(t *testing.T) {
	m := vfs.NewMem()
	_, err := m.Lock("/LOCK")
	require.NoError(t, err)
	put(t, m, "/a", "A")
	require.NoError(t, m.SyncDir("/"))
	c := m.CrashClone(rand.New(rand.NewPCG(1, 2)))
	put(t, c, "/a", "clone")
	require.Equal(t, "A", get(t, m, "/a"))
	_, err = c.Lock("/LOCK")
	require.NoError(t, err)
	_, err = m.Lock("/LOCK")
	require.ErrorIs(t, err, vfs.ErrLocked)
}

func TestEqualSeedsCrashAlike(t *testing.T) {
	m := vfs.NewMem()
	for i := range 50 {
		put(t, m, fmt.Sprintf("/%d", i), "x")
	}
	list := func(seed uint64) string {
		entries, err := m.CrashClone(rand.New(rand.NewPCG(seed, 0))).ReadDir("/")
		require.NoError(t, err)
		return fmt.Sprint(entries)
	}
	for seed := range uint64(20) {
		require.Equal(t, list(seed), list(seed))
	}
}

func TestTheNthCallFailsAndTheOthersDoNot(t *testing.T) {
	run := func(fsys vfs.FS) error { return vfs.WriteFileAtomic(fsys, "/m", []byte("new!")) }
	whole := vfs.NewFault(vfs.NewMem(), vfs.Plan{})
	require.NoError(t, run(whole))
	require.Equal(t, 6, whole.Calls(), "create, write, sync, close, rename, syncdir")
	for _, sticky := range []bool{false, true} {
		for n := 1; n <= whole.Calls(); n++ {
			m := vfs.NewMem()
			require.NoError(t, vfs.WriteFileAtomic(m, "/m", []byte("old")))
			x := vfs.NewFault(m, vfs.Plan{FailAt: n, Err: syscall.EIO, Sticky: sticky})
			require.ErrorIs(t, run(x), syscall.EIO, "call %d", n)
			call, ok := x.Failed()
			require.True(t, ok)
			require.Equal(t, n, call.N)
			for s := range outcomes(m, content("/m")) {
				require.Contains(t, []string{"old", "new!"}, s, "call %d, %s", n, call.Op)
			}
			_, err := x.Stat("/m")
			require.Equal(t, sticky, err != nil)
		}
	}
}

func TestAFaultCountsOnlyWhatItIsToldTo(t *testing.T) {
	x := vfs.NewFault(vfs.NewMem(), vfs.Plan{
		FailAt: 2, Err: syscall.ENOSPC,
		Only: func(op vfs.Op, name string) bool { return op == vfs.OpSync && path.Base(name) == "m.tmp" },
	})
	require.NoError(t, vfs.WriteFileAtomic(x, "/other", nil))
	require.NoError(t, vfs.WriteFileAtomic(x, "/m", nil))
	require.ErrorIs(t, vfs.WriteFileAtomic(x, "/m", nil), syscall.ENOSPC)
	require.NoError(t, vfs.WriteFileAtomic(x, "/m", nil))
	require.Equal(t, 3, x.Calls())
}

func TestAFailedWriteLeavesItsFirstHalf(t *testing.T) {
	m := vfs.NewMem()
	x := vfs.NewFault(m, vfs.Plan{FailAt: 2, Err: syscall.EIO})
	f, err := x.Create("/a")
	require.NoError(t, err)
	n, err := io.WriteString(f, "12345678")
	require.ErrorIs(t, err, syscall.EIO)
	require.Equal(t, 4, n)
	require.Equal(t, "1234", get(t, m, "/a"))
}

func TestAfterAFailedFsyncTheNextOneLies(t *testing.T) {
	m := vfs.NewMem()
	put(t, m, "/log", "")
	require.NoError(t, m.SyncDir("/"))
	x := vfs.NewFault(m, vfs.Plan{FailAt: 1, Err: syscall.EIO, Only: func(op vfs.Op, _ string) bool { return op == vfs.OpSync }})
	f, err := x.OpenReadWrite("/log")
	require.NoError(t, err)
	_, err = io.WriteString(f, "lost")
	require.NoError(t, err)
	require.ErrorIs(t, f.Sync(), syscall.EIO)
	require.NoError(t, f.Sync(), "the lie")
	require.Equal(t, "lost", get(t, m, "/log"), "readers still see it")
	require.Equal(t, map[string]int{"": 400}, outcomes(m, content("/log")))
	_, err = io.WriteString(f, "kept")
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.Equal(t, map[string]int{"\x00\x00\x00\x00kept": 400}, outcomes(m, content("/log")))
}

func TestAFullDiskTakesNoMoreUntilFilesGo(t *testing.T) {
	m := vfs.NewMem().WithDiskLimit(100)
	f, err := m.Create("/a")
	require.NoError(t, err)
	n, err := f.Write(make([]byte, 80))
	require.NoError(t, err)
	require.Equal(t, 80, n)
	n, err = f.Write(make([]byte, 30))
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.Equal(t, 20, n, "what fits is written")
	_, err = f.WriteAt(make([]byte, 100), 0)
	require.NoError(t, err, "overwriting needs no space")
	require.ErrorIs(t, f.Truncate(101), syscall.ENOSPC)
	free, err := m.FreeBytes("/")
	require.NoError(t, err)
	require.Zero(t, free)
	require.ErrorIs(t, vfs.WriteFileAtomic(m, "/b", []byte("x")), syscall.ENOSPC)
	_, err = m.Stat("/b.tmp")
	require.ErrorIs(t, err, fs.ErrNotExist)

	require.NoError(t, m.Remove("/a"))
	require.ErrorIs(t, vfs.WriteFileAtomic(m, "/b", []byte("x")), syscall.ENOSPC, "an open file keeps its space")
	require.NoError(t, f.Close())
	require.NoError(t, vfs.WriteFileAtomic(m, "/b", make([]byte, 60)))
	require.ErrorIs(t, vfs.WriteFileAtomic(m, "/b", make([]byte, 60)), syscall.ENOSPC, "both exist for a moment")
	m.WithDiskLimit(200)
	require.NoError(t, vfs.WriteFileAtomic(m, "/b", make([]byte, 60)))
	free, err = m.FreeBytes("/")
	require.NoError(t, err)
	require.EqualValues(t, 140, free)

	c := m.CrashClone(rand.New(rand.NewPCG(1, 2)))
	free, err = c.FreeBytes("/")
	require.NoError(t, err)
	require.EqualValues(t, 140, free)
}
