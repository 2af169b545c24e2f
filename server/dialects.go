package server

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/valyala/fasthttp"

	"spoor/engine/event"
	"spoor/engine/traits"
	"spoor/server/access"
	"spoor/server/collect"
	"spoor/server/dialect"
	"spoor/server/inflate"
	"spoor/server/nodes"
)

// dialectMethods are what paths of dialects take: some clients GET what others POST.
const dialectMethods = "GET, HEAD, POST, OPTIONS"

// serveDialect serves a request in the words of another system.
func (s *Server) serveDialect(ctx *fasthttp.RequestCtx, d dialect.Dialect, run dialect.Handler) {
	if allowOrigin(ctx, dialectMethods) {
		return
	}
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

// Store commits what a request said.
func (h *host) Store(ctx *fasthttp.RequestCtx, b *dialect.Batch, source string) error {
	s := h.s
	calls := s.dialectCalls(b)
	events, from := b.Events()
	var index uint64
	err := s.patiently(func() error {
		if err := s.checkReady(); err != nil || len(events) == 0 {
			return err
		}
		r, who := s.request(ctx, h.body)
		defer r.Release()
		if err := s.many(r, events, source); err != nil {
			return err
		}
		s.decided(who, r)
		for i := range r.Rejected {
			x := &r.Rejected[i]
			b.Refuse(from[x.Index], r.RejectedID(i), x.Code, x.Message)
		}
		index = r.Index
		return nil
	})
	who := callerOf(ctx)
	if err == nil && len(calls) > 0 {
		s.spend(who, len(calls)+min(1, len(events)))
		if h.body != nil {
			h.body.endTurn()
		}
	}
	for len(calls) > 0 && err == nil {
		n := callsOfEntry(calls)
		err = s.patiently(func() error {
			wait, cancel := s.commitContext()
			defer cancel()
			at, err := s.back.IdentifyAll(wait, calls[:n])
			index = max(index, at)
			return err
		})
		calls = calls[n:]
	}
	if err != nil {
		return err
	}
	if !who.appendsOnly() {
		setIndex(ctx, index)
	}
	if n := len(b.Refused); n > 0 {
		slices.SortStableFunc(b.Refused, func(x, y dialect.Rejection) int { return x.Index - y.Index })
		ctx.Response.Header.Set("X-Spoor-Rejected", strconv.Itoa(n))
	}
	return nil
}

const (
	// maxCallBytes bounds one call in the log, and callEntryBytes what shares an
	// entry, by estimate; an entry has 1 MiB at most.
	maxCallBytes   = 512 << 10
	callEntryBytes = 768 << 10
	callEntryCalls = 1000 // below traits.MaxCalls
)

// callsOfEntry is how many of calls, of which there is one at least, share an entry.
func callsOfEntry(calls []traits.Call) (n int) {
	for size := 0; n < min(len(calls), callEntryCalls); n++ {
		if size += callBytes(&calls[n]); n > 0 && size > callEntryBytes {
			break
		}
	}
	return n
}

// callBytes is about how many bytes a call takes in the log.
func callBytes(c *traits.Call) int {
	const other = 16 // lengths, kind and number
	size := len(c.UserID) + len(c.AnonymousID) + other
	for i := range c.Traits {
		size += len(c.Traits[i].Path) + len(c.Traits[i].Text) + other
	}
	return size
}

// dialectCalls reads the identify calls of a batch; what is wrong with one is
// noted in the batch.
func (s *Server) dialectCalls(b *dialect.Batch) []traits.Call {
	for i := range b.Refused {
		s.metrics.refusedEvent(b.Refused[i].Code)
	}
	if len(b.Calls) == 0 {
		return nil
	}
	calls := make([]traits.Call, 0, len(b.Calls))
	d := event.NewDecoder(s.opts.Limits)
	received := s.opts.Now().UnixMicro()
	for i := range b.Calls {
		c := &b.Calls[i]
		said, rej := d.Identify(c.JSON)
		if rej != nil {
			s.metrics.refusedEvent(rej.Code)
			b.Refuse(c.Index, nil, rej.Code, rej.Message)
			continue
		}
		// The decoder's memory ends with the next call.
		call := traits.Call{UserID: bytes.Clone(said.UserID), AnonymousID: bytes.Clone(said.AnonymousID), Time: received, Traits: slices.Clone(said.Traits)}
		for j := range call.Traits {
			call.Traits[j].Text = bytes.Clone(call.Traits[j].Text)
		}
		if callBytes(&call) > maxCallBytes {
			s.metrics.refusedEvent(event.CodeEventTooLarge)
			b.Refuse(c.Index, nil, event.CodeEventTooLarge, "the traits are too large, or nested too often below long names")
			continue
		}
		if said.HasTime {
			call.Time = min(said.Time, received) // as for a native call
		}
		if c.Once {
			// The latest call wins: the first one must be the latest of its kind, and
			// every other kind of call later than all of them.
			call.Time = -max(call.Time, 0)
		}
		calls = append(calls, call)
	}
	return calls
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
