package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/engine/erasure"
	"spoor/engine/letters"
	"spoor/internal/vfs"
)

// eraseEntry is the log entry of a request.
func eraseEntry(t testing.TB, r erasure.Request) logEntry {
	t.Helper()
	require.NoError(t, r.Check())
	data, err := EraseEntry(&r)
	require.NoError(t, err)
	return logEntry{data: data}
}

// bodies are the events of a store by id, as bodyOf has them.
func bodies(t testing.TB, db *DB) map[string]string {
	t.Helper()
	v, err := db.View()
	require.NoError(t, err)
	defer v.Release()
	out := map[string]string{}
	for id, r := range rowsIn(t, v) {
		out[id] = r.body
	}
	return out
}

func TestAFieldThatIsErasedWhileAFileIsWrittenIsNotInIt(t *testing.T) {
	ctx := context.Background()
	for _, merging := range []bool{false, true} {
		var db *DB
		var log []logEntry
		armed, created := false, 0
		fs := vfs.NewFault(vfs.NewMem(), vfs.Plan{Only: func(op vfs.Op, _ string) bool { return op == vfs.OpCreate }, Before: func(c vfs.Call) {
			if !armed {
				return
			}
			if created++; created == 2 { // the first file is written and not yet one of the store's
				armed = false
				applyEntry(db, log, len(log)-1)
			}
		}})
		db = memStore(t, fs, Options{})
		s := newScripter(7)
		var events [2][]testEvent
		for i := range 2 * testSmallRows { // days with many rows have a file each
			day := i % 2
			events[day] = append(events[day], testEvent{id: fmt.Sprint("id", i), name: "e", user: "u", time: scriptStart + int64(day)*24*3600e6 + int64(i), s: "secret"})
		}
		s.batch(events[0])
		// A rule closes the memtable and what comes later goes into a file of its own.
		s.entries = append(s.entries, eraseEntry(t, erasure.Request{ID: "none", Kind: erasure.Events, Events: []string{"none"}}))
		s.batch(events[1])
		s.entries = append(s.entries, eraseEntry(t, erasure.Request{ID: "er", Kind: erasure.Field, Fields: []string{"properties.deep"}}))
		log = s.entries
		for i := range log[:3] {
			applyEntry(db, log, i)
		}
		if armed = !merging; merging {
			_, err := db.Checkpoint(ctx)
			require.NoError(t, err)
			armed = true
			require.NoError(t, db.Compact(ctx))
		} else {
			_, err := db.Checkpoint(ctx)
			require.NoError(t, err)
		}
		require.False(t, armed, "the test must be able to fail")
		for id, body := range bodies(t, db) {
			require.NotContains(t, body, "secret", "merging %v, %s", merging, id)
		}
		require.NoError(t, db.Compact(ctx))
		require.Empty(t, filesWith(t, fs, "secret"), "merging %v", merging)
		require.NoError(t, db.Close())
	}
}

func TestAFieldThatIsErasedWhileFilesAreMergedIsThereForConditionsThatCameBefore(t *testing.T) {
	ctx := context.Background()
	var db *DB
	var log []logEntry
	armed, created := false, 0
	fs := vfs.NewFault(vfs.NewMem(), vfs.Plan{Only: func(op vfs.Op, _ string) bool { return op == vfs.OpCreate }, Before: func(vfs.Call) {
		if !armed {
			return
		}
		if created++; created == 2 {
			armed = false
			applyEntry(db, log, 2)
			applyEntry(db, log, 3)
		}
	}})
	db = memStore(t, fs, Options{})
	s := newScripter(7)
	for day := range 2 {
		var events []testEvent
		for i := range testSmallRows {
			events = append(events, testEvent{id: fmt.Sprint("id", day, "-", i), name: "e", user: "u", time: scriptStart + int64(day)*24*3600e6 + int64(i), s: "secret"})
		}
		s.batch(events)
	}
	s.entries = append(s.entries, eraseEntry(t, erasure.Request{ID: "er1", Kind: erasure.Events, Where: `properties.deep.s = "secret"`}))
	s.entries = append(s.entries, eraseEntry(t, erasure.Request{ID: "er2", Kind: erasure.Field, Fields: []string{"properties.deep"}}))
	log = s.entries
	applyEntry(db, log, 0)
	applyEntry(db, log, 1)
	_, err := db.Checkpoint(ctx)
	require.NoError(t, err)
	armed = true
	for armed {
		done, err := db.compactOnce(ctx, wholeDays)
		require.NoError(t, err)
		require.False(t, done && armed, "the test must be able to fail")
	}
	require.Empty(t, bodies(t, db))
	require.NoError(t, db.Compact(ctx))
	require.Empty(t, bodies(t, db))
	require.NoError(t, db.Close())
}

func TestAConditionIsAboutTheFieldsThatWereThereAtItsTime(t *testing.T) {
	ctx := context.Background()
	byField := erasure.Request{Kind: erasure.Events, Where: `properties.deep.s = "x"`}
	byLack := erasure.Request{Kind: erasure.Events, Where: `properties.deep.s missing`}
	field := erasure.Request{Kind: erasure.Field, Fields: []string{"properties.deep"}}
	anonymise := erasure.Request{Kind: erasure.Anonymise, User: "u1", Fields: []string{"properties.deep.s"}}
	for _, c := range []struct {
		name   string
		orders []erasure.Request
		left   []string
	}{
		{"the events, then the field", []erasure.Request{byField, field}, []string{"3", "4"}},
		{"the field, then the events", []erasure.Request{field, byField}, []string{"1", "2", "3", "4"}},
		{"the field, then the events without it", []erasure.Request{field, byLack}, nil},
		{"the events, then the field of a person", []erasure.Request{byField, anonymise}, []string{"3", "4"}},
		{"the field of a person, then the events", []erasure.Request{anonymise, byField}, []string{"1", "3", "4"}},
		{"the field of a person, then the events without it", []erasure.Request{anonymise, byLack}, []string{"2", "3"}},
	} {
		for seed := range uint64(12) { // files are written anew at other times
			rng := rand.New(rand.NewPCG(seed, 1))
			s := newScripter(8)
			s.batch([]testEvent{
				{id: "1", name: "e", user: "u1", time: scriptStart, s: "x"},
				{id: "2", name: "e", user: "u2", time: scriptStart, s: "x"},
				{id: "3", name: "e", user: "u2", time: scriptStart, s: "y"},
				{id: "4", name: "e", user: "u2", time: scriptStart},
			})
			for i, r := range c.orders {
				r.ID = fmt.Sprint("er", i)
				s.entries = append(s.entries, eraseEntry(t, r))
			}
			mem := vfs.NewMem()
			db := memStore(t, mem, Options{})
			for i := range s.entries {
				applyEntry(db, s.entries, i)
				if rng.IntN(2) == 0 {
					_, err := step(ctx, db, rng)
					require.NoError(t, err)
				}
				if rng.IntN(3) == 0 {
					db = reopen(t, mem, db, s.entries, i+1, rng)
				}
			}
			for range 2 {
				var left []string
				for id := range bodies(t, db) {
					left = append(left, id)
				}
				require.ElementsMatch(t, c.left, left, "%s, seed %d", c.name, seed)
				require.NoError(t, db.Compact(ctx))
			}
			require.NoError(t, db.Close())
		}
	}
}

func TestACheckpointBetweenAnErasureAndItsIndexWaitsForNothing(t *testing.T) {
	ctx := context.Background()
	db := memStore(t, vfs.NewMem(), Options{})
	s := newScripter(9)
	s.batch([]testEvent{{id: "1", name: "e", user: "u1", time: scriptStart}})
	applyEntry(db, s.entries, 0)
	for i, apply := range []func(index uint64) (any, error){
		func(index uint64) (any, error) {
			return db.applyErase(index, eraseEntry(t, erasure.Request{ID: "er", Kind: erasure.Person, User: "u1"}).data[1:])
		},
		func(index uint64) (any, error) {
			data, err := CutoffsEntry(erasure.Cutoffs{Default: 1})
			require.NoError(t, err)
			return db.applyRetention(index, data[1:])
		},
	} {
		// As Apply does it, before it notes the index.
		_, err := apply(uint64(i) + 2)
		require.NoError(t, err)
		covered, err := db.Checkpoint(ctx)
		require.NoError(t, err)
		require.Equal(t, uint64(i)+2, covered)
	}
	require.NoError(t, db.Close())
}

func TestAnErasureIsNotDoneInBytesWhileAReaderKeepsAFileThatWasReplaced(t *testing.T) {
	ctx := context.Background()
	mem := vfs.NewMem()
	db := memStore(t, mem, Options{})
	s := newScripter(9)
	s.batch([]testEvent{{id: "1", name: "e", user: "u1", s: "secret", time: scriptStart}, {id: "2", name: "e", user: "u2", time: scriptStart}})
	s.entries = append(s.entries, eraseEntry(t, erasure.Request{ID: "er", Kind: erasure.Person, User: "u1"}))
	applyEntry(db, s.entries, 0)
	_, err := db.Checkpoint(ctx)
	require.NoError(t, err)
	v, err := db.View()
	require.NoError(t, err)
	applyEntry(db, s.entries, 1)
	require.NoError(t, db.Compact(ctx))
	records, err := db.Erasures()
	require.NoError(t, err)
	require.NotEmpty(t, filesWith(t, mem, "secret"), "the test must be able to fail")
	require.Equal(t, EraseStatus{Rows: 1, Files: 1}, db.EraseStatus(&records[0]))
	v.Release()
	require.Empty(t, filesWith(t, mem, "secret"))
	require.Equal(t, EraseStatus{Rows: 1, Erased: true}, db.EraseStatus(&records[0]))
	require.NoError(t, db.Close())
}

func TestADiskThatWasFullWhileErasingKeepsNoFileThatNoManifestNames(t *testing.T) {
	ctx := context.Background()
	for n, failed := 1, true; failed; n++ {
		mem, armed := vfs.NewMem(), false
		fault := vfs.NewFault(mem, vfs.Plan{FailAt: n, Err: syscall.ENOSPC, Only: func(op vfs.Op, _ string) bool {
			return armed && op != vfs.OpOpen && op != vfs.OpRead && op != vfs.OpClose && op != vfs.OpRemove
		}})
		fatal := false
		db, err := Open("data", Options{FS: fault, ManualCompaction: true, firstFilterKeys: testFilterKeys, OnFatal: func(error) { fatal = true }})
		require.NoError(t, err)
		s := newScripter(9)
		s.batch([]testEvent{{id: "1", name: "e", user: "secret-user", s: "secret", time: scriptStart}, {id: "2", name: "e", user: "u2", time: scriptStart}})
		s.entries = append(s.entries, identifyEntry("secret-user", "secret-phone", 1, `{"email":"secret-mail"}`))
		s.batch([]testEvent{{id: "3", name: "e", user: "secret-user", s: "secret", time: scriptStart}})
		letter := &letters.Letter{ID: "x", Name: "e", Reason: "schema", Event: []byte(`{"eventName":"e","userId":"secret-user"}`)}
		s.entries = append(s.entries, logEntry{data: LettersEntry(letters.Bounds{Bytes: letters.MaxBytes}, letters.Append(nil, letter))})
		for i := range s.entries {
			applyEntry(db, s.entries, i)
			if i%2 == 1 {
				_, err := db.Checkpoint(ctx)
				require.NoError(t, err)
			}
		}
		armed = true
		_ = db.Compact(ctx) // a merge of what is not erased yet
		if !fatal {
			require.NotNil(t, db.Apply(uint64(len(s.entries))+1, eraseEntry(t, erasure.Request{ID: "er", Kind: erasure.Person, User: "secret-user"}).data))
			_ = db.Compact(ctx)
		}
		armed = false
		if _, failed = fault.Failed(); !fatal {
			require.NoError(t, db.Compact(ctx))
			call, _ := fault.Failed()
			require.Empty(t, filesWith(t, mem, "secret"), "call %d, %v", n, call)
			require.NoError(t, db.Close())
		} else {
			require.NoError(t, db.lock.Close())
		}
	}
}

func TestErasuresThatKeepComingAreCarriedOutTogether(t *testing.T) {
	ctx := context.Background()
	db := memStore(t, vfs.NewMem(), Options{EraseWithin: 24 * time.Hour})
	s := newScripter(10)
	for i := range 10 {
		s.batch([]testEvent{{id: fmt.Sprint(i), name: "e", user: fmt.Sprint("u", i), time: scriptStart}})
	}
	for i := range 10 {
		s.entries = append(s.entries, eraseEntry(t, erasure.Request{ID: fmt.Sprint("er", i), Kind: erasure.Person, User: fmt.Sprint("u", i)}))
	}
	for i := range 10 {
		applyEntry(db, s.entries, i)
	}
	now := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	purges, before := 0, uint64(0)
	for i := range 10 { // one an hour; after half of the time they go, and the next wait as long
		applyEntry(db, s.entries, 10+i)
		for range 5 {
			now = now.Add(12 * time.Minute)
			require.NoError(t, db.purgeDue(ctx, now, false))
			db.manifestMu.Lock()
			if db.forgotten != before {
				purges, before = purges+1, db.forgotten
			}
			db.manifestMu.Unlock()
		}
	}
	require.Zero(t, purges)
	for i := range 20 * 5 {
		if i%5 == 0 {
			s.entries = append(s.entries, eraseEntry(t, erasure.Request{ID: fmt.Sprint("later", i), Kind: erasure.Person, User: fmt.Sprint("other", i)}))
			applyEntry(db, s.entries, len(s.entries)-1)
		}
		now = now.Add(12 * time.Minute)
		require.NoError(t, db.purgeDue(ctx, now, false))
		db.manifestMu.Lock()
		if db.forgotten != before {
			purges, before = purges+1, db.forgotten
		}
		db.manifestMu.Unlock()
	}
	require.Equal(t, 2, purges, "in 30 hours, of erasures that may stay 24")
	require.NoError(t, db.Close())
}
