package engines

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const may = " from 2026-05-01 to 2026-05-31"

// questions are asked of Spoor and, as the SQL that it prints, of the others.
var questions = []string{
	"funnel view_product -> add_to_cart -> purchase_completed within 7d" + may,
	"funnel page_viewed -> view_product -> add_to_cart -> checkout_started -> purchase_completed within 1d from 2026-05-03 to 2026-05-10T12:00:00Z where context.device = \"mobile\"",
	"funnel search -> (view_product or product_clicked)[properties.position <= 10] -> purchase_completed within 2h" + may,
	"trend count, users of any by context.device every day" + may,
	"trend count of purchase_completed, users of add_to_cart[properties.price > 50 and not (context.country in (\"DE\", \"FR\"))] every week" + may,
	"trend users of page_viewed every hour from 2026-05-10T05:30:00Z to 2026-05-11T07:10:00Z where context.campaign starts with \"n\" or userId missing",
	"retention any -> any every day for 10 first" + may,
	"retention view_product -> purchase_completed every week for 4 from 2026-05-02 to 2026-05-29",
	"sessions gap 30m every day" + may,
	"sessions gap 90s where context.os != \"iOS\"" + may,
	"top properties.category of view_product limit 30" + may,
	"top context.country of any where anonymousId contains \"a\" limit 50" + may,
}

func TestTheSQLCountsWhatSpoorCounts(t *testing.T) {
	for engine, run := range map[string]struct{ module, dialect, script string }{
		"DuckDB": {"duckdb", "duckdb", `
import json, sys, time, duckdb
for q in json.load(sys.stdin):
    began = time.time()
    rows = duckdb.sql(q).fetchall()
    print(json.dumps([time.time() - began, rows]))
`},
		"ClickHouse": {"chdb", "clickhouse", `
import json, sys, time, chdb
for q in json.load(sys.stdin):
    began = time.time()
    text = str(chdb.query(q, 'JSONCompactEachRow'))
    print(json.dumps([time.time() - began, [json.loads(l) for l in text.splitlines()]]))
`},
	} {
		t.Run(engine, func(t *testing.T) {
			var texts []string
			for _, q := range questions {
				out, err := spoor.run(spoor.binary, "query", "--sql", run.dialect, "--raw", spoor.raw, q)
				require.NoError(t, err)
				texts = append(texts, string(out))
			}
			answers := strings.Split(strings.TrimSpace(string(python(t, run.module, run.script, texts))), "\n")
			require.Len(t, answers, len(questions))
			for i, q := range questions {
				var a [2]json.RawMessage
				require.NoError(t, json.Unmarshal([]byte(answers[i]), &a))
				var took float64
				var rows [][]any
				require.NoError(t, json.Unmarshal(a[0], &took))
				require.NoError(t, json.Unmarshal(a[1], &rows))
				began := time.Now()
				want := ask(t, q)
				t.Logf("%s %.0f ms, Spoor %.1f ms: %s", engine, took*1000, float64(time.Since(began).Microseconds())/1000, q)
				require.Equal(t, integersOf(t, want), integersIn(want["kind"].(string), rows), q)
			}
		})
	}
}

func ask(t *testing.T, q string) (answer map[string]any) {
	resp, err := http.Post(spoor.url+"/api/query?cache=off", "", strings.NewReader(q))
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, 200, resp.StatusCode, "%s", b)
	require.NoError(t, json.Unmarshal(b, &answer))
	return answer
}

func whole(v any) string {
	if f, ok := v.(float64); ok {
		return fmt.Sprintf("%.0f", f)
	}
	return fmt.Sprint(v)
}

// moment is a time as both write it.
func moment(v any) string {
	t, err := time.Parse(time.RFC3339, fmt.Sprint(v))
	if err != nil {
		return fmt.Sprint(v)
	}
	return t.UTC().Format(time.RFC3339)
}

// integersOf are the integers of an answer of Spoor, sorted lines of text, those that are 0 left out.
func integersOf(t *testing.T, a map[string]any) (out []string) {
	list := func(m map[string]any, name string) (all []map[string]any) {
		items, _ := m[name].([]any)
		for _, x := range items {
			all = append(all, x.(map[string]any))
		}
		return all
	}
	add := func(value any, parts ...string) {
		if v := whole(value); v != "0" {
			out = append(out, strings.Join(append(parts, v), " "))
		}
	}
	switch a["kind"] {
	case "funnel":
		for i, s := range list(a, "steps") {
			add(s["users"], fmt.Sprint("step ", i+1))
		}
	case "trend":
		for _, s := range list(a, "series") {
			key := "-"
			if k, _ := s["key"].([]any); len(k) > 0 && k[0] != nil {
				key = fmt.Sprint(k[0])
			}
			for _, p := range list(s, "points") {
				add(p["value"], fmt.Sprint(s["measure"]), moment(p["t"]), key)
			}
		}
	case "retention":
		for _, c := range list(a, "cohorts") {
			add(c["size"], moment(c["t"]), "size")
			for k, n := range c["retained"].([]any) {
				add(n, moment(c["t"]), fmt.Sprint(k))
			}
		}
	case "sessions":
		points := list(a, "points")
		if len(points) == 0 {
			points = []map[string]any{a}
		}
		for _, p := range points {
			t := "-"
			if p["t"] != nil {
				t = moment(p["t"])
			}
			add(p["sessions"], t, "sessions")
			add(p["users"], t, "users")
			if n, _ := p["sessions"].(float64); n > 0 {
				add(n*p["mean_events"].(float64), t, "events")
				add(n*p["bounce_rate"].(float64), t, "bounces")
			}
		}
	case "top":
		for _, v := range list(a, "values") {
			add(v["count"], fmt.Sprint(v["value"]), "count")
			add(v["users"], fmt.Sprint(v["value"]), "users")
		}
	default:
		t.Fatalf("no integers of %v", a["kind"])
	}
	require.NotEmpty(t, out)
	slices.Sort(out)
	return out
}

// integersIn are the same of the rows of an engine.
func integersIn(kind string, rows [][]any) (out []string) {
	add := func(value any, parts ...string) {
		if v := whole(value); v != "0" {
			out = append(out, strings.Join(append(parts, v), " "))
		}
	}
	sized := map[string]bool{}
	for _, r := range rows {
		switch kind {
		case "funnel":
			for i, v := range r {
				add(v, fmt.Sprint("step ", i+1))
			}
		case "trend":
			key := "-"
			if r[2] != nil {
				key = fmt.Sprint(r[2])
			}
			measure, _, _ := strings.Cut(fmt.Sprint(r[0]), " of ")
			add(r[3], measure, moment(r[1]), key)
		case "retention":
			if t := moment(r[0]); !sized[t] {
				sized[t] = true
				add(r[1], t, "size")
			}
			if r[2] != nil {
				add(r[3], moment(r[0]), whole(r[2]))
			}
		case "sessions":
			t := "-"
			if len(r) == 6 {
				t, r = moment(r[0]), r[1:]
			}
			for i, name := range []string{"sessions", "users", "events", "bounces"} {
				add(r[i], t, name)
			}
		case "top":
			add(r[1], fmt.Sprint(r[0]), "count")
			add(r[2], fmt.Sprint(r[0]), "users")
		}
	}
	slices.Sort(out)
	return out
}
