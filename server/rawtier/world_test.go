package rawtier_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"spoor/engine"
	"spoor/engine/document"
	"spoor/engine/erasure"
	"spoor/engine/event"
	"spoor/engine/identity"
	"spoor/engine/letters"
	"spoor/engine/query"
	"spoor/engine/query/lang"
	"spoor/engine/traits"
	"spoor/server/rawtier"
	"spoor/server/rawtier/blob"
	"spoor/server/rawtier/parquetfile"
)

// world is a store, its raw tier, a clock, and what was sent.
type world struct {
	t     testing.TB
	db    *engine.DB
	query *query.Engine
	store blob.Store
	tier  *rawtier.Tier
	opts  rawtier.Options
	now   time.Time
	sent  map[string]string // by eventId: the event as it was sent
	from  map[string]string // by eventId: its source
}

// View and Rows are those of the store.
func (w *world) View() (*engine.View, error) { return w.db.View() }

func (w *world) Rows(ctx context.Context, view *engine.View, q *lang.Query, yield func(*event.Row) error) error {
	return w.query.Rows(ctx, view, q, yield)
}

// What governs the store is its own.
func (w *world) DocumentsIndex() uint64 { return w.db.DocumentsIndex() }

func (w *world) GoverningDocuments(kind string) []document.Document { return w.db.Documents(kind) }

func (w *world) Refusals() []identity.Refusals { return w.db.Refusals() }

func (w *world) RefusedCount() int { return w.db.RefusedCount() }

func (w *world) Retention() (erasure.Retention, erasure.Cutoffs, error) { return w.db.Retention() }

func (w *world) Letters() *letters.Store { return w.db.Letters() }

var day0 = time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)

func newWorld(t testing.TB, store blob.Store) *world {
	t.Helper()
	w := &world{t: t, store: store, now: day0, sent: map[string]string{}, from: map[string]string{}}
	w.openStore()
	w.opts = rawtier.Options{
		Store: func(context.Context) (string, error) { return "store-1", nil }, Governs: w, Erasures: func() ([]erasure.Record, error) { return w.db.Erasures() },
		Dir: filepath.Join(t.TempDir(), "shop"), Delay: time.Hour, EraseWithin: 2 * time.Hour, MinRows: 20,
		Now: func() time.Time { return w.now }, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	w.tier = rawtier.New(store, w, w.opts)
	return w
}

// openStore opens a new store.
func (w *world) openStore() {
	db, err := engine.Open(filepath.Join(w.t.TempDir(), "store"), engine.Options{ManualCompaction: true, MemoryBytes: 32 << 20})
	require.NoError(w.t, err)
	w.t.Cleanup(func() { _ = db.Close() })
	w.db = db
	w.query = query.New(db, query.Limits{}, func() time.Time { return w.now })
}

// restart is another process, or another leader, that knows nothing but the stores.
func (w *world) restart() { w.tier = rawtier.New(w.store, w, w.opts) }

func (w *world) apply(entry []byte) any {
	r := w.db.Apply(w.db.AppliedIndex()+1, entry)
	if err, ok := r.(error); ok {
		require.NoError(w.t, err)
	}
	return r
}

// send stores an event that is received now.
func (w *world) send(source, format string, args ...any) {
	w.t.Helper()
	w.sendAll(source, fmt.Sprintf(format, args...))
}

func (w *world) sendAll(source string, lines ...string) {
	w.t.Helper()
	d := event.NewDecoder(event.DefaultLimits())
	for _, line := range lines {
		row, rej := d.Add([]byte(line), source, nil)
		require.Nil(w.t, rej, "%s", line)
		id := string(d.EventID(nil, row))
		w.sent[id], w.from[id] = line, source
	}
	w.apply(engine.EventsEntry(nil, d.Seal(w.now.UnixMicro())))
}

// applyLine stores one event and answers what became of it.
func (w *world) applyLine(line string) *engine.EventsResult {
	w.t.Helper()
	d := event.NewDecoder(event.DefaultLimits())
	_, rej := d.Add([]byte(line), "", nil)
	require.Nil(w.t, rej)
	return w.apply(engine.EventsEntry(nil, d.Seal(w.now.UnixMicro()))).(*engine.EventsResult)
}

func (w *world) identify(user, anon, trait string) {
	w.apply(engine.IdentifyEntry(traits.Call{UserID: []byte(user), AnonymousID: []byte(anon), Time: w.now.UnixMicro(), Traits: []event.Leaf{{Path: "plan", Kind: 1, Text: []byte(trait)}}}))
}

func (w *world) erase(r *erasure.Request, gone func(id, sent string) bool) {
	r.ID = fmt.Sprintf("er-%d", w.db.AppliedIndex())
	require.NoError(w.t, r.Check())
	entry, err := engine.EraseEntry(r)
	require.NoError(w.t, err)
	w.apply(entry)
	for id, line := range w.sent {
		if gone(id, line) {
			delete(w.sent, id)
		}
	}
}

func (w *world) round() {
	w.t.Helper()
	require.NoError(w.t, w.tier.Round(context.Background()))
}

// at sets the clock.
func (w *world) at(days int, hours float64) {
	w.now = day0.AddDate(0, 0, days).Add(time.Duration(hours * float64(time.Hour)))
}

func (w *world) days() []rawtier.Day {
	w.t.Helper()
	days, err := rawtier.Days(context.Background(), w.store)
	require.NoError(w.t, err)
	return days
}

func (w *world) fetch(key string, size int64, sum string) []byte {
	w.t.Helper()
	var b bytes.Buffer
	require.NoError(w.t, rawtier.Fetch(context.Background(), w.store, key, size, sum, &b))
	return b.Bytes()
}

// check wants every event that was sent until before a day, once and as it was sent, and
// no file that the manifests do not name.
func (w *world) check(before time.Time) {
	w.t.Helper()
	found := map[string]bool{}
	named := map[string]bool{}
	for _, d := range w.days() {
		rows := int64(0)
		for _, f := range d.Files {
			named[f.Key] = true
			b := w.fetch(f.Key, f.Bytes, f.SHA256)
			n := int64(0)
			require.NoError(w.t, parquetfile.Each(bytes.NewReader(b), f.Bytes, func(e *parquetfile.Event) error {
				n++
				id := string(e.ID)
				require.False(w.t, found[id], "%s is there twice", id)
				found[id] = true
				_, ok := w.sent[id]
				require.True(w.t, ok, "%s was not sent, or was erased", id)
				require.JSONEq(w.t, withID(w.sent[id], id), string(e.JSON))
				require.Equal(w.t, w.from[id], string(e.Source))
				require.Equal(w.t, d.Date, time.UnixMicro(e.Time).UTC().Format(time.DateOnly))
				return nil
			}))
			require.Equal(w.t, f.Rows, n, f.Key)
			rows += n
		}
		require.Equal(w.t, d.Rows, rows, d.Date)
	}
	for id, line := range w.sent {
		var e struct {
			Timestamp time.Time `json:"timestamp"`
		}
		require.NoError(w.t, json.Unmarshal([]byte(line), &e))
		require.Equal(w.t, e.Timestamp.Before(before), found[id], "%s of %s", id, e.Timestamp)
	}
	require.NoError(w.t, w.store.List(context.Background(), "events/", func(o blob.Object) error {
		require.True(w.t, named[o.Key], "%s is in no manifest", o.Key)
		return nil
	}))
}

func withID(line, id string) string {
	if strings.Contains(line, `"eventId"`) {
		return line
	}
	return fmt.Sprintf(`{"eventId":%q,`, id) + line[1:]
}

// bytesOf are the bytes of everything that the store holds, decoded as far as Parquet goes.
func (w *world) everything() string {
	var all bytes.Buffer
	require.NoError(w.t, w.store.List(context.Background(), "", func(o blob.Object) error {
		in, err := w.store.Open(context.Background(), o.Key)
		require.NoError(w.t, err)
		defer in.Close()
		b, err := io.ReadAll(in)
		require.NoError(w.t, err)
		all.WriteString(o.Key)
		all.Write(b)
		if strings.HasPrefix(o.Key, "events/") {
			return parquetfile.Each(bytes.NewReader(b), int64(len(b)), func(e *parquetfile.Event) error {
				all.Write(e.JSON)
				return nil
			})
		}
		if strings.HasSuffix(o.Key, ".zst") {
			z, err := zstd.NewReader(bytes.NewReader(b))
			require.NoError(w.t, err)
			defer z.Close()
			_, err = io.Copy(&all, z)
			return err
		}
		if strings.HasPrefix(o.Key, "persons/") {
			return parquetfile.EachPerson(bytes.NewReader(b), int64(len(b)), func(p *parquetfile.Person) error {
				for _, t := range []*string{p.UserID, p.AnonymousID, p.Traits} {
					if t != nil {
						all.WriteString(*t)
					}
				}
				return nil
			})
		}
		return nil
	}))
	return all.String()
}

func directory(t testing.TB) blob.Store {
	t.Helper()
	s, err := blob.Open(t.TempDir(), blob.Options{})
	require.NoError(t, err)
	return s
}
