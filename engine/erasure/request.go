// Package erasure says what is erased: persons, events by a condition, fields, and
// what is older than the retention allows.
//
// An erasure is an entry of the log. From the moment it is applied its rows are
// gone from every answer (Set.Mask tells queries what to leave out); compaction then
// writes the files that still hold them anew, and Set tells it what to drop. Of an
// erased event nothing stays but its eventId, so that a resend is still a duplicate.
package erasure

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"spoor/engine/query/lang"
	"spoor/segment/batch"
)

// Kind is what a request erases.
type Kind string

// The kinds.
const (
	Person    Kind = "person"    // a user: events, ids and traits; later events are refused until it is allowed
	History   Kind = "history"   // the events of a user, who stays known
	Anonymise Kind = "anonymise" // the ids and traits of a user, and Fields of its events; the events stay
	Events    Kind = "events"    // events by name, condition and time
	Field     Kind = "field"     // Fields of all events, or of those of some names
	Allow     Kind = "allow"     // nothing: later events of an erased user are stored again
)

// Bounds of a request.
const (
	MaxIDBytes     = 128
	MaxUserBytes   = 1024
	MaxNames       = 100 // event names or fields
	MaxWhereBytes  = 16 << 10
	MaxReference   = 256
	maxNameBytes   = 256
	earliest       = "1900-01-01"
	latest         = "2199-12-31"
	noUpperBoundTo = batch.MaxTime + 1
)

// Request is what is to be erased.
type Request struct {
	ID   string `json:"id"`
	Kind Kind   `json:"kind"`
	// User is a userId, or the anonymousId of somebody without one; of the kinds about a user.
	User string `json:"user,omitempty"`
	// Events are names; of kind events none means all, of kind field likewise.
	Events []string `json:"events,omitempty"`
	// Where is a condition of the query language over the event's own fields, From and To bound the
	// event's time, To being exclusive; of kind events.
	Where string `json:"where,omitempty"`
	From  string `json:"from,omitempty"`
	To    string `json:"to,omitempty"`
	// Fields are properties.x or context.x, with all that is below them; of the kinds field and anonymise.
	Fields []string `json:"fields,omitempty"`
	// Reference is the caller's own, a ticket's number for example.
	Reference string `json:"reference,omitempty"`
	// At is when the request was made, microseconds since the Unix epoch.
	At int64 `json:"at"`
}

// ErrRequest is wrapped when a request cannot be carried out as it is.
var ErrRequest = errors.New("the request is not valid")

func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrRequest, fmt.Sprintf(format, args...))
}

var idForm = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// Check says what is wrong with a request before it is proposed.
func (r *Request) Check() error {
	if len(r.ID) > MaxIDBytes || !idForm.MatchString(r.ID) {
		return refuse("id has 1 to %d letters, digits, - and _", MaxIDBytes)
	}
	if len(r.Reference) > MaxReference {
		return refuse("reference is longer than %d bytes", MaxReference)
	}
	about := map[Kind]bool{Person: true, History: true, Anonymise: true, Allow: true}[r.Kind]
	switch {
	case !about && r.Kind != Events && r.Kind != Field:
		return refuse("kind %q is none of person, history, anonymise, events, field, allow", r.Kind)
	case about && (r.User == "" || len(r.User) > MaxUserBytes):
		return refuse("user has 1 to %d bytes", MaxUserBytes)
	case !about && r.User != "":
		return refuse("an erasure of kind %s is not about a user; leave user out, or take kind person or history", r.Kind)
	case r.Kind != Events && (r.Where != "" || r.From != "" || r.To != ""):
		return refuse("where, from and to belong to kind events")
	case r.Kind != Events && r.Kind != Field && len(r.Events) > 0:
		return refuse("events belongs to the kinds events and field")
	case r.Kind != Field && r.Kind != Anonymise && len(r.Fields) > 0:
		return refuse("fields belongs to the kinds field and anonymise")
	case r.Kind == Field && len(r.Fields) == 0:
		return refuse("fields names none; write properties.x or context.x")
	case r.Kind == Events && len(r.Events) == 0 && r.Where == "" && r.From == "" && r.To == "":
		return refuse("this would erase all events; name events, a condition or a time")
	case len(r.Events) > MaxNames || len(r.Fields) > MaxNames || len(r.Where) > MaxWhereBytes:
		return refuse("at most %d events and fields, and %d bytes of condition", MaxNames, MaxWhereBytes)
	}
	if slices.ContainsFunc(r.Events, func(name string) bool { return name == "" || len(name) > maxNameBytes }) {
		return refuse("an event name has 1 to %d bytes", maxNameBytes)
	}
	_, err := r.compile()
	return err
}

// Record is what the request log keeps: no id of a user.
type Record struct {
	Request
	// Index is the log index at which the request came into force.
	Index uint64 `json:"index"`
	// Known is false where nobody was known by the user's id. IDs counts the ids of the user.
	Known bool `json:"known,omitzero"`
	IDs   int  `json:"ids,omitzero"`
	// Letters counts the dead letters that went with it.
	Letters int `json:"letters,omitzero"`
	// Ordinals are those of the user's rows.
	Ordinals []uint32 `json:"ordinals,omitempty"`
}

// maxOrdinals bounds those that a record lists; a user with more is erased like any
// other, its rows are counted for nobody. Where fields go with an anonymised user, all are needed.
const maxOrdinals = 1000

// NewRecord is the record of a request that was applied.
func NewRecord(r *Request, index uint64, known bool, ids int, ordinals []uint32) *Record {
	out := &Record{Request: *r, Index: index, Known: known, IDs: ids}
	out.User = ""
	if len(ordinals) <= maxOrdinals || r.Kind == Anonymise && len(r.Fields) > 0 {
		out.Ordinals = slices.Clone(ordinals)
	}
	return out
}

// Parse reads a request as the log has it.
func Parse(b []byte) (*Request, error) {
	r := &Request{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	return r, r.Check()
}

// parsed is a request whose texts were understood.
type parsed struct {
	where    lang.Expr
	from, to int64 // microseconds, to exclusive
	paths    []string
}

func (r *Request) compile() (*parsed, error) {
	p := &parsed{}
	for _, f := range r.Fields {
		path, err := columnPath(f)
		if err != nil {
			return nil, err
		}
		p.paths = append(p.paths, path)
	}
	if r.Kind != Events {
		return p, nil
	}
	var err error
	if p.from, err = moment("from", r.From, earliest); err != nil {
		return nil, err
	}
	if p.to, err = moment("to", r.To, ""); err != nil {
		return nil, err
	}
	if p.from >= p.to {
		return nil, refuse("from is not before to")
	}
	if r.Where == "" {
		return p, nil
	}
	// The condition stands alone in brackets on lines of its own: it can be nothing else.
	q, err := lang.Parse("events of any where (\n" + r.Where + "\n)")
	if err != nil {
		return nil, refuse("where: %v", err)
	}
	p.where = q.Where
	return p, ownFields(q.Where)
}

// columnPath is the column of a field, which must be one of an event's JSON.
func columnPath(field string) (string, error) {
	q, err := lang.Parse("top " + field + " of any")
	if err != nil || q.Top.Field.Scope != lang.ScopeProperty && q.Top.Field.Scope != lang.ScopeContext {
		return "", refuse("%.100q is no field of events; write properties.x or context.x", field)
	}
	return q.Top.Field.Path, nil
}

// moment reads a date or a time; without a zone it is UTC.
func moment(name, text, otherwise string) (int64, error) {
	if text == "" {
		if otherwise == "" {
			return noUpperBoundTo, nil
		}
		text = otherwise
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly, "2006-01-02T15:04:05", "2006-01-02T15:04"} {
		if t, err := time.Parse(layout, text); err == nil && t.UnixMicro() >= batch.MinTime && t.UnixMicro() <= noUpperBoundTo {
			return t.UnixMicro(), nil
		}
	}
	return 0, refuse("%s is no date and no time; write 2026-05-01 or 2026-05-01T10:30:00Z", name)
}

// ownFields tells whether a condition asks only for what an event's row itself says:
// who its person is may change before the row is written anew.
func ownFields(e lang.Expr) error {
	check := func(f *lang.Field) error {
		switch f.Scope {
		case lang.ScopeUser, lang.ScopeUserID, lang.ScopeAnonymousID:
			return refuse("where: %s is about a person; to erase the events of one take kind history or person", f)
		}
		return nil
	}
	switch e := e.(type) {
	case *lang.And:
		return each(e.Terms)
	case *lang.Or:
		return each(e.Terms)
	case *lang.Not:
		return ownFields(e.Term)
	case *lang.Compare:
		return check(&e.Field)
	case *lang.In:
		return check(&e.Field)
	case *lang.Match:
		return check(&e.Field)
	case *lang.Exists:
		return check(&e.Field)
	case *lang.InCohort:
		return refuse("where: a cohort is about persons; to erase the events of one take kind history or person")
	}
	return nil
}

func each(terms []lang.Expr) error {
	for _, t := range terms {
		if err := ownFields(t); err != nil {
			return err
		}
	}
	return nil
}
