package oracle

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/mathext"

	"spoor/engine/query/lang"
)

// Experiment is the answer to an experiment.
type Experiment struct {
	Kind     string    `json:"kind"`
	Variants []Variant `json:"variants"`
	SRM      *float64  `json:"srm_p_value"`
	Multiple int       `json:"multiple_variants"`
}

// Variant is one variant; what compares with the control is null for the control
// itself, and for all when nobody was shown the control.
type Variant struct {
	Name        any         `json:"name"`
	Control     bool        `json:"control"`
	Users       int         `json:"users"`
	Converted   int         `json:"converted"`
	Rate        float64     `json:"rate"`
	Lift        *float64    `json:"lift"`
	LiftCI      *[2]float64 `json:"lift_ci"`
	PValue      *float64    `json:"p_value"`
	ChanceToWin *float64    `json:"chance_to_win"`
}

func (r *run) experiment() *Experiment {
	q := r.q.Experiment
	a := &Experiment{Kind: "experiment", Variants: []Variant{}}
	var gs groups[bool] // converted or not
	for _, p := range r.people {
		var first *Event
		variants := map[string]value{}
		for _, e := range p.events {
			v := read(p, e, &q.Variant)
			if !r.inRange(e) || !r.selects(&q.Exposure, p, e) || !v.present() || v.kind == text && v.text == "" {
				continue
			}
			if first == nil {
				first = e
			}
			variants[v.identity()] = v
		}
		switch {
		case len(variants) > 1:
			a.Multiple++
		case len(variants) == 1:
			gs.add(key{read(p, first, &q.Variant)}, r.reachesGoal(p, first))
		}
	}
	slices.SortFunc(gs.list, func(x, y *group[bool]) int { return compareKeys(x.key, y.key) })
	control := 0
	if q.Control != nil {
		control = slices.IndexFunc(gs.list, func(g *group[bool]) bool { return r.compare(g.key[0], lang.Equal, q.Control) })
	}
	var users []int
	for i, g := range gs.list {
		v := Variant{Name: g.key[0].json(r.loc), Control: i == control, Users: len(g.items)}
		for _, converted := range g.items {
			v.Converted += index(converted)
		}
		v.Rate = share(v.Converted, v.Users)
		users = append(users, v.Users)
		a.Variants = append(a.Variants, v)
	}
	for i := range a.Variants {
		if control >= 0 && i != control {
			compareVariants(&a.Variants[i], &a.Variants[control])
		}
	}
	if len(users) > 1 {
		p := sampleRatio(users)
		a.SRM = &p
	}
	return a
}

// reachesGoal tells whether a person reached the goal from their exposure on.
func (r *run) reachesGoal(p *person, exposure *Event) bool {
	q := r.q.Experiment
	return slices.ContainsFunc(p.events, func(e *Event) bool {
		if e == exposure || e.Time < exposure.Time || !r.selects(&q.Goal, p, e) {
			return false
		}
		if q.Within > 0 {
			return e.Time-exposure.Time <= q.Within
		}
		return e.Time < r.to
	})
}

// compareVariants fills in how v differs from the control.
func compareVariants(v, control *Variant) {
	p1, n1 := v.Rate, float64(v.Users)
	p0, n0 := control.Rate, float64(control.Users)
	pooled := float64(v.Converted+control.Converted) / (n1 + n0)
	if variance := pooled * (1 - pooled) * (1/n1 + 1/n0); variance > 0 {
		p := twoSided((p1 - p0) / math.Sqrt(variance))
		v.PValue = &p
	}
	if p0 > 0 {
		// The delta method for the ratio of two independent rates.
		lift := p1/p0 - 1
		variance := p1*(1-p1)/n1/(p0*p0) + p1*p1*p0*(1-p0)/n0/(p0*p0*p0*p0)
		width := 1.959963984540054 * math.Sqrt(variance)
		v.Lift, v.LiftCI = &lift, &[2]float64{lift - width, lift + width}
	}
	chance := chanceToBeat(v.Converted, v.Users, control.Converted, control.Users)
	v.ChanceToWin = &chance
}

// twoSided is the probability of a normal value as far from 0 as z, or farther.
func twoSided(z float64) float64 { return math.Erfc(math.Abs(z) / math.Sqrt2) }

// chanceToBeat is P(A > B) for A ~ Beta(1+a, 1+n-a) and B ~ Beta(1+b, 1+m-b): the
// integral of A's density times B's distribution, by Simpson's rule where A has weight.
func chanceToBeat(a, n, b, m int) float64 {
	a1, a2 := float64(1+a), float64(1+n-a)
	b1, b2 := float64(1+b), float64(1+m-b)
	mean := a1 / (a1 + a2)
	deviation := math.Sqrt(mean * (1 - mean) / (a1 + a2 + 1))
	lo, hi := max(0, mean-40*deviation), min(1, mean+40*deviation)
	log := func(base, power float64) float64 {
		if power == 0 {
			return 0
		}
		return power * math.Log(base)
	}
	density := func(x float64) float64 {
		return math.Exp(log(x, a1-1) + log(1-x, a2-1) - mathext.Lbeta(a1, a2))
	}
	const panels = 20_000
	step := (hi - lo) / panels
	total := 0.0
	for i := 0; i <= panels; i++ {
		x := min(lo+float64(i)*step, 1)
		weight := 2.0 + 2*float64(i%2)
		if i == 0 || i == panels {
			weight = 1
		}
		total += weight * density(x) * mathext.RegIncBeta(b1, b2, x)
	}
	return min(1, max(0, total*step/3))
}

// sampleRatio is the chi-square p-value of an even spread.
func sampleRatio(users []int) float64 {
	total := 0
	for _, n := range users {
		total += n
	}
	expected := float64(total) / float64(len(users))
	chi := 0.0
	for _, n := range users {
		chi += (float64(n) - expected) * (float64(n) - expected) / expected
	}
	return mathext.GammaIncRegComp(float64(len(users)-1)/2, chi/2)
}
