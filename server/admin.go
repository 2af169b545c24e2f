package server

import (
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"spoor/server/openapi"
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

func (s *Server) checkReady() error {
	if err := s.back.Ready(); err != nil {
		return fail(fasthttp.StatusServiceUnavailable, "not_ready", "the node is not ready: %.200s", err).again()
	}
	return nil
}

func (s *Server) getCluster(ctx *fasthttp.RequestCtx, _ string) error {
	return answerValue(ctx, s.back.Cluster())
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

const rootText = `Spoor collects product events and answers funnels, retention and sessions over them.

Send an event:
  curl -X POST http://ADDRESS/api/events -d '{"eventName":"signed_up","userId":"u1","properties":{"plan":"free"}}'
Send many (JSON array, {"batch":[...]}, or one event per line; gzip or zstd):
  curl -X POST http://ADDRESS/api/events/batch --data-binary @events.ndjson
Ask:
  curl -X POST http://ADDRESS/api/query -d 'funnel signed_up -> activated within 3d last 30d'
  curl -X POST http://ADDRESS/api/query -d 'events of any limit 10'
Save a query and ask for it by name:
  curl -X PUT http://ADDRESS/api/queries/activation -d 'funnel signed_up -> activated within 3d'
  curl 'http://ADDRESS/api/analytics/funnel?name=activation'
Take events out, one JSON object per line:
  curl -X POST http://ADDRESS/api/events/export -d '{"from":"2026-05-01","to":"2026-06-01"}'

More: POST /api/identify, POST /api/alias, GET /api/users/ID, GET /api/queries, GET /api/cluster, GET /metrics, GET /healthz, GET /readyz,
      POST /api/admin/flush, POST /api/admin/compact, GET, POST /api/keys; GET /openapi.yaml describes all
`

// getOpenAPI describes the API.
func (s *Server) getOpenAPI(ctx *fasthttp.RequestCtx, _ string) error {
	ctx.Response.Header.SetContentType("application/yaml; charset=utf-8")
	ctx.Response.SetBodyRaw(openapi.YAML)
	return nil
}

func (s *Server) getRoot(ctx *fasthttp.RequestCtx, _ string) error {
	ctx.Response.Header.SetContentType("text/plain; charset=utf-8")
	ctx.Response.SetBodyString(strings.ReplaceAll(rootText, "ADDRESS", ctx.Conn().LocalAddr().String()))
	return nil
}
