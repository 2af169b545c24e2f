package query_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/engine"
	"spoor/engine/query"
	"spoor/engine/query/oracle"
)

// world is a random history, in the engine and in the oracle.
type world struct {
	r      *rand.Rand
	db     *engine.DB
	oracle *oracle.Store
	n      int
	coarse bool // all times are multiples of six hours
}

const worldStart = "2026-03-26T00:00:00Z" // three days before clocks change in Europe

var worldNow = time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)

// add makes events and applies them to both.
func (w *world) add(t *testing.T, events int) {
	t.Helper()
	start, err := time.Parse(time.RFC3339, worldStart)
	require.NoError(t, err)
	var lines [][]byte
	names := []string{"a", "b", "c", "d", "buy"}
	for range events {
		at := start.Add(time.Duration(w.r.IntN(10*24*60)) * time.Minute / time.Duration(1+w.r.IntN(20)))
		switch w.r.IntN(4) {
		case 0:
			at = at.Add(time.Duration(w.r.IntN(1000)) * time.Millisecond)
		case 1:
			at = at.Add(time.Duration(w.r.IntN(1e6)) * time.Microsecond)
		}
		if w.coarse {
			at = at.Truncate(6 * time.Hour) // a world of ties
		}
		w.n++
		e := map[string]any{"eventName": names[w.r.IntN(len(names))]}
		id := w.n
		if w.n > 10 && w.r.IntN(12) == 0 {
			id = 1 + w.r.IntN(w.n-1) // a resend, often with another payload
		}
		e["eventId"] = fmt.Sprintf("00000000-0000-4000-8000-%012d", id)
		if id%7 == 0 {
			e["eventId"] = fmt.Sprintf("e-%d", id)
		}
		u, a := w.r.IntN(6), w.r.IntN(8)
		if w.r.IntN(2) == 0 {
			e["userId"] = fmt.Sprintf("u%d", u)
		}
		if _, ok := e["userId"]; !ok || w.r.IntN(3) == 0 {
			e["anonymousId"] = fmt.Sprintf("x%d", a)
		}
		// Persons who are told apart now may be merged later, and then their events of
		// the very same microsecond have no order: each has microseconds of their own.
		uid, _ := e["userId"].(string)
		aid, _ := e["anonymousId"].(string)
		apart := crc32.ChecksumIEEE([]byte(w.oracle.Person(uid, aid))) % 1000
		e["timestamp"] = at.Add(time.Duration(apart) * time.Microsecond).UTC().Format(time.RFC3339Nano)
		props := map[string]any{}
		switch w.r.IntN(5) {
		case 0:
			props["p"] = w.r.IntN(4)
		case 1:
			props["p"] = "s" + strconv.Itoa(w.r.IntN(3))
		case 2:
			props["p"] = []any{nil, true, false, 1.5, "", []any{1, "s1"}, map[string]any{}}[w.r.IntN(7)]
		}
		if w.r.IntN(2) == 0 {
			props["price"] = float64(w.r.IntN(2000)) / 100
		}
		if w.r.IntN(3) > 0 {
			props["item"] = fmt.Sprintf("i%d", w.r.IntN(3))
		}
		e["properties"] = props
		e["context"] = map[string]any{"device": []string{"phone", "desk", "tab"}[w.r.IntN(3)]}
		line, err := json.Marshal(e)
		require.NoError(t, err)
		lines = append(lines, line)
	}
	for len(lines) > 0 {
		n := min(1+w.r.IntN(40), len(lines))
		received := 1_790_000_000_000_000 + int64(w.db.AppliedIndex()+1)*1000
		for _, l := range lines[:n] {
			w.oracle.Add(oracleEvent(t, l, received))
		}
		loadAt(t, w.db, lines[:n], received)
		lines = lines[n:]
		if w.r.IntN(3) == 0 {
			w.identify(t)
		}
	}
}

func oracleEvent(t *testing.T, line []byte, received int64) oracle.Event {
	t.Helper()
	var e struct {
		EventID, UserID, AnonymousID, EventName string
		Timestamp                               time.Time
		Properties, Context                     map[string]any
	}
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	require.NoError(t, d.Decode(&e))
	return oracle.Event{
		EventID: e.EventID, UserID: e.UserID, AnonymousID: e.AnonymousID, Name: e.EventName,
		Time: e.Timestamp.UnixMicro(), ReceivedAt: received, Properties: e.Properties, Context: e.Context,
	}
}

// pick returns one of the choices.
func (w *world) pick(choices ...string) string { return choices[w.r.IntN(len(choices))] }

func (w *world) sel() string {
	s := w.pick("a", "b", "c", "d", "buy", "any", "(a or b)", "(a or buy)", "nothing")
	if w.r.IntN(5) == 0 {
		s += "[" + w.predicate() + "]"
	}
	return s
}

func (w *world) field() string {
	return w.pick("properties.p", "properties.price", "properties.item", "context.device", "eventName", "userId", "anonymousId", "user.plan", "user.at.city")
}

func (w *world) predicate() string {
	p := w.pick(
		"properties.p = 1", "properties.p != 1", "properties.p > 1", `properties.p = "s1"`, `properties.p in (1, "s2", true)`, `properties.p not in (2, "s0")`,
		"properties.p exists", "properties.p missing", "properties.p = null", "properties.p = true", "properties.price >= 10", "properties.price < 5.5",
		`context.device = "phone"`, `context.device != "desk"`, `properties.item starts with "i"`, `properties.item contains "1"`, `properties.item matches "^i[01]$"`,
		`userId = "u1"`, "userId missing", `anonymousId in ("x1", "x2")`, `eventName = "a"`, `timestamp >= "2026-03-29"`, `properties.item ends with "2"`,
		`user.plan = "pro"`, `user.plan != "pro"`, "user.plan missing", "user.plan = null", `user.plan in ("free", 2)`, "user.plan >= 1", `user.at.city starts with "B"`, "user.at = 5", "user.at exists",
	)
	switch w.r.IntN(6) {
	case 0:
		return "not (" + p + ")"
	case 1:
		return p + " and " + w.predicate()
	case 2:
		return "(" + p + " or " + w.predicate() + ")"
	}
	return p
}

func (w *world) maybe(clause string, n int) string {
	if w.r.IntN(n) == 0 {
		return " " + clause
	}
	return ""
}

func (w *world) tail() string {
	return w.maybe("where "+w.predicate(), 3) + " " + w.pick("from 2026-03-26 to 2026-04-06", "from 2026-03-27 to 2026-04-01", "from 2026-03-28T06:00:00Z to 2026-03-30T11:30:00Z") +
		w.maybe(`tz "`+w.pick("Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "Pacific/Apia")+`"`, 3)
}

func (w *world) by(n int) string {
	if w.r.IntN(n) > 0 {
		return ""
	}
	s := " by " + w.field()
	if w.r.IntN(4) == 0 {
		s += ", context.device"
	}
	return s + w.maybe("limit 2", 3)
}

func (w *world) every(n int, units ...string) string {
	if w.r.IntN(n) > 0 {
		return ""
	}
	return " every " + w.pick(units...)
}

func (w *world) funnel() string {
	steps := []string{}
	n := 1 + w.r.IntN(4)
	optional := w.r.IntN(4) == 0
	for k := range n {
		s := w.sel()
		if optional && k > 0 && k < n-1 && w.r.IntN(2) == 0 {
			s += "?"
		}
		steps = append(steps, s)
	}
	q := "funnel " + strings.Join(steps, " -> ") + " within " + w.pick("1h", "6h", "1d", "3d", "500ms")
	if w.r.IntN(2) == 0 {
		return q + w.by(3) + w.tail()
	}
	q += w.pick("", "", " order strict", " order any") + w.pick("", "", "", " per session", " per session gap 5m", " per properties.item", " per user.plan") + w.maybe("never "+w.sel(), 5) + w.maybe("holding "+w.pick("properties.item", "properties.p", "properties.item, context.device", "user.plan"), 4)
	if n > 1 && w.r.IntN(4) == 0 {
		from := 1 + w.r.IntN(n-1)
		q += fmt.Sprintf(" excluding %s between %d and %d", w.sel(), from, from+1+w.r.IntN(n-from))
	}
	if w.r.IntN(3) == 0 {
		q += " by " + w.field() + w.pick("", " at step 1", fmt.Sprintf(" at step %d", 1+w.r.IntN(n)), " at last") + w.maybe("limit 2", 3)
	}
	return q + w.every(4, "day", "week") + w.tail()
}

func (w *world) query() string {
	switch w.r.IntN(10) {
	case 0:
		return "trend " + w.pick("count", "users", "per_user", "sum(properties.price)", "avg(properties.price)", "sum(user.plan)", "min(properties.price)", "max(properties.p)", "median(properties.price)", "p90(properties.price)", "distinct(properties.p)", "count / users", "users of "+w.sel()+" / count", "sum(properties.price) of "+w.sel()+" / users", "count of "+w.sel()+" / distinct(properties.item)") +
			" of " + w.sel() + w.by(2) + w.every(2, "day", "hour", "week", "month", "6h") + w.tail()
	case 1:
		return "retention " + w.sel() + " -> " + w.sel() + " every " + w.pick("day", "week", "month") + " for " + w.pick("1", "3", "7") + w.maybe("first", 2) + w.maybe("rolling", 4) + w.maybe("at least 2", 4) + w.by(3) + w.tail()
	case 2:
		return "sessions gap " + w.pick("30m", "5m", "6h") + w.maybe("max 2h", 3) + w.by(3) + w.every(3, "day", "week") + w.tail()
	case 3:
		return "paths" + w.pick("", " from a", " to buy", " from (b or c)") + " depth " + w.pick("1", "3", "5") + w.maybe("collapse", 3) + w.maybe("gap 2h", 2) + w.tail()
	case 4:
		return "attribution " + w.pick("buy", "c") + " by " + w.pick("context.device", "properties.p", "properties.item", "user.plan") + w.maybe("touch "+w.sel(), 2) + " model " + w.pick("first_touch", "last_touch", "linear", "time_decay", "position") +
			" lookback " + w.pick("6h", "3d") + w.maybe("value "+w.pick("properties.price", "user.plan"), 2) + w.tail()
	case 5:
		return "experiment " + w.pick("context.device", "properties.item", "user.at.city") + " goal " + w.sel() + " exposure " + w.pick("a", "b") + w.maybe("within 6h", 3) + w.tail()
	case 6:
		return "top " + w.field() + " of " + w.sel() + w.maybe("limit 3", 2) + w.tail()
	case 7:
		return "users of " + w.sel() + " " + w.pick("at least 1", "at least 3", "at most 2", "exactly 2", "at most 0") + w.maybe("newest", 3) + w.maybe("limit 2", 3) + w.tail()
	case 8:
		return w.pick("lifecycle", "stickiness") + " " + w.sel() + " every " + w.pick("day", "week") + w.tail()
	}
	return w.funnel()
}

// plain makes an answer comparable: numbers as float64, without what describes the run.
func plain(t *testing.T, v any) map[string]any {
	t.Helper()
	b, err := json.Marshal(v)
	require.NoError(t, err)
	var m map[string]any
	require.NoError(t, json.Unmarshal(b, &m))
	for _, k := range []string{"stats", "as_of", "query", "warnings", "next"} {
		delete(m, k)
	}
	return m
}

// difference tells where two answers differ, "" when they do not.
func difference(path string, a, b any) string {
	switch a := a.(type) {
	case map[string]any:
		m, ok := b.(map[string]any)
		if !ok {
			return fmt.Sprintf("%s: %v and %v", path, a, b)
		}
		for k := range m {
			if _, ok := a[k]; !ok && !empty(m[k]) {
				return fmt.Sprintf("%s.%s: missing and %v", path, k, m[k])
			}
		}
		for k := range a {
			if _, ok := m[k]; !ok && empty(a[k]) {
				continue
			}
			if d := difference(path+"."+k, a[k], m[k]); d != "" {
				return d
			}
		}
		return ""
	case []any:
		l, ok := b.([]any)
		if !ok || len(l) != len(a) {
			return fmt.Sprintf("%s: %v and %v", path, a, b)
		}
		for i := range a {
			if d := difference(fmt.Sprintf("%s[%d]", path, i), a[i], l[i]); d != "" {
				return d
			}
		}
		return ""
	case float64:
		n, ok := b.(float64)
		if !ok || math.Abs(a-n) > 1e-9*(1+math.Abs(a)) {
			return fmt.Sprintf("%s: %v and %v", path, a, b)
		}
		return ""
	}
	if a != b {
		return fmt.Sprintf("%s: %#v and %#v", path, a, b)
	}
	return ""
}

func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case bool:
		return !v
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}

func TestTheEngineAgreesWithTheOracleOnRandomWorlds(t *testing.T) {
	worlds, queries := 6, 60
	if n, err := strconv.Atoi(os.Getenv("SPOOR_ORACLE_WORLDS")); err == nil {
		worlds = n
	}
	only := os.Getenv("SPOOR_ORACLE_KIND")
	first, _ := strconv.Atoi(os.Getenv("SPOOR_ORACLE_SEED"))
	failures := 0
	for seed := first; seed < first+worlds; seed++ {
		w := &world{r: rand.New(rand.NewPCG(uint64(seed), 1)), db: openCut(t, cut(uint64(seed))), oracle: &oracle.Store{}}
		w.coarse = seed%4 == 3
		e := query.New(w.db, smallRanges(seed), func() time.Time { return worldNow })
		var earlier []string
		for phase := range 4 {
			w.add(t, 60+w.r.IntN(200))
			switch phase {
			case 1:
				_, err := w.db.Checkpoint(context.Background())
				require.NoError(t, err)
			case 3:
				require.NoError(t, w.db.Compact(context.Background()))
			}
			for i := range queries {
				text := w.query()
				if i < len(earlier) && i < queries/4 {
					text = earlier[i] // its kept answer must not outlive a change
				}
				if only != "" && !strings.HasPrefix(text, only) {
					continue
				}
				earlier = append(earlier, text)
				want, err := w.oracle.Ask(text, worldNow.UnixMicro())
				require.NoError(t, err, text)
				got, err := e.Ask(context.Background(), text)
				require.NoError(t, err, text)
				if d := difference("", plain(t, want), plain(t, got)); d != "" {
					t.Errorf("world %d phase %d (oracle and engine):\n%s\n%s", seed, phase, text, d)
					if failures++; failures > 30 {
						t.FailNow()
					}
				}
			}
		}
	}
}

// smallRanges are limits under which even a small world is split over several workers and
// ranges of persons.
func smallRanges(seed int) query.Limits {
	limits := query.DefaultLimits()
	limits.Workers, limits.Rows = 1+seed%4, 1+seed%97
	return limits
}
