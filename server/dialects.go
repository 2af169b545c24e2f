package server

import (
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/valyala/fasthttp"

	"spoor/server/access"
	"spoor/server/calls"
	"spoor/server/collect"
	"spoor/server/dialect"
	"spoor/server/inflate"
	"spoor/server/nodes"
)

// dialectMethods are what paths of dialects take: some clients GET what others POST.
const dialectMethods = "GET, HEAD, POST, OPTIONS"

// serveDialect serves a request in the words of another system.
func (s *Server) serveDialect(ctx *fasthttp.RequestCtx, d dialect.Dialect, run dialect.Handler) {
	var err error
	if ctx.IsGet() || ctx.IsHead() || ctx.IsPost() {
		err = run(&dialect.Exchange{Ctx: ctx, Host: &host{s: s}})
	} else {
		ctx.Response.Header.Set("Allow", dialectMethods)
		err = fail(fasthttp.StatusMethodNotAllowed, "method_not_allowed", "this path takes %s", dialectMethods)
	}
	if err == nil {
		return
	}
	var r *dialect.Refusal
	f := &failure{}
	if !errors.As(err, &r) {
		f = s.failureOf(err)
		r = &dialect.Refusal{Status: f.status, Code: f.code, Message: f.message, RetryAfter: f.retry}
	}
	if r.Code == codeNotLeader {
		nodes.SayNotLeader(ctx)
	}
	if r.Status == fasthttp.StatusInternalServerError {
		s.log.Error("request failed", "method", string(ctx.Method()), "dialect", d.Name(), "error", err)
	}
	told := d.Refusal(*r)
	ctx.SetStatusCode(told.Status)
	if told.RetryAfter > 0 {
		ctx.Response.Header.Set(fasthttp.HeaderRetryAfter, strconv.Itoa(told.RetryAfter))
	}
	if f.close {
		ctx.SetConnectionClose()
	}
	if told.Body == nil {
		told.Body = appendError(nil, told.Code, told.Message)
	}
	answer(ctx, told.Body)
}

// host is the server as its dialects see it, for one request.
type host struct {
	s    *Server
	body *body // of the request, once it was read
}

// Admit grants a request whose key, by what the dialect found or where native
// requests have theirs, may write.
func (h *host) Admit(ctx *fasthttp.RequestCtx, key []byte) (source string, err error) {
	header := &ctx.Request.Header
	err = h.s.admitKey(ctx, access.Write, true, key, dialect.KeyOf(header), header.Peek("X-Write-Key"), ctx.QueryArgs().Peek("writeKey"))
	return callerOf(ctx).source(), err
}

// dialectBodyShare is the part of the largest body that one of a dialect may
// have: it is in memory once more in the words of the native API.
const dialectBodyShare = 2

func (h *host) Body(ctx *fasthttp.RequestCtx) (data []byte, free func(), err error) {
	b, err := h.s.readBodyIn(ctx, h.s.opts.MaxBodyBytes/dialectBodyShare, bodyKind{events: true})
	if err != nil {
		return nil, nil, err
	}
	h.body = b
	return b.data, func() {
		h.body = nil
		b.release()
	}, nil
}

func (h *host) Inflate(packed []byte) (data []byte, free func(), err error) {
	b := bodies.Get().(*body)
	b.s, b.tenant = h.s, h.tenant()
	limit := h.s.opts.MaxBodyBytes / dialectBodyShare
	if b.data, err = h.s.inflate.Append(b.data[:0], packed, inflate.Sniff(packed), limit, b.grow); err != nil {
		b.release()
		return nil, nil, h.s.inflateFailure(err, limit)
	}
	return b.data, b.release, nil
}

// Reserve does not wait: who asks for more holds a turn that others wait for.
func (h *host) Reserve(bytes int) (free func(), err error) {
	tenant := h.tenant()
	h.s.bytes.Force(tenant, int64(bytes))
	return func() { h.s.bytes.Give(tenant, int64(bytes)) }, nil
}

// tenant is who has the memory of the request.
func (h *host) tenant() string {
	if h.body == nil {
		return ""
	}
	return h.body.tenant
}

func (h *host) Ready() error { return h.s.checkReady() }

func (h *host) Now() time.Time { return h.s.opts.Now() }

func (h *host) NewID() string { return uuid.NewString() }

// Store commits what a request said, as if it had come to the native API.
func (h *host) Store(ctx *fasthttp.RequestCtx, b *dialect.Batch, source string) error {
	s := h.s
	for i := range b.Refused {
		s.metrics.refusedEvent(b.Refused[i].Code)
	}
	items, from := b.Items()
	said := s.said.Get().(*calls.Batch)
	defer func() {
		said.Reset(0) // it does not keep the items
		s.said.Put(said)
	}()
	met := 0 // items that were counted
	err := s.patiently(func() error {
		if err := s.checkReady(); err != nil || len(items) == 0 {
			return err
		}
		r, who := s.request(ctx, h.body)
		defer r.Release()
		said.Reset(r.Origin.ReceivedAt)
		said.Once = b.IsOnce
		r.Caller, r.Met, r.MaxItems = said, met, dialect.ItemsPerMessage*s.opts.MaxEvents
		err := s.mixed(r, said, items, source)
		if met = r.Met; err != nil {
			return err
		}
		s.decided(who, r)
		for i := range r.Rejected {
			x := &r.Rejected[i]
			b.Refuse(from[x.Index], r.RejectedID(i), x.Code, x.Message)
		}
		if !who.appendsOnly() {
			setIndex(ctx, r.Index)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if n := len(b.Refused); n > 0 {
		slices.SortStableFunc(b.Refused, func(x, y dialect.Rejection) int { return x.Index - y.Index })
		ctx.Response.Header.Set("X-Spoor-Rejected", strconv.Itoa(n))
	}
	return nil
}

// identifyAll commits the calls of an entry; refused are the places in it of those
// whose person was erased.
func (s *Server) identifyAll(e *calls.Entry) (refused []int, index uint64, err error) {
	wait, cancel := s.commitContext()
	defer cancel()
	return s.back.IdentifyAll(wait, e.Calls)
}

// patienceStep is how often a request that waits for an overload to pass tries again.
const patienceStep = 20 * time.Millisecond

// patiently runs f again while it surely stored nothing for want of room, for
// as long as requests may wait: some clients resend within two seconds, and never after.
func (s *Server) patiently(f func() error) error {
	until := time.Now().Add(s.opts.WaitTimeout)
	for {
		err := f()
		var notReady *failure
		busy := errors.Is(err, collect.ErrBusy) || errors.Is(err, ErrOverloaded) || errors.Is(err, ErrNotLeader) ||
			errors.As(err, &notReady) && notReady.code == codeNotReady
		if !busy || errors.Is(err, ErrUnknown) || !time.Now().Before(until) {
			return err
		}
		timer := time.NewTimer(patienceStep)
		select {
		case <-timer.C:
		case <-s.ctx.Done():
			timer.Stop()
			return err
		}
	}
}
