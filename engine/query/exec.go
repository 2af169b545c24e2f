package query

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"spoor/engine"
	"spoor/engine/erasure"
	"spoor/engine/query/lang"
	"spoor/engine/query/period"
	"spoor/engine/query/plan"
	"spoor/engine/query/scan"
	"spoor/segment"
)

// exec is one query at work.
type exec struct {
	e        *Engine
	ctx      context.Context
	q        *lang.Query
	view     *engine.View
	loc      *time.Location
	now      time.Time
	from, to int64 // the queried range, microseconds
	cohorts  int   // how deep cohorts are nested
	traits   struct {
		sync.Mutex // workers ask, too
		byPath     map[string]*scan.Trait
	}

	masks struct {
		sync.Mutex // so do they for these
		of         map[*segment.Section]erasure.Mask
	}

	days     []dayData
	names    map[string]uint32 // event names in the view, numbered
	nameList []string
	warned   sync.Mutex // workers warn, too
	warnings []string
	counters counters
	read0    int64 // bytes that segments had read before

	id     string // among the running queries
	began  time.Time
	rec    *plan.Recorder
	sels   []*selection // all that were made
	looked scan.Times   // the times that days were taken of
}

// dayData is the files that hold a day, oldest arrival first.
type dayData struct {
	day   int32
	files []dayFile
}

type dayFile struct {
	r        *segment.Reader
	sections []segment.Section
}

func (e *Engine) newExec(ctx context.Context, q *lang.Query, view *engine.View) (*exec, error) {
	loc := q.Location()
	x := &exec{e: e, ctx: ctx, q: q, view: view, loc: loc, names: map[string]uint32{}}
	x.now = e.now()
	x.from, x.to = q.Range.Resolve(x.now, loc)
	byDay := map[int32]int{}
	for _, r := range view.Segments {
		x.read0 += r.BytesRead()
		r.Days(func(day int32, sections []segment.Section) {
			i, ok := byDay[day]
			if !ok {
				i = len(x.days)
				byDay[day] = i
				x.days = append(x.days, dayData{day: day})
			}
			x.days[i].files = append(x.days[i].files, dayFile{r, sections})
			for s := range sections {
				if view.Gone(&sections[s]) {
					continue
				}
				if _, ok := x.names[sections[s].Event()]; !ok {
					x.names[sections[s].Event()] = uint32(len(x.nameList))
					x.nameList = append(x.nameList, sections[s].Event())
				}
			}
		})
	}
	slices.SortFunc(x.days, func(a, b dayData) int { return int(a.day) - int(b.day) })
	return x, nil
}

// daysOf are the days that can hold times in [from, to).
func (x *exec) daysOf(times scan.Times) []dayData {
	if times.From >= times.To {
		return nil
	}
	if x.looked == (scan.Times{}) {
		x.looked = times
	}
	x.looked = scan.Times{From: min(x.looked.From, times.From), To: max(x.looked.To, times.To)}
	lo, hi := segment.Day(times.From), segment.Day(times.To-1)
	i, _ := slices.BinarySearchFunc(x.days, lo, func(d dayData, day int32) int { return int(d.day) - int(day) })
	j, _ := slices.BinarySearchFunc(x.days, hi+1, func(d dayData, day int32) int { return int(d.day) - int(day) })
	return x.days[i:j]
}

// selection is an EventSel made ready: which sections, and which of their rows.
type selection struct {
	alts []alternative
}

type alternative struct {
	any   bool
	name  string
	where *scan.Filter
}

// selects makes a selection; the query's where and user clauses are part of it.
func (x *exec) selects(sel *lang.EventSel) (*selection, error) {
	common, err := x.commonFilter()
	if err != nil {
		return nil, err
	}
	s := &selection{}
	for i := range sel.Alternatives {
		m := &sel.Alternatives[i]
		own, err := x.filter(sel.Predicate(i))
		if err != nil {
			return nil, err
		}
		if _, known := x.names[m.Name]; !m.Any && !known {
			x.warn("no event is named %q%s", m.Name, nearest(m.Name, maps.Keys(x.names)))
		}
		s.alts = append(s.alts, alternative{any: m.Any, name: m.Name, where: scan.And(own, common)})
	}
	x.sels = append(x.sels, s)
	return s, nil
}

// wanted tells whether any selection takes events of a name. A query without one takes all.
func (x *exec) wanted(name string) bool {
	return len(x.sels) == 0 || slices.ContainsFunc(x.sels, func(s *selection) bool {
		_, ok := s.match(name)
		return ok
	})
}

// reach is the time in which events may matter to the query.
func (x *exec) reach() scan.Times {
	t := scan.Times{From: x.from, To: x.to}
	switch q := x.q; q.Kind {
	case lang.KindFunnel:
		t.To += q.Funnel.Within + 1
	case lang.KindExperiment:
		t.To += q.Experiment.Within + 1
	case lang.KindAttribution:
		t.From -= q.Attribution.Lookback
	case lang.KindRetention:
		t.From = period.Start(t.From, q.Every, x.loc)
		for range q.Retention.Periods {
			t.To = period.Next(t.To, q.Every, x.loc)
		}
	case lang.KindLifecycle:
		t.From = math.MinInt64
	}
	return t
}

// rowsIn counts the rows of the days that hold times.
func (x *exec) rowsIn(times scan.Times) (rows int64) {
	x.eachSection(times, func(s *segment.Section) { rows += int64(s.Rows()) })
	return rows
}

// eachSection calls f with the sections of the days that hold times.
func (x *exec) eachSection(times scan.Times, f func(s *segment.Section)) {
	for d := range x.days {
		first := int64(x.days[d].day) * segment.MicrosPerDay
		if first >= times.To || first+segment.MicrosPerDay <= times.From {
			continue
		}
		for _, file := range x.days[d].files {
			for i := range file.sections {
				f(&file.sections[i])
			}
		}
	}
}

// blocksIn counts the blocks of rows of the days that hold times.
func (x *exec) blocksIn(times scan.Times) (blocks int64) {
	x.eachSection(times, func(s *segment.Section) { blocks += int64(s.Blocks()) })
	return blocks
}

// cacheKey names all that the answer follows from: the question with its times, the
// files within its reach, who is who, and for a funnel, which says who may still
// convert, how far the data goes. Rows in memory have no name: with such rows in reach
// it is the log index. So it is where names or traits of persons are told, or saved
// cohorts asked for.
func (x *exec) cacheKey() string {
	text := x.q.Resolved(x.now)
	all := x.q.Kind == lang.KindUsers || x.q.User != "" || strings.Contains(text, "cohort") || strings.Contains(text, "user.")
	key := fmt.Appendf(nil, "%s\n%s", text, x.view.Meaning())
	if x.q.Kind == lang.KindFunnel {
		key = fmt.Appendf(key, " %d", x.view.DataThrough)
	}
	reach := x.reach()
	for _, r := range x.view.Segments {
		near := false
		r.Days(func(day int32, _ []segment.Section) {
			first := int64(day) * segment.MicrosPerDay
			near = near || first < reach.To && first+segment.MicrosPerDay > reach.From
		})
		if !near {
			continue
		}
		if all = all || !engine.IsFile(r); all {
			break
		}
		key = fmt.Appendf(key, " %s", r.Name())
	}
	if all {
		return fmt.Sprintf("%s\n@%d", text, x.view.AppliedIndex)
	}
	return string(key)
}

// parts are the sections of a day that the selection wants, oldest arrival first.
func (x *exec) parts(d *dayData, sel *selection, times scan.Times) ([]scan.Part, error) {
	var out []scan.Part
	for f := range d.files {
		secs := d.files[f].sections
		if len(sel.alts) == 1 && !sel.alts[0].any {
			name := sel.alts[0].name
			i := sort.Search(len(secs), func(i int) bool { return secs[i].Event() >= name })
			if i == len(secs) || secs[i].Event() != name {
				continue
			}
			secs = secs[i : i+1]
		}
		for i := range secs {
			s := &secs[i]
			where, ok := sel.match(s.Event())
			if !ok || s.MaxTime() < times.From || s.MinTime() >= times.To {
				continue
			}
			mask, err := x.mask(s)
			if err != nil {
				return nil, err
			}
			if mask.All {
				continue
			}
			where, some, err := scan.And(mask.Where, where).In(s)
			if err != nil {
				return nil, err
			}
			if !some {
				continue
			}
			remap, err := x.view.Identity.Touched(s)
			if err != nil {
				return nil, err
			}
			out = append(out, scan.Part{S: s, Where: where, Remap: remap})
		}
	}
	return out, nil
}

// mask says what is left out of a section because it is erased.
func (x *exec) mask(s *segment.Section) (erasure.Mask, error) {
	if x.view.Whole() {
		return x.view.Mask(s)
	}
	x.masks.Lock()
	defer x.masks.Unlock()
	m, ok := x.masks.of[s]
	if ok {
		return m, nil
	}
	m, err := x.view.Mask(s)
	if err == nil {
		if x.masks.of == nil {
			x.masks.of = map[*segment.Section]erasure.Mask{}
		}
		x.masks.of[s] = m
	}
	return m, err
}

// match is the filter for events of a name; ok is false when none match.
func (s *selection) match(name string) (where *scan.Filter, ok bool) {
	var filters []*scan.Filter
	for i := range s.alts {
		if a := &s.alts[i]; a.any || a.name == name {
			if a.where == nil {
				return nil, true
			}
			filters = append(filters, a.where)
		}
	}
	if len(filters) == 0 {
		return nil, false
	}
	return scan.Or(filters...), true
}

func (x *exec) warn(format string, args ...any) {
	w := fmt.Sprintf(format, args...)
	x.warned.Lock()
	defer x.warned.Unlock()
	if !slices.Contains(x.warnings, w) {
		x.warnings = append(x.warnings, w)
	}
}

// ranges splits the persons among workers so that each has about as many rows.
func (x *exec) ranges(days []dayData, sels ...*selection) ([]scan.Persons, error) {
	return x.split(x.e.limits.Workers, days, sels...)
}

// gatherRanges splits the persons so that the rows of each range can be held.
func (x *exec) gatherRanges(days []dayData, sels ...*selection) ([]scan.Persons, error) {
	rows := 0
	for d := range days {
		for f := range days[d].files {
			for s := range days[d].files[f].sections {
				section := &days[d].files[f].sections[s]
				if slices.ContainsFunc(sels, func(sel *selection) bool { _, ok := sel.match(section.Event()); return ok }) {
					rows += section.Rows()
				}
			}
		}
	}
	return x.split(max(x.e.limits.Workers, rows/max(x.e.limits.Rows, 1)+1), days, sels...)
}

// split splits the persons into at most workers ranges with about as many rows each.
func (x *exec) split(workers int, days []dayData, sels ...*selection) ([]scan.Persons, error) {
	persons := uint32(x.view.Identity.Persons())
	if workers = min(workers, int(persons)/2); workers < 2 {
		return []scan.Persons{{Lo: 0, Hi: persons}}, nil
	}
	var sample []uint32
	for d := range days {
		for f := range days[d].files {
			secs := days[d].files[f].sections
			for i := range secs {
				wanted := false
				for _, sel := range sels {
					_, ok := sel.match(secs[i].Event())
					wanted = wanted || ok && !x.view.Gone(&secs[i])
				}
				if !wanted {
					continue
				}
				b, err := secs[i].BlockPersons()
				if err != nil {
					return nil, err
				}
				sample = append(sample, b...)
			}
		}
	}
	slices.Sort(sample)
	out := make([]scan.Persons, 0, workers)
	lo := uint32(0)
	for w := 1; w < workers; w++ {
		hi := uint32(uint64(persons) * uint64(w) / uint64(workers))
		if len(sample) >= 8*workers {
			hi = sample[len(sample)*w/workers]
		}
		if hi > lo {
			out = append(out, scan.Persons{Lo: lo, Hi: hi})
			lo = hi
		}
	}
	return append(out, scan.Persons{Lo: lo, Hi: persons}), nil
}

// parallel runs f for each range, as many at once as there may be workers, and waits for
// all. After an error no further range is begun.
func (x *exec) parallel(ranges []scan.Persons, f func(i int, w *scan.Worker) error) error {
	errs := make([]error, len(ranges))
	var next atomic.Int32
	var failed atomic.Bool
	work := func() {
		w := x.e.workers.Get().(*scan.Worker)
		w.Stop = x.ctx.Err
		defer func() {
			w.Stop = nil
			x.e.workers.Put(w)
		}()
		for !failed.Load() {
			i := int(next.Add(1)) - 1
			if i >= len(ranges) {
				return
			}
			if errs[i] = f(i, w.For(ranges[i], x.view.Identity)); errs[i] != nil {
				failed.Store(true)
			}
			x.counters.took(w.TakeBlocks())
		}
	}
	before := x.counters.rows.Load()
	x.rec.Stage("prepare", 0, 0)
	workers := min(len(ranges), max(x.e.limits.Workers, 1))
	var wg sync.WaitGroup
	for range workers - 1 {
		wg.Go(work)
	}
	work()
	wg.Wait()
	x.rec.Stage("sweep", x.counters.rows.Load()-before, workers)
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// count counts the rows of sections, by the fields of the breakdown, without their keys: what
// directories say first, the rest by all workers, a share of the sections each.
func (x *exec) count(m *lang.Measure, sections []counted, buckets int) ([]*measureData, error) {
	fields := x.byFields()
	known := &measureData{m: m, groups: scan.NewTuples(len(fields))}
	var rest []*counted
	for i := range sections {
		c := &sections[i]
		ok, err := known.groups.CountDirectory(c.s, c.where, fields, func(group uint32, rows int) { known.cell(group, c.bucket, buckets).addRows(rows) })
		if err != nil {
			return nil, err
		}
		if !ok {
			rest = append(rest, c)
		}
	}
	x.rec.Stage("count in directories", 0, 0)
	if len(rest) == 0 {
		return []*measureData{known}, x.checkGroups(known.groups)
	}
	shares := make([]scan.Persons, min(len(rest), max(x.e.limits.Workers, 1))) // of sections, whoever the persons are
	results := make([]*measureData, len(shares))
	err := x.parallel(shares, func(i int, w *scan.Worker) error {
		out := &measureData{m: m, groups: scan.NewTuples(len(fields))}
		results[i] = out
		for ; i < len(rest); i += len(shares) {
			if err := x.ctx.Err(); err != nil {
				return err
			}
			c := rest[i]
			x.counters.rows.Add(int64(c.s.Rows()))
			if err := out.groups.CountRows(w, c.s, c.where, fields, func(group uint32, rows int) { out.cell(group, c.bucket, buckets).addRows(rows) }); err != nil {
				return err
			}
			if err := x.checkGroups(out.groups); err != nil {
				return err
			}
		}
		return nil
	})
	return append(results, known), err
}

// statistics sums up what the query did.
func (x *exec) statistics(start time.Time) Stats {
	s := Stats{RowsScanned: x.counters.rows.Load(), BlocksRead: x.counters.keyBlocks.Load() + x.counters.blocks.Load(), Segments: len(x.view.Segments)}
	for _, r := range x.view.Segments {
		s.BytesRead += r.BytesRead()
	}
	s.BytesRead -= x.read0
	s.BlocksSkipped = max(0, x.blocksIn(x.looked)-x.counters.keyBlocks.Load())
	s.Partitions = len(x.daysOf(scan.Times{From: x.from, To: x.to}))
	s.ElapsedMS = milliseconds(start)
	return s
}

// divide makes the periods of [from, to).
func (x *exec) divide(every lang.Interval, from, to int64) (*period.Buckets, error) {
	b, ok := period.Divide(every, from, to, x.loc, x.e.limits.Buckets)
	if !ok {
		return nil, failf(ErrTooMuch, "the range has more than %d periods of %s; take a longer period or a shorter range", x.e.limits.Buckets, every)
	}
	return b, nil
}
