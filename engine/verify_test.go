package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"spoor/engine/statehash"
	"spoor/internal/vfs"
)

// builtStore is a closed store with files of every type and two levels.
func builtStore(t *testing.T, seed uint64) (*vfs.Mem, []logEntry, *statehash.State) {
	t.Helper()
	ctx := context.Background()
	log, mem := script(seed, 50, 30), vfs.NewMem()
	db := memStore(t, mem, Options{FlushRows: 200})
	for i := range log {
		applyEntry(db, log, i)
		if i == len(log)/2 {
			require.NoError(t, db.Compact(ctx))
		}
	}
	_, err := db.Checkpoint(ctx)
	require.NoError(t, err)
	h, err := db.StateHash(ctx)
	require.NoError(t, err)
	levels := map[int]bool{}
	for _, f := range db.files.current.files {
		levels[f.meta.Level] = true
	}
	require.Len(t, levels, 2)
	require.NoError(t, db.Close())
	return mem, log, h
}

func filesOf(t *testing.T, fsys vfs.FS, dir string) map[string][]byte {
	t.Helper()
	entries, err := fsys.ReadDir(dir)
	require.NoError(t, err)
	out := map[string][]byte{}
	for _, e := range entries {
		if e.Name() != lockName {
			out[e.Name()], err = vfs.ReadFile(fsys, dir+"/"+e.Name())
			require.NoError(t, err)
		}
	}
	return out
}

// memWith makes a file system with a store of these files.
func memWith(t *testing.T, files map[string][]byte) *vfs.Mem {
	t.Helper()
	mem := vfs.NewMem()
	require.NoError(t, mem.MkdirAll("data"))
	for name, b := range files {
		require.NoError(t, vfs.WriteFileAtomic(mem, "data/"+name, b))
	}
	return mem
}

func TestAHealthyStoreHasNoProblemsOfflineAndOnline(t *testing.T) {
	ctx := context.Background()
	mem, log, _ := builtStore(t, 500)
	m := modelAt(log, uint64(len(log)))
	last := int64(0)
	report, err := Verify(ctx, mem, "data", func(done, total int64) {
		require.Greater(t, done, last)
		require.LessOrEqual(t, done, total)
		last = done
	})
	require.NoError(t, err)
	require.NoError(t, report.Err())
	require.Empty(t, report.Notes)
	require.EqualValues(t, len(m.events), report.Rows)
	require.Equal(t, len(m.docs), report.Documents)
	require.Positive(t, report.Persons)
	require.Equal(t, uint64(len(log)), report.AppliedIndex)
	require.Equal(t, last, report.Bytes)

	db := memStore(t, mem, Options{})
	online, err := db.Verify(ctx, nil)
	require.NoError(t, err)
	require.Equal(t, report, online)
	_, err = Verify(ctx, mem, "data", nil)
	require.ErrorIs(t, err, vfs.ErrLocked, "a store that is in use is not verified from outside")
	require.NoError(t, db.Close())

	report, err = Verify(ctx, vfs.NewMem(), "data", nil)
	require.True(t, err != nil || len(report.Notes) > 0, "no store is not a healthy one")
}

func TestEveryDamageOfEveryFileIsNoticedAndNoWrongRowIsRead(t *testing.T) {
	ctx := context.Background()
	base, _, want := builtStore(t, 501)
	files := filesOf(t, base, "data")
	types := map[string]string{}
	for name := range files {
		types[name[strings.LastIndexByte(name, '.')+1:]] = max(types[name[strings.LastIndexByte(name, '.')+1:]], name)
	}
	require.Len(t, types, 6, "%v", types)
	rng := rand.New(rand.NewPCG(1, 501))
	for kind, name := range types {
		whole := files[name]
		damages := map[string][]byte{"missing": nil, "empty": {}}
		for i := range rounds(50, 200) {
			at := rng.IntN(len(whole))
			flipped, zeroed := slices.Clone(whole), slices.Clone(whole)
			flipped[at] ^= 1 << rng.IntN(8)
			damages[fmt.Sprintf("flipped at %d", at)] = flipped
			clear(zeroed[at:min(at+512, len(zeroed))])
			damages[fmt.Sprintf("zeroed at %d", at)] = zeroed
			if i%2 == 0 {
				damages[fmt.Sprintf("torn at %d", at)] = whole[:at:at]
			}
		}
		for how, b := range damages {
			if b != nil && slices.Equal(b, whole) {
				continue
			}
			damaged := map[string][]byte{}
			for n, c := range files {
				damaged[n] = c
			}
			if damaged[name] = b; b == nil {
				delete(damaged, name)
			}
			mem := memWith(t, damaged)
			report, err := Verify(ctx, mem, "data", nil)
			require.NoError(t, err)
			if kind == "bloom" {
				require.NotEmpty(t, report.Notes, "%s %s", name, how)
				require.NoError(t, report.Err(), "filters are built again")
			} else {
				require.Error(t, report.Err(), "%s %s", name, how)
			}
			db, err := Open("data", Options{FS: mem, ManualCompaction: true, firstFilterKeys: testFilterKeys, OnFatal: func(error) {}})
			if err != nil {
				continue
			}
			if h, err := db.StateHash(ctx); err == nil {
				require.Equal(t, want, h, "%s %s: wrong rows", name, how)
			}
			require.NoError(t, db.Close())
		}
	}
}

func TestAStoreWhoseManifestIsGoneIsNotTakenForAnEmptyOne(t *testing.T) {
	base, _, _ := builtStore(t, 502)
	require.NoError(t, base.Remove("data/"+manifestName))
	before := filesOf(t, base, "data")
	_, err := Open("data", Options{FS: base, ManualCompaction: true})
	require.ErrorIs(t, err, ErrManifest)
	require.ErrorContains(t, err, "restore it from a backup")
	require.Equal(t, before, filesOf(t, base, "data"), "nothing was removed")
}

func TestAnEventThatIsInTwoFilesIsNamed(t *testing.T) {
	ctx := context.Background()
	mem := vfs.NewMem()
	db := memStore(t, mem, Options{})
	s := newScripter(503)
	s.batch([]testEvent{{id: "order/1", name: "paid", user: "u1", time: scriptStart}, {id: "order/2", name: "paid", user: "u1", time: scriptStart}})
	for i := range uint64(2) { // with dedupe switched off, by an empty filter
		db.live().filters = memStore(t, vfs.NewMem(), Options{}).live().filters
		require.Equal(t, 2, db.Apply(i+1, s.entries[0].data).(*EventsResult).Accepted)
		_, err := db.Checkpoint(ctx)
		require.NoError(t, err)
	}
	report, err := db.Verify(ctx, nil)
	require.NoError(t, err)
	require.Len(t, report.Problems, 2)
	require.Contains(t, report.Problems[0].Text+report.Problems[1].Text, `"order/1" is also in`)
	require.ErrorIs(t, report.Err(), ErrDamaged)

	db.live().filters = memStore(t, vfs.NewMem(), Options{}).live().filters
	report, err = db.Verify(ctx, nil)
	require.NoError(t, err)
	require.ErrorContains(t, report.Err(), "the dedupe filters deny 2 of its ids")
	require.NoError(t, db.Close())
}
