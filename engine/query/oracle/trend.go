package oracle

import (
	"spoor/engine/query/lang"
)

// Trend is the answer to a trend.
type Trend struct {
	Kind   string   `json:"kind"`
	By     []string `json:"by,omitempty"`
	Series []Series `json:"series"`
}

// Series is one measure of one key over time.
type Series struct {
	Measure string  `json:"measure"`
	Event   string  `json:"event"`
	Key     []any   `json:"key"`
	Other   bool    `json:"other,omitempty"`
	Points  []Point `json:"points"`
}

// Point is a measure in the period that begins at T, null where it has no value.
type Point struct {
	T     string   `json:"t"`
	Value *float64 `json:"value"`
}

// taken is an event that a measure counts.
type taken struct {
	person *person
	event  *Event
	per    bool // of the denominator
}

func (r *run) trend() *Trend {
	a := &Trend{Kind: "trend", By: r.by(), Series: []Series{}}
	ps := divide(r.q.Every, r.loc, r.from, r.to)
	for i := range r.q.Trend.Series {
		s := &r.q.Trend.Series[i]
		var gs groups[taken]
		if len(r.q.By) == 0 {
			gs.at(nil)
		}
		for _, p := range r.people {
			for _, e := range p.events {
				if !r.inRange(e) {
					continue
				}
				if r.selects(&s.Value.Of, p, e) {
					gs.add(r.keyOf(p, e), taken{p, e, false})
				}
				if s.Per != nil && r.selects(&s.Per.Of, p, e) {
					gs.add(r.keyOf(p, e), taken{p, e, true})
				}
			}
		}
		for _, g := range gs.limited(r.q.Limit) {
			out := Series{Measure: s.Label(), Event: s.Value.Of.Label(), Key: r.json(g.key), Other: g.other}
			for _, period := range ps {
				out.Points = append(out.Points, Point{formatTime(period.from, r.loc), r.measureIn(s, g.items, period)})
			}
			a.Series = append(a.Series, out)
		}
	}
	return a
}

// measureIn is a series' value in one period.
func (r *run) measureIn(s *lang.Series, items []taken, in period) *float64 {
	pick := func(per bool) (out []taken) {
		for _, t := range items {
			if t.per == per && in.from <= t.event.Time && t.event.Time < in.to {
				out = append(out, t)
			}
		}
		return out
	}
	v := measure(&s.Value, pick(false))
	if s.Per == nil || v == nil {
		return v
	}
	d := measure(s.Per, pick(true))
	if d == nil {
		return nil
	}
	return quotient(*v, *d)
}

// measure makes one number of events; nil where there is none.
func measure(m *lang.Measure, events []taken) *float64 {
	persons, distinct := map[personID]bool{}, map[string]bool{}
	var numbers []float64
	for _, t := range events {
		persons[t.person.personID] = true
		if !m.Agg.HasField() {
			continue
		}
		v := read(t.person, t.event, &m.Field)
		if v.present() {
			distinct[v.identity()] = true
		}
		if v.kind == number {
			numbers = append(numbers, v.float)
		}
	}
	whole := func(n int) *float64 {
		v := float64(n)
		return &v
	}
	switch m.Agg {
	case lang.AggCount:
		return whole(len(events))
	case lang.AggUsers:
		return whole(len(persons))
	case lang.AggPerUser:
		return quotient(float64(len(events)), float64(len(persons)))
	case lang.AggDistinct:
		return whole(len(distinct))
	case lang.AggSum:
		v := sum(numbers)
		return &v
	case lang.AggAvg:
		return mean(numbers)
	case lang.AggMin:
		return quantile(numbers, 0)
	case lang.AggMax:
		return quantile(numbers, 1)
	case lang.AggMedian:
		return median(numbers)
	}
	return quantile(numbers, m.Percentile/100)
}
