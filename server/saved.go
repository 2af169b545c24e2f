package server

import (
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/valyala/fasthttp"
)

// queryDocument is the kind of document that saved queries are.
const queryDocument = "query"

// savedQuery is a query under a name.
type savedQuery struct {
	Name  string `json:"name,omitempty"`
	Kind  string `json:"kind"` // funnel, retention, trend, ...
	Query string `json:"query"`
	Index uint64 `json:"index,omitempty"` // log index that stored it
}

func readSaved(d Document) (savedQuery, error) {
	var q savedQuery
	if err := json.Unmarshal(d.Value, &q); err != nil {
		return q, fail(fasthttp.StatusInternalServerError, "internal", "the saved query cannot be read; save it again")
	}
	q.Name, q.Index = d.Name, d.Index
	return q, nil
}

// putSaved saves the query in the body under a name, in place of an earlier one.
func (s *Server) putSaved(ctx *fasthttp.RequestCtx, name string) error {
	text, _, err := s.readQuery(ctx)
	if err != nil {
		return err
	}
	kind, err := s.back.CheckQuery(text)
	if err != nil {
		return err
	}
	q := savedQuery{Kind: kind, Query: text}
	value, err := json.Marshal(q)
	if err != nil {
		return err
	}
	wait, cancel := s.commitContext()
	defer cancel()
	index, err := s.back.PutDocument(wait, queryDocument, name, value)
	if err != nil {
		return err
	}
	setIndex(ctx, index)
	q.Name, q.Index = name, index
	return answerValue(ctx, q)
}

func (s *Server) saved(name string) (savedQuery, error) {
	d, ok := s.back.Document(queryDocument, name)
	if !ok {
		return savedQuery{}, fail(fasthttp.StatusNotFound, "not_found", "no query is saved as %q; save it with PUT /api/queries/NAME", quoted(name))
	}
	return readSaved(d)
}

func (s *Server) getSaved(ctx *fasthttp.RequestCtx, name string) error {
	q, err := s.saved(name)
	if err != nil {
		return err
	}
	return answerValue(ctx, q)
}

func (s *Server) deleteSaved(ctx *fasthttp.RequestCtx, name string) error {
	wait, cancel := s.commitContext()
	defer cancel()
	found, index, err := s.back.DeleteDocument(wait, queryDocument, name)
	if err != nil {
		return err
	}
	if !found {
		return fail(fasthttp.StatusNotFound, "not_found", "no query is saved as %q", quoted(name))
	}
	setIndex(ctx, index)
	answer(ctx, []byte(`{"deleted":true}`))
	return nil
}

func (s *Server) listQueries(ctx *fasthttp.RequestCtx, _ string) error {
	docs := s.back.Documents(queryDocument)
	list := make([]savedQuery, 0, len(docs))
	for _, d := range docs {
		q, err := readSaved(d)
		if err != nil {
			return err
		}
		list = append(list, q)
	}
	return answerValue(ctx, map[string][]savedQuery{"queries": list})
}

// analyses are the kinds of saved queries that have an address of their own.
var analyses = []string{
	"funnel", "retention", "trend", "sessions", "paths", "attribution", "experiment", "top", "events", "users", "lifecycle", "stickiness",
}

// getAnalytics answers the saved query of the argument name, which must be of the kind in the path.
func (s *Server) getAnalytics(ctx *fasthttp.RequestCtx, kind string) error {
	if !slices.Contains(analyses, kind) {
		return fail(fasthttp.StatusNotFound, "not_found", "there is no analysis %q; there are %s", quoted(kind), strings.Join(analyses, ", "))
	}
	name := string(ctx.QueryArgs().Peek("name"))
	if name == "" {
		return fail(fasthttp.StatusBadRequest, "missing_name", "name the saved query: /api/analytics/%s?name=NAME", kind)
	}
	q, err := s.saved(name)
	if err != nil {
		return err
	}
	if q.Kind != kind {
		return fail(fasthttp.StatusBadRequest, "wrong_kind", "the query %q is a %s, not a %s", quoted(name), q.Kind, kind)
	}
	return s.runQuery(ctx, q.Query, queryOptions(ctx))
}
