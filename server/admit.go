package server

import (
	"bytes"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"spoor/server/access"
	"spoor/server/nodes"
)

// caller is who sends a request, as far as it was asked for.
type caller struct {
	key     *access.Key // nil while no key is asked for
	address netip.Addr
}

type callerKey struct{}

// callerOf is who sends the request that was admitted.
func callerOf(ctx *fasthttp.RequestCtx) *caller {
	if c, ok := ctx.UserValue(callerKey{}).(*caller); ok {
		return c
	}
	return &caller{}
}

// tenant is the name under which the caller shares what is scarce.
func (c *caller) tenant() string {
	if c.key == nil {
		return ""
	}
	return c.key.ID
}

// source is kept with the caller's events.
func (c *caller) source() string {
	if c.key == nil {
		return ""
	}
	return c.key.Source
}

// allow tells which event names the caller may send; nil: all.
func (c *caller) allow() func(name []byte) bool {
	if c.key == nil || len(c.key.Events) == 0 {
		return nil
	}
	return c.key.AllowsEvent
}

// appendsOnly tells that the caller must not learn what is stored: whoever looks
// into a page has its write key.
func (c *caller) appendsOnly() bool { return c.key != nil && c.key.Role == access.Write }

// admit checks the key of a request in the places where every route may have
// one: the Authorization header or a session of the page, and for what pages of other sites send
// the header X-Write-Key and the argument writeKey of the address, since a beacon
// cannot set headers. There no session counts: any site may post.
func (s *Server) admit(ctx *fasthttp.RequestCtx, role access.Role, open bool) error {
	if role == access.Open {
		return nil
	}
	h := &ctx.Request.Header
	header := access.FromAuthorization(h.Peek(fasthttp.HeaderAuthorization))
	if !open {
		return s.admitKey(ctx, role, open, header, s.sessionKey(ctx))
	}
	return s.admitKey(ctx, role, open, header, h.Peek("X-Write-Key"), ctx.QueryArgs().Peek("writeKey"))
}

// admitKey lets a request pass whose key is for role, or is not asked for. The
// candidates are the texts that may be the key, see access.Ring.Identify. open
// tells that pages of any site may come here. callerOf knows the caller then.
//
// Without keys, what may be read or changed is for requests alone that name this
// machine by address or as localhost and come from no page of another site: a
// page whose own name points at this address is refused, and one that posts blindly.
func (s *Server) admitKey(ctx *fasthttp.RequestCtx, role access.Role, open bool, candidates ...[]byte) error {
	h := &ctx.Request.Header
	key, verdict := s.opts.Keys.Admit(role, candidates...)
	switch verdict {
	case access.Denied:
		return fail(fasthttp.StatusForbidden, "forbidden", "this key may not do that; a key of the kind %s is needed", role)
	case access.Missing:
		h := &ctx.Response.Header
		h.Set(fasthttp.HeaderWWWAuthenticate, "Bearer")
		return fail(fasthttp.StatusUnauthorized, "unauthorized", "a key of the kind %s is needed, as Authorization: Bearer KEY", role)
	case access.Unknown:
		ctx.Response.Header.Set(fasthttp.HeaderWWWAuthenticate, "Bearer")
		return fail(fasthttp.StatusUnauthorized, "unauthorized", "the key is not known")
	}
	origin := h.Peek(fasthttp.HeaderOrigin)
	if key == nil && !open {
		switch {
		case !access.IsLocalName(string(ctx.Host())):
			return fail(fasthttp.StatusForbidden, "bad_host", "without keys the server answers only to localhost and addresses; use http://127.0.0.1, or make keys")
		case len(origin) > 0 && !isOwnOrigin(origin, ctx.Host()):
			return fail(fasthttp.StatusForbidden, "bad_origin", "without keys pages of other sites may send events and nothing else; make keys")
		}
	}
	if key != nil && !key.AllowsOrigin(access.OriginOf(origin, h.Referer())) {
		// The answer names the origin like any other: a page that may not read it would try again for ever.
		return fail(fasthttp.StatusForbidden, "origin_not_allowed", "this key is for pages of other sites")
	}
	who := &caller{key: key, address: s.clientAddress(ctx)}
	ctx.SetUserValue(callerKey{}, who)
	if wait := s.limits.Wait(key, who.address, s.opts.Elapsed()); wait > 0 {
		s.metrics.limited.Inc()
		return fail(fasthttp.StatusTooManyRequests, "rate_limited", "this key has sent as much as it may per second; nothing was stored, send it again later").after(wait)
	}
	s.limits.Spend(key, who.address, 1, s.opts.Elapsed())
	return nil
}

// spend counts the events of a request against the caller's rates; the first
// was counted when the request was admitted.
func (s *Server) spend(who *caller, events int) {
	s.limits.Spend(who.key, who.address, events-1, s.opts.Elapsed())
}

// isOwnOrigin tells whether a page was loaded from the address that it talks to.
func isOwnOrigin(origin, host []byte) bool {
	_, from, ok := bytes.Cut(origin, []byte("://"))
	return ok && bytes.EqualFold(from, host)
}

// clientAddress is the address that a request comes from: that of the
// connection, or behind a proxy that is trusted the last one in X-Forwarded-For
// that is no such proxy. What stands before it anybody may have written. Another
// node says for whom it carries a request, on the port that is for nodes alone.
func (s *Server) clientAddress(ctx *fasthttp.RequestCtx) netip.Addr {
	if client, forwarded := nodes.WasForwarded(ctx); forwarded {
		return client // as the node found it that it came to
	}
	var peer netip.Addr
	if tcp, ok := ctx.RemoteAddr().(*net.TCPAddr); ok {
		peer = tcp.AddrPort().Addr().Unmap()
	}
	if !s.isTrusted(peer) {
		return peer
	}
	lines := ctx.Request.Header.PeekAll(fasthttp.HeaderXForwardedFor)
	for i := len(lines) - 1; i >= 0; i-- {
		hops := strings.Split(string(lines[i]), ",")
		for j := len(hops) - 1; j >= 0; j-- {
			hop, err := netip.ParseAddr(strings.TrimSpace(hops[j]))
			if err != nil {
				return peer
			}
			if peer = hop.Unmap(); !s.isTrusted(peer) {
				return peer
			}
		}
	}
	return peer
}

func (s *Server) isTrusted(a netip.Addr) bool {
	for _, p := range s.opts.TrustedProxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// maxRetryAfter bounds what clients are told to wait: some heed no longer times.
const maxRetryAfter = 300 * time.Second

// after says when to come again.
func (f *failure) after(wait time.Duration) *failure {
	wait = min(wait, maxRetryAfter)
	f.retry = max(1, int((wait+time.Second-1)/time.Second))
	return f
}

// maxRequestHeaders bounds the list of header names that a preflight is granted, in bytes.
const maxRequestHeaders = 1024

// allowOrigin lets pages of any site post events: they carry a write key, which
// may only append, and no cookie means anything here. Some clients send
// credentials, so the origin is named, never "*". It answers a preflight itself
// and returns true then.
func allowOrigin(ctx *fasthttp.RequestCtx, methods string) (answered bool) {
	nameOrigin(ctx)
	if !ctx.IsOptions() {
		return false
	}
	h := &ctx.Response.Header
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

// nameOrigin lets the page that asked read the answer, errors too: it learns of them
// nothing but what a program would, and without a status its SDK could not tell a
// refusal for good from a network that is down.
func nameOrigin(ctx *fasthttp.RequestCtx) {
	origin := ctx.Request.Header.Peek(fasthttp.HeaderOrigin)
	if len(origin) == 0 {
		return
	}
	h := &ctx.Response.Header
	h.SetBytesV(fasthttp.HeaderAccessControlAllowOrigin, origin)
	h.Set(fasthttp.HeaderAccessControlAllowCredentials, "true")
	h.Set(fasthttp.HeaderAccessControlExposeHeaders, "X-Spoor-Index, Spoor-Session, X-Spoor-Rejected, Retry-After")
	h.Add(fasthttp.HeaderVary, "Origin")
}

func notInHeaderList(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		return false
	}
	return r != '-' && r != '_' && r != ',' && r != ' '
}
