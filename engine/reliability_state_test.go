package engine

import (
	"context"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"spoor/engine/document"
	"spoor/engine/statehash"
	"spoor/internal/vfs"
)

// randomOptions are options that must not change any answer.
func randomOptions(rng *rand.Rand) Options {
	return Options{FlushRows: 1 + rng.IntN(300), MemoryBytes: 1 << (12 + rng.IntN(16))}
}

// reopen ends a store in one of three ways and opens it again; what was not
// durable is applied again.
func reopen(t *testing.T, fsys vfs.FS, db *DB, log []logEntry, applied int, rng *rand.Rand) *DB {
	t.Helper()
	ctx := context.Background()
	switch rng.IntN(3) {
	case 0: // in good order
		_, err := db.Checkpoint(ctx)
		require.NoError(t, err)
		require.NoError(t, db.Close())
	case 1:
		require.NoError(t, db.Close())
	default: // dropped
		require.NoError(t, db.lock.Close())
	}
	db = memStore(t, fsys, randomOptions(rng))
	for i := int(db.DurableIndex()); i < applied; i++ {
		applyEntry(db, log, i)
	}
	require.Equal(t, uint64(applied), db.AppliedIndex())
	return db
}

func TestTheSameLogGivesTheSameStateWhateverTheOptionsAndRestarts(t *testing.T) {
	ctx := context.Background()
	for seed := range uint64(rounds(4, 400)) {
		log := script(100+seed, 60, 30)
		m := newNaive()
		var verdicts []any
		for i := range log {
			verdicts = append(verdicts, m.apply(&log[i]))
		}
		var first *statehash.State
		for replica := range uint64(3) {
			rng := rand.New(rand.NewPCG(seed, replica))
			mem := vfs.NewMem()
			db := memStore(t, mem, randomOptions(rng))
			for i := range log {
				require.Equal(t, verdicts[i], applyEntry(db, log, i), "seed %d, replica %d, entry %d", seed, replica, i+1)
				if replica > 0 {
					_, err := step(ctx, db, rng)
					require.NoError(t, err)
					if rng.IntN(12) == 0 {
						db = reopen(t, mem, db, log, i+1, rng)
					}
				}
			}
			check(t, db, m)
			h, err := db.StateHash(ctx)
			require.NoError(t, err)
			if first == nil {
				first = h
			}
			require.Equal(t, first, h, "seed %d, replica %d", seed, replica)
			require.NoError(t, db.Close())
		}
		require.EqualValues(t, len(m.events), first.Rows)
		other := log[len(log)-1]
		other.data = identifyEntry("u-other", "a1", 0, "").data
		db := memStore(t, vfs.NewMem(), Options{})
		for i := range log {
			applyEntry(db, log, i)
		}
		db.Apply(uint64(len(log))+1, other.data)
		h, err := db.StateHash(ctx)
		require.NoError(t, err)
		require.NotEqual(t, first, h, "another log has another hash")
		require.NoError(t, db.Close())
	}
}

// TestRandomOperationsAgreeWithAMap is the metamorphic test: whatever is done in
// whatever order under whatever options, the answers are those of the map.
func TestRandomOperationsUnderRandomOptionsAgreeWithAMap(t *testing.T) {
	ctx := context.Background()
	for seed := range uint64(rounds(50, 5000)) {
		rng := rand.New(rand.NewPCG(seed, 50))
		s := newScripter(1000 + seed)
		s.users, s.anons, s.days = 1+rng.IntN(20), 1+rng.IntN(40), 1+rng.IntN(60)
		for range 5 + rng.IntN(30) {
			s.add(1 + rng.IntN(40))
		}
		log, m, mem := s.entries, newNaive(), vfs.NewMem()
		db := memStore(t, mem, randomOptions(rng))
		for i := range log {
			want := m.apply(&log[i])
			require.Equal(t, want, applyEntry(db, log, i), "seed %d, entry %d", seed, i+1)
			require.Nil(t, db.Apply(uint64(i)+1, log[i].data), "an entry that was applied is skipped")
			_, err := step(ctx, db, rng)
			require.NoError(t, err)
			if rng.IntN(10) == 0 {
				db = reopen(t, mem, db, log, i+1, rng)
			}
			if rng.IntN(8) == 0 {
				checkRows(t, db, m, true)
			}
		}
		check(t, db, m)
		require.NoError(t, db.Compact(ctx))
		check(t, db, m)
		overlaps(t, db)
		report, err := db.Verify(ctx, nil)
		require.NoError(t, err)
		require.NoError(t, report.Err())
		require.NoError(t, db.Close())
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// overlaps checks that after Compact every day is in one file, or in several that share no person.
func overlaps(t *testing.T, db *DB) {
	t.Helper()
	v := db.files.acquire()
	defer v.release()
	type span struct {
		file        string
		first, last uint32
	}
	days := map[int32][]span{}
	for _, f := range v.files {
		require.Equal(t, 1, f.meta.Level)
		for _, d := range f.days().Days {
			p, err := f.r.Persons(d.Day)
			require.NoError(t, err)
			first, some := p.Min()
			if !some {
				continue
			}
			last, _ := p.Max()
			for _, o := range days[d.Day] {
				require.True(t, last < o.first || o.last < first, "day %d: persons %d to %d in %s, %d to %d in %s", d.Day, first, last, f.meta.Name, o.first, o.last, o.file)
			}
			days[d.Day] = append(days[d.Day], span{f.meta.Name, first, last})
		}
	}
}

func TestAStoreThatIsDroppedManyTimesGoesOnWhereItsFilesEnd(t *testing.T) {
	ctx := context.Background()
	rng := rand.New(rand.NewPCG(5, 5))
	log := script(77, 120, 10)
	m, mem := newNaive(), vfs.NewMem()
	db := memStore(t, mem, Options{FlushRows: 50})
	promised := uint64(0)
	for i := range log {
		require.Equal(t, m.apply(&log[i]), applyEntry(db, log, i))
		p, err := step(ctx, db, rng)
		require.NoError(t, err)
		promised = max(promised, p)
		require.NoError(t, db.lock.Close())
		db = memStore(t, mem, Options{FlushRows: 50})
		require.GreaterOrEqual(t, db.DurableIndex(), promised)
		for j := int(db.DurableIndex()); j <= i; j++ {
			applyEntry(db, log, j)
		}
	}
	check(t, db, m)
	require.NoError(t, db.Close())
}

func TestDocumentsThatAreAheadOfTheLogStandStillUntilItArrives(t *testing.T) {
	d := document.New()
	for i := range document.MaxCount {
		d.Put(document.Document{Kind: "query", Name: strconv.Itoa(i), Index: uint64(i) + 1})
	}
	next := uint64(document.MaxCount)
	replayed := func(d *document.Store) {
		d.Put(document.Document{Kind: "query", Name: "one too many", Index: next + 1})
		d.Remove("query", "0", next+2)
	}
	replayed(d)
	require.Len(t, d.List("query"), document.MaxCount-1)
	b, err := d.Marshal()
	require.NoError(t, err)
	after := document.New()
	require.NoError(t, after.Unmarshal(b))
	require.Equal(t, statehash.Documents(d), statehash.Documents(after))
	replayed(after) // the manifest covers less of the log than the documents
	require.Equal(t, statehash.Documents(d), statehash.Documents(after))
	after.Put(document.Document{Kind: "query", Name: "new", Index: next + 3})
	require.Len(t, after.List("query"), document.MaxCount)
}
