package query

import (
	"slices"

	"spoor/engine/query/kernel"
	"spoor/engine/query/scan"
	"spoor/segment"
)

// TopAnswer is the answer to a question for the most frequent values.
type TopAnswer struct {
	Common
	Field  string     `json:"field"`
	Values []TopValue `json:"values"`
}

// TopValue is one value: the events that have it, and their persons.
type TopValue struct {
	Value any  `json:"value"`
	Other bool `json:"other,omitempty"`
	Count int  `json:"count"`
	Users int  `json:"users"`
}

func (x *exec) top() (Answer, error) {
	sel, err := x.selects(&x.q.Top.Of)
	if err != nil {
		return nil, err
	}
	times := scan.Times{From: x.from, To: x.to}
	days := x.daysOf(times)
	ranges, err := x.ranges(days, sel)
	if err != nil {
		return nil, err
	}
	counts := make([]*topCounts, len(ranges))
	err = x.parallel(ranges, func(i int, w *scan.Worker) error {
		counts[i] = &topCounts{groups: scan.NewTuples(1), persons: []*kernel.PersonSet{}}
		return x.countValues(w, days, sel, times, counts[i], nil)
	})
	if err != nil {
		return nil, err
	}
	a := &TopAnswer{Field: x.q.Top.Field.String(), Values: []TopValue{}}
	index := map[any]int{}
	for _, c := range counts {
		for g, n := range c.count {
			v := c.groups.Values(uint32(g))[0]
			if v == nil || n == 0 {
				continue // top lists values
			}
			i, ok := index[v]
			if !ok {
				i = len(a.Values)
				index[v] = i
				a.Values = append(a.Values, TopValue{Value: v})
			}
			a.Values[i].Count += n
		}
	}
	slices.SortFunc(a.Values, func(p, q TopValue) int {
		if p.Count != q.Count {
			return q.Count - p.Count
		}
		return scan.CompareValues(p.Value, q.Value)
	})
	if len(a.Values) > x.q.Limit {
		a.Values = a.Values[:x.q.Limit]
	}
	users := make([][]int, len(ranges))
	err = x.parallel(ranges, func(i int, w *scan.Worker) error {
		var err error
		users[i], err = x.topPersons(w, days, sel, times, counts[i], a.Values)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, u := range users {
		for j, n := range u { // persons of different ranges are different
			a.Values[j].Users += n
		}
	}
	return a, nil
}

// topPersons counts the persons of the values that are listed: those that were collected
// with the events, or where values are too many for that, in a second pass.
func (x *exec) topPersons(w *scan.Worker, days []dayData, sel *selection, times scan.Times, c *topCounts, values []TopValue) ([]int, error) {
	listed := make([]*kernel.PersonSet, c.groups.Len())
	sets := make([]*kernel.PersonSet, len(values))
	for j := range values {
		sets[j] = &kernel.PersonSet{N: x.view.Identity.Persons()}
		if g, ok := c.groups.Find(values[j].Value); ok {
			if c.persons != nil {
				sets[j] = c.persons[g]
			}
			listed[g] = sets[j]
		}
	}
	if c.persons == nil {
		if err := x.countValues(w, days, sel, times, c, listed); err != nil {
			return nil, err
		}
	}
	users := make([]int, len(sets))
	for j := range sets {
		users[j] = sets[j].Count()
	}
	return users, nil
}

// topTogether is up to how many values their persons are collected together with the
// events: a set of each is held.
const topTogether = 64

// topCounts counts events by value for one range of persons.
type topCounts struct {
	groups *scan.Tuples
	count  []int
	// persons are those of each value, nil where there are more than topTogether of them.
	persons []*kernel.PersonSet
}

// countValues counts events by value; with listed it collects the persons of the
// listed values instead.
func (x *exec) countValues(w *scan.Worker, days []dayData, sel *selection, times scan.Times, c *topCounts, listed []*kernel.PersonSet) error {
	fields := []scan.Field{x.field(&x.q.Top.Field)}
	var keys scan.Keys
	var tags []uint32
	for d := range days {
		if err := x.ctx.Err(); err != nil {
			return err
		}
		parts, err := x.parts(&days[d], sel, times)
		if err != nil {
			return err
		}
		if err := w.Keys(days[d].day, parts, times, true, &keys); err != nil {
			return err
		}
		tags = slices.Grow(tags[:0], len(keys.K))[:len(keys.K)]
		if err := c.groups.Rows(w, parts, &keys, fields, tags); err != nil {
			return err
		}
		if listed != nil {
			for i, t := range tags {
				if set := listed[t]; set != nil {
					set.Add(segment.KeyPerson(keys.K[i]))
				}
			}
			continue
		}
		x.counters.rows.Add(int64(len(keys.K)))
		if c.groups.Len() > x.e.limits.Groups {
			return failf(ErrTooMuch, "the field has more than %d different values", x.e.limits.Groups)
		}
		for len(c.count) < c.groups.Len() {
			c.count = append(c.count, 0)
		}
		for _, t := range tags {
			c.count[t]++
		}
		if c.groups.Len() > topTogether {
			c.persons = nil
		}
		if c.persons == nil {
			continue
		}
		for len(c.persons) < c.groups.Len() {
			c.persons = append(c.persons, &kernel.PersonSet{N: x.view.Identity.Persons()})
		}
		for i, t := range tags {
			c.persons[t].Add(segment.KeyPerson(keys.K[i]))
		}
	}
	return nil
}
