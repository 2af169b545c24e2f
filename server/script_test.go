package server_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"spoor/server"
	"spoor/server/access"
	"spoor/server/sdkfile"
)

func TestPagesLoadTheScriptFromTheOperatorsPathWithoutAKey(t *testing.T) {
	script, err := sdkfile.New("/s.js", []byte("spoor()"))
	require.NoError(t, err)
	keys, err := access.NewRing([]string{"write-key-of-16-bytes"}, nil, nil)
	require.NoError(t, err)
	n := start(t, server.Options{Script: script, Keys: keys})
	plain := n.do("GET", "/s.js", nil, "Accept-Encoding", "identity", "Origin", "https://shop.example")
	require.Equal(t, 200, plain.status)
	require.Equal(t, "spoor()", string(plain.body))
	for name, value := range map[string]string{
		"Content-Type": "text/javascript; charset=utf-8", "Access-Control-Allow-Origin": "*", "Cross-Origin-Resource-Policy": "cross-origin", "X-Content-Type-Options": "nosniff",
	} {
		require.Equal(t, value, plain.header.Get(name), name)
	}
	hashed := n.do("GET", plain.header.Get("Content-Location"), nil, "Accept-Encoding", "gzip")
	require.Contains(t, hashed.header.Get("Cache-Control"), "immutable")
	z, err := gzip.NewReader(bytes.NewReader(hashed.body))
	require.NoError(t, err)
	text, err := io.ReadAll(z)
	require.NoError(t, err)
	require.Equal(t, "spoor()", string(text))
	require.Equal(t, 304, n.do("GET", "/s.js", nil, "Accept-Encoding", "gzip", "If-None-Match", hashed.header.Get("ETag")).status)
	head := n.do("HEAD", "/s.js", nil, "Accept-Encoding", "identity")
	require.Equal(t, "7", head.header.Get("Content-Length"))
	require.Empty(t, head.body)
	old := n.do("GET", "/s.0123456789abcdef.js", nil, "Accept-Encoding", "identity")
	require.Equal(t, "spoor()", string(old.body), "a page of before an upgrade goes on")
	require.NotContains(t, old.header.Get("Cache-Control"), "immutable")
	require.Equal(t, 405, n.post("/s.js", "").status)
	require.Contains(t, string(n.do("GET", "/", nil).body), `/s.js" data-write-key="KEY"></script>`)
}

func TestAServerWithoutAScriptHasNothingThere(t *testing.T) {
	n := start(t, server.Options{})
	require.Equal(t, 404, n.do("GET", "/s.js", nil).status)
	require.NotContains(t, string(n.do("GET", "/", nil).body), "<script")
}
