package query

import (
	"slices"

	"spoor/engine/query/kernel"
	"spoor/engine/query/lang"
	"spoor/engine/query/scan"
	"spoor/engine/query/stats"
)

// ExperimentAnswer is the answer to an experiment.
type ExperimentAnswer struct {
	Common
	Variants []Variant `json:"variants"`
	// SRM is the p-value of the hypothesis that persons were spread evenly over the variants.
	SRM *float64 `json:"srm_p_value"`
	// Multiple counts persons who were shown two variants; they are left out above.
	Multiple int `json:"multiple_variants"`
}

// Variant is one variant; what compares with the control is null for the control itself.
type Variant struct {
	Name        any         `json:"name"`
	Control     bool        `json:"control"`
	Users       int         `json:"users"`
	Converted   int         `json:"converted"`
	Rate        *float64    `json:"rate"`
	Lift        *float64    `json:"lift"`
	LiftCI      *[2]float64 `json:"lift_ci"`
	PValue      *float64    `json:"p_value"`
	ChanceToWin *float64    `json:"chance_to_win"`
}

const (
	exposureBit = 1 << 0
	goalBit     = 1 << 1
)

func (x *exec) experiment() (Answer, error) {
	ex := x.q.Experiment
	exposure, err := x.selects(&ex.Exposure)
	if err != nil {
		return nil, err
	}
	goal, err := x.selects(&ex.Goal)
	if err != nil {
		return nil, err
	}
	sels := []*selection{exposure, goal}
	times := scan.Times{From: x.from, To: x.to}
	if ex.Within > 0 {
		times.To += ex.Within + 1 // goals may lie behind the range as long as they are within the bound
	}
	days := x.daysOf(times)
	ranges, err := x.gatherRanges(days, sels...)
	if err != nil {
		return nil, err
	}
	type part struct {
		groups           *scan.Tuples
		users, converted []int
		multiple         int
	}
	parts := make([]part, len(ranges))
	err = x.parallel(ranges, func(i int, w *scan.Worker) error {
		p := &parts[i]
		p.groups = scan.NewTuples(1)
		g := &scan.Gather{Fields: []scan.Field{x.field(&ex.Variant)}, Groups: p.groups}
		return x.eachPerson(w, days, sels, times, g, func(_ uint32, events []kernel.Event) error {
			tag, exposed, several := x.exposure(events, p.groups)
			switch {
			case several:
				p.multiple++
			case exposed >= 0:
				for int(tag) >= len(p.users) {
					p.users, p.converted = append(p.users, 0), append(p.converted, 0)
				}
				p.users[tag]++
				if x.reachesGoal(events, exposed) {
					p.converted[tag]++
				}
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	a := &ExperimentAnswer{Variants: []Variant{}}
	index := map[string]int{}
	for _, p := range parts {
		a.Multiple += p.multiple
		for g, n := range p.users {
			if n == 0 {
				continue
			}
			key := p.groups.Values(uint32(g))
			text := keyText(key)
			i, ok := index[text]
			if !ok {
				i = len(a.Variants)
				index[text] = i
				a.Variants = append(a.Variants, Variant{Name: key[0]})
			}
			a.Variants[i].Users += n
			a.Variants[i].Converted += p.converted[g]
		}
	}
	x.compareVariants(a)
	return a, nil
}

// exposure finds the person's variant: that of the first exposure with one.
func (x *exec) exposure(events []kernel.Event, groups *scan.Tuples) (tag uint32, at int, several bool) {
	at = -1
	for i := range events {
		e := &events[i]
		if e.Steps&exposureBit == 0 || e.Time >= x.to || !groups.NonEmpty(e.Tag) {
			continue
		}
		if at < 0 {
			tag, at = e.Tag, i
		} else if e.Tag != tag {
			several = true
		}
	}
	return tag, at, several
}

// reachesGoal tells whether a goal follows the exposure, at its time at the earliest.
func (x *exec) reachesGoal(events []kernel.Event, exposed int) bool {
	start := events[exposed].Time
	for i := range events {
		e := &events[i]
		if i == exposed || e.Steps&goalBit == 0 || e.Time < start {
			continue
		}
		if w := x.q.Experiment.Within; w == 0 && e.Time < x.to || w > 0 && e.Time-start <= w {
			return true
		}
	}
	return false
}

func (x *exec) compareVariants(a *ExperimentAnswer) {
	slices.SortFunc(a.Variants, func(p, q Variant) int { return scan.CompareValues(p.Name, q.Name) })
	if len(a.Variants) == 0 {
		return
	}
	control := 0
	if c := x.q.Experiment.Control; c != nil {
		control = slices.IndexFunc(a.Variants, func(v Variant) bool { return isLiteral(v.Name, c) })
		if control < 0 {
			x.warn("no person was shown the control variant %s", c.Text)
		}
	}
	for i := range a.Variants {
		v := &a.Variants[i]
		rate := share(v.Converted, v.Users)
		v.Rate = &rate
		if i == control {
			v.Control = true
		} else if control >= 0 {
			compareWith(v, &a.Variants[control])
		}
	}
	if len(a.Variants) > 1 {
		users := make([]int, len(a.Variants))
		for i := range users {
			users[i] = a.Variants[i].Users
		}
		p := stats.SampleRatio(users)
		a.SRM = &p
	}
}

func isLiteral(v any, l *lang.Literal) bool {
	switch l.Kind {
	case lang.LitString:
		return v == l.Text
	case lang.LitBool:
		return v == l.Bool
	case lang.LitNumber:
		return v == l.Num || v == l.Int
	}
	return false
}

// compareWith fills in how v differs from the control.
func compareWith(v, control *Variant) {
	a, b := stats.Proportion{Converted: v.Converted, Users: v.Users}, stats.Proportion{Converted: control.Converted, Users: control.Users}
	chance := stats.ChanceToBeat(a, b)
	v.ChanceToWin = &chance
	if p, ok := stats.PValue(a, b); ok {
		v.PValue = &p
	}
	if lift, interval, ok := stats.Lift(a, b); ok {
		v.Lift, v.LiftCI = &lift, &interval
	}
}
