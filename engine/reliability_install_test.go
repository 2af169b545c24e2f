package engine

import (
	"context"
	"math/rand/v2"
	"path"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/engine/statehash"
	"spoor/internal/vfs"
)

// carry copies the files of a snapshot to dir on another disk, under their sums.
func carry(t testing.TB, s *Snapshot, to vfs.FS, dir string) {
	t.Helper()
	require.NoError(t, to.MkdirAll(dir))
	for _, f := range s.Files {
		b := make([]byte, f.Bytes)
		if n, err := s.ReadAt(f.Name, b, 0); n < len(b) {
			require.NoError(t, err)
		}
		require.NoError(t, vfs.WriteFileAtomic(to, path.Join(dir, f.PulledName()), b))
	}
}

// install lets db take over the state of another store as it is now, and applies what the log
// has behind it, up to what db had.
func install(t testing.TB, db, other *DB, fsys vfs.FS, log []logEntry) {
	t.Helper()
	ctx := context.Background()
	had := int(db.AppliedIndex())
	s, err := other.Snapshot(ctx)
	require.NoError(t, err)
	defer s.Release()
	carry(t, s, fsys, "incoming")
	staged, err := db.Stage(ctx, s.Manifest, "incoming")
	require.NoError(t, err)
	require.NoError(t, db.Swap(staged))
	require.Equal(t, s.AppliedIndex, db.DurableIndex())
	for i := int(s.AppliedIndex); i < had; i++ {
		applyEntry(db, log, i)
	}
	require.NoError(t, fsys.RemoveAll("incoming"))
}

func hashOf(t testing.TB, db *DB) *statehash.State {
	t.Helper()
	h, err := db.StateHash(context.Background())
	require.NoError(t, err)
	return h
}

func TestReplicasThatTakeEachOthersStateAtRandomAnswerAsTheModel(t *testing.T) {
	ctx := context.Background()
	for seed := range uint64(rounds(20, 1000)) {
		log := erasingScript(7000+seed, 60, 25)
		if seed%2 == 0 {
			log = script(7000+seed, 60, 25)
		}
		m := newNaive()
		rng := rand.New(rand.NewPCG(seed, 18))
		const replicas = 3
		var disks [replicas]*vfs.Mem
		var dbs [replicas]*DB
		for i := range dbs {
			disks[i] = vfs.NewMem()
			dbs[i] = memStore(t, disks[i], randomOptions(rng))
		}
		for i := range log {
			want := m.apply(&log[i])
			for k := range dbs {
				if rng.IntN(30) == 0 { // far behind: what it missed comes as a state
					continue
				}
				if behind := int(dbs[k].AppliedIndex()); behind < i {
					from := dbs[(k+1)%replicas]
					if int(from.AppliedIndex()) < i { // nobody has it: the log has
						for j := behind; j < i; j++ {
							applyEntry(dbs[k], log, j)
						}
					} else {
						install(t, dbs[k], from, disks[k], log[:i])
						for j := int(dbs[k].AppliedIndex()); j < i; j++ {
							applyEntry(dbs[k], log, j)
						}
					}
				}
				if int(dbs[k].AppliedIndex()) == i {
					require.Equal(t, want, applyEntry(dbs[k], log, i), "seed %d, replica %d, entry %d", seed, k, i+1)
				}
				_, err := step(ctx, dbs[k], rng)
				require.NoError(t, err)
				switch rng.IntN(20) {
				case 0: // a repair: the state of another, which may be older
					if o := (k + 1) % replicas; dbs[o].AppliedIndex() <= uint64(i+1) {
						install(t, dbs[k], dbs[o], disks[k], log[:i+1])
					}
				case 1:
					dbs[k] = reopen(t, disks[k], dbs[k], log, int(dbs[k].AppliedIndex()), rng)
				}
			}
		}
		for k := range dbs {
			for j := int(dbs[k].AppliedIndex()); j < len(log); j++ {
				applyEntry(dbs[k], log, j)
			}
			check(t, dbs[k], m)
			require.Equal(t, hashOf(t, dbs[0]), hashOf(t, dbs[k]), "seed %d, replica %d", seed, k)
			report, err := dbs[k].Verify(ctx, nil)
			require.NoError(t, err)
			require.NoError(t, report.Err())
		}
		for k := range dbs {
			require.NoError(t, dbs[k].Close())
		}
	}
}

func TestACrashAtAnyCallOfAnInstallLeavesTheOldStateOrTheNew(t *testing.T) {
	ctx := context.Background()
	log := erasingScript(31, 50, 25)
	const old = 20 // entries that the follower has
	source := memStore(t, vfs.NewMem(), Options{FlushRows: 60})
	for i := range log {
		applyEntry(source, log, i)
	}
	s, err := source.Snapshot(ctx)
	require.NoError(t, err)
	defer s.Release()
	want := hashOf(t, source)

	// run installs on a disk that calls before at every call, from the first one of the install on.
	run := func(before func(mem *vfs.Mem, call int)) {
		mem := vfs.NewMem()
		call, armed := 0, false
		disk := vfs.NewFault(mem, vfs.Plan{Before: func(vfs.Call) {
			if armed {
				call++
				before(mem, call)
			}
		}})
		db := memStore(t, disk, Options{FlushRows: 60})
		for i := range old {
			applyEntry(db, log, i)
		}
		_, err := db.Checkpoint(ctx)
		require.NoError(t, err)
		carry(t, s, disk, "incoming")
		armed = true
		staged, err := db.Stage(ctx, s.Manifest, "incoming")
		require.NoError(t, err)
		require.NoError(t, db.Swap(staged))
		_, err = db.Checkpoint(ctx)
		require.NoError(t, err)
		armed = false
		require.NoError(t, db.Close())
	}
	var images []*vfs.Mem
	run(func(mem *vfs.Mem, call int) {
		for n := range 2 {
			images = append(images, mem.CrashClone(rand.New(rand.NewPCG(uint64(call), uint64(n)))))
		}
	})
	require.Greater(t, len(images), 60)
	olds, news := 0, 0
	for i, image := range images {
		db := memStore(t, image, Options{FlushRows: 60})
		switch db.DurableIndex() {
		case old:
			olds++
		case uint64(len(log)):
			news++
		default:
			t.Fatalf("image %d: the store is at entry %d", i, db.DurableIndex())
		}
		for j := int(db.DurableIndex()); j < len(log); j++ {
			applyEntry(db, log, j)
		}
		require.Equal(t, want, hashOf(t, db), "image %d", i)
		report, err := db.Verify(ctx, nil)
		require.NoError(t, err)
		require.NoError(t, report.Err(), "image %d", i)
		require.NoError(t, db.Close())
	}
	t.Logf("%d crashes: %d left the old state, %d the new", len(images), olds, news)
	require.NotZero(t, olds)
	require.NotZero(t, news)
	require.NoError(t, source.Close())
}

func TestAViewFromBeforeAnInstallGoesOnShowingWhatItShowed(t *testing.T) {
	log := script(77, 40, 25)
	mem := vfs.NewMem()
	db, source := memStore(t, mem, Options{FlushRows: 50}), memStore(t, vfs.NewMem(), Options{FlushRows: 70})
	for i := range log {
		if i < 15 {
			applyEntry(db, log, i)
		}
		applyEntry(source, log, i)
	}
	v, err := db.View()
	require.NoError(t, err)
	before, meaning := rowsIn(t, v), v.Meaning()
	install(t, db, source, mem, log)
	require.Equal(t, before, rowsIn(t, v))
	require.Equal(t, meaning, v.Meaning())
	now, err := db.View()
	require.NoError(t, err)
	require.NotEqual(t, meaning, now.Meaning(), "what was computed of the old state says nothing of the new one")
	require.Greater(t, len(rowsIn(t, now)), len(before))
	now.Release()
	v.Release()
	// The files of the old state went with the last view.
	segments := 0
	for i := range db.files.current.files {
		_, err := mem.Stat(db.files.current.files[i].path)
		require.NoError(t, err)
		segments++
	}
	entries, err := mem.ReadDir(db.dir)
	require.NoError(t, err)
	for _, e := range entries {
		if path.Ext(e.Name()) == segmentSuffix {
			segments--
		}
	}
	require.Zero(t, segments, "files of the store and files that are there")
	require.NoError(t, source.Close())
	require.NoError(t, db.Close())
}

func TestASnapshotThatIsDamagedOrForeignIsRefusedAndLeavesTheStoreAsItWas(t *testing.T) {
	ctx := context.Background()
	log := script(5, 30, 25)
	mem := vfs.NewMem()
	db, source := memStore(t, mem, Options{}), memStore(t, vfs.NewMem(), Options{FlushRows: 70})
	for i := range log {
		if i < 10 {
			applyEntry(db, log, i)
		}
		applyEntry(source, log, i)
	}
	s, err := source.Snapshot(ctx)
	require.NoError(t, err)
	want := hashOf(t, db)
	for at := range s.Manifest {
		bad := append([]byte(nil), s.Manifest...)
		bad[at] ^= 4
		_, err := db.Stage(ctx, bad, "incoming")
		require.Error(t, err, "byte %d", at)
	}
	for _, f := range s.Files {
		carry(t, s, mem, "incoming")
		name := path.Join("incoming", f.PulledName())
		b, err := vfs.ReadFile(mem, name)
		require.NoError(t, err)
		b[len(b)/2] ^= 1
		require.NoError(t, vfs.WriteFileAtomic(mem, name, b))
		_, err = db.Stage(ctx, s.Manifest, "incoming")
		require.Error(t, err, f.Name)
	}
	require.NoError(t, mem.RemoveAll("incoming"))
	_, err = db.Stage(ctx, s.Manifest, "incoming")
	require.Error(t, err)
	require.Equal(t, want, hashOf(t, db))
	s.Release()
	_, err = db.Checkpoint(ctx)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	db = memStore(t, mem, Options{})
	require.Equal(t, want, hashOf(t, db))
	require.NoError(t, db.Close())
	require.NoError(t, source.Close())
}

func TestEqualFilesAreNotCarriedTwice(t *testing.T) {
	ctx := context.Background()
	log := script(6, 30, 25)
	mem := vfs.NewMem()
	db, source := memStore(t, mem, Options{FlushRows: 70}), memStore(t, vfs.NewMem(), Options{FlushRows: 70})
	for i := range log {
		applyEntry(source, log, i)
	}
	install(t, db, source, mem, log)
	s, err := source.Snapshot(ctx)
	require.NoError(t, err)
	defer s.Release()
	require.NoError(t, mem.MkdirAll("incoming"))
	linked := 0
	for _, f := range s.Files {
		ok, err := db.LinkHeld(ctx, f, path.Join("incoming", f.PulledName()))
		require.NoError(t, err)
		if ok {
			linked++
		}
	}
	require.Equal(t, len(source.files.current.files), linked)
	require.NoError(t, source.Close())
	require.NoError(t, db.Close())
}

func TestTheHashOfAnEntryIsOfTheStateThatItFound(t *testing.T) {
	ctx := context.Background()
	log := script(9, 40, 25)
	var points [2]*HashPoint
	var want *statehash.State
	for k := range points {
		db := memStore(t, vfs.NewMem(), Options{FlushRows: 40 + 100*k, OnHash: func(p *HashPoint) { points[k] = p }})
		for i := range 20 {
			applyEntry(db, log, i)
		}
		if want == nil {
			want = hashOf(t, db)
		}
		require.Nil(t, db.Apply(21, HashEntry()))
		for i := 21; i < len(log); i++ {
			db.Apply(uint64(i)+1, log[i].data)
		}
		_, err := db.Checkpoint(ctx)
		require.NoError(t, err)
		require.NoError(t, db.Compact(ctx))
		rests := 0
		got, err := points[k].Sum(ctx, func() { rests++ })
		require.NoError(t, err)
		require.NotZero(t, rests)
		require.EqualValues(t, 21, got.AppliedIndex)
		got.AppliedIndex = want.AppliedIndex
		require.Equal(t, want, got)
		require.NotEqual(t, want.Days, hashOf(t, db).Days)
		points[k].Release()
		require.NoError(t, db.Close())
	}
}

func TestTheHashOfAnEntryIsOfWhatTheDiskHas(t *testing.T) {
	ctx := context.Background()
	log := erasingScript(9, 40, 25)
	mem := vfs.NewMem()
	var point *HashPoint
	db := memStore(t, mem, Options{FlushRows: 60, OnHash: func(p *HashPoint) { point = p }})
	for i := range log {
		applyEntry(db, log, i)
	}
	require.NoError(t, db.Compact(ctx))
	want := hashOf(t, db) // what queries read is in the cache now
	require.Nil(t, db.Apply(uint64(len(log))+1, HashEntry()))
	got, err := point.Sum(ctx, func() {})
	require.NoError(t, err)
	require.Equal(t, want.Days, got.Days)
	point.Release()

	f := db.files.current.files[0]
	h, err := mem.OpenReadWrite(f.path)
	require.NoError(t, err)
	b := make([]byte, f.meta.Bytes)
	_, _ = h.ReadAt(b, 0)
	seen := 0
	for at := 100; at < len(b); at += 97 {
		_, err = h.WriteAt([]byte{b[at] ^ 1}, int64(at))
		require.NoError(t, err)
		require.Nil(t, db.Apply(db.AppliedIndex()+1, HashEntry()))
		got, err := point.Sum(ctx, func() {})
		if err == nil { // a part that no row is in, such as the filter of ids
			require.Equal(t, want.Days, got.Days)
		} else {
			seen++
		}
		point.Release()
		_, err = h.WriteAt([]byte{b[at]}, int64(at))
		require.NoError(t, err)
	}
	require.NoError(t, h.Close())
	require.Greater(t, seen, 5)
	require.NoError(t, db.Close())
}

// TestTheSameLogGivesTheSameStateWhateverTheClockSays applies one log, with everything that a store does by itself under
// way, at the time of this machine, in the year 2000, a year later, and with hours between the entries.
func TestTheSameLogGivesTheSameStateWhateverTheClockSays(t *testing.T) {
	log := erasingScript(41, 60, 20)
	for _, more := range []string{"first", "second"} { // entries that a script does not have
		log = append(log, logEntry{data: PutEntry("key", more, []byte(more))}, logEntry{data: HashEntry()}, logEntry{data: DeleteEntry("key", "first")})
	}
	var want *statehash.State
	run := func(t *testing.T, before, between time.Duration) {
		time.Sleep(before)
		db, err := Open("data", Options{FS: vfs.NewMem(), FlushRows: 100, FlushAge: time.Minute, CompactAfterIdle: time.Minute, EraseWithin: time.Hour})
		require.NoError(t, err)
		for i := range log {
			applyEntry(db, log, i)
			time.Sleep(between)
		}
		h := hashOf(t, db)
		if want == nil {
			want = h
		}
		require.Equal(t, want, h)
		require.NoError(t, db.Close())
	}
	run(t, 0, 0)
	const year = 366 * 24 * time.Hour
	for _, c := range []struct{ before, between time.Duration }{{0, 0}, {time.Hour, time.Second}, {year, 0}, {2 * year, 5 * time.Minute}} {
		synctest.Test(t, func(t *testing.T) { run(t, c.before, c.between) })
	}
}
