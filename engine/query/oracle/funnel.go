package oracle

import (
	"slices"

	"spoor/engine/query/lang"
)

// Funnel is the answer to a funnel.
type Funnel struct {
	Kind          string         `json:"kind"`
	Steps         []Step         `json:"steps"`
	Open          int            `json:"open"`
	TimeToConvert *TimeToConvert `json:"time_to_convert,omitempty"`
	By            []string       `json:"by,omitempty"`
	Groups        []FunnelGroup  `json:"groups,omitempty"`
	Points        []FunnelPoint  `json:"points,omitempty"`
}

// Step is one step: how many units got there.
type Step struct {
	Event          string   `json:"event"`
	Users          int      `json:"users"`
	Conversion     float64  `json:"conversion"`
	StepConversion float64  `json:"step_conversion"`
	MedianSeconds  *float64 `json:"median_seconds"`
}

// FunnelGroup is the funnel of one key.
type FunnelGroup struct {
	Key    []any         `json:"key"`
	Other  bool          `json:"other,omitempty"`
	Steps  []Step        `json:"steps"`
	Points []FunnelPoint `json:"points,omitempty"`
}

// FunnelPoint is the funnel of those who entered in the period that begins at T.
type FunnelPoint struct {
	T     string `json:"t"`
	Steps []Step `json:"steps"`
}

// TimeToConvert sums up the times from the first step to the last.
type TimeToConvert struct {
	MedianSeconds float64 `json:"median_seconds"`
	P90Seconds    float64 `json:"p90_seconds"`
	Histogram     []Bin   `json:"histogram"`
}

// Bin counts values in [From, To) seconds; the last bin holds its end.
type Bin struct {
	From  float64 `json:"from"`
	To    float64 `json:"to"`
	Count int     `json:"count"`
}

// counted is one unit in one period, -1 for the whole range.
type counted struct {
	period int
	outcome
}

func (r *run) funnel() *Funnel {
	f := r.q.Funnel
	ps := divide(r.q.Every, r.loc, r.from, r.to)
	var all []counted
	var byKey groups[counted]
	a := &Funnel{Kind: "funnel", By: r.by()}
	for _, p := range r.people {
		if r.didNever(p) {
			continue
		}
		for _, u := range r.units(p) {
			whole := u.run(r.from, r.to)
			if whole.depth == 0 {
				continue
			}
			if whole.depth < len(u.required()) && r.isOpen(u, whole.starts) {
				a.Open++
			}
			all = append(all, counted{-1, whole})
			byKey.add(r.chainKey(u, whole.chain), counted{-1, whole})
			if r.q.Every.IsZero() {
				continue
			}
			for i, period := range ps {
				if part := u.run(max(r.from, period.from), min(r.to, period.to)); part.depth > 0 {
					all = append(all, counted{i, part})
					g := byKey.at(r.chainKey(u, part.chain))
					g.items = append(g.items, counted{i, part})
				}
			}
		}
	}
	a.Steps, a.Points = r.stepsOf(all, -1), r.pointsOf(all, ps)
	a.TimeToConvert = timeToConvert(all, len(f.Steps)-1)
	if len(r.q.By) > 0 {
		for _, g := range byKey.limited(r.q.Limit) {
			a.Groups = append(a.Groups, FunnelGroup{r.json(g.key), g.other, r.stepsOf(g.items, -1), r.pointsOf(g.items, ps)})
		}
	}
	return a
}

// Reached are the names of those with a unit that reached a step of a funnel, counted from 0, in
// their order; with lost of those with a unit that did not get from there to the next step that is not optional.
func (s *Store) Reached(q *lang.Query, now int64, step int, lost bool) []string {
	r := s.run(q, now, 0)
	next := step + 1
	for lost && q.Funnel.Steps[next].Optional {
		next++
	}
	names := []string{}
	for _, p := range r.people {
		if r.didNever(p) {
			continue
		}
		for _, u := range r.units(p) {
			if o := u.run(r.from, r.to); o.depth > 0 && o.reached[step] && !(lost && o.reached[next]) {
				names = append(names, p.id)
				break
			}
		}
	}
	slices.Sort(names)
	return names
}

// didNever tells whether a person did in the range what `never` names.
func (r *run) didNever(p *person) bool {
	for i := range r.q.Funnel.Never {
		for _, e := range p.events {
			if r.inRange(e) && r.selects(&r.q.Funnel.Never[i].EventSel, p, e) {
				return true
			}
		}
	}
	return false
}

// units are what is counted of a person.
func (r *run) units(p *person) (us []*unit) {
	f := r.q.Funnel
	switch f.Per.Kind {
	case lang.PerSession:
		for _, session := range split(p.events, f.Per.Gap, 0) {
			us = append(us, r.unit(p, session))
		}
		return us
	case lang.PerUser:
		return append(us, r.unit(p, p.events))
	}
	seen := map[string]bool{}
	for _, e := range p.events {
		v := read(p, e, &f.Per.Field)
		if !v.present() || seen[v.identity()] {
			continue
		}
		seen[v.identity()] = true
		u := r.unit(p, p.events)
		for i, x := range p.events {
			if read(p, x, &f.Per.Field).identity() != v.identity() {
				u.holds[i] = false
			}
		}
		us = append(us, u)
	}
	return us
}

func (r *run) unit(p *person, events []*Event) *unit {
	f := r.q.Funnel
	u := &unit{person: p, events: events, steps: f.Steps, within: f.Within, order: f.Order}
	for k := range f.Steps {
		u.matches = append(u.matches, make([]bool, len(events)))
		for i, e := range events {
			u.matches[k][i] = r.selects(&f.Steps[k].EventSel, p, e)
		}
	}
	for _, e := range events {
		k, whole := readAll(p, e, f.Holding)
		u.hold = append(u.hold, k.identity())
		u.holds = append(u.holds, whole)
	}
	for i := range f.Excluding {
		x := exclusion{from: f.Excluding[i].From - 1, to: f.Excluding[i].To - 1}
		for _, e := range events {
			if r.selects(&f.Excluding[i].EventSel, p, e) {
				x.times = append(x.times, e.Time)
			}
		}
		if len(x.times) > 0 {
			u.voids = append(u.voids, x)
		}
	}
	return u
}

// isOpen tells whether a unit that has not converted still can: an attempt's
// window, and with sessions the session, goes on behind the end of the data.
func (r *run) isOpen(u *unit, starts []int64) bool {
	through := r.DataThrough()
	if per := r.q.Funnel.Per; per.Kind == lang.PerSession && u.events[len(u.events)-1].Time+per.Gap <= through {
		return false
	}
	return slices.ContainsFunc(starts, func(t int64) bool { return t+u.within > through })
}

// chainKey is the breakdown's values of a counted chain.
func (r *run) chainKey(u *unit, chain []int) key {
	k := make(key, len(r.q.By))
	for i := range r.q.By {
		by := &r.q.By[i]
		step := by.Step - 1
		if by.Step == lang.AtLast {
			for _, s := range u.required() {
				if chain[s] >= 0 {
					step = s
				}
			}
		}
		if e := chain[step]; e >= 0 {
			k[i] = read(u.person, u.events[e], &by.Field)
		}
	}
	return k
}

// stepsOf sums up the units of one period.
func (r *run) stepsOf(units []counted, period int) []Step {
	f := r.q.Funnel
	steps := make([]Step, len(f.Steps))
	before := 0 // users of the required step before
	for k := range steps {
		users := 0
		var lags []float64
		for i := range units {
			if u := &units[i]; u.period == period && u.reached[k] {
				users++
				lags = append(lags, float64(u.lag[k]))
			}
		}
		s := Step{Event: f.Steps[k].Label(), Users: users, StepConversion: share(users, before)}
		if k == 0 {
			s.StepConversion = share(users, users)
		} else if m := median(lags); m != nil {
			s.MedianSeconds = quotient(*m, 1e6)
		}
		steps[k] = s
		steps[k].Conversion = share(users, steps[0].Users)
		if !f.Steps[k].Optional {
			before = users
		}
	}
	return steps
}

func (r *run) pointsOf(units []counted, ps periods) (points []FunnelPoint) {
	if r.q.Every.IsZero() {
		return nil
	}
	for i, p := range ps {
		points = append(points, FunnelPoint{formatTime(p.from, r.loc), r.stepsOf(units, i)})
	}
	return points
}

// timeToConvert sums up the units that got to the last step; nil if none did, or there is but one step.
func timeToConvert(units []counted, lastStep int) *TimeToConvert {
	var lags []int64
	var values []float64
	for i := range units {
		if u := &units[i]; u.period < 0 && u.reached[lastStep] {
			lags = append(lags, u.lag[lastStep])
			values = append(values, float64(u.lag[lastStep]))
		}
	}
	if lastStep == 0 || len(lags) == 0 {
		return nil
	}
	return &TimeToConvert{*median(values) / 1e6, *quantile(values, 0.9) / 1e6, histogram(lags)}
}
