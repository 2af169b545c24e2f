package server

import (
	"bytes"
	"context"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/valyala/fasthttp"

	"spoor/engine/query"
	"spoor/engine/query/lang"
)

// maxQueryBytes bounds the text of a query.
const maxQueryBytes = 64 << 10

// maxQueryID bounds the name that a client gives a query, to ask for its progress.
const maxQueryID = 64

// queryCall is a query as it came. As JSON: {"query":"...","explain":true,"cache":false}.
type queryCall struct {
	Query   string `json:"query"`
	Explain bool   `json:"explain"`
	Cache   *bool  `json:"cache"`
}

// postQuery answers the query in the body, which is its text or JSON.
func (s *Server) postQuery(ctx *fasthttp.RequestCtx, _ string) error {
	text, opt, err := s.readQuery(ctx)
	if err != nil {
		return err
	}
	return s.runQuery(ctx, text, opt)
}

// getQuery answers the query in the argument q.
func (s *Server) getQuery(ctx *fasthttp.RequestCtx, _ string) error {
	text := string(ctx.QueryArgs().Peek("q"))
	if err := checkQueryText(text); err != nil {
		return err
	}
	return s.runQuery(ctx, text, queryOptions(ctx))
}

// readQuery reads a query's text from the body.
func (s *Server) readQuery(ctx *fasthttp.RequestCtx) (string, QueryOptions, error) {
	b, err := s.readBody(ctx, maxSmallBody)
	if err != nil {
		return "", QueryOptions{}, err
	}
	defer b.release()
	opt := queryOptions(ctx)
	data := bytes.TrimPrefix(b.data, []byte("\xef\xbb\xbf"))
	text := string(data)
	if trimmed := bytes.TrimSpace(data); len(trimmed) > 0 && trimmed[0] == '{' {
		var call queryCall
		if err := readJSON(trimmed, &call); err != nil {
			return "", opt, err
		}
		text = call.Query
		opt.Explain = opt.Explain || call.Explain
		opt.NoCache = opt.NoCache || call.Cache != nil && !*call.Cache
	}
	return text, opt, checkQueryText(text)
}

func checkQueryText(text string) error {
	switch {
	case len(text) > maxQueryBytes:
		return fail(fasthttp.StatusRequestEntityTooLarge, "too_large", "the query has %d bytes, the limit is %d", len(text), maxQueryBytes)
	case !utf8.ValidString(text):
		return fail(fasthttp.StatusBadRequest, "invalid_utf8", "the query is not valid UTF-8")
	case len(bytes.TrimSpace([]byte(text))) == 0:
		return fail(fasthttp.StatusBadRequest, "missing_query", `there is no query; send its text as the body, as {"query":"..."}, or as ?q=`)
	}
	return nil
}

// queryOptions reads explain=1 and cache=off.
func queryOptions(ctx *fasthttp.RequestCtx) QueryOptions {
	args := ctx.QueryArgs()
	return QueryOptions{
		Explain: args.GetBool("explain"),
		NoCache: string(args.Peek("cache")) == "off",
		ID:      string(args.Peek("id")[:min(len(args.Peek("id")), maxQueryID)]),
	}
}

// runQuery answers a query once there is a place for it.
func (s *Server) runQuery(ctx *fasthttp.RequestCtx, text string, opt QueryOptions) error {
	return s.inQueryPlace(ctx, func(work context.Context) error {
		result, err := s.back.Query(work, text, opt)
		if err != nil {
			return err
		}
		ctx.Response.Header.SetContentType(jsonType)
		ctx.Response.SetBodyRaw(result)
		return nil
	})
}

// inQueryPlace answers once there is a place among the queries that run, for as long as the client is there.
func (s *Server) inQueryPlace(ctx *fasthttp.RequestCtx, answer func(work context.Context) error) error {
	work, stop := s.whilePresent(ctx, s.opts.QueryTimeout)
	defer stop()
	tenant := callerOf(ctx).tenant()
	if err := s.takeQuery(work, tenant); err != nil {
		return err
	}
	defer s.queries.Give(tenant, 1)
	return answer(work)
}

// maxPersons is how many persons one answer lists.
const maxPersons = 1000

// postPersons lists who is in one number of the answer to the query in the body: of a funnel who
// reached the step of the argument step, or with lost=1 did not get from there to the next one, in the group of
// the argument group, a JSON array; of a retention who is in a cohort, or came back in a column.
func (s *Server) postPersons(ctx *fasthttp.RequestCtx, _ string) error {
	text, _, err := s.readQuery(ctx)
	if err != nil {
		return err
	}
	args := ctx.QueryArgs()
	at := query.Place{Lost: args.GetBool("lost"), Limit: 100, Column: -1, After: string(args.Peek("after"))}
	for _, n := range []struct {
		name string
		to   *int
	}{{"step", &at.Step}, {"cohort", &at.Cohort}, {"column", &at.Column}, {"limit", &at.Limit}} {
		if arg := string(args.Peek(n.name)); arg != "" {
			if *n.to, err = strconv.Atoi(arg); err != nil || *n.to < 0 {
				return fail(fasthttp.StatusBadRequest, "bad_place", "%s is a number, not %q", n.name, quoted(arg))
			}
		}
	}
	if at.Limit < 1 || at.Limit > maxPersons {
		return fail(fasthttp.StatusBadRequest, "bad_place", "limit is a number from 1 to %d", maxPersons)
	}
	if group := args.Peek("group"); len(group) > 0 {
		if err := readJSON(group, &at.Group); err != nil || at.Group == nil {
			return fail(fasthttp.StatusBadRequest, "bad_place", "group is a JSON array of the values of a group")
		}
	}
	return s.inQueryPlace(ctx, func(work context.Context) error {
		a, err := s.back.Persons(work, text, at)
		if err != nil {
			return err
		}
		return answerValue(ctx, a)
	})
}

// takeQuery waits a little for a place among the queries that run. Keys that wait take turns.
func (s *Server) takeQuery(work context.Context, tenant string) error {
	if s.queries.Take(work, tenant, 1, 1, s.opts.WaitTimeout) {
		s.metrics.queries.Inc()
		return nil
	}
	if err := work.Err(); err != nil {
		return err
	}
	s.metrics.refused.Inc()
	return fail(fasthttp.StatusTooManyRequests, "too_many_queries", "%d queries run already; ask again", s.opts.MaxQueries).again()
}

// Catalog is what is in the data.
type Catalog struct {
	Events []CatalogEvent `json:"events"` // most frequent first
	Fields []CatalogField `json:"fields"` // of the event that was asked for, else of all; most frequent first
}

// CatalogEvent is the name of an event with its volume.
type CatalogEvent struct {
	Name      string `json:"name"`
	Events    int64  `json:"events"`
	FirstSeen string `json:"first_seen"` // event time
	LastSeen  string `json:"last_seen"`
}

// CatalogField is a field as the language writes it.
type CatalogField struct {
	Field    string   `json:"field"`
	Kinds    []string `json:"kinds"` // string, number, boolean, null, json
	Share    float64  `json:"share"` // of the events that have it, in a sample
	Examples []any    `json:"examples"`
}

// getCatalog lists events and the fields of the one that the argument event names.
func (s *Server) getCatalog(ctx *fasthttp.RequestCtx, _ string) error {
	c, err := s.back.Catalog(string(ctx.QueryArgs().Peek("event")))
	if err != nil {
		return err
	}
	return answerValue(ctx, c)
}

// getComplete says how the text q could go on at pos, an offset in bytes; without pos at its end.
func (s *Server) getComplete(ctx *fasthttp.RequestCtx, _ string) error {
	text := string(ctx.QueryArgs().Peek("q"))
	pos := len(text)
	if arg := string(ctx.QueryArgs().Peek("pos")); arg != "" {
		n, err := strconv.Atoi(arg)
		if err != nil || n < 0 {
			return fail(fasthttp.StatusBadRequest, "bad_pos", "pos is an offset in bytes, not %q", quoted(arg))
		}
		pos = n
	}
	if len(text) > maxQueryBytes {
		return checkQueryText(text)
	}
	list, err := s.back.Complete(text, pos)
	if err != nil {
		return err
	}
	return answerValue(ctx, map[string][]lang.Suggestion{"suggestions": list})
}

// getRunning lists the queries that run; with the argument id only the one that was asked under it.
func (s *Server) getRunning(ctx *fasthttp.RequestCtx, _ string) error {
	list := s.back.Running()
	if id := string(ctx.QueryArgs().Peek("id")); id != "" {
		list = slices.DeleteFunc(list, func(r query.Running) bool { return r.ID != id })
	}
	return answerValue(ctx, map[string][]query.Running{"running": list})
}
