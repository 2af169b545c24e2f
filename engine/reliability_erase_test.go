package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"spoor/engine/erasure"
	"spoor/engine/letters"
	"spoor/engine/statehash"
	"spoor/internal/vfs"
	"spoor/segment"
)

// naiveErased is what the model knows of erasures.
type naiveErased struct {
	ids     map[string]testEvent // erased events whose ids are not forgotten
	known   map[string]bool      // "u" or "a" and an id that somebody has
	refused map[string]bool      // likewise
	cutoffs erasure.Cutoffs
	count   int
}

// naiveRecord is what an erasure answers, but for numbers that only the store knows.
type naiveRecord struct {
	known bool
	ids   int
}

const nobodyPrefix = "nobody "

func (m *naive) know(user, anon string) {
	if user != "" {
		m.erased.known["u"+user] = true
	}
	if anon != "" {
		m.erased.known["a"+anon] = true
	}
}

// stored tells whether an id is taken, be it by an event that was erased.
func (m *naive) stored(id string) bool {
	_, there := m.events[id]
	_, erased := m.erased.ids[id]
	return there || erased
}

func (m *naive) refuses(user, anon string) bool {
	if user != "" {
		return m.erased.refused["u"+user]
	}
	return m.erased.refused["a"+anon]
}

func (m *naive) refusal(e *testEvent) Refusal {
	switch {
	case m.refuses(e.user, e.anon):
		return ErasedPerson
	case m.expired(e):
		return ExpiredEvent
	}
	return NotRefused
}

func (m *naive) expired(e *testEvent) bool { return segment.Day(e.time) < m.erased.cutoffs.Of(e.name) }

func (m *naive) expire(c *retentionChange) any {
	before := m.erased.cutoffs
	m.erased.cutoffs = before.Advance(c.Cutoffs)
	for id, e := range m.events {
		if m.expired(&e) {
			delete(m.events, id)
		}
	}
	for id, e := range m.erased.ids {
		if m.expired(&e) {
			delete(m.erased.ids, id)
		}
	}
	return c.Rules != nil || !m.erased.cutoffs.Equal(before)
}

// idsOf are the ids of a person that an id stands for, each behind "u" or "a".
func (m *naive) idsOf(id string) (ids []string) {
	user := ""
	switch {
	case m.erased.known["u"+id]:
		user = id
	case !m.erased.known["a"+id]:
		return nil
	case m.links[id] == "":
		return []string{"a" + id}
	default:
		user = m.links[id]
	}
	ids = []string{"u" + user}
	for anon, u := range m.links {
		if u == user {
			ids = append(ids, "a"+anon)
		}
	}
	return ids
}

// eraseConditions are those of scripts. Some are about fields that scripts erase.
var eraseConditions = map[string]func(e *testEvent) bool{
	"":                          func(*testEvent) bool { return true },
	"properties.n > 10":         func(e *testEvent) bool { return e.n > 10 },
	"properties.flag = true":    func(e *testEvent) bool { return e.flag == 2 },
	"properties.deep.s missing": func(e *testEvent) bool { return e.s == "" },
}

func (m *naive) erase(r *erasure.Request) naiveRecord {
	m.erased.count++
	switch r.Kind {
	case erasure.Events:
		for id, e := range m.events {
			if slices.Contains(r.Events, e.name) && eraseConditions[r.Where](&e) && (r.From == "" || segment.Day(e.time) >= segment.Day(scriptStart)+1) {
				m.eraseEvent(id)
			}
		}
		return naiveRecord{}
	case erasure.Field:
		for id, e := range m.events {
			if r.Events == nil || slices.Contains(r.Events, e.name) {
				e.s, e.flag = "", 0
				m.events[id] = e
			}
		}
		return naiveRecord{}
	case erasure.Allow:
		u, a := m.erased.refused["u"+r.User], m.erased.refused["a"+r.User]
		delete(m.erased.refused, "u"+r.User)
		delete(m.erased.refused, "a"+r.User)
		return naiveRecord{known: u || a}
	}
	ids := m.idsOf(r.User)
	if len(ids) == 0 {
		if r.Kind == erasure.Person {
			m.erased.refused["u"+r.User], m.erased.refused["a"+r.User] = true, true
		}
		return naiveRecord{}
	}
	name := ids[0][1:]
	for id, e := range m.events {
		if m.person(&e) != name {
			continue
		}
		if r.Kind != erasure.Anonymise {
			m.eraseEvent(id)
			continue
		}
		e.user, e.anon, e.nobody = "", "", fmt.Sprintf("%s%d", nobodyPrefix, m.erased.count)
		m.events[id] = e
	}
	if r.Kind != erasure.History {
		m.said = slices.DeleteFunc(m.said, func(s said) bool { return m.person(&testEvent{user: s.user, anon: s.anon}) == name })
		for _, id := range ids {
			m.forget(id)
			if r.Kind == erasure.Person {
				m.erased.refused[id] = true
			}
		}
	}
	return naiveRecord{true, len(ids)}
}

// forget makes an id nobody's, also where another user's event names it.
func (m *naive) forget(id string) {
	delete(m.erased.known, id)
	if id[0] == 'u' {
		return
	}
	delete(m.links, id[1:])
	for key, e := range m.events {
		if e.anon == id[1:] {
			e.anon = ""
			m.events[key] = e
		}
	}
}

func (m *naive) eraseEvent(id string) {
	m.erased.ids[id] = m.events[id]
	delete(m.events, id)
}

// eraseSomething adds an erasure, or moves the retention on.
func (s *scripter) eraseSomething() {
	r := &erasure.Request{ID: fmt.Sprintf("er-%d", len(s.entries)), At: scriptStart}
	someone := func() string {
		if s.rng.IntN(2) == 0 {
			return s.pick("u", s.users)
		}
		return s.pick("a", s.anons)
	}
	switch s.rng.IntN(9) {
	case 0, 1:
		r.Kind, r.User = erasure.Person, someone()
	case 2:
		r.Kind, r.User = erasure.History, someone()
	case 3:
		r.Kind, r.User = erasure.Anonymise, someone()
	case 4, 5:
		r.Kind, r.User = erasure.Allow, someone()
	case 6:
		r.Kind, r.Events = erasure.Events, []string{s.pick("e", 4), "e9"}
		conditions := slices.Sorted(maps.Keys(eraseConditions))
		r.Where = conditions[s.rng.IntN(len(conditions))]
		if s.rng.IntN(2) == 0 {
			r.From = "2026-01-02"
		}
	case 7:
		r.Kind, r.Fields = erasure.Field, []string{"properties.deep", "properties.flag"}
		if s.rng.IntN(2) == 0 {
			r.Events = []string{s.pick("e", 4)}
		}
	default:
		c := &retentionChange{Cutoffs: erasure.Cutoffs{Default: segment.Day(scriptStart) - 3 + int32(s.rng.IntN(4))}}
		if s.rng.IntN(2) == 0 {
			c.Cutoffs.Events = map[string]int32{s.pick("e", 4): segment.Day(scriptStart) + int32(s.rng.IntN(4))}
		}
		data, err := jsonEntry(entryRetention, c)
		if err != nil {
			panic(err)
		}
		s.entries = append(s.entries, logEntry{expire: c, data: data})
		return
	}
	if err := r.Check(); err != nil {
		panic(err)
	}
	data, err := EraseEntry(r)
	if err != nil {
		panic(err)
	}
	s.entries = append(s.entries, logEntry{erase: r, data: data})
}

// erasingScript is script with erasures.
func erasingScript(seed uint64, n, rows int) []logEntry {
	s := newScripter(seed)
	s.erases = true
	for range n {
		s.add(rows)
	}
	return s.entries
}

func TestWhatIsErasedIsGoneAtOnceAndStaysGoneWhateverHappensToTheFiles(t *testing.T) {
	ctx := context.Background()
	for seed := range uint64(rounds(60, 5000)) {
		rng := rand.New(rand.NewPCG(seed, 51))
		s := newScripter(3000 + seed)
		s.erases, s.users, s.anons, s.days = true, 1+rng.IntN(12), 1+rng.IntN(20), 1+rng.IntN(8)
		for range 10 + rng.IntN(50) {
			s.add(1 + rng.IntN(30))
		}
		log, m, mem := s.entries, newNaive(), vfs.NewMem()
		db := memStore(t, mem, randomOptions(rng))
		for i := range log {
			require.Equal(t, m.apply(&log[i]), applyEntry(db, log, i), "seed %d, entry %d", seed, i+1)
			if log[i].erase != nil || log[i].expire != nil || rng.IntN(8) == 0 {
				checkRows(t, db, m, true)
			}
			_, err := step(ctx, db, rng)
			require.NoError(t, err)
			if rng.IntN(8) == 0 {
				db = reopen(t, mem, db, log, i+1, rng)
			}
			if rng.IntN(12) == 0 {
				report, err := db.Verify(ctx, nil)
				require.NoError(t, err)
				require.NoError(t, report.Err(), "seed %d, entry %d", seed, i+1)
			}
		}
		check(t, db, m)
		require.NoError(t, db.Compact(ctx))
		check(t, db, m)
		checkPurged(t, db)
		report, err := db.Verify(ctx, nil)
		require.NoError(t, err)
		require.NoError(t, report.Err())
		require.NoError(t, db.Close())
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// checkPurged looks at the bytes of the files: nothing that is erased may be left.
func checkPurged(t *testing.T, db *DB) {
	t.Helper()
	set := db.live().erasures.Load()
	for _, f := range db.files.current.files {
		due, err := set.Due(f.r, erasure.File{Last: f.meta.Last})
		require.NoError(t, err)
		if due && f.meta.Last > set.Last() { // later rows may look like those that a rule erased
			due, err = set.Due(f.r, f.behind())
			require.NoError(t, err)
		}
		if due {
			for i := range f.r.Sections() {
				s := &f.r.Sections()[i]
				require.False(t, set.Expired(strings.TrimPrefix(s.Event(), segment.ErasedPrefix), s.Day()))
				p, err := s.Persons()
				require.NoError(t, err)
				require.False(t, !s.Erased() && set.Gone != nil && p.Intersects(set.Gone), "rows of an erased person")
			}
		}
	}
	records, err := db.Erasures()
	require.NoError(t, err)
	for i := range records {
		require.True(t, db.EraseStatus(&records[i]).Erased, "erasure %s", records[i].ID)
	}
}

func TestReplicasEraseAlikeWhateverTheirFilesAndRestarts(t *testing.T) {
	ctx := context.Background()
	for seed := range uint64(rounds(20, 1000)) {
		log := erasingScript(200+seed, 60, 20)
		var first *statehash.State
		var verdicts []any
		for replica := range uint64(3) {
			rng := rand.New(rand.NewPCG(seed, replica))
			mem := vfs.NewMem()
			db := memStore(t, mem, randomOptions(rng))
			for i := range log {
				v := applyEntry(db, log, i)
				if replica == 0 {
					verdicts = append(verdicts, v)
					continue
				}
				require.Equal(t, verdicts[i], v, "seed %d, replica %d, entry %d", seed, replica, i+1)
				_, err := step(ctx, db, rng)
				require.NoError(t, err)
				if rng.IntN(10) == 0 {
					db = reopen(t, mem, db, log, i+1, rng)
				}
			}
			h, err := db.StateHash(ctx)
			require.NoError(t, err)
			if first == nil {
				first = h
			}
			require.Equal(t, first, h, "seed %d, replica %d", seed, replica)
			require.NoError(t, db.Close())
		}
	}
}

func TestAPowerCutInTheMiddleOfErasingBringsNothingBack(t *testing.T) {
	ctx := context.Background()
	images, wanted := 0, rounds(150, 10_000)
	for seed := uint64(1); images < wanted; seed++ {
		log := erasingScript(900+seed, 40, 16)
		rng, cuts := rand.New(rand.NewPCG(seed, 1)), rand.New(rand.NewPCG(seed, 2))
		mem := vfs.NewMem()
		var promised, applying atomic.Uint64
		busy := false
		fs := vfs.NewFault(mem, vfs.Plan{Before: func(vfs.Call) {
			if busy || images >= wanted || cuts.IntN(40) != 0 {
				return
			}
			images++
			db := memStore(t, mem.CrashClone(cuts), Options{FlushRows: 1 + cuts.IntN(200)})
			durable := db.DurableIndex()
			require.GreaterOrEqual(t, durable, promised.Load())
			m := modelAt(log, durable)
			for i := int(durable); i < len(log); i++ {
				want, got := m.apply(&log[i]), applyEntry(db, log, i)
				if log[i].del == nil {
					require.Equal(t, want, got, "seed %d, verdict of entry %d", seed, i+1)
				}
				_, err := step(ctx, db, cuts)
				require.NoError(t, err)
			}
			check(t, db, m)
			require.NoError(t, db.Close())
		}})
		db := memStore(t, fs, Options{FlushRows: 40 + rng.IntN(200)})
		for i := range log {
			applying.Store(uint64(i) + 1)
			require.NotNil(t, applyEntry(db, log, i))
			p, err := step(ctx, db, rng)
			require.NoError(t, err)
			promised.Store(max(promised.Load(), p, db.DurableIndex()))
		}
		check(t, db, modelAt(log, uint64(len(log))))
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
		busy = true
		require.NoError(t, db.Close())
	}
}

func TestNoByteOfAnErasedPersonIsLeftAfterCompaction(t *testing.T) {
	ctx := context.Background()
	mem := vfs.NewMem()
	db := memStore(t, mem, Options{FlushRows: 50})
	s := newScripter(5)
	for i := range 20 {
		events := make([]testEvent, 10)
		for j := range events {
			e := testEvent{id: fmt.Sprintf("id-%d-%d", i, j), name: "e", time: scriptStart + int64(i*100+j), anon: fmt.Sprintf("bystander%d", j)}
			if j == 3 {
				e.user, e.anon, e.s = "secret-user", "secret-device", "secret-text"
			}
			events[j] = e
		}
		s.batch(events)
	}
	s.entries = append(s.entries, identifyEntry("secret-user", "secret-phone", 1, `{"email":"secret-mail"}`))
	data, err := EraseEntry(&erasure.Request{ID: "er1", Kind: erasure.Person, User: "secret-user", Reference: "ticket 7"})
	require.NoError(t, err)
	letter := func(id, ids string) logEntry {
		l := &letters.Letter{ID: id, Name: "e", Reason: "schema", Event: []byte(`{"eventId":"` + id + `","eventName":"e",` + ids + `}`)}
		return logEntry{data: LettersEntry(letters.Bounds{Bytes: letters.MaxBytes}, letters.Append(nil, l))}
	}
	s.entries = slices.Insert(s.entries, 20, letter("x1", `"userId":"secret-user"`), letter("x2", `"anonymousId":"secret-phone"`), letter("x3", `"userId":"other"`))
	s.entries = append(s.entries, logEntry{data: data}, letter("x4", `"anonymousId":"secret-device"`), letter("x5", `"anonymousId":"other"`))
	for i := range s.entries[:24] {
		applyEntry(db, s.entries, i)
	}
	_, err = db.Checkpoint(ctx)
	require.NoError(t, err)
	require.NotEmpty(t, filesWith(t, mem, "secret"), "the test must be able to fail")
	require.Equal(t, naiveRecord{true, 3}, applyEntry(db, s.entries, 24))
	require.Equal(t, 0, applyEntry(db, s.entries, 25), "a letter of an erased person")
	require.Equal(t, 1, applyEntry(db, s.entries, 26))
	kept, _, err := db.Letters().List(letters.Filter{}, "", 10, 1<<20)
	require.NoError(t, err)
	require.Len(t, kept, 2)
	require.NoError(t, db.Compact(ctx))
	require.Empty(t, filesWith(t, mem, "secret"))
	records, err := db.Erasures()
	require.NoError(t, err)
	require.Equal(t, EraseStatus{Rows: 20, Erased: true}, db.EraseStatus(&records[0]))
	require.Equal(t, 2, records[0].Letters)
	require.Empty(t, records[0].User)
	require.NoError(t, db.Close())
	require.NoError(t, memStore(t, mem, Options{}).Close())
}

// filesWith are the files of a store in which a text stands, plainly or in a compressed column.
func filesWith(t *testing.T, fsys vfs.FS, text string) (names []string) {
	t.Helper()
	entries, err := fsys.ReadDir("data")
	require.NoError(t, err)
	for _, e := range entries {
		b, err := vfs.ReadFile(fsys, "data/"+e.Name())
		require.NoError(t, err)
		found := strings.Contains(string(b), text)
		if strings.HasSuffix(e.Name(), segmentSuffix) {
			h, err := fsys.Open("data/" + e.Name())
			require.NoError(t, err)
			r, err := segment.Open(h, h.Size(), e.Name(), nil)
			require.NoError(t, err)
			report, err := r.Verify(context.Background(), text)
			require.NoError(t, err)
			found = found || len(report.Found) > 0
			require.NoError(t, h.Close())
		}
		if found {
			names = append(names, e.Name())
		}
	}
	return names
}

func TestAFieldOfOnePersonGoesWithItsNameWhenTheFilesAreWrittenAnew(t *testing.T) {
	ctx := context.Background()
	db := memStore(t, vfs.NewMem(), Options{})
	s := newScripter(6)
	s.batch([]testEvent{
		{id: "1", name: "e", user: "u1", anon: "a1", time: scriptStart, s: "mine", n: 1},
		{id: "2", name: "e", user: "u2", time: scriptStart, s: "mine", n: 2},
		{id: "3", name: "e", anon: "a1", time: scriptStart + 1, s: "mine", n: 3},
	})
	data, err := EraseEntry(&erasure.Request{ID: "er1", Kind: erasure.Anonymise, User: "u1", Fields: []string{"properties.deep"}})
	require.NoError(t, err)
	s.entries = append(s.entries, logEntry{data: data})
	applyEntry(db, s.entries, 0)
	require.Equal(t, naiveRecord{true, 2}, applyEntry(db, s.entries, 1))
	require.NoError(t, db.Compact(ctx))
	v, err := db.View()
	require.NoError(t, err)
	rows := rowsIn(t, v)
	v.Release()
	require.Equal(t, rows["1"].person, rows["3"].person, "it is still one person")
	require.NotContains(t, rows["1"].body+rows["3"].body, "mine")
	require.Contains(t, rows["2"].body, "mine")
	require.Equal(t, storedRow{person: rows["1"].person, name: "e", time: scriptStart, received: rows["1"].received, body: rows["1"].body}, rows["1"], "no id is left")
	require.NoError(t, db.Close())
}

func TestARequestThatIsRepeatedIsCarriedOutOnce(t *testing.T) {
	db := memStore(t, vfs.NewMem(), Options{})
	defer func() { require.NoError(t, db.Close()) }()
	data, err := EraseEntry(&erasure.Request{ID: "er1", Kind: erasure.Person, User: "u1"})
	require.NoError(t, err)
	first := db.Apply(1, data).(*erasure.Record)
	require.Equal(t, first, db.Apply(2, data))
	var other erasure.Request
	require.NoError(t, json.Unmarshal(data[1:], &other))
}
