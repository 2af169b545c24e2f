package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"spoor/engine/document"
	"spoor/engine/erasure"
	"spoor/engine/identity"
	"spoor/engine/letters"
	"spoor/segment"
	"spoor/segment/batch"
)

// erasureDocument is the kind of documents that Apply itself writes: an erasure.Record by its id. Those of
// the retention are erasure.Document.
const erasureDocument = "erasure"

// MaxErasures bounds the log of requests. Of older ones those that are about a
// person are let go: the person stays erased.
const MaxErasures = 10_000

// EraseEntry carries out a request, which Check found to be valid.
func EraseEntry(r *erasure.Request) ([]byte, error) { return jsonEntry(entryErase, r) }

// RetentionEntry sets how long events are kept, and cutoffs that follow from it now.
func RetentionEntry(r *erasure.Retention, now time.Time) ([]byte, error) {
	return jsonEntry(entryRetention, retentionChange{Rules: r, Cutoffs: r.At(now.UnixMicro())})
}

// CutoffsEntry moves the cutoffs on.
func CutoffsEntry(c erasure.Cutoffs) ([]byte, error) {
	return jsonEntry(entryRetention, retentionChange{Cutoffs: c})
}

type retentionChange struct {
	Rules   *erasure.Retention `json:"rules,omitempty"`
	Cutoffs erasure.Cutoffs    `json:"cutoffs"`
}

func jsonEntry(kind byte, v any) ([]byte, error) {
	b, err := json.Marshal(v)
	return append([]byte{kind}, b...), err
}

// applyErase answers *erasure.Record. What came before it is gone when it returns.
func (db *DB) applyErase(index uint64, body []byte) (any, error) {
	r, err := erasure.Parse(body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEntry, err)
	}
	if doc, ok := db.live().docs.Get(erasureDocument, r.ID); ok && doc.Index != index { // asked for again: the first stands
		rec := &erasure.Record{}
		return rec, json.Unmarshal(doc.Value, rec)
	}
	rec := erasure.NewRecord(r, index, false, 0, nil)
	db.eraseGate.Lock()
	defer db.eraseGate.Unlock()
	db.mem.Lock() // a view takes what is stored and what is erased at one moment
	defer db.mem.Unlock()
	db.closeBefore(index, r.Kind == erasure.Events || len(r.Fields) > 0)
	var e identity.Erasure
	if mode := modes[r.Kind]; mode != 0 {
		e = db.erasePerson(index, r.User, mode)
		rec = erasure.NewRecord(r, index, e.Known, e.IDs, e.Persons)
	}
	if r.Kind == erasure.Allow {
		rec.Known = db.allow(r.User)
	}
	taken, err := r.Letters(e.User, e.Anons)
	if err != nil {
		return nil, err
	}
	if rec.Letters, err = db.live().letters.Erase(index, 0, func(l *letters.Letter) bool { return taken(l.Event) }); err != nil {
		return nil, err
	}
	value, err := json.Marshal(rec)
	if err != nil {
		return nil, err
	}
	db.live().docs.Set(document.Document{Kind: erasureDocument, Name: r.ID, Value: value, Index: index})
	db.live().docs.Trim(erasureDocument, MaxErasures, func(d document.Document) bool {
		old := erasure.Record{}
		return json.Unmarshal(d.Value, &old) == nil && (old.Kind == erasure.Person || old.Kind == erasure.History || old.Kind == erasure.Allow)
	})
	db.docsDirty.Store(true)
	set, err := db.live().erasures.Load().With(rec, db.live().identity.Snapshot().Gone)
	if err != nil {
		return nil, err
	}
	db.setErasures(set, index)
	db.applied.Store(index) // under the locks: no flush takes this entry for one to come
	return rec, nil
}

var modes = map[erasure.Kind]identity.Mode{erasure.Person: identity.Person, erasure.History: identity.Events, erasure.Anonymise: identity.Ids}

// closeBefore closes the memtable before an erasure: what is in it comes before, what
// will be comes after. A rule is an erasure that is not of persons or days. The caller
// holds eraseGate and db.mem.
func (db *DB) closeBefore(index uint64, rule bool) {
	if db.mem.active.rows > 0 {
		db.mem.flushing = append(db.mem.flushing, db.mem.active)
		db.mem.closed += db.mem.active.bytes
		db.mem.active = newMemtable()
	}
	if n := len(db.mem.flushing); n > 0 && rule {
		db.mem.flushing[n-1].apart = true
	}
	if len(db.mem.flushing) >= maxClosedByErasures { // else they wait for the next round of the background
		db.wake()
	}
	db.erasedAt = index
}

// maxClosedByErasures bounds the small memtables that erasures close before a flush begins.
const maxClosedByErasures = 16

// erasePerson erases somebody from who is who and from the traits.
func (db *DB) erasePerson(index uint64, user string, mode identity.Mode) identity.Erasure {
	x := db.live().identity
	x.Lock()
	defer x.Unlock()
	e := x.Erase([]byte(user), mode)
	if db.live().traits.At(index); e.Known {
		if mode == identity.Events {
			db.live().traits.Join(e.Person, e.Next)
		} else {
			db.live().traits.Erase(e.Person)
		}
	}
	return e
}

func (db *DB) allow(user string) bool {
	x := db.live().identity
	x.Lock()
	defer x.Unlock()
	return x.Allow([]byte(user))
}

// applyRetention answers whether anything changed.
func (db *DB) applyRetention(index uint64, body []byte) (any, error) {
	var change retentionChange
	if err := json.Unmarshal(body, &change); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEntry, err)
	}
	set := db.live().erasures.Load()
	now := erasure.Cutoffs{Default: erasure.NoCutoff}
	if set != nil && set.Cutoffs != nil {
		now = *set.Cutoffs
	}
	next := now.Advance(change.Cutoffs)
	changed := !next.Equal(now) || change.Rules != nil
	// One entry, two documents: the second put must not find its index taken.
	var docs []document.Document
	for _, d := range []struct {
		name  string
		value any
		put   bool
	}{{erasure.Rules, change.Rules, change.Rules != nil}, {erasure.InForce, next, true}} {
		if !d.put {
			continue
		}
		b, err := json.Marshal(d.value)
		if err != nil {
			return nil, err
		}
		docs = append(docs, document.Document{Kind: erasure.Document, Name: d.name, Value: b, Index: index})
	}
	db.eraseGate.Lock()
	defer db.eraseGate.Unlock()
	db.mem.Lock()
	defer db.mem.Unlock()
	db.closeBefore(index, false)
	db.live().docs.Set(docs...)
	db.docsDirty.Store(true)
	db.setErasures(set.Until(&next), index)
	db.applied.Store(index)
	return changed, nil
}

// loadErasures makes the set of what is erased at the start.
func (l *live) loadErasures() error {
	records, err := l.erasureRecords()
	if err != nil {
		return err
	}
	cutoffs, err := cutoffsIn(l.docs)
	if err != nil {
		return err
	}
	gone := l.identity.Snapshot().Gone
	if len(records) == 0 && cutoffs == nil && gone == nil {
		return nil
	}
	set, err := erasure.NewSet(records, gone, cutoffs)
	if err != nil {
		return fmt.Errorf("read the erasures: %w", err)
	}
	l.erasures.Store(set)
	return nil
}

// cutoffsIn are those among documents, nil for none.
func cutoffsIn(docs *document.Store) (*erasure.Cutoffs, error) {
	doc, ok := docs.Get(erasure.Document, erasure.InForce)
	if !ok {
		return nil, nil
	}
	c := &erasure.Cutoffs{}
	if err := json.Unmarshal(doc.Value, c); err != nil {
		return nil, fmt.Errorf("read the retention: %w", err)
	}
	return c, nil
}

// setErasures brings a set into force, of which what was erased since a log index is new.
func (db *DB) setErasures(set *erasure.Set, since uint64) {
	db.live().erasures.Store(set)
	v := db.files.acquire()
	defer v.release()
	for _, f := range v.files {
		db.hide(f.r, f.behind(), since)
	}
	for _, m := range append(slices.Clone(db.mem.flushing), db.mem.active) {
		for _, r := range m.runs {
			if s := r.seg.made.Load(); s != nil {
				db.hide(s, erasure.File{Last: m.last}, since)
			}
		}
	}
}

// hide hides fields in the sections of a file that were erased since a log index.
func (db *DB) hide(r *segment.Reader, f erasure.File, since uint64) {
	if set := db.live().erasures.Load(); set != nil {
		hideErased(set, r, f, since)
	}
}

func hideErased(set *erasure.Set, r *segment.Reader, f erasure.File, since uint64) {
	sections := r.Sections()
	for i := range sections {
		set.Hide(&sections[i], f, since)
	}
}

// Erasures are the requests that were applied, oldest first.
func (db *DB) Erasures() ([]erasure.Record, error) { return db.live().erasureRecords() }

func (l *live) erasureRecords() ([]erasure.Record, error) {
	var out []erasure.Record
	for _, d := range l.docs.List(erasureDocument) {
		var r erasure.Record
		if err := json.Unmarshal(d.Value, &r); err != nil {
			return nil, fmt.Errorf("read erasure %s: %w", d.Name, err)
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b erasure.Record) int {
		if a.Index < b.Index {
			return -1
		}
		return 1
	})
	return out, nil
}

// Retention is what was asked for, and the cutoffs that are in force.
func (db *DB) Retention() (r erasure.Retention, c erasure.Cutoffs, err error) {
	if doc, ok := db.live().docs.Get(erasure.Document, erasure.Rules); ok {
		err = json.Unmarshal(doc.Value, &r)
	}
	c.Default = erasure.NoCutoff
	if set := db.live().erasures.Load(); set != nil && set.Cutoffs != nil {
		c = *set.Cutoffs
	}
	return r, c, err
}

// EraseStatus is how far an erasure is in the bytes of the files.
type EraseStatus struct {
	// Files still hold something that it erased, or may. One that was replaced counts as long as a
	// query, an export or a backup reads it.
	Files int
	// Rows that it took out of files so far.
	Rows int64
	// Erased: no segment, nor the files of persons, hold anything of it. The log may, until it is cut
	// behind Index.
	Erased bool
}

// EraseStatus tells how far erasures are, by their log index and id.
func (db *DB) EraseStatus(r *erasure.Record) EraseStatus {
	db.manifestMu.Lock()
	s := EraseStatus{Rows: db.erasedRows[r.ID], Erased: db.forgotten >= r.Index}
	db.manifestMu.Unlock()
	s.Files = db.files.keptWith(r.Index)
	v := db.files.acquire()
	defer v.release()
	for _, f := range v.files {
		if f.holds(r.Index) {
			s.Files++
		}
	}
	db.mem.RLock()
	waiting := slices.ContainsFunc(db.mem.flushing, func(m *memtable) bool { return m.first <= r.Index })
	db.mem.RUnlock()
	s.Erased = s.Erased && s.Files == 0 && !waiting
	return s
}

func addCounts(sum, counts map[string]int64) {
	for id, n := range counts {
		sum[id] += n
	}
}

// purgeState is what the background knows of erasures. Only it and purge, under compactMu, touch it.
type purgeState struct {
	set   *erasure.Set // that was carried out in all files
	since time.Time    // when the background first saw another
}

// purgeDue carries out what waits to be erased from the bytes of files, if it is time.
func (db *DB) purgeDue(ctx context.Context, now time.Time, idle bool) error {
	l := db.live()
	set := l.erasures.Load()
	db.compactMu.Lock()
	done := db.purged.set == set
	if done {
		db.purged.since = time.Time{}
	} else if db.purged.since.IsZero() {
		db.purged.since = now
	}
	due := !done && (idle || now.Sub(db.purged.since) >= db.opts.EraseWithin/2)
	db.compactMu.Unlock()
	if !due {
		return nil
	}
	if _, err := db.Checkpoint(ctx); err != nil {
		return err
	}
	return db.purge(ctx, l, set, false)
}

// purge writes every file anew that holds something of the set, which is of l. The memtable was
// flushed since the set came into force. While a backup reads the files of persons it waits for
// that, or leaves the rest to a later call.
func (db *DB) purge(ctx context.Context, l *live, set *erasure.Set, wait bool) error {
	for {
		done, err := db.purgeOne(ctx, l, set)
		if err != nil {
			return fmt.Errorf("erase: %w", err)
		}
		if done {
			break
		}
	}
	if set == nil {
		return nil
	}
	if wait {
		db.pinned.Lock()
	} else if !db.pinned.TryLock() {
		return nil
	}
	db.compactMu.Lock()
	already := db.purged.set == set || db.live() != l // another state came: it has its own files
	err := error(nil)
	if !already {
		v := db.files.acquire()
		db.manifestMu.Lock()
		e := edit{done: map[*file]uint64{}, forget: db.forgotten < set.Last()}
		db.manifestMu.Unlock()
		for _, f := range v.files {
			if f.done.Load() < set.Last() && f.meta.Last <= db.durable.Load() {
				e.done[f] = set.Last()
			}
		}
		if err = db.commitCovered(e, func() {}); err == nil {
			db.purged.set, db.purged.since = set, time.Time{}
		}
		v.release()
	}
	db.compactMu.Unlock()
	db.pinned.Unlock()
	if err != nil {
		err = fmt.Errorf("erase: %w", err)
		if !errors.Is(err, errBefore) && !errors.Is(err, syscall.ENOSPC) {
			db.fatal(err)
		}
		return err
	}
	if !already && db.opts.OnErased != nil {
		db.opts.OnErased(set.Last())
	}
	return nil
}

// purgeOne writes one file anew; done is true when none holds anything of the set.
func (db *DB) purgeOne(ctx context.Context, l *live, set *erasure.Set) (done bool, err error) {
	db.compactMu.Lock()
	defer db.compactMu.Unlock()
	if db.live() != l {
		return true, nil
	}
	if err := errors.Join(ctx.Err(), db.broken()); err != nil {
		return false, err
	}
	v := db.files.acquire()
	defer v.release()
	for _, f := range v.files {
		due, err := set.Due(f.r, f.behind())
		if err != nil {
			return false, err
		}
		if !due {
			continue
		}
		// Files of level 0 are merged as ever, so that later ones do not come before them.
		if f.meta.Level == 0 {
			picked, err := db.pick(v.files, whenIdle)
			if err != nil {
				return false, err
			}
			if len(picked) > 0 {
				return false, db.merge(ctx, picked)
			}
		}
		return false, db.merge(ctx, []*file{f})
	}
	return true, nil
}

// refusals tells which rows of a batch may not be stored; nil if all may.
func (db *DB) refusals(b *batch.Batch) (out []Refusal) {
	refuse := func(row int, why Refusal) {
		if out == nil {
			out = make([]Refusal, b.N)
		}
		out[row] = why
	}
	if set := db.live().erasures.Load(); set != nil && set.Cutoffs != nil {
		for i := range b.N {
			switch day := segment.Day(b.Times[i]); {
			case db.expired(b, i):
				refuse(i, ExpiredEvent)
			case set.Cutoffs.TooOld(day):
				refuse(i, TooOld)
			case set.Cutoffs.TooFarAhead(day, segment.Day(b.ReceivedAt)):
				refuse(i, TooFarAhead)
			}
		}
	}
	x := db.live().identity
	x.RLock()
	defer x.RUnlock()
	if !x.RefusesAny() {
		return out
	}
	lastUser, lastAnon, refused := ^uint32(0), ^uint32(0), false
	for i := range b.N {
		if u, a := b.Users.Row[i], b.Anons.Row[i]; u != lastUser || a != lastAnon {
			user, _ := b.Users.At(i)
			anon, _ := b.Anons.At(i)
			lastUser, lastAnon, refused = u, a, x.Refused(user, anon)
		}
		if refused {
			refuse(i, ErasedPerson)
		}
	}
	return out
}

// expired tells whether a row of a batch is older than the retention allows.
func (db *DB) expired(b *batch.Batch, row int) bool {
	set := db.live().erasures.Load()
	if set == nil || set.Cutoffs == nil {
		return false
	}
	return set.Expired(string(b.Names.Dict.At(int(b.Names.Row[row]-1))), segment.Day(b.Times[row]))
}

// idForgotten tells whether the id of a row counts no more.
func (db *DB) idForgotten(b *batch.Batch, row int) bool {
	return db.live().erasures.Load().Forgets(segment.Day(b.Times[row]), segment.Day(b.ReceivedAt))
}
