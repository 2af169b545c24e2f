package query

import (
	"spoor/engine/query/scan"
	"spoor/index"
	"spoor/segment"
)

// RetentionAnswer is the answer to a retention.
type RetentionAnswer struct {
	Common
	Every   string            `json:"every"`
	Cohorts []RetentionCohort `json:"cohorts"`
}

// RetentionCohort is the persons who started in the period that begins at T: how
// many, and how many of them came back in that period and each one after it.
type RetentionCohort struct {
	T        string `json:"t"`
	Size     int    `json:"size"`
	Retained []int  `json:"retained"`
}

func (x *exec) retention() (Answer, error) {
	r := x.q.Retention
	if len(x.q.By) > 0 {
		return nil, failf("unsupported", "a breakdown of retention cannot be answered yet")
	}
	b, err := x.divide(x.q.Every, x.from, x.to)
	if err != nil {
		return nil, err
	}
	// Returns may lie up to the last period's last column.
	end := b.starts[len(b.starts)-1]
	returns := &buckets{starts: append([]int64(nil), b.starts...)}
	for range r.Periods - 1 {
		end = nextPeriod(end, x.q.Every, x.loc)
		returns.starts = append(returns.starts, end)
	}
	start, err := x.selects(&r.Start)
	if err != nil {
		return nil, err
	}
	back, err := x.selects(&r.Return)
	if err != nil {
		return nil, err
	}
	started, err := x.personSets(start, scan.Times{From: x.from, To: x.to}, b)
	if err != nil {
		return nil, err
	}
	returned, err := x.personSets(back, scan.Times{From: returns.starts[0], To: end}, returns)
	if err != nil {
		return nil, err
	}
	a := &RetentionAnswer{Every: x.q.Every.String(), Cohorts: []RetentionCohort{}}
	seen := index.NewBits(x.view.Identity.Persons())
	for p := range b.len() {
		cohort := started[p]
		if r.First {
			cohort.AndNot(seen)
			seen.Or(cohort)
		}
		c := RetentionCohort{T: x.formatLocal(b.starts[p]), Size: cohort.Count(), Retained: make([]int, r.Periods)}
		if c.Size > 0 {
			for k := range c.Retained {
				c.Retained[k] = cohort.AndCount(returned[p+k])
			}
		}
		a.Cohorts = append(a.Cohorts, c)
	}
	return a, nil
}

// personSets are the persons with a selected event in each bucket.
func (x *exec) personSets(sel *selection, times scan.Times, b *buckets) ([]index.Bits, error) {
	n := x.view.Identity.Persons()
	sets := make([]index.Bits, b.len())
	for i := range sets {
		sets[i] = index.NewBits(n)
	}
	days := x.daysOf(times)
	ranges, err := x.alignedRanges(days, sel)
	if err != nil {
		return nil, err
	}
	return sets, x.parallel(ranges, func(_ int, w *scan.Worker) error {
		var keys scan.Keys
		for d := range days {
			if err := x.ctx.Err(); err != nil {
				return err
			}
			parts, err := x.parts(&days[d], sel, times)
			if err != nil {
				return err
			}
			for _, p := range parts {
				if err := x.partSets(w, days[d].day, p, times, b, &keys, sets); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// partSets adds one part's persons: from the section's own set when all its rows count
// for one bucket, else row by row.
func (x *exec) partSets(w *scan.Worker, day int32, p scan.Part, times scan.Times, b *buckets, keys *scan.Keys, sets []index.Bits) error {
	s := p.S
	whole := p.Where == nil && s.MinTime() >= times.From && s.MaxTime() < times.To
	if whole {
		first := b.of(s.MinTime())
		if first == b.of(s.MaxTime()) {
			persons, err := s.Persons()
			if err != nil {
				return err
			}
			persons.Each(func(person uint32) {
				if p.Remap {
					person = w.Person(person)
				}
				if w.Persons.Has(person) {
					sets[first].Set(person)
				}
			})
			return nil
		}
	}
	if err := w.Keys(day, []scan.Part{p}, times, false, keys); err != nil {
		return err
	}
	x.counters.rows.Add(int64(len(keys.K)))
	for _, k := range keys.K {
		sets[b.of(segment.KeyTime(k, day))].Set(segment.KeyPerson(k))
	}
	return nil
}

// alignedRanges splits persons so that no two workers write one word of a set.
func (x *exec) alignedRanges(days []dayData, sels ...*selection) ([]scan.Persons, error) {
	ranges, err := x.ranges(days, sels...)
	if err != nil {
		return nil, err
	}
	out := ranges[:0]
	lo := uint32(0)
	for i, r := range ranges {
		hi := r.Hi &^ 63
		if i == len(ranges)-1 {
			hi = r.Hi
		}
		if hi > lo || i == len(ranges)-1 {
			out = append(out, scan.Persons{Lo: lo, Hi: hi})
			lo = hi
		}
	}
	return out, nil
}
