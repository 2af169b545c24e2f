// Package erase is the part of the API that takes data away: requests to erase
// and their log, and how long events are kept.
package erase

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"

	"spoor/engine"
	"spoor/engine/erasure"
	"spoor/engine/preview"
	"spoor/server/call"
)

// Store is where erasures are carried out.
type Store interface {
	// Erase commits a request; it is in force when the call returns.
	Erase(ctx context.Context, r *erasure.Request) (rec *erasure.Record, index uint64, err error)
	// SetRetention commits how long events are kept, from now on.
	SetRetention(ctx context.Context, r *erasure.Retention, now time.Time) (index uint64, err error)
	Erasures() ([]erasure.Record, error)
	EraseStatus(r *erasure.Record) engine.EraseStatus
	Retention() (erasure.Retention, erasure.Cutoffs, error)
	View() (*engine.View, error)
}

// API answers calls.
type API struct {
	store Store
	newID func() string
}

// New makes the API of a store.
func New(store Store) *API {
	return &API{store: store, newID: func() string { return "er-" + uuid.Must(uuid.NewV7()).String() }}
}

// Status is a request and how far it is:
//
//	in_force   no answer holds anything of it any more
//	erased     nor do the bytes of the files; the log and backups may
type Status struct {
	erasure.Record
	Ordinals any       `json:"ordinals,omitempty"` // not told
	State    string    `json:"state"`
	Time     time.Time `json:"requestedAt"`
	At       any       `json:"at,omitempty"`
	// EventsErased went out of files so far, FilesLeft are to be looked through.
	EventsErased int64 `json:"eventsErased"`
	FilesLeft    int   `json:"filesLeft"`
}

func (a *API) status(r *erasure.Record) Status {
	s := Status{Record: *r, State: "in_force", Time: time.UnixMicro(r.At).UTC()}
	on := a.store.EraseStatus(r)
	if s.EventsErased, s.FilesLeft = on.Rows, on.Files; on.Erased {
		s.State = "erased"
	}
	return s
}

// commit carries out a request.
func (a *API) commit(c *call.Call, r *erasure.Request) (any, error) {
	r.At = c.Now.UnixMicro()
	if r.ID == "" {
		r.ID = a.newID()
	}
	if err := r.Check(); err != nil {
		return nil, call.Fail(http.StatusBadRequest, "bad_erasure", "%v", reason(err))
	}
	rec, index, err := a.store.Erase(c.Context, r)
	if err != nil {
		return nil, err
	}
	if rec.Index != index {
		other, err := a.isOther(rec, r)
		if err != nil {
			return nil, err
		}
		if other {
			return nil, call.Fail(http.StatusConflict, "id_taken", "the id %q is that of another request, which was made before; nothing was done: take another id", r.ID)
		}
	}
	c.Index = index
	return a.status(rec), nil
}

// isOther tells whether a request is not the one that was carried out under its id. The
// record names no user; but one who was erased, or has lost its name, is known no more.
func (a *API) isOther(rec *erasure.Record, r *erasure.Request) (bool, error) {
	if rec.Kind != r.Kind || rec.Where != r.Where || rec.From != r.From || rec.To != r.To || !slices.Equal(rec.Events, r.Events) || !slices.Equal(rec.Fields, r.Fields) {
		return true, nil
	}
	if r.Kind != erasure.Person && r.Kind != erasure.Anonymise {
		return false, nil
	}
	view, err := a.store.View()
	if err != nil {
		return false, err
	}
	defer view.Release()
	_, known := view.Identity.Find(r.User)
	return known, nil
}

// reason is an error of a request without what every such error begins with.
func reason(err error) string {
	text := err.Error()
	if prefix := erasure.ErrRequest.Error() + ": "; errors.Is(err, erasure.ErrRequest) && len(text) > len(prefix) && text[:len(prefix)] == prefix {
		return text[len(prefix):]
	}
	return text
}

// DeleteUser erases a user, or with ?events=only the events of a user who stays.
func (a *API) DeleteUser(c *call.Call) (any, error) {
	r := &erasure.Request{Kind: erasure.Person, User: c.Name, Reference: c.Arg("reference"), ID: c.Arg("id")}
	switch c.Arg("events") {
	case "":
	case "only":
		r.Kind = erasure.History
	default:
		return nil, call.Fail(http.StatusBadRequest, "bad_argument", `events may be "only"`)
	}
	return a.commit(c, r)
}

// AllowUser lets events of an erased user be stored again.
func (a *API) AllowUser(c *call.Call) (any, error) {
	return a.commit(c, &erasure.Request{Kind: erasure.Allow, User: c.Name, Reference: c.Arg("reference"), ID: c.Arg("id")})
}

// Create carries out the request in the body; with ?dryRun=1 it tells what that would take.
func (a *API) Create(c *call.Call) (any, error) {
	r := &erasure.Request{}
	if err := json.Unmarshal(c.Body, r, json.RejectUnknownMembers(true)); err != nil {
		return nil, call.Fail(http.StatusBadRequest, "malformed_json", "the body is no request to erase: %.200s", err)
	}
	if c.Arg("dryRun") == "" {
		return a.commit(c, r)
	}
	if r.ID == "" {
		r.ID = a.newID()
	}
	if err := r.Check(); err != nil {
		return nil, call.Fail(http.StatusBadRequest, "bad_erasure", "%v", reason(err))
	}
	view, err := a.store.View()
	if err != nil {
		return nil, err
	}
	defer view.Release()
	would, err := preview.Of(c.Reading, view, r)
	if err != nil {
		return nil, err
	}
	return map[string]any{"dryRun": true, "kind": r.Kind, "would": would}, nil
}

// maxListed bounds the requests in an answer.
const maxListed = 1000

// List answers the requests, newest first.
func (a *API) List(*call.Call) (any, error) {
	records, err := a.store.Erasures()
	if err != nil {
		return nil, err
	}
	slices.Reverse(records)
	out := make([]Status, 0, min(len(records), maxListed))
	for i := range records[:min(len(records), maxListed)] {
		out = append(out, a.status(&records[i]))
	}
	return map[string]any{"erasures": out, "total": len(records)}, nil
}

// Get answers one request.
func (a *API) Get(c *call.Call) (any, error) {
	records, err := a.store.Erasures()
	if err != nil {
		return nil, err
	}
	for i := range records {
		if records[i].ID == c.Name {
			return a.status(&records[i]), nil
		}
	}
	return nil, call.Fail(http.StatusNotFound, "not_found", "no request to erase has the id %q", c.Name[:min(len(c.Name), 100)])
}

// retention is how long events are kept, and what follows from it.
type retention struct {
	erasure.Retention
	// First is the first day that is kept; of names without a time of their own, and of the others.
	First  string            `json:"first,omitempty"`
	Firsts map[string]string `json:"firsts,omitempty"`
	// DedupeFirst is the first day of which eventIds are remembered; older events are refused.
	DedupeFirst string `json:"dedupeFirst,omitempty"`
	// Expiring is what goes next: now if it was asked about, else at the next midnight of UTC.
	Expiring []preview.Expiring `json:"expiring"`
}

// GetRetention answers how long events are kept, and what goes at the next midnight.
func (a *API) GetRetention(c *call.Call) (any, error) {
	rules, cutoffs, err := a.store.Retention()
	if err != nil {
		return nil, err
	}
	return a.foresee(rules, cutoffs, rules.At(c.Now.AddDate(0, 0, 1).UnixMicro()))
}

// PutRetention says how long events are kept; with ?dryRun=1 it tells what would go.
func (a *API) PutRetention(c *call.Call) (any, error) {
	rules := &erasure.Retention{}
	if err := json.Unmarshal(c.Body, rules, json.RejectUnknownMembers(true)); err != nil {
		return nil, call.Fail(http.StatusBadRequest, "malformed_json", `the body is no retention, like {"default":365,"events":{"page_viewed":90},"dedupe":30} in days, 0 for ever: %.200s`, err)
	}
	if err := rules.Check(); err != nil {
		return nil, call.Fail(http.StatusBadRequest, "bad_retention", "%v", reason(err))
	}
	_, cutoffs, err := a.store.Retention()
	if err != nil {
		return nil, err
	}
	out, err := a.foresee(*rules, cutoffs, rules.At(c.Now.UnixMicro()))
	if err != nil || c.Arg("dryRun") != "" {
		return out, err
	}
	c.Index, err = a.store.SetRetention(c.Context, rules, c.Now)
	return out, err
}

func (a *API) foresee(rules erasure.Retention, now, next erasure.Cutoffs) (*retention, error) {
	view, err := a.store.View()
	if err != nil {
		return nil, err
	}
	defer view.Release()
	cutoffs := now.Advance(next)
	out := &retention{Retention: rules, Firsts: map[string]string{}, Expiring: preview.Retention(view, &cutoffs)}
	day := func(d int32) string {
		if d == erasure.NoCutoff {
			return ""
		}
		return time.Unix(int64(d)*86400, 0).UTC().Format(time.DateOnly)
	}
	out.First = day(cutoffs.Default)
	if cutoffs.Dedupe != 0 {
		out.DedupeFirst = day(cutoffs.Dedupe)
	}
	for name, d := range cutoffs.Events {
		out.Firsts[name] = day(d)
	}
	return out, nil
}
