package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/engine/erasure"
	"spoor/internal/vfs"
	"spoor/segment"
)

// horizonModel remembers events as the promise says: an id counts on a day as long as its event is of a
// day that is remembered, or was received on one.
type horizonModel struct {
	rows    []horizonRow
	cutoffs erasure.Cutoffs
}

type horizonRow struct {
	id            string
	day, received int32
	n             float64
	erased        bool
}

func (m *horizonModel) apply(e *logEntry) any {
	if e.expire != nil {
		m.cutoffs = m.cutoffs.Advance(e.expire.Cutoffs)
		return nil
	}
	if e.erase != nil {
		for i := range m.rows {
			m.rows[i].erased = m.rows[i].erased || m.rows[i].n < 10
		}
		return nil
	}
	res := &EventsResult{}
	today := segment.Day(e.received)
	for i := range e.events {
		ev := &e.events[i]
		day := segment.Day(ev.time)
		why := NotRefused
		if c := m.cutoffs.Dedupe; c != 0 && day < c {
			why = TooOld
		} else if c != 0 && day > today+erasure.MaxAheadDays {
			why = TooFarAhead
		}
		if why != NotRefused {
			if res.Refused == nil {
				res.Refused = make([]Refusal, len(e.events))
			}
			res.Refused[i] = why
			continue
		}
		if m.knows(ev.id) {
			if res.Duplicate == nil {
				res.Duplicate = make([]bool, len(e.events))
			}
			res.Duplicate[i] = true
			res.Duplicates++
			continue
		}
		res.Accepted++
		m.rows = append(m.rows, horizonRow{id: ev.id, day: day, received: today, n: ev.n})
	}
	return res
}

func (m *horizonModel) knows(id string) bool {
	for i := range m.rows {
		if r := &m.rows[i]; r.id == id && (r.day >= m.cutoffs.Dedupe || r.received >= m.cutoffs.Dedupe) {
			return true
		}
	}
	return false
}

// counted are the events that queries see, by id and n.
func (m *horizonModel) counted() map[string]int {
	out := map[string]int{}
	for i := range m.rows {
		if r := &m.rows[i]; !r.erased {
			out[fmt.Sprint(r.id, " ", r.n)]++
		}
	}
	return out
}

// horizonScript is a log of some weeks: late events, resends with the same and with corrected timestamps,
// events far ahead, erasures, and cutoffs that move on day by day from entry first on.
func horizonScript(seed uint64, days, horizon, first int) []logEntry {
	s := newScripter(seed)
	var sent []testEvent
	for day := range days {
		now := scriptStart + int64(day)*segment.MicrosPerDay
		if day >= first {
			rules := erasure.Retention{Dedupe: horizon}
			change := retentionChange{Rules: &rules, Cutoffs: rules.At(now)}
			data, err := RetentionEntry(&rules, time.UnixMicro(now))
			if err != nil {
				panic(err)
			}
			s.entries = append(s.entries, logEntry{expire: &change, data: data})
		}
		for range 3 {
			var events []testEvent
			for range 1 + s.rng.IntN(12) {
				e := s.event(nil)
				e.time = now + int64(s.rng.IntN(8)-6)*segment.MicrosPerDay + int64(s.rng.IntN(1000))
				switch k := s.rng.IntN(10); {
				case k < 3 && len(sent) > 0:
					e = sent[s.rng.IntN(len(sent))]
				case k < 5 && len(sent) > 0:
					e.id = sent[s.rng.IntN(len(sent))].id // a clock was set right
				case k == 5:
					e.time += int64(s.rng.IntN(60)) * segment.MicrosPerDay
				}
				events = append(events, e)
			}
			sent = append(sent, events...)
			s.entries = append(s.entries, logEntry{events: events, received: now, data: s.encode(events, now)})
		}
		if s.rng.IntN(4) == 0 {
			r := &erasure.Request{ID: fmt.Sprint("er-", day), Kind: erasure.Events, Where: "properties.n < 10"}
			data, err := EraseEntry(r)
			if err != nil {
				panic(err)
			}
			s.entries = append(s.entries, logEntry{erase: r, data: data})
		}
	}
	return s.entries
}

// countedIn is what horizonModel.counted is, of a store.
func countedIn(t *testing.T, db *DB) map[string]int {
	t.Helper()
	v, err := db.View()
	require.NoError(t, err)
	defer v.Release()
	out := map[string]int{}
	var x segment.Scratch
	for _, r := range v.Segments {
		ids, err := r.IDs(0, r.Rows())
		require.NoError(t, err)
		for i := range r.Sections() {
			s := &r.Sections()[i]
			left, n, err := v.Left(s)
			require.NoError(t, err)
			if n == 0 {
				continue
			}
			cols, err := s.StoredColumns("properties.n")
			require.NoError(t, err)
			nums := make([]float64, s.Rows())
			require.NoError(t, cols[0].Numbers(nums, 0, len(nums), &x))
			for row, n := range nums {
				if left == nil || left.Has(row) {
					out[fmt.Sprint(string(ids.AppendText(nil, s.FirstRow()+row)), " ", n)]++
				}
			}
		}
	}
	return out
}

func TestAnIdIsRememberedForTheHorizonAndNoneIsStoredTwiceInsideOfIt(t *testing.T) {
	ctx := context.Background()
	refused, again := 0, 0
	for seed := range uint64(rounds(20, 1000)) {
		rng := rand.New(rand.NewPCG(seed, 5))
		log := horizonScript(seed, 25, 3, rng.IntN(12))
		m := &horizonModel{}
		mems := []*vfs.Mem{vfs.NewMem(), vfs.NewMem()}
		var replicas []*DB // with files of their own
		for _, mem := range mems {
			replicas = append(replicas, memStore(t, mem, Options{FlushRows: 40}))
		}
		for i := range log {
			want := m.apply(&log[i])
			for r, db := range replicas {
				got := applyEntry(db, log, i)
				if want != nil {
					require.Equal(t, want, got, "seed %d, entry %d, replica %d", seed, i, r)
				}
				_, err := step(ctx, db, rng)
				require.NoError(t, err)
				if rng.IntN(15) == 0 { // a restart, with or without notice
					if rng.IntN(2) == 0 {
						require.NoError(t, db.Close())
					} else {
						require.NoError(t, db.lock.Close())
					}
					db = memStore(t, mems[r], Options{FlushRows: 40})
					replicas[r] = db
					for k := int(db.DurableIndex()); k <= i; k++ {
						applyEntry(db, log, k)
					}
				}
			}
			if res, ok := want.(*EventsResult); ok && res.Refused != nil {
				refused++
			}
		}
		ids := map[string]int{}
		for i := range m.rows {
			if ids[m.rows[i].id]++; ids[m.rows[i].id] > 1 {
				again++
			}
		}
		for r, db := range replicas {
			require.Equal(t, m.counted(), countedIn(t, db), "seed %d, replica %d", seed, r)
			report, err := db.Verify(ctx, nil)
			require.NoError(t, err)
			require.NoError(t, report.Err(), "seed %d, replica %d", seed, r)
			require.NoError(t, db.Compact(ctx))
			require.Equal(t, m.counted(), countedIn(t, db), "seed %d, replica %d", seed, r)
			require.NoError(t, db.Close())
			report, err = Verify(ctx, mems[r], "data", nil)
			require.NoError(t, err)
			require.NoError(t, report.Err(), "seed %d, replica %d", seed, r)
			if cutoff := m.cutoffs.Dedupe; cutoff != 0 {
				require.EqualValues(t, cutoff, db.live().filters.Forgot())
			}
		}
	}
	require.NotZero(t, refused, "nothing was too old")
	require.NotZero(t, again, "no id was ever forgotten")
}

func TestFiltersLetGoWhatTheHorizonForgets(t *testing.T) {
	ctx := context.Background()
	mem := vfs.NewMem()
	db := memStore(t, mem, Options{})
	s := newScripter(77)
	index := uint64(0)
	apply := func(data []byte) any { index++; return db.Apply(index, data) }
	most := 0
	for day := range 60 {
		now := scriptStart + int64(day)*segment.MicrosPerDay
		rules := erasure.Retention{Dedupe: 2}
		entry, err := RetentionEntry(&rules, time.UnixMicro(now))
		require.NoError(t, err)
		require.Equal(t, true, apply(entry))
		events := make([]testEvent, 100)
		for i := range events {
			events[i] = s.event(nil)
			events[i].time = now
		}
		apply(s.encode(events, now))
		_, err = db.Checkpoint(ctx)
		require.NoError(t, err)
		most = max(most, db.live().filters.Stats().Bytes)
		if day%20 == 10 {
			require.NoError(t, db.Close())
			db = memStore(t, mem, Options{})
		}
	}
	// 6,000 ids came; of two days and a generation that was begun before them some hundreds are known.
	require.Less(t, db.live().filters.Stats().Keys, 6000)
	files := 0
	entries, err := mem.ReadDir("data")
	require.NoError(t, err)
	for _, e := range entries {
		if len(e.Name()) > 6 && e.Name()[:7] == "dedupe-" {
			files++
		}
	}
	require.LessOrEqual(t, files, db.live().filters.Stats().Generations+1)
	require.NoError(t, db.Close())
	report, err := Verify(ctx, mem, "data", nil)
	require.NoError(t, err)
	require.NoError(t, report.Err())
}

func TestAnIdThatWasForgottenMayStandTwiceInOneFile(t *testing.T) {
	ctx := context.Background()
	mem := vfs.NewMem()
	db := memStore(t, mem, Options{})
	s := newScripter(78)
	first, second := s.event(nil), s.event(nil)
	second.id = first.id
	first.time, second.time = scriptStart, scriptStart+10*segment.MicrosPerDay
	rules := erasure.Retention{Dedupe: 3}
	entry, err := RetentionEntry(&rules, time.UnixMicro(second.time))
	require.NoError(t, err)
	require.Equal(t, 1, db.Apply(1, s.encode([]testEvent{first}, first.time)).(*EventsResult).Accepted)
	require.Equal(t, 1, db.Apply(2, s.encode([]testEvent{second}, second.time)).(*EventsResult).Duplicates)
	require.Equal(t, true, db.Apply(3, entry))
	require.Equal(t, 1, db.Apply(4, s.encode([]testEvent{second}, second.time)).(*EventsResult).Accepted)
	require.NoError(t, db.Compact(ctx))
	require.Len(t, db.files.current.files, 1, "days of few rows share a file")
	require.Equal(t, 1, db.Apply(5, s.encode([]testEvent{second}, second.time)).(*EventsResult).Duplicates)
	report, err := db.Verify(ctx, nil)
	require.NoError(t, err)
	require.NoError(t, report.Err())
	_, err = db.Backup(ctx, mem, "backup", nil)
	require.NoError(t, err, "a backup verifies new files")
	require.NoError(t, db.Close())
}
