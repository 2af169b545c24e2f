package query_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/engine"
	"spoor/engine/event"
	"spoor/engine/query"
	"spoor/engine/query/lang"
)

func openStore(t testing.TB) *engine.DB {
	t.Helper()
	return openCut(t, 0)
}

// openCut opens a store that cuts days into pieces of at most so many rows; 0 leaves them whole.
func openCut(t testing.TB, rows int) *engine.DB {
	t.Helper()
	db, err := engine.Open(t.TempDir(), engine.Options{ManualCompaction: true, MergeRows: rows, OnFatal: func(err error) { t.Errorf("fatal: %v", err) }})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

// cut makes pieces in two of three worlds, small and larger ones.
func cut(seed uint64) int { return []int{0, 15, 60}[seed%3] }

func noID() [16]byte { panic("every event of the test has an id") }

// load applies lines of events, size lines to an entry.
func load(t testing.TB, db *engine.DB, lines [][]byte, size int) {
	t.Helper()
	for len(lines) > 0 {
		n := min(size, len(lines))
		loadAt(t, db, lines[:n], 1_700_000_000_000_000+int64(db.AppliedIndex()+1)*1000)
		lines = lines[n:]
	}
}

// loadAt applies lines as one entry that was received at a time.
func loadAt(t testing.TB, db *engine.DB, lines [][]byte, received int64) {
	t.Helper()
	d := event.NewDecoder(event.DefaultLimits())
	require.NoError(t, d.AddAll(bytes.Join(lines, []byte("\n")), "", noID, func(it event.Item) error {
		if it.Reject != nil {
			return it.Reject
		}
		return nil
	}))
	require.IsType(t, &engine.EventsResult{}, db.Apply(db.AppliedIndex()+1, engine.EventsEntry(nil, d.Seal(received))))
}

func dataLines(t testing.TB, name string) [][]byte {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "..", "..", "shared", "data", name))
	if err != nil {
		t.Skip("the shared data set is not here: ../shared/data/" + name)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	var lines [][]byte
	for s := bufio.NewScanner(z); s.Scan(); {
		lines = append(lines, bytes.Clone(s.Bytes()))
	}
	return lines
}

func newEngine(db *engine.DB) *query.Engine {
	return query.New(db, query.Limits{}, func() time.Time { return time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC) })
}

func ask[A query.Answer](t testing.TB, e *query.Engine, text string) A {
	t.Helper()
	a, err := e.Ask(context.Background(), text)
	require.NoError(t, err, text)
	require.IsType(t, *new(A), a)
	return a.(A)
}

func users(a *query.FunnelAnswer) (out []int) {
	for _, s := range a.Steps {
		out = append(out, s.Users)
	}
	return out
}

const ecomRange = " from 2024-01-01 to 2025-01-01"

// checkEcom holds the answers that two independent programs computed.
func checkEcom(t *testing.T, e *query.Engine) {
	for text, want := range map[string][]int{
		"funnel product_view -> add_to_cart -> purchase within 1h":                                          {598, 480, 207},
		"funnel product_view -> add_to_cart -> purchase within 1d":                                          {598, 482, 208},
		"funnel product_view -> add_to_cart -> shipping_details -> payment_details -> purchase within 7d":   {598, 487, 333, 190, 70},
		`funnel home -> catalog -> product_view -> add_to_cart within 7d where context.platform = "mobile"`: {264, 236, 209, 99},
		"funnel search -> product_view -> wishlist_add within 30d":                                          {594, 583, 318},
	} {
		require.Equal(t, want, users(ask[*query.FunnelAnswer](t, e, text+ecomRange)), text)
	}
	f := ask[*query.FunnelAnswer](t, e, "funnel product_view -> add_to_cart -> purchase within 1h by context.platform"+ecomRange)
	sum := make([]int, 3) // the value at the chain's first event puts each person into one group
	for _, g := range f.Groups {
		for k, s := range g.Steps {
			sum[k] += s.Users
		}
	}
	require.Len(t, f.Groups, 3)
	require.Equal(t, []int{598, 480, 207}, sum)

	s := ask[*query.SessionsAnswer](t, e, "sessions gap 30m"+ecomRange)
	require.Equal(t, 3605, s.Sessions)
	require.Equal(t, 600, s.Users)
	require.InDelta(t, 1039.554508, *s.MeanDuration, 1e-6)
	require.InDelta(t, 869.0, *s.MedianDuration, 1e-9)
	require.InDelta(t, 8.628571428571428, *s.MeanEvents, 1e-9)
	require.InDelta(t, 231.0/3605, *s.BounceRate, 1e-12)

	r := ask[*query.RetentionAnswer](t, e, "retention any -> any every day for 15 first"+ecomRange)
	overall := make([]int, 15)
	for _, c := range r.Cohorts {
		for k, n := range c.Retained {
			overall[k] += n
		}
	}
	require.Equal(t, []int{600, 32, 34, 37, 21, 33, 36, 25, 39, 27, 43, 41, 24, 41, 29}, overall)

	tr := ask[*query.TrendAnswer](t, e, "trend count of product_view, users of product_view"+ecomRange)
	require.Equal(t, 6851.0, *tr.Series[0].Points[0].Value)
	require.Equal(t, 598.0, *tr.Series[1].Points[0].Value)
}

func TestTheSharedDataSetGivesTheAnswersThatOthersComputed(t *testing.T) {
	lines := dataLines(t, "ecom.ndjson.gz")
	db := openStore(t)
	load(t, db, lines, 700)
	e := newEngine(db)
	checkEcom(t, e)
	load(t, db, lines[:5000], 500) // a second time
	_, err := db.Checkpoint(context.Background())
	require.NoError(t, err)
	checkEcom(t, e)
	require.NoError(t, db.Compact(context.Background()))
	checkEcom(t, e)
}

// sameJSON compares an event that came back with what was sent.
func sameJSON(t *testing.T, sent, got []byte) {
	t.Helper()
	var a, b map[string]any
	decode := func(data []byte, into *map[string]any) {
		d := json.NewDecoder(bytes.NewReader(data))
		d.UseNumber()
		require.NoError(t, d.Decode(into))
	}
	decode(sent, &a)
	decode(got, &b)
	delete(b, "receivedAt")
	delete(b, "person")
	for _, m := range []map[string]any{a, b} {
		numbers(m)
	}
	require.Equal(t, a, b)
}

// numbers gives equal numbers one spelling.
func numbers(v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			if n, ok := x.(json.Number); ok {
				f, _ := n.Float64()
				v[k] = f
				continue
			}
			numbers(x)
		}
	case []any:
		for _, x := range v {
			numbers(x)
		}
	}
}

func TestEveryEventComesBackAsItWasSent(t *testing.T) {
	for _, name := range []string{"ecom.ndjson.gz", "cdnow.ndjson.gz"} {
		t.Run(name, func(t *testing.T) {
			lines := dataLines(t, name)
			db := openStore(t)
			load(t, db, lines, 1000)
			e := newEngine(db)
			check := func() {
				byID := map[string][]byte{}
				q, err := lang.Parse("events of any from 1990-01-01 to 2030-01-01")
				require.NoError(t, err)
				last := ""
				require.NoError(t, e.Export(context.Background(), q, func(line []byte, cursor string) error {
					var id struct{ EventID, Timestamp string }
					require.NoError(t, json.Unmarshal(line, &id))
					require.LessOrEqual(t, last, id.Timestamp)
					last = id.Timestamp
					byID[id.EventID] = bytes.Clone(line)
					return nil
				}))
				require.Len(t, byID, len(lines))
				for _, l := range lines {
					var id struct{ EventID string }
					require.NoError(t, json.Unmarshal(l, &id))
					sameJSON(t, l, byID[id.EventID])
				}
			}
			check()
			require.NoError(t, db.Compact(context.Background()))
			check()
		})
	}
}

func TestEventsGoOnBehindACursorWithoutGapOrRepeat(t *testing.T) {
	lines := dataLines(t, "ecom.ndjson.gz")[:5000]
	db := openStore(t)
	load(t, db, lines, 700)
	e := newEngine(db)
	for _, order := range []string{"", " newest"} {
		seen := map[string]bool{}
		after := ""
		for page := 0; ; page++ {
			a := ask[*query.EventsAnswer](t, e, "events of any limit 333"+order+ecomRange+after)
			for _, ev := range a.Events {
				var id struct{ EventID string }
				require.NoError(t, json.Unmarshal(ev, &id))
				require.False(t, seen[id.EventID], "twice: %s", id.EventID)
				seen[id.EventID] = true
			}
			if page == 3 {
				require.NoError(t, db.Compact(context.Background()))
			}
			if a.Next == nil {
				break
			}
			after = ` after "` + *a.Next + `"`
		}
		require.Len(t, seen, 5000)
	}
}
