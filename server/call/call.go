// Package call is how parts of the API that live in rooms of their own are asked:
// without the HTTP server, which makes a Call of a request and writes what it
// returns as JSON, a Failure with its status.
package call

import (
	"context"
	"fmt"
	"time"

	"spoor/engine/event"
)

// Call is one request.
type Call struct {
	Context context.Context // of a proposal: it does not end with the client
	Reading context.Context // ends when the client leaves
	Name    string          // from the path
	Arg     func(name string) string
	IfMatch string // the header: what is changed must have this tag; "" for any
	Body    []byte // may not be kept
	Now     time.Time
	Limits  event.Limits

	Index uint64 // set by what writes: the log index
	Tag   string // set by what has versions: the ETag of what is answered
}

// Failure is an answer other than 200.
type Failure struct {
	Status  int
	Code    string // for programs
	Message string
}

func (f *Failure) Error() string { return f.Code + ": " + f.Message }

// Fail makes a Failure.
func Fail(status int, code, format string, args ...any) error {
	return &Failure{status, code, fmt.Sprintf(format, args...)}
}
