package engine

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/stretchr/testify/require"

	"spoor/engine/idkey"
	"spoor/index"
	"spoor/internal/vfs"
	"spoor/segment"
	"spoor/segment/batch"
)

// credulous writes a dedupe filter that says maybe to every id: all its bits are set.
func credulous(t *testing.T, fsys vfs.FS) {
	t.Helper()
	const capacity = 1000
	bloom := index.NewBloom(capacity, 12).AppendTo(nil)
	for i := 12; i < len(bloom)-4; i++ {
		bloom[i] = 0xff
	}
	sum := func(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }
	binary.LittleEndian.PutUint32(bloom[len(bloom)-4:], sum(bloom[:len(bloom)-4]))
	le := binary.LittleEndian
	head := append([]byte("SPDF"), 1, 0, 0, 0)
	head = le.AppendUint32(le.AppendUint32(head, 1), 1)
	head = le.AppendUint64(le.AppendUint64(le.AppendUint64(head, capacity), 1), 1<<40) // it covers everything
	head = le.AppendUint32(head, sum(head))
	require.NoError(t, vfs.WriteFileAtomic(fsys, "data/dedupe-1.bloom", append(head, bloom...)))
}

func TestAFilterThatSaysMaybeToEverythingLosesNothing(t *testing.T) {
	ctx := context.Background()
	for seed := range uint64(rounds(3, 100)) {
		rng := rand.New(rand.NewPCG(seed, 4))
		log := script(300+seed, 60, 30)
		m, mem := newNaive(), vfs.NewMem()
		require.NoError(t, memStore(t, mem, Options{}).Close())
		credulous(t, mem)
		db := memStore(t, mem, Options{FlushRows: 100})
		for range 2 {
			require.True(t, db.live().filters.Has(rng.Uint64()), "the filter denies an id")
		}
		for i := range log {
			require.Equal(t, m.apply(&log[i]), applyEntry(db, log, i))
			_, err := step(ctx, db, rng)
			require.NoError(t, err)
		}
		require.Equal(t, 1, db.live().filters.Stats().Generations)
		check(t, db, m)
		require.NoError(t, db.Close())
	}
}

// places puts an event where duplicates are looked for, and goes on to the next.
var places = []struct {
	name string
	move func(t *testing.T, mem *vfs.Mem, db *DB, log []logEntry, applied int) *DB
}{
	{"the open memtable", func(_ *testing.T, _ *vfs.Mem, db *DB, _ []logEntry, _ int) *DB { return db }},
	{"a memtable that waits for its flush", func(_ *testing.T, _ *vfs.Mem, db *DB, _ []logEntry, _ int) *DB {
		db.mem.Lock()
		db.rotate()
		db.mem.Unlock()
		return db
	}},
	{"a file of level 0", func(t *testing.T, _ *vfs.Mem, db *DB, _ []logEntry, _ int) *DB {
		_, err := db.Checkpoint(context.Background())
		require.NoError(t, err)
		return db
	}},
	{"a file of level 0 after a restart", func(t *testing.T, mem *vfs.Mem, db *DB, _ []logEntry, _ int) *DB {
		require.NoError(t, db.Close())
		return memStore(t, mem, Options{})
	}},
	{"a file of level 1", func(t *testing.T, _ *vfs.Mem, db *DB, _ []logEntry, _ int) *DB {
		require.NoError(t, db.Compact(context.Background()))
		return db
	}},
	{"a file of level 1 after a drop", func(t *testing.T, mem *vfs.Mem, db *DB, log []logEntry, applied int) *DB {
		require.NoError(t, db.lock.Close())
		db = memStore(t, mem, Options{})
		for i := int(db.DurableIndex()); i < applied; i++ {
			applyEntry(db, log, i)
		}
		return db
	}},
}

func TestTheFirstEventOfAnIdStaysWhereverItIs(t *testing.T) {
	s := newScripter(9)
	uuid := "0198c0de-0000-7000-8000-00000000beef"
	first := []testEvent{
		{id: uuid, name: "paid", user: "u1", time: scriptStart, n: 1},
		{id: "order/1", name: "paid", anon: "a1", time: scriptStart, n: 1},
		{id: strings.ToUpper(uuid), name: "paid", user: "u1", time: scriptStart, n: 1}, // a text of its own
		{id: "0198c0de000070008000000000000bee", name: "paid", user: "u1", time: scriptStart, n: 1},
	}
	again := make([]testEvent, 0, 3*len(first))
	for _, e := range first {
		same, other, moved := e, e, e
		other.n, other.name, other.user = 2, "refunded", "u2"
		moved.time += 40 * segment.MicrosPerDay // a corrected timestamp, on a day that no file has
		again = append(again, same, other, moved)
	}
	s.batch(append(append([]testEvent(nil), first...), again...))
	for range places {
		s.batch(again)
	}
	log, m, mem := s.entries, newNaive(), vfs.NewMem()
	db := memStore(t, mem, Options{})
	res := applyEntry(db, log, 0).(*EventsResult)
	require.Equal(t, m.apply(&log[0]), res, "in one batch")
	require.Equal(t, len(first), res.Accepted)
	for i, p := range places {
		db = p.move(t, mem, db, log, i+1)
		res := applyEntry(db, log, i+1).(*EventsResult)
		require.Zero(t, res.Accepted, p.name)
		require.Equal(t, len(again), res.Duplicates, p.name)
		m.apply(&log[i+1])
		check(t, db, m)
	}
	require.NoError(t, db.Close())
}

func TestADuplicateIsSeenWhenTheFiltersBeginAGenerationBetweenTheTwo(t *testing.T) {
	for fill := range testFilterKeys + 2 {
		s := newScripter(10)
		var events []testEvent
		for range fill {
			events = append(events, s.event(nil))
		}
		twice := testEvent{id: "twice", name: "paid", user: "u1", time: scriptStart}
		events = append(events, twice, s.event(nil), s.event(nil), twice)
		s.batch(events)
		db, m := memStore(t, vfs.NewMem(), Options{}), newNaive()
		require.Equal(t, m.apply(&s.entries[0]), applyEntry(db, s.entries, 0), "%d ids before", fill)
		checkRows(t, db, m, true)
		require.NoError(t, db.Close())
	}
}

func TestResendsThatAreAllDuplicatesTakeNoMemory(t *testing.T) {
	s := newScripter(12)
	events := make([]testEvent, 50)
	for i := range events {
		events[i] = s.event(nil)
	}
	s.batch(events)
	db := memStore(t, vfs.NewMem(), Options{})
	applyEntry(db, s.entries, 0)
	for i := range uint64(1000) {
		require.Zero(t, db.Apply(i+2, s.entries[0].data).(*EventsResult).Accepted)
	}
	require.Len(t, db.mem.active.parts, 1)
	require.EqualValues(t, 50, db.mem.active.total)
	p, err := db.Checkpoint(context.Background())
	require.NoError(t, err)
	require.EqualValues(t, 1001, p, "the log can be cut behind duplicates too")
	require.NoError(t, db.Close())
}

func TestFiltersThatAreMissingOrDamagedAreBuiltAgain(t *testing.T) {
	ctx := context.Background()
	log := script(21, 40, 30)
	m := modelAt(log, uint64(len(log)))
	base := vfs.NewMem()
	db := memStore(t, base, Options{FlushRows: 100})
	for i := range log {
		applyEntry(db, log, i)
		if i%7 == 0 {
			_, err := db.Checkpoint(ctx)
			require.NoError(t, err)
		}
		if i == 20 {
			require.NoError(t, db.Compact(ctx))
		}
	}
	_, err := db.Checkpoint(ctx)
	require.NoError(t, err)
	generations := db.live().filters.Stats().Generations
	require.Greater(t, generations, 2)
	require.NoError(t, db.Close())
	damage := func(name string, do func(b []byte) []byte) func(t *testing.T, mem *vfs.Mem) {
		return func(t *testing.T, mem *vfs.Mem) {
			b, err := vfs.ReadFile(mem, name)
			require.NoError(t, err)
			require.NoError(t, vfs.WriteFileAtomic(mem, name, do(b)))
		}
	}
	flip := func(b []byte) []byte { b[len(b)/2] ^= 8; return b }
	for name, hurt := range map[string]func(t *testing.T, mem *vfs.Mem){
		"nothing": func(*testing.T, *vfs.Mem) {},
		"all missing": func(t *testing.T, mem *vfs.Mem) {
			entries, err := mem.ReadDir("data")
			require.NoError(t, err)
			for _, e := range entries {
				if strings.HasSuffix(e.Name(), ".bloom") {
					require.NoError(t, mem.Remove("data/"+e.Name()))
				}
			}
		},
		"the first missing":  func(t *testing.T, mem *vfs.Mem) { require.NoError(t, mem.Remove("data/dedupe-1.bloom")) },
		"the second damaged": damage("data/dedupe-2.bloom", flip),
		"the first short":    damage("data/dedupe-1.bloom", func(b []byte) []byte { return b[:len(b)-1] }),
		"the first empty":    damage("data/dedupe-1.bloom", func([]byte) []byte { return nil }),
	} {
		t.Run(name, func(t *testing.T) {
			mem := base.CrashClone(rand.New(rand.NewPCG(1, 1)))
			hurt(t, mem)
			reads := 0
			counted := vfs.NewFault(mem, vfs.Plan{
				Only:   func(op vfs.Op, path string) bool { return op == vfs.OpRead && strings.HasSuffix(path, ".seg") },
				Before: func(vfs.Call) { reads++ },
			})
			db := memStore(t, counted, Options{})
			if name == "nothing" {
				// The directory of each file and no more: header, trailer, footer.
				require.LessOrEqual(t, reads, 3*len(db.files.current.files), "a start after Checkpoint and Close reads no ids")
			}
			next := uint64(len(log))
			for i := range log {
				if log[i].events != nil {
					next++
					require.Zero(t, db.Apply(next, log[i].data).(*EventsResult).Accepted)
				}
			}
			checkRows(t, db, m, true)
			require.NoError(t, db.Close())
		})
	}
}

func TestTheNextStartReadsIdsOnlyOfFilesThatTheFiltersDoNotCover(t *testing.T) {
	ctx := context.Background()
	log := script(22, 30, 30)
	mem := vfs.NewMem()
	db := memStore(t, mem, Options{})
	for i := range log[:15] {
		applyEntry(db, log, i)
	}
	covered, err := db.Checkpoint(ctx)
	require.NoError(t, err)
	for i := 15; i < len(log); i++ {
		applyEntry(db, log, i)
	}
	db.mem.Lock()
	db.rotate()
	db.mem.Unlock()
	require.NoError(t, db.flushOneWithoutFilters(ctx))
	require.Len(t, db.files.current.files, 2)
	require.NoError(t, db.lock.Close())
	_, got, err := index.OpenFiltersSized(mem, "data", testFilterKeys)
	require.NoError(t, err)
	require.Equal(t, covered, got)

	read := map[string]int{}
	db = memStore(t, vfs.NewFault(mem, vfs.Plan{
		Only:   func(op vfs.Op, path string) bool { return op == vfs.OpRead && strings.HasSuffix(path, ".seg") },
		Before: func(c vfs.Call) { read[c.Path]++ },
	}), Options{})
	files := db.files.current.files
	require.LessOrEqual(t, read[files[0].path], 3)
	require.Greater(t, read[files[1].path], 3)
	for _, f := range files {
		require.NoError(t, eachID(f.r, func(id batch.ID, text []byte) error {
			require.True(t, db.live().filters.Has(db.live().idKey.Hash(id, text)))
			return nil
		}))
	}
	require.NoError(t, db.Close())
}

// flushOneWithoutFilters flushes as when the filters had not grown enough to be saved.
func (db *DB) flushOneWithoutFilters(context.Context) error {
	kept := db.live().filters
	db.live().filters, _, _ = index.OpenFilters(vfs.NewMem(), "nowhere")
	defer func() { db.live().filters = kept }()
	return db.flushTables(db.mem.flushing[:1], db.mem.flushing[0].last)
}

// colliding makes n UUIDs whose batch.ID.Hash is alike: that hash has no key and
// can be turned around.
func colliding(n int) []testEvent {
	events := make([]testEvent, n)
	for i := range events {
		hi := 0x0198_c0de_0000_4000 + uint64(i)<<20
		lo := uint64(0x8123_4567_89ab_cdef) ^ hi*0x9e3779b97f4a7c15
		events[i] = testEvent{id: string(batch.AppendUUID(nil, batch.ID{Hi: hi, Lo: lo})), name: "e", user: "u1", time: scriptStart + int64(i)}
	}
	return events
}

func TestIdsThatAreMadeToCollideCostNoMoreThanOthers(t *testing.T) {
	const n = 20_000
	hostile := colliding(n)
	id0, _ := batch.ParseUUID([]byte(hostile[0].id))
	id1, _ := batch.ParseUUID([]byte(hostile[1].id))
	require.Equal(t, id0.Hash(false), id1.Hash(false), "the ids of this test collide where there is no key")
	s := newScripter(31)
	for from := 0; from < n; from += 2000 {
		s.batch(hostile[from : from+2000])
	}
	db := memStore(t, vfs.NewMem(), Options{})
	key := db.live().idKey
	require.NotEqual(t, key.Hash(id0, nil), key.Hash(id1, nil))

	// The work is counted in candidates of the memtable, not in time.
	for i := range s.entries {
		require.Equal(t, 2000, applyEntry(db, s.entries, i).(*EventsResult).Accepted)
	}
	most := 0
	for i := range hostile {
		id, _ := batch.ParseUUID([]byte(hostile[i].id))
		candidates := 0
		for it := db.mem.active.ids.Find(key.Hash(id, nil)); it.Next(); {
			candidates++
		}
		most = max(most, candidates)
	}
	require.LessOrEqual(t, most, 4)
	_, err := db.Checkpoint(context.Background())
	require.NoError(t, err)
	start := time.Now()
	require.Zero(t, db.Apply(uint64(len(s.entries))+1, s.entries[3].data).(*EventsResult).Accepted)
	t.Logf("2,000 resends against a file: %v", time.Since(start))
	require.NoError(t, db.Close())
}

func TestEveryStoreHasItsOwnKeyAndKeepsIt(t *testing.T) {
	mem := vfs.NewMem()
	db := memStore(t, mem, Options{})
	key := db.live().idKey
	require.NoError(t, db.Close())
	db = memStore(t, mem, Options{})
	require.Equal(t, key, db.live().idKey)
	require.NoError(t, db.Close())
	db = memStore(t, vfs.NewMem(), Options{})
	require.NotEqual(t, key, db.live().idKey)
	require.NoError(t, db.Close())
	require.Equal(t, key.Hash(batch.ID{}, []byte("order/1")), key.Hash(batch.ID{}, []byte("order/1")))
	require.NotEqual(t, xxhash.Sum64String("order/1"), key.Hash(batch.ID{}, []byte("order/1")))
}

func TestTheKeyedHashIsSipHash13(t *testing.T) {
	// The reference implementation's answers for the key 00 01 .. 0f and the inputs
	// of 0, 1, .. bytes 00 01 02 ..
	key := make([]byte, idkey.Size)
	for i := range key {
		key[i] = byte(i)
	}
	k, err := idkey.Parse(key)
	require.NoError(t, err)
	seen := map[uint64]bool{}
	for n := range 64 {
		text := make([]byte, n)
		for i := range text {
			text[i] = byte(i)
		}
		h := k.Hash(batch.ID{}, text)
		require.False(t, seen[h])
		seen[h] = true
	}
	require.Equal(t, uint64(0xabac0158050fc4dc), k.Hash(batch.ID{}, []byte{}))
	require.Equal(t, uint64(0xc9f49bf37d57ca93), k.Hash(batch.ID{}, []byte{0}))
	require.Equal(t, uint64(0x82cb9b024dc7d44d), k.Hash(batch.ID{}, []byte{0, 1}))
}
