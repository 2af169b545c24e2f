package server_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/server"
	"spoor/server/govern"
)

// put sends a document and expects that it is taken.
func (n *node) put(path, body string) map[string]any {
	n.t.Helper()
	r := n.do("PUT", path, []byte(body))
	require.Equal(n.t, 200, r.status, "%s: %s", path, r.body)
	return r.json(n.t)
}

// stored are the events of a name as a query gives them back.
func (n *node) stored(name string) []map[string]any {
	n.t.Helper()
	r := n.post("/api/query", fmt.Sprintf(`events of %q from 2020-01-01 to 2030-01-01 limit 1000`, name))
	require.Equal(n.t, 200, r.status, "%s", r.body)
	var a struct{ Events []map[string]any }
	require.NoError(n.t, json.Unmarshal(r.body, &a))
	return a.Events
}

func (n *node) send(name, id, properties, context string) reply {
	n.t.Helper()
	return n.post("/api/events", fmt.Sprintf(`{"eventName":%q,"eventId":%q,"userId":"u","properties":%s,"context":%s}`, name, id, properties, context))
}

func TestAnEventWithoutGovernanceComesBackAsItWasSentButForItsAddress(t *testing.T) {
	n := start(t, server.Options{})
	require.Equal(t, 200, n.send("e", "1", `{"email":"a@b.de","n":1.50}`, `{"ip":"203.0.113.77","locale":"de"}`).status)
	e := n.stored("e")[0]
	require.Equal(t, map[string]any{"email": "a@b.de", "n": 1.5}, e["properties"])
	require.Equal(t, map[string]any{"ip": "203.0.113.0", "locale": "de", "spoor": map[string]any{"redacted": "context.ip"}}, e["context"])
}

func TestASchemaIsPutReadComparedAndForgotten(t *testing.T) {
	n := start(t, server.Options{})
	path := "/api/schemas/" + url.PathEscape("Order / Done?")
	require.Equal(t, 404, n.do("GET", path, nil).status)
	require.Equal(t, "bad_name", n.do("GET", "/api/schemas/a/b/versions", nil).errorCode(t))
	require.Equal(t, "bad_schema", n.do("PUT", path, []byte(`{"typ":"object"}`)).errorCode(t))
	require.Equal(t, "bad_schema", n.do("PUT", path, nil).errorCode(t))
	require.Equal(t, "bad_mode", n.do("PUT", path+"?mode=hard", []byte(`{}`)).errorCode(t))
	require.Equal(t, "bad_compatibility", n.do("PUT", path+"?compatibility=some", []byte(`{}`)).errorCode(t))

	require.EqualValues(t, 1, n.put(path, `{"required":["id"],"properties":{"id":{"type":"string"}}}`)["version"])
	second := n.put(path+"?mode=enforce", `{"required":["id"],"properties":{"id":{"type":"string"},"price":{"type":"number"}}}`)
	require.EqualValues(t, 2, second["version"])
	require.Equal(t, "enforce", second["mode"])
	require.Len(t, second["changes"], 1)
	r := n.do("PUT", path, []byte(`{"required":["id","price"],"properties":{"id":{"type":"string"},"price":{"type":"number"}}}`))
	require.Equal(t, 409, r.status)
	require.Contains(t, string(r.body), "properties.price: required")
	require.EqualValues(t, 3, n.put(path+"?compatibility=none", `{"required":["id","price"]}`)["version"])
	require.EqualValues(t, 3, n.put(path+"?mode=off", ``)["version"], "a mode alone makes no version")

	require.EqualValues(t, 1, n.do("GET", path+"?version=1", nil).json(t)["version"])
	require.Equal(t, 404, n.do("GET", path+"?version=9", nil).status)
	require.Len(t, n.do("GET", path+"/versions", nil).json(t)["versions"], 3)
	diff := n.do("GET", path+"/diff?from=1&to=2", nil).json(t)
	require.Equal(t, "properties.price", diff["changes"].([]any)[0].(map[string]any)["path"])
	require.Len(t, n.do("GET", "/api/schemas", nil).json(t)["schemas"], 1)
	require.Equal(t, 200, n.do("DELETE", path, nil).status)
	require.Equal(t, 404, n.do("GET", path, nil).status)
	require.Equal(t, 404, n.do("DELETE", path, nil).status)
}

func TestAnObservedEventIsStoredAndSaysWhatIsWrong(t *testing.T) {
	n := start(t, server.Options{})
	n.put("/api/schemas/buy", `{"required":["id"],"properties":{"price":{"type":"number","minimum":0}},"additional":"reject"}`)
	require.Equal(t, 200, n.send("buy", "1", `{"id":"x","price":-1,"email":"a@b.de"}`, `{}`).status)
	require.Equal(t, 200, n.send("other", "2", `{"price":-1}`, `{}`).status)
	e := n.stored("buy")[0]
	require.Equal(t, "a@b.de", e["properties"].(map[string]any)["email"])
	marks := e["context"].(map[string]any)["spoor"].(map[string]any)["violations"]
	require.ElementsMatch(t, []string{"properties.price:minimum", "properties.email:additional", "properties.id:additional"}, strings.Split(marks.(string), ","))
	require.Equal(t, map[string]any{}, n.stored("other")[0]["context"])
	list := n.do("GET", "/api/schemas", nil).json(t)["schemas"].([]any)
	require.EqualValues(t, 1, list[0].(map[string]any)["violations"])
	answer := n.post("/api/query", `trend count of buy by context.spoor.violations from 2026-05-01 to 2026-06-01`)
	require.Equal(t, 200, answer.status)
	require.Contains(t, string(answer.body), "properties.price:minimum")
}

func TestAnEnforcedSchemaRefusesAndRedactsFromTheAnswerOfItsPutOn(t *testing.T) {
	n := start(t, server.Options{})
	n.put("/api/schemas/buy?mode=enforce", `{"required":["id"],"properties":{"id":{"type":"string","pii":"allow"},"mail":{"type":"string","pii":"hash"},"secret":{"pii":"drop"}}}`)
	require.Equal(t, "schema_violation", n.send("buy", "1", `{"id":1}`, `{}`).errorCode(t))
	require.Equal(t, 200, n.send("buy", "2", `{"id":"ann@example.com","mail":"a@b.de","secret":{"x":1},"note":"call +49 171 1234567","list":["a@b.de",4111111111111111,{"email":"x"}],"card":4111111111111111}`, `{"page":"a@b.de"}`).status)
	require.Equal(t, 200, n.send("buy", "3", `{"id":"x","mail":"a@b.de"}`, `{}`).status)
	events := n.stored("buy")
	require.Len(t, events, 2)
	p := events[0]["properties"].(map[string]any)
	require.Regexp(t, `^\[personal:[0-9a-f]{32}\]$`, p["mail"])
	require.Equal(t, p["mail"], events[1]["properties"].(map[string]any)["mail"], "one text has one hash")
	delete(p, "mail")
	require.Equal(t, map[string]any{"id": "ann@example.com", "note": "call [phone]", "list": []any{"[email]", "[card]", map[string]any{"email": "[personal]"}}, "card": "[card]"}, p)
	require.Equal(t, "a@b.de", events[0]["context"].(map[string]any)["page"], "only properties are looked into")
	require.Equal(t, "properties.mail,properties.secret.x,properties.note,properties.list,properties.card", events[0]["context"].(map[string]any)["spoor"].(map[string]any)["redacted"])

	n.put("/api/schemas/buy?mode=off", ``)
	require.Equal(t, 200, n.send("buy", "4", `{"id":1,"note":"a@b.de"}`, `{}`).status)
	require.Len(t, n.stored("buy"), 3)
}

func TestAPolicyHoldsForAllEventsOnceItIsAnswered(t *testing.T) {
	n := start(t, server.Options{})
	require.Equal(t, "bad_policy", n.do("PUT", "/api/policy", []byte(`{"redact":{"email":"eat"}}`)).errorCode(t))
	require.Equal(t, "bad_policy", n.do("PUT", "/api/policy", []byte(`{"redakt":{}}`)).errorCode(t))
	n.put("/api/policy", `{"redact":{"scope":"all","ip":"drop","email":"reject","card":"hash","keys":"drop","phone":"off"}}`)
	require.Equal(t, "truncate", func() any {
		n.put("/api/policy", `{}`)
		return n.do("GET", "/api/policy", nil).json(t)["redact"].(map[string]any)["ip"]
	}())
	n.put("/api/policy", `{"unknownEvents":"observe","redact":{"scope":"all","ip":"drop","email":"reject","card":"hash","keys":"drop","phone":"off"}}`)
	require.Equal(t, "personal_data", n.send("e", "1", `{}`, `{"page":{"url":"https://x.de/?m=a%40b.de"}}`).errorCode(t))
	require.Equal(t, 200, n.send("e", "2", `{"c":"4111 1111 1111 1111","password":"x","t":"+49 171 1234567"}`, `{"ip":"1.2.3.4"}`).status)
	e := n.stored("e")[0]
	require.Regexp(t, `^\[card:[0-9a-f]{32}\]$`, e["properties"].(map[string]any)["c"])
	require.Equal(t, "+49 171 1234567", e["properties"].(map[string]any)["t"])
	require.NotContains(t, e["properties"], "password")
	require.Equal(t, map[string]any{"violations": "eventName:unknown", "redacted": "context.ip,properties.c,properties.password"}, e["context"].(map[string]any)["spoor"])
	n.put("/api/policy", `{"unknownEvents":"enforce"}`)
	require.Equal(t, "unknown_event", n.send("e", "3", `{}`, `{}`).errorCode(t))
}

func TestMarksThatAClientSendsNeverHideThoseOfTheStore(t *testing.T) {
	n := start(t, server.Options{})
	for i, forged := range []string{`"x"`, `{"redacted":"none"}`, `{"redacted":{"a":1}}`, `[]`} {
		require.Equal(t, 200, n.send(fmt.Sprintf("e%d", i), "1-"+fmt.Sprint(i), `{}`, `{"ip":"1.2.3.4","spoor":`+forged+`}`).status)
		want := "context.ip"
		if i == 1 {
			want = "none,context.ip"
		}
		require.Equal(t, want, n.stored(fmt.Sprintf("e%d", i))[0]["context"].(map[string]any)["spoor"].(map[string]any)["redacted"])
	}
}

func TestEventsAreCheckedWithoutBeingStoredAndASchemaIsProposed(t *testing.T) {
	n := start(t, server.Options{})
	for i := range 50 {
		require.Equal(t, 200, n.send("buy", fmt.Sprint(i), fmt.Sprintf(`{"id":"x%d","price":%d.5,"contact":"a%d@b.de","plan":"pro"}`, i, i, i), `{}`).status)
	}
	proposed := n.do("GET", "/api/schemas/buy/infer", nil).json(t)
	require.EqualValues(t, 50, proposed["events"])
	text, err := json.Marshal(proposed["schema"])
	require.NoError(t, err)
	require.JSONEq(t, `{"type":"object","required":["contact","id","plan","price"],"properties":{"contact":{"type":"string","pii":"mask"},"id":{"type":"string"},"plan":{"type":"string","enum":["pro"]},"price":{"type":"number"}}}`, string(text))
	require.Equal(t, 404, n.do("GET", "/api/schemas/none/infer", nil).status)
	n.put("/api/schemas/buy?mode=enforce", string(text))
	verdict := n.post("/api/schemas/buy/check", `[{"eventName":"buy","userId":"u","properties":{"id":"x","price":1,"contact":"c","plan":"pro"}},{"eventName":"buy","userId":"u","properties":{"plan":"max"}},7]`).json(t)
	events := verdict["events"].([]any)
	require.Equal(t, true, events[0].(map[string]any)["valid"])
	require.Len(t, events[1].(map[string]any)["violations"], 4)
	require.Equal(t, false, events[2].(map[string]any)["valid"])
	require.Len(t, n.stored("buy"), 50)
}

func TestRefusedEventsWaitAsLettersAndAreReplayedExactlyOnce(t *testing.T) {
	n := start(t, server.Options{})
	n.put("/api/schemas/buy?mode=enforce", `{"required":["id"],"properties":{"id":{"type":"string","pii":"allow"},"price":{"type":"number"}}}`)
	r := n.post("/api/events/batch", `{"eventName":"buy","eventId":"1","userId":"u","properties":{"id":7,"note":"a@b.de"}}
{"eventName":"buy","eventId":"2","userId":"u","properties":{"id":"x"}}
{"eventName":"buy","eventId":"3","userId":"u","properties":{"price":1}}
{"eventName":"buy","userId":"u","timestamp":"2026-04-01T00:00:00Z","properties":{"id":8}}
{"eventName":"buy","eventId":`)
	require.Equal(t, 200, r.status)
	a := r.json(t)
	require.EqualValues(t, 1, a["accepted"])
	require.Len(t, a["rejected"], 4)
	require.Equal(t, true, a["rejected"].([]any)[0].(map[string]any)["deadLetter"])
	require.NotContains(t, a["rejected"].([]any)[3], "deadLetter", "what is no JSON cannot be redacted and is not kept")
	for range 10 {
		require.Equal(t, 400, n.send("buy", "1", `{"id":7}`, `{}`).status, "a poison event")
	}
	list := n.do("GET", "/api/dlq", nil).json(t)["letters"].([]any)
	require.Len(t, list, 3)
	first := list[0].(map[string]any)
	require.Equal(t, "schema_violation", first["reason"])
	require.Equal(t, "properties.id", first["path"])
	require.EqualValues(t, 1, first["version"])
	require.Equal(t, map[string]any{"id": 7.0, "note": "[email]"}, first["event"].(map[string]any)["properties"])
	require.Equal(t, "2026-05-02T12:00:00.123Z", first["event"].(map[string]any)["timestamp"])
	require.Len(t, n.do("GET", "/api/dlq?path=properties.id&limit=1", nil).json(t)["letters"], 1)
	require.EqualValues(t, 3, n.do("GET", "/api/dlq/count?event=buy&from=2026-05-02", nil).json(t)["letters"])
	require.EqualValues(t, 0, n.do("GET", "/api/dlq/count?to=2026-05-02", nil).json(t)["letters"])
	require.Equal(t, "bad_time", n.do("GET", "/api/dlq?from=now", nil).errorCode(t))
	require.Equal(t, "bad_limit", n.do("GET", "/api/dlq?limit=0", nil).errorCode(t))

	require.Equal(t, map[string]any{"replayed": 0.0, "duplicates": 0.0, "dropped": 0.0, "refused": 3.0}, n.post("/api/dlq/replay", "").json(t))
	n.put("/api/schemas/buy?compatibility=none", `{"required":["id"],"properties":{"id":{"type":["string","number"],"pii":"allow"}}}`)
	require.Equal(t, map[string]any{"replayed": 2.0, "duplicates": 0.0, "dropped": 0.0, "refused": 1.0}, n.post("/api/dlq/replay", "").json(t))
	require.Equal(t, map[string]any{"replayed": 0.0, "duplicates": 0.0, "dropped": 0.0, "refused": 1.0}, n.post("/api/dlq/replay", "").json(t))
	events := n.stored("buy")
	require.Len(t, events, 3)
	require.Equal(t, "2026-04-01T00:00:00Z", events[0]["timestamp"])
	require.Equal(t, "[email]", events[1]["properties"].(map[string]any)["note"])
	require.Equal(t, map[string]any{"spoor": map[string]any{"redacted": "properties.note"}}, events[1]["context"])

	// A letter whose event was stored meanwhile leaves the queue and counts once.
	n.put("/api/schemas/buy?mode=off", ``)
	require.Equal(t, 200, n.send("buy", "3", `{}`, `{}`).status)
	require.Equal(t, map[string]any{"replayed": 0.0, "duplicates": 1.0, "dropped": 0.0, "refused": 0.0}, n.post("/api/dlq/replay", "").json(t))
	require.Len(t, n.stored("buy"), 4)
	require.Empty(t, n.do("GET", "/api/dlq", nil).json(t)["letters"])
}

func TestLettersArePurgedByFilterAndBoundedByThePolicy(t *testing.T) {
	n := start(t, server.Options{})
	n.put("/api/policy", `{"unknownEvents":"enforce","letters":{"maxBytes":1048576,"maxDays":1}}`)
	require.Equal(t, "bad_policy", n.do("PUT", "/api/policy", []byte(`{"letters":{"maxBytes":1}}`)).errorCode(t))
	for i := range 30 {
		require.Equal(t, 400, n.send(fmt.Sprint("e", i%3), fmt.Sprint(i), `{}`, `{}`).status)
	}
	require.EqualValues(t, 10, n.do("DELETE", "/api/dlq?event=e1", nil).json(t)["purged"])
	require.EqualValues(t, 20, n.do("GET", "/api/dlq/count", nil).json(t)["letters"])
	for i := range 40 {
		require.Equal(t, 400, n.send("large", fmt.Sprint("l", i), `{"x":"`+strings.Repeat("x", 50_000)+`"}`, `{}`).status)
	}
	count := n.do("GET", "/api/dlq/count", nil).json(t)
	require.Less(t, count["letters"], 22.0)
	require.LessOrEqual(t, count["bytes"], 1048576.0)
}

func TestAnEventNeedsTheConsentOfItsPersonFromTheAnswerOn(t *testing.T) {
	n := start(t, server.Options{})
	n.put("/api/policy", `{"consent":{"default":"analytics","events":{"ad":"ads","boot":""},"properties":{"properties.contact":"mail"}}}`)
	stored := func(name, ids, more string) bool {
		t.Helper()
		before := len(n.stored(name))
		r := n.post("/api/events", fmt.Sprintf(`{"eventName":%q,%s,"timestamp":"2026-05-01T00:00:00Z"%s}`, name, ids, more))
		require.Equal(t, 200, r.status, "%s", r.body)
		if rejected := r.json(t)["rejected"].([]any); len(rejected) > 0 {
			require.Equal(t, "no_consent", rejected[0].(map[string]any)["code"])
			require.Len(t, n.stored(name), before)
			return false
		}
		return true
	}
	require.Equal(t, 404, n.do("GET", "/api/users/u/consent", nil).status)
	require.False(t, stored("e", `"userId":"u"`, ""))
	require.True(t, stored("boot", `"userId":"u"`, ""))
	require.True(t, stored("e", `"userId":"u"`, `,"context":{"consent":{"analytics":true}}`), "what the client says counts for its event")
	require.False(t, stored("e", `"userId":"u"`, ""))
	n.put("/api/users/u/consent", `{"purposes":{"analytics":true,"v1.mail":false}}`)
	require.Equal(t, map[string]any{"analytics": true, "v1.mail": false}, n.do("GET", "/api/users/u/consent", nil).json(t)["purposes"])
	require.True(t, stored("e", `"userId":"u","anonymousId":"a"`, ""))
	require.True(t, stored("e", `"anonymousId":"a"`, ""), "the device is the user's")
	require.False(t, stored("e", `"anonymousId":"b"`, ""))
	require.False(t, stored("e", `"userId":"w","anonymousId":"a"`, ""), "another user on the device")
	require.False(t, stored("ad", `"userId":"u"`, ""))
	require.False(t, stored("e", `"userId":"u"`, `,"context":{"consent":{"categoryPreferences":{"analytics":false}}}`), "a denial counts wherever it comes from")

	n.put("/api/users/u/consent", `{"purposes":{"analytics":false}}`)
	require.False(t, stored("e", `"anonymousId":"a"`, `,"context":{"consent":{"analytics":true}}`))
	n.put("/api/users/b/consent?id=anonymous", `{"purposes":{"analytics":true}}`)
	require.True(t, stored("e", `"anonymousId":"b"`, ""))
	require.True(t, stored("e", `"userId":"new","anonymousId":"b"`, `,"properties":{"contact":{"x":1,"y":2},"n":1}`), "a new user takes over the device")
	e := n.stored("e")
	e = e[slices.IndexFunc(e, func(e map[string]any) bool { return e["userId"] == "new" }):]
	require.Equal(t, map[string]any{"n": 1.0}, e[0]["properties"])
	require.Equal(t, "properties.contact.x,properties.contact.y", e[0]["context"].(map[string]any)["spoor"].(map[string]any)["redacted"])
	require.True(t, stored("e", `"userId":"new"`, ""))

	r := n.post("/api/identify", `{"userId":"u","traits":{"$consent":{"analytics":true},"plan":"pro"}}`)
	require.Contains(t, string(r.body), "$consent", "a write key grants nothing")
	require.False(t, stored("e", `"userId":"u"`, ""))
	n.put("/api/users/new/consent", `{"purposes":{}}`)
	require.Empty(t, n.do("GET", "/api/users/new/consent", nil).json(t)["purposes"])
	require.False(t, stored("e", `"userId":"new"`, ""))
	batch := n.post("/api/events/batch", `[{"eventName":"boot","userId":"u"},{"eventName":"e","userId":"u"}]`).json(t)
	require.EqualValues(t, 1, batch["accepted"])
	require.Len(t, batch["rejected"], 1, "each event of a batch is accounted for once")
	for _, bad := range []string{``, `{}`, `{"purposes":{"a":1}}`, `{"purposes":{"":true}}`, `{"analytics":true}`} {
		require.Equal(t, "bad_consent", n.do("PUT", "/api/users/u/consent", []byte(bad)).errorCode(t))
	}
	require.Equal(t, "bad_argument", n.do("PUT", "/api/users/u/consent?id=x", []byte(`{"purposes":{}}`)).errorCode(t))

	n.put("/api/policy", `{"consent":{"default":"analytics","action":"strip","unknown":"deny"},"enrich":{"userAgent":true,"campaign":true}}`)
	require.True(t, stored("stripped", `"userId":"u"`, `,"properties":{"a":1},"context":{"b":2},"extra":3`))
	s := n.stored("stripped")[0]
	require.NotContains(t, s, "properties")
	require.NotContains(t, s, "extra")
	require.Equal(t, map[string]any{"spoor": map[string]any{"redacted": "properties,context"}}, s["context"])
	r = n.do("POST", "/api/events", []byte(`{"eventName":"bare","userId":"u","context":{"page":{"url":"https://a.de/?utm_source=x"}}}`), "User-Agent", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/126.0.0.0")
	require.Equal(t, 200, r.status)
	require.Equal(t, map[string]any{"spoor": map[string]any{"redacted": "properties,context"}}, n.stored("bare")[0]["context"], "nothing is added to what was stripped")
}

func TestTheQualityOfWhatCameInIsCounted(t *testing.T) {
	n := start(t, server.Options{Lateness: govern.Lateness{Allowed: 10 * 24 * time.Hour}})
	n.put("/api/schemas/buy?mode=enforce", `{"properties":{"n":{"type":"number"}}}`)
	at := func(name, id, timestamp, properties string) reply {
		return n.post("/api/events", fmt.Sprintf(`{"eventName":%q,"eventId":%q,"userId":"u","timestamp":%q,"properties":%s}`, name, id, timestamp, properties))
	}
	for range 3 {
		require.Equal(t, 200, at("buy", "1", "2026-05-02T11:59:50Z", `{"n":1}`).status)
	}
	require.Equal(t, 400, at("buy", "2", "2026-05-02T11:00:00Z", `{"n":"x"}`).status)
	require.Equal(t, 200, at("buy", "3", "2026-05-02T13:00:00Z", `{}`).status)
	require.Equal(t, 200, at("old", "4", "2026-04-01T00:00:00Z", `{}`).status)
	require.Equal(t, map[string]any{"spoor": map[string]any{"late": true}}, n.stored("old")[0]["context"])
	q := n.do("GET", "/api/quality?points=1", nil).json(t)
	buy := q["series"].([]any)[0].(map[string]any)
	for name, want := range map[string]float64{"received": 5, "duplicates": 2, "future": 1, "violating": 1, "refused": 1, "tooLate": 0} {
		require.Equal(t, want, buy[name], name)
	}
	require.Equal(t, map[string]any{"1": 5.0}, buy["versions"])
	require.Equal(t, map[string]any{"1m": 4.0, "1h": 0.0, "1d": 1.0, "7d": 0.0, "30d": 0.0, "older": 0.0}, buy["late"])
	require.Len(t, buy["points"], 1)
	require.EqualValues(t, 1, q["series"].([]any)[1].(map[string]any)["tooLate"])
	require.Equal(t, "2026-05-02T12:00:00.123456Z", q["sources"].([]any)[0].(map[string]any)["latest"])
	require.Equal(t, "bad_hours", n.do("GET", "/api/quality?hours=99", nil).errorCode(t))

	n.put("/api/schemas/must?mode=observe", `{"required":["n"],"properties":{"n":{"type":"number"}}}`)
	require.Equal(t, 200, at("must", "5", "2026-05-02T11:59:50Z", `{}`).status)
	require.Equal(t, 200, at("must", "6", "2026-05-02T11:59:50Z", `{"n":"x"}`).status)
	q = n.do("GET", "/api/quality?event=must", nil).json(t)
	must := q["series"].([]any)[0].(map[string]any)
	require.EqualValues(t, 2, must["violating"])
	require.EqualValues(t, 1, must["missing"])
	metrics := string(n.do("GET", "/metrics", nil).body)
	for _, line := range []string{`spoor_events_late_total{age="1d"} 1`, `spoor_events_late_total{age="older"} 1`, `spoor_events_late_total{age="7d"} 0`, "spoor_events_future_total 1"} {
		require.Contains(t, metrics, line+"\n")
	}
}

func TestTheClockOfABatchIsReadFromTheObjectAroundIt(t *testing.T) {
	n := start(t, server.Options{})
	n.put("/api/policy", `{"enrich":{"clock":true}}`)
	for i, body := range []string{
		`{"sentAt":"2026-05-02T09:00:00.123Z","batch":[%s]}`,
		`{"batch":[%s], "x":{"sentAt":"2020-01-01T00:00:00Z","y":"]"}, "sentAt" : "2026-05-02T09:00:00.123Z"}`,
	} {
		name := fmt.Sprintf("clock%d", i)
		r := n.post("/api/events/batch", fmt.Sprintf(body, fmt.Sprintf(
			`{"eventName":%q,"userId":"a]\"sentAt\"","timestamp":"2026-05-02T08:59:00Z"},{"eventName":%q,"userId":"b","timestamp":"2026-05-02T11:59:30Z","sentAt":"2026-05-02T12:00:00Z"}`, name, name)))
		require.EqualValues(t, 2, r.json(t)["accepted"])
		e := n.stored(name)
		require.Equal(t, "2026-05-02T11:59:00.000Z", e[0]["timestamp"])
		require.Equal(t, map[string]any{"spoor": map[string]any{"clockOffset": 10800.0, "sentTimestamp": "2026-05-02T08:59:00Z"}}, e[0]["context"])
		require.Empty(t, e[1]["context"], "what the event itself says goes first")
	}
	for _, body := range []string{
		`{"sentAt":5,"batch":[%s]}`, `{"sentAt":"yesterday","batch":[%s]}`, `{"batch":[%s]}`, `[%s]`, "%s",
	} {
		require.Equal(t, 200, n.post("/api/events/batch", fmt.Sprintf(body, `{"eventName":"plain","userId":"a","timestamp":"2026-05-02T08:59:00Z"}`)).status)
	}
	for _, e := range n.stored("plain") {
		require.Empty(t, e["context"])
	}
}

func TestDuplicatesOfALongBodyAreCounted(t *testing.T) {
	n := start(t, server.Options{})
	var body strings.Builder
	for i := range 9000 {
		fmt.Fprintf(&body, `{"eventName":"buy","eventId":"%d","userId":"u","timestamp":"2026-05-02T11:59:50Z","properties":{"pad":"%s"}}`+"\n", i, strings.Repeat("x", 40))
	}
	for range 2 {
		require.Equal(t, 200, n.post("/api/events/batch", body.String()).status)
	}
	s := n.do("GET", "/api/quality", nil).json(t)["series"].([]any)[0].(map[string]any)
	require.EqualValues(t, 18000, s["received"])
	require.EqualValues(t, 9000, s["duplicates"])
}

func TestEventsThatAreTooLateWaitAsLettersAndAReplayTakesThem(t *testing.T) {
	n := start(t, server.Options{Lateness: govern.Lateness{Allowed: 24 * time.Hour, Refuse: true}})
	require.Equal(t, "late_event", n.post("/api/events", `{"eventName":"e","userId":"u","timestamp":"2026-04-01T00:00:00Z"}`).errorCode(t))
	require.Equal(t, 200, n.post("/api/events", `{"eventName":"e","userId":"u"}`).status)
	require.EqualValues(t, 1, n.post("/api/dlq/replay", "").json(t)["replayed"])
	require.Len(t, n.stored("e"), 2)
}
