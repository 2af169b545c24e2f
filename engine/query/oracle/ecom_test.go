package oracle

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// ecom is the shared data set, and the answers that two other programs gave.
func ecom(t *testing.T) (s *Store, want map[string]json.RawMessage) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(shared, "data", "expected_ecom.json"))
	if err != nil {
		t.Skip("the shared data set is not here: " + err.Error())
	}
	require.NoError(t, json.Unmarshal(data, &want))
	f, err := os.Open(filepath.Join(shared, "data", "ecom.ndjson.gz"))
	if err != nil {
		t.Skip("the shared data set is not here: " + err.Error())
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	s = &Store{}
	for lines := bufio.NewScanner(z); lines.Scan(); {
		var e struct {
			EventID, UserID, EventName string
			Timestamp                  time.Time
			Properties, Context        map[string]any
		}
		require.NoError(t, json.Unmarshal(lines.Bytes(), &e))
		s.Add(Event{EventID: e.EventID, UserID: e.UserID, Name: e.EventName, Time: e.Timestamp.UnixMicro(), Properties: e.Properties, Context: e.Context})
	}
	return s, want
}

const year2024 = " from 2024-01-01 to 2024-07-01"

func ask(t *testing.T, s *Store, text string) *Answer {
	t.Helper()
	a, err := s.Ask(text, 0)
	require.NoError(t, err, text)
	return a
}

func read1[T any](t *testing.T, want map[string]json.RawMessage, name string) (v T) {
	t.Helper()
	require.NoError(t, json.Unmarshal(want[name], &v), name)
	return v
}

func TestTheSharedDataSetHasTheAnswersOfOtherPrograms(t *testing.T) {
	s, want := ecom(t)
	users := func(steps []Step) (n []int) {
		for _, s := range steps {
			n = append(n, s.Users)
		}
		return n
	}
	for _, f := range read1[[]struct {
		Steps      []string
		Window     string
		Counts     []int
		ByPlatform map[string][]int `json:"by_platform"`
	}](t, want, "funnels") {
		text := "funnel " + strings.Join(f.Steps, " -> ") + " within " + f.Window + year2024
		a := ask(t, s, text+" by context.platform").Funnel
		require.Equal(t, f.Counts, users(a.Steps), text)
		sum := make([]int, len(f.Counts)) // the groups there are by another rule, but they add up as well
		for _, g := range a.Groups {
			for k, n := range users(g.Steps) {
				sum[k] += n
			}
		}
		require.Equal(t, f.Counts, sum, text)
	}

	for name, n := range read1[map[string]int](t, want, "events_by_name") {
		require.EqualValues(t, n, *ask(t, s, "trend count of "+name+year2024).Trend.Series[0].Points[0].Value, name)
	}
	for name, n := range read1[map[string]int](t, want, "users_by_event") {
		require.EqualValues(t, n, *ask(t, s, "trend users of "+name+year2024).Trend.Series[0].Points[0].Value, name)
	}
	days := ask(t, s, "trend count, users of any every day"+year2024).Trend
	for i, name := range []string{"events_by_day", "active_users_by_day"} {
		byDay := read1[map[string]int](t, want, name)
		for _, p := range days.Series[i].Points {
			require.EqualValues(t, byDay[p.T[:10]], *p.Value, "%s %s", name, p.T)
		}
	}

	for _, r := range []struct {
		text string
		rows map[string][]int
	}{
		{"retention any -> any every day for 15 first", read1[struct{ Rows map[string][]int }](t, want, "retention_first_time_daily").Rows},
		{"retention any -> any every day for 8", read1[map[string][]int](t, want, "retention_recurring_daily_first14")},
		{"retention any -> any every week for 8 first", read1[map[string][]int](t, want, "retention_first_time_weekly_monday")},
	} {
		checked := 0
		for _, c := range ask(t, s, r.text+year2024).Retention.Cohorts {
			if row, ok := r.rows[c.T[:10]]; ok {
				require.Equal(t, row, c.Retained[:len(row)], "%s: %s", r.text, c.T)
				require.Equal(t, row[0], c.Size)
				checked++
			}
		}
		require.Equal(t, len(r.rows), checked, r.text)
	}

	sessions := ask(t, s, "sessions gap 30m"+year2024).Sessions
	expected := read1[struct {
		Count    int
		Events   float64 `json:"mean_events"`
		Single   int     `json:"single_event_sessions"`
		Mean     float64 `json:"mean_duration_seconds"`
		Median   float64 `json:"median_duration_seconds"`
		PerUser  float64 `json:"mean_sessions_per_user"`
		Everyone int     `json:"-"`
	}](t, want, "sessions_30m")
	require.Equal(t, expected.Count, sessions.Sessions)
	require.InDelta(t, expected.Events, *sessions.MeanEvents, 1e-9)
	require.InDelta(t, expected.Mean, *sessions.MeanDuration, 1e-9)
	require.InDelta(t, expected.Median, *sessions.MedianDuration, 1e-9)
	require.InDelta(t, float64(expected.Single)/float64(expected.Count), *sessions.BounceRate, 1e-12)
	require.InDelta(t, expected.PerUser, float64(sessions.Sessions)/float64(sessions.Users), 1e-9)

	// The longest session has 26 events, and a path at most 20 links.
	transitions := map[[2]string]int{}
	for _, p := range s.everyone() {
		for _, events := range split(p.events, 30*60*1e6, 0) {
			for i := 1; i < len(events); i++ {
				transitions[[2]string{events[i-1].Name, events[i].Name}]++
			}
		}
	}
	for _, l := range read1[[]struct {
		From, To string
		Count    int
	}](t, want, "transitions_within_session_top10") {
		require.Equal(t, l.Count, transitions[[2]string{l.From, l.To}])
	}
	firsts := map[string]int{}
	for _, events := range slices.Concat(sessionsOf(s)...) {
		firsts[events[0].Name]++
	}
	for _, x := range read1[[][2]any](t, want, "session_first_event_top5") {
		require.EqualValues(t, x[1], firsts[x[0].(string)])
	}
	paths := ask(t, s, "paths depth 1 limit 10000"+year2024).Paths
	first := map[string]int{}
	for _, l := range paths.Links {
		first[l.From] += l.Count
	}
	total := 0
	for _, n := range first {
		total += n
	}
	require.Equal(t, expected.Count-expected.Single, total, "every session of two events has a first transition")
}

func sessionsOf(s *Store) (out [][][]*Event) {
	for _, p := range s.everyone() {
		out = append(out, split(p.events, 30*60*1e6, 0))
	}
	return out
}
