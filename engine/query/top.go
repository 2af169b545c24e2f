package query

import (
	"slices"

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
	fields := []scan.Field{field(&x.q.Top.Field)}
	type part struct {
		groups *scan.Tuples
		count  []int
		pairs  []uint64 // group<<32 | person
	}
	parts := make([]part, len(ranges))
	err = x.parallel(ranges, func(i int, w *scan.Worker) error {
		p := &parts[i]
		p.groups = scan.NewTuples(1)
		var keys scan.Keys
		var tags []uint32
		for d := range days {
			if err := x.ctx.Err(); err != nil {
				return err
			}
			ps, err := x.parts(&days[d], sel, times)
			if err != nil {
				return err
			}
			if err := w.Keys(days[d].day, ps, times, true, &keys); err != nil {
				return err
			}
			x.counters.rows.Add(int64(len(keys.K)))
			tags = slices.Grow(tags[:0], len(keys.K))[:len(keys.K)]
			if err := p.groups.Rows(w, ps, &keys, fields, tags); err != nil {
				return err
			}
			for len(p.count) < p.groups.Len() {
				p.count = append(p.count, 0)
			}
			last := ^uint64(0)
			for j, k := range keys.K {
				p.count[tags[j]]++
				if pair := uint64(tags[j])<<32 | uint64(segment.KeyPerson(k)); pair != last {
					p.pairs = append(p.pairs, pair)
					last = pair
				}
			}
		}
		slices.Sort(p.pairs)
		p.pairs = slices.Compact(p.pairs)
		return nil
	})
	if err != nil {
		return nil, err
	}
	a := &TopAnswer{Field: x.q.Top.Field.String(), Values: []TopValue{}}
	index := map[any]int{}
	for _, p := range parts {
		users := make([]int, len(p.count))
		for _, pair := range p.pairs {
			users[pair>>32]++
		}
		for g, n := range p.count {
			v := p.groups.Values(uint32(g))[0]
			if v == nil {
				continue // top lists values
			}
			i, ok := index[v]
			if !ok {
				i = len(a.Values)
				index[v] = i
				a.Values = append(a.Values, TopValue{Value: v})
			}
			a.Values[i].Count += n
			a.Values[i].Users += users[g] // persons of different ranges are different
		}
	}
	slices.SortFunc(a.Values, func(p, q TopValue) int {
		if p.Count != q.Count {
			return q.Count - p.Count
		}
		return compareValues(p.Value, q.Value)
	})
	if len(a.Values) > x.q.Limit {
		a.Values = a.Values[:x.q.Limit]
	}
	return a, nil
}
