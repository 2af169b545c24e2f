package query

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"time"

	"spoor/engine/query/kernel"
	"spoor/engine/query/lang"
	"spoor/engine/query/period"
	"spoor/engine/query/scan"
	"spoor/index"
	"spoor/segment"
)

// UsersAnswer is the answer to a question for persons.
type UsersAnswer struct {
	Common
	Count int      `json:"count"`
	Users []string `json:"users"`
	Next  *string  `json:"next"`
}

// tally is what persons did: how often, and since when.
type tally struct {
	times []uint32 // per person: selected events
	first []int64  // per person: time of the first event that counts for the order; of nobody who has none
	seen  index.Bits
}

// tally counts the selected events of each person.
func (x *exec) tally(sel *selection, times scan.Times) (*tally, error) {
	n := x.view.Identity.Persons()
	t := &tally{times: make([]uint32, n), first: make([]int64, n), seen: index.NewBits(n)}
	days := x.daysOf(times)
	ranges, err := x.alignedRanges(days, sel)
	if err != nil {
		return nil, err
	}
	return t, x.parallel(ranges, func(_ int, w *scan.Worker) error {
		return x.eachKeys(w, days, sel, times, func(day int32, keys []uint64) {
			for _, k := range keys {
				p := segment.KeyPerson(k)
				if !t.seen.Has(p) {
					t.seen.Set(p)
					t.first[p] = segment.KeyTime(k, day)
				}
				t.times[p]++
			}
		})
	})
}

// eachKeys goes through the rows that sel selects of the worker's persons, day after day.
func (x *exec) eachKeys(w *scan.Worker, days []dayData, sel *selection, times scan.Times, each func(day int32, keys []uint64)) error {
	var keys scan.Keys
	for d := range days {
		if err := x.ctx.Err(); err != nil {
			return err
		}
		parts, err := x.parts(&days[d], sel, times)
		if err != nil {
			return err
		}
		if err := w.Keys(days[d].day, parts, times, false, &keys); err != nil {
			return err
		}
		x.counters.rows.Add(int64(len(keys.K)))
		each(days[d].day, keys.K)
	}
	return nil
}

// matching are the persons that a users query means, with the time that orders them.
func (x *exec) matching() (*tally, index.Bits, error) {
	u := x.q.Users
	sel, err := x.selects(&u.Of)
	if err != nil {
		return nil, nil, err
	}
	times := scan.Times{From: x.from, To: x.to}
	t, err := x.tally(sel, times)
	if err != nil {
		return nil, nil, err
	}
	among := t
	if u.Bound != lang.AtLeast && (u.Bound == lang.AtMost || u.Times == 0) {
		// Persons without such an event count too, if they have any event in the range.
		any, err := x.selects(&lang.EventSel{Alternatives: []lang.EventMatch{{Any: true}}})
		if err != nil {
			return nil, nil, err
		}
		if among, err = x.tally(any, times); err != nil {
			return nil, nil, err
		}
	}
	out := index.NewBits(x.view.Identity.Persons())
	for p, n := range t.times {
		if !among.seen.Has(uint32(p)) {
			continue
		}
		n := int64(n)
		if u.Bound == lang.AtLeast && n >= u.Times || u.Bound == lang.AtMost && n <= u.Times || u.Bound == lang.Exactly && n == u.Times {
			out.Set(uint32(p))
		}
	}
	return among, out, nil
}

func (x *exec) users() (Answer, error) {
	t, set, err := x.matching()
	if err != nil {
		return nil, err
	}
	after, err := parseCursor(x.q.After)
	if err != nil {
		return nil, err
	}
	a := &UsersAnswer{Count: set.Count(), Users: []string{}}
	persons := set.AppendOrdinals(nil)
	names := make(map[uint32]string)
	name := func(p uint32) string {
		n, ok := names[p]
		if !ok {
			n = x.view.Identity.Name(p)
			names[p] = n
		}
		return n
	}
	order := func(t1 int64, n1 string, t2 int64, n2 string) int {
		c := cmp.Or(cmp.Compare(t1, t2), cmp.Compare(n1, n2))
		if x.q.Newest {
			return -c
		}
		return c
	}
	slices.SortFunc(persons, func(p, q uint32) int {
		if t.first[p] != t.first[q] {
			return order(t.first[p], "", t.first[q], "")
		}
		return order(0, name(p), 0, name(q))
	})
	for _, p := range persons {
		if after != nil && order(t.first[p], name(p), after.time, string(after.id)) <= 0 {
			continue
		}
		if len(a.Users) == x.q.Limit {
			last := a.Users[len(a.Users)-1]
			i, _ := x.view.Identity.Find(last)
			next := cursorOf(t.first[i], bytes.Clone([]byte(last)))
			a.Next = &next
			break
		}
		a.Users = append(a.Users, name(p))
	}
	return a, nil
}

// LifecycleAnswer is the answer to a lifecycle.
type LifecycleAnswer struct {
	Common
	Every  string           `json:"every"`
	Points []LifecyclePoint `json:"points"`
}

// LifecyclePoint sorts the persons of a period: those who did it for the first
// time ever, those who did it in the period before as well, those who came back
// after a pause, and those who did it in the period before and not in this one.
type LifecyclePoint struct {
	T            string `json:"t"`
	New          int    `json:"new"`
	Returning    int    `json:"returning"`
	Resurrecting int    `json:"resurrecting"`
	Dormant      int    `json:"dormant"`
}

func (x *exec) lifecycle() (Answer, error) {
	sel, err := x.selects(&x.q.Lifecycle.Of)
	if err != nil {
		return nil, err
	}
	b, err := x.divide(x.q.Every, x.from, x.to)
	if err != nil {
		return nil, err
	}
	a := &LifecycleAnswer{Every: x.q.Every.String(), Points: []LifecyclePoint{}}
	sets, err := x.personSets(sel, scan.Times{From: x.from, To: x.to}, b)
	if err != nil {
		return nil, err
	}
	// Whole periods, not what the range leaves of them, decide who is new, who
	// returns and who stays away; of the last one what lies before the range's end.
	n := x.view.Identity.Persons()
	before, previous := index.NewBits(n), index.NewBits(n)
	last := period.Start(b.Starts[0]-1, x.q.Every, x.loc)
	begin := last - 1
	if len(x.days) > 0 {
		begin = min(begin, int64(x.days[0].day)*segment.MicrosPerDay)
	}
	whole := &period.Buckets{Starts: append([]int64{begin, last}, b.Starts...)}
	past, err := x.personSets(sel, scan.Times{From: begin, To: x.to}, whole)
	if err != nil {
		return nil, err
	}
	before.Or(past[0])
	before.Or(past[1])
	previous.Or(past[1])
	for i, active := range sets {
		p := LifecyclePoint{T: x.formatLocal(b.Starts[i])}
		fresh := clone(active)
		fresh.AndNot(before)
		p.New = fresh.Count()
		p.Returning = active.AndCount(previous)
		p.Resurrecting = active.Count() - p.New - p.Returning
		p.Dormant = previous.Count() - previous.AndCount(past[i+2])
		a.Points = append(a.Points, p)
		before.Or(past[i+2])
		previous = past[i+2]
	}
	return a, nil
}

func clone(b index.Bits) index.Bits { return slices.Clone(b) }

// StickinessAnswer is the answer to a stickiness.
type StickinessAnswer struct {
	Common
	Every string          `json:"every"`
	Days  []StickinessDay `json:"days"`
}

// StickinessDay is how many persons did it in exactly so many periods.
type StickinessDay struct {
	Periods int `json:"periods"`
	Users   int `json:"users"`
}

func (x *exec) stickiness() (Answer, error) {
	sel, err := x.selects(&x.q.Stickiness.Of)
	if err != nil {
		return nil, err
	}
	b, err := x.divide(x.q.Every, x.from, x.to)
	if err != nil {
		return nil, err
	}
	sets, err := x.personSets(sel, scan.Times{From: x.from, To: x.to}, b)
	if err != nil {
		return nil, err
	}
	periods := make([]uint32, x.view.Identity.Persons())
	for _, s := range sets {
		for _, p := range s.AppendOrdinals(nil) {
			periods[p]++
		}
	}
	a := &StickinessAnswer{Every: x.q.Every.String(), Days: make([]StickinessDay, len(sets))}
	for i := range a.Days {
		a.Days[i].Periods = i + 1
	}
	for _, n := range periods {
		if n > 0 {
			a.Days[n-1].Users++
		}
	}
	return a, nil
}

// Place is a number of the answer to a funnel or a retention: the persons in it are asked for.
type Place struct {
	Step   int    // of a funnel, from 1
	Lost   bool   // of those who reached the step, who did not reach the next one that is not optional
	Group  []any  // of a funnel: the key of a group; nil: all
	Cohort int    // of a retention, from 0
	Column int    // of a retention: who is counted there; -1: the whole cohort
	Limit  int    // persons to list
	After  string // the last name that was listed
}

// errPlace is the code of places that an answer does not have.
const errPlace = "bad_place"

// Persons answers who is in one number of a funnel's or a retention's answer, by name. Of a funnel that
// counts other units than persons it is who has such a unit.
func (e *Engine) Persons(ctx context.Context, q *lang.Query, at Place) (*UsersAnswer, error) {
	start := time.Now() // it is measured, not part of what is answered
	if q.Kind == lang.KindFunnel {
		plain := *q
		plain.Every = lang.Interval{} // who is there does not depend on it
		if at.Group == nil {
			plain.By = nil
		}
		q = &plain
	}
	view, err := e.store.View()
	if err != nil {
		return nil, err
	}
	defer view.Release()
	x, err := e.newExec(ctx, q, view)
	if err != nil {
		return nil, err
	}
	defer e.begin(x, "")()
	var found *atPlace
	switch q.Kind {
	case lang.KindFunnel:
		found, err = x.funnelPersons(at)
	case lang.KindRetention:
		found, err = x.cohortPersons(at)
	default:
		err = failf(errPlace, "persons of a number are those of a funnel or a retention, not of a %s", q.Kind)
	}
	if err != nil {
		return nil, err
	}
	a := &UsersAnswer{Count: found.count}
	var more bool
	if a.Users, more = found.page.Names(); more {
		a.Next = &a.Users[len(a.Users)-1]
	}
	a.Kind, a.Query, a.Warnings = lang.KindUsers.String(), q.Resolved(x.now), x.warnings
	a.Stats, a.AsOf = x.statistics(start), asOf(view)
	return a, nil
}

// atPlace are the persons at a place: how many, and those that a page lists: no more names are kept.
type atPlace struct {
	x     *exec
	count int
	last  uint32 // who was added last
	page  kernel.NamePage
}

func (x *exec) atPlace(at Place) *atPlace {
	return &atPlace{x: x, page: kernel.NamePage{Limit: at.Limit, After: at.After}}
}

// add takes a person; one who comes several times comes so without others between.
func (p *atPlace) add(person uint32) {
	if p.count > 0 && p.last == person {
		return
	}
	p.count, p.last = p.count+1, person
	p.page.Add(p.x.view.Identity.Name(person))
}

// funnelPersons goes through the funnel as its answer does and notes who is at the place.
func (x *exec) funnelPersons(at Place) (*atPlace, error) {
	f := x.q.Funnel
	if at.Step < 1 || at.Step > len(f.Steps) || at.Lost && at.Step == len(f.Steps) {
		return nil, failf(errPlace, "the funnel has %d steps, and nobody is lost behind the last", len(f.Steps))
	}
	if at.Group != nil && len(at.Group) != len(x.q.By) {
		return nil, failf(errPlace, "a group of this funnel has %d values", len(x.q.By))
	}
	group, err := json.Marshal(at.Group)
	if err != nil {
		return nil, err
	}
	in := func(key []any) (bool, error) {
		text, err := json.Marshal(key)
		return bytes.Equal(text, group), err
	}
	pl, err := x.planFunnel()
	if err != nil {
		return nil, err
	}
	found := make([]*atPlace, len(pl.ranges))
	err = x.parallel(pl.ranges, func(i int, w *scan.Worker) error {
		found[i] = x.atPlace(at)
		groups := scan.NewTuples(len(x.q.By))
		if x.canSweep() {
			return x.sweep(w, pl, groups, func(k *kernel.Funnel) error {
				wanted := make([]bool, groups.Len())
				for g := range wanted {
					var err error
					if wanted[g], err = in(groups.Values(uint32(g))); err != nil {
						return err
					}
				}
				k.Reached(at.Step-1, at.Lost, func(person, tag uint32) {
					if at.Group == nil || wanted[tag] {
						found[i].add(person)
					}
				})
				return nil
			})
		}
		var failed error
		p := &funnelPart{groups: groups, byGroup: map[string]*funnelCounts{}}
		p.who = func(person uint32, o *outcome) {
			if o.reached>>(at.Step-1)&1 == 0 || at.Lost && x.wentOn(o, at.Step) {
				return
			}
			if at.Group != nil {
				ok, err := in(o.key)
				failed = cmp.Or(failed, err)
				if !ok {
					return
				}
			}
			found[i].add(person)
		}
		return cmp.Or(pl.walk.run(w, pl.days, pl.all, p), failed)
	})
	sum := x.atPlace(at)
	for _, p := range found {
		if p != nil {
			sum.count += p.count
			sum.page.Merge(&p.page)
		}
	}
	return sum, err
}

// wentOn tells whether a unit got from a step, counted from 1, to the next one that no chain passes by.
func (x *exec) wentOn(o *outcome, step int) bool {
	for steps := x.q.Funnel.Steps; step < len(steps)-1 && steps[step].Optional; step++ {
	}
	return o.reached>>step&1 != 0
}

// cohortPersons are those of one cell of a retention.
func (x *exec) cohortPersons(at Place) (*atPlace, error) {
	b, _, started, returned, err := x.cohortSets()
	if err != nil {
		return nil, err
	}
	periods := x.q.Retention.Periods
	if at.Cohort < 0 || at.Cohort >= b.Len() || at.Column < -1 || at.Column >= periods {
		return nil, failf(errPlace, "the retention has %d cohorts of %d columns, both from 0", b.Len(), periods)
	}
	cohort := clone(started[at.Cohort])
	if at.Column >= 0 {
		came := clone(returned[at.Cohort+at.Column])
		for k := at.Column + 1; x.q.Retention.Rolling && k < periods; k++ {
			came.Or(returned[at.Cohort+k])
		}
		cohort.And(came)
	}
	found := x.atPlace(at)
	for _, person := range cohort.AppendOrdinals(nil) {
		found.add(person)
	}
	return found, nil
}
