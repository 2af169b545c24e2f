package spoor

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func got(target string, header ...string) *http.Request {
	r := httptest.NewRequest("GET", target, nil)
	r.RemoteAddr = "203.0.113.9:4711"
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

func TestARequestSaysWhereItComesFrom(t *testing.T) {
	r := got("https://shop.example/cart?utm_source=news&utm_campaign=may&token=secret&tab=2",
		"User-Agent", "Test/1", "X-Request-Id", "r-1", "Referer", "https://search.example/find?q=private#x",
		"Accept-Language", "de-DE;q=0.9, en", "Sec-GPC", "1", "Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	require.Equal(t, map[string]any{
		"method": "GET", "userAgent": "Test/1", "requestId": "r-1", "traceId": "0af7651916cd43dd8448eb211c80319c",
		"referrer": "https://search.example/find", "locale": "de-DE", "gpc": true, "ip": "203.0.113.9",
		"page":     map[string]any{"host": "shop.example", "path": "/cart", "search": "tab=2"},
		"utm":      map[string]any{"source": "news", "campaign": "may"},
		"campaign": "may",
	}, Requests{QueryParams: []string{"tab", "missing"}}.Context(r))
}

func TestARequestThatSaysNothingLeavesItOut(t *testing.T) {
	r := got("/x", "Traceparent", "garbage", "Referer", "http://[::1")
	require.Equal(t, map[string]any{"method": "GET", "page": map[string]any{"host": "example.com", "path": "/x"}}, Requests{NoIP: true}.Context(r))
}

func TestLongHeadersAreCut(t *testing.T) {
	members := Requests{}.Context(got("/"+strings.Repeat("p", 5000), "User-Agent", strings.Repeat("x", 5000)))
	require.Len(t, members["userAgent"], maxHeaderValue)
	require.Len(t, members["page"].(map[string]any)["path"], maxHeaderValue)
}

func TestForwardedAddressesAreBelievedFromTrustedProxiesOnly(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("10.0.0.0/8")}
	for _, c := range []struct {
		trusted []netip.Prefix
		header  string
		want    string
	}{
		{nil, "198.51.100.7", "203.0.113.9"},
		{trusted, "", "203.0.113.9"},
		{trusted, "198.51.100.7", "198.51.100.7"},
		{trusted, "1.1.1.1, 198.51.100.7, 10.2.3.4", "198.51.100.7"},
		{trusted, "1.1.1.1, garbage, 10.2.3.4", "10.2.3.4"},
		{trusted, "::ffff:198.51.100.7", "198.51.100.7"},
		{trusted, "2001:db8::1", "2001:db8::1"},
	} {
		r := got("/", "X-Forwarded-For", c.header)
		require.Equal(t, c.want, Requests{TrustedProxies: c.trusted}.Context(r)["ip"], "%+v", c)
	}
	r := got("/")
	r.RemoteAddr = "@"
	require.NotContains(t, Requests{}.Context(r), "ip")
}

func TestTheMiddlewarePutsItIntoEveryEventOfTheRequest(t *testing.T) {
	f := newFake(t)
	c := f.open(t)
	h := Requests{}.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		require.NoError(t, c.Track(r.Context(), User("u"), "bought", nil))
	}))
	h.ServeHTTP(httptest.NewRecorder(), got("/pay", "X-Request-Id", "r-7"))
	require.NoError(t, c.Close(background))
	require.Equal(t, "r-7", f.seen()[0].events[0]["context"].(map[string]any)["requestId"])
}
