package query

import (
	"cmp"
	"math"
	"slices"

	"spoor/engine/query/kernel"
	"spoor/engine/query/lang"
	"spoor/engine/query/scan"
)

// AttributionAnswer is the answer to an attribution.
type AttributionAnswer struct {
	Common
	Conversions int          `json:"conversions"`
	Value       *float64     `json:"value"`
	Touchpoints []Touchpoint `json:"touchpoints"`
}

// Touchpoint is a channel's share of the conversions and of their value.
type Touchpoint struct {
	Key         any      `json:"key"`
	Other       bool     `json:"other,omitempty"`
	Conversions float64  `json:"conversions"`
	Value       *float64 `json:"value,omitempty"`
}

// credit sums shares up, per channel.
type credit struct {
	groups      *scan.Tuples
	conversions int
	value       float64
	share       []float64
	worth       []float64
	none        [2]float64 // conversions without a touch, and their value
}

const (
	conversionBit = 1 << 0
	touchBit      = 1 << 1
)

func (x *exec) attribution() (Answer, error) {
	at := x.q.Attribution
	conversion, err := x.selects(&at.Conversion)
	if err != nil {
		return nil, err
	}
	touch, err := x.selects(&at.Touch)
	if err != nil {
		return nil, err
	}
	sels := []*selection{conversion, touch}
	// Touches may lie before the range.
	times := scan.Times{From: x.from - at.Lookback, To: x.to}
	days := x.daysOf(times)
	split := x.gatherRanges
	if at.Model == lang.ModelLastTouch {
		split = x.ranges
	}
	ranges, err := split(days, sels...)
	if err != nil {
		return nil, err
	}
	credits := make([]*credit, len(ranges))
	err = x.parallel(ranges, func(i int, w *scan.Worker) error {
		c := &credit{groups: scan.NewTuples(len(x.q.By))}
		credits[i] = c
		g := &scan.Gather{Fields: x.byFields(), Groups: c.groups}
		if at.Value != nil {
			f := x.field(at.Value)
			g.Value = &f
		}
		if at.Model == lang.ModelLastTouch {
			return x.sweepTouches(w, days, conversion, touch, g.Value, c)
		}
		var touches []kernel.Event
		return x.eachPerson(w, days, sels, times, g, func(_ uint32, events []kernel.Event) error {
			touches = x.attribute(events, touches[:0], c)
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return x.attributionAnswer(credits), nil
}

// sweepTouches credits last touches day by day: of each person the latest touch is enough.
func (x *exec) sweepTouches(w *scan.Worker, days []dayData, conversion, touch *selection, value *scan.Field, c *credit) error {
	lookback := x.q.Attribution.Lookback
	last := kernel.NewLastTouch(w.Persons.Lo, w.Persons.Hi)
	touches := touchReader{x: x, w: w, sel: touch, times: scan.Times{From: x.from - lookback, To: x.to}, groups: c.groups}
	times := scan.Times{From: x.from, To: x.to}
	var keys scan.Keys
	var worth []float64
	for d := range days {
		if err := x.ctx.Err(); err != nil {
			return err
		}
		if err := touches.read(&days[d]); err != nil {
			return err
		}
		parts, err := x.parts(&days[d], conversion, times)
		if err != nil {
			return err
		}
		if err := w.Keys(days[d].day, parts, times, value != nil, &keys); err != nil {
			return err
		}
		x.counters.rows.Add(int64(len(keys.K)))
		if value != nil {
			if worth, err = w.Numbers(parts, &keys, *value, worth); err != nil {
				return err
			}
		}
		last.Day(days[d].day, touches.keys, touches.tags, keys.K, func(i int, age int64, tag uint32) {
			v := 0.0
			if value != nil && worth[i] == worth[i] {
				v = worth[i]
			}
			c.conversions++
			c.value += v
			if age > lookback {
				c.none[0]++
				c.none[1] += v
				return
			}
			c.give(tag, 1, v)
		})
	}
	return nil
}

// touchReader reads the touches of days: what has a value in every field of the
// breakdown, numbered as its channel.
type touchReader struct {
	x      *exec
	w      *scan.Worker
	sel    *selection
	times  scan.Times
	groups *scan.Tuples
	counts []bool // by tag: all values are there and not empty

	rows scan.Keys
	line scan.Timeline
	keys []uint64
	tags []uint32
}

func (r *touchReader) read(d *dayData) (err error) {
	if alts := r.sel.alts; len(alts) == 1 && !alts[0].any {
		parts, err := r.x.parts(d, r.sel, r.times)
		if err != nil {
			return err
		}
		if err := r.w.Keys(d.day, parts, r.times, true, &r.rows); err != nil {
			return err
		}
		if r.tags, err = r.x.groupRows(r.w, parts, &r.rows, r.groups, r.tags); err != nil {
			return err
		}
		r.keys = r.rows.K
	} else { // of touches of several names at one time the last that arrived counts
		files, err := r.x.timelineFiles(d, r.sel, r.times)
		if err != nil {
			return err
		}
		if err := r.w.Timeline(files, r.times, true, &r.line); err != nil {
			return err
		}
		if r.tags, err = r.groups.Timeline(r.w, files, &r.line, r.x.byFields(), r.tags[:0]); err != nil {
			return err
		}
		if err := r.x.checkGroups(r.groups); err != nil {
			return err
		}
		r.keys = r.line.K
	}
	r.x.counters.rows.Add(int64(len(r.keys)))
	for len(r.counts) < r.groups.Len() {
		r.counts = append(r.counts, r.groups.NonEmpty(uint32(len(r.counts))))
	}
	n := 0
	for i, tag := range r.tags {
		r.keys[n], r.tags[n] = r.keys[i], tag
		if r.counts[tag] {
			n++
		}
	}
	r.keys, r.tags = r.keys[:n], r.tags[:n]
	return nil
}

// attribute shares the conversions of one person out. touches is reused memory.
func (x *exec) attribute(events, touches []kernel.Event, c *credit) []kernel.Event {
	at := x.q.Attribution
	for i := range events {
		// A touch at the time of the conversion counts, also one that arrived after it.
		if e := &events[i]; e.Steps&touchBit != 0 && c.groups.NonEmpty(e.Tag) {
			touches = append(touches, *e)
		}
	}
	first, end := 0, 0
	for i := range events {
		e := &events[i]
		if e.Steps&conversionBit == 0 || e.Time < x.from {
			continue
		}
		for end < len(touches) && touches[end].Time <= e.Time {
			end++
		}
		for first < end && touches[first].Time < e.Time-at.Lookback {
			first++
		}
		value := e.Num
		if at.Value == nil || value != value {
			value = 0
		}
		c.add(touches[first:end], value, at)
	}
	return touches
}

// add shares one conversion among its touches, which are in the order of time.
func (c *credit) add(touches []kernel.Event, value float64, at *lang.Attribution) {
	c.conversions++
	c.value += value
	n := len(touches)
	if n == 0 {
		c.none[0]++
		c.none[1] += value
		return
	}
	give := func(e *kernel.Event, share float64) { c.give(e.Tag, share, value) }
	switch at.Model {
	case lang.ModelFirstTouch:
		give(&touches[0], 1)
	case lang.ModelLinear:
		for i := range touches {
			give(&touches[i], 1/float64(n))
		}
	case lang.ModelTimeDecay:
		// Weights relative to the youngest touch are the same shares, and never all 0.
		youngest := touches[n-1].Time
		sum := 0.0
		for i := range touches {
			sum += decay(youngest-touches[i].Time, at.HalfLife)
		}
		for i := range touches {
			give(&touches[i], decay(youngest-touches[i].Time, at.HalfLife)/sum)
		}
	case lang.ModelPosition:
		switch n {
		case 1:
			give(&touches[0], 1)
		case 2:
			give(&touches[0], 0.5)
			give(&touches[1], 0.5)
		default:
			give(&touches[0], 0.4)
			for i := 1; i < n-1; i++ {
				give(&touches[i], 0.2/float64(n-2))
			}
			give(&touches[n-1], 0.4)
		}
	}
}

// give adds a share of a conversion of some value to a channel.
func (c *credit) give(tag uint32, share, value float64) {
	for int(tag) >= len(c.share) {
		c.share, c.worth = append(c.share, 0), append(c.worth, 0)
	}
	c.share[tag] += share
	c.worth[tag] += share * value
}

func decay(age, halfLife int64) float64 { return math.Exp2(-float64(age) / float64(halfLife)) }

func (x *exec) attributionAnswer(credits []*credit) *AttributionAnswer {
	a := &AttributionAnswer{Touchpoints: []Touchpoint{}}
	withValue := x.q.Attribution.Value != nil
	index := map[string]int{}
	type sum struct {
		key          []any
		share, worth float64
	}
	var sums []sum
	total := 0.0
	var none [2]float64
	for _, c := range credits {
		a.Conversions += c.conversions
		total += c.value
		none[0] += c.none[0]
		none[1] += c.none[1]
		for g, s := range c.share {
			if s == 0 {
				continue
			}
			key := c.groups.Values(uint32(g))
			text := keyText(key)
			i, ok := index[text]
			if !ok {
				i = len(sums)
				index[text] = i
				sums = append(sums, sum{key: key})
			}
			sums[i].share += s
			sums[i].worth += c.worth[g]
		}
	}
	if none[0] > 0 {
		sums = append(sums, sum{otherKey(len(x.q.By)), none[0], none[1]})
	}
	slices.SortFunc(sums, func(p, q sum) int {
		// Shares are sums of fractions: what differs by rounding alone is equal.
		return cmp.Or(cmp.Compare(math.Round(q.share*1e6), math.Round(p.share*1e6)), scan.CompareKeys(p.key, q.key))
	})
	point := func(key any, s *sum) Touchpoint {
		t := Touchpoint{Key: key, Conversions: s.share}
		if withValue {
			t.Value = &s.worth
		}
		return t
	}
	rest := sum{}
	for i := range sums {
		if i >= x.q.Limit {
			rest.share += sums[i].share
			rest.worth += sums[i].worth
			continue
		}
		var key any = sums[i].key
		if len(x.q.By) == 1 {
			key = sums[i].key[0]
		}
		a.Touchpoints = append(a.Touchpoints, point(key, &sums[i]))
	}
	if len(sums) > x.q.Limit {
		t := point(nil, &rest)
		t.Other = true
		a.Touchpoints = append(a.Touchpoints, t)
	}
	if withValue {
		a.Value = &total
	}
	return a
}
