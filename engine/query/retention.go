package query

import (
	"cmp"
	"slices"
	"sync/atomic"

	"spoor/engine"
	"spoor/engine/query/kernel"
	"spoor/engine/query/period"
	"spoor/engine/query/scan"
	"spoor/index"
	"spoor/segment"
)

// RetentionAnswer is the answer to a retention.
type RetentionAnswer struct {
	Common
	Every   string            `json:"every"`
	Cohorts []RetentionCohort `json:"cohorts"`
	By      []string          `json:"by,omitempty"`
	Groups  []RetentionGroup  `json:"groups,omitempty"`
}

// RetentionGroup is the cohorts of the persons whose first start, in the cohort's
// period or with `first` in the range, has a key.
type RetentionGroup struct {
	Key     []any             `json:"key"`
	Other   bool              `json:"other,omitempty"`
	Cohorts []RetentionCohort `json:"cohorts"`
}

// RetentionCohort is the persons who started in the period that begins at T: how
// many, and how many of them came back in that period and each one after it.
type RetentionCohort struct {
	T        string `json:"t"`
	Size     int    `json:"size"`
	Retained []int  `json:"retained"`
}

// cohortSets are the periods of a retention, who started in each, and who did the
// second event in each and in those behind them that columns reach.
func (x *exec) cohortSets() (b *period.Buckets, start *selection, started, returned []index.Bits, err error) {
	r := x.q.Retention
	if b, err = x.divide(x.q.Every, x.from, x.to); err != nil {
		return nil, nil, nil, nil, err
	}
	// Returns may lie up to the last period's last column.
	end := b.Starts[len(b.Starts)-1]
	returns := &period.Buckets{Starts: append([]int64(nil), b.Starts...)}
	for range r.Periods - 1 {
		end = period.Next(end, x.q.Every, x.loc)
		returns.Starts = append(returns.Starts, end)
	}
	if start, err = x.selects(&r.Start); err != nil {
		return nil, nil, nil, nil, err
	}
	back, err := x.selects(&r.Return)
	if err != nil {
		return nil, nil, nil, nil, err
	}
	if started, err = x.personSets(start, scan.Times{From: x.from, To: x.to}, b); err != nil {
		return nil, nil, nil, nil, err
	}
	if returned, err = x.returned(back, scan.Times{From: returns.Starts[0], To: end}, returns); err != nil {
		return nil, nil, nil, nil, err
	}
	if r.First {
		seen := index.NewBits(x.view.Identity.Persons())
		for _, cohort := range started {
			cohort.AndNot(seen)
			seen.Or(cohort)
		}
	}
	return b, start, started, returned, nil
}

func (x *exec) retention() (Answer, error) {
	r := x.q.Retention
	b, start, started, returned, err := x.cohortSets()
	if err != nil {
		return nil, err
	}
	a := &RetentionAnswer{Every: x.q.Every.String(), Cohorts: []RetentionCohort{}}
	if len(x.q.By) > 0 {
		if err := x.retentionGroups(a, start, started, returned, b); err != nil {
			return nil, err
		}
	}
	a.Cohorts = make([]RetentionCohort, b.Len())
	return a, x.spread(b.Len(), func(p int) error {
		c := RetentionCohort{T: x.formatLocal(b.Starts[p]), Size: started[p].Count(), Retained: make([]int, r.Periods)}
		if c.Size > 0 {
			x.retain(started[p], returned[p:p+r.Periods], c.Retained)
		}
		a.Cohorts[p] = c
		return nil
	})
}

// retain counts those of a cohort who are in the set of each column; with `rolling` in
// that of the column or of a later one.
func (x *exec) retain(cohort index.Bits, columns []index.Bits, counts []int) {
	if !x.q.Retention.Rolling {
		for k := range counts {
			counts[k] = cohort.AndCount(columns[k])
		}
		return
	}
	later := index.NewBits(x.view.Identity.Persons())
	for k := len(counts) - 1; k >= 0; k-- {
		later.Or(columns[k])
		counts[k] = cohort.AndCount(later)
	}
}

// returned are the persons who are retained in each bucket: who have as many selected
// events in it as the question wants.
func (x *exec) returned(sel *selection, times scan.Times, b *period.Buckets) ([]index.Bits, error) {
	want := x.q.Retention.Times
	if want == 1 {
		return x.personSets(sel, times, b)
	}
	n := x.view.Identity.Persons()
	sets := make([]index.Bits, b.Len())
	for i := range sets {
		sets[i] = index.NewBits(n)
	}
	days := x.daysOf(times)
	ranges, err := x.alignedRanges(days, sel)
	if err != nil {
		return nil, err
	}
	return sets, x.parallel(ranges, func(_ int, w *scan.Worker) error {
		// A person's events come in the order of time, so one bucket at a time is counted.
		in, count := make([]int32, w.Persons.Hi-w.Persons.Lo), make([]int64, w.Persons.Hi-w.Persons.Lo)
		return x.eachKeys(w, days, sel, times, func(day int32, keys []uint64) {
			for _, k := range keys {
				p := segment.KeyPerson(k) - w.Persons.Lo
				if bucket := int32(b.Of(segment.KeyTime(k, day))); in[p] != bucket {
					in[p], count[p] = bucket, 0
				}
				if count[p]++; count[p] == want {
					sets[in[p]].Set(p + w.Persons.Lo)
				}
			}
		})
	})
}

// starter is a person of a cohort, with the key of the event that began it.
type starter struct {
	person uint32
	period int32
	key    uint32
}

// retentionGroups breaks the cohorts down by the value of each person's first start.
func (x *exec) retentionGroups(a *RetentionAnswer, start *selection, started, returned []index.Bits, b *period.Buckets) error {
	times := scan.Times{From: x.from, To: x.to}
	days := x.daysOf(times)
	ranges, err := x.gatherRanges(days, start)
	if err != nil {
		return err
	}
	keys := make([]*scan.Tuples, len(ranges))
	starters := make([][]starter, len(ranges))
	err = x.parallel(ranges, func(i int, w *scan.Worker) error {
		keys[i] = scan.NewTuples(len(x.q.By))
		g := &scan.Gather{Fields: x.byFields(), Groups: keys[i]}
		return x.eachPerson(w, days, []*selection{start}, times, g, func(person uint32, events []kernel.Event) error {
			last := -1
			for _, e := range events {
				// With `first` a person is in one cohort, so that no later period is taken.
				if p := b.Of(e.Time); p != last && started[p].Has(person) {
					last = p
					starters[i] = append(starters[i], starter{person, int32(p), e.Tag})
				}
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	groups, sizes := map[string]int{}, []retentionSize{}
	of := make([][]int, len(ranges)) // a worker's key -> group
	for i, t := range keys {
		of[i] = make([]int, t.Len())
		for k := range of[i] {
			text := keyText(t.Values(uint32(k)))
			g, ok := groups[text]
			if !ok {
				g = len(sizes)
				groups[text] = g
				sizes = append(sizes, retentionSize{group: g, key: t.Values(uint32(k))})
			}
			of[i][k] = g
		}
		for _, s := range starters[i] {
			sizes[of[i][s.key]].persons++
		}
	}
	for _, by := range x.q.By {
		a.By = append(a.By, by.String())
	}
	sizes = slices.DeleteFunc(sizes, func(s retentionSize) bool { return s.persons == 0 }) // of rows that began no cohort
	slices.SortFunc(sizes, func(p, q retentionSize) int {
		return cmp.Or(cmp.Compare(q.persons, p.persons), scan.CompareKeys(p.key, q.key))
	})
	place := make([]int, len(groups)) // group -> place in the answer
	for at, s := range sizes {
		place[s.group] = min(at, x.q.Limit)
		if at > x.q.Limit {
			continue
		}
		g := RetentionGroup{Key: s.key, Cohorts: make([]RetentionCohort, b.Len())}
		if at == x.q.Limit {
			g.Key, g.Other = otherKey(len(x.q.By)), true
		}
		for p := range g.Cohorts {
			g.Cohorts[p] = RetentionCohort{T: x.formatLocal(b.Starts[p]), Retained: make([]int, x.q.Retention.Periods)}
		}
		a.Groups = append(a.Groups, g)
	}
	for i := range starters {
		for _, s := range starters[i] {
			c := &a.Groups[place[of[i][s.key]]].Cohorts[s.period]
			c.Size++
			came := false
			for k := len(c.Retained) - 1; k >= 0; k-- {
				came = x.q.Retention.Rolling && came || returned[int(s.period)+k].Has(s.person)
				if came {
					c.Retained[k]++
				}
			}
		}
	}
	return nil
}

// retentionSize is how many persons the cohorts of a group have together.
type retentionSize struct {
	group   int
	key     []any
	persons int
}

// personSets are the persons with a selected event in each bucket. Where all rows
// of a section count for one bucket, the section's stored set is taken; other rows are read.
func (x *exec) personSets(sel *selection, times scan.Times, b *period.Buckets) ([]index.Bits, error) {
	n := x.view.Identity.Persons()
	sets := make([]index.Bits, b.Len())
	for i := range sets {
		sets[i] = index.NewBits(n)
	}
	days := x.daysOf(times)
	stored := make([][]storedSet, b.Len())
	byRow := make([][]scan.Part, len(days))
	for d := range days {
		if err := x.sortParts(&days[d], sel, times, b, stored, &byRow[d]); err != nil {
			return nil, err
		}
	}
	err := x.spread(len(sets), func(i int) error {
		var spare index.Bits
		for k, s := range stored[i] {
			if k == 1 {
				spare = index.NewBits(n)
			}
			if err := s.into(sets[i], spare, x.view.Identity); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(byRow, func(p []scan.Part) bool { return len(p) > 0 }) {
		return sets, nil
	}
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
			for i := range byRow[d] {
				if err := w.Keys(days[d].day, byRow[d][i:i+1], times, false, &keys); err != nil {
					return err
				}
				x.counters.rows.Add(int64(len(keys.K)))
				for _, k := range keys.K {
					sets[b.Of(segment.KeyTime(k, days[d].day))].Set(segment.KeyPerson(k))
				}
			}
		}
		return nil
	})
}

// storedSet is a set of persons that a segment holds.
type storedSet struct {
	persons func() (*index.Persons, error)
	remap   bool
}

// into adds the set to another one; spare is nil when that is still empty.
func (s storedSet) into(set, spare index.Bits, id *engine.Identity) error {
	p, err := s.persons()
	if err != nil {
		return err
	}
	if !s.remap {
		if spare == nil {
			set.Put(p)
		} else {
			set.OrPersons(p, spare)
		}
		return nil
	}
	p.Each(func(person uint32) { set.Set(id.Person(person)) })
	return nil
}

// sortParts sorts a day's rows into those whose persons are stored and those that must be read.
func (x *exec) sortParts(d *dayData, sel *selection, times scan.Times, b *period.Buckets, stored [][]storedSet, byRow *[]scan.Part) error {
	whole := sel.isAll() && x.wholeIn(d.day, times, b)
	for f := range d.files {
		for i := range d.files[f].sections {
			mask, err := x.mask(&d.files[f].sections[i])
			if err != nil {
				return err
			}
			// Erased events are not among the persons of a day.
			whole = whole && mask.Where == nil && (!mask.All || d.files[f].sections[i].Erased())
		}
	}
	for f := range d.files {
		if whole {
			file := &d.files[f]
			remap := false
			for i := range file.sections {
				touched, err := x.view.Identity.Touched(&file.sections[i])
				if err != nil {
					return err
				}
				remap = remap || touched
			}
			to := b.Of(max(int64(d.day)*segment.MicrosPerDay, b.Starts[0]))
			stored[to] = append(stored[to], storedSet{func() (*index.Persons, error) { return file.r.Persons(d.day) }, remap})
		}
	}
	if whole {
		return nil
	}
	parts, err := x.parts(d, sel, times)
	if err != nil {
		return err
	}
	for _, p := range parts {
		s := p.S
		if p.Where == nil && s.MinTime() >= times.From && s.MaxTime() < times.To {
			if to := b.Of(s.MinTime()); to == b.Of(s.MaxTime()) {
				stored[to] = append(stored[to], storedSet{s.Persons, p.Remap})
				continue
			}
		}
		*byRow = append(*byRow, p)
	}
	return nil
}

// wholeIn tells whether all of a day lies in the times and in one bucket.
func (x *exec) wholeIn(day int32, times scan.Times, b *period.Buckets) bool {
	from := int64(day) * segment.MicrosPerDay
	to := from + segment.MicrosPerDay - 1
	return times.From <= from && to < times.To && b.Of(from) == b.Of(to)
}

// isAll tells whether the selection is every event.
func (s *selection) isAll() bool { return len(s.alts) == 1 && s.alts[0].any && s.alts[0].where == nil }

// spread calls f for 0..n-1 on all workers.
func (x *exec) spread(n int, f func(i int) error) error {
	if n == 0 {
		return nil
	}
	var next atomic.Int64
	ranges := make([]scan.Persons, min(x.e.limits.Workers, n))
	return x.parallel(ranges, func(int, *scan.Worker) error {
		for {
			i := int(next.Add(1)) - 1
			if i >= n {
				return nil
			}
			if err := f(i); err != nil {
				return err
			}
		}
	})
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
