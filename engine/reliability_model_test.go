package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/engine/document"
	"spoor/engine/erasure"
	"spoor/engine/event"
	"spoor/internal/vfs"
	"spoor/segment"
	"spoor/segment/batch"
)

// The tests of this package compare the store with a naive model: a map of
// events by id, a map of first links, a map of documents. A script is a log of
// random entries; both read it.

// rounds returns how often a random test repeats: ci in CI, soak when SOAK is
// set. Under the race detector, which sees nothing new in repetitions of what one
// goroutine does, a tenth of it.
func rounds(ci, soak int) int {
	switch {
	case os.Getenv("SOAK") != "":
		return soak
	case raceEnabled:
		return (ci + 9) / 10
	}
	return ci
}

// testEvent is an event as it is sent.
type testEvent struct {
	id, name, user, anon string
	time                 int64 // microseconds
	n                    float64
	s                    string // "" for none
	big                  int64  // 0 for none
	flag                 int    // 0 none, 1 false, 2 true, 3 null
	nobody               string // in the model: who it was of before it was anonymised
}

func (e *testEvent) appendJSON(dst []byte) []byte {
	m := map[string]any{"eventId": e.id, "eventName": e.name, "timestamp": time.UnixMicro(e.time).UTC().Format("2006-01-02T15:04:05.000000Z")}
	if e.user != "" {
		m["userId"] = e.user
	}
	if e.anon != "" {
		m["anonymousId"] = e.anon
	}
	props := map[string]any{"n": e.n}
	if e.s != "" {
		props["deep"] = map[string]any{"s": e.s}
	}
	if e.big != 0 {
		props["big"] = e.big
	}
	switch e.flag {
	case 1, 2:
		props["flag"] = e.flag == 2
	case 3:
		props["flag"] = nil
	}
	m["properties"] = props
	b, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return append(append(dst, b...), '\n')
}

// body names the columns of the event, as bodyOf reads them from the store.
func (e *testEvent) body() string {
	var out []string
	if e.big != 0 {
		out = append(out, fmt.Sprintf("properties.big=integer:%d", e.big))
	}
	if e.s != "" {
		out = append(out, "properties.deep.s=string:"+e.s)
	}
	switch e.flag {
	case 1, 2:
		out = append(out, fmt.Sprintf("properties.flag=boolean:%d", e.flag))
	case 3:
		out = append(out, "properties.flag=null:1")
	}
	return strings.Join(append(out, "properties.n=number:"+strconv.FormatFloat(e.n, 'g', -1, 64)), " ")
}

// logEntry is an entry of the log in both forms.
type logEntry struct {
	events     []testEvent
	received   int64
	user, anon string // of an identify entry
	said       said   // by an identify entry
	put, del   *document.Document
	erase      *erasure.Request
	expire     *retentionChange
	data       []byte
}

type docName struct{ kind, name string }

// naive is the model.
type naive struct {
	events   map[string]testEvent
	received map[string]int64
	links    map[string]string
	docs     map[docName]string
	said     []said
	erased   naiveErased
}

func newNaive() *naive {
	return &naive{
		events: map[string]testEvent{}, received: map[string]int64{}, links: map[string]string{}, docs: map[docName]string{},
		erased: naiveErased{ids: map[string]testEvent{}, known: map[string]bool{}, refused: map[string]bool{}, cutoffs: erasure.Cutoffs{Default: erasure.NoCutoff}},
	}
}

// apply returns what the store must answer.
func (m *naive) apply(e *logEntry) any {
	link := func(user, anon string) {
		if _, ok := m.links[anon]; !ok && user != "" && anon != "" {
			m.links[anon] = user
		}
	}
	switch {
	case e.put != nil:
		m.docs[docName{e.put.Kind, e.put.Name}] = string(e.put.Value)
		return true
	case e.del != nil:
		k := docName{e.del.Kind, e.del.Name}
		_, ok := m.docs[k]
		delete(m.docs, k)
		return ok
	case e.erase != nil:
		return m.erase(e.erase)
	case e.expire != nil:
		return m.expire(e.expire)
	case e.user != "" || e.anon != "":
		if m.refuses(e.user, e.anon) {
			return []IdentifyResult{{Refused: true}}
		}
		m.know(e.user, e.anon)
		link(e.user, e.anon)
		m.said = append(m.said, e.said)
		return []IdentifyResult{{Linked: e.user == "" || e.anon == "" || m.links[e.anon] == e.user}}
	}
	res := &EventsResult{}
	for i, ev := range e.events {
		if why := m.refusal(&ev); why != NotRefused {
			if res.Refused == nil {
				res.Refused = make([]Refusal, len(e.events))
			}
			res.Refused[i] = why
			continue
		}
		if m.stored(ev.id) {
			if res.Duplicate == nil {
				res.Duplicate = make([]bool, len(e.events))
			}
			res.Duplicate[i] = true
			res.Duplicates++
			continue
		}
		res.Accepted++
		m.events[ev.id] = ev
		m.received[ev.id] = e.received
		m.know(ev.user, ev.anon)
		link(ev.user, ev.anon)
	}
	return res
}

func (m *naive) person(e *testEvent) string {
	if e.nobody != "" {
		return e.nobody
	}
	if e.user != "" {
		return e.user
	}
	if u, ok := m.links[e.anon]; ok {
		return u
	}
	return e.anon
}

// modelAt is the model after the first n entries.
func modelAt(log []logEntry, n uint64) *naive {
	m := newNaive()
	for i := range log[:n] {
		m.apply(&log[i])
	}
	return m
}

// storedRow is a row as the store gives it back.
type storedRow struct {
	person, name, user, anon, body string
	time, received                 int64
}

func (m *naive) rows() map[string]storedRow {
	out := map[string]storedRow{}
	for id, e := range m.events {
		out[id] = storedRow{m.person(&e), e.name, e.user, e.anon, e.body(), e.time, m.received[id]}
	}
	return out
}

// rowsIn reads every row of a view through the columns of its segments.
func rowsIn(t testing.TB, v *View) map[string]storedRow {
	t.Helper()
	out := map[string]storedRow{}
	var x segment.Scratch
	for _, r := range v.Segments {
		ids, err := r.IDs(0, r.Rows())
		require.NoError(t, err)
		for i := range r.Sections() {
			s := &r.Sections()[i]
			left, kept, err := v.Left(s)
			require.NoError(t, err)
			if kept == 0 {
				continue
			}
			n := s.Rows()
			keys, users, anons, received := make([]uint64, n), make([]uint32, n), make([]uint32, n), make([]int64, n)
			require.NoError(t, s.Keys(keys, 0, n, &x))
			require.NoError(t, s.Users(users, 0, n, &x))
			require.NoError(t, s.Anons(anons, 0, n, &x))
			require.NoError(t, s.Received(received, 0, n, &x))
			bodies := bodiesOf(t, s, &x)
			require.IsNonDecreasing(t, keys)
			for row := range n {
				if left != nil && !left.Has(row) {
					continue
				}
				p := segment.KeyPerson(keys[row])
				id := string(ids.AppendText(nil, s.FirstRow()+row))
				if _, twice := out[id]; twice {
					t.Fatalf("event %s is there twice", id)
				}
				out[id] = storedRow{
					v.Identity.Name(v.Identity.Person(p)), s.Event(),
					string(v.Identity.UserText(p, users[row])), string(v.Identity.AnonText(p, anons[row])),
					strings.Join(bodies[row], " "), segment.KeyTime(keys[row], s.Day()), received[row],
				}
			}
		}
	}
	return out
}

func bodiesOf(t testing.TB, s *segment.Section, x *segment.Scratch) [][]string {
	cols, err := s.AllColumns()
	require.NoError(t, err)
	slices.SortFunc(cols, func(a, b segment.Column) int { return strings.Compare(a.Path(), b.Path()) })
	n := s.Rows()
	bodies := make([][]string, n)
	put := func(row int, c segment.Column, v string) {
		bodies[row] = append(bodies[row], c.Path()+"="+c.Kind().String()+":"+v)
	}
	for _, c := range cols {
		switch c.Kind() {
		case batch.KindNumber:
			vals := make([]float64, n)
			require.NoError(t, c.Numbers(vals, 0, n, x))
			for row, v := range vals {
				if v == v {
					put(row, c, strconv.FormatFloat(v, 'g', -1, 64))
				}
			}
		case batch.KindInt:
			vals, has := make([]int64, n), make([]bool, n)
			require.NoError(t, c.Ints(vals, has, 0, n, x))
			for row, v := range vals {
				if has[row] {
					put(row, c, strconv.FormatInt(v, 10))
				}
			}
		default:
			codes := make([]uint32, n)
			texts, err := c.Codes(codes, 0, n, x)
			require.NoError(t, err)
			for row, code := range codes {
				switch {
				case code == 0:
				case texts != nil:
					put(row, c, string(texts.At(int(code-1))))
				default:
					put(row, c, strconv.Itoa(int(code)))
				}
			}
		}
	}
	return bodies
}

// checkRows compares every row of the store with the model. Before the log was
// replayed to its end, persons may be ahead of the rows: they are left out unless persons is set.
func checkRows(t testing.TB, db *DB, m *naive, persons bool) {
	t.Helper()
	v, err := db.View()
	require.NoError(t, err)
	defer v.Release()
	got, want, names := rowsIn(t, v), m.rows(), map[string]string{}
	for id, w := range want {
		g, ok := got[id]
		require.True(t, ok, "event %s is lost", id)
		if !persons {
			g.person, w.person = "", ""
		}
		if strings.HasPrefix(w.person, nobodyPrefix) {
			require.Regexp(t, "^anonymised-[0-9]+$", g.person)
			if names[w.person] == "" {
				names[w.person] = g.person
			}
			w.person = names[w.person] // of one person, whatever it is called
		}
		require.Equal(t, w, g, "event %s", id)
	}
	require.Len(t, got, len(want), "events that nobody sent")
}

func checkDocuments(t testing.TB, db *DB, m *naive) {
	t.Helper()
	got := map[docName]string{}
	for _, d := range db.Documents("query") {
		got[docName{d.Kind, d.Name}] = string(d.Value)
	}
	require.Equal(t, m.docs, got)
}

// check compares everything.
func check(t testing.TB, db *DB, m *naive) {
	t.Helper()
	checkRows(t, db, m, true)
	checkTraits(t, db, m)
	checkDocuments(t, db, m)
}

// scripter makes random logs.
type scripter struct {
	rng     *rand.Rand
	dec     *event.Decoder
	sent    []testEvent
	users   int
	anons   int
	days    int
	erases  bool // erasures come, too
	entries []logEntry
}

func newScripter(seed uint64) *scripter {
	return &scripter{rng: rand.New(rand.NewPCG(seed, 7)), dec: event.NewDecoder(event.DefaultLimits()), users: 8, anons: 14, days: 5}
}

// script makes a log of n entries of up to rows events.
func script(seed uint64, n, rows int) []logEntry {
	s := newScripter(seed)
	for range n {
		s.add(rows)
	}
	return s.entries
}

func (s *scripter) add(rows int) {
	switch k := s.rng.IntN(20); {
	case s.erases && s.rng.IntN(6) == 0:
		s.eraseSomething()
	case k < 2:
		u, a := s.pick("u", s.users), s.pick("a", s.anons)
		s.entries = append(s.entries, s.identify(u, a))
	case k < 4:
		d := &document.Document{Kind: "query", Name: s.pick("d", 4), Value: fmt.Append(nil, s.rng.IntN(1000))}
		if s.rng.IntN(3) == 0 {
			s.entries = append(s.entries, logEntry{del: d, data: DeleteEntry(d.Kind, d.Name)})
		} else {
			s.entries = append(s.entries, logEntry{put: d, data: PutEntry(d.Kind, d.Name, d.Value)})
		}
	case k < 6 && len(s.sent) > 0: // a client sends a stretch again
		from := s.rng.IntN(len(s.sent))
		s.batch(slices.Clone(s.sent[from:min(from+rows, len(s.sent))]))
	default:
		events := make([]testEvent, 1+s.rng.IntN(rows))
		for i := range events {
			events[i] = s.event(events[:i])
		}
		s.sent = append(s.sent, events...)
		s.batch(events)
	}
}

func (s *scripter) pick(prefix string, n int) string { return prefix + strconv.Itoa(s.rng.IntN(n)) }

const scriptStart = 1_767_225_600_000_000 // 2026-01-01

func (s *scripter) event(before []testEvent) testEvent {
	r := s.rng
	e := testEvent{name: s.pick("e", 4), n: float64(r.IntN(100)) / 4, flag: r.IntN(4)}
	// Few seconds, so that times tie; many days, so that events are late.
	e.time = scriptStart + int64(r.IntN(s.days))*segment.MicrosPerDay + int64(r.IntN(300))*1_000_000
	if r.IntN(3) == 0 {
		e.time += int64(r.IntN(1_000_000))
	}
	if r.IntN(3) > 0 {
		e.s = s.pick("text", 12)
	}
	if r.IntN(10) == 0 {
		e.big = 1<<53 + 1 + 2*int64(r.IntN(1000))
	}
	switch r.IntN(5) {
	case 0:
		e.user = s.pick("u", s.users)
	case 1:
		e.user, e.anon = s.pick("u", s.users), s.pick("a", s.anons)
	default:
		e.anon = s.pick("a", s.anons)
	}
	switch k := r.IntN(20); {
	case k == 0 && len(before) > 0:
		e.id = before[r.IntN(len(before))].id // twice in one batch, with another payload
	case k < 4 && len(s.sent) > 0:
		e.id = s.sent[r.IntN(len(s.sent))].id // sent before, with another payload and time
	case k < 9:
		e.id = "order/" + strconv.FormatUint(r.Uint64N(1<<40), 36)
	default:
		e.id = string(batch.AppendUUID(nil, batch.ID{Hi: r.Uint64()&^0xf000 | 0x4000, Lo: r.Uint64()>>2 | 1<<63}))
		if k == 9 {
			e.id = strings.ToUpper(e.id) // another text is another id
		}
	}
	return e
}

func (s *scripter) batch(events []testEvent) {
	received := scriptStart + int64(len(s.entries))*1000
	s.entries = append(s.entries, logEntry{events: events, received: received, data: s.encode(events, received)})
}

func (s *scripter) encode(events []testEvent, received int64) []byte {
	var lines []byte
	for i := range events {
		lines = events[i].appendJSON(lines)
	}
	noID := func() [16]byte { panic("every event has an id") }
	err := s.dec.AddAll(lines, "", noID, func(it event.Item) error {
		if it.Reject != nil {
			return it.Reject
		}
		return nil
	})
	if err != nil {
		panic(err)
	}
	return EventsEntry(nil, s.dec.Seal(received))
}

// applyEntry applies entry i of a log, as index i+1, and gives up the bytes afterwards.
func applyEntry(db *DB, log []logEntry, i int) any {
	data := slices.Clone(log[i].data)
	res := db.Apply(uint64(i)+1, data)
	for i := range data {
		data[i] = 0xaa
	}
	if r, ok := res.(*erasure.Record); ok {
		return naiveRecord{r.Known, r.IDs}
	}
	return res
}

// testFilterKeys makes the dedupe filters grow several generations in a test.
const testFilterKeys = 64

// testSmallRows makes a merge in a test write several files.
const testSmallRows = 12

// testMergedRows makes a merge in a test cut days into pieces.
const testMergedRows = 40

// memStore opens a store for tests. A fatal error ends the test.
func memStore(t testing.TB, fsys vfs.FS, o Options) *DB {
	t.Helper()
	o.FS, o.ManualCompaction, o.firstFilterKeys, o.smallFileRows, o.MergeRows = fsys, true, testFilterKeys, testSmallRows, testMergedRows
	if o.OnFatal == nil {
		o.OnFatal = func(err error) { t.Errorf("fatal: %v", err) }
	}
	db, err := Open("data", o)
	require.NoError(t, err)
	return db
}

// step does one random thing that moves rows about and changes no answer. It
// returns an index that was promised, 0 for none.
func step(ctx context.Context, db *DB, rng *rand.Rand) (promised uint64, err error) {
	switch k := rng.IntN(100); {
	case k < 12:
		return db.Checkpoint(ctx)
	case k < 20:
		return 0, db.Compact(ctx)
	case k < 28:
		_, err = db.compactOnce(ctx, effort(rng.IntN(3)))
	case k < 40:
		err = db.flush(ctx)
	case k < 45:
		db.mem.Lock()
		db.rotate()
		db.mem.Unlock()
	case k < 48:
		v, verr := db.View() // closed runs become segments now
		if verr == nil {
			v.Release()
		}
		err = verr
	}
	return 0, err
}
