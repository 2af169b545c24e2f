package tables_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/require"

	"spoor/server/rawtier"
	"spoor/server/rawtier/blob"
	"spoor/tools/internal/tables"
)

const config = `
tables:
  - name: daily_active
    query: trend users of any by context.country every day
  - name: checkout
    query: funnel view -> buy within 7d   # of those who began that day
    refresh: 2
`

// world is a raw tier of manifests alone, and a server that knows how often it was asked.
type world struct {
	t     *testing.T
	store blob.Store
	asked []string
	users int
}

func (w *world) day(date, sum string) {
	key := "manifest/date=" + date + ".json"
	var old rawtier.Day
	version, _, err := rawtier.ReadState(context.Background(), w.store, key, &old)
	require.NoError(w.t, err)
	require.NoError(w.t, rawtier.ReplaceState(context.Background(), w.store, key, rawtier.Day{Version: rawtier.StateVersion, Date: date, Sum: sum}, version))
}

func (w *world) ask(_ context.Context, query string) (json.RawMessage, error) {
	w.asked = append(w.asked, query)
	if strings.HasPrefix(query, "funnel") {
		return json.RawMessage(fmt.Sprintf(`{"kind":"funnel","steps":[{"event":"view","users":%d,"conversion":1,"step_conversion":1,"median_seconds":null},{"event":"buy","users":1,"conversion":0.5,"step_conversion":0.5,"median_seconds":2.5}]}`, w.users)), nil
	}
	return json.RawMessage(fmt.Sprintf(`{"kind":"trend","by":["context.country"],"series":[{"measure":"users","event":"any","key":["=DE"],"points":[{"t":"2026-05-01T00:00:00Z","value":%d}]}]}`, w.users)), nil
}

func (w *world) run(from, to string) (made, kept int) {
	w.t.Helper()
	all, err := tables.Read([]byte(config))
	require.NoError(w.t, err)
	r, err := tables.Run(context.Background(), w.store, all, from, to, w.ask)
	require.NoError(w.t, err)
	return r.Made, r.Kept
}

func (w *world) files() (keys []string) {
	require.NoError(w.t, w.store.List(context.Background(), "tables/", func(o blob.Object) error { keys = append(keys, o.Key); return nil }))
	return keys
}

func TestATableIsMadeOncePerDayAndAgainWhenTheDayOrTheQuestionChanges(t *testing.T) {
	store, err := blob.Open(t.TempDir(), blob.Options{})
	require.NoError(t, err)
	w := &world{t: t, store: store, users: 2}
	for _, d := range []string{"2026-05-01", "2026-05-02", "2026-05-03", "2026-05-04"} {
		w.day(d, "1")
	}
	made, kept := w.run("2026-05-02", "")
	require.Equal(t, []int{6, 0}, []int{made, kept})
	require.Contains(t, w.asked[0], "from \"2026-05-02\" to \"2026-05-03\"")
	made, kept = w.run("", "")
	require.Equal(t, []int{4, 4}, []int{made, kept}, "the first day is filled, and the last two of the funnel are made anew")
	require.Len(t, w.files(), 8)
	w.day("2026-05-01", "2")
	w.users = 3
	made, _ = w.run("", "")
	require.Equal(t, 4, made)
	require.Len(t, w.files(), 8, "what was replaced is gone")

	in, err := store.Open(context.Background(), w.files()[4])
	require.NoError(t, err)
	b, err := io.ReadAll(in)
	require.NoError(t, err)
	require.NoError(t, in.Close())
	type row struct {
		T       *string  `parquet:"t,optional"`
		Country *string  `parquet:"context.country,optional"`
		Value   *float64 `parquet:"value,optional"`
	}
	rows := make([]row, 1)
	r := parquet.NewGenericReader[row](bytes.NewReader(b))
	n, err := r.Read(rows)
	require.True(t, err == nil || err == io.EOF, "%v", err)
	require.Equal(t, 1, n)
	require.Equal(t, "2026-05-01T00:00:00Z", *rows[0].T)
	require.Equal(t, "=DE", *rows[0].Country)
	require.Equal(t, 3.0, *rows[0].Value)
}

func TestAConfigurationThatCannotBeIsRefused(t *testing.T) {
	for text, why := range map[string]string{
		"":                                     "EOF",
		"tables: []":                           "0 tables",
		"tables: [{name: A, query: sessions}]": "name",
		"tables: [{name: a, query: sessions}, {name: a, query: sessions}]":                         "taken",
		"tables: [{name: a, query: sessions last 3d}]":                                             "names a time",
		"tables: [{name: a, query: events of any}]":                                                "no table",
		"tables: [{name: a, query: 'funnel ->'}]":                                                  "table a",
		"tables: [{name: a, query: sessions, refresh: -1}]":                                        "refresh",
		"tables: [{name: a, query: sessions, every: 1h}]":                                          "every",
		"tables: [{name: a, query: sessions, name: b}]":                                            "already",
		"tables: [{name: a, query: 'trend count of x where a = 1 from 2026-01-01 to 2026-02-01'}]": "names a time",
	} {
		_, err := tables.Read([]byte(text))
		require.ErrorContains(t, err, why, text)
	}
}
