package server

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/valyala/fasthttp"

	"spoor/engine/event"
	"spoor/engine/traits"
	"spoor/server/call"
	"spoor/server/calls"
	"spoor/server/collect"
	"spoor/server/nodes"
)

// postEvent stores one event.
func (s *Server) postEvent(ctx *fasthttp.RequestCtx, _ string) error {
	b, err := s.readEvents(ctx)
	if err != nil {
		return err
	}
	defer b.release()
	r, who := s.request(ctx, b)
	defer r.Release()
	if err := r.One(s.collect, b.data, who.source()); err != nil {
		return err
	}
	s.decided(who, r)
	if len(r.Rejected) > r.Dropped {
		x := &r.Rejected[0]
		status := fasthttp.StatusBadRequest
		if x.Code == event.CodeEventTooLarge {
			status = fasthttp.StatusRequestEntityTooLarge
		}
		ctx.SetStatusCode(status)
		answer(ctx, r.AppendErrorJSON(nil, x.Code, fmt.Sprintf("%s (byte %d of the body)", x.Message, x.Offset)))
		return nil
	}
	if !who.appendsOnly() {
		setIndex(ctx, r.Index)
	}
	answerEvents(ctx, r.AppendOneJSON)
	return nil
}

// postBatch stores the good events of many.
func (s *Server) postBatch(ctx *fasthttp.RequestCtx, _ string) error {
	b, err := s.readEvents(ctx)
	if err != nil {
		return err
	}
	defer b.release()
	r, who := s.request(ctx, b)
	defer r.Release()
	said := s.said.Get().(*calls.Batch)
	said.Reset(r.Origin.ReceivedAt)
	defer func() {
		said.Reset(0) // it does not keep the body
		s.said.Put(said)
	}()
	r.Caller = said
	if err := s.mixed(r, said, b.data, who.source()); err != nil {
		return err
	}
	s.decided(who, r)
	if !who.appendsOnly() {
		setIndex(ctx, r.Index)
	}
	if x := noEvents(r); x != nil {
		ctx.SetStatusCode(fasthttp.StatusBadRequest)
		answer(ctx, r.AppendErrorJSON(nil, x.Code, fmt.Sprintf(
			`the body is neither a JSON array of events, nor {"batch":[...]}, nor lines of one event each: %s (byte %d of the body)`, x.Message, x.Offset)))
		return nil
	}
	answerEvents(ctx, r.AppendJSON)
	return nil
}

// many stores the good events of a body. A long one takes several entries of the
// log: after an error it is not known what is stored as soon as one of them is.
func (s *Server) many(r *collect.Request, data []byte, source string) error {
	err := r.Many(s.collect, data, source)
	if err != nil && r.Accepted+r.Duplicates > 0 {
		return fmt.Errorf("%w: %v", ErrUnknown, err)
	}
	return err
}

// mixed stores the good events and calls of a body. Calls wait for an overload to
// pass: what goes before them is stored, and who resends all of it adds to the load.
func (s *Server) mixed(r *collect.Request, said *calls.Batch, data []byte, source string) error {
	err := s.many(r, data, source)
	for errors.Is(err, calls.ErrAgain) {
		err = said.Ahead(func(e *calls.Entry) error {
			return s.patiently(func() error {
				_, _, err := s.identifyAll(e) // who was erased is told of below
				return err
			})
		})
		if err == nil {
			err = s.many(r, data, source)
		}
	}
	if err != nil {
		return err
	}
	err = said.All(func(e *calls.Entry) error {
		return s.patiently(func() error {
			erased, index, err := s.identifyAll(e)
			if err == nil {
				r.Told(e.Index, erased, Erased, index)
			}
			return err
		})
	})
	if err != nil && r.Accepted+r.Calls+r.Duplicates > 0 {
		return fmt.Errorf("%w: %v", ErrUnknown, err)
	}
	return err
}

// replayLetters sends dead letters through the collector again.
func (s *Server) replayLetters(c *call.Call) (any, error) {
	return s.govern.ReplayLetters(c, func(lines []byte, source string) (map[int]bool, int, int, error) {
		r := collect.NewRequest()
		defer r.Release()
		r.Origin.Again = true
		if err := s.many(r, lines, source); err != nil {
			return nil, 0, 0, err
		}
		refused := map[int]bool{}
		for i := range r.Rejected {
			if r.Rejected[i].Code != event.CodeNoConsent {
				refused[r.Rejected[i].Index] = true
			}
		}
		return refused, r.Duplicates, r.Dropped, nil
	})
}

// request prepares the way of events through the collector: where they come from,
// who sends them, and the body, if any, whose turn ends when they are decoded.
func (s *Server) request(ctx *fasthttp.RequestCtx, b *body) (*collect.Request, *caller) {
	who := callerOf(ctx)
	r := collect.NewRequest()
	r.Origin = event.Origin{ReceivedAt: s.opts.Now().UnixMicro(), Address: who.address, UserAgent: string(ctx.UserAgent())}
	r.Allow, r.Tenant = who.allow(), who.tenant()
	if b != nil {
		r.Decoded = b.endTurnFunc
	}
	return r, who
}

// decided counts what became of a request's events. Who may only append is told
// of a duplicate as of a new event: what is stored is not theirs to ask.
func (s *Server) decided(who *caller, r *collect.Request) {
	s.metrics.events(r)
	s.spend(who, r.Accepted+r.Calls+r.Duplicates+len(r.Rejected))
	if who.appendsOnly() {
		r.Accepted, r.Duplicates = r.Accepted+r.Duplicates, 0
	}
}

// noEvents tells whether nothing in a body was JSON at all: lines were looked
// for in something that is none.
func noEvents(r *collect.Request) *collect.Rejection {
	if r.Accepted+r.Calls+r.Duplicates > 0 || len(r.Rejected) == 0 {
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
		ctx.Response.Header.SetBytesV(nodes.SessionHeader, strconv.AppendUint(text[:0], index, 10))
	}
}

// maxSmallBody bounds bodies that hold a query, a few names or a call.
const maxSmallBody = calls.MaxBytes

// postIdentify links an anonymousId to a user and sets traits of the person.
func (s *Server) postIdentify(ctx *fasthttp.RequestCtx, _ string) error {
	return s.identify(ctx, func(data []byte, received int64) (call traits.Call, err error) {
		call, rej := calls.Of(event.NewDecoder(s.opts.Limits), data, received)
		if rej != nil {
			return call, rej
		}
		return call, nil
	})
}

// postAlias links an anonymousId that a person had before to a user.
func (s *Server) postAlias(ctx *fasthttp.RequestCtx, _ string) error {
	return s.identify(ctx, func(data []byte, received int64) (none traits.Call, err error) {
		var call struct {
			UserID     string `json:"userId"`
			PreviousID string `json:"previousId"`
		}
		if err := readJSON(data, &call); err != nil {
			return none, err
		}
		limit := s.opts.Limits.PersonIDBytes
		for _, id := range []struct{ name, text string }{{"userId", call.UserID}, {"previousId", call.PreviousID}} {
			switch {
			case id.text == "":
				return none, fail(fasthttp.StatusBadRequest, event.CodeMissingPerson, "%s is missing or empty; alias needs userId and previousId", id.name)
			case len(id.text) > limit:
				return none, fail(fasthttp.StatusBadRequest, event.CodeBadPerson, "%s has %d bytes, the limit is %d", id.name, len(id.text), limit)
			}
		}
		return traits.Call{UserID: []byte(call.UserID), AnonymousID: []byte(call.PreviousID), Time: received}, nil
	})
}

// identify commits the call that read finds in the body.
func (s *Server) identify(ctx *fasthttp.RequestCtx, read func(data []byte, received int64) (traits.Call, error)) error {
	b, err := s.readBody(ctx, maxSmallBody)
	if err != nil {
		return err
	}
	defer b.release()
	call, err := read(b.data, s.opts.Now().UnixMicro())
	if err != nil {
		return err
	}
	wait, cancel := s.commitContext()
	defer cancel()
	linked, leftOut, index, err := s.back.Identify(wait, &call)
	if err != nil {
		return err
	}
	answer := struct {
		Stored   bool     `json:"stored,omitzero"` // there were traits
		Linked   *bool    `json:"linked,omitzero"` // there were two ids
		Warnings []string `json:"warnings,omitempty"`
	}{Stored: len(call.Traits) > 0}
	if callerOf(ctx).appendsOnly() { // whose an id is, is not theirs to ask
		answer.Stored = true
		return answerValue(ctx, answer)
	}
	setIndex(ctx, index)
	if call.UserID != nil && call.AnonymousID != nil {
		answer.Linked = &linked
		if p, _ := s.back.Person(string(call.AnonymousID)); p.UserID != nil && *p.UserID == string(call.AnonymousID) {
			answer.Warnings = append(answer.Warnings, fmt.Sprintf("%q is a user, too: what was sent with it as userId stays with it, two users are never merged", quoted(*p.UserID)))
		}
	}
	if !linked {
		answer.Warnings = append(answer.Warnings, fmt.Sprintf("%q belongs to another user already; the first link stands", quoted(string(call.AnonymousID))))
	}
	for _, name := range leftOut {
		answer.Warnings = append(answer.Warnings, fmt.Sprintf("the trait %q was left out: a text has at most %d bytes, a person %d values and %d bytes of text, the store %d paths",
			quoted(name), traits.MaxValueBytes, traits.MaxPerPerson, traits.MaxBytesPerPerson, traits.MaxPaths))
	}
	return answerValue(ctx, answer)
}

// getUser shows who an id stands for.
func (s *Server) getUser(ctx *fasthttp.RequestCtx, id string) error {
	p, found := s.back.Person(id)
	if !found {
		return fail(fasthttp.StatusNotFound, "not_found", "no person is known as %q", quoted(id))
	}
	return answerValue(ctx, p)
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
