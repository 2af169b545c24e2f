package sdkfile

import (
	"bytes"
	"compress/gzip"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"
)

const script = "console.log(1);console.log(1);console.log(1);console.log(1)"

// get answers a request with headers, given as name, value, ...
func get(t *testing.T, f *File, hash string, header ...string) *fasthttp.Response {
	t.Helper()
	var ctx fasthttp.RequestCtx
	for i := 0; i < len(header); i += 2 {
		ctx.Request.Header.Set(header[i], header[i+1])
	}
	require.NoError(t, f.Serve(&ctx, hash))
	return &ctx.Response
}

func TestAPathIsTheOperatorsChoice(t *testing.T) {
	for at, pattern := range map[string]string{"/s.js": "/s.*.js", "/assets/app.min.js": "/assets/app.min.*.js", "/x": "/x.*", "/a.b/c": "/a.b/c.*"} {
		f, err := New(at, []byte(script))
		require.NoError(t, err)
		require.Equal(t, pattern, f.Pattern())
		require.Equal(t, strings.Replace(pattern, "*", f.hash, 1), f.HashPath())
	}
	for _, at := range []string{"", "/", "s.js", "/api/s.js", "/metrics", "/openapi.yaml", "/a//b", "/a/../b", "/s.js/", "/sp ace", "/ü", "/*", "/" + strings.Repeat("x", MaxPathBytes)} {
		_, err := New(at, []byte(script))
		require.Error(t, err, at)
	}
}

func TestTheAddressWithTheHashIsForEverAndOthersForMinutes(t *testing.T) {
	f, err := New("/s.js", []byte(script))
	require.NoError(t, err)
	other, err := New("/s.js", []byte(script+";"))
	require.NoError(t, err)
	require.NotEqual(t, f.HashPath(), other.HashPath())
	require.Contains(t, string(get(t, f, f.hash).Header.Peek("Cache-Control")), "immutable")
	for _, hash := range []string{"", other.hash} {
		r := get(t, f, hash)
		require.NotContains(t, string(r.Header.Peek("Cache-Control")), "immutable")
		require.Equal(t, script, string(r.Body()))
		require.Equal(t, f.HashPath(), string(r.Header.Peek("Content-Location")))
	}
}

func TestItIsCompressedForThoseWhoTakeIt(t *testing.T) {
	f, err := New("/s.js", []byte(script))
	require.NoError(t, err)
	for accepted, want := range map[string]bool{
		"": false, "gzip": true, "br, GZIP;q=0.5": true, "gzip;q=0": false, "gzip; q=0.000, *": false, "*": true, "*;q=0": false, "br": false, "gzip;q=x": false,
	} {
		r := get(t, f, "", "Accept-Encoding", accepted)
		require.Equal(t, "Accept-Encoding", string(r.Header.Peek("Vary")))
		require.Equal(t, want, string(r.Header.Peek("Content-Encoding")) == "gzip", accepted)
		body := r.Body()
		if want {
			z, err := gzip.NewReader(bytes.NewReader(body))
			require.NoError(t, err)
			body, err = io.ReadAll(z)
			require.NoError(t, err)
		}
		require.Equal(t, script, string(body))
	}
	require.NotEqual(t, get(t, f, "").Header.Peek("ETag"), get(t, f, "", "Accept-Encoding", "gzip").Header.Peek("ETag"))
}

func TestWhoHasItIsToldSo(t *testing.T) {
	f, err := New("/s.js", []byte(script))
	require.NoError(t, err)
	tag := string(get(t, f, "", "Accept-Encoding", "gzip").Header.Peek("ETag"))
	for list, status := range map[string]int{tag: 304, `"x", W/` + tag: 304, "*": 304, `"x"`: 200, "": 200, tag[1:]: 200} {
		r := get(t, f, "", "Accept-Encoding", "gzip", "If-None-Match", list)
		require.Equal(t, status, r.StatusCode(), list)
		require.Equal(t, tag, string(r.Header.Peek("ETag")))
		require.Equal(t, status == 304, len(r.Body()) == 0)
	}
}
