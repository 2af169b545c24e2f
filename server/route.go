package server

import (
	"errors"
	"fmt"
	"net/url"
	"runtime/debug"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/valyala/fasthttp"

	"spoor/server/access"
	"spoor/server/dashboard"
	"spoor/server/dialect"
	"spoor/server/nodes"
	"spoor/server/rawtier/exports"
)

// route is one address of the API.
type route struct {
	name    string // in metrics and logs
	methods []method
	allow   string // the Allow header
	open    bool   // browsers of other sites may post here, see allowOrigin
	own     bool   // what it changes is of this node alone
	always  bool   // served before the node is ready
	numbers *routeMetrics
}

// method is what a route does for one HTTP method. name is the last segment of
// the path where the route has a parameter.
type method struct {
	verb string
	role access.Role
	run  func(ctx *fasthttp.RequestCtx, name string) error
}

// routes finds a request's route by its path, without decoding it: a path that
// is written in another way than here is not found, so there is one reading of
// every path, for access control too.
type routes struct {
	exact  map[string]*route
	prefix []prefixRoute // with one further segment
	none   *routeMetrics

	dialects map[string]*routeMetrics
}

type prefixRoute struct {
	path   string // ends with a slash; what it is before the parameter
	suffix string // behind the parameter: "/versions"; empty for none
	read   func(segment string) (name string, err error)
	*route
}

func newRoutes(s *Server) *routes {
	r := &routes{exact: map[string]*route{}, none: s.metrics.route("none")}
	add := func(path, name string, open bool, methods ...method) {
		rt := &route{name: name, methods: methods, open: open, numbers: s.metrics.route(name)}
		var verbs []string
		for _, m := range methods {
			verbs = append(verbs, m.verb)
			if m.verb == "GET" {
				verbs = append(verbs, "HEAD")
			}
		}
		if open {
			verbs = append(verbs, "OPTIONS")
		}
		rt.allow = strings.Join(verbs, ", ")
		if head, tail, ok := strings.Cut(path, "*"); ok {
			read := eventSegment
			if head == "/api/users/" {
				read = personSegment
			}
			r.prefix = append(r.prefix, prefixRoute{head, tail, read, rt})
		} else if strings.HasSuffix(path, "/") && path != "/" {
			r.prefix = append(r.prefix, prefixRoute{path, "", segmentName, rt})
		} else {
			r.exact[path] = rt
		}
	}
	add("/api/events", "event", true, method{"POST", access.Write, s.postEvent})
	add("/api/events/batch", "batch", true, method{"POST", access.Write, s.postBatch})
	add("/api/identify", "identify", true, method{"POST", access.Write, s.postIdentify})
	add("/api/alias", "alias", true, method{"POST", access.Write, s.postAlias})
	add("/api/users/*/consent", "consent", false, method{"GET", access.Read, s.governs(s.govern.GetConsent)}, method{"PUT", access.Admin, s.governs(s.govern.PutConsent)})
	add("/api/users/*/allow", "allow", false, method{"POST", access.Admin, s.governs(s.erase.AllowUser)})
	add("/api/users/*", "user", false, method{"GET", access.Read, s.getUser}, method{"DELETE", access.Admin, s.governs(s.erase.DeleteUser)})
	add("/api/erasures", "erasures", false, method{"GET", access.Admin, s.governs(s.erase.List)}, method{"POST", access.Admin, s.governs(s.erase.Create)})
	add("/api/erasures/", "erasure", false, method{"GET", access.Admin, s.governs(s.erase.Get)})
	add("/api/retention", "retention", false, method{"GET", access.Read, s.governs(s.erase.GetRetention)}, method{"PUT", access.Admin, s.governs(s.erase.PutRetention)})
	add("/api/policy", "policy", false, method{"GET", access.Read, s.governs(s.govern.GetPolicy)}, method{"PUT", access.Admin, s.governs(s.govern.PutPolicy)})
	add("/api/schemas", "schemas", false, method{"GET", access.Read, s.governs(s.govern.ListSchemas)})
	add("/api/schemas/*/versions", "schema_versions", false, method{"GET", access.Read, s.governs(s.govern.ListVersions)})
	add("/api/schemas/*/diff", "schema_diff", false, method{"GET", access.Read, s.governs(s.govern.DiffSchema)})
	add("/api/schemas/*/check", "schema_check", false, method{"POST", access.Read, s.governs(s.govern.CheckSchema)})
	add("/api/schemas/*/infer", "schema_infer", false, method{"GET", access.Read, s.governs(s.govern.InferSchema)})
	add("/api/schemas/*", "schema", false, method{"GET", access.Read, s.governs(s.govern.GetSchema)},
		method{"PUT", access.Admin, s.governs(s.govern.PutSchema)}, method{"DELETE", access.Admin, s.governs(s.govern.DeleteSchema)})
	add("/api/events/export", "export", false, method{"POST", access.Read, s.postExport})
	add("/api/query", "query", false, method{"GET", access.Read, s.getQuery}, method{"POST", access.Read, s.postQuery})
	add("/api/query/complete", "complete", false, method{"GET", access.Read, s.getComplete})
	add("/api/query/persons", "persons", false, method{"POST", access.Read, s.postPersons})
	add("/api/query/running", "running", false, method{"GET", access.Read, s.getRunning})
	add("/api/catalog", "catalog", false, method{"GET", access.Read, s.getCatalog})
	add("/api/quality", "quality", false, method{"GET", access.Read, s.governs(s.govern.Quality)})
	add("/api/dlq", "dlq", false, method{"GET", access.Read, s.governs(s.govern.ListLetters)}, method{"DELETE", access.Admin, s.governs(s.govern.PurgeLetters)})
	add("/api/dlq/count", "dlq_count", false, method{"GET", access.Read, s.governs(s.govern.CountLetters)})
	add("/api/dlq/replay", "dlq_replay", false, method{"POST", access.Admin, s.governs(s.replayLetters)})
	add("/api/queries", "queries", false, method{"GET", access.Read, s.listQueries})
	add("/api/queries/", "saved_query", false,
		method{"GET", access.Read, s.getSaved}, method{"PUT", access.Admin, s.putSaved}, method{"DELETE", access.Admin, s.deleteSaved})
	add("/api/boards", "boards", false, method{"GET", access.Read, s.governs(s.boards.List)})
	add("/api/boards/", "board", false, method{"GET", access.Read, s.governs(s.boards.Get)},
		method{"PUT", access.Admin, s.governs(s.boards.Put)}, method{"DELETE", access.Admin, s.governs(s.boards.Delete)})
	add("/api/analytics/", "analytics", false, method{"GET", access.Read, s.getAnalytics})
	add("/api/exports", "raw_exports", false, method{"GET", access.Read, s.exporting((*exports.Exports).List)}, method{"POST", access.Admin, s.exporting((*exports.Exports).Create)})
	add("/api/exports/*/cancel", "raw_export_cancel", false, method{"POST", access.Admin, s.exporting((*exports.Exports).Cancel)})
	add("/api/exports/*", "raw_export", false, method{"GET", access.Read, s.exporting((*exports.Exports).Get)}, method{"DELETE", access.Admin, s.exporting((*exports.Exports).Remove)})
	add("/api/raw", "raw", false, method{"GET", access.Read, s.getRaw})
	add("/api/jobs", "jobs", false, method{"GET", access.Read, s.governs(s.jobs.List)})
	add("/api/jobs/", "job", false, method{"GET", access.Read, s.governs(s.jobs.Get)},
		method{"PUT", access.Admin, s.governs(s.jobs.Put)}, method{"DELETE", access.Admin, s.governs(s.jobs.Cancel)})
	add("/api/cluster", "cluster", false, method{"GET", access.Read, s.governs(s.nodes.Get)})
	add("/api/cluster/join", "cluster_join", false, method{"POST", access.Open, s.postJoin})
	add("/api/cluster/verify", "cluster_verify", false, method{"POST", access.Admin, s.governs(s.nodes.Verify)})
	add("/api/cluster/token", "cluster_token", false, method{"POST", access.Admin, s.governs(s.nodes.Token)})
	add("/api/cluster/transfer", "cluster_transfer", false, method{"POST", access.Admin, s.governs(s.nodes.Transfer)})
	add("/api/cluster/nodes/*/promote", "node_promote", false, method{"POST", access.Admin, s.governs(s.nodes.Promote)})
	add("/api/cluster/nodes/*/demote", "node_demote", false, method{"POST", access.Admin, s.governs(s.nodes.Demote)})
	add("/api/cluster/nodes/*", "node", false, method{"DELETE", access.Admin, s.governs(s.nodes.Remove)})
	add("/api/admin/replay", "replay", false, method{"POST", access.Admin, s.governs(s.replay.Events)})
	add("/api/admin/replay/persons", "replay_persons", false, method{"POST", access.Admin, s.governs(s.replay.Persons)})
	add("/api/admin/replay/governance", "replay_governance", false, method{"POST", access.Admin, s.governs(s.replay.Governance)})
	add("/api/admin/flush", "flush", false, method{"POST", access.Admin, s.postFlush})
	add("/api/admin/compact", "compact", false, method{"POST", access.Admin, s.postCompact})
	add("/api/admin/verify", "verify", false, method{"POST", access.Admin, s.postVerify})
	add("/api/admin/backup", "backup", false, method{"POST", access.Admin, s.postBackup})
	add("/api/keys", "keys", false, method{"GET", access.Admin, s.listKeys}, method{"POST", access.Admin, s.postKey})
	add("/api/keys/", "key", false, method{"DELETE", access.Admin, s.deleteKey})
	add("/api/session", "session", false,
		method{"GET", access.Open, s.getSession}, method{"POST", access.Open, s.postSession}, method{"DELETE", access.Open, s.deleteSession})
	add("/metrics", "metrics", false, method{"GET", access.Read, s.getMetrics})
	r.exact["/api/cluster"].always, r.exact["/metrics"].always = true, true
	for _, path := range []string{"/api/admin/flush", "/api/admin/compact", "/api/admin/verify", "/api/admin/backup"} {
		r.exact[path].own = true
	}
	add("/healthz", "health", false, method{"GET", access.Open, s.getHealth})
	add("/readyz", "ready", false, method{"GET", access.Open, s.getReady})
	add("/openapi.yaml", "openapi", false, method{"GET", access.Open, s.getOpenAPI})
	if f := s.opts.Script; f != nil {
		get := method{"GET", access.Open, f.Serve}
		add(f.Path(), "script", false, get)
		add(f.Pattern(), "script_by_hash", false, get)
	}
	r.dialects = map[string]*routeMetrics{}
	for _, name := range s.opts.Dialects.Names() {
		r.dialects[name] = s.metrics.route(name)
	}
	add("/", "root", false, method{"GET", access.Open, s.getRoot})
	for _, path := range dashboard.Paths() {
		add(path, path[1:], false, method{"GET", access.Open, func(ctx *fasthttp.RequestCtx, _ string) error {
			dashboard.Serve(ctx, path)
			return nil
		}})
	}
	return r
}

// find returns the route of a path and its parameter; nil where there is none.
func (r *routes) find(path []byte) (rt *route, name string, err error) {
	if n := len(path); n > 1 && path[n-1] == '/' {
		path = path[:n-1] // clients append one
	}
	if rt = r.exact[string(path)]; rt != nil {
		return rt, "", nil
	}
	for i := range r.prefix {
		p := &r.prefix[i]
		if len(path) > len(p.path)+len(p.suffix) && string(path[:len(p.path)]) == p.path && string(path[len(path)-len(p.suffix):]) == p.suffix {
			name, err := p.read(string(path[len(p.path) : len(path)-len(p.suffix)]))
			return p.route, name, err
		}
	}
	return nil, "", nil
}

// maxNameBytes bounds a name in a path.
const maxNameBytes = 128

// segmentName decodes a path segment that is a name.
func segmentName(segment string) (string, error) {
	name, err := url.PathUnescape(segment)
	switch {
	case err != nil || !utf8.ValidString(name):
		return "", fail(fasthttp.StatusBadRequest, "bad_name", "the name in the path is not percent-encoded UTF-8")
	case name == "" || len(name) > maxNameBytes:
		return "", fail(fasthttp.StatusBadRequest, "bad_name", "a name has 1 to %d bytes", maxNameBytes)
	case name == "." || name == ".." || strings.ContainsFunc(name, func(r rune) bool { return r == '/' || r == '\\' || unicode.IsControl(r) }):
		return "", fail(fasthttp.StatusBadRequest, "bad_name", "a name has no slashes and no control characters")
	}
	return name, nil
}

// personSegment decodes a path segment that is a userId or an anonymousId, which may hold anything.
func personSegment(segment string) (string, error) {
	id, err := url.PathUnescape(segment)
	if err != nil || !utf8.ValidString(id) || strings.Contains(segment, "/") {
		return "", fail(fasthttp.StatusBadRequest, "bad_person_id", "the id in the path is not percent-encoded UTF-8")
	}
	return id, nil
}

// eventSegment decodes a path segment that is an event name, which may hold anything.
func eventSegment(segment string) (string, error) {
	name, err := url.PathUnescape(segment)
	if err != nil || !utf8.ValidString(name) || strings.Contains(segment, "/") {
		return "", fail(fasthttp.StatusBadRequest, "bad_name", "the event name in the path is not percent-encoded UTF-8")
	}
	return name, nil
}

// handle serves one request.
func (s *Server) handle(ctx *fasthttp.RequestCtx) {
	start := time.Now() // latencies are measured, not part of any answer
	rt, name, err := s.routes.find(ctx.URI().PathOriginal())
	numbers := s.routes.none
	var spoken dialect.Dialect
	var speak dialect.Handler
	if rt != nil {
		numbers = rt.numbers
	} else if spoken, speak = s.opts.Dialects.Find(ctx.URI().PathOriginal()); speak != nil {
		numbers = s.routes.dialects[spoken.Name()]
	}
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("request handler panicked", "route", numbers.name, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			ctx.Response.Reset()
			if speak != nil || rt != nil && rt.open {
				nameOrigin(ctx)
			}
			s.answerFailure(ctx, fail(fasthttp.StatusInternalServerError, "internal", "the server failed; its log says why").final())
		}
		numbers.done(ctx.Response.StatusCode(), time.Since(start))
		s.logRequest(ctx, numbers.name, time.Since(start))
	}()
	if f := checkFraming(&ctx.Request.Header); f != nil {
		s.answerFailure(ctx, f)
		return
	}
	if speak != nil {
		if !allowOrigin(ctx, dialectMethods) && s.serveHere(ctx) { // some write by GET
			s.serveDialect(ctx, spoken, speak)
		}
		return
	}
	if rt == nil {
		s.answerFailure(ctx, fail(fasthttp.StatusNotFound, "not_found", "there is nothing at this path; GET / lists what there is"))
		return
	}
	if rt.open && allowOrigin(ctx, "POST, OPTIONS") {
		return
	}
	m := rt.method(ctx.Method())
	if m == nil {
		ctx.Response.Header.Set("Allow", rt.allow)
		s.answerFailure(ctx, fail(fasthttp.StatusMethodNotAllowed, "method_not_allowed", "this path takes %s", rt.allow))
		return
	}
	if m.writes(rt) && !s.serveHere(ctx) {
		return
	}
	if err == nil && m.reads(rt) { // first: a key may have been revoked by what it waits for
		err = s.fresh.Await(s.ctx, ctx)
	}
	if err == nil {
		err = s.admit(ctx, m.role, rt.open)
	}
	if err == nil && m.role != access.Open && !rt.always {
		err = s.checkReady()
	}
	if err == nil {
		err = m.run(ctx, name)
	}
	if err != nil {
		s.answerError(ctx, err)
	}
}

// writes tells whether only the leader may decide what becomes of a request.
func (m *method) writes(rt *route) bool {
	return !rt.own && m.verb != "GET" && m.role != access.Read && (m.role != access.Open || rt.name == "cluster_join")
}

// reads tells whether a request asks for what writes have stored.
func (m *method) reads(rt *route) bool {
	return !rt.always && (m.role == access.Read || m.verb == "GET" && m.role == access.Admin)
}

// serveHere tells whether this node serves a request that may write. It does where
// it leads; else the leader answers the request, or nobody can.
func (s *Server) serveHere(ctx *fasthttp.RequestCtx) bool {
	if _, forwarded := nodes.WasForwarded(ctx); forwarded {
		if s.opts.Nodes.IsLeader() {
			return true
		}
		s.answerError(ctx, ErrNotLeader) // the node that it came from looks for the next one
		return false
	}
	here, err := s.forward.Here(s.ctx)
	if here {
		return true
	}
	if err == nil {
		err = s.sendToLeader(ctx)
	}
	if errors.Is(err, nodes.ErrHere) {
		return true
	}
	if err != nil {
		s.answerError(ctx, err)
	}
	return false
}

// sendToLeader reads a request whole, so that a slow client holds memory of this node alone, and has
// the leader answer it, who asks for the key.
func (s *Server) sendToLeader(ctx *fasthttp.RequestCtx) error {
	h := &ctx.Request.Header
	if key, verdict := s.opts.Keys.Admit(access.Write, access.FromAuthorization(h.Peek(fasthttp.HeaderAuthorization)), h.Peek("X-Write-Key"), ctx.QueryArgs().Peek("writeKey")); verdict == access.Granted {
		ctx.SetUserValue(callerKey{}, &caller{key: key}) // whose share of the memory it takes
	}
	b := bodies.Get().(*body)
	b.s, b.tenant = s, callerOf(ctx).tenant()
	defer b.release()
	if err := b.read(ctx, s.opts.MaxBodyBytes); err != nil {
		return err
	}
	err := s.forward.Forward(s.ctx, ctx, b.data, s.clientAddress(ctx))
	if errors.Is(err, nodes.ErrHere) {
		ctx.Request.SetBody(b.data) // for who reads it next; see body.read
	}
	return err
}

func (rt *route) method(verb []byte) *method {
	for i := range rt.methods {
		if m := &rt.methods[i]; m.verb == string(verb) || m.verb == "GET" && string(verb) == "HEAD" {
			return m
		}
	}
	return nil
}
