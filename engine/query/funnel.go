package query

import (
	"cmp"
	"fmt"
	"slices"

	"spoor/engine/query/kernel"
	"spoor/engine/query/lang"
	"spoor/engine/query/scan"
	"spoor/engine/query/stats"
)

// FunnelAnswer is the answer to a funnel.
type FunnelAnswer struct {
	Common
	Steps         []FunnelStep         `json:"steps"`
	Open          int                  `json:"open"`
	TimeToConvert *stats.TimeToConvert `json:"time_to_convert,omitempty"`
	By            []string             `json:"by,omitempty"`
	Groups        []FunnelGroup        `json:"groups,omitempty"`
	Points        []FunnelPoint        `json:"points,omitempty"`
}

// FunnelPoint is the funnel of those who entered in the period at T.
type FunnelPoint struct {
	T     string       `json:"t"`
	Steps []FunnelStep `json:"steps"`
}

// FunnelStep is one step: how many got there, as a share of the first step and of
// the nearest one before that a chain must take.
type FunnelStep struct {
	Event          string  `json:"event"`
	Users          int     `json:"users"`
	Conversion     float64 `json:"conversion"`
	StepConversion float64 `json:"step_conversion"`
	// MedianSeconds is from the first step to this one, over those who reached it.
	MedianSeconds *float64 `json:"median_seconds"`
}

// FunnelGroup is the funnel of one value of a breakdown.
type FunnelGroup struct {
	Key    []any         `json:"key"`
	Other  bool          `json:"other,omitempty"`
	Steps  []FunnelStep  `json:"steps"`
	Points []FunnelPoint `json:"points,omitempty"`
}

func (x *exec) funnel() (Answer, error) {
	pl, err := x.planFunnel()
	if err != nil {
		return nil, err
	}
	results := make([]*funnelPart, len(pl.ranges))
	err = x.parallel(pl.ranges, func(i int, w *scan.Worker) error {
		p := &funnelPart{groups: scan.NewTuples(len(x.q.By)), byGroup: map[string]*funnelCounts{}}
		results[i] = p
		if x.canSweep() {
			return x.sweepFunnel(w, pl, p)
		}
		return pl.walk.run(w, pl.days, pl.all, p)
	})
	if err != nil {
		return nil, err
	}
	return x.funnelAnswer(results, pl.walk), nil
}

// funnelPlan is what a funnel goes through, for its numbers or for who is in them.
type funnelPlan struct {
	sels   []*selection // by step
	all    scan.Times
	days   []dayData
	walk   *funnelWalk
	ranges []scan.Persons
}

func (x *exec) planFunnel() (*funnelPlan, error) {
	f := x.q.Funnel
	pl := &funnelPlan{sels: make([]*selection, len(f.Steps))}
	var err error
	for i := range f.Steps {
		if pl.sels[i], err = x.selects(&f.Steps[i].EventSel); err != nil {
			return nil, err
		}
	}
	// Steps may lie behind the range as long as they are within the window.
	pl.all = scan.Times{From: x.from, To: x.to + f.Within + 1}
	pl.days = x.daysOf(pl.all)
	if pl.walk, err = x.newFunnelWalk(pl.sels); err != nil {
		return nil, err
	}
	if pl.ranges, err = x.funnelRanges(pl.days, pl.walk); err != nil {
		return nil, err
	}
	return pl, nil
}

// funnelCells bounds what a sweep carries per worker, a time per person and step: 8 MiB,
// which caches still hold. With more the state waits for memory, with less each range
// decodes blocks that its neighbours decode too.
const funnelCells = 1 << 20

// funnelRanges splits the persons so that what the funnel holds of a range is bounded.
func (x *exec) funnelRanges(days []dayData, walk *funnelWalk) ([]scan.Persons, error) {
	switch {
	case x.canSweep():
		cells := x.view.Identity.Persons() * len(walk.sels)
		return x.split(max(x.e.limits.Workers, cells/funnelCells+1), days, walk.sels...)
	case walk.everything():
		return x.gatherRanges(days, &selection{alts: []alternative{{any: true}}})
	}
	return x.gatherRanges(days, slices.Concat(walk.sels, walk.voids)...)
}

// canSweep tells whether the funnel is of the plain form that a sweep by steps answers.
func (x *exec) canSweep() bool {
	f := x.q.Funnel
	if f.Order != lang.OrderOrdered || f.Per.Kind != lang.PerUser || len(f.Excluding)+len(f.Never)+len(f.Holding) > 0 || !x.q.Every.IsZero() {
		return false
	}
	for i := range f.Steps {
		if f.Steps[i].Optional {
			return false
		}
	}
	if first := f.Steps[0].Alternatives; len(x.q.By) > 0 && (len(first) > 1 || first[0].Any) {
		return false // of events of one time and several names the first stored counts, which a sweep does not see
	}
	for i := range x.q.By {
		if x.q.By[i].Step != 1 {
			return false
		}
	}
	return distinctSteps(f)
}

// distinctSteps tells whether no event can match two steps: then a sweep by steps is exact.
func distinctSteps(f *lang.Funnel) bool {
	seen := map[string]bool{}
	for i := range f.Steps {
		mine := map[string]bool{}
		for _, a := range f.Steps[i].Alternatives {
			if a.Any || seen[a.Name] {
				return len(f.Steps) == 1
			}
			mine[a.Name] = true
		}
		for n := range mine {
			seen[n] = true
		}
	}
	return true
}

// funnelPart is the result for one range of persons.
type funnelPart struct {
	users   []int
	open    int
	lags    [][]int64 // per step: from the first step, of those who reached it
	convert []int64   // first step to last, of those who converted
	groups  *scan.Tuples
	byGroup map[string]*funnelCounts
	points  []*funnelCounts // by period of entry
	// who, if not nil, is told what each unit of a person did; the walk alone does.
	who func(person uint32, o *outcome)
}

// funnelCounts are the persons whose best chain has a key, by step.
type funnelCounts struct {
	key   []any
	users []int
	lags  [][]int64 // per step: from the first step
	// points are those who entered in each period; nil without `every`.
	points []*funnelCounts
}

func newFunnelCounts(key []any, steps int) *funnelCounts {
	return &funnelCounts{key: key, users: make([]int, steps), lags: make([][]int64, steps)}
}

func newFunnelPoints(periods, steps int) []*funnelCounts {
	out := make([]*funnelCounts, periods)
	for i := range out {
		out[i] = newFunnelCounts(nil, steps)
	}
	return out
}

// add counts one who reached the steps that reached has.
func (c *funnelCounts) add(reached uint64, lag []int64) {
	for s := range c.users {
		if reached>>s&1 != 0 {
			c.users[s]++
			c.lags[s] = append(c.lags[s], lag[s])
		}
	}
}

// group is the counts of a key.
func (p *funnelPart) group(key []any, steps int) *funnelCounts {
	text := keyText(key)
	c, ok := p.byGroup[text]
	if !ok {
		c = newFunnelCounts(key, steps)
		if p.points != nil {
			c.points = newFunnelPoints(len(p.points), steps)
		}
		p.byGroup[text] = c
	}
	return c
}

// merge adds the persons of o.
func (c *funnelCounts) merge(o *funnelCounts) {
	for s := range c.users {
		c.users[s] += o.users[s]
		c.lags[s] = append(c.lags[s], o.lags[s]...)
	}
	for i := range o.points {
		if c.points == nil {
			c.points = newFunnelPoints(len(o.points), len(c.users))
		}
		c.points[i].merge(o.points[i])
	}
}

// sweep goes through the days of one range of persons, step by step, and shows then what came of it; k is not kept.
func (x *exec) sweep(w *scan.Worker, pl *funnelPlan, groups *scan.Tuples, then func(k *kernel.Funnel) error) error {
	days, sels, all := pl.days, pl.sels, pl.all
	withTags := len(x.q.By) > 0
	k := x.e.funnels.Get().(*kernel.Funnel)
	defer x.e.funnels.Put(k)
	k.Reset(len(sels), x.q.Funnel.Within, w.Persons.Lo, w.Persons.Hi, withTags)
	var keys scan.Keys
	var tags []uint32
	for d := range days {
		if err := x.ctx.Err(); err != nil {
			return err
		}
		for s, sel := range sels {
			if s > 0 && !k.Live(s) {
				k.Step(s, nil)
				continue
			}
			times := all
			if s == 0 {
				times.To = x.to
			}
			parts, err := x.parts(&days[d], sel, times)
			if err != nil {
				return err
			}
			tagged := withTags && s == 0
			if err := w.KeysOf(k.Wanted(s), days[d].day, parts, times, tagged, &keys); err != nil {
				return err
			}
			x.counters.rows.Add(int64(len(keys.K)))
			if s > 0 {
				k.Step(s, keys.K)
				continue
			}
			if tagged {
				if tags, err = x.groupRows(w, parts, &keys, groups, tags); err != nil {
					return err
				}
			}
			k.Begin(days[d].day, keys.K, tags)
		}
		k.End()
	}
	return then(k)
}

func (x *exec) sweepFunnel(w *scan.Worker, pl *funnelPlan, p *funnelPart) error {
	return x.sweep(w, pl, p.groups, func(k *kernel.Funnel) error {
		p.users = k.Users()
		p.open = k.Open(x.view.DataThrough)
		p.lags = make([][]int64, len(pl.sels))
		for s := 1; s < len(pl.sels); s++ {
			p.lags[s] = slices.Clone(k.Lags(s))
		}
		p.convert = p.lags[len(pl.sels)-1]
		if len(x.q.By) > 0 {
			counts := make([]*funnelCounts, p.groups.Len())
			for g := range counts {
				counts[g] = newFunnelCounts(p.groups.Values(uint32(g)), len(pl.sels))
			}
			k.Deepest(func(tag uint32, lags []int64) {
				c := counts[tag]
				c.users[0]++
				for s := 1; s < len(lags); s++ {
					c.users[s]++
					c.lags[s] = append(c.lags[s], lags[s])
				}
			})
			for _, c := range counts {
				if c.users[0] > 0 {
					p.byGroup[keyText(c.key)] = c
				}
			}
		}
		return nil
	})
}

// groupRows numbers the values of the breakdown for each key.
func (x *exec) groupRows(w *scan.Worker, parts []scan.Part, keys *scan.Keys, groups *scan.Tuples, dst []uint32) ([]uint32, error) {
	dst = slices.Grow(dst[:0], len(keys.K))[:len(keys.K)]
	if err := groups.Rows(w, parts, keys, x.byFields(), dst); err != nil {
		return nil, err
	}
	return dst, x.checkGroups(groups)
}

// checkGroups holds a breakdown within its limit.
func (x *exec) checkGroups(groups *scan.Tuples) error {
	if groups.Len() > x.e.limits.Groups {
		return failf(ErrTooMuch, "the breakdown has more than %d different values; filter, or break down by a field with fewer", x.e.limits.Groups)
	}
	return nil
}

// byFields are the fields of the breakdown.
func (x *exec) byFields() []scan.Field {
	fields := make([]scan.Field, len(x.q.By))
	for i := range x.q.By {
		fields[i] = x.field(&x.q.By[i].Field)
	}
	return fields
}

// eachPerson gathers the events of each person that g wants, over all days, in
// the order of time and arrival, and calls f with them.
func (x *exec) eachPerson(w *scan.Worker, days []dayData, sels []*selection, all scan.Times, g *scan.Gather, f func(person uint32, events []kernel.Event) error) error {
	return x.eachPersonVoid(w, days, sels, nil, all, g, f)
}

// eachPersonVoid does the same, with exclusions beside the selections.
func (x *exec) eachPersonVoid(w *scan.Worker, days []dayData, sels, voids []*selection, all scan.Times, g *scan.Gather, f func(person uint32, events []kernel.Event) error) error {
	for d := range days {
		if err := x.ctx.Err(); err != nil {
			return err
		}
		files, err := x.dayFiles(&days[d], sels, voids, g.All, all)
		if err != nil {
			return err
		}
		n, err := g.Add(w, files, all)
		if err != nil {
			return err
		}
		x.counters.rows.Add(int64(n))
		if g.Bytes() > x.e.limits.Bytes {
			return failf(ErrTooMuch, "the query holds more than %d bytes of rows; shorten the range or filter", x.e.limits.Bytes)
		}
		if g.Groups != nil {
			if err := x.checkGroups(g.Groups); err != nil {
				return err
			}
		}
	}
	return g.Each(w.Persons, f)
}

// funnelAnswer adds the ranges up.
func (x *exec) funnelAnswer(parts []*funnelPart, walk *funnelWalk) *FunnelAnswer {
	n := len(x.q.Funnel.Steps)
	users := make([]int, n)
	lags := make([][]int64, n)
	var convert []int64
	a := &FunnelAnswer{}
	for s := range n {
		got := make([][]int64, len(parts))
		for i, p := range parts {
			users[s] += p.users[s]
			got[i] = p.lags[s]
		}
		lags[s] = slices.Concat(got...)
	}
	for _, p := range parts {
		a.Open += p.open
		convert = append(convert, p.convert...)
	}
	a.Steps = x.funnelSteps(users, lags)
	if n > 1 && len(convert) > 0 {
		a.TimeToConvert = stats.NewTimeToConvert(convert)
	}
	if len(x.q.By) > 0 {
		x.funnelGroups(a, parts, walk)
	}
	if !x.q.Every.IsZero() {
		sum := newFunnelPoints(walk.periods.Len(), n)
		for _, p := range parts {
			for i := range sum {
				sum[i].merge(p.points[i])
			}
		}
		a.Points = x.funnelPoints(walk, sum)
	}
	return a
}

func (x *exec) funnelPoints(walk *funnelWalk, points []*funnelCounts) []FunnelPoint {
	var out []FunnelPoint
	for i, c := range points {
		out = append(out, FunnelPoint{T: x.formatLocal(walk.periods.Starts[i]), Steps: x.funnelSteps(c.users, c.lags)})
	}
	return out
}

func (x *exec) funnelSteps(users []int, lags [][]int64) []FunnelStep {
	out := make([]FunnelStep, len(users))
	before := 0 // the nearest required step
	for s := range users {
		out[s] = FunnelStep{Event: x.q.Funnel.Steps[s].Label(), Users: users[s], Conversion: share(users[s], users[0])}
		out[s].StepConversion = out[s].Conversion
		if s > 0 {
			out[s].StepConversion = share(users[s], users[before])
			if !x.q.Funnel.Steps[s].Optional {
				before = s
			}
			if lags != nil && len(lags[s]) > 0 {
				m := stats.Quantiles(lags[s], 0.5)[0] / 1e6
				out[s].MedianSeconds = &m
			}
		}
	}
	return out
}

// funnelGroups takes the largest groups and sums the rest up in one.
func (x *exec) funnelGroups(a *FunnelAnswer, parts []*funnelPart, walk *funnelWalk) {
	n := len(x.q.Funnel.Steps)
	for _, by := range x.q.By {
		a.By = append(a.By, by.String())
	}
	total := map[string]*funnelCounts{}
	var groups []*funnelCounts
	for _, p := range parts {
		for text, c := range p.byGroup {
			if total[text] == nil {
				total[text] = newFunnelCounts(c.key, n)
				groups = append(groups, total[text])
			}
			total[text].merge(c)
		}
	}
	slices.SortFunc(groups, func(p, q *funnelCounts) int {
		return cmp.Or(cmp.Compare(q.users[0], p.users[0]), scan.CompareKeys(p.key, q.key))
	})
	var rest *funnelCounts
	for i, c := range groups {
		if i < x.q.Limit {
			a.Groups = append(a.Groups, FunnelGroup{Key: c.key, Steps: x.funnelSteps(c.users, c.lags), Points: x.funnelPoints(walk, c.points)})
			continue
		}
		if rest == nil {
			rest = newFunnelCounts(otherKey(len(x.q.By)), n)
		}
		rest.merge(c)
	}
	if rest != nil {
		a.Groups = append(a.Groups, FunnelGroup{Key: rest.key, Other: true, Steps: x.funnelSteps(rest.users, rest.lags), Points: x.funnelPoints(walk, rest.points)})
	}
}

// share is a / b, 0 of nothing.
func share(a, b int) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
}

// keyText tells keys of groups apart; values keep their type.
func keyText(key []any) string { return fmt.Sprintf("%#v", key) }

// otherKey is the key of what lies behind the limit.
func otherKey(n int) []any { return make([]any, n) }
