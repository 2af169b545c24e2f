package server

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/valyala/fasthttp"

	"spoor/engine"
	"spoor/server/collect"
	"spoor/server/nodes"
)

// serverMetrics are the numbers of one server, in Prometheus text.
type serverMetrics struct {
	set          *metrics.Set
	accepted     *metrics.Counter
	duplicates   *metrics.Counter
	badRequests  *metrics.Counter
	connsRefused *metrics.Counter
	rejected     sync.Map // code -> *metrics.Counter
	queries      *metrics.Counter
	refused      *metrics.Counter // queries, for want of a place
	limited      *metrics.Counter // requests, by the rates of their key
	overloaded   *metrics.Counter // requests with bodies, for want of memory, a place or a turn
}

// routeMetrics are the numbers of one route.
type routeMetrics struct {
	name    string
	classes [6]*metrics.Counter // by the first digit of the status
	latency *metrics.PrometheusHistogram
}

// latencyBounds are in seconds: from a memory access away to a query's limit.
var latencyBounds = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

func newMetrics(s *Server) *serverMetrics {
	set := metrics.NewSet()
	m := &serverMetrics{
		set:          set,
		accepted:     set.NewCounter("spoor_events_accepted_total"),
		duplicates:   set.NewCounter("spoor_events_duplicate_total"),
		badRequests:  set.NewCounter("spoor_http_bad_requests_total"),
		connsRefused: set.NewCounter("spoor_http_connections_refused_total"),
		queries:      set.NewCounter("spoor_queries_total"),
		refused:      set.NewCounter("spoor_queries_refused_total"),
		limited:      set.NewCounter("spoor_http_rate_limited_total"),
		overloaded:   set.NewCounter("spoor_http_overloaded_total"),
	}
	gauges := map[string]func() float64{
		"spoor_body_bytes":       func() float64 { return float64(s.bytes.Held()) },
		"spoor_body_bytes_limit": func() float64 { return float64(s.opts.BudgetBytes) },
		"spoor_log_room_bytes":   func() float64 { return float64(s.room.Held()) },
		"spoor_requests_waiting": func() float64 {
			return float64(s.bytes.Waiting() + s.places.Waiting() + s.room.Waiting() + s.turns.Waiting())
		},
		"spoor_queries_running":        func() float64 { return float64(s.queries.Held()) },
		"spoor_queries_waiting":        func() float64 { return float64(s.queries.Waiting()) },
		"spoor_exports_running":        func() float64 { return float64(len(s.exports)) },
		"spoor_http_connections":       func() float64 { return float64(s.http.GetOpenConnectionsCount()) },
		"spoor_collector_waiting":      func() float64 { return float64(s.collect.Stats().Waiting) },
		"spoor_log_entries_total":      func() float64 { return float64(s.collect.Stats().Entries) },
		"spoor_log_entry_rows_total":   func() float64 { return float64(s.collect.Stats().Rows) },
		"spoor_log_failures_total":     func() float64 { return float64(s.collect.Stats().Failed) },
		"spoor_applied_index":          func() float64 { return float64(s.back.Store().AppliedIndex) },
		"spoor_durable_index":          func() float64 { return float64(s.back.Store().DurableIndex) },
		"spoor_commit_index":           func() float64 { return float64(s.back.Cluster().Commit) },
		"spoor_ready":                  func() float64 { return boolNumber(s.back.Ready() == nil) },
		"spoor_http_connections_limit": func() float64 { return float64(s.opts.MaxConns) },
	}
	gauges["spoor_dead_letters"] = func() float64 { n, _, _ := s.back.Letters().Len(); return float64(n) }
	gauges["spoor_dead_letter_bytes"] = func() float64 { _, bytes, _ := s.back.Letters().Len(); return float64(bytes) }
	maps.Copy(gauges, nodes.Gauges(s.opts.Nodes))
	gauges["spoor_cluster_term"] = func() float64 { return float64(s.back.Cluster().Term) }
	gauges["spoor_cluster_members"] = func() float64 { return float64(len(s.back.Cluster().Members)) }
	for name, n := range s.govern.Counters() {
		gauges[name] = func() float64 { return float64(n.Load()) }
	}
	if raw := s.opts.Raw; raw != nil {
		gauges["spoor_raw_files"] = func() float64 { return float64(raw.Status().Files) }
		gauges["spoor_raw_events"] = func() float64 { return float64(raw.Status().Events) }
		gauges["spoor_raw_bytes"] = func() float64 { return float64(raw.Status().Bytes) }
		gauges["spoor_raw_failures"] = func() float64 { return float64(raw.Status().Failures) }
		gauges["spoor_raw_erasing"] = func() float64 { return boolNumber(raw.Status().Pending) }
		days := &coldSeen{ask: s.back.Cold}
		for name, of := range map[string]func(engine.ColdStatus) float64{
			"spoor_cold_files":                 func(c engine.ColdStatus) float64 { return float64(c.Files) },
			"spoor_cold_bytes":                 func(c engine.ColdStatus) float64 { return float64(c.Bytes) },
			"spoor_cold_stub_bytes":            func(c engine.ColdStatus) float64 { return float64(c.StubBytes) },
			"spoor_cold_erasing_files":         func(c engine.ColdStatus) float64 { return float64(c.Waiting) },
			"spoor_cold_failed_rounds":         func(c engine.ColdStatus) float64 { return float64(c.FailedRounds) },
			"spoor_cold_away":                  func(c engine.ColdStatus) float64 { return boolNumber(c.Away != "") },
			"spoor_cold_cache_bytes":           func(c engine.ColdStatus) float64 { return float64(c.CacheBytes) },
			"spoor_cold_cache_hits_total":      func(c engine.ColdStatus) float64 { return float64(c.Hits) },
			"spoor_cold_cache_misses_total":    func(c engine.ColdStatus) float64 { return float64(c.Misses) },
			"spoor_cold_read_bytes_total":      func(c engine.ColdStatus) float64 { return float64(c.ReadBytes) },
			"spoor_cold_written_bytes_total":   func(c engine.ColdStatus) float64 { return float64(c.WriteBytes) },
			"spoor_cold_requests_total":        func(c engine.ColdStatus) float64 { return float64(c.Requests) },
			"spoor_cold_request_errors_total":  func(c engine.ColdStatus) float64 { return float64(c.Failures) },
			"spoor_cold_request_seconds_total": func(c engine.ColdStatus) float64 { return c.RequestTime.Seconds() },
		} {
			gauges[name] = func() float64 { return of(days.now()) }
		}
	}
	for name, f := range gauges {
		set.NewGauge(name, f)
	}
	return m
}

// coldSeen asks once for all gauges of a scrape.
type coldSeen struct {
	ask  func() engine.ColdStatus
	mu   sync.Mutex
	at   time.Time
	last engine.ColdStatus
}

func (c *coldSeen) now() engine.ColdStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.at) > time.Second {
		c.last, c.at = c.ask(), time.Now()
	}
	return c.last
}

func boolNumber(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (m *serverMetrics) route(name string) *routeMetrics {
	r := &routeMetrics{name: name}
	for i := range r.classes {
		r.classes[i] = m.set.NewCounter(fmt.Sprintf(`spoor_http_requests_total{route=%q,status="%dxx"}`, name, i))
	}
	r.latency = m.set.NewPrometheusHistogramExt(fmt.Sprintf(`spoor_http_request_seconds{route=%q}`, name), latencyBounds)
	return r
}

func (r *routeMetrics) done(status int, took time.Duration) {
	r.classes[min(status/100, len(r.classes)-1)].Inc()
	r.latency.Update(took.Seconds())
}

// events counts what became of a request's events.
func (m *serverMetrics) events(r *collect.Request) {
	m.accepted.Add(r.Accepted)
	m.duplicates.Add(r.Duplicates)
	for i := range r.Rejected {
		m.refusedEvent(r.Rejected[i].Code)
	}
}

// refusedEvent counts an event that was refused; code is one of the program's constants.
func (m *serverMetrics) refusedEvent(code string) {
	c, ok := m.rejected.Load(code)
	if !ok {
		c, _ = m.rejected.LoadOrStore(code, m.set.GetOrCreateCounter(fmt.Sprintf(`spoor_events_rejected_total{code=%q}`, code)))
	}
	c.(*metrics.Counter).Inc()
}

// getMetrics writes all numbers.
func (s *Server) getMetrics(ctx *fasthttp.RequestCtx, _ string) error {
	var out bytes.Buffer
	s.metrics.set.WritePrometheus(&out)
	metrics.WriteProcessMetrics(&out)
	ctx.Response.Header.SetContentType("text/plain; version=0.0.4; charset=utf-8")
	ctx.Response.SetBodyRaw(out.Bytes())
	return nil
}

// logRequest writes the access log, which has neither bodies nor query texts nor keys.
func (s *Server) logRequest(ctx *fasthttp.RequestCtx, route string, took time.Duration) {
	if !s.log.Enabled(s.ctx, slog.LevelDebug) {
		return
	}
	s.log.Debug("request", "method", string(ctx.Method()), "route", route, "status", ctx.Response.StatusCode(),
		"bytes_in", ctx.Request.Header.ContentLength(), "took_ms", float64(took.Microseconds())/1000, "from", ctx.RemoteAddr().String())
}
