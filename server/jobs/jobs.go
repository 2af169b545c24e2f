// Package jobs is the part of the API that tells of long work: how far a replay, an
// export, a backup or a verification is, how fast it goes, and when it will be done.
//
// It is on no event's way. What runs in this process tells of itself by a Job; a
// command that works from outside, as a replay does, reports by PUT; what goes on by itself is looked at. Nothing here is durable: a
// job that matters keeps its own record, and begins to tell anew when it goes on.
package jobs

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json"

	"spoor/server/call"
)

const (
	// MaxJobs bounds what is listed; those that ended longest ago go first.
	MaxJobs = 100
	// SilentAfter is how long a job from outside may say nothing until it counts as cut off.
	SilentAfter = time.Minute
	// rateWindow is over which time the rate is measured, sampleEvery how often it is looked.
	rateWindow  = 30 * time.Second
	sampleEvery = time.Second
	maxText     = 500 // bytes of a text
	maxEta      = 10 * 365 * 24 * time.Hour
)

// States of a job.
const (
	Running   = "running"
	Canceling = "canceling" // somebody asked for its end
	Done      = "done"
	Failed    = "failed"
	Canceled  = "canceled"
	Silent    = "silent" // it has not reported for SilentAfter: cut off, most likely
)

// Status is a job as the API shows it.
type Status struct {
	ID    string `json:"id"`
	Kind  string `json:"kind"`           // replay, export, verify, backup, merge
	Name  string `json:"name,omitempty"` // of what: a place, an export
	State string `json:"state"`
	Unit  string `json:"unit"` // of done and total: events, bytes or files
	Done  int64  `json:"done"`
	Total int64  `json:"total,omitzero"` // absent: not known
	// Rate is units per second over the last half minute.
	Rate float64 `json:"rate"`
	// Eta is how many seconds are left at that rate; absent: not known.
	Eta     *float64 `json:"eta,omitempty"`
	Began   string   `json:"began"`   // RFC 3339
	Changed string   `json:"changed"` // when it was last heard of
	Error   string   `json:"error,omitempty"`
}

// ended tells whether a state is the last one.
func ended(state string) bool { return state == Done || state == Failed || state == Canceled }

// Job is one piece of work.
type Job struct {
	all     *Jobs
	cancel  context.CancelFunc // nil: it hears of it by the answer to its report
	s       Status
	began   time.Time
	changed time.Time
	samples []sample // of the last rateWindow, the oldest first
}

type sample struct {
	at   time.Time
	done int64
}

// Jobs are those that this process knows of.
type Jobs struct {
	now  func() time.Time
	look func() (Work, bool) // nil: nothing is watched
	mu   sync.Mutex
	by   map[string]*Job
	seen *Job // what was watched last
}

// Work is what goes on by itself and is looked at, as merges of files are; nobody ends it.
type Work struct {
	ID, Kind, Name, Unit string
	Done, Total          int64
	Began                time.Time
}

// Watch lists, whenever somebody asks, what look sees at work. It is called before anything is asked.
func (a *Jobs) Watch(look func() (Work, bool)) { a.look = look }

// watch looks at what is watched: what is not seen any more has ended. The caller holds mu.
func (a *Jobs) watch() {
	if a.look == nil {
		return
	}
	w, running := a.look()
	if old := a.seen; old != nil && (!running || old.s.ID != w.ID) {
		old.s.Done, old.s.State, old.changed = old.s.Total, Done, a.now()
		a.seen = nil
	}
	if !running {
		return
	}
	if a.seen == nil {
		a.seen, _ = a.begin(Status{ID: w.ID, Kind: w.Kind, Name: w.Name, Unit: w.Unit}, func() {})
		a.seen.began, a.seen.samples[0].at = w.Began, w.Began
	}
	a.seen.told(w.Done, w.Total)
}

// New makes an empty list.
func New(now func() time.Time) *Jobs { return &Jobs{now: now, by: map[string]*Job{}} }

// Begin lists work of this process; cancel is called when somebody asks for its end. A job
// that has the id begins anew.
func (a *Jobs) Begin(id, kind, name, unit string, cancel context.CancelFunc) *Job {
	a.mu.Lock()
	defer a.mu.Unlock()
	j, _ := a.begin(Status{ID: id, Kind: kind, Name: name, Unit: unit}, cancel)
	return j
}

// Continue is Begin for work that is done piece by piece: a job that has the id and has not ended goes on.
func (a *Jobs) Continue(id, kind, name, unit string, cancel context.CancelFunc) *Job {
	a.mu.Lock()
	defer a.mu.Unlock()
	if j := a.by[id]; j != nil && !ended(j.s.State) {
		j.cancel = cancel
		return j
	}
	j, _ := a.begin(Status{ID: id, Kind: kind, Name: name, Unit: unit}, cancel)
	return j
}

func (a *Jobs) begin(s Status, cancel context.CancelFunc) (*Job, bool) {
	delete(a.by, s.ID)
	if len(a.by) >= MaxJobs && !a.forget() && cancel == nil {
		return nil, false
	}
	now := a.now()
	s.State = Running
	j := &Job{all: a, cancel: cancel, s: s, began: now, changed: now, samples: []sample{{now, s.Done}}}
	a.by[s.ID] = j
	return j, true
}

// forget lets go of the job that ended or fell silent longest ago.
func (a *Jobs) forget() bool {
	var oldest *Job
	for _, j := range a.by {
		if (ended(j.s.State) || j.silent(a.now())) && (oldest == nil || j.changed.Before(oldest.changed)) {
			oldest = j
		}
	}
	if oldest != nil {
		delete(a.by, oldest.s.ID)
	}
	return oldest != nil
}

// Told says how far the job is; total 0: not known.
func (j *Job) Told(done, total int64) {
	j.all.mu.Lock()
	defer j.all.mu.Unlock()
	j.told(done, total)
}

func (j *Job) told(done, total int64) {
	now := j.all.now()
	j.s.Done, j.s.Total, j.changed = done, total, now
	if last := &j.samples[len(j.samples)-1]; len(j.samples) > 1 && now.Sub(last.at) < sampleEvery {
		return
	}
	j.samples = append(j.samples, sample{now, done})
	from := 0
	for from < len(j.samples)-2 && now.Sub(j.samples[from+1].at) >= rateWindow {
		from++
	}
	j.samples = append(j.samples[:0], j.samples[from:]...)
}

// End says that the job ended, with an error or without; canceled where somebody asked for it.
func (j *Job) End(err error) {
	j.all.mu.Lock()
	defer j.all.mu.Unlock()
	state := Done
	if err != nil {
		state = Failed
		if j.s.State == Canceling {
			state = Canceled
		}
		j.s.Error = cut(err.Error())
	}
	j.s.State, j.changed = state, j.all.now()
}

// Cancel says that the job ended because somebody asked for it.
func (j *Job) Cancel() {
	j.all.mu.Lock()
	defer j.all.mu.Unlock()
	j.s.State, j.changed = Canceled, j.all.now()
}

func cut(text string) string {
	for len(text) > maxText || !utf8.ValidString(text) {
		text = text[:min(len(text)-1, maxText)]
	}
	return text
}

func (j *Job) silent(now time.Time) bool {
	return j.cancel == nil && !ended(j.s.State) && now.Sub(j.changed) >= SilentAfter
}

// status is what the API shows now.
func (j *Job) status(now time.Time) Status {
	s := j.s
	s.Began, s.Changed = j.began.UTC().Format(time.RFC3339), j.changed.UTC().Format(time.RFC3339)
	first := j.samples[0]
	until := now
	if ended(s.State) {
		first, until = sample{at: j.began}, j.changed
	}
	if d := until.Sub(first.at).Seconds(); d > 0 {
		s.Rate = float64(s.Done-first.done) / d
	}
	if j.silent(now) {
		s.State, s.Rate = Silent, 0
	}
	if !ended(s.State) && s.Total > 0 && s.Rate > 0 {
		if eta := float64(max(0, s.Total-s.Done)) / s.Rate; eta < maxEta.Seconds() {
			s.Eta = &eta
		}
	}
	return s
}

// List answers all jobs: those at work first, then the one that was heard of last.
func (a *Jobs) List(*call.Call) (any, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.watch()
	now := a.now()
	list := []Status{}
	for _, j := range a.by {
		list = append(list, j.status(now))
	}
	rank := func(s Status) int {
		if s.State == Running || s.State == Canceling {
			return 0
		}
		return 1
	}
	slices.SortFunc(list, func(x, y Status) int {
		return cmp.Or(cmp.Compare(rank(x), rank(y)), cmp.Compare(y.Changed, x.Changed), cmp.Compare(x.ID, y.ID))
	})
	return map[string][]Status{"jobs": list}, nil
}

// Get answers one job.
func (a *Jobs) Get(c *call.Call) (any, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.watch()
	j := a.by[c.Name]
	if j == nil {
		return nil, notFound(c.Name)
	}
	return j.status(a.now()), nil
}

func notFound(id string) error {
	return call.Fail(http.StatusNotFound, "not_found", "no job %.100q is known here; GET /api/jobs lists them", id)
}

// report is what a job from outside says of itself.
type report struct {
	Kind  string `json:"kind"`
	Name  string `json:"name"`
	Unit  string `json:"unit"`
	State string `json:"state"` // running, done, failed or canceled
	Done  int64  `json:"done"`
	Total int64  `json:"total"`
	Error string `json:"error"`
}

// Put takes the report of a job from outside. The answer's state is canceling where it shall end.
func (a *Jobs) Put(c *call.Call) (any, error) {
	var r report
	if err := json.Unmarshal(c.Body, &r, json.RejectUnknownMembers(true)); err != nil {
		return nil, call.Fail(http.StatusBadRequest, "bad_job", `the body is no report, {"kind":"replay","unit":"events","done":1,"total":2}: %.200s`, err)
	}
	if r.State == "" {
		r.State = Running
	}
	switch {
	case !plain(r.Kind, 1) || !plain(r.Name, 0) || !utf8.ValidString(r.Error) || len(r.Error) > maxText:
		return nil, call.Fail(http.StatusBadRequest, "bad_job", "kind has 1 to %d bytes of text, name and error at most as many", maxText)
	case r.Unit != "events" && r.Unit != "bytes" && r.Unit != "files":
		return nil, call.Fail(http.StatusBadRequest, "bad_job", "unit is events, bytes or files")
	case r.Done < 0 || r.Total < 0:
		return nil, call.Fail(http.StatusBadRequest, "bad_job", "done and total are not negative")
	case r.State != Running && !ended(r.State):
		return nil, call.Fail(http.StatusBadRequest, "bad_job", "state is running, done, failed or canceled")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	j := a.by[c.Name]
	switch {
	case j != nil && j.cancel != nil:
		return nil, call.Fail(http.StatusConflict, "id_taken", "the job %.100q is one of this server", c.Name)
	case j == nil || ended(j.s.State):
		var ok bool
		if j, ok = a.begin(Status{ID: c.Name, Kind: r.Kind, Name: r.Name, Unit: r.Unit, Done: r.Done}, nil); !ok {
			return nil, call.Fail(http.StatusTooManyRequests, "too_many_jobs", "%d jobs run already", MaxJobs)
		}
	}
	j.told(r.Done, r.Total)
	if ended(r.State) {
		j.s.State, j.s.Error = r.State, r.Error
	}
	return j.status(a.now()), nil
}

func plain(text string, least int) bool {
	ok := len(text) >= least && len(text) <= maxText && utf8.ValidString(text)
	for _, r := range text {
		ok = ok && !unicode.IsControl(r)
	}
	return ok
}

// Cancel asks a job to end.
func (a *Jobs) Cancel(c *call.Call) (any, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	j := a.by[c.Name]
	if j == nil {
		return nil, notFound(c.Name)
	}
	if j == a.seen {
		return nil, call.Fail(http.StatusConflict, "not_cancelable", "a %s goes on by itself", j.s.Kind)
	}
	if !ended(j.s.State) {
		j.s.State = Canceling
		if j.cancel != nil {
			j.cancel()
		}
	}
	return j.status(a.now()), nil
}
