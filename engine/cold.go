package engine

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"spoor/engine/cold"
	"spoor/engine/erasure"
	"spoor/internal/vfs"
	"spoor/segment"
)

// Cold segments. A round (Cool) puts segments of days that are older than the retention's Local into the
// object store, and swaps each in one manifest for a stub. What it never does is to make the log wait: only
// segments go whose eventIds are all forgotten, so Apply asks none of them. A new event of
// their days is refused, so they are neither merged nor outgrown. An erasure that touches one has a
// round fetch it, under a new name; from then on it is written anew like any other, and goes again.
//
// Every swap gives the segment a name that no file had: whoever still reads the one before, and
// removes it when the last reader lets go, cannot remove the other.

// coolState is what rounds know.
type coolState struct {
	round  chan struct{} // holds one while a round is at work
	wanted atomic.Int32  // those who wait for the end of a round
	swept  bool          // objects were looked through since the start,
	closed int64         // when so many cold files had been closed

	mu   sync.Mutex
	last ColdStatus // Round, Error and FailedRounds
}

// ColdStatus is how far cold segments are.
type ColdStatus struct {
	cold.Status
	// Local is what the retention says: days that are kept on the local disk, 0 for all.
	Local int `json:"localDays"`
	// Files are cold, with Bytes in the object store and StubBytes on the local disk. Waiting are those that hold
	// something that was erased and have to be fetched.
	Files     int    `json:"files"`
	Bytes     int64  `json:"bytes"`
	StubBytes int64  `json:"stubBytes"`
	Events    int64  `json:"events"`
	Waiting   int    `json:"erasing"`
	FirstDay  string `json:"firstDay,omitempty"`
	LastDay   string `json:"lastDay,omitempty"`
	Round     string `json:"round,omitempty"` // when the last one ended
	Error     string `json:"error,omitempty"` // of the last round
	// FailedRounds are those that failed since one did not.
	FailedRounds int `json:"failedRounds"`
}

// ColdStatus may be called at any time.
func (db *DB) ColdStatus() ColdStatus {
	db.cooling.mu.Lock()
	s := db.cooling.last
	db.cooling.mu.Unlock()
	s.Status = db.cold.Status()
	if rules, _, err := db.Retention(); err == nil {
		s.Local = rules.Local
	}
	set := db.live().erasures.Load()
	v := db.files.acquire()
	defer v.release()
	first, last := int32(0), int32(0)
	for _, f := range v.files {
		if !f.isCold() {
			continue
		}
		if s.Files == 0 || f.meta.MinDay < first {
			first = f.meta.MinDay
		}
		if s.Files == 0 || f.meta.MaxDay > last {
			last = f.meta.MaxDay
		}
		s.Files++
		s.Bytes += f.meta.Bytes
		s.Events += int64(f.meta.Rows)
		s.StubBytes += f.f.(*cold.File).LocalBytes()
		if due, err := set.Due(f.r, f.behind()); err == nil && due {
			s.Waiting++
		}
	}
	if s.Files > 0 {
		s.FirstDay, s.LastDay = dayText(first), dayText(last)
	}
	return s
}

func dayText(day int32) string { return time.Unix(int64(day)*86400, 0).UTC().Format(time.DateOnly) }

// cooler runs rounds until Close.
func (db *DB) cooler() {
	every := db.cold.Options().Every
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if err := db.Cool(db.ctx, time.Now()); err != nil && db.ctx.Err() == nil {
			db.log.Error("old days were not kept in the object store as they should be; it will be tried again", "error", err)
		}
		select {
		case <-db.ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Cool does what is due at a time: it fetches cold segments that hold something erased, puts
// old ones into the object store, and removes objects that nobody needs. What fails is tried again by the next
// call; nothing is lost, and nothing else waits for it.
func (db *DB) Cool(ctx context.Context, now time.Time) error {
	if !db.cold.Has() {
		return nil
	}
	end, err := db.beginRound(ctx)
	if err != nil {
		return err
	}
	defer end()
	err = db.broken()
	for _, part := range []func() error{
		func() error { return db.fetchWaiting(ctx) },
		func() error { return db.coolOld(ctx, now) },
		func() error { return db.sweepObjects(ctx) },
	} {
		if err == nil || !errors.Is(err, cold.ErrAway) && ctx.Err() == nil && db.broken() == nil {
			err = errors.Join(err, part())
		}
	}
	db.cooling.mu.Lock()
	defer db.cooling.mu.Unlock()
	db.cooling.last.Round, db.cooling.last.Error = now.UTC().Format(time.RFC3339), ""
	db.cooling.last.FailedRounds++
	if err != nil {
		db.cooling.last.Error = err.Error()
		return err
	}
	db.cooling.last.FailedRounds = 0
	return nil
}

// beginRound waits for the end of a round, which is at most that of the segment on its way.
func (db *DB) beginRound(ctx context.Context) (end func(), err error) {
	db.cooling.wanted.Add(1)
	defer db.cooling.wanted.Add(-1)
	select {
	case db.cooling.round <- struct{}{}:
		return func() { <-db.cooling.round }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// coolOld puts segments into the object store whose days are old enough.
func (db *DB) coolOld(ctx context.Context, now time.Time) error {
	rules, cutoffs, err := db.Retention()
	if err != nil || rules.Local == 0 || cutoffs.Dedupe == 0 {
		return err
	}
	if !db.erasuresDurable() { // then the manifest has the cutoffs, and all rows of the days before are in files
		if _, err := db.Checkpoint(ctx); err != nil {
			return err
		}
	}
	limit := min(segment.Day(now.UnixMicro())-int32(rules.Local), cutoffs.Dedupe)
	l := db.live()
	v := db.files.acquire()
	defer v.release()
	old, err := oldFiles(v.files, limit, cutoffs.Dedupe, l.erasures.Load())
	if err != nil {
		return err
	}
	var failed error
	for _, f := range old {
		if db.cooling.wanted.Load() > 0 {
			break // the next round goes on
		}
		if err := db.coolFile(ctx, l, f); err != nil {
			failed = errors.Join(failed, fmt.Errorf("keep %s of %s in the object store: %w", f.meta.Name, dayText(f.meta.MinDay), err))
			if ctx.Err() != nil || db.broken() != nil || errors.Is(err, cold.ErrAway) || errors.Is(err, errPut) {
				break
			}
		}
	}
	return failed
}

// oldFiles are those that may go: all days are before limit, all ids are forgotten, nothing in them is
// to be erased, and no file that stays holds a day of theirs.
func oldFiles(files []*file, limit, dedupe int32, set *erasure.Set) (old []*file, err error) {
	stays := map[int32]bool{}
	stay := func(f *file) {
		for _, d := range f.days().Days {
			stays[d.Day] = true
		}
	}
	for _, f := range files {
		if f.isCold() {
			continue
		}
		goes := f.meta.Level > 0 && f.meta.MaxDay < limit
		if goes {
			last, err := f.lastReceived()
			if err != nil {
				return nil, err
			}
			due, err := set.Due(f.r, f.behind())
			if err != nil {
				return nil, err
			}
			goes = last < dedupe && !due
		}
		if goes {
			old = append(old, f)
		} else {
			stay(f)
		}
	}
	for n := -1; n != len(old); {
		n = len(old)
		old = slices.DeleteFunc(old, func(f *file) bool {
			if !f.holdsOneOf(stays) {
				return false
			}
			stay(f)
			return true
		})
	}
	return old, nil
}

// errPut is wrapped when the object store takes nothing.
var errPut = errors.New("the object store did not take it")

// coolFile puts a segment into the object store and, when it is there as a whole, swaps it for its stub.
func (db *DB) coolFile(ctx context.Context, l *live, f *file) error {
	if held := db.cold.Options().Held; held != nil {
		for _, d := range f.days().Days {
			ok, err := held(ctx, d.Day)
			if err != nil {
				return fmt.Errorf("%w: %w", errPut, err)
			}
			if !ok {
				return nil // it goes when the raw tier has the day
			}
		}
	}
	sums, err := db.sumFile(ctx, f)
	if err != nil {
		return err
	}
	r, err := segment.Open(f.f, f.meta.Bytes, f.meta.Name, nil)
	if err == nil {
		_, err = r.Verify(ctx) // what is damaged must not be all that is left
	}
	if err != nil {
		return err
	}
	sum, err := f.sha(ctx)
	if err != nil {
		return err
	}
	if err := db.nameObjects(); err != nil {
		return err
	}
	name := db.newName(segmentSuffix)
	db.cooling.swept = false // what fails from here on leaves an object behind
	if err := db.cold.Put(ctx, db.objectKey(name), f.f, f.meta.Bytes, sum); err != nil {
		return fmt.Errorf("%w: %w", errPut, err)
	}
	next := fileMeta{Name: name, Cold: sum}
	if err := cold.WriteStub(db.fs, db.pathOf(next.local()), f.f, f.meta.Bytes, f.r.Directory()); err != nil {
		return err
	}
	return db.swap(l, f, next, sums)
}

// nameObjects gives the store a place for its objects, once, and has it in the manifest before the first comes.
func (db *DB) nameObjects() error {
	db.manifestMu.Lock()
	named := db.coldKey != ""
	if !named {
		var key [16]byte
		if _, err := io.ReadFull(db.opts.Random, key[:]); err != nil {
			db.manifestMu.Unlock()
			return err
		}
		db.coldKey = hex.EncodeToString(key[:])
	}
	db.manifestMu.Unlock()
	if named {
		return nil
	}
	err := db.commitAlone(edit{}, func() {})
	if err != nil { // nothing goes to a place that no manifest may know of
		db.manifestMu.Lock()
		db.coldKey = ""
		db.manifestMu.Unlock()
	}
	return err
}

// swap takes a file of the same bytes, of which next has the name and where it is, in place of f.
func (db *DB) swap(l *live, f *file, next fileMeta, sums *coldSums) error {
	db.compactMu.Lock()
	defer db.compactMu.Unlock()
	remove := func() { _ = db.fs.Remove(db.pathOf(next.local())) } // what stays is removed by the next start
	v := db.files.acquire()
	defer v.release()
	if db.live() != l || !slices.Contains(v.files, f) {
		remove()
		return nil // it was written anew meanwhile: the next round will tell
	}
	meta := f.described()
	meta.Name, meta.Cold = next.Name, next.Cold
	to, err := db.openFile(meta)
	if err != nil {
		remove()
		return err
	}
	to.sums.Store(sums)
	gone, added := []*file{f}, []*file{to}
	if err := db.commitAlone(edit{gone: gone, added: added}, func() { db.files.replace(gone, added) }); err != nil {
		if errors.Is(err, errBefore) {
			to.obsolete.Store(true)
		}
		to.release() // else it stays: the manifest that names it may have reached the disk
		return err
	}
	return nil
}

// fetch takes a cold segment back to the local disk, where it gets another name.
func (db *DB) fetch(ctx context.Context, l *live, f *file) error {
	name := db.newName(segmentSuffix)
	if err := vfs.WriteAtomic(db.fs, db.pathOf(name), func(w io.Writer) error {
		return f.f.(*cold.File).Whole(ctx, f.meta.Cold, w)
	}); err != nil {
		return fmt.Errorf("fetch %s of %s: %w", f.meta.Name, dayText(f.meta.MinDay), err)
	}
	return db.swap(l, f, fileMeta{Name: name}, nil)
}

// fetchWaiting carries out erasures in cold segments once they are carried out in all others.
func (db *DB) fetchWaiting(ctx context.Context) error {
	l := db.live()
	set := l.erasures.Load()
	db.compactMu.Lock()
	waits := set != nil && db.purged.here == set
	db.compactMu.Unlock()
	if !waits {
		return nil
	}
	if err := db.fetchAll(ctx, l, set); err != nil {
		return err
	}
	return db.purge(ctx, l, set, false)
}

// fetchDue is what purge calls, where a round may be at work.
func (db *DB) fetchDue(ctx context.Context, l *live, set *erasure.Set) error {
	end, err := db.beginRound(ctx)
	if err != nil {
		return err
	}
	defer end()
	return db.fetchAll(ctx, l, set)
}

// fetchAll fetches the cold segments that hold something of a set; those that are nothing but expired go as they are.
func (db *DB) fetchAll(ctx context.Context, l *live, set *erasure.Set) error {
	v := db.files.acquire()
	defer v.release()
	for _, f := range v.files {
		if !f.isCold() || db.live() != l {
			continue
		}
		due, err := set.Due(f.r, f.behind())
		_, all := f.expired(set)
		switch {
		case err != nil:
			return err
		case !due:
			continue
		case all:
			err = db.letGo(f)
		default:
			err = db.fetch(ctx, l, f)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// letGo takes a file out of the manifest.
func (db *DB) letGo(f *file) error {
	db.compactMu.Lock()
	defer db.compactMu.Unlock()
	v := db.files.acquire()
	defer v.release()
	if !slices.Contains(v.files, f) {
		return nil
	}
	gone := []*file{f}
	return db.commitAlone(edit{gone: gone}, func() { db.files.replace(gone, nil) })
}

// sweepObjects removes objects that no manifest names and nobody reads, when there may be some.
func (db *DB) sweepObjects(ctx context.Context) error {
	closed := db.cold.Closed()
	db.manifestMu.Lock()
	key, unsure := db.coldKey, len(db.strays) > 0 // after a commit that failed nobody knows which manifest the disk has
	db.manifestMu.Unlock()
	if key == "" || unsure || db.broken() != nil || db.cooling.swept && db.cooling.closed == closed {
		return nil
	}
	needed := db.files.cold()
	var extra []string
	if err := db.cold.List(ctx, key+"/", func(key string, _ int64) error {
		if !needed[key] {
			extra = append(extra, key)
		}
		return nil
	}); err != nil {
		return fmt.Errorf("look for objects that nobody needs: %w", err)
	}
	for _, key := range extra {
		if err := db.cold.Remove(ctx, key); err != nil {
			return fmt.Errorf("remove what nobody needs: %w", err)
		}
	}
	db.cooling.swept, db.cooling.closed = true, closed
	return nil
}

// cold are the cold files of a manifest by name.
func (p *pin) cold() map[string]*file {
	out := map[string]*file{}
	for _, f := range p.files.files {
		if f.isCold() {
			out[f.meta.Name] = f
		}
	}
	return out
}

// checkCold checks a cold segment: the stub against the manifest, and the object, past the cache, to the
// last value. Where no process has the store open, nobody knows how to reach the object.
func (c *checker) checkCold(ctx context.Context, fm *fileMeta) error {
	stub, far := fm.local(), c.cold[fm.Name]
	tier := cold.New(c.fsys, c.dir, nil, cold.Options{})
	h, err := tier.OpenFile(path.Join(c.dir, stub), "")
	if err != nil {
		c.report.problem(stub, "%v", err)
		return nil
	}
	defer func() { _ = h.Close() }()
	if c.checkDirectory(fm, h) == nil {
		return nil
	}
	if far == nil {
		c.note("%s is in the object store, %d bytes that were not read; verify them with the server running", fm.Name, fm.Bytes)
		return nil
	}
	name := c.db.pathOf(c.db.newName(vfs.TempSuffix))
	defer func() { _ = c.fsys.Remove(name) }()
	whole, err := c.fsys.Create(name)
	if err != nil {
		return err
	}
	defer func() { _ = whole.Close() }()
	if err := far.f.(*cold.File).Whole(ctx, fm.Cold, whole); err != nil {
		if ctx.Err() == nil {
			c.report.problem(fm.Name, "%v", err)
		}
		return nil
	}
	r, err := segment.Open(whole, whole.Size(), fm.Name, nil)
	if err == nil {
		err = c.checkBytes(ctx, r)
	}
	if err != nil && ctx.Err() == nil {
		c.report.problem(fm.Name, "%v", err)
	}
	c.step(fm.Bytes)
	return nil
}
