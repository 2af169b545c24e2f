package oracle

import (
	"cmp"
	"math"
	"slices"

	"spoor/engine/query/lang"
)

// Attribution is the answer to an attribution.
type Attribution struct {
	Kind        string       `json:"kind"`
	Conversions int          `json:"conversions"`
	Value       *float64     `json:"value"`
	Touchpoints []Touchpoint `json:"touchpoints"`
}

// Touchpoint is what falls to one channel: a scalar key with one field, else a list.
type Touchpoint struct {
	Key         any      `json:"key"`
	Other       bool     `json:"other,omitempty"`
	Conversions float64  `json:"conversions"`
	Value       *float64 `json:"value,omitempty"`
}

// part is a channel's share of one conversion.
type part struct{ share, value float64 }

func (r *run) attribution() *Attribution {
	q := r.q.Attribution
	a := &Attribution{Kind: "attribution", Touchpoints: []Touchpoint{}}
	var gs groups[part]
	total := 0.0
	for _, p := range r.people {
		for _, c := range p.events {
			if !r.inRange(c) || !r.selects(&q.Conversion, p, c) {
				continue
			}
			a.Conversions++
			worth := 0.0
			if q.Value != nil {
				if v := read(p, c, q.Value); v.kind == number {
					worth = v.float
				}
			}
			total += worth
			keys, times := r.touches(p, c)
			shares := sharesOf(q, times, c.Time)
			if len(keys) == 0 {
				keys, shares = []key{make(key, len(r.q.By))}, []float64{1}
			}
			for i, k := range keys {
				if shares[i] == 0 {
					continue // a channel that gets nothing is not listed
				}
				g := gs.at(k)
				g.size += shares[i]
				g.items = append(g.items, part{shares[i], shares[i] * worth})
			}
		}
	}
	if q.Value != nil {
		a.Value = &total
	}
	for _, g := range gs.limited(r.q.Limit) {
		t := Touchpoint{Key: r.json(g.key), Other: g.other}
		if len(g.key) == 1 || g.other {
			t.Key = r.json(g.key)[0]
		}
		worth := 0.0
		for _, x := range g.items {
			t.Conversions += x.share
			worth += x.value
		}
		if q.Value != nil {
			t.Value = &worth
		}
		a.Touchpoints = append(a.Touchpoints, t)
	}
	return a
}

// touches are the touches of a conversion, in the order of time and then of the log.
func (r *run) touches(p *person, c *Event) (keys []key, times []int64) {
	for _, e := range p.events {
		if e.Time < c.Time-r.q.Attribution.Lookback || e.Time > c.Time || !r.selects(&r.q.Attribution.Touch, p, e) {
			continue
		}
		k := r.keyOf(p, e)
		if slices.ContainsFunc(k, func(v value) bool { return !v.present() || v.kind == text && v.text == "" }) {
			continue
		}
		keys, times = append(keys, k), append(times, e.Time)
	}
	return keys, times
}

// sharesOf shares a conversion out; the shares add up to 1.
func sharesOf(q *lang.Attribution, times []int64, at int64) []float64 {
	n := len(times)
	shares := make([]float64, n)
	if n == 0 {
		return shares
	}
	switch q.Model {
	case lang.ModelFirstTouch:
		shares[0] = 1
	case lang.ModelLastTouch:
		shares[n-1] = 1
	case lang.ModelLinear:
		for i := range shares {
			shares[i] = 1 / float64(n)
		}
	case lang.ModelTimeDecay:
		// Only the ratios count: the youngest touch has the weight 1, so that old ones do not all become 0.
		youngest := at - slices.Max(times)
		for i, t := range times {
			shares[i] = math.Exp2(-float64(at-t-youngest) / float64(q.HalfLife))
		}
		whole := sum(shares)
		for i := range shares {
			shares[i] /= whole
		}
	case lang.ModelPosition:
		switch n {
		case 1:
			shares[0] = 1
		case 2:
			shares[0], shares[1] = 0.5, 0.5
		default:
			for i := range shares {
				shares[i] = 0.2 / float64(n-2)
			}
			shares[0], shares[n-1] = 0.4, 0.4
		}
	}
	return shares
}

// Top is the answer to a question for the most frequent values.
type Top struct {
	Kind   string     `json:"kind"`
	Field  string     `json:"field"`
	Values []TopValue `json:"values"`
}

// TopValue is one value: the events that have it, and their persons.
type TopValue struct {
	Value any `json:"value"`
	Count int `json:"count"`
	Users int `json:"users"`
}

func (r *run) top() *Top {
	var gs groups[personID]
	for _, p := range r.people {
		for _, e := range p.events {
			if v := read(p, e, &r.q.Top.Field); r.inRange(e) && v.present() && r.selects(&r.q.Top.Of, p, e) {
				gs.add(key{v}, p.personID)
			}
		}
	}
	a := &Top{Kind: "top", Field: r.q.Top.Field.String(), Values: []TopValue{}}
	for _, g := range gs.limited(r.q.Limit) {
		if g.other {
			continue
		}
		persons := slices.SortedFunc(slices.Values(g.items), func(a, b personID) int {
			return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(index(a.user), index(b.user)))
		})
		a.Values = append(a.Values, TopValue{g.key[0].json(r.loc), len(g.items), len(slices.Compact(persons))})
	}
	return a
}

func index(b bool) int {
	if b {
		return 1
	}
	return 0
}
