package server

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/valyala/fasthttp"

	"spoor/cluster/roster"
	"spoor/engine"
	"spoor/server/access"
	"spoor/server/call"
	"spoor/server/dashboard"
	"spoor/server/jobs"
	"spoor/server/openapi"
	"spoor/server/progress"
	"spoor/server/sdkfile"
)

// maxCompact is how long a compaction that was asked for may take.
const maxCompact = time.Hour

func (s *Server) getHealth(ctx *fasthttp.RequestCtx, _ string) error {
	answer(ctx, []byte(`{"status":"ok"}`))
	return nil
}

// getReady says whether reads and writes are served.
func (s *Server) getReady(ctx *fasthttp.RequestCtx, _ string) error {
	if err := s.checkReady(); err != nil {
		return err
	}
	answer(ctx, []byte(`{"status":"ready"}`))
	return nil
}

const codeNotReady = "not_ready"

func (s *Server) checkReady() error {
	if err := s.back.Ready(); err != nil {
		return fail(fasthttp.StatusServiceUnavailable, codeNotReady, "the node is not ready: %.200s", err).again()
	}
	return nil
}

// leads is nil while this node decides over writes.
func (s *Server) leads() error {
	if !s.opts.Nodes.IsLeader() {
		return ErrNotLeader
	}
	return s.back.Ready()
}

// ownStatus is what a server says of its cluster that knows no other node.
func (s *Server) ownStatus() roster.Status {
	c := s.back.Cluster()
	return roster.Status{Leader: c.Node, Term: c.Term, CommandVersion: engine.MaxEntryVersion, Nodes: []roster.NodeStatus{
		{ID: c.Node, Voter: true, State: roster.StateLeader, Applied: c.Applied, Silent: new(float64)},
	}}
}

// postJoin takes a node into the cluster that has an admin key, or a token.
func (s *Server) postJoin(ctx *fasthttp.RequestCtx, name string) error {
	if err := s.checkReady(); err != nil {
		return err
	}
	refused := s.admit(ctx, access.Admin, false)
	ctx.Response.Header.Del(fasthttp.HeaderWWWAuthenticate)
	return s.governs(func(c *call.Call) (any, error) { return s.nodes.Join(c, refused == nil) })(ctx, name)
}

// getRaw tells how far the raw tier is.
func (s *Server) getRaw(ctx *fasthttp.RequestCtx, _ string) error {
	if s.opts.Raw == nil {
		return fail(fasthttp.StatusNotFound, "no_raw_tier", "the server has no raw tier; start it with --raw PLACE")
	}
	return answerValue(ctx, s.opts.Raw.Status())
}

// postFlush writes the memtable to segments.
func (s *Server) postFlush(ctx *fasthttp.RequestCtx, _ string) error {
	if err := s.back.Flush(s.ctx); err != nil {
		return err
	}
	answer(ctx, []byte(`{"flushed":true}`))
	return nil
}

// postCompact merges segments until there is nothing to merge.
func (s *Server) postCompact(ctx *fasthttp.RequestCtx, _ string) error {
	work, stop := s.whilePresent(ctx, maxCompact)
	defer stop()
	if err := s.back.Compact(work); err != nil {
		return err
	}
	answer(ctx, []byte(`{"compacted":true}`))
	return nil
}

// mergeAtWork is the merge of files that is at work, whoever began it.
func (s *Server) mergeAtWork() (jobs.Work, bool) {
	m, running := s.back.Merging()
	if !running {
		return jobs.Work{}, false
	}
	day := func(n int32) string { return time.Unix(int64(n)*24*60*60, 0).UTC().Format(time.DateOnly) }
	name := fmt.Sprintf("%d files, %s", m.Files, day(m.First))
	if m.Last > m.First {
		name += " to " + day(m.Last)
	}
	return jobs.Work{ID: "merge-" + strconv.FormatInt(m.Began.UnixNano(), 36), Kind: "merge", Name: name, Unit: "bytes", Done: m.Done, Total: m.Bytes, Began: m.Began}, true
}

// maxChore is how long a verification or a backup may take.
const maxChore = 24 * time.Hour

// verifyCall may name texts: then they are looked for, and nothing is verified.
type verifyCall struct {
	Grep []string `json:"grep"`
}

// Bounds of what is looked for.
const (
	maxGrepTexts = 100
	maxGrepBytes = 1024 // of each
)

// postVerify reads every byte of the store while it is in use.
func (s *Server) postVerify(ctx *fasthttp.RequestCtx, _ string) error {
	b, err := s.readBody(ctx, maxSmallBody)
	if err != nil {
		return err
	}
	defer b.release()
	var call verifyCall
	if len(b.data) > 0 {
		if err := readJSON(b.data, &call, json.RejectUnknownMembers(true)); err != nil {
			return err
		}
	}
	if call.Grep != nil {
		if len(call.Grep) == 0 || len(call.Grep) > maxGrepTexts || slices.ContainsFunc(call.Grep, func(text string) bool { return text == "" || len(text) > maxGrepBytes }) {
			return fail(fasthttp.StatusBadRequest, "bad_grep", "grep is a list of 1 to %d texts of 1 to %d bytes", maxGrepTexts, maxGrepBytes)
		}
		return s.chore(ctx, "verify", "", "bytes", func(work context.Context, progress engine.Progress) (any, error) {
			return s.back.Grep(work, call.Grep, progress)
		})
	}
	return s.chore(ctx, "verify", "", "bytes", func(work context.Context, progress engine.Progress) (any, error) {
		return s.back.Verify(work, progress)
	})
}

// backupCall names a backup: a directory below the one that the operator allowed.
type backupCall struct {
	Name string `json:"name"`
}

// postBackup writes a backup to the server's machine.
func (s *Server) postBackup(ctx *fasthttp.RequestCtx, _ string) error {
	b, err := s.readBody(ctx, maxSmallBody)
	if err != nil {
		return err
	}
	defer b.release()
	var call backupCall
	if err := readJSON(b.data, &call, json.RejectUnknownMembers(true)); err != nil {
		return err
	}
	name, err := segmentName(url.PathEscape(call.Name))
	if err != nil {
		return err
	}
	if strings.HasPrefix(name, ".") {
		return fail(fasthttp.StatusBadRequest, "bad_name", "the name of a backup does not begin with a dot")
	}
	return s.chore(ctx, "backup", name, "bytes", func(work context.Context, progress engine.Progress) (any, error) {
		return s.back.Backup(work, name, progress)
	})
}

// chore answers with a stream of progress and the result of long work; one is done at a time. It is a job of
// a kind, about what name says, measured in unit.
func (s *Server) chore(ctx *fasthttp.RequestCtx, kind, name, unit string, do func(work context.Context, progress engine.Progress) (any, error)) error {
	select {
	case s.chores <- struct{}{}:
	default:
		return fail(fasthttp.StatusTooManyRequests, "busy", "a verification or a backup runs already; ask again when it is done").again()
	}
	work, stop := s.whilePresent(ctx, maxChore)
	conn, path := ctx.Conn(), string(ctx.Path()) // ctx is used again when the handler has returned
	x := progress.NewStream(func() error { return conn.SetWriteDeadline(time.Now().Add(s.opts.WriteTimeout)) })
	work, cancel := context.WithCancel(work)
	job := s.jobs.Begin(kind+"-"+strconv.FormatInt(s.opts.Now().UnixMilli(), 10), kind, name, unit, cancel)
	s.streams.Go(func() {
		defer stop()
		defer cancel()
		x.Run(func(told func(done, total int64)) (any, error) {
			defer func() { <-s.chores }() // before the answer ends: who has it may ask for the next
			result, err := do(work, func(done, total int64) { told(done, total); job.Told(done, total) })
			job.End(err)
			return result, err
		}, func(err error) (code, message string) {
			s.log.Error("an operator's request failed", "path", path, "error", err)
			f := s.choreFailure(err)
			return f.code, f.message
		})
	})
	if err := x.Started(); err != nil {
		return s.choreFailure(err)
	}
	ctx.Response.Header.SetContentType("application/x-ndjson")
	ctx.Response.Header.Set("X-Content-Type-Options", "nosniff")
	ctx.Response.SetBodyStream(x, -1)
	return nil
}

// governs makes a handler of a call.
func (s *Server) governs(run func(*call.Call) (any, error)) func(*fasthttp.RequestCtx, string) error {
	return func(ctx *fasthttp.RequestCtx, name string) error {
		b, err := s.readBody(ctx, s.opts.MaxBodyBytes)
		if err != nil {
			return err
		}
		defer b.release()
		wait, cancel := s.commitContext()
		defer cancel()
		reading, stop := s.whilePresent(ctx, s.opts.QueryTimeout)
		defer stop()
		c := &call.Call{
			Context: wait, Reading: reading, Name: name, Body: b.data, Now: s.opts.Now(), Limits: s.opts.Limits,
			Arg:     func(name string) string { return string(ctx.QueryArgs().Peek(name)) },
			IfMatch: string(ctx.Request.Header.Peek(fasthttp.HeaderIfMatch)),
		}
		value, err := run(c)
		if err != nil {
			return err
		}
		if c.Tag != "" {
			ctx.Response.Header.Set(fasthttp.HeaderETag, c.Tag)
		}
		setIndex(ctx, c.Index)
		return answerValue(ctx, value)
	}
}

// choreFailure is what an operator is told, who may know what other clients may not.
func (s *Server) choreFailure(err error) *failure {
	f := s.failureOf(err)
	var q *QueryError
	switch {
	case errors.As(err, &q):
		return fail(fasthttp.StatusBadRequest, q.Code, "%s", q.Message)
	case errors.Is(err, engine.ErrDamaged):
		return fail(fasthttp.StatusInternalServerError, codeDamaged, "%v", err)
	case f.status >= fasthttp.StatusInternalServerError && s.ctx.Err() == nil:
		return fail(fasthttp.StatusInternalServerError, "failed", "%v", err)
	}
	return f
}

const rootText = `Spoor collects product events and answers funnels, retention and sessions over them.
This address shows a page to browsers.

Send an event:
  curl -X POST http://ADDRESS/api/events -d '{"eventName":"signed_up","userId":"u1","properties":{"plan":"free"}}'
Send many (JSON array, {"batch":[...]}, or one event per line; gzip or zstd):
  curl -X POST http://ADDRESS/api/events/batch --data-binary @events.ndjson
SCRIPTAsk:
  curl -X POST http://ADDRESS/api/query -d 'funnel signed_up -> activated within 3d last 30d'
  curl -X POST http://ADDRESS/api/query -d 'events of any limit 10'
Save a query and ask for it by name:
  curl -X PUT http://ADDRESS/api/queries/activation -d 'funnel signed_up -> activated within 3d'
  curl 'http://ADDRESS/api/analytics/funnel?name=activation'
Take events out, one JSON object per line:
  curl -X POST http://ADDRESS/api/events/export -d '{"from":"2026-05-01","to":"2026-06-01"}'

More: POST /api/identify, POST /api/alias, GET /api/users/ID, GET /api/queries, GET /api/schemas, GET /api/policy, GET /api/dlq, GET /api/quality, GET /api/boards, DELETE /api/users/ID, POST /api/erasures, GET /api/retention, GET /api/cluster, GET /metrics, GET /healthz, GET /readyz,
      POST /api/admin/flush, POST /api/admin/compact, POST /api/admin/verify, POST /api/admin/backup, POST /api/admin/replay, GET /api/raw, GET /api/jobs, POST /api/exports, GET, POST /api/keys; GET /openapi.yaml describes all
`

// getOpenAPI describes the API.
func (s *Server) getOpenAPI(ctx *fasthttp.RequestCtx, _ string) error {
	ctx.Response.Header.SetContentType("application/yaml; charset=utf-8")
	ctx.Response.SetBodyRaw(openapi.YAML)
	return nil
}

// textOfRoot is the text of / of a server with a script or without.
func textOfRoot(script *sdkfile.File) string {
	line := ""
	if script != nil {
		line = "Track a web page, with one line of its HTML:\n" +
			`  <script async src="http://ADDRESS` + script.Path() + `" data-write-key="KEY"></script>` + "\n"
	}
	return strings.Replace(rootText, "SCRIPT", line, 1)
}

// getRoot shows the page to browsers, and to others what to try.
func (s *Server) getRoot(ctx *fasthttp.RequestCtx, _ string) error {
	if dashboard.Wanted(ctx) {
		dashboard.Serve(ctx, "/")
		return nil
	}
	ctx.Response.Header.SetContentType("text/plain; charset=utf-8")
	ctx.Response.Header.Set(fasthttp.HeaderVary, "Accept")
	address := ctx.Conn().LocalAddr().String()
	before, rest, more := "", s.root, true
	for more { // piece by piece: a flood of requests makes no garbage
		before, rest, more = strings.Cut(rest, "ADDRESS")
		ctx.Response.AppendBodyString(before)
		if more {
			ctx.Response.AppendBodyString(address)
		}
	}
	return nil
}
