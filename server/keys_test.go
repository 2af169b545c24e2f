package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/server"
	"spoor/server/access"
	"spoor/server/dialect"
	"spoor/server/dialect/segment"
)

// madeKey is the answer to POST /api/keys.
type madeKey struct {
	Key, ID, Name, Kind, Source string
}

// makeKey makes a key with the admin key admin.
func (n *node) makeKey(admin, call string) madeKey {
	n.t.Helper()
	r := n.post("/api/keys", call, "Authorization", bearer(admin))
	require.Equal(n.t, 200, r.status, "%s: %s", call, r.body)
	var k madeKey
	require.NoError(n.t, json.Unmarshal(r.body, &k))
	return k
}

func bearer(key string) string {
	if key == "" {
		return ""
	}
	return "Bearer " + key
}

func TestAKeyIsShownOnceAndKnownByItsHash(t *testing.T) {
	n := start(t, server.Options{})
	r := n.post("/api/keys", `{"kind":"write","source":"web","origins":["https://shop.example"],"events":["page_*"],"rate":50}`)
	require.Equal(t, 200, r.status, "%s", r.body)
	require.Equal(t, "no-store", r.header.Get("Cache-Control"))
	var k madeKey
	require.NoError(t, json.Unmarshal(r.body, &k))
	require.Equal(t, []string{"web-write", "write", "web"}, []string{k.Name, k.Kind, k.Source})
	require.Regexp(t, `^spoor_w_[A-Za-z0-9_-]{43}$`, k.Key)
	list := n.do("GET", "/api/keys", nil)
	require.JSONEq(t, fmt.Sprintf(`{"keys":[{"id":%q,"name":"web-write","kind":"write","source":"web","made":"2026-05-02T12:00:00Z","origins":["https://shop.example"],"events":["page_*"],"rate":50}]}`, k.ID), string(list.body))
	require.NotContains(t, string(list.body), k.Key[8:])
	for _, d := range n.log.db.Documents("key") {
		require.NotContains(t, d.Name+string(d.Value), k.Key[8:])
	}
}

func TestTheSourceOfAKeyIsThatOfItsEvents(t *testing.T) {
	n := start(t, server.Options{})
	web, app := n.makeKey("", `{"kind":"write","source":"web"}`), n.makeKey("", `{"kind":"write","source":"app"}`)
	for i, key := range []string{web.Key, app.Key, web.Key, ""} {
		require.Equal(t, 200, n.post("/api/events", event(i), "Authorization", bearer(key)).status)
	}
	for source, count := range map[string]string{"web": "2", "app": "1", "none": "0"} {
		r := n.post("/api/query", `trend count of any from 2026-05-01 to 2026-05-02 where source = "`+source+`"`)
		require.Contains(t, string(r.body), `"value":`+count, source)
	}
}

func TestWhoHasAWriteKeyLearnsNothingOfWhatIsStored(t *testing.T) {
	n := start(t, server.Options{})
	k := n.makeKey("", `{"kind":"write","source":"web"}`)
	send := func(path, body string) (string, http.Header) {
		r := n.post(path, body, "Authorization", bearer(k.Key))
		require.Equal(t, 200, r.status, "%s", r.body)
		r.header.Del("Date")
		return string(r.body), r.header
	}
	for _, c := range [][2]string{
		{"/api/events", event(1)},
		{"/api/events/batch", "[" + event(2) + "," + event(3) + "]"},
		{"/api/identify", `{"userId":"u1","anonymousId":"a1","traits":{"plan":"pro"}}`},
		{"/api/alias", `{"userId":"u1","previousId":"a2"}`},
	} {
		first, firstHeader := send(c[0], c[1])
		again, againHeader := send(c[0], c[1])
		require.Equal(t, first, again, c[0])
		require.Equal(t, firstHeader, againHeader, c[0])
		require.Empty(t, firstHeader.Get("X-Spoor-Index"))
	}
	_, _ = send("/api/identify", `{"userId":"u2","traits":{"x":1}}`)
	whose, _ := send("/api/alias", `{"userId":"u2","previousId":"a1"}`) // of u1
	whom, _ := send("/api/alias", `{"userId":"u2","previousId":"u1"}`)  // a user
	fresh, _ := send("/api/alias", `{"userId":"u2","previousId":"nobody"}`)
	require.Equal(t, []string{fresh, fresh}, []string{whose, whom})
	for _, path := range []string{"/api/query?q=trend+count+of+any", "/api/catalog", "/api/users/u1", "/metrics", "/api/keys", "/api/cluster", "/api/queries"} {
		require.Equal(t, 403, n.do("GET", path, nil, "Authorization", bearer(k.Key)).status, path)
	}
	require.Equal(t, 403, n.post("/api/keys", `{"kind":"admin"}`, "Authorization", bearer(k.Key)).status)
}

func TestARevokedKeyIsRefusedFromTheAnswerOn(t *testing.T) {
	n := start(t, server.Options{})
	admin := n.makeKey("", `{"kind":"admin","name":"ops"}`).Key
	k := n.makeKey(admin, `{"kind":"write","source":"web"}`)
	var revoked atomic.Bool
	var wg sync.WaitGroup
	for c := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				before := revoked.Load()
				r := n.post("/api/events", event(c*1000+i), "Authorization", bearer(k.Key))
				switch {
				case r.status == 401:
					return
				case r.status != 200 || before:
					t.Errorf("revoked before: %v, answered %d", before, r.status)
					return
				}
			}
		})
	}
	require.Eventually(t, func() bool { return n.log.entries.Load() > 20 }, 10*time.Second, time.Millisecond)
	r := n.do("DELETE", "/api/keys/"+k.ID, nil, "Authorization", bearer(admin))
	require.Equal(t, `{"revoked":true}`, string(r.body))
	revoked.Store(true)
	wg.Wait()
	require.Equal(t, 404, n.do("DELETE", "/api/keys/"+k.ID, nil, "Authorization", bearer(admin)).status)
}

func TestKeysAreRotatedByTwosAndTheLastAdminStays(t *testing.T) {
	n := start(t, server.Options{})
	admin := n.makeKey("", `{"kind":"admin"}`)
	as := []string{"Authorization", bearer(admin.Key)}
	require.Equal(t, 401, n.do("GET", "/api/keys", nil).status, "the first admin key closes the door")
	first := n.makeKey(admin.Key, `{"kind":"write","source":"web","events":["home"]}`)
	require.Equal(t, "key_exists", n.post("/api/keys", `{"kind":"write","source":"web"}`, as...).errorCode(t))
	second := n.makeKey(admin.Key, `{"rotate":"web-write"}`)
	require.NotEqual(t, first.Key, second.Key)
	third := n.post("/api/keys", `{"rotate":"web-write"}`, as...)
	require.Equal(t, 409, third.status)
	require.Equal(t, "too_many_keys", third.errorCode(t))
	for _, k := range []madeKey{first, second} {
		require.Equal(t, 200, n.post("/api/events", event(1), "Authorization", bearer(k.Key)).status)
		require.Equal(t, "event_not_allowed", n.post("/api/events", strings.Replace(event(1), "home", "cart", 1), "Authorization", bearer(k.Key)).errorCode(t))
	}
	require.Equal(t, 200, n.do("DELETE", "/api/keys/"+first.ID, nil, as...).status)
	require.Equal(t, 401, n.post("/api/events", event(1), "Authorization", bearer(first.Key)).status)
	require.Equal(t, 200, n.post("/api/events", event(1), "Authorization", bearer(second.Key)).status)
	require.Equal(t, "not_found", n.post("/api/keys", `{"rotate":"nothing"}`, as...).errorCode(t))

	require.Equal(t, "last_admin_key", n.do("DELETE", "/api/keys/"+admin.ID, nil, as...).errorCode(t))
	other := n.makeKey(admin.Key, `{"rotate":"admin"}`)
	require.Equal(t, 200, n.do("DELETE", "/api/keys/"+admin.ID, nil, as...).status)
	require.Equal(t, 401, n.do("GET", "/api/keys", nil, as...).status)
	require.Equal(t, 200, n.do("GET", "/api/keys", nil, "Authorization", bearer(other.Key)).status)
}

func TestKeysMadeAtOnceNeverBecomeMoreThanTwoOfAName(t *testing.T) {
	n := start(t, server.Options{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	var shown []string
	for range 8 {
		wg.Go(func() {
			r := n.post("/api/keys", `{"kind":"write","source":"web"}`)
			if r.status == 409 {
				r = n.post("/api/keys", `{"rotate":"web-write"}`)
			}
			if r.status == 200 {
				var k madeKey
				if err := json.Unmarshal(r.body, &k); err != nil {
					t.Error(err)
				}
				mu.Lock()
				shown = append(shown, k.Key)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	require.Len(t, shown, 2)
	require.Len(t, n.log.db.Documents("key"), 2)
	for _, key := range shown {
		require.Equal(t, 200, n.post("/api/events", event(1), "Authorization", bearer(key)).status)
	}
}

// racing lets another node make a key of the same name in the moment before this node's is committed.
type racing struct {
	server.Backend
	first func()
}

func (r *racing) PutDocument(ctx context.Context, kind, name string, value []byte) (uint64, error) {
	if f := r.first; f != nil {
		r.first = nil
		f()
	}
	return r.Backend.PutDocument(ctx, kind, name, value)
}

func TestOfKeysThatTwoNodesMakeAtOnceTheEarlierInTheLogStands(t *testing.T) {
	other := start(t, server.Options{})
	race := &racing{Backend: other.back}
	n := startOver(t, race, server.Options{})
	var theirs madeKey
	race.first = func() { theirs = other.makeKey("", `{"kind":"write","source":"web"}`) }
	r := n.post("/api/keys", `{"kind":"write","source":"web"}`)
	require.Equal(t, 409, r.status, "%s", r.body)
	require.Len(t, other.log.db.Documents("key"), 1)
	require.Equal(t, 200, n.post("/api/events", event(1), "Authorization", bearer(theirs.Key)).status)
}

func TestBadCallsForKeysAreRefused(t *testing.T) {
	n := start(t, server.Options{})
	for body, code := range map[string]string{
		``: "malformed_json", `[]`: "malformed_json", `{"kind":"write","sauce":"web"}`: "malformed_json",
		`{}`: "bad_key", `{"kind":"owner"}`: "bad_key", `{"kind":"write"}`: "bad_key", `{"kind":"read","source":"web"}`: "bad_key",
		`{"kind":"read","rate":-1}`: "bad_key", `{"kind":"write","source":"web","origins":["web"]}`: "bad_key", `{"kind":"read","name":"a\nb"}`: "bad_key",
	} {
		r := n.post("/api/keys", body)
		require.Equal(t, 400, r.status, body)
		require.Equal(t, code, r.errorCode(t), body)
	}
	require.Zero(t, n.log.entries.Load())
	require.Equal(t, 404, n.do("DELETE", "/api/keys/0000", nil).status)
}

func TestAKeyMayBeBoundToSites(t *testing.T) {
	n := start(t, server.Options{})
	k := n.makeKey("", `{"kind":"write","source":"web","origins":["https://*.shop.example"]}`)
	good := n.post("/api/events", event(1), "Authorization", bearer(k.Key), "Origin", "https://www.shop.example")
	require.Equal(t, 200, good.status)
	require.Equal(t, "https://www.shop.example", good.header.Get("Access-Control-Allow-Origin"))
	require.Equal(t, 200, n.post("/api/events?writeKey="+k.Key, event(1), "Referer", "https://www.shop.example/cart?x=1").status, "a picture or a beacon has no Origin")
	for _, header := range [][]string{{"Origin", "https://evil.example"}, {"Origin", "null"}, {}, {"Referer", "https://evil.example/https://www.shop.example/"}} {
		bad := n.post("/api/events", event(2), append(header, "Authorization", bearer(k.Key))...)
		require.Equal(t, 403, bad.status, header)
		require.Equal(t, "origin_not_allowed", bad.errorCode(t))
		if header = append(header, "", ""); header[0] == "Origin" {
			require.Equal(t, header[1], bad.header.Get("Access-Control-Allow-Origin"), "who is refused must be able to read so")
		} else {
			require.Empty(t, bad.header.Get("Access-Control-Allow-Origin"))
		}
	}
}

func TestPagesCanReadWhyAWriteIsRefused(t *testing.T) {
	stopped := func() time.Duration { return time.Hour }
	dialects, ok := dialect.Mount(nil, segment.Segment{})
	require.True(t, ok)
	n := start(t, server.Options{MaxBodyBytes: 4 << 10, Elapsed: stopped, Dialects: dialects})
	web := n.makeKey("", `{"kind":"write","source":"web","origins":["https://shop.example"],"rate":2}`)
	reader := n.makeKey("", `{"kind":"read"}`)
	entries := n.log.entries.Load()
	const evil, shop = "https://evil.example", "https://shop.example"
	for _, c := range []struct {
		status          int
		verb, path      string
		body            string
		key, from, code string
	}{
		{403, "POST", "/api/events/batch", "[" + event(1) + "]", web.Key, evil, "origin_not_allowed"},
		{403, "POST", "/api/events", event(1), reader.Key, shop, "forbidden"},
		{401, "POST", "/api/events", event(1), "nobody", shop, "unauthorized"},
		{403, "POST", "/v1/batch", "{}", web.Key, evil, "origin_not_allowed"},
		{400, "POST", "/api/identify", "{}", web.Key, shop, "missing_person"},
		{405, "GET", "/api/events/batch", "", web.Key, shop, "method_not_allowed"},
		{413, "POST", "/api/events", strings.Repeat(" ", 5<<10), web.Key, shop, ""},
		{429, "POST", "/api/events", event(1), web.Key, shop, "rate_limited"},
	} {
		r := n.do(c.verb, c.path, []byte(c.body), "Origin", c.from, "X-Write-Key", c.key)
		require.Equal(t, c.status, r.status, "%s %s: %s", c.verb, c.path, r.body)
		if c.code != "" {
			require.Equal(t, c.code, r.errorCode(t), "%s %s", c.verb, c.path)
		}
		require.Equal(t, c.from, r.header.Get("Access-Control-Allow-Origin"), "%s %s", c.verb, c.path)
		require.Equal(t, []string{"Origin"}, r.header.Values("Vary"), "%s %s", c.verb, c.path)
		require.Contains(t, r.header.Get("Access-Control-Expose-Headers"), "Retry-After")
	}
	require.Equal(t, entries, n.log.entries.Load(), "nothing of it was stored")
}

func TestAKeyMayBeBoundToEventNames(t *testing.T) {
	n := start(t, server.Options{})
	k := n.makeKey("", `{"kind":"write","source":"web","events":["page_*","home"]}`)
	named := func(id int, name string) string { return strings.Replace(event(id), `"home"`, `"`+name+`"`, 1) }
	r := n.post("/api/events/batch", "["+named(1, "page_viewed")+","+named(2, "purchase")+","+named(3, "home")+"]", "Authorization", bearer(k.Key))
	require.Equal(t, 200, r.status)
	require.Contains(t, string(r.body), `{"accepted":2,"duplicates":0,"rejected":[{"index":1,"eventId":"e2","code":"event_not_allowed"`)
	// Another request in the same batch is not bound by it.
	require.Equal(t, 200, n.post("/api/events", named(2, "purchase")).status)
}

func TestAKeyThatComesTooOftenIsToldWhenToComeAgain(t *testing.T) {
	var clock atomic.Int64
	clock.Store(int64(time.Hour))
	n := start(t, server.Options{Elapsed: func() time.Duration { return time.Duration(clock.Load()) }})
	k := n.makeKey("", `{"kind":"write","source":"web","rate":10}`)
	other := n.makeKey("", `{"kind":"write","source":"app","rate":10}`)
	send := func(k madeKey, events int) reply {
		var b strings.Builder
		for i := range events {
			b.WriteString(event(i) + "\n")
		}
		return n.post("/api/events/batch", b.String(), "Authorization", bearer(k.Key))
	}
	require.Equal(t, 200, send(k, 100).status, "a batch is taken whole")
	r := send(k, 1)
	require.Equal(t, 429, r.status)
	require.Equal(t, "rate_limited", r.errorCode(t))
	require.Equal(t, "10", r.header.Get("Retry-After"), "90 are owed, and one is wanted")
	require.Equal(t, 200, send(other, 1).status)
	clock.Add(int64(9 * time.Second))
	require.Equal(t, 429, send(k, 1).status)
	clock.Add(int64(time.Second))
	require.Equal(t, 200, send(k, 1).status)
	require.Contains(t, string(n.do("GET", "/metrics", nil).body), "spoor_http_rate_limited_total 2\n")
}

func TestAddressesAreCountedBehindProxiesThatAreTrustedAndNoOthers(t *testing.T) {
	stopped := func() time.Duration { return time.Hour }
	n := start(t, server.Options{Elapsed: stopped, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")}})
	k := n.makeKey("", `{"kind":"write","source":"web","address_rate":1}`)
	from := func(n *node, k madeKey, forwarded string) int {
		return n.post("/api/events", event(1), "Authorization", bearer(k.Key), "X-Forwarded-For", forwarded).status
	}
	require.Equal(t, 200, from(n, k, "192.0.2.1"))
	require.Equal(t, 429, from(n, k, "192.0.2.1"))
	require.Equal(t, 200, from(n, k, "192.0.2.2, 10.1.2.3"))
	require.Equal(t, 429, from(n, k, "203.0.113.9, 192.0.2.2, 10.1.2.3"), "what the client wrote before the proxy's words is not believed")
	require.Equal(t, 200, from(n, k, "nonsense"), "the proxy's own")

	direct := start(t, server.Options{Elapsed: stopped})
	k = direct.makeKey("", `{"kind":"write","source":"web","address_rate":1}`)
	require.Equal(t, 200, from(direct, k, "192.0.2.1"))
	require.Equal(t, 429, from(direct, k, "192.0.2.2"))
}

func TestPagesOfOtherSitesCannotMakeKeysOnAMachineWithout(t *testing.T) {
	n := start(t, server.Options{})
	blind := n.post("/api/keys", `{"kind":"admin"}`, "Origin", "https://evil.example", "Content-Type", "text/plain")
	require.Equal(t, 403, blind.status)
	require.Equal(t, "bad_origin", blind.errorCode(t))
	require.Zero(t, n.log.entries.Load())
	require.Equal(t, 200, n.post("/api/keys", `{"kind":"admin"}`, "Origin", "http://"+n.addr).status, "its own page may")
}

func TestBeyondThisMachineKeysAreAskedForEvenIfThereAreNone(t *testing.T) {
	keys := &access.Ring{}
	keys.Require()
	n := start(t, server.Options{Keys: keys})
	require.Equal(t, 401, n.post("/api/events", event(1)).status)
	require.Equal(t, 401, n.post("/api/keys", `{"kind":"admin"}`).status)
	require.Equal(t, 200, n.do("GET", "/healthz", nil).status)
}
