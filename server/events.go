package server

import (
	"context"
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/valyala/fasthttp"

	"spoor/engine/event"
	"spoor/server/collect"
)

// postEvent stores one event.
func (s *Server) postEvent(ctx *fasthttp.RequestCtx, _ string) error {
	b, err := s.readBody(ctx, s.opts.MaxBodyBytes)
	if err != nil {
		return err
	}
	defer b.release()
	r := collect.NewRequest()
	defer r.Release()
	if err := r.One(s.collect, b.data, ""); err != nil {
		return err
	}
	s.metrics.events(r)
	if len(r.Rejected) > 0 {
		x := &r.Rejected[0]
		status := fasthttp.StatusBadRequest
		if x.Code == event.CodeEventTooLarge {
			status = fasthttp.StatusRequestEntityTooLarge
		}
		ctx.SetStatusCode(status)
		answer(ctx, r.AppendErrorJSON(nil, x.Code, fmt.Sprintf("%s (byte %d of the body)", x.Message, x.Offset)))
		return nil
	}
	setIndex(ctx, r.Index)
	answerEvents(ctx, r.AppendOneJSON)
	return nil
}

// postBatch stores the good events of many.
func (s *Server) postBatch(ctx *fasthttp.RequestCtx, _ string) error {
	b, err := s.readBody(ctx, s.opts.MaxBodyBytes)
	if err != nil {
		return err
	}
	defer b.release()
	r := collect.NewRequest()
	defer r.Release()
	if err := r.Many(s.collect, b.data, ""); err != nil {
		return err
	}
	s.metrics.events(r)
	setIndex(ctx, r.Index)
	if x := noEvents(r); x != nil {
		ctx.SetStatusCode(fasthttp.StatusBadRequest)
		answer(ctx, r.AppendErrorJSON(nil, x.Code, fmt.Sprintf(
			`the body is neither a JSON array of events, nor {"batch":[...]}, nor lines of one event each: %s (byte %d of the body)`, x.Message, x.Offset)))
		return nil
	}
	answerEvents(ctx, r.AppendJSON)
	return nil
}

// noEvents tells whether nothing in a body was JSON at all: lines were looked
// for in something that is none.
func noEvents(r *collect.Request) *collect.Rejection {
	if r.Accepted+r.Duplicates > 0 || len(r.Rejected) == 0 {
		return nil
	}
	for i := range r.Rejected {
		if r.Rejected[i].Code != event.CodeMalformed {
			return nil
		}
	}
	return &r.Rejected[0]
}

// answerEvents writes an answer into the response's own memory.
func answerEvents(ctx *fasthttp.RequestCtx, appendTo func([]byte) []byte) {
	ctx.Response.Header.SetContentType(jsonType)
	var small [256]byte
	ctx.Response.SetBody(appendTo(small[:0]))
}

// setIndex names the log index at which a write is stored: a reader that asks
// for it reads its own writes.
func setIndex(ctx *fasthttp.RequestCtx, index uint64) {
	if index != 0 {
		var text [20]byte
		ctx.Response.Header.SetBytesV("X-Spoor-Index", strconv.AppendUint(text[:0], index, 10))
	}
}

// maxSmallBody bounds bodies that hold a query or a few names.
const maxSmallBody = 128 << 10

// postIdentify links an anonymousId to a user.
func (s *Server) postIdentify(ctx *fasthttp.RequestCtx, _ string) error {
	b, err := s.readBody(ctx, maxSmallBody)
	if err != nil {
		return err
	}
	defer b.release()
	var call struct {
		UserID      string `json:"userId"`
		AnonymousID string `json:"anonymousId"`
		Traits      any    `json:"traits"`
	}
	if err := readJSON(b.data, &call); err != nil {
		return err
	}
	limit := s.opts.Limits.PersonIDBytes
	for _, id := range []struct{ name, text string }{{"userId", call.UserID}, {"anonymousId", call.AnonymousID}} {
		switch {
		case id.text == "":
			return fail(fasthttp.StatusBadRequest, "missing_person", "%s is missing or empty; identify needs userId and anonymousId", id.name)
		case len(id.text) > limit:
			return fail(fasthttp.StatusBadRequest, "bad_person_id", "%s has %d bytes, the limit is %d", id.name, len(id.text), limit)
		}
	}
	wait, cancel := s.commitContext()
	defer cancel()
	index, err := s.back.Identify(wait, call.UserID, call.AnonymousID)
	if err != nil {
		return err
	}
	setIndex(ctx, index)
	if call.Traits != nil {
		answer(ctx, []byte(`{"linked":true,"warnings":["traits are not stored; send them in the context of events"]}`))
		return nil
	}
	answer(ctx, []byte(`{"linked":true}`))
	return nil
}

// commitContext bounds a proposal. It does not end with the client: what was
// proposed is decided.
func (s *Server) commitContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), s.opts.CommitTimeout)
}

// readJSON reads a small body into a struct; members it does not know are ignored.
func readJSON(data []byte, into any, opts ...json.Options) error {
	if err := json.Unmarshal(data, into, opts...); err != nil {
		return fail(fasthttp.StatusBadRequest, "malformed_json", "the body is not the JSON object that is expected here: %.200s", err)
	}
	return nil
}
