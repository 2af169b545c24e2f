// Package dashboard is the page that the binary serves: what people do, for those
// who do not write queries. Its sources are in web/; what stands here beside this
// file is built of them by `make web`, under names that do not change, and is
// committed, so that the binary is built without Node.
//
// It stands outside of the way of an event: it is a few files that a browser runs,
// and talks to the API as any other client does.
package dashboard

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"strings"
	"sync"

	"github.com/valyala/fasthttp"
)

//go:embed index.html
var index []byte

//go:embed ui/app.js
var script []byte

//go:embed ui/app.css
var style []byte

//go:embed ui/icon.svg
var icon []byte

// Policy is what the page may do: run its own script and talk to its own server.
// No text of an event can become a script, since none that stands in the page runs.
const Policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// file is what is served at one path.
type file struct {
	kind  string
	plain []byte
	tag   string // ETag, of the plain bytes
	small []byte // gzip
}

// iconPath is asked for whenever the address changes, so browsers may keep it for a day.
const iconPath = "/ui/icon.svg"

// files are by path.
var files = sync.OnceValue(func() map[string]*file {
	all := map[string]*file{
		"/":           {kind: "text/html; charset=utf-8", plain: index},
		"/ui/app.js":  {kind: "text/javascript; charset=utf-8", plain: script},
		"/ui/app.css": {kind: "text/css; charset=utf-8", plain: style},
		iconPath:      {kind: "image/svg+xml", plain: icon},
	}
	for _, f := range all {
		sum := sha256.Sum256(f.plain)
		f.tag = `"` + hex.EncodeToString(sum[:8]) + `"`
		f.small = compressed(f.plain)
	}
	return all
})

// Paths are those of the files that belong to the page at /.
func Paths() []string { return []string{"/ui/app.js", "/ui/app.css", iconPath} }

func compressed(plain []byte) []byte {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		panic(err) // the level is a constant
	}
	w.Write(plain) // a bytes.Buffer does not fail
	w.Close()
	return out.Bytes()
}

// Wanted tells whether a request for / is one of a browser that shows pages, not of a program.
func Wanted(ctx *fasthttp.RequestCtx) bool {
	return strings.Contains(string(ctx.Request.Header.Peek(fasthttp.HeaderAccept)), "text/html")
}

// Serve answers with the file at a path, which is / or one of Paths. Names do not
// change with the content, so browsers ask each time whether what they have still
// holds.
func Serve(ctx *fasthttp.RequestCtx, path string) {
	f := files()[path]
	h := &ctx.Response.Header
	h.SetContentType(f.kind)
	h.Set(fasthttp.HeaderContentSecurityPolicy, Policy)
	h.Set(fasthttp.HeaderXContentTypeOptions, "nosniff")
	h.Set(fasthttp.HeaderReferrerPolicy, "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set(fasthttp.HeaderCacheControl, "no-cache")
	if path == iconPath {
		h.Set(fasthttp.HeaderCacheControl, "max-age=86400")
	}
	h.Set(fasthttp.HeaderETag, f.tag)
	h.Set(fasthttp.HeaderVary, "Accept, Accept-Encoding")
	if strings.Contains(string(ctx.Request.Header.Peek(fasthttp.HeaderIfNoneMatch)), f.tag) {
		ctx.SetStatusCode(fasthttp.StatusNotModified)
		return
	}
	if ctx.Request.Header.HasAcceptEncoding("gzip") {
		h.Set(fasthttp.HeaderContentEncoding, "gzip")
		ctx.Response.SetBodyRaw(f.small)
		return
	}
	ctx.Response.SetBodyRaw(f.plain)
}
