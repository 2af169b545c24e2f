// Package sdkfile serves the SDK for web pages as a file: first-party, from the
// address to which it sends, so that one line of HTML starts tracking.
//
// The file has two kinds of addresses. Its own, such as /s.js, is what pages
// name for good: it is cached for minutes and asked for again by its ETag. The
// other one holds the hash of the bytes, /s.0123456789abcdef.js, and is cached for a year.
package sdkfile

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"
)

// MaxPathBytes bounds the path of the file.
const MaxPathBytes = 64

const (
	hashBytes = 8
	// forMinutes is for the address that stays: browsers use what they have for a
	// day more, while they look for something newer.
	forMinutes = "public, max-age=600, stale-while-revalidate=86400"
	forAYear   = "public, max-age=31536000, immutable"
)

// File is a script at a path. It is immutable.
type File struct {
	path, before, after string // the path, and what goes before and behind the hash in the other one
	hash                string
	plain, packed       []byte
}

// New returns a script at a path, which an operator chooses: letters, digits and
// -_./ with at most MaxPathBytes, from a slash on. Ad blockers know usual names.
func New(at string, script []byte) (*File, error) {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./"
	first, _, _ := strings.Cut(strings.TrimPrefix(at, "/"), "/")
	switch {
	case len(at) < 2 || len(at) > MaxPathBytes || at[0] != '/' || strings.Trim(at, letters) != "" || path.Clean(at) != at:
		return nil, fmt.Errorf("the path %.100q has to be a slash and up to %d letters, digits and -_./, such as /s.js", at, MaxPathBytes-1)
	case first == "api" || first == "metrics" || first == "healthz" || first == "readyz" || first == "openapi.yaml":
		return nil, fmt.Errorf("the path %q is the server's own", at)
	}
	sum := sha256.Sum256(script)
	extension := path.Ext(at)
	f := &File{path: at, before: strings.TrimSuffix(at, extension) + ".", after: extension, hash: hex.EncodeToString(sum[:hashBytes]), plain: script}
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err == nil {
		_, err = w.Write(script)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("compress the script: %w", err)
	}
	f.packed = packed.Bytes()
	return f, nil
}

// Path is the address that stays.
func (f *File) Path() string { return f.path }

// Pattern is the address with the hash, which a star stands for.
func (f *File) Pattern() string { return f.before + "*" + f.after }

// HashPath is the address with the hash.
func (f *File) HashPath() string { return f.before + f.hash + f.after }

// Serve answers a request for the file. hash is that in the address, empty for
// the one that stays. A hash of another version is answered with this one, which
// is not kept for long: a page that was made before an upgrade goes on.
func (f *File) Serve(ctx *fasthttp.RequestCtx, hash string) error {
	h := &ctx.Response.Header
	body, tag := f.plain, f.hash
	if takesGzip(string(ctx.Request.Header.Peek(fasthttp.HeaderAcceptEncoding))) {
		body, tag = f.packed, f.hash+"-gzip" // other bytes, another tag
		h.Set(fasthttp.HeaderContentEncoding, "gzip")
	}
	tag = `"` + tag + `"`
	h.Set(fasthttp.HeaderVary, fasthttp.HeaderAcceptEncoding)
	h.Set(fasthttp.HeaderETag, tag)
	h.Set(fasthttp.HeaderCacheControl, forMinutes)
	if hash == f.hash {
		h.Set(fasthttp.HeaderCacheControl, forAYear)
	}
	// Pages of any site load it, also those that isolate themselves or check its hash.
	h.Set(fasthttp.HeaderAccessControlAllowOrigin, "*")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	h.Set(fasthttp.HeaderXContentTypeOptions, "nosniff")
	h.Set("Content-Location", f.HashPath())
	if matches(string(ctx.Request.Header.Peek(fasthttp.HeaderIfNoneMatch)), tag) {
		h.Del(fasthttp.HeaderContentEncoding)
		ctx.SetStatusCode(fasthttp.StatusNotModified)
		return nil
	}
	h.SetContentType("text/javascript; charset=utf-8")
	ctx.Response.SetBodyRaw(body)
	return nil
}

// matches tells whether a list of tags, as If-None-Match has it, holds one.
func matches(list, tag string) bool {
	for item := range strings.SplitSeq(list, ",") {
		if item = strings.TrimPrefix(strings.TrimSpace(item), "W/"); item == tag || item == "*" {
			return true
		}
	}
	return false
}

// takesGzip reads Accept-Encoding.
func takesGzip(list string) bool {
	any := false
	for item := range strings.SplitSeq(list, ",") {
		name, params, _ := strings.Cut(item, ";")
		name = strings.ToLower(strings.TrimSpace(name))
		if name != "gzip" && name != "*" {
			continue
		}
		wanted := true
		for param := range strings.SplitSeq(params, ";") {
			if q, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(param)), "q="); ok {
				weight, err := strconv.ParseFloat(q, 64)
				wanted = err == nil && weight > 0
			}
		}
		if name == "gzip" {
			return wanted // it is named: the star is for others
		}
		any = wanted
	}
	return any
}
