package server

import (
	"context"
	"errors"
	"io"

	"github.com/go-json-experiment/json/jsontext"

	"spoor/cluster/datadir"
	"spoor/engine"
	"spoor/engine/event"
	"spoor/engine/query"
	"spoor/engine/query/lang"
	"spoor/engine/traits"
	"spoor/server/collect"
	"spoor/server/erase"
	"spoor/server/export"
	"spoor/server/govern"
	"spoor/server/replay"
)

// Backend is the store behind the server: the log, the engine and the query
// language as the handlers see them.
type Backend interface {
	collect.Log
	Querier
	Documents
	Operator

	People
	govern.Letters
	erase.Store
	govern.Consents
	replay.Rules
}

// People is who is who, and what is known of them.
type People interface {
	// Identify commits one call. linked is false where the anonymousId belongs to
	// another user, leftOut names traits beyond the bounds of a person or the store.
	Identify(ctx context.Context, call *traits.Call) (linked bool, leftOut []string, index uint64, err error)
	// IdentifyAll commits calls as one log entry, at most traits.MaxCalls. erased are
	// the places of those that are about an erased person and did nothing.
	IdentifyAll(ctx context.Context, calls []traits.Call) (erased []int, index uint64, err error)
	// Person is whom a userId, or else an anonymousId, stands for.
	Person(id string) (p Person, found bool)
}

// Person is somebody as the store knows them.
type Person struct {
	Name         string         `json:"person"` // the userId, or the first anonymousId
	UserID       *string        `json:"userId"`
	AnonymousIDs []string       `json:"anonymousIds"` // oldest link first, at most MaxListedIDs
	Traits       jsontext.Value `json:"traits"`
}

// MaxListedIDs is how many anonymousIds of a person are listed.
const MaxListedIDs = 1000

// Querier answers queries.
type Querier interface {
	// Query answers text with a JSON object. The error is a *QueryError where the text is at fault.
	Query(ctx context.Context, text string, opt QueryOptions) (json []byte, err error)
	// Persons answers who is in one number of the answer to text, a funnel or a retention.
	Persons(ctx context.Context, text string, at query.Place) (*query.UsersAnswer, error)
	// CheckQuery reads text and says what kind of query it is.
	CheckQuery(text string) (kind string, err error)
	// Complete says how text could go on at pos, an offset in bytes.
	Complete(text string, pos int) ([]lang.Suggestion, error)
	// Catalog is the events that there are and the fields of one, of all if event is "".
	Catalog(event string) (Catalog, error)
	// Running are the queries that are being answered, the oldest first.
	Running() []query.Running
	// Export yields the events that spec asks for as JSON objects, ordered by time,
	// then eventId. A line is good until yield returns; an error of yield ends the export.
	Export(ctx context.Context, spec export.Spec, yield func(line []byte) error) error
	// ExportParquet writes them as one Parquet file, see package parquetfile.
	ExportParquet(ctx context.Context, spec export.Spec, w io.Writer) error
}

// QueryOptions change how a query is answered, not what the answer is.
type QueryOptions struct {
	Explain bool   // tell how it would be answered instead
	NoCache bool   // compute it, also if it was computed before
	ID      string // names it among the running queries
}

// Documents are small named values that are committed through the log.
type Documents interface {
	PutDocument(ctx context.Context, kind, name string, value []byte) (index uint64, err error)
	DeleteDocument(ctx context.Context, kind, name string) (found bool, index uint64, err error)
	Document(kind, name string) (Document, bool)
	Documents(kind string) []Document // by name
	DocumentsIndex() uint64           // log index of the last change of any
}

// Document is a stored document. Value must not be changed.
type Document = govern.Document

// Operator is what those who run the server see and do.
type Operator interface {
	// Ready is nil once reads and writes are served.
	Ready() error
	Flush(ctx context.Context) error
	Compact(ctx context.Context) error
	// Merging is the merge of files that is at work; false: there is none.
	Merging() (engine.Merge, bool)
	Cluster() ClusterStatus
	Store() StoreStatus
	// Verify reads every byte of store, log and snapshots. What is wrong stands in the report.
	Verify(ctx context.Context, progress engine.Progress) (*datadir.Report, error)
	// Grep looks for texts in every byte of the data directory; ErrNoDataDir if there is none.
	Grep(ctx context.Context, texts []string, progress engine.Progress) (*datadir.Found, error)
	// Backup writes a backup into the directory of a name below the one that the operator
	// set aside; ErrNoBackupDir if there is none. A name is one that a path segment may be.
	Backup(ctx context.Context, name string, progress engine.Progress) (*engine.BackupReport, error)
}

// ClusterStatus is the node as its cluster sees it.
type ClusterStatus struct {
	Node    string   `json:"node"`
	Role    string   `json:"role"` // leader, follower, candidate
	Leader  string   `json:"leader"`
	Term    uint64   `json:"term"`
	Commit  uint64   `json:"commit_index"`
	Applied uint64   `json:"applied_index"`
	Durable uint64   `json:"durable_index"`
	Members []Member `json:"members"`
}

// Member is one node of a cluster.
type Member struct {
	ID      string `json:"id"`
	Address string `json:"address"`
	Voter   bool   `json:"voter"`
}

// StoreStatus is how far the store is.
type StoreStatus struct {
	AppliedIndex uint64 // of the log: what queries see
	DurableIndex uint64 // of the log: what is in files
}

// Errors of a Backend that handlers tell apart.
var (
	ErrNotLeader  = errors.New("this node does not lead the cluster") // surely not stored
	ErrOverloaded = errors.New("the log is overloaded")               // surely not stored
	ErrTooLarge   = errors.New("the log entry is too large")          // surely not stored
	ErrDiskFull   = errors.New("the disk is full")                    // surely not stored
	ErrUnknown    = errors.New("the outcome is unknown")              // may be stored: resend with the same ids
	ErrErased     = errors.New("the person was erased")               // surely not stored
	ErrLimit      = errors.New("the query needs more than it may")

	// ErrNoDataDir: the data is in memory alone.
	ErrNoDataDir = errors.New("the server has no data directory")
	// ErrNoBackupDir: the operator has set no directory aside for backups.
	ErrNoBackupDir = errors.New("the server has no directory for backups; start it with --backup-dir DIR")
)

// Erased is what clients are told of an event or a call in a batch that is about
// an erased person.
var Erased = &event.Reject{Code: "person_erased", Message: "the person was erased; what is sent of this id is taken again after POST /api/users/ID/allow"}

// QueryError says what is wrong with a query text and where.
type QueryError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Line    int    `json:"line,omitzero"`
	Column  int    `json:"column,omitzero"`
	Hint    string `json:"hint,omitzero"`
}

func (e *QueryError) Error() string { return e.Message }
