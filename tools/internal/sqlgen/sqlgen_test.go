package sqlgen_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/engine/query/lang"
	"spoor/server/rawtier"
	"spoor/tools/internal/sqlgen"
)

var now = time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)

const may = " from 2026-05-01 to 2026-06-01"

func generate(t *testing.T, d sqlgen.Dialect, text string) (string, error) {
	t.Helper()
	q, err := lang.Parse(text)
	require.NoError(t, err, text)
	return sqlgen.Generate(q, d, sqlgen.Source{Base: "/raw/", Files: []string{"events/date=2026-05-01/hour=all/event=%2E%2E/source=_none/base-1.parquet"}, Persons: "persons/p.parquet"}, now)
}

func TestTextOfAQueryStaysTextInSQL(t *testing.T) {
	const evil = `funnel "a'; DROP TABLE x; --" -> "b\\' OR 1=1"[properties."q\"` + "`" + `c" = "\\'; SELECT 1 --"]` + may
	duck, err := generate(t, sqlgen.DuckDB, evil)
	require.NoError(t, err)
	require.Contains(t, duck, `eventName = 'a''; DROP TABLE x; --'`)
	require.Contains(t, duck, `eventName = 'b\'' OR 1=1'`)
	require.Contains(t, duck, "\"properties/q\"\"`c:str\" = '\\''; SELECT 1 --'")
	click, err := generate(t, sqlgen.ClickHouse, evil)
	require.NoError(t, err)
	require.Contains(t, click, `eventName = 'a\'; DROP TABLE x; --'`)
	require.Contains(t, click, `eventName = 'b\\\' OR 1=1'`)
	require.Contains(t, click, "`properties/q\"\\`c:str` = '\\\\\\'; SELECT 1 --'")
	for _, sql := range []string{duck, click} { // the query itself is a comment: of one line
		first, rest, _ := strings.Cut(sql, "\n")
		require.True(t, strings.HasPrefix(first, "-- funnel"))
		require.True(t, strings.HasPrefix(rest, "WITH stored AS ("))
	}
}

func TestWhatCannotBeCountedExactlyIsRefused(t *testing.T) {
	for text, why := range map[string]string{
		"funnel a -> b -> a":                                     "serve two steps",
		"funnel a -> any":                                        "serve two steps",
		"funnel a -> b order strict":                             "order strict",
		"funnel a -> b? -> c":                                    "optional",
		"funnel a -> b per session":                              "per session",
		"funnel a -> b by context.device":                        "breakdown",
		"trend p95(properties.x) of a":                           "p95",
		"trend count of a / count of b":                          "ratios",
		"trend count of a where user.plan = \"pro\"":             "user.plan",
		"trend count of a every month":                           "month",
		`trend count of a every day tz "Europe/Berlin"`:          "time zone",
		"trend count of a where properties.x missing":            "missing",
		"trend count of a where properties.x = null":             "null",
		"trend count of a where properties.x = 9007199254740993": "9007199254740993",
		"sessions gap 30m max 2h":                                "max",
		"paths from a depth 3":                                   "paths",
		`trend count of a user "u1"`:                             "one person",
	} {
		_, err := generate(t, sqlgen.DuckDB, text+may)
		var refused *sqlgen.ErrUnsupported
		require.ErrorAs(t, err, &refused, text)
		require.ErrorContains(t, err, why)
	}
}

func TestOnlyFilesThatAQueryCanReachAreNamed(t *testing.T) {
	file := func(key, event, from, to string) rawtier.File {
		return rawtier.File{Key: key, Event: event, MinTime: from, MaxTime: to}
	}
	days := []rawtier.Day{{Files: []rawtier.File{
		file("early", "a", "2026-04-01T00:00:00Z", "2026-04-01T10:00:00Z"),
		file("a", "a", "2026-05-01T00:00:00Z", "2026-05-01T10:00:00Z"),
		file("b", "b", "2026-05-01T00:00:00Z", "2026-05-01T10:00:00Z"),
		file("rest", "", "2026-05-01T00:00:00Z", "2026-05-01T10:00:00Z"),
		file("window", "a", "2026-06-02T00:00:00Z", "2026-06-02T10:00:00Z"),
		file("beyond", "a", "2026-06-20T00:00:00Z", "2026-06-20T10:00:00Z"),
	}}}
	for text, want := range map[string][]string{
		"trend count of a":           {"a", "rest"},
		"trend count of any":         {"a", "b", "rest"},
		"funnel a -> c within 7d":    {"a", "rest", "window"},
		"sessions":                   {"a", "b", "rest"},
		"top properties.x of b":      {"b", "rest"},
		"retention b -> b every day": {"b", "rest"},
	} {
		q, err := lang.Parse(text + may)
		require.NoError(t, err)
		require.Equal(t, want, sqlgen.ReachOf(q, now).Files(days), text)
	}
}
