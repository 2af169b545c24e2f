package peers

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/bench/questions"
	"spoor/bench/workload"
)

func TestAnswersOfTheAPIBecomeRowsOfTextsAndIntegers(t *testing.T) {
	for name, test := range map[string]struct {
		answer string
		want   Rows
	}{
		"a funnel is one row":               {`{"kind":"funnel","steps":[{"users":9},{"users":4}]}`, Rows{{"9", "4"}}},
		"a funnel by a field a row a group": {`{"kind":"funnel","steps":[{"users":9}],"groups":[{"key":["web"],"steps":[{"users":7}]},{"key":[null],"steps":[{"users":2}]}]}`, Rows{{"null", "2"}, {"web", "7"}}},
		"retention leaves out zeros":        {`{"kind":"retention","cohorts":[{"t":"2026-05-01T00:00:00Z","retained":[5,0,2]}]}`, Rows{{"2026-05-01", "0", "5"}, {"2026-05-01", "2", "2"}}},
		"bounces of sessions are counted":   {`{"kind":"sessions","sessions":8,"users":3,"bounce_rate":0.375}`, Rows{{"8", "3", "3"}}},
		"a trend by a field":                {`{"kind":"trend","series":[{"key":["a"],"points":[{"t":"2026-05-01T00:00:00Z","value":2},{"t":"2026-05-02T00:00:00Z","value":0}]}]}`, Rows{{"a", "2026-05-01", "2"}}},
		"a trend":                           {`{"kind":"trend","series":[{"key":[],"points":[{"t":"2026-05-01T00:00:00Z","value":2}]}]}`, Rows{{"2026-05-01", "2"}}},
		"top is sorted by value":            {`{"kind":"top","values":[{"value":"b","count":9,"users":2},{"value":"a","count":3,"users":1}]}`, Rows{{"a", "3", "1"}, {"b", "9", "2"}}},
		"events are their ids":              {`{"kind":"events","events":[{"eventId":"e1"}]}`, Rows{{"e1"}}},
		"attribution":                       {`{"kind":"attribution","touchpoints":[{"key":null,"conversions":3}]}`, Rows{{"null", "3"}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := spoorRows([]byte(test.answer))
			require.NoError(t, err)
			require.Equal(t, test.want, got)
		})
	}
	_, err := spoorRows([]byte(`{"kind":"paths"}`))
	require.ErrorContains(t, err, "not compared")
}

func TestRowsOfSQLAreComparedWhateverTheirOrder(t *testing.T) {
	want := Rows{{"a", "1"}, {"null", "2"}}
	got, err := rowsOf([]byte(`[[null,2],["a",1]]`))
	require.NoError(t, err)
	require.Empty(t, differences(want, got))

	got, err = rowsOf([]byte(`[["a",1],[null,3]]`))
	require.NoError(t, err)
	require.Equal(t, "null 2 and null 3", differences(want, got))
	require.Equal(t, "2 rows and 1", differences(want, got[:1]))

	_, err = rowsOf([]byte(`[[{"a":1}]]`))
	require.Error(t, err)
}

func TestEveryQuestionHasAStatementForEachPeer(t *testing.T) {
	for _, q := range questions.All("u") {
		require.NotEmpty(t, clickhouse.question(q, "u"), q.Name)
		require.NotEmpty(t, duckdb.question(q, "u"), q.Name)
	}
}

func TestAWrongAnswerIsNoFastestPeer(t *testing.T) {
	q := Question{Times: []Times{{Median: 2}, {Median: 4, Differs: "1 and 2"}, {Median: 30}}}
	q.finish()
	require.InDelta(t, 15, q.Ratio, 1e-9)
	r := Report{Questions: []Question{q}, Loads: []Load{{Name: "Spoor"}}}
	require.False(t, r.Equal())
	var out bytes.Buffer
	require.NoError(t, r.WriteTable(&out))
	require.Contains(t, out.String(), "DIFFER")
	require.Contains(t, out.String(), "15.0 x")
}

func TestTwoReportsAreComparedFigureByFigure(t *testing.T) {
	report := func(micros, median float64) *Report {
		return &Report{Events: 5, Loads: []Load{{Name: "Spoor", Micros: micros}}, Questions: []Question{{Name: "q", Times: []Times{{System: "Spoor", Median: median}}}}}
	}
	var out bytes.Buffer
	require.NoError(t, Compare(&out, report(2, 10), report(3, 5)))
	require.Regexp(t, `CPU us/event +2\.00 +3\.00 +1\.50\n`, out.String())
	require.Regexp(t, `Spoor: q \(ms\) +10\.00 +5\.00 +0\.50\n`, out.String())
	require.NotContains(t, out.String(), "Not of one machine")

	out.Reset()
	other := report(1, 1)
	other.Events = 6
	require.NoError(t, Compare(&out, report(1, 1), other))
	require.Contains(t, out.String(), "Not of one machine")
}

func TestPiecesEndWithWholeLinesAndAreTheWholeStream(t *testing.T) {
	line := strings.Repeat("x", 70_000) + "\n"
	stream := strings.Repeat(line, 11) + "the last has no end"
	var got []byte
	pieces := 0
	require.NoError(t, cut(strings.NewReader(stream), func(p []byte) error {
		if len(got)+len(p) < len(stream) {
			require.Equal(t, byte('\n'), p[len(p)-1])
		}
		got = append(got, p...)
		pieces++
		return nil
	}))
	require.Equal(t, stream, string(got))
	require.Greater(t, pieces, 2)
}

// The peers are no dependency; where they are installed (make bench-peers, or SPOOR_PEERS) they are driven.
func TestDuckDBIsFilledAndAsked(t *testing.T) { testDriver(t, "duckdb") }

func TestClickHouseIsFilledAndAsked(t *testing.T) { testDriver(t, "clickhouse") }

func testDriver(t *testing.T, kind string) {
	dir := os.Getenv("SPOOR_PEERS")
	if dir == "" {
		dir = "../.peers"
	}
	python, err := filepath.Abs(filepath.Join(dir, "bin", "python"))
	require.NoError(t, err)
	module := map[string]string{"duckdb": "duckdb", "clickhouse": "chdb"}[kind]
	if exec.Command(python, "-c", "import "+module).Run() != nil {
		t.Skipf("%s is not installed in %s; make bench-peers installs it", module, dir)
	}
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	const events = 3000
	file := filepath.Join(t.TempDir(), "events.ndjson")
	g, err := workload.New(workload.Config{Events: events, Seed: 3})
	require.NoError(t, err)
	var stream bytes.Buffer
	_, err = workload.NewReader(g).WriteTo(&stream)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, stream.Bytes(), 0o600))

	d, err := startDriver(ctx, python, kind, filepath.Join(t.TempDir(), kind), 2)
	require.NoError(t, err)
	defer func() { require.NoError(t, d.close()) }()
	l, err := d.fill(file, events)
	require.NoError(t, err)
	require.Positive(t, l.Bytes)
	require.Positive(t, l.Micros)
	for _, q := range questions.All("nobody") {
		rows, took, err := d.ask(q, "nobody", true)
		require.NoError(t, err, q.Name)
		require.Positive(t, took)
		require.Equal(t, q.Name != historyName, len(rows) > 0, q.Name)
	}
	_, err = d.run("SELECT nonsense FROM nowhere", true)
	require.Error(t, err, "a statement that fails is told, and the driver goes on")
	_, err = d.run("SELECT 1", false)
	require.NoError(t, err)
}

func TestAPeerOrAQuestionThatThereIsNotIsRefusedBeforeAnythingIsMade(t *testing.T) {
	for want, c := range map[string]Config{
		`no peer "oracle", only clickhouse, duckdb, victorialogs`: {Runs: 1, Peers: []string{"duckdb", "oracle"}},
		`no question's name has "nonsense"`:                       {Runs: 1, Only: "nonsense"},
		`0 runs asked for`:                                        {},
	} {
		c.Dir = filepath.Join(t.TempDir(), "not made")
		_, err := Run(context.Background(), c)
		require.ErrorContains(t, err, want)
	}
}

func TestWhatWasAskedOnceIsToldSo(t *testing.T) {
	r := Report{Loads: []Load{{Name: "Spoor"}}, Questions: []Question{{Name: "q", Times: []Times{{System: "Spoor", Median: 1}, {System: "Slow", Median: 70_000, Once: true}}}}}
	var out bytes.Buffer
	require.NoError(t, r.WriteTable(&out))
	require.Contains(t, out.String(), "70000.0 (once)")
}
