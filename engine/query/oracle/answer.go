package oracle

import (
	"encoding/json"
	"fmt"
	"time"

	"spoor/engine/query/lang"
)

// Answer is the answer to one question. The one that is set is that of Kind, and
// marshals to the JSON of the contract, without query, stats and as_of.
type Answer struct {
	Kind        lang.Kind
	Funnel      *Funnel
	Trend       *Trend
	Retention   *Retention
	Sessions    *Sessions
	Paths       *Paths
	Attribution *Attribution
	Experiment  *Experiment
	Top         *Top
	Events      *Events
	Users       *Users
	Lifecycle   *Lifecycle
	Stickiness  *Stickiness
}

// MarshalJSON writes the answer that is set.
func (a *Answer) MarshalJSON() ([]byte, error) {
	return json.Marshal([...]any{
		lang.KindFunnel: a.Funnel, lang.KindTrend: a.Trend, lang.KindRetention: a.Retention, lang.KindSessions: a.Sessions,
		lang.KindPaths: a.Paths, lang.KindAttribution: a.Attribution, lang.KindExperiment: a.Experiment, lang.KindTop: a.Top,
		lang.KindEvents: a.Events, lang.KindUsers: a.Users, lang.KindLifecycle: a.Lifecycle, lang.KindStickiness: a.Stickiness,
	}[a.Kind])
}

// run is one question at work.
type run struct {
	*Store
	q       *lang.Query
	now     int64
	loc     *time.Location
	from    int64
	to      int64
	people  []*person // with the events alone that `where` and `user` leave
	known   map[string]map[personID]bool
	nesting int
}

// maxCohortDepth bounds cohorts that are defined by other cohorts.
const maxCohortDepth = 8

// Answer answers a question; now is microseconds since the Unix epoch. The error
// is of a cohort that is not there, no users query, or defined by itself.
func (s *Store) Answer(q *lang.Query, now int64) (a *Answer, err error) {
	defer func() {
		if p := recover(); p != nil {
			failed, ok := p.(*cohortError)
			if !ok {
				panic(p)
			}
			a, err = nil, failed
		}
	}()
	return s.run(q, now, 0).answer(), nil
}

// Ask parses and answers.
func (s *Store) Ask(text string, now int64) (*Answer, error) {
	q, err := lang.Parse(text)
	if err != nil {
		return nil, err
	}
	return s.Answer(q, now)
}

func (s *Store) run(q *lang.Query, now int64, nesting int) *run {
	r := &run{Store: s, q: q, now: now, loc: q.Location(), known: map[string]map[personID]bool{}, nesting: nesting}
	r.from, r.to = q.Range.Resolve(time.UnixMicro(now), r.loc)
	for _, p := range s.everyone() {
		if q.User != "" && p != s.named(q.User) {
			continue
		}
		kept := &person{personID: p.personID, traits: p.traits}
		for _, e := range p.events {
			if r.holds(q.Where, p, e) {
				kept.events = append(kept.events, e)
			}
		}
		if len(kept.events) > 0 {
			r.people = append(r.people, kept)
		}
	}
	return r
}

// named is the person that a userId, else an anonymousId, stands for.
func (s *Store) named(id string) *person {
	for _, want := range [2]personID{{true, id}, s.identify("", id)} {
		for _, p := range s.everyone() {
			if p.personID == want {
				return p
			}
		}
	}
	return nil
}

func (r *run) answer() *Answer {
	a := &Answer{Kind: r.q.Kind}
	switch r.q.Kind {
	case lang.KindFunnel:
		a.Funnel = r.funnel()
	case lang.KindTrend:
		a.Trend = r.trend()
	case lang.KindRetention:
		a.Retention = r.retention()
	case lang.KindSessions:
		a.Sessions = r.sessions()
	case lang.KindPaths:
		a.Paths = r.paths()
	case lang.KindAttribution:
		a.Attribution = r.attribution()
	case lang.KindExperiment:
		a.Experiment = r.experiment()
	case lang.KindTop:
		a.Top = r.top()
	case lang.KindEvents:
		a.Events = r.events()
	case lang.KindUsers:
		a.Users = r.users()
	case lang.KindLifecycle:
		a.Lifecycle = r.lifecycle()
	case lang.KindStickiness:
		a.Stickiness = r.stickiness()
	default:
		panic(fmt.Sprintf("oracle: unknown kind %d", r.q.Kind))
	}
	return a
}

// cohortError is a cohort that cannot be resolved.
type cohortError struct{ name, reason string }

func (e *cohortError) Error() string { return fmt.Sprintf("cohort %q %s", e.name, e.reason) }

// cohort is the persons of a saved users query.
func (r *run) cohort(name string) map[personID]bool {
	if set, ok := r.known[name]; ok {
		return set
	}
	saved, ok := r.cohorts[name]
	if !ok {
		panic(&cohortError{name, "is not saved"})
	}
	q, err := lang.Parse(saved)
	if err != nil {
		panic(&cohortError{name, "does not parse: " + err.Error()})
	}
	if q.Kind != lang.KindUsers {
		panic(&cohortError{name, "is no users query"})
	}
	if r.nesting == maxCohortDepth {
		panic(&cohortError{name, "is defined by too many others"})
	}
	set := map[personID]bool{}
	for _, m := range r.Store.run(q, r.now, r.nesting+1).members() {
		set[m.personID] = true
	}
	r.known[name] = set
	return set
}

// inRange tells whether an event lies in the queried range.
func (r *run) inRange(e *Event) bool { return r.from <= e.Time && e.Time < r.to }

// by names the fields of the breakdown.
func (r *run) by() (names []string) {
	for i := range r.q.By {
		names = append(names, r.q.By[i].String())
	}
	return names
}
