package server_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/server"
	"spoor/server/access"
	"spoor/server/dashboard"
)

func TestBrowsersGetThePageAndProgramsWhatToTry(t *testing.T) {
	n := start(t, server.Options{})
	page := n.do("GET", "/", nil, "Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	require.Equal(t, 200, page.status)
	require.Equal(t, "text/html; charset=utf-8", page.header.Get("Content-Type"))
	require.Equal(t, dashboard.Policy, page.header.Get("Content-Security-Policy"))
	require.NotContains(t, dashboard.Policy, "unsafe")
	require.Contains(t, string(n.do("GET", "/", nil).body), "curl")
	require.Contains(t, string(n.do("GET", "/", nil, "Accept", "*/*").body), "curl")

	// The page needs what is served beside it, and holds no script and no style itself.
	var names []string
	for _, m := range regexp.MustCompile(`(?:src|href)="\.(/[^"]+)"`).FindAllStringSubmatch(string(page.body), -1) {
		names = append(names, m[1])
	}
	require.ElementsMatch(t, dashboard.Paths(), names)
	require.NotRegexp(t, `<script[^>]*>[^<]|<style|\son[a-z]+=|\sstyle=`, string(page.body))
	for _, name := range names {
		file := n.do("GET", name, nil)
		require.Equal(t, 200, file.status, name)
		require.Equal(t, "nosniff", file.header.Get("X-Content-Type-Options"))
		if strings.HasSuffix(name, ".svg") {
			require.Equal(t, "max-age=86400", file.header.Get("Cache-Control"))
		} else {
			require.Equal(t, "no-cache", file.header.Get("Cache-Control"))
		}
		again := n.do("GET", name, nil, "If-None-Match", file.header.Get("ETag"))
		require.Equal(t, http.StatusNotModified, again.status, name)
		require.Empty(t, again.body)
		packed := n.do("GET", name, nil, "Accept-Encoding", "gzip")
		require.Equal(t, "gzip", packed.header.Get("Content-Encoding"))
		require.Less(t, len(packed.body), len(file.body))
	}
}

// pageBytes is what the page may weigh on its way, compressed.
const pageBytes = 80 << 10

func TestThePageIsLight(t *testing.T) {
	n := start(t, server.Options{})
	sum := len(n.do("GET", "/", nil, "Accept", "text/html", "Accept-Encoding", "gzip").body)
	for _, name := range dashboard.Paths() {
		sum += len(n.do("GET", name, nil, "Accept-Encoding", "gzip").body)
	}
	t.Logf("%d bytes", sum)
	require.Less(t, sum, pageBytes)
}

const (
	readKey  = "read-key-0123456789abcdef"
	adminKey = "admin-key-0123456789abcdef"
	writeKey = "write-key-0123456789abcdef"
)

func withKeys(t *testing.T, opts server.Options) *node {
	ring, err := access.NewRing([]string{writeKey}, []string{readKey}, []string{adminKey})
	require.NoError(t, err)
	opts.Keys = ring
	return start(t, opts)
}

// signIn returns the session's cookie.
func (n *node) signIn(key string) string {
	n.t.Helper()
	r := n.do("POST", "/api/session", []byte(`{"key":"`+key+`"}`), "X-Spoor-Session", "1")
	require.Equal(n.t, 200, r.status, "%s", r.body)
	cookie := r.header.Get("Set-Cookie")
	require.Regexp(n.t, `^spoor_session=[A-Za-z0-9_-]{43}; `, cookie)
	for _, part := range []string{"HttpOnly", "SameSite=Strict", "path=/", "max-age=604800"} {
		require.Contains(n.t, cookie, part)
	}
	require.NotContains(n.t, cookie, key)
	cookie, _, _ = strings.Cut(cookie, ";")
	return cookie
}

func TestASessionStandsForTheKeyThatItWasOpenedWith(t *testing.T) {
	n := withKeys(t, server.Options{})
	require.Equal(t, `{"required":true,"role":"","name":""}`, string(n.do("GET", "/api/session", nil).body))
	cookie := n.signIn(readKey)
	page := []string{"Cookie", cookie, "X-Spoor-Session", "1"}
	require.Equal(t, `{"required":true,"role":"read","name":"--read-key"}`, string(n.do("GET", "/api/session", nil, page...).body))
	require.Equal(t, 200, n.do("POST", "/api/query", []byte("trend count of any"), page...).status)
	require.Equal(t, 403, n.do("PUT", "/api/queries/x", []byte("trend count of any"), page...).status, "a read key changes nothing")
	admin := []string{"Cookie", n.signIn(adminKey), "X-Spoor-Session", "1"}
	require.Equal(t, 200, n.do("PUT", "/api/queries/x", []byte("trend count of any"), admin...).status)

	require.Equal(t, 200, n.do("DELETE", "/api/session", nil, page...).status)
	require.Equal(t, 401, n.do("POST", "/api/query", []byte("trend count of any"), page...).status, "who signed out is out")
	require.Equal(t, 200, n.do("POST", "/api/query", []byte("trend count of any"), admin...).status)
}

func TestACookieAloneCountsForNothing(t *testing.T) {
	n := withKeys(t, server.Options{})
	cookie := n.signIn(adminKey)
	require.Equal(t, 401, n.do("POST", "/api/query", []byte("trend count of any"), "Cookie", cookie).status, "a form of another site sends no header")
	require.Equal(t, 401, n.do("POST", "/api/admin/flush", nil, "Cookie", cookie, "Origin", "https://evil.example").status)
	// Where pages of any site may post, no session counts, with the header neither.
	require.Equal(t, 401, n.do("POST", "/api/events", []byte(event(1)), "Cookie", cookie, "X-Spoor-Session", "1").status)
	// No other site learns that it may send the header.
	preflight := n.do("OPTIONS", "/api/query", nil, "Origin", "https://evil.example", "Access-Control-Request-Headers", "x-spoor-session")
	require.Equal(t, 405, preflight.status)
	require.Empty(t, preflight.header.Get("Access-Control-Allow-Headers"))
	require.Equal(t, 401, n.do("POST", "/api/query", []byte("trend count of any"), "Cookie", "spoor_session=made-up", "X-Spoor-Session", "1").status)
}

func TestOnlyReadAndAdminKeysSignIn(t *testing.T) {
	n := withKeys(t, server.Options{})
	ask := func(body string, header ...string) reply {
		return n.do("POST", "/api/session", []byte(body), header...)
	}
	require.Equal(t, "forbidden", ask(`{"key":"`+writeKey+`"}`, "X-Spoor-Session", "1").errorCode(t))
	require.Equal(t, "unauthorized", ask(`{"key":"another-key-0123456789"}`, "X-Spoor-Session", "1").errorCode(t))
	require.Equal(t, "unauthorized", ask(`{"key":""}`, "X-Spoor-Session", "1").errorCode(t))
	require.Equal(t, "bad_origin", ask(`{"key":"`+readKey+`"}`).errorCode(t), "nobody is signed in by a form of another site")
	require.Equal(t, 400, ask(`{"password":"x"}`, "X-Spoor-Session", "1").status)
	require.Empty(t, ask(`{"key":"another-key-0123456789"}`, "X-Spoor-Session", "1").header.Get("Set-Cookie"))
	behind := ask(`{"key":"`+readKey+`"}`, "X-Spoor-Session", "1", "X-Forwarded-Proto", "https")
	require.Contains(t, behind.header.Get("Set-Cookie"), "secure")
}

func TestASessionEndsWithItsTimeAndWithItsKey(t *testing.T) {
	at := now()
	n := withKeys(t, server.Options{Now: func() time.Time { return at }})
	page := []string{"Cookie", n.signIn(readKey), "X-Spoor-Session", "1"}
	require.Equal(t, 200, n.do("GET", "/api/queries", nil, page...).status)
	made := n.do("POST", "/api/keys", []byte(`{"kind":"read","name":"guest"}`), "Authorization", "Bearer "+adminKey).json(t)
	guest := []string{"Cookie", n.signIn(made["key"].(string)), "X-Spoor-Session", "1"}
	require.Equal(t, 200, n.do("GET", "/api/queries", nil, guest...).status)
	require.Equal(t, 200, n.do("DELETE", "/api/keys/"+made["id"].(string), nil, "Authorization", "Bearer "+adminKey).status)
	require.Equal(t, 401, n.do("GET", "/api/queries", nil, guest...).status)
	at = at.Add(access.SessionLife)
	require.Equal(t, 401, n.do("GET", "/api/queries", nil, page...).status)
}

func TestWithoutKeysNobodySignsIn(t *testing.T) {
	n := start(t, server.Options{})
	require.Equal(t, `{"required":false,"role":"admin","name":""}`, string(n.do("GET", "/api/session", nil).body))
	require.Equal(t, 200, n.do("POST", "/api/query", []byte("trend count of any"), "X-Spoor-Session", "1").status)
}

func TestBoardsAreKeptInTheLog(t *testing.T) {
	n := withKeys(t, server.Options{})
	admin := []string{"Authorization", "Bearer " + adminKey}
	read := []string{"Authorization", "Bearer " + readKey}
	body := []byte(`{"title":"Shop","tiles":[{"title":"Views","query":"trend count of any every day","wide":true}]}`)
	require.Equal(t, 403, n.do("PUT", "/api/boards/shop", body, read...).status)
	require.Equal(t, 200, n.do("PUT", "/api/boards/shop", body, admin...).status)
	require.Equal(t, `{"name":"shop","index":1,"title":"Shop","tiles":[{"title":"Views","query":"trend count of any every day","wide":true}]}`, string(n.do("GET", "/api/boards/shop", nil, read...).body))
	require.Contains(t, string(n.do("GET", "/api/boards", nil, read...).body), `"boards":[{"name":"shop"`)
	wrong := n.do("PUT", "/api/boards/shop", []byte(`{"title":"Shop","tiles":[{"title":"Views","query":"trend counts"}]}`), admin...)
	require.Equal(t, 400, wrong.status)
	require.Equal(t, "syntax", wrong.errorCode(t))
	require.Equal(t, 200, n.do("DELETE", "/api/boards/shop", nil, admin...).status)
	require.Equal(t, 404, n.do("GET", "/api/boards/shop", nil, read...).status)
}

func TestThePersonsOfANumberAreListed(t *testing.T) {
	n := start(t, server.Options{})
	n.post("/api/events/batch", `[{"eventName":"a","userId":"u1","timestamp":"2026-05-01T10:00:00Z","properties":{"x":"p"}},{"eventName":"b","userId":"u1","timestamp":"2026-05-01T11:00:00Z"},
		{"eventName":"a","userId":"u2","timestamp":"2026-05-01T10:00:00Z","properties":{"x":"q"}}]`)
	const funnel = "funnel a -> b within 1d by x last 7d"
	users := func(args, query string) any { return n.post("/api/query/persons?"+args, query).json(t)["users"] }
	require.Equal(t, []any{"u1", "u2"}, users("step=1", funnel))
	require.Equal(t, []any{"u1"}, users("step=2", funnel))
	require.Equal(t, []any{"u2"}, users("step=1&lost=1", funnel))
	require.Equal(t, []any{"u2"}, users("step=1&group=%5B%22q%22%5D", funnel))
	require.Equal(t, []any{"u2"}, users("step=1&after=u1&limit=1", funnel))
	require.Equal(t, []any{"u1", "u2"}, users("cohort=6", "retention a -> b for 2 last 7d"))
	require.Equal(t, []any{"u1"}, users("cohort=6&column=0", `{"query":"retention a -> b for 2 last 7d"}`))
	for _, args := range []string{"", "step=0", "step=3", "step=x", "step=1&limit=0", "step=1&limit=1001", "step=1&group=q", "step=1&group=null", "step=2&lost=1"} {
		r := n.post("/api/query/persons?"+args, funnel)
		require.Equal(t, 400, r.status, args)
		require.Equal(t, "bad_place", r.errorCode(t), args)
	}
	require.Equal(t, "syntax", n.post("/api/query/persons?step=1", "funnel ->").errorCode(t))
	require.Equal(t, "bad_place", n.post("/api/query/persons?step=1", "trend count of a").errorCode(t))
}
