package server

import (
	"bytes"

	"github.com/valyala/fasthttp"
)

// maxRequestHeaders bounds the list of header names that a preflight is granted, in bytes.
const maxRequestHeaders = 1024

// allowOrigin lets pages of any site post events: they carry a write key, which
// may only append, and no cookie means anything here. Some clients send
// credentials, so the origin is named, never "*". It answers a preflight itself
// and returns true then.
func allowOrigin(ctx *fasthttp.RequestCtx, methods string) (answered bool) {
	preflight := ctx.IsOptions()
	origin := ctx.Request.Header.Peek(fasthttp.HeaderOrigin)
	h := &ctx.Response.Header
	if len(origin) > 0 {
		h.SetBytesV(fasthttp.HeaderAccessControlAllowOrigin, origin)
		h.Set(fasthttp.HeaderAccessControlAllowCredentials, "true")
		h.Set(fasthttp.HeaderAccessControlExposeHeaders, "X-Spoor-Index, X-Spoor-Rejected, Retry-After")
		h.Add(fasthttp.HeaderVary, "Origin")
	}
	if !preflight {
		return false
	}
	h.Set(fasthttp.HeaderAllow, methods)
	h.Set(fasthttp.HeaderAccessControlAllowMethods, methods)
	h.Set(fasthttp.HeaderAccessControlMaxAge, "86400")
	wanted := ctx.Request.Header.Peek(fasthttp.HeaderAccessControlRequestHeaders)
	if len(wanted) == 0 || len(wanted) > maxRequestHeaders || bytes.ContainsFunc(wanted, notInHeaderList) {
		wanted = []byte("Authorization, Content-Type, Content-Encoding, X-Write-Key")
	}
	h.SetBytesV(fasthttp.HeaderAccessControlAllowHeaders, wanted)
	ctx.SetStatusCode(fasthttp.StatusNoContent)
	return true
}

func notInHeaderList(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		return false
	}
	return r != '-' && r != '_' && r != ',' && r != ' '
}
