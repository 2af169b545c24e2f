package oracle

// Retention is the answer to a retention.
type Retention struct {
	Kind    string           `json:"kind"`
	Every   string           `json:"every"`
	Cohorts []Cohort         `json:"cohorts"`
	By      []string         `json:"by,omitempty"`
	Groups  []RetentionGroup `json:"groups,omitempty"`
}

// Cohort is who started in the period that begins at T, and how many of them came back.
type Cohort struct {
	T        string `json:"t"`
	Size     int    `json:"size"`
	Retained []int  `json:"retained"`
}

// RetentionGroup is the cohorts of one key.
type RetentionGroup struct {
	Key     []any    `json:"key"`
	Other   bool     `json:"other,omitempty"`
	Cohorts []Cohort `json:"cohorts"`
}

// starter is one person in one cohort.
type starter struct {
	period   int
	returned []bool // by column
}

func (r *run) retention() *Retention {
	q := r.q.Retention
	ps := divide(r.q.Every, r.loc, r.from, r.to)
	columns := append(periods(nil), ps...)
	for len(columns) < len(ps)+q.Periods-1 {
		columns = append(columns, periodOf(r.q.Every, r.loc, columns[len(columns)-1].to))
	}
	var all []starter
	var byKey groups[starter]
	for _, p := range r.people {
		times := make([]int64, len(columns))
		for _, e := range p.events {
			if i := columns.of(e.Time); i >= 0 && r.selects(&q.Return, p, e) {
				times[i]++
			}
		}
		done := map[int]bool{}
		for _, e := range p.events {
			i := ps.of(e.Time)
			if !r.inRange(e) || !r.selects(&q.Start, p, e) || done[i] || q.First && len(done) > 0 {
				continue
			}
			done[i] = true
			s := starter{i, make([]bool, q.Periods)}
			for k := range s.returned {
				last := k
				if q.Rolling {
					last = q.Periods - 1
				}
				for _, n := range times[i+k : i+last+1] {
					s.returned[k] = s.returned[k] || n >= q.Times
				}
			}
			all = append(all, s)
			byKey.add(r.keyOf(p, e), s)
		}
	}
	a := &Retention{Kind: "retention", Every: r.q.Every.String(), Cohorts: r.cohortsOf(all, ps), By: r.by()}
	if len(r.q.By) > 0 {
		for _, g := range byKey.limited(r.q.Limit) {
			a.Groups = append(a.Groups, RetentionGroup{r.json(g.key), g.other, r.cohortsOf(g.items, ps)})
		}
	}
	return a
}

func (r *run) cohortsOf(all []starter, ps periods) []Cohort {
	out := make([]Cohort, len(ps))
	for i, p := range ps {
		out[i] = Cohort{T: formatTime(p.from, r.loc), Retained: make([]int, r.q.Retention.Periods)}
		for _, s := range all {
			if s.period != i {
				continue
			}
			out[i].Size++
			for k, came := range s.returned {
				if came {
					out[i].Retained[k]++
				}
			}
		}
	}
	return out
}
