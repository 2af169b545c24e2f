package exports_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/engine"
	"spoor/engine/erasure"
	"spoor/engine/event"
	"spoor/internal/grep"
	"spoor/server"
	"spoor/server/backend"
	"spoor/server/call"
	"spoor/server/rawtier/blob"
	"spoor/server/rawtier/exports"
	"spoor/server/rawtier/parquetfile"
)

var day0 = time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)

// log applies what is proposed at once: a cluster of one.
type log struct{ db *engine.DB }

func (l *log) Propose(_ context.Context, data []byte) (any, uint64, error) {
	index := l.db.AppliedIndex() + 1
	return l.db.Apply(index, data), index, nil
}
func (l *log) Ready() error                         { return nil }
func (l *log) Cluster() server.ClusterStatus        { return server.ClusterStatus{} }
func (l *log) Checkpoint(ctx context.Context) error { _, err := l.db.Checkpoint(ctx); return err }
func (l *log) CutLog(ctx context.Context) error     { return l.Checkpoint(ctx) }
func (l *log) Verify(context.Context) (first, last uint64, err error) {
	return 1, l.db.AppliedIndex(), nil
}

type world struct {
	t     *testing.T
	log   *log
	back  *backend.Backend
	store blob.Store
	x     *exports.Exports
	now   time.Time
	leads bool
}

func newWorld(t *testing.T, store blob.Store) *world {
	db, err := engine.Open(filepath.Join(t.TempDir(), "store"), engine.Options{ManualCompaction: true, MemoryBytes: 32 << 20})
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	w := &world{t: t, log: &log{db}, store: store, now: day0, leads: true}
	w.back = backend.New(w.log, db, func() time.Time { return w.now })
	w.restart()
	return w
}

// restart is another process, or another leader.
func (w *world) restart() { w.x = w.another() }

func (w *world) another() *exports.Exports {
	return exports.New(w.store, w.back, exports.Options{Mine: func() bool { return w.leads }, Dir: filepath.Join(w.t.TempDir(), "exports"), EraseWithin: 2 * time.Hour, Now: func() time.Time { return w.now }})
}

// fill sends some events an hour for some days.
func (w *world) fill(days int) {
	for d := range days {
		dec := event.NewDecoder(event.DefaultLimits())
		for h := range 24 {
			for u := range 3 {
				_, rej := dec.Add(fmt.Appendf(nil, `{"eventId":"e-%d-%d-%d","eventName":"view","userId":"user-%d","timestamp":%q,"properties":{"hour":%d}}`, d, h, u, u, day0.AddDate(0, 0, d).Add(time.Duration(h)*time.Hour).Format(time.RFC3339), h), "", nil)
				require.Nil(w.t, rej)
			}
		}
		w.log.db.Apply(w.log.db.AppliedIndex()+1, engine.EventsEntry(nil, dec.Seal(w.now.UnixMicro())))
	}
}

func (w *world) call(f func(*call.Call) (any, error), name, body string) exports.Status {
	w.t.Helper()
	got, err := f(&call.Call{Context: context.Background(), Reading: context.Background(), Name: name, Body: []byte(body), Now: w.now})
	require.NoError(w.t, err)
	return got.(exports.Status)
}

func (w *world) round() {
	w.t.Helper()
	require.NoError(w.t, w.x.Round(context.Background()))
}

// files are the contents by key, decoded as far as Parquet goes.
func (w *world) files() map[string]string {
	w.t.Helper()
	out := map[string]string{}
	require.NoError(w.t, w.store.List(context.Background(), "exports/", func(o blob.Object) error {
		in, err := w.store.Open(context.Background(), o.Key)
		require.NoError(w.t, err)
		b, err := io.ReadAll(in)
		require.NoError(w.t, err)
		require.NoError(w.t, in.Close())
		out[o.Key] = string(b)
		if strings.HasSuffix(o.Key, ".parquet") {
			require.NoError(w.t, parquetfile.Each(bytes.NewReader(b), int64(len(b)), func(e *parquetfile.Event) error {
				out[o.Key] += string(e.JSON)
				return nil
			}))
		}
		return nil
	}))
	return out
}

// has looks for a text as spoor verify --grep does.
func (w *world) has(text string) bool {
	for _, b := range w.files() {
		if grep.Contains([]byte(b), []byte(text)) {
			return true
		}
	}
	return false
}

func (w *world) at(days int, hours float64) {
	w.now = day0.AddDate(0, 0, days).Add(time.Duration(hours * float64(time.Hour)))
}

func TestAScheduleWritesOneFileAPeriodHoweverOftenTheNodeRestarts(t *testing.T) {
	s, err := blob.Open(t.TempDir(), blob.Options{})
	require.NoError(t, err)
	w := newWorld(t, s)
	w.fill(4)
	w.call(w.x.Create, "", `{"name":"daily","from":"2026-05-01","every":"day","format":"ndjson","delay":"6h"}`)
	w.call(w.x.Create, "", `{"name":"hourly","from":"2026-05-02","to":"2026-05-03","every":"hour","format":"csv"}`)
	w.call(w.x.Create, "", `{"name":"week","from":"2026-05-01","every":"day","window":7,"format":"parquet"}`)
	w.at(1, 5.9)
	w.round()
	require.Zero(t, w.call(w.x.Get, "daily", "").Done, "the day has not had its delay yet")
	for h := 6.0; h < 80; h += 0.5 {
		w.at(1, h)
		if int(h*2)%3 == 0 {
			w.restart()
		}
		other := w.another() // two that both take themselves for the leader
		first, second := w.x, other
		if int(h*2)%2 == 0 {
			first, second = second, first
		}
		require.NoError(t, first.Round(context.Background()))
		require.NoError(t, second.Round(context.Background()))
	}
	daily := w.call(w.x.Get, "daily", "")
	require.Equal(t, []any{4, 4, int64(4 * 72), "waiting"}, []any{daily.Done, daily.Due, daily.Events, daily.Progress})
	hourly := w.call(w.x.Get, "hourly", "")
	require.Equal(t, []any{24, int64(72), "done", "2026-05-02T23"}, []any{hourly.Done, hourly.Events, hourly.Progress, hourly.Last})
	week := w.call(w.x.Get, "week", "")
	require.EqualValues(t, 72*(1+2+3+4), week.Events, "each has the days before it, too")
	files := w.files()
	require.Len(t, files, 4+24+4)
	for key, content := range files {
		if strings.HasPrefix(key, "exports/daily/date=2026-05-02/part-") {
			require.Equal(t, 72, strings.Count(content, "\n"))
			require.Contains(t, content, "e-1-23-2")
		}
		if strings.HasPrefix(key, "exports/hourly/date=2026-05-02/hour=13/part-") {
			require.Equal(t, 4, strings.Count(content, "\n"))
		}
	}
	require.NotEmpty(t, func() (found []string) {
		for key := range files {
			if strings.HasPrefix(key, "exports/hourly/date=2026-05-02/hour=13/part-") {
				found = append(found, key)
			}
		}
		return found
	}())
}

// broken is a store whose writes fail after some.
type broken struct {
	blob.Store
	left int
}

var errBroken = errors.New("the store is gone")

func (b *broken) Put(ctx context.Context, key string, content io.ReaderAt, size int64) error {
	if b.left--; b.left < 0 {
		return errBroken
	}
	return b.Store.Put(ctx, key, content, size)
}

func (b *broken) Replace(ctx context.Context, key string, content []byte, version string) (string, error) {
	if b.left--; b.left < 0 {
		return "", errBroken
	}
	return b.Store.Replace(ctx, key, content, version)
}

func TestAnExportThatIsKilledAtAnyMomentGoesOnBehindItsLastFile(t *testing.T) {
	for left := range 11 {
		inner, err := blob.Open(t.TempDir(), blob.Options{})
		require.NoError(t, err)
		b := &broken{inner, left}
		w := newWorld(t, b)
		w.fill(5)
		w.at(12, 0)
		w.call(w.x.Create, "", `{"name":"all","format":"ndjson","to":"2026-05-06"}`)
		err = w.x.Round(context.Background())
		if left < 10 {
			require.ErrorIs(t, err, errBroken)
			require.Equal(t, "failed", w.call(w.x.Get, "all", "").Progress)
		}
		before := w.files()
		b.left = 1 << 30
		w.restart()
		w.round()
		s := w.call(w.x.Get, "all", "")
		require.Equal(t, []any{5, int64(360), "done"}, []any{s.Done, s.Events, s.Progress}, left)
		require.Len(t, w.files(), 5)
		for key := range before {
			require.Contains(t, w.files(), key, "what was done is not done again")
		}
	}
}

func TestErasuresReachTheFilesOfExportsWithinTheirTime(t *testing.T) {
	s, err := blob.Open(t.TempDir(), blob.Options{})
	require.NoError(t, err)
	w := newWorld(t, s)
	w.fill(3)
	w.at(4, 0)
	for _, format := range []string{"ndjson", "csv", "parquet"} {
		w.call(w.x.Create, "", `{"name":"`+format+`","format":"`+format+`","to":"2026-05-04"}`)
	}
	w.call(w.x.Create, "", `{"name":"ended","format":"ndjson","to":"2026-05-04"}`)
	w.call(w.x.Create, "", `{"name":"others","format":"ndjson","to":"2026-05-04","where":"userId != \"user-1\""}`)
	w.round()
	w.call(w.x.Cancel, "ended", "")
	before := w.files()
	require.Len(t, before, 15)
	require.True(t, w.has("user-1"))
	w.at(5, 0)
	w.round()
	require.NoError(t, erase(w, &erasure.Request{ID: "er-1", Kind: erasure.Person, User: "user-1"}))
	w.now = w.now.Add(time.Minute)
	w.round()
	require.True(t, w.has("user-1"), "the files wait, as those of events do")
	require.True(t, w.call(w.x.Get, "csv", "").Erasing)
	w.now = w.now.Add(time.Hour)
	w.round()
	require.False(t, w.has("user-1"))
	require.True(t, w.has("user-2"))
	require.Len(t, w.files(), 15, "a file for each period, and what was replaced is gone")
	for _, format := range []string{"ndjson", "csv", "parquet", "ended"} {
		s := w.call(w.x.Get, format, "")
		require.Equal(t, []any{int64(144), false}, []any{s.Events, s.Erasing}, format)
	}
	for key, content := range before {
		if strings.HasPrefix(key, "exports/others/") {
			require.Equal(t, content, w.files()[key], "files without the person are as they were")
		}
	}
	again := w.files()
	require.NoError(t, erase(w, &erasure.Request{ID: "er-2", Kind: erasure.Field, Fields: []string{"properties.hour"}}))
	w.restart()
	w.round() // it is not known for how long it waits: at once
	require.False(t, w.has("hour\":"))
	require.Len(t, w.files(), len(again))
}

func erase(w *world, r *erasure.Request) error {
	if err := r.Check(); err != nil {
		return err
	}
	_, _, err := w.back.Erase(context.Background(), r)
	return err
}

func TestAnExportThatEndsLeavesOrTakesItsFiles(t *testing.T) {
	s, err := blob.Open(t.TempDir(), blob.Options{})
	require.NoError(t, err)
	w := newWorld(t, s)
	w.fill(3)
	w.at(2, 0)
	const definition = `{"name":"daily","from":"2026-05-01","every":"day","delay":"0s"}`
	w.call(w.x.Create, "", definition)
	w.round()
	require.Equal(t, "canceled", w.call(w.x.Cancel, "daily", "").Progress)
	w.at(3, 0)
	w.round()
	require.Len(t, w.files(), 2)
	w.call(w.x.Create, "", definition)
	w.round()
	require.Len(t, w.files(), 3, "the same call goes on")
	w.call(w.x.Remove, "daily", "")
	w.leads = false
	w.round()
	require.Len(t, w.files(), 3, "this node does not lead")
	w.leads = true
	w.round()
	require.Empty(t, w.files())
	left := 0
	require.NoError(t, s.List(context.Background(), "", func(blob.Object) error { left++; return nil }))
	require.Zero(t, left)
	_, err = w.x.Get(&call.Call{Name: "daily"})
	require.Error(t, err)
	b, err := json.Marshal(w.call(w.x.Create, "", definition))
	require.NoError(t, err)
	require.Contains(t, string(b), `"format":"ndjson"`)
}
