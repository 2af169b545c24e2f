package server

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/valyala/fasthttp"

	"spoor/engine"
	"spoor/engine/event"
	"spoor/segment"
	"spoor/server/call"
	"spoor/server/collect"
	"spoor/server/nodes"
)

// failure is an answer other than 200: what a client is told.
type failure struct {
	status  int
	code    string // for programs; part of the API
	message string // for persons: what, where, what to do
	retry   int    // Retry-After in seconds; 0: none
	close   bool   // the connection cannot go on
}

func (f *failure) Error() string { return f.code + ": " + f.message }

func fail(status int, code, format string, args ...any) *failure {
	return &failure{status: status, code: code, message: fmt.Sprintf(format, args...)}
}

func (f *failure) again() *failure { f.retry = 1; return f }

func (f *failure) final() *failure { f.close = true; return f }

// codeNotLeader says that nothing was stored, and that another node may store it.
const codeNotLeader = "not_leader"

// maxQuoted bounds what an answer repeats of the input, in bytes.
const maxQuoted = 100

// quoted cuts input for an answer.
func quoted[T string | []byte](input T) string {
	return string(input[:min(len(input), maxQuoted)])
}

const jsonType = "application/json; charset=utf-8"

// answer writes a JSON body that is ready.
func answer(ctx *fasthttp.RequestCtx, body []byte) {
	ctx.Response.Header.SetContentType(jsonType)
	ctx.Response.SetBody(body)
}

// answerValue writes v as JSON.
func answerValue(ctx *fasthttp.RequestCtx, v any) error {
	body, err := json.Marshal(v, jsontext.AllowInvalidUTF8(true), json.FormatNilSliceAsNull(false))
	if err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	answer(ctx, body)
	return nil
}

// answerError tells the client of an error.
func (s *Server) answerError(ctx *fasthttp.RequestCtx, err error) {
	var q *QueryError
	if errors.As(err, &q) {
		ctx.SetStatusCode(fasthttp.StatusBadRequest)
		if err := answerValue(ctx, map[string]*QueryError{"error": q}); err == nil {
			return
		}
	}
	f := s.failureOf(err)
	if f.code == codeNotLeader {
		nodes.SayNotLeader(ctx)
	}
	if f.status == fasthttp.StatusInternalServerError {
		s.log.Error("request failed", "method", string(ctx.Method()), "path", quoted(ctx.URI().PathOriginal()), "error", err)
	}
	s.answerFailure(ctx, f)
}

func (s *Server) answerFailure(ctx *fasthttp.RequestCtx, f *failure) {
	ctx.SetStatusCode(f.status)
	if f.retry > 0 {
		ctx.Response.Header.Set("Retry-After", strconv.Itoa(f.retry))
	}
	if f.close {
		ctx.SetConnectionClose()
	}
	answer(ctx, appendError(nil, f.code, f.message))
}

func appendError(dst []byte, code, message string) []byte {
	dst, _ = jsontext.AppendQuote(append(dst, `{"error":{"code":`...), code)
	dst, _ = jsontext.AppendQuote(append(dst, `,"message":`...), message)
	return append(dst, `}}`...)
}

const codeDamaged = "damaged"

// failureOf finds the answer to an error from below.
func (s *Server) failureOf(err error) *failure {
	var f *failure
	var rej *event.Reject
	var gov *call.Failure
	switch {
	case errors.As(err, &gov):
		f = fail(gov.Status, gov.Code, "%s", gov.Message)
		if gov.Status == fasthttp.StatusServiceUnavailable {
			f.retry = 1
		}
		return f
	case errors.As(err, &f):
		return f
	case errors.As(err, &rej):
		return fail(fasthttp.StatusBadRequest, rej.Code, "%s (byte %d of the body)", rej.Message, rej.Offset)
	case errors.Is(err, collect.ErrTooManyEvents):
		return fail(fasthttp.StatusRequestEntityTooLarge, "too_many_events", "one request holds at most %d events; send several", s.opts.MaxEvents)
	case errors.Is(err, collect.ErrBusy), errors.Is(err, ErrOverloaded):
		return fail(fasthttp.StatusServiceUnavailable, "overloaded", "the server takes no more events right now; nothing was stored, send them again").again()
	case errors.Is(err, collect.ErrClosed), errors.Is(err, context.Canceled) && s.ctx.Err() != nil:
		return fail(fasthttp.StatusServiceUnavailable, "shutting_down", "the server is shutting down; nothing was stored, send it again").again().final()
	case errors.Is(err, ErrNotLeader):
		return fail(fasthttp.StatusServiceUnavailable, codeNotLeader, "this node does not lead the cluster now; nothing was stored, send it again").again()
	case errors.Is(err, ErrErased):
		return fail(fasthttp.StatusForbidden, Erased.Code, "%s", Erased.Message)
	case errors.Is(err, ErrUnknown), errors.Is(err, collect.ErrPartly):
		return fail(fasthttp.StatusServiceUnavailable, "unknown", "it is not known whether it was stored; send it again with the same eventIds, it counts once").again()
	case errors.Is(err, ErrTooLarge):
		return fail(fasthttp.StatusRequestEntityTooLarge, "too_large", "an event is too large to be stored")
	case errors.Is(err, ErrDiskFull):
		return fail(fasthttp.StatusInsufficientStorage, "disk_full", "the server's disk is full; nothing was stored").again()
	case errors.Is(err, ErrNoDataDir):
		return fail(fasthttp.StatusConflict, "no_data_dir", "%v", ErrNoDataDir)
	case errors.Is(err, ErrNoBackupDir):
		return fail(fasthttp.StatusConflict, "no_backup_dir", "%v", ErrNoBackupDir)
	case errors.Is(err, segment.ErrCorrupt):
		return fail(fasthttp.StatusInternalServerError, codeDamaged, "a file of this node's store is damaged, and what cannot be read for certain is not answered; a cluster repairs it from another node, alone run spoor verify and restore a backup")
	case errors.Is(err, engine.ErrOtherBackup):
		return fail(fasthttp.StatusConflict, "other_backup", "%v", err)
	case errors.Is(err, ErrLimit):
		return fail(fasthttp.StatusUnprocessableEntity, "query_limit", "%v; narrow the time range, the events or the breakdown", err)
	case errors.Is(err, context.DeadlineExceeded):
		return fail(fasthttp.StatusServiceUnavailable, "timeout", "it took longer than it may; narrow the time range or the events").again()
	case errors.Is(err, context.Canceled):
		return fail(499, "canceled", "the client went away").final()
	}
	return fail(fasthttp.StatusInternalServerError, "internal", "the server failed; its log says why")
}
