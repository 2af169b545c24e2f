// Package query answers questions: it parses their text, plans which sections
// of which segments can matter, lets kernels sweep them on all cores, and puts
// the numbers into the shapes that the API promises.
package query

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"spoor/engine"
	"spoor/engine/document"
	"spoor/engine/query/cache"
	"spoor/engine/query/kernel"
	"spoor/engine/query/lang"
	"spoor/engine/query/plan"
	"spoor/engine/query/scan"
)

// Store is what questions are asked of.
type Store interface {
	View() (*engine.View, error)
	Document(kind, name string) (document.Document, bool)
}

// Limits bound one query. The zero value is replaced by DefaultLimits.
type Limits struct {
	Buckets int   // points of a series
	Groups  int   // distinct values of a breakdown that are told apart
	Bytes   int64 // working memory of rows that are held at once
	Cache   int64 // bytes of answers that are kept
	Rows    int   // about how many rows a worker holds at once that goes person by person
	Workers int   // goroutines; default GOMAXPROCS
}

// DefaultLimits are what the documentation states.
func DefaultLimits() Limits {
	return Limits{Buckets: 20_000, Groups: 1_000_000, Bytes: 1 << 30, Cache: 32 << 20, Rows: 1 << 20, Workers: runtime.GOMAXPROCS(0)}
}

// Engine answers queries over a store. It is safe for concurrent use.
type Engine struct {
	store  Store
	limits Limits
	now    func() time.Time
	cache  *cache.Cache[Answer]
	// workers keep their buffers from one query to the next, as long as the garbage
	// collector leaves them.
	workers sync.Pool
	funnels sync.Pool // of sweeps, likewise

	mu      sync.Mutex
	running map[*exec]struct{}
}

// New makes an engine; now is the clock that relative times are resolved by.
func New(store Store, limits Limits, now func() time.Time) *Engine {
	if limits == (Limits{}) {
		limits = DefaultLimits()
	}
	return &Engine{
		store: store, limits: limits, now: now, cache: cache.New[Answer](limits.Cache), running: map[*exec]struct{}{},
		workers: sync.Pool{New: func() any { return &scan.Worker{} }},
		funnels: sync.Pool{New: func() any { return &kernel.Funnel{} }},
	}
}

// Error is a query that cannot be answered as it stands.
type Error struct {
	Code    string
	Message string
}

func (e *Error) Error() string { return e.Message }

func failf(code, format string, args ...any) error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// ErrTooMuch is the code of queries that exceed a limit.
const ErrTooMuch = "query_too_large"

// Answer is an answer of any kind; it marshals to the JSON that the API documents.
type Answer interface{ common() *Common }

// Common stands in every answer.
type Common struct {
	Kind     string   `json:"kind"`
	Query    string   `json:"query"`
	Warnings []string `json:"warnings,omitempty"`
	Stats    Stats    `json:"stats"`
	AsOf     AsOf     `json:"as_of"`
}

func (c *Common) common() *Common { return c }

// Stats says what a query did.
type Stats struct {
	ElapsedMS     float64 `json:"elapsed_ms"`
	Partitions    int     `json:"partitions"`
	Segments      int     `json:"segments"`
	BlocksRead    int64   `json:"blocks_read"`
	BlocksSkipped int64   `json:"blocks_skipped"`
	RowsScanned   int64   `json:"rows_scanned"`
	BytesRead     int64   `json:"bytes_read"`
	Cached        bool    `json:"cached,omitempty"` // it was computed for an earlier question
}

// AsOf says what an answer includes; the times are null in a store without events.
type AsOf struct {
	Index       uint64  `json:"index"`
	ReceivedAt  *string `json:"received_at"`
	DataThrough *string `json:"data_through"`
}

// Options change how a query is answered, not what the answer is.
type Options struct {
	NoCache bool   // compute it, and keep nothing
	ID      string // under which it stands among the running ones
}

// Ask parses and answers a query.
func (e *Engine) Ask(ctx context.Context, text string) (Answer, error) {
	q, err := lang.Parse(text)
	if err != nil {
		return nil, err
	}
	return e.Answer(ctx, q, Options{})
}

// Answer answers a parsed query.
func (e *Engine) Answer(ctx context.Context, q *lang.Query, opt Options) (Answer, error) {
	start := time.Now() // it is measured, not part of what is answered
	view, err := e.store.View()
	if err != nil {
		return nil, err
	}
	defer view.Release()
	x, err := e.newExec(ctx, q, view)
	if err != nil {
		return nil, err
	}
	key := ""
	keep := !opt.NoCache && q.Kind != lang.KindEvents // pages of events are cheap and large
	if keep {
		key = x.cacheKey()
		if kept, ok := e.cache.Get(key); ok {
			a := copyOf(kept)
			c := a.common()
			c.Stats = Stats{ElapsedMS: milliseconds(start), Cached: true}
			c.AsOf = asOf(view)
			return a, nil
		}
	}
	defer e.begin(x, opt.ID)()
	a, err := x.answer()
	if err != nil {
		return nil, err
	}
	c := a.common()
	c.Kind = q.Kind.String()
	c.Query = q.Resolved(x.now)
	c.Warnings = x.warnings
	c.Stats = x.statistics(start)
	c.AsOf = asOf(view)
	if keep && len(c.Warnings) == 0 { // warnings speak of names that may come any time
		if size, ok := sizeOf(a); ok {
			e.cache.Put(key, a, size)
			a = copyOf(a)
		}
	}
	return a, nil
}

// Explain runs a query and tells how, instead of what it found.
func (e *Engine) Explain(ctx context.Context, q *lang.Query) (*plan.Plan, error) {
	start := time.Now()
	rec := plan.NewRecorder(time.Now)
	view, err := e.store.View()
	if err != nil {
		return nil, err
	}
	defer view.Release()
	rec.Stage("take a view", 0, 0)
	x, err := e.newExec(ctx, q, view)
	if err != nil {
		return nil, err
	}
	rec.Stage("plan", 0, 0)
	x.rec = rec
	defer e.begin(x, "")()
	if _, err := x.answer(); err != nil {
		return nil, err
	}
	rec.Stage("put the answer together", 0, 0)
	stats := x.statistics(start)
	p := &plan.Plan{
		Kind: "explain", Of: q.Kind.String(), Query: q.Resolved(x.now), Stages: rec.Stages(), Warnings: x.warnings,
		RowsScanned: stats.RowsScanned, BytesRead: stats.BytesRead, ElapsedMS: stats.ElapsedMS,
	}
	p.Survey(view.Segments, x.looked.From, x.looked.To, view.Gone, x.wanted)
	return p, nil
}

func asOf(view *engine.View) AsOf {
	a := AsOf{Index: view.AppliedIndex}
	if !view.Empty() {
		received, through := formatTime(view.LastReceived), formatTime(view.DataThrough)
		a.ReceivedAt, a.DataThrough = &received, &through
	}
	return a
}

// copyOf is a copy whose common part may be changed; the rest is shared.
func copyOf(a Answer) Answer {
	c := reflect.New(reflect.TypeOf(a).Elem())
	c.Elem().Set(reflect.ValueOf(a).Elem())
	return c.Interface().(Answer)
}

// sizeOf is about the memory of an answer: that of its JSON.
func sizeOf(a Answer) (int64, bool) {
	data, err := json.Marshal(a)
	return 2 * int64(len(data)), err == nil
}

func milliseconds(since time.Time) float64 { return float64(time.Since(since).Microseconds()) / 1000 }

// Running is a query that is being answered.
type Running struct {
	ID        string  `json:"id,omitempty"`
	Query     string  `json:"query"`
	ElapsedMS float64 `json:"elapsed_ms"`
	Rows      int64   `json:"rows"`       // decoded until now
	RowsTotal int64   `json:"rows_total"` // in the time that it looks at
	Progress  float64 `json:"progress"`   // about the share that is done, below 1
}

// begin registers a query until the function that it returns is called.
func (e *Engine) begin(x *exec, id string) (done func()) {
	x.id, x.began = id, time.Now()
	e.mu.Lock()
	e.running[x] = struct{}{}
	e.mu.Unlock()
	return func() {
		e.mu.Lock()
		delete(e.running, x)
		e.mu.Unlock()
	}
}

// Running are the queries that are being answered, the oldest first.
func (e *Engine) Running() []Running {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := []Running{}
	for x := range e.running {
		r := Running{ID: x.id, Query: x.q.Resolved(x.now), ElapsedMS: milliseconds(x.began), Rows: x.counters.rows.Load(), RowsTotal: x.rowsIn(x.reach())}
		if r.RowsTotal > 0 {
			r.Progress = min(float64(r.Rows)/float64(r.RowsTotal), 0.99)
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b Running) int { return cmp.Or(cmp.Compare(b.ElapsedMS, a.ElapsedMS), cmp.Compare(a.ID, b.ID)) })
	return out
}

var errUnsupported = errors.New("unknown kind of query")

func (x *exec) answer() (Answer, error) {
	switch x.q.Kind {
	case lang.KindFunnel:
		return x.funnel()
	case lang.KindTrend:
		return x.trend()
	case lang.KindRetention:
		return x.retention()
	case lang.KindSessions:
		return x.sessions()
	case lang.KindTop:
		return x.top()
	case lang.KindEvents:
		return x.events()
	case lang.KindUsers:
		return x.users()
	case lang.KindLifecycle:
		return x.lifecycle()
	case lang.KindStickiness:
		return x.stickiness()
	case lang.KindPaths:
		return x.paths()
	case lang.KindAttribution:
		return x.attribution()
	case lang.KindExperiment:
		return x.experiment()
	}
	return nil, errUnsupported
}

// counters are what workers count together.
type counters struct {
	rows      atomic.Int64
	keyBlocks atomic.Int64
	blocks    atomic.Int64 // of anything but keys
}

// took counts blocks that a worker decoded.
func (c *counters) took(keys, others int64) {
	c.keyBlocks.Add(keys)
	c.blocks.Add(others)
}

// formatTime writes a time as RFC 3339 in UTC, with as many digits as it needs.
func formatTime(micros int64) string {
	return time.UnixMicro(micros).UTC().Format(time.RFC3339Nano)
}

// formatLocal writes a time as RFC 3339 in the query's time zone.
func (x *exec) formatLocal(micros int64) string {
	return time.UnixMicro(micros).In(x.loc).Format(time.RFC3339Nano)
}
