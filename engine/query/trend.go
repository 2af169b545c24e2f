package query

import (
	"cmp"
	"math"
	"slices"

	"spoor/engine/query/kernel"
	"spoor/engine/query/lang"
	"spoor/engine/query/period"
	"spoor/engine/query/scan"
	"spoor/segment"
)

// TrendAnswer is the answer to a trend.
type TrendAnswer struct {
	Common
	By     []string      `json:"by,omitempty"`
	Series []TrendSeries `json:"series"`
}

// TrendSeries is one measure of one group over time.
type TrendSeries struct {
	Measure string       `json:"measure"`
	Event   string       `json:"event"`
	Key     []any        `json:"key"`
	Other   bool         `json:"other,omitempty"`
	Points  []TrendPoint `json:"points"`
}

// TrendPoint is the value of a period that begins at T; null where there is none.
type TrendPoint struct {
	T     string   `json:"t"`
	Value *float64 `json:"value"`
}

// cell collects what one measure needs of one group and period.
type cell struct {
	events   int64 // selected events, with or without a value
	count    int64 // those that count
	sum      float64
	min, max float64
	values   []float64        // for percentiles
	persons  kernel.PersonSet // for users
	distinct map[any]bool     // for distinct values
	// distinctPersons is set instead of persons where these were counted already.
	distinctPersons int
}

// measureData is one measure over a range of persons: cells by [group][bucket].
type measureData struct {
	m      *lang.Measure
	groups *scan.Tuples
	cells  [][]cell
}

func (x *exec) trend() (Answer, error) {
	b, err := x.divide(x.q.Every, x.from, x.to)
	if err != nil {
		return nil, err
	}
	a := &TrendAnswer{Series: []TrendSeries{}}
	for _, by := range x.q.By {
		a.By = append(a.By, by.String())
	}
	for i := range x.q.Trend.Series {
		s := &x.q.Trend.Series[i]
		value, err := x.measure(&s.Value, b)
		if err != nil {
			return nil, err
		}
		var per *merged
		if s.Per != nil {
			if per, err = x.measure(s.Per, b); err != nil {
				return nil, err
			}
		}
		x.trendSeries(a, s, value, per, b)
	}
	return a, nil
}

// merged is one measure over all persons.
type merged struct {
	m     *lang.Measure
	keys  map[string]int
	group []mergedGroup
}

type mergedGroup struct {
	key   []any
	cells []cell
	size  int64 // events, which decides what is among the largest
}

func (x *exec) measure(m *lang.Measure, b *period.Buckets) (*merged, error) {
	sel, err := x.selects(&m.Of)
	if err != nil {
		return nil, err
	}
	times := scan.Times{From: x.from, To: x.to}
	days := x.daysOf(times)
	if fast, ok, err := x.fromFooters(m, sel, days, times, b); ok || err != nil {
		return fast, err
	}
	ranges, err := x.ranges(days, sel)
	if err != nil {
		return nil, err
	}
	results := make([]*measureData, len(ranges))
	err = x.parallel(ranges, func(i int, w *scan.Worker) error {
		results[i] = &measureData{m: m, groups: scan.NewTuples(len(x.q.By))}
		return x.collect(w, days, sel, times, b, results[i])
	})
	if err != nil {
		return nil, err
	}
	return x.together(m, results), nil
}

// together adds up what was found of parts of the events.
func (x *exec) together(m *lang.Measure, results []*measureData) *merged {
	out := &merged{m: m, keys: map[string]int{}}
	for _, r := range results {
		for g, cells := range r.cells {
			if cells != nil {
				out.add(r.groups.Values(uint32(g)), cells)
			}
		}
	}
	return out
}

// fromFooters answers counts, and persons of whole sections, without reading a key.
func (x *exec) fromFooters(m *lang.Measure, sel *selection, days []dayData, times scan.Times, b *period.Buckets) (*merged, bool, error) {
	switch {
	case m.Agg == lang.AggUsers && len(x.q.By) == 0 && sel.plain():
		sets, err := x.personSets(sel, times, b)
		if err != nil {
			return nil, false, err
		}
		cells := make([]cell, b.Len())
		for i, set := range sets {
			cells[i].distinctPersons = set.Count()
			cells[i].count = int64(cells[i].distinctPersons)
			cells[i].events = cells[i].count
		}
		out := &merged{m: m, keys: map[string]int{}}
		out.add([]any{}, cells)
		return out, true, nil
	case m.Agg != lang.AggCount:
		return nil, false, nil
	}
	var sections []counted
	for d := range days {
		for f := range days[d].files {
			secs := days[d].files[f].sections
			for i := range secs {
				s := &secs[i]
				where, ok := sel.match(s.Event())
				if !ok || s.MaxTime() < times.From || s.MinTime() >= times.To {
					continue
				}
				mask, err := x.mask(s)
				if err != nil {
					return nil, false, err
				}
				if mask.All {
					continue
				}
				c := counted{s, scan.And(mask.Where, where), b.Of(max(s.MinTime(), times.From))}
				if s.MinTime() < times.From || s.MaxTime() >= times.To || c.bucket != b.Of(s.MaxTime()) {
					return nil, false, nil
				}
				sections = append(sections, c)
			}
		}
	}
	results, err := x.count(m, sections, b.Len())
	if err != nil {
		return nil, false, err
	}
	return x.together(m, results), true, nil
}

// counted is a section whose rows are all of one period, and which of them count; nil: all.
type counted struct {
	s      *segment.Section
	where  *scan.Filter
	bucket int
}

// plain tells whether the selection takes whole sections.
func (s *selection) plain() bool {
	for i := range s.alts {
		if s.alts[i].where != nil {
			return false
		}
	}
	return true
}

// collect reads the rows of one range of persons into cells.
func (x *exec) collect(w *scan.Worker, days []dayData, sel *selection, times scan.Times, b *period.Buckets, out *measureData) error {
	withField := out.m.Agg.HasField()
	needRows := withField || len(x.q.By) > 0
	var keys scan.Keys
	var tags []uint32
	var vals scan.Values
	for d := range days {
		if err := x.ctx.Err(); err != nil {
			return err
		}
		day := &days[d]
		parts, err := x.parts(day, sel, times)
		if err != nil {
			return err
		}
		if err := w.Keys(day.day, parts, times, needRows, &keys); err != nil {
			return err
		}
		x.counters.rows.Add(int64(len(keys.K)))
		if len(x.q.By) > 0 {
			if tags, err = x.groupRows(w, parts, &keys, out.groups, tags); err != nil {
				return err
			}
		}
		if withField {
			if err := vals.Read(w, parts, &keys, x.field(&out.m.Field)); err != nil {
				return err
			}
		}
		for i, k := range keys.K {
			tag := uint32(0)
			if len(x.q.By) > 0 {
				tag = tags[i]
			}
			c := out.cell(tag, b.Of(segment.KeyTime(k, day.day)), b.Len())
			c.persons.N = x.view.Identity.Persons()
			c.add(out.m.Agg, segment.KeyPerson(k), &vals, i)
		}
	}
	if len(x.q.By) == 0 && len(out.cells) > 0 {
		out.groups.Empty()
	}
	return nil
}

func (m *measureData) cell(group uint32, bucket, buckets int) *cell {
	for int(group) >= len(m.cells) {
		m.cells = append(m.cells, nil)
	}
	if m.cells[group] == nil {
		m.cells[group] = make([]cell, buckets)
	}
	return &m.cells[group][bucket]
}

// add counts one event; its value, if the measure has a field, is value i.
func (c *cell) add(agg lang.Agg, person uint32, vals *scan.Values, i int) {
	c.events++
	if !agg.HasField() {
		c.count++
		if agg != lang.AggCount {
			c.persons.Add(person)
		}
		return
	}
	if agg == lang.AggDistinct {
		v, ok := vals.Any(i)
		if !ok {
			return
		}
		c.count++
		if c.distinct == nil {
			c.distinct = map[any]bool{}
		}
		c.distinct[v] = true
		return
	}
	v := vals.Num[i]
	if v != v {
		return
	}
	if c.count == 0 {
		c.min, c.max = v, v
	}
	c.count++
	c.sum += v
	c.min, c.max = min(c.min, v), max(c.max, v)
	if agg == lang.AggMedian || agg == lang.AggPercentile {
		c.values = append(c.values, v)
	}
}

// addRows adds events of which no more is asked for than how many there are.
func (c *cell) addRows(n int) {
	c.events += int64(n)
	c.count += int64(n)
}

// merge adds another cell of the same group and period.
func (c *cell) merge(o *cell) {
	c.events += o.events
	if o.count == 0 {
		return
	}
	c.distinctPersons += o.distinctPersons
	if c.count == 0 {
		c.min, c.max = o.min, o.max
	}
	c.count += o.count
	c.sum += o.sum
	c.min, c.max = min(c.min, o.min), max(c.max, o.max)
	c.values = append(c.values, o.values...)
	c.persons.Merge(&o.persons)
	if o.distinct != nil {
		if c.distinct == nil {
			c.distinct = map[any]bool{}
		}
		for v := range o.distinct {
			c.distinct[v] = true
		}
	}
}

// users are the distinct persons.
func (c *cell) users() int {
	if c.distinctPersons > 0 {
		return c.distinctPersons
	}
	return c.persons.Count()
}

// value is the measure's number; ok is false where there is none.
func (c *cell) value(m *lang.Measure) (v float64, ok bool) {
	switch m.Agg {
	case lang.AggCount:
		return float64(c.count), true
	case lang.AggUsers:
		return float64(c.users()), true
	case lang.AggDistinct:
		return float64(len(c.distinct)), true
	case lang.AggSum:
		return c.sum, true
	}
	if c.count == 0 {
		return 0, false
	}
	switch m.Agg {
	case lang.AggPerUser:
		return float64(c.count) / float64(c.users()), true
	case lang.AggAvg:
		return c.sum / float64(c.count), true
	case lang.AggMin:
		return c.min, true
	case lang.AggMax:
		return c.max, true
	case lang.AggMedian:
		return percentile(c.values, 50), true
	case lang.AggPercentile:
		return percentile(c.values, m.Percentile), true
	}
	return 0, false
}

// percentile interpolates linearly between the two nearest values; it sorts them.
func percentile(values []float64, p float64) float64 {
	slices.Sort(values)
	at := p / 100 * float64(len(values)-1)
	lo := math.Floor(at)
	i := int(lo)
	if i+1 >= len(values) {
		return values[len(values)-1]
	}
	return values[i] + (at-lo)*(values[i+1]-values[i])
}

func (m *merged) add(key []any, cells []cell) {
	text := keyText(key)
	i, ok := m.keys[text]
	if !ok {
		i = len(m.group)
		m.keys[text] = i
		m.group = append(m.group, mergedGroup{key: key, cells: make([]cell, len(cells))})
	}
	g := &m.group[i]
	for b := range cells {
		g.size += cells[b].events
		g.cells[b].merge(&cells[b])
	}
}

// trendSeries appends the series of one measure: one, or one per group.
func (x *exec) trendSeries(a *TrendAnswer, s *lang.Series, value, per *merged, b *period.Buckets) {
	grouped := len(x.q.By) > 0
	if !grouped && len(value.group) == 0 {
		value.add([]any{}, make([]cell, b.Len()))
	}
	groups := bothSides(value, per)
	rest := groups[len(groups):]
	if grouped && len(groups) > x.q.Limit {
		groups, rest = groups[:x.q.Limit], groups[x.q.Limit:]
	}
	for i := range groups {
		a.Series = append(a.Series, x.oneSeries(s, &groups[i], b))
	}
	if len(rest) > 0 {
		other := ratioGroup{key: otherKey(len(x.q.By)), value: make([]cell, b.Len()), per: make([]cell, b.Len())}
		for i := range rest {
			mergeCells(other.value, rest[i].value)
			mergeCells(other.per, rest[i].per)
		}
		series := x.oneSeries(s, &other, b)
		series.Other = true
		a.Series = append(a.Series, series)
	}
}

// ratioGroup is a group of a series: the cells of its measure and of what it is
// divided by. A side without events of the group has none.
type ratioGroup struct {
	key        []any
	value, per []cell
	size       int64 // events of both sides
}

// bothSides are the groups that either measure has, the largest first.
func bothSides(value, per *merged) []ratioGroup {
	groups := make([]ratioGroup, 0, len(value.group))
	for i := range value.group {
		g := &value.group[i]
		groups = append(groups, ratioGroup{key: g.key, value: g.cells, size: g.size})
	}
	if per != nil {
		for text, i := range per.keys {
			g := &per.group[i]
			at, ok := value.keys[text]
			if !ok {
				at = len(groups)
				groups = append(groups, ratioGroup{key: g.key})
			}
			groups[at].per = g.cells
			groups[at].size += g.size
		}
	}
	slices.SortFunc(groups, func(p, q ratioGroup) int {
		return cmp.Or(cmp.Compare(q.size, p.size), scan.CompareKeys(p.key, q.key))
	})
	return groups
}

func mergeCells(to, from []cell) {
	for i := range from {
		to[i].merge(&from[i])
	}
}

func (x *exec) oneSeries(s *lang.Series, g *ratioGroup, b *period.Buckets) TrendSeries {
	out := TrendSeries{Measure: s.Label(), Event: s.Value.Of.Label(), Key: g.key, Points: make([]TrendPoint, b.Len())}
	at := func(cells []cell, i int, m *lang.Measure) (float64, bool) {
		if cells == nil {
			return (&cell{}).value(m)
		}
		return cells[i].value(m)
	}
	for i := range out.Points {
		out.Points[i].T = x.formatLocal(b.Starts[i])
		v, ok := at(g.value, i, &s.Value)
		if s.Per != nil {
			d, some := at(g.per, i, s.Per)
			ok = ok && some && d != 0
			v = v/d + 0 // no negative zero
		}
		if ok {
			out.Points[i].Value = &v
		}
	}
	return out
}
