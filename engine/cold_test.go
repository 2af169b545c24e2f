package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/engine/cold"
	"spoor/engine/erasure"
	"spoor/internal/vfs"
	"spoor/segment"
)

// objects is an object store in memory.
type objects struct {
	mu    sync.Mutex
	of    map[string][]byte
	away  bool
	hangs bool
	fails func() bool // asked at each call, nil: none fails; a Put that fails may have been carried out
	reads int
	most  int // bytes of one read
}

var errAway = errors.New("connection refused")

func newObjects() *objects { return &objects{of: map[string][]byte{}} }

func (o *objects) clone() *objects {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := newObjects()
	for k, b := range o.of {
		c.of[k] = b
	}
	return c
}

// call begins a call; the caller holds mu until end.
func (o *objects) call(ctx context.Context) (end func(), err error) {
	o.mu.Lock()
	if o.hangs {
		o.mu.Unlock()
		<-ctx.Done()
		return func() {}, ctx.Err()
	}
	if o.away || o.fails != nil && o.fails() {
		return o.mu.Unlock, errAway
	}
	return o.mu.Unlock, nil
}

func (o *objects) Put(ctx context.Context, key string, content io.ReaderAt, size int64) error {
	b := make([]byte, size)
	if _, err := content.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	end, err := o.call(ctx)
	defer end()
	if err == nil || !o.away && !o.hangs && len(b)%2 == 0 {
		o.of[key] = b
	}
	return err
}

func (o *objects) ReadAt(ctx context.Context, key string, p []byte, off int64) error {
	end, err := o.call(ctx)
	defer end()
	if err != nil {
		return err
	}
	o.reads++
	o.most = max(o.most, len(p))
	b, ok := o.of[key]
	if !ok || int64(len(b)) < off+int64(len(p)) {
		return cold.ErrMissing
	}
	copy(p, b[off:])
	return nil
}

func (o *objects) List(ctx context.Context, prefix string, f func(string, int64) error) error {
	end, err := o.call(ctx)
	found := map[string]int64{}
	for k, b := range o.of {
		if strings.HasPrefix(k, prefix) {
			found[k] = int64(len(b))
		}
	}
	end()
	if err != nil {
		return err
	}
	for k, n := range found {
		if err := f(k, n); err != nil {
			return err
		}
	}
	return nil
}

func (o *objects) Remove(ctx context.Context, key string) error {
	end, err := o.call(ctx)
	defer end()
	if err == nil {
		delete(o.of, key)
	}
	return err
}

func (o *objects) String() string { return "objects in memory" }

// coldOptions are those of a store whose cache holds much less than the objects.
func coldOptions(o *objects) cold.Options {
	return cold.Options{Store: o, BlockBytes: 512, CacheBytes: 4096, Timeout: time.Second}
}

// coldScript is a log of some weeks with late events, resends, identify calls and erasures of every kind, whose
// retention moves on day by day, and from the middle on also lets events expire. nows are the times of its entries.
func coldScript(seed uint64, days int, rules erasure.Retention) (log []logEntry, nows []time.Time) {
	s := newScripter(seed)
	s.erases = true
	var sent []testEvent
	for day := range days {
		now := scriptStart + int64(day)*segment.MicrosPerDay
		r := rules
		if day > days/2 && seed%2 == 0 {
			r.Default, r.Events = rules.Local+4, map[string]int{"e1": rules.Local + 2}
		}
		change := retentionChange{Rules: &r, Cutoffs: r.At(now)}
		data, err := RetentionEntry(&r, time.UnixMicro(now))
		if err != nil {
			panic(err)
		}
		s.entries = append(s.entries, logEntry{expire: &change, data: data})
		for range 3 {
			switch k := s.rng.IntN(12); {
			case k == 0:
				s.eraseSomething()
			case k < 3:
				s.entries = append(s.entries, s.identify(s.pick("u", s.users), s.pick("a", s.anons)))
			}
			var events []testEvent
			for range 1 + s.rng.IntN(12) {
				e := s.event(nil)
				e.time = now + int64(s.rng.IntN(7)-5)*segment.MicrosPerDay + int64(s.rng.IntN(1000))
				if s.rng.IntN(4) == 0 && len(sent) > 0 {
					e = sent[s.rng.IntN(len(sent))]
				}
				events = append(events, e)
			}
			sent = append(sent, events...)
			s.entries = append(s.entries, logEntry{events: events, received: now, data: s.encode(events, now)})
		}
		for len(nows) < len(s.entries) {
			nows = append(nows, time.UnixMicro(now))
		}
	}
	return s.entries, nows
}

// equalStores compares what two replicas answer, row by row.
func equalStores(t testing.TB, want, got *DB) {
	t.Helper()
	a, err := want.View()
	require.NoError(t, err)
	defer a.Release()
	b, err := got.View()
	require.NoError(t, err)
	defer b.Release()
	require.Equal(t, rowsIn(t, a), rowsIn(t, b))
	require.Equal(t, hashOf(t, want), hashOf(t, got))
}

func coldFiles(db *DB) (n int) {
	v := db.files.acquire()
	defer v.release()
	for _, f := range v.files {
		if f.isCold() {
			n++
		}
	}
	return n
}

// hashAtPoint is what comparisons of replicas read.
func hashAtPoint(t testing.TB, db *DB) []string {
	t.Helper()
	v, err := db.View()
	require.NoError(t, err)
	p := &HashPoint{db: db, view: v, live: db.live(), set: v.erased.set}
	defer p.Release()
	s, err := p.Sum(context.Background(), nil)
	require.NoError(t, err)
	var out []string
	for _, d := range s.Days {
		out = append(out, fmt.Sprint(d))
	}
	return out
}

func TestAStoreWhoseOldDaysAreInTheObjectStoreAnswersAsOneThatHasThemHere(t *testing.T) {
	ctx := context.Background()
	cooled, fetched, installed, failures := 0, 0, 0, 0
	for seed := range uint64(rounds(20, 1000)) {
		rng := rand.New(rand.NewPCG(seed, 77))
		rules := erasure.Retention{Dedupe: 3 + rng.IntN(3)}
		rules.Local = rules.Dedupe + rng.IntN(3)
		log, nows := coldScript(seed, 24, rules)
		mem, far := vfs.NewMem(), newObjects()
		options := func() Options {
			o := randomOptions(rng)
			o.Cold = coldOptions(far)
			return o
		}
		ref := memStore(t, vfs.NewMem(), Options{FlushRows: 60})
		db := memStore(t, mem, options())
		for i := range log {
			require.Equal(t, applyEntry(ref, log, i), applyEntry(db, log, i), "seed %d, entry %d", seed, i+1)
			if rng.IntN(4) == 0 {
				_, err := step(ctx, ref, rng)
				require.NoError(t, err)
			}
			_, err := step(ctx, db, rng)
			require.NoError(t, err)
			before := coldFiles(db)
			switch k := rng.IntN(20); {
			case k < 6:
				require.NoError(t, db.Cool(ctx, nows[i]), "seed %d, entry %d", seed, i+1)
			case k == 6: // the store fails now and then
				far.fails = func() bool { return rng.IntN(3) == 0 }
				if db.Cool(ctx, nows[i]) != nil {
					failures++
				}
				far.fails = nil
				db.cold.Rested()
			case k < 9:
				require.NoError(t, db.Compact(ctx))
				if coldFiles(db) < before {
					fetched++
				}
			case k == 9:
				equalStores(t, ref, db)
			case k == 10: // a restart, with or without notice
				if rng.IntN(2) == 0 {
					require.NoError(t, db.Close())
				} else {
					require.NoError(t, db.lock.Close())
				}
				db = memStore(t, mem, options())
				for n := int(db.AppliedIndex()); n <= i; n++ {
					applyEntry(db, log, n)
				}
			case k == 11 && rng.IntN(3) == 0: // a follower that was away gets the bytes
				disk := vfs.NewMem()
				fresh := memStore(t, disk, Options{FlushRows: 50})
				install(t, fresh, db, disk, log)
				require.Zero(t, coldFiles(fresh))
				equalStores(t, ref, fresh)
				require.NoError(t, fresh.Close())
				installed++
			case k == 12 && rng.IntN(3) == 0: // and this one takes over what another has
				other := memStore(t, vfs.NewMem(), Options{FlushRows: 50})
				for n := range i + 1 {
					applyEntry(other, log, n)
				}
				install(t, db, other, mem, log)
				require.NoError(t, other.Close())
			case k == 13:
				report, err := db.Verify(ctx, nil)
				require.NoError(t, err)
				require.NoError(t, report.Err(), "seed %d, entry %d", seed, i+1)
			}
			cooled += max(0, coldFiles(db)-before)
		}
		require.NoError(t, db.Compact(ctx))
		require.NoError(t, ref.Compact(ctx))
		require.NoError(t, db.Cool(ctx, nows[len(nows)-1]))
		equalStores(t, ref, db)
		require.Equal(t, hashAtPoint(t, ref), hashAtPoint(t, db))
		checkPurged(t, db)
		require.Equal(t, coldFiles(db), len(far.of), "an object for each cold file, and no other")
		require.NoError(t, db.Close())
		require.NoError(t, ref.Close())
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Logf("%d files put there, fetched %d times, %d installs, %d rounds failed", cooled, fetched, installed, failures)
	require.Greater(t, cooled, 10*rounds(20, 1000)/20)
	require.Positive(t, fetched+installed)
}

// oldStore is a store with some weeks of events, all of them in files of level 1.
func oldStore(t testing.TB, fsys vfs.FS, o Options) (db *DB, log []logEntry, now time.Time) {
	t.Helper()
	log, nows := coldScript(5, 20, erasure.Retention{Dedupe: 3, Local: 4})
	db = memStore(t, fsys, o)
	for i := range log {
		applyEntry(db, log, i)
		if i%20 == 19 {
			require.NoError(t, db.Compact(context.Background()))
		}
	}
	require.NoError(t, db.Compact(context.Background()))
	return db, log, nows[len(nows)-1]
}

func TestAPowerCutAtAnyCallWhileDaysGoToTheObjectStoreLosesNothing(t *testing.T) {
	ctx := context.Background()
	ref, log, now := oldStore(t, vfs.NewMem(), Options{FlushRows: 60})
	want := hashOf(t, ref)
	cuts := rand.New(rand.NewPCG(1, 9))
	mem, far, armed, images, calls := vfs.NewMem(), newObjects(), false, 0, 0
	stride := 5 / rounds(1, 5)
	fs := vfs.NewFault(mem, vfs.Plan{Before: func(c vfs.Call) {
		if !armed || c.Op == vfs.OpRead || c.Op == vfs.OpOpen || c.Op == vfs.OpClose { // which leave the disk as it is
			return
		}
		if calls++; calls%stride != 0 {
			return
		}
		images++
		image, there := mem.CrashClone(cuts), far.clone()
		db := memStore(t, image, Options{Cold: coldOptions(there)})
		for i := int(db.AppliedIndex()); i < len(log); i++ {
			applyEntry(db, log, i)
		}
		require.Equal(t, want, hashOf(t, db), "call %d: %s of %s", c.N, c.Op, c.Path)
		require.NoError(t, db.Cool(ctx, now))
		require.Equal(t, want, hashOf(t, db))
		require.Equal(t, coldFiles(db), len(there.of))
		require.NoError(t, db.Close())
	}})
	db, _, _ := oldStore(t, fs, Options{FlushRows: 60, Cold: coldOptions(far)})
	armed = true
	require.NoError(t, db.Cool(ctx, now))
	require.Greater(t, coldFiles(db), 2)
	require.NoError(t, db.Cool(ctx, now))
	armed = false
	require.Equal(t, want, hashOf(t, db))
	// And while what was erased is fetched.
	erase := func(db *DB) {
		data, err := EraseEntry(&erasure.Request{ID: "late", Kind: erasure.Events, Events: []string{"e2"}})
		require.NoError(t, err)
		_, bad := db.Apply(uint64(len(log)+1), data).(error)
		require.False(t, bad)
	}
	erase(ref)
	erase(db)
	_, err := db.Checkpoint(ctx)
	require.NoError(t, err)
	want = hashOf(t, ref)
	armed = true
	require.NoError(t, db.Compact(ctx))
	armed = false
	require.Equal(t, want, hashOf(t, db))
	checkPurged(t, db)
	require.NoError(t, db.Close())
	t.Logf("%d images", images)
}

func TestAFailureOfAnyCallWhileDaysGoToTheObjectStoreLosesNothing(t *testing.T) {
	ctx := context.Background()
	base := vfs.NewMem()
	ref, log, now := oldStore(t, base, Options{FlushRows: 60})
	want := hashOf(t, ref)
	require.NoError(t, ref.Close())
	rng := rand.New(rand.NewPCG(2, 2))
	stride := 3 / rounds(1, 3)
	for n, more := 1, true; more; n += stride {
		for _, way := range []error{syscall.EIO, syscall.ENOSPC} {
			mem, far, armed, fatal, reads := base.CrashClone(rng), newObjects(), false, false, 0
			fault := vfs.NewFault(mem, vfs.Plan{FailAt: n, Err: way, Only: func(op vfs.Op, _ string) bool {
				if op == vfs.OpRead {
					reads++
				}
				return armed && (op != vfs.OpRead || reads%25 == 0)
			}})
			db := memStore(t, fault, Options{Cold: coldOptions(far), OnFatal: func(error) { fatal = true }})
			armed = true
			_ = db.Cool(ctx, now)
			armed = false
			call, failed := fault.Failed()
			more = failed
			if !fatal {
				require.Equal(t, want, hashOf(t, db), "call %d, %v: %s of %s", n, way, call.Op, call.Path)
				require.NoError(t, db.Cool(ctx, now), "call %d, %v: %s of %s", n, way, call.Op, call.Path)
			}
			require.NoError(t, db.lock.Close())
			db = memStore(t, mem, Options{Cold: coldOptions(far)})
			for i := int(db.AppliedIndex()); i < len(log); i++ {
				applyEntry(db, log, i)
			}
			require.Equal(t, want, hashOf(t, db), "call %d, %v: %s of %s", n, way, call.Op, call.Path)
			require.NoError(t, db.Cool(ctx, now))
			require.Greater(t, coldFiles(db), 2)
			require.Equal(t, coldFiles(db), len(far.of))
			require.NoError(t, db.Close())
		}
	}
}

func TestWhileTheObjectStoreIsAwayOldDaysAreAnErrorInTimeAndAllElseGoesOn(t *testing.T) {
	ctx := context.Background()
	mem, far := vfs.NewMem(), newObjects()
	o := coldOptions(far)
	o.Timeout = 50 * time.Millisecond
	db, log, now := oldStore(t, mem, Options{FlushRows: 60, Cold: o})
	want := hashOf(t, db)
	require.NoError(t, db.Cool(ctx, now))
	require.NoError(t, db.Close())
	for n, way := range []struct {
		name string
		set  func(on bool)
	}{{"away", func(on bool) { far.away = on }}, {"hanging", func(on bool) { far.mu.Lock(); far.hangs = on; far.mu.Unlock() }}} {
		way.set(true)
		db = memStore(t, mem, Options{Cold: o}) // it starts without the store
		began := time.Now()
		for range 20 {
			_, err := db.StateHash(ctx)
			require.ErrorIs(t, err, cold.ErrAway, way.name)
			require.ErrorContains(t, err, "objects in memory")
		}
		require.Less(t, time.Since(began), 5*time.Second, "who comes next does not wait again")
		require.NotEmpty(t, db.ColdStatus().Away)
		point, err := db.View()
		require.NoError(t, err)
		p := &HashPoint{db: db, view: point, live: db.live(), set: point.erased.set}
		_, err = p.Sum(ctx, nil)
		require.ErrorIs(t, err, cold.ErrAway, "no damage: the replica is not replaced")
		p.Release()

		s := newScripter(99)
		e := s.event(nil)
		e.time = now.UnixMicro()
		before := int(db.AppliedIndex())
		for n := range 30 { // events, resends, flushes and merges of recent days
			e.id = fmt.Sprintf("%s-%d", way.name, n/2)
			res := db.Apply(uint64(before+n+1), s.encode([]testEvent{e}, now.UnixMicro())).(*EventsResult)
			require.Equal(t, n%2, res.Duplicates)
			_, err := db.Checkpoint(ctx)
			require.NoError(t, err)
		}
		require.NoError(t, db.Compact(ctx))
		v, err := db.View()
		require.NoError(t, err)
		for _, r := range v.Segments {
			if sec := r.Find(segment.Day(now.UnixMicro()), e.name); sec != nil {
				require.NoError(t, sec.Keys(make([]uint64, sec.Rows()), 0, sec.Rows(), &segment.Scratch{}))
			}
		}
		v.Release()

		// An erasure in old days waits, and says so.
		data, err := EraseEntry(&erasure.Request{ID: "er-" + way.name, Kind: erasure.Events, From: "2025-12-01", To: now.UTC().AddDate(0, 0, 5*n-14).Format(time.DateOnly)})
		require.NoError(t, err)
		rec := db.Apply(uint64(before+31), data).(*erasure.Record)
		require.ErrorIs(t, db.Compact(ctx), cold.ErrAway)
		require.False(t, db.EraseStatus(rec).Erased)
		require.Positive(t, db.ColdStatus().Waiting)
		way.set(false)
		db.cold.Rested()
		require.NoError(t, db.Cool(ctx, now))
		require.NoError(t, db.Compact(ctx))
		require.True(t, db.EraseStatus(rec).Erased)
		require.Zero(t, db.ColdStatus().Waiting)
		require.NoError(t, db.Cool(ctx, now))
		require.Positive(t, coldFiles(db))
		require.NoError(t, db.Close())
	}
	require.NotEmpty(t, want.Days)
	require.NotEmpty(t, log)
}

func TestAnErasedTextIsInNoLocalFileAndInNoObject(t *testing.T) {
	ctx := context.Background()
	mem, far := vfs.NewMem(), newObjects()
	rules := erasure.Retention{Dedupe: 3, Local: 3}
	s := newScripter(3)
	for day := range 12 {
		now := scriptStart + int64(day)*segment.MicrosPerDay
		data, err := RetentionEntry(&rules, time.UnixMicro(now))
		require.NoError(t, err)
		s.entries = append(s.entries, logEntry{data: data})
		var events []testEvent
		for range 30 {
			e := s.event(nil)
			e.time, e.user, e.anon, e.s = now, s.pick("user-", 5), "", s.pick("secret-of-", 5)
			e.s = "secret-of-" + e.user
			events = append(events, e)
		}
		s.entries = append(s.entries, logEntry{events: events, received: now, data: s.encode(events, now)})
	}
	log, now := s.entries, time.UnixMicro(scriptStart+11*segment.MicrosPerDay)
	db := memStore(t, mem, Options{Cold: coldOptions(far)})
	for i := range log {
		applyEntry(db, log, i)
		require.NoError(t, db.Compact(ctx))
	}
	require.NoError(t, db.Cool(ctx, now))
	require.Greater(t, coldFiles(db), 1)
	hashOf(t, db) // some of it comes into the cache
	secret := []byte("secret-of-user-2")
	holds := func() (places []string) {
		require.NoError(t, db.EachObject(ctx, func(name string, f vfs.File) error {
			r, err := segment.Open(f, f.Size(), name, nil)
			require.NoError(t, err)
			report, err := r.Verify(ctx, string(secret))
			require.NoError(t, err)
			if len(report.Found) > 0 {
				places = append(places, name)
			}
			return nil
		}))
		entries, err := mem.ReadDir("data")
		require.NoError(t, err)
		for _, e := range entries {
			b, err := vfs.ReadFile(mem, "data/"+e.Name())
			require.NoError(t, err)
			if bytes.Contains(b, secret) {
				places = append(places, e.Name())
			}
		}
		return places
	}
	require.Contains(t, holds(), cold.CacheName)
	require.Greater(t, len(holds()), 3)
	data, err := EraseEntry(&erasure.Request{ID: "er", Kind: erasure.Person, User: "user-2"})
	require.NoError(t, err)
	rec := db.Apply(uint64(len(log)+1), data).(*erasure.Record)
	require.NoError(t, db.Compact(ctx))
	require.NoError(t, db.Cool(ctx, now))
	require.True(t, db.EraseStatus(rec).Erased)
	require.Greater(t, coldFiles(db), 1, "what is left is there again")
	require.Empty(t, holds())
	require.NoError(t, db.Close())
}

func TestWhatExpiresGoesFromTheObjectStoreWithoutBeingRead(t *testing.T) {
	ctx := context.Background()
	far := newObjects()
	db, log, now := oldStore(t, vfs.NewMem(), Options{FlushRows: 60, Cold: coldOptions(far)})
	require.NoError(t, db.Cool(ctx, now))
	before, reads := coldFiles(db), far.reads
	rules := erasure.Retention{Default: 1, Dedupe: 1, Local: 1}
	data, err := RetentionEntry(&rules, now)
	require.NoError(t, err)
	db.Apply(uint64(len(log)+1), data)
	require.NoError(t, db.Compact(ctx))
	require.Less(t, coldFiles(db), before)
	require.Equal(t, reads, far.reads)
	require.NoError(t, db.Cool(ctx, now))
	require.Equal(t, coldFiles(db), len(far.of))
	require.NoError(t, db.Close())
}

func TestABackupHasTheBytesAndIsRestoredWithoutAnObjectStore(t *testing.T) {
	ctx := context.Background()
	far := newObjects()
	mem := vfs.NewMem()
	db, _, now := oldStore(t, mem, Options{FlushRows: 60, Cold: coldOptions(far)})
	require.NoError(t, db.Cool(ctx, now))
	want := hashOf(t, db)
	first, err := db.Backup(ctx, mem, "backup", nil)
	require.NoError(t, err)
	reads := far.reads
	again, err := db.Backup(ctx, mem, "backup", nil)
	require.NoError(t, err)
	require.Equal(t, reads, far.reads, "what the backup has is not fetched again")
	require.Equal(t, first.Files, again.Files)
	_, err = Restore(ctx, mem, "backup", mem, "restored", nil)
	require.NoError(t, err)
	restored, err := Open("restored", Options{FS: mem, ManualCompaction: true})
	require.NoError(t, err)
	require.Equal(t, want, hashOf(t, restored))
	require.NoError(t, restored.Close())

	require.NoError(t, db.Close())
	report, err := Verify(ctx, mem, "data", nil)
	require.NoError(t, err)
	require.NoError(t, report.Err())
	require.True(t, slices.ContainsFunc(report.Notes, func(n string) bool { return strings.Contains(n, "is in the object store") }))
}

func TestDamageInTheObjectStoreIsAnErrorAndIsFound(t *testing.T) {
	ctx := context.Background()
	far := newObjects()
	db, _, now := oldStore(t, vfs.NewMem(), Options{FlushRows: 60, Cold: coldOptions(far)})
	require.NoError(t, db.Cool(ctx, now))
	for key, b := range far.of {
		for at := 20; at < len(b)-40; at += 1 + len(b)/7 {
			rotten := bytes.Clone(b)
			rotten[at] ^= 1
			far.of[key] = rotten
			report, err := db.Verify(ctx, nil)
			require.NoError(t, err)
			require.ErrorContains(t, report.Err(), cold.ErrDamaged.Error())
		}
		delete(far.of, key)
		report, err := db.Verify(ctx, nil)
		require.NoError(t, err)
		require.ErrorContains(t, report.Err(), cold.ErrMissing.Error())
		far.of[key] = b
		break
	}
	report, err := db.Verify(ctx, nil)
	require.NoError(t, err)
	require.NoError(t, report.Err())
	require.NoError(t, db.Close())
}

func TestDaysGoWhileEventsComeAndAreAskedForAndErased(t *testing.T) {
	log, _ := coldScript(9, 24, erasure.Retention{Dedupe: 3, Local: 3})
	ref := memStore(t, vfs.NewMem(), Options{FlushRows: 60})
	far := newObjects()
	o := coldOptions(far)
	o.Every = time.Millisecond
	db, err := Open("data", Options{
		FS: vfs.NewMem(), Cold: o, FlushRows: 30, MergeRows: testMergedRows, smallFileRows: testSmallRows, firstFilterKeys: testFilterKeys, CompactAfterIdle: time.Millisecond,
		EraseWithin: 10 * time.Millisecond, OnFatal: func(err error) { t.Errorf("fatal: %v", err) },
	})
	require.NoError(t, err)
	ended := make(chan struct{})
	var asking sync.WaitGroup
	asking.Go(func() {
		for {
			select {
			case <-ended:
				return
			default:
			}
			if _, err := db.StateHash(context.Background()); err != nil {
				t.Errorf("while days go: %v", err)
				return
			}
		}
	})
	for i := range log {
		require.Equal(t, applyEntry(ref, log, i), applyEntry(db, log, i))
		if i%10 == 9 {
			_, err := db.Checkpoint(context.Background())
			require.NoError(t, err)
		}
	}
	require.NoError(t, db.Compact(context.Background()))
	require.Eventually(t, func() bool { return coldFiles(db) > 2 }, 30*time.Second, time.Millisecond)
	close(ended)
	asking.Wait()
	equalStores(t, ref, db)
	require.NoError(t, db.Close())
}
