package index

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"spoor/internal/vfs"
)

const testDir = "/store"

func filterDisk(t testing.TB) *vfs.Mem {
	m := vfs.NewMem()
	require.NoError(t, m.MkdirAll(testDir))
	return m
}

// fresh opens filters in an empty directory.
func fresh(t testing.TB, fsys vfs.FS, firstKeys int) *Filters {
	f, covered, err := openFilters(fsys, testDir, firstKeys)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.Zero(t, covered)
	return f
}

func requireAll(t testing.TB, f *Filters, keys []uint64) {
	t.Helper()
	maybe := make([]bool, len(keys))
	f.HasAll(keys, maybe)
	for i, k := range keys {
		require.True(t, maybe[i] && f.Has(k), "key %d of %d is denied", i, len(keys))
	}
}

func TestFiltersGrowByGenerationsAndDenyNothing(t *testing.T) {
	f := fresh(t, filterDisk(t), 1000)
	keys := randomHashes(20_000, 1)
	f.AddAll(keys[:10_000])
	for _, k := range keys[10_000:] {
		f.Add(k)
	}
	requireAll(t, f, keys)
	s := f.Stats()
	require.Equal(t, 5, s.Generations, "1000, 2000, 4000, 8000 and 16000 keys")
	require.InDelta(t, 20_000, s.Keys, 200)
	admitted := 0
	maybe := make([]bool, 20_000)
	f.HasAll(randomHashes(20_000, 2), maybe)
	for _, m := range maybe {
		if m {
			admitted++
		}
	}
	require.Less(t, admitted, 20_000*2/100)
}

func TestSavedFiltersKnowEveryIDTheyCover(t *testing.T) {
	m := filterDisk(t)
	f := fresh(t, m, 1000)
	keys := randomHashes(9_000, 1)
	for i, k := range keys {
		f.Add(k)
		if i%500 == 499 {
			require.NoError(t, f.Save(uint64(i+1), true))
		}
	}
	g, covered, err := openFilters(m, testDir, 1000)
	require.NoError(t, err)
	require.EqualValues(t, 9_000, covered)
	requireAll(t, g, keys)
	require.Equal(t, f.Stats(), g.Stats())

	g.Add(1)
	require.NoError(t, g.Save(9_001, true))
	g, covered, err = openFilters(m, testDir, 1000)
	require.NoError(t, err)
	require.EqualValues(t, 9_001, covered)
	requireAll(t, g, append(keys, 1))
}

func TestSaveWritesTheNewestGenerationOnlyWhenItGrewEnough(t *testing.T) {
	m := filterDisk(t)
	writes := 0
	x := vfs.NewFault(m, vfs.Plan{Before: func(vfs.Call) { writes++ }, Only: func(op vfs.Op, _ string) bool { return op == vfs.OpRename }})
	f := fresh(t, x, 8000)
	keys := randomHashes(4000, 1)
	for i, k := range keys {
		f.Add(k)
		require.NoError(t, f.Save(uint64(i+1), false))
	}
	require.InDelta(t, 4, writes, 1, "once per eighth of 8000 keys")
	_, covered, err := openFilters(m, testDir, 8000)
	require.NoError(t, err)
	require.GreaterOrEqual(t, covered, uint64(2900))
	before := writes
	require.NoError(t, f.Save(4000, true))
	require.NoError(t, f.Save(4000, true))
	require.LessOrEqual(t, writes, before+1, "nothing new, nothing written")
}

func TestAFullGenerationIsWrittenForTheLastTime(t *testing.T) {
	m := filterDisk(t)
	writes := map[string]int{}
	x := vfs.NewFault(m, vfs.Plan{Before: func(c vfs.Call) { writes[c.Path]++ }, Only: func(op vfs.Op, _ string) bool { return op == vfs.OpRename }})
	f := fresh(t, x, 1000)
	for i, k := range randomHashes(7_000, 1) {
		f.Add(k)
		if i == 1500 || i == 3500 || i > 5000 && i%200 == 0 {
			require.NoError(t, f.Save(uint64(i), true))
		}
	}
	require.Equal(t, 1, writes[testDir+"/dedupe-1.bloom"])
	require.LessOrEqual(t, writes[testDir+"/dedupe-2.bloom"], 2)
	require.Greater(t, writes[testDir+"/dedupe-3.bloom"], 5)
}

// TestFiltersAfterAPowerCutNeverDenyWhatTheyCover cuts the power before every
// call of saves, opens what is left, adds the ids that it does not claim to
// cover, as the engine does, and goes on.
func TestFiltersAfterAPowerCutNeverDenyWhatTheyCover(t *testing.T) {
	keys := randomHashes(6_000, 1)
	rng := rand.New(rand.NewPCG(3, 3))
	images := 0
	for range 60 {
		m := filterDisk(t)
		f := fresh(t, m, 400)
		at := 0
		for cycle := 0; cycle < 6 && at < len(keys); cycle++ {
			var image *vfs.Mem
			cut := 1 + rng.IntN(60)
			x := vfs.NewFault(m, vfs.Plan{Before: func(c vfs.Call) {
				if c.N == cut {
					image = m.CrashClone(rng)
				}
			}})
			f.fsys = x
			for image == nil && at < len(keys) {
				n := min(len(keys), at+1+rng.IntN(300))
				f.AddAll(keys[at:n])
				at = n
				require.NoError(t, f.Save(uint64(at), rng.IntN(3) == 0))
			}
			if image == nil {
				break
			}
			images++
			g, covered, err := openFilters(image, testDir, 400)
			if err != nil {
				require.Zero(t, covered)
			}
			require.LessOrEqual(t, covered, uint64(at))
			requireAll(t, g, keys[:covered])
			g.AddAll(keys[covered:at])
			requireAll(t, g, keys[:at])
			m, f = image, g
		}
	}
	require.Greater(t, images, 60)
}

func TestFiltersAreRebuiltAfterDamageOfAnyFile(t *testing.T) {
	m := filterDisk(t)
	f := fresh(t, m, 500)
	keys := randomHashes(3_000, 1)
	f.AddAll(keys)
	require.NoError(t, f.Save(3_000, true))
	names := []string{"dedupe-1.bloom", "dedupe-2.bloom", "dedupe-3.bloom"}
	damages := map[string]func(fsys vfs.FS, name string){
		"missing": func(fsys vfs.FS, name string) { require.NoError(t, fsys.Remove(name)) },
		"empty":   func(fsys vfs.FS, name string) { require.NoError(t, vfs.WriteFileAtomic(fsys, name, nil)) },
		"flipped": func(fsys vfs.FS, name string) {
			b, err := vfs.ReadFile(fsys, name)
			require.NoError(t, err)
			b[len(b)/2] ^= 4
			require.NoError(t, vfs.WriteFileAtomic(fsys, name, b))
		},
		"another": func(fsys vfs.FS, name string) {
			other := names[0]
			if name == testDir+"/"+other {
				other = names[1]
			}
			b, err := vfs.ReadFile(fsys, testDir+"/"+other)
			require.NoError(t, err)
			require.NoError(t, vfs.WriteFileAtomic(fsys, name, b))
		},
	}
	for damage, do := range damages {
		for _, name := range names {
			t.Run(damage+" "+name, func(t *testing.T) {
				c := m.CrashClone(rand.New(rand.NewPCG(1, 1)))
				do(c, testDir+"/"+name)
				g, covered, err := openFilters(c, testDir, 500)
				require.ErrorIs(t, err, ErrCorrupt)
				require.Zero(t, covered)
				require.Zero(t, g.Stats().Keys)
				g.AddAll(keys)
				require.NoError(t, g.Save(3_001, true))
				g, covered, err = openFilters(c, testDir, 500)
				require.NoError(t, err)
				require.EqualValues(t, 3_001, covered)
				requireAll(t, g, keys)
				entries, err := c.ReadDir(testDir)
				require.NoError(t, err)
				require.Len(t, entries, 3, "the files of the damaged set are gone")
			})
		}
	}
}

func TestAFilterThatCannotBeReadIsAnError(t *testing.T) {
	m := filterDisk(t)
	f := fresh(t, m, 500)
	f.Add(1)
	require.NoError(t, f.Save(1, true))
	x := vfs.NewFault(m, vfs.Plan{FailAt: 1, Err: syscall.EIO, Only: func(op vfs.Op, _ string) bool { return op == vfs.OpRead }})
	g, covered, err := openFilters(x, testDir, 500)
	require.ErrorIs(t, err, syscall.EIO)
	require.Zero(t, covered)
	g.Add(2)
	require.True(t, g.Has(2))
}

func TestAFailedSaveIsAnErrorAndTheNextOneSucceeds(t *testing.T) {
	keys := randomHashes(1_500, 1)
	for n := 1; ; n++ {
		m := filterDisk(t)
		x := vfs.NewFault(m, vfs.Plan{FailAt: n, Err: syscall.EIO})
		f, _, err := openFilters(x, testDir, 500)
		require.Error(t, err)
		f.AddAll(keys)
		err = f.Save(1_500, true)
		if call, failed := x.Failed(); !failed {
			require.NoError(t, err)
			require.Greater(t, n, 10)
			return
		} else if call.Op != vfs.OpReadDir {
			require.ErrorIs(t, err, syscall.EIO, "call %d, %s", n, call.Op)
		}
		require.NoError(t, f.Save(1_500, true))
		g, covered, err := openFilters(m.CrashClone(rand.New(rand.NewPCG(1, 1))), testDir, 500)
		require.NoError(t, err, "call %d", n)
		require.EqualValues(t, 1_500, covered)
		requireAll(t, g, keys)
	}
}

func TestSavingAndStatsRunBesideAdditions(t *testing.T) {
	m := filterDisk(t)
	f := fresh(t, m, 2_000)
	keys := randomHashes(30_000, 1)
	const coveredKeys = 10_000
	f.AddAll(keys[:coveredKeys])
	var wg sync.WaitGroup
	wg.Go(func() {
		for range 20 {
			require.NoError(t, f.Save(coveredKeys, true))
			f.Stats()
		}
	})
	for _, k := range keys[coveredKeys:] {
		f.Add(k)
	}
	wg.Wait()
	requireAll(t, f, keys)
	g, covered, err := openFilters(m, testDir, 2_000)
	require.NoError(t, err)
	require.EqualValues(t, coveredKeys, covered)
	requireAll(t, g, keys[:coveredKeys])
}

// filterFile is what Save writes of a generation of 40 keys that has so many, head and rest.
func filterFile(t testing.TB, keys int) (head, rest []byte) {
	m := filterDisk(t)
	f := fresh(t, m, 40)
	f.Reach(20000)
	f.AddAll(randomHashes(keys, 1))
	require.NoError(t, f.Save(77, true))
	b, err := vfs.ReadFile(m, testDir+"/dedupe-1.bloom")
	require.NoError(t, err)
	return b[:filterHead], b[filterHead:]
}

func TestTheBytesOfAFilterFileArePinned(t *testing.T) {
	show := func(head []byte) string {
		return dump(head, 4, "magic", 1, "version", 1, "sealed", 1, "packed", 1, "zero", 4, "number", 4, "first number of its set",
			8, "capacity", 8, "keys", 8, "covered log index", 4, "last day", 4, "CRC32C")
	}
	head, rest := filterFile(t, 30)
	text := show(head) + fmt.Sprintf("%5d  a filter of %d bytes\n", filterHead, len(rest))
	plain, err := parseGeneration(slices.Concat(head, rest))
	require.NoError(t, err)
	require.Equal(t, plain.bloom.AppendTo(nil), rest)

	head, rest = filterFile(t, 3)
	golden(t, "filterfile.golden", text+"\npacked:\n"+show(head)+fmt.Sprintf("%5d  a filter of 80 bytes as a zstd frame\n", filterHead))
	rest, err = unpack(rest, 40)
	require.NoError(t, err)
	require.Equal(t, smallFilter().AppendTo(nil), rest)
}

func TestAFilterThatIsMostlyEmptyTakesLittleAndIsTheSameWhenItIsRead(t *testing.T) {
	const capacity = 100_000
	whole := bloomBlocks(capacity, filterKeyBits) * blockBytes
	for _, c := range []struct{ keys, percent int }{{1000, 12}, {10_000, 45}, {25_000, 75}, {49_000, 95}, {50_000, 101}, {99_000, 101}} {
		m := filterDisk(t)
		f := fresh(t, m, capacity)
		keys := randomHashes(c.keys, 1)
		f.AddAll(keys)
		require.NoError(t, f.Save(7, true))
		b, err := vfs.ReadFile(m, testDir+"/dedupe-1.bloom")
		require.NoError(t, err)
		require.Less(t, len(b)*100, whole*c.percent, "%d keys", c.keys)
		g, covered, err := openFilters(m, testDir, capacity)
		require.NoError(t, err)
		require.EqualValues(t, 7, covered)
		require.Equal(t, f.gens[0].bloom.blocks, g.gens[0].bloom.blocks)
	}
}

func TestAPackedFilterThatCannotBeWrittenIsAnError(t *testing.T) {
	for n := 1; ; n++ {
		fault := vfs.NewFault(filterDisk(t), vfs.Plan{FailAt: n, Err: syscall.EIO, Only: func(op vfs.Op, _ string) bool { return op == vfs.OpWrite || op == vfs.OpSync }})
		f := fresh(t, fault, 200_000)
		f.AddAll(randomHashes(50_000, 1))
		err := f.Save(7, true)
		if _, failed := fault.Failed(); !failed {
			require.NoError(t, err)
			require.Greater(t, n, 4)
			return
		}
		require.ErrorIs(t, err, syscall.EIO, "write %d", n)
	}
}

func TestDamageInAPackedFilterIsFound(t *testing.T) {
	head, rest := filterFile(t, 3)
	b := slices.Concat(head, rest)
	_, err := parseGeneration(b)
	require.NoError(t, err)
	for i := range b {
		for bit := range 8 {
			damaged := slices.Clone(b)
			damaged[i] ^= 1 << bit
			_, err := parseGeneration(damaged)
			require.ErrorIs(t, err, ErrCorrupt, "bit %d of byte %d", bit, i)
		}
		_, err := parseGeneration(b[:i])
		require.ErrorIs(t, err, ErrCorrupt, "%d bytes", i)
	}
}

func FuzzFilterFile(f *testing.F) {
	for _, keys := range []int{3, 30} {
		head, rest := filterFile(f, keys)
		f.Add(slices.Concat(head, rest))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if g, err := parseGeneration(b); err == nil {
			g.bloom.Has(1)
		}
	})
}

func BenchmarkFilters(b *testing.B) {
	const n = 10 << 20
	keys, strangers := randomHashes(n, 1), randomHashes(1<<20, 2)
	dir := b.TempDir()
	f, _, err := OpenFilters(vfs.OS(), dir)
	require.ErrorIs(b, err, fs.ErrNotExist)
	f.AddAll(keys)
	require.NoError(b, f.Save(1, true))
	b.Run("add", func(b *testing.B) {
		g, _, _ := OpenFilters(vfs.OS(), b.TempDir())
		for i := range b.N {
			g.Add(keys[i%n])
		}
	})
	b.Run("HasAll misses per key", func(b *testing.B) {
		const batch = 1024
		maybe := make([]bool, batch)
		for i := 0; i < b.N; i += batch {
			at := i % len(strangers)
			f.HasAll(strangers[at:at+batch], maybe)
		}
	})
	b.Run("open 10 M keys", func(b *testing.B) {
		for range b.N {
			_, _, err := OpenFilters(vfs.OS(), dir)
			require.NoError(b, err)
		}
	})
	b.Run("save 8 M keys", func(b *testing.B) {
		for i := range b.N {
			f.gens[len(f.gens)-1].saved = 0
			require.NoError(b, f.Save(uint64(i)+2, true))
		}
	})
}
