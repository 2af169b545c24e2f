// Package export gives events back: what may be asked for, the lines that
// events become, and the stream that carries them to a client who may be slow,
// leave, and go on later.
//
// On the way of an event it is one of the exits, between the query engine,
// which yields events in order, and the connection.
package export

import "fmt"

// Spec says which events an export has.
type Spec struct {
	From, To string   // as in the query language; empty: no bound
	Where    string   // a predicate of the query language; empty: none
	Events   []string // names; empty: all
	Columns  []string // of a Parquet file: paths that have columns; empty: all
	Limit    int      // 0: none
	After    *Position
}

// Position is the place of an event in the order of an export: time, then eventId.
type Position struct {
	Time    int64 // microseconds since the Unix epoch
	EventID string
}

// Fault is a call for an export that cannot be answered as it stands.
type Fault struct{ Code, Message string }

func (f *Fault) Error() string { return f.Message }

func fault(code, format string, args ...any) error {
	return &Fault{code, fmt.Sprintf(format, args...)}
}

// Format writes events, which are JSON objects, as lines of text.
type Format interface {
	ContentType() string
	// Head appends what stands before the first line.
	Head(dst []byte) []byte
	// Line appends an event.
	Line(dst, event []byte) ([]byte, error)
}

// NDJSON is one JSON object per line.
type NDJSON struct{}

// ContentType is the registered one.
func (NDJSON) ContentType() string { return "application/x-ndjson" }

// Head is empty.
func (NDJSON) Head(dst []byte) []byte { return dst }

// Line is the event and a line end.
func (NDJSON) Line(dst, event []byte) ([]byte, error) {
	return append(append(dst, event...), '\n'), nil
}
