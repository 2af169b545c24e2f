package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"spoor/engine/document"
	"spoor/engine/event"
	"spoor/engine/traits"
	"spoor/segment"
	"spoor/segment/batch"
)

// A log entry is one byte that names its type, then the type's own bytes. The
// numbers are part of the log's format and never change.
//
//	entryEvents    | 1 | encoded batch |
//	entryIdentify  | 2 | text userId | text anonymousId |
//	entryIdentifies| 8 | calls, see traits.AppendCall |             links ids and sets traits
//	entryPut       | 4 | text kind | text name | bytes value |      stores a document
//	entryDelete    | 5 | text kind | text name |                    removes a document
//	entryErase     | 9 | JSON of an erasure.Request |               erases, see package erasure
//	entryRetention | 10 | JSON of a retentionChange |               lets events expire
//	entryLetters   |16 | see letters.Append |                       stores dead letters
//	entryUnletter  |17 | see letters.AppendBounds |                 removes dead letters
//	entryHash      |18 |                                            asks for the hash of the state before it
//	entryRefuse    |19 | identity.AppendRefusals |                  refuses ids that another store refused; since version 2
//
// A text is a uvarint length and its bytes.
const (
	entryEvents   byte = 1
	entryIdentify byte = 2
	entryPut      byte = 4
	entryDelete   byte = 5

	entryIdentifies byte = 8

	entryErase     byte = 9
	entryRetention byte = 10
	entryLetters   byte = 16
	entryUnletter  byte = 17
	entryHash      byte = 18
	entryRefuse    byte = 19
)

// Versions of log entries that this program understands. An entry of a new type, or of an old one
// that older programs would read in another way, has the next version; the cluster proposes it only when
// every member understands it. So a release that brings one reads it, and what it
// brings begins to work when the last node has been upgraded.
const (
	MinEntryVersion = 1
	MaxEntryVersion = 2
)

// EntryVersion is the version of an entry; one that is not known is newer than all.
func EntryVersion(entry []byte) uint32 {
	if len(entry) == 0 {
		return MaxEntryVersion + 1
	}
	switch entry[0] {
	case entryEvents, entryIdentify, entryPut, entryDelete, entryIdentifies, entryErase, entryRetention, entryLetters, entryUnletter, entryHash:
		return 1
	case entryRefuse:
		return 2
	}
	return MaxEntryVersion + 1
}

// ErrEntry is wrapped when a log entry cannot be read. It means damage or a
// newer program, for what is proposed was checked before.
var ErrEntry = errors.New("unreadable log entry")

// EventsEntry is the log entry that stores a batch, appended to dst.
func EventsEntry(dst []byte, b *batch.Batch) []byte {
	return b.AppendEncoded(append(dst, entryEvents))
}

// EventsOf is the batch that an entry of EventsEntry stores.
func EventsOf(entry []byte) (*batch.Batch, error) {
	if len(entry) == 0 || entry[0] != entryEvents {
		return nil, fmt.Errorf("%w: it holds no events", ErrEntry)
	}
	b, err := batch.Decode(entry[1:])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEntry, err)
	}
	return b, nil
}

// PutEntry stores a document: a saved query, a setting. It replaces one of the same kind and name.
func PutEntry(kind, name string, value []byte) []byte {
	return append(appendText(appendText([]byte{entryPut}, kind), name), value...)
}

// DeleteEntry removes a document.
func DeleteEntry(kind, name string) []byte {
	return appendText(appendText([]byte{entryDelete}, kind), name)
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func readText(b []byte) (text string, rest []byte, err error) {
	n, used := binary.Uvarint(b)
	if used <= 0 || n > uint64(len(b)-used) {
		return "", nil, fmt.Errorf("%w: text of %d bytes in %d", ErrEntry, n, len(b))
	}
	return string(b[used : used+int(n)]), b[used+int(n):], nil
}

// EventsResult is what Apply answers for a batch.
type EventsResult struct {
	Accepted   int
	Duplicates int
	// Duplicate tells for each row whether an event with its id was stored before; nil when none was.
	Duplicate []bool
	// Refused says for each row why it may not be stored, if so; nil when none was refused.
	Refused []Refusal
}

// Refusal is why an event is not stored though there is nothing wrong with it.
type Refusal uint8

// The refusals.
const (
	NotRefused   Refusal = iota
	ErasedPerson         // it is of a person who was erased
	ExpiredEvent         // it is older than the retention allows
	TooOld               // it is older than the time for which eventIds are remembered
	TooFarAhead          // its time is so far ahead that its eventId would be forgotten before
)

// Apply applies the log entry of an index. Entries must come in the order of
// the log; one that was applied before is skipped. What it decides depends on
// the entries alone, so that every replica decides alike: it reads no clock, no
// option and no random number, and whether a row is still in the memtable or
// already in a file changes nothing. data is not kept.
//
// It answers *EventsResult for events, []IdentifyResult for identify calls, bool for a document that was removed, and an
// error for an entry that cannot be read or whose duplicates cannot be checked; the
// store has then called OnFatal, for going on would make replicas differ.
func (db *DB) Apply(index uint64, data []byte) any {
	if index <= db.applied.Load() {
		return nil
	}
	if err := db.broken(); err != nil {
		return fmt.Errorf("apply log entry %d: %w", index, err)
	}
	result, err := db.apply(index, data)
	if err != nil {
		err = fmt.Errorf("apply log entry %d: %w", index, err)
		db.fatal(err)
		return err
	}
	db.applied.Store(index)
	return result
}

func (db *DB) apply(index uint64, data []byte) (any, error) {
	if len(data) == 0 {
		return nil, fmt.Errorf("%w: it is empty", ErrEntry)
	}
	kind, body := data[0], data[1:]
	switch kind {
	case entryEvents:
		db.awaitRoom()
		b, err := batch.Decode(body)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrEntry, err)
		}
		return db.applyEvents(index, b)
	case entryIdentify:
		user, rest, err := readText(body)
		if err != nil {
			return nil, err
		}
		anon, _, err := readText(rest)
		if err != nil {
			return nil, err
		}
		if user == "" || anon == "" {
			return nil, fmt.Errorf("%w: an identify entry without both ids", ErrEntry)
		}
		db.applyIdentify(index, []traits.Call{{UserID: []byte(user), AnonymousID: []byte(anon)}})
		return true, nil
	case entryIdentifies:
		calls, err := traits.ReadCalls(body)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrEntry, err)
		}
		result := db.applyIdentify(index, calls)
		if db.live().traits.Waiting() >= maxWaitingTraits {
			db.mem.Lock()
			if len(db.mem.flushing) == 0 { // else one is on its way
				db.rotate()
			}
			db.mem.Unlock()
		}
		return result, nil
	case entryPut, entryDelete:
		kindText, rest, err := readText(body)
		if err != nil {
			return nil, err
		}
		name, value, err := readText(rest)
		if err != nil {
			return nil, err
		}
		done := true
		if kind == entryDelete {
			done = db.live().docs.Remove(kindText, name, index)
		} else {
			db.live().docs.Put(document.Document{Kind: kindText, Name: name, Value: append([]byte(nil), value...), Index: index})
		}
		db.docsDirty.Store(true) // after the change: a flush that clears it has seen it
		return done, nil
	case entryErase:
		return db.applyErase(index, body)
	case entryRetention:
		return db.applyRetention(index, body)
	case entryLetters, entryUnletter:
		return db.applyLetters(index, kind, body)
	case entryHash:
		return nil, db.hashAt(index)
	case entryRefuse:
		return db.applyRefuse(body)
	}
	return nil, fmt.Errorf("%w: type %d is not known to this program", ErrEntry, kind)
}

// applyEvents stores the rows of b that are not stored yet.
func (db *DB) applyEvents(index uint64, b *batch.Batch) (any, error) {
	p := &part{b: b, person: make([]uint32, b.N), user: make([]uint32, b.N), anon: make([]uint32, b.N)}
	res := &EventsResult{Refused: db.refusals(b)}
	refused := func(i int) bool { return res.Refused != nil && res.Refused[i] != NotRefused }
	hashes := make([]uint64, b.N)
	maybe := make([]bool, b.N)
	for i := range hashes {
		hashes[i] = db.live().idKey.Hash(b.IDs[i], textOf(b, i))
	}
	db.live().filters.HasAll(hashes, maybe)
	db.live().filters.Reach(lastDay(b))
	// An id that changes the filters is new. One that does not was there, in the
	// filters' opinion: before this batch, or in a row of it above. When they began a
	// new generation on the way, the rows above may be in the one before.
	generations := db.live().filters.Stats().Generations
	for i, h := range hashes {
		if !refused(i) {
			maybe[i] = !db.live().filters.Add(h) || maybe[i]
		}
	}
	if db.live().filters.Stats().Generations != generations {
		for i := range maybe {
			maybe[i] = true
		}
	}

	db.mem.Lock()
	defer db.mem.Unlock()
	m := db.mem.active
	first := m.begin(p)
	var v *version
	leaveOut := func(i int) {
		if p.skip == nil {
			p.skip = make([]bool, b.N)
		}
		p.skip[i] = true
	}
	for i, h := range hashes {
		if refused(i) {
			leaveOut(i)
			continue
		}
		stored := false
		if maybe[i] {
			var err error
			if v == nil {
				v = db.files.acquire()
				defer v.release()
			}
			if stored, err = db.storedBefore(v, h, b, i); err != nil {
				return nil, err
			}
		}
		if stored {
			if res.Duplicate == nil {
				res.Duplicate = make([]bool, b.N)
			}
			res.Duplicate[i] = true
			res.Duplicates++
			leaveOut(i)
			continue
		}
		m.ids.Insert(h, first+uint32(i))
		p.rows++
	}
	res.Accepted = p.rows
	db.resolve(p)
	if p.rows > 0 {
		m.add(p, index)
		latest := db.maxTime.Load()
		for i, t := range b.Times {
			if (p.skip == nil || !p.skip[i]) && t > latest {
				latest = t
			}
		}
		db.maxTime.Store(latest)
		db.lastReceived.Store(max(db.lastReceived.Load(), b.ReceivedAt))
		db.events.Add(int64(p.rows))
	} else {
		m.forget(first)
	}
	m.last = index
	if m.rows >= db.opts.FlushRows || m.bytes >= db.opts.MemoryBytes/8 {
		db.rotate()
	}
	db.applied.Store(index) // under the lock: a view names the index of what it shows
	return res, nil
}

// lastDay is the last day on which the ids of a batch can be forgotten.
func lastDay(b *batch.Batch) int32 {
	day := segment.Day(b.ReceivedAt)
	for _, t := range b.Times {
		day = max(day, segment.Day(t))
	}
	return day
}

func textOf(b *batch.Batch, row int) []byte {
	if isText(b, row) {
		return idText(b, row)
	}
	return nil
}

// storedBefore compares an id that passed the filters with everything that is
// stored. The caller holds db.mem.
func (db *DB) storedBefore(v *version, hash uint64, b *batch.Batch, row int) (bool, error) {
	id, text := b.IDs[row], textOf(b, row)
	for i := len(db.mem.flushing); i >= 0; i-- {
		m := db.mem.active
		if i < len(db.mem.flushing) {
			m = db.mem.flushing[i]
		}
		if m.has(hash, id, text, func(b *batch.Batch, row int) bool { return !db.expired(b, row) && !db.idForgotten(b, row) }) {
			return true, nil
		}
	}
	// A resend carries the time of the first try: its own day comes first.
	day := segment.Day(b.Times[row])
	for pass := range 2 {
		for i := len(v.files) - 1; i >= 0; i-- {
			f := v.files[i]
			own := f.meta.MinDay <= day && day <= f.meta.MaxDay
			if own != (pass == 0) {
				continue
			}
			found, err := f.r.HasID(id, text)
			if found && err == nil {
				found, err = db.isKept(f, id, text)
			}
			if err != nil || found {
				return found, err
			}
		}
	}
	return false, nil
}

// resolve finds the persons of the rows that are kept.
func (db *DB) resolve(p *part) {
	b := p.b
	x := db.live().identity
	x.Lock()
	defer x.Unlock()
	// Rows of one batch often come from one person: the same two codes give the same answer.
	lastUser, lastAnon := ^uint32(0), ^uint32(0)
	var person, user, anon uint32
	for i := range b.N {
		if p.skip != nil && p.skip[i] {
			continue
		}
		u, a := b.Users.Row[i], b.Anons.Row[i]
		if u != lastUser || a != lastAnon {
			userText, _ := b.Users.At(i)
			anonText, _ := b.Anons.At(i)
			person, user, anon = x.Observe(userText, anonText)
			lastUser, lastAnon = u, a
		}
		p.person[i] = person
		if u != 0 {
			p.user[i] = user + 1
		}
		if a != 0 {
			p.anon[i] = anon + 1
		}
	}
}

// maxLevel0 files from flushes may wait for a merge that is at work.
const maxLevel0 = 24

// awaitRoom waits while closed memtables take more than their share of the
// memory, or merges are far behind flushes: events come in no faster than they go to
// disk. It decides nothing, so replicas need not wait alike.
func (db *DB) awaitRoom() {
	if db.opts.ManualCompaction {
		return // whoever calls Apply also flushes
	}
	db.mem.Lock()
	defer db.mem.Unlock()
	for db.ctx.Err() == nil && db.broken() == nil &&
		(db.mem.closed > db.opts.MemoryBytes/4 || db.merging.Load() && db.files.level0() > maxLevel0) {
		db.stuck.Store(true)
		db.mem.room.Wait()
	}
	db.stuck.Store(false)
}

// rotate closes the active memtable and lets the background flush it. The caller holds db.mem.
func (db *DB) rotate() {
	if db.mem.active.rows == 0 {
		return
	}
	db.mem.flushing = append(db.mem.flushing, db.mem.active)
	db.mem.closed += db.mem.active.bytes
	db.mem.active = newMemtable()
	db.wake()
}

func (db *DB) wake() {
	select {
	case db.kick <- struct{}{}:
	default:
	}
}

// EntryTexts calls f with every text that a log entry holds, decoded, numbers as
// they are written; it stops where an entry cannot be read.
func EntryTexts(data []byte, f func(where string, text []byte)) error {
	if len(data) > 0 && data[0] == entryIdentifies {
		calls, err := traits.ReadCalls(data[1:])
		if err != nil {
			return fmt.Errorf("%w: %w", ErrEntry, err)
		}
		for i := range calls {
			for _, l := range calls[i].Traits {
				f(l.Path, event.AppendObject(nil, []event.Leaf{l}))
			}
		}
	}
	if len(data) == 0 || data[0] != entryEvents {
		f("entry", data) // the others keep their texts as they are
		return nil
	}
	b, err := batch.Decode(data[1:])
	if err != nil {
		return fmt.Errorf("%w: %w", ErrEntry, err)
	}
	for i := range b.N {
		f("eventId", b.IDText(nil, i))
	}
	for where, d := range map[string]*batch.Texts{"eventName": &b.Names.Dict, "userId": &b.Users.Dict, "anonymousId": &b.Anons.Dict, "source": &b.Sources.Dict, "shape": &b.Shapes.Dict} {
		for i := range d.Len() {
			f(where, d.At(i))
		}
	}
	for i := range b.Columns {
		c := &b.Columns[i]
		f("name of a column", []byte(c.Path))
		for i := range c.Dict.Len() {
			f(c.Path, c.Dict.At(i))
		}
		for _, v := range c.Nums {
			f(c.Path, strconv.AppendFloat(nil, v, 'f', -1, 64))
		}
		for _, v := range c.Ints {
			f(c.Path, strconv.AppendInt(nil, v, 10))
		}
	}
	return nil
}
