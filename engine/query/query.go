// Package query answers questions: it parses their text, plans which sections
// of which segments can matter, lets kernels sweep them on all cores, and puts
// the numbers into the shapes that the API promises.
package query

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"spoor/engine"
	"spoor/engine/query/lang"
)

// Store is what questions are asked of.
type Store interface {
	View() (*engine.View, error)
	Document(kind, name string) (engine.Document, bool)
}

// Limits bound one query. The zero value is replaced by DefaultLimits.
type Limits struct {
	Buckets int   // points of a series
	Groups  int   // distinct values of a breakdown that are told apart
	Bytes   int64 // working memory of rows that are held at once
	Workers int   // goroutines; default GOMAXPROCS
}

// DefaultLimits are what the documentation states.
func DefaultLimits() Limits {
	return Limits{Buckets: 20_000, Groups: 1_000_000, Bytes: 1 << 30, Workers: runtime.GOMAXPROCS(0)}
}

// Engine answers queries over a store. It is safe for concurrent use.
type Engine struct {
	store  Store
	limits Limits
	now    func() time.Time
}

// New makes an engine; now is the clock that relative times are resolved by.
func New(store Store, limits Limits, now func() time.Time) *Engine {
	if limits == (Limits{}) {
		limits = DefaultLimits()
	}
	return &Engine{store: store, limits: limits, now: now}
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
}

// AsOf says what an answer includes; the times are null in a store without events.
type AsOf struct {
	Index       uint64  `json:"index"`
	ReceivedAt  *string `json:"received_at"`
	DataThrough *string `json:"data_through"`
}

// Ask parses and answers a query.
func (e *Engine) Ask(ctx context.Context, text string) (Answer, error) {
	q, err := lang.Parse(text)
	if err != nil {
		return nil, err
	}
	return e.Answer(ctx, q)
}

// Answer answers a parsed query.
func (e *Engine) Answer(ctx context.Context, q *lang.Query) (Answer, error) {
	start := time.Now()
	view, err := e.store.View()
	if err != nil {
		return nil, err
	}
	defer view.Release()
	x, err := e.newExec(ctx, q, view)
	if err != nil {
		return nil, err
	}
	a, err := x.answer()
	if err != nil {
		return nil, err
	}
	c := a.common()
	c.Kind = q.Kind.String()
	c.Query = q.Resolved(x.now)
	c.Warnings = x.warnings
	c.Stats = x.statistics(start)
	c.AsOf = AsOf{Index: view.AppliedIndex}
	if !view.Empty() {
		received, through := formatTime(view.LastReceived), formatTime(view.DataThrough)
		c.AsOf.ReceivedAt, c.AsOf.DataThrough = &received, &through
	}
	return a, nil
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
	rows, skipped atomic.Int64
}

// formatTime writes a time as RFC 3339 in UTC, with as many digits as it needs.
func formatTime(micros int64) string {
	return time.UnixMicro(micros).UTC().Format(time.RFC3339Nano)
}
