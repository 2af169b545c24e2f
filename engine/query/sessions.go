package query

import (
	"slices"
	"sync"

	"spoor/engine/query/kernel"
	"spoor/engine/query/period"
	"spoor/engine/query/scan"
	"spoor/engine/query/stats"
)

// SessionsAnswer is the answer to a question about sessions.
type SessionsAnswer struct {
	Common
	SessionsTotals
	By     []string        `json:"by,omitempty"`
	Points []SessionsPoint `json:"points,omitempty"`
	Groups []SessionsGroup `json:"groups,omitempty"`
}

// SessionsTotals sums sessions up. Means and rates are null without sessions.
type SessionsTotals struct {
	Sessions       int      `json:"sessions"`
	Users          int      `json:"users"`
	MeanDuration   *float64 `json:"mean_duration_seconds"`
	MedianDuration *float64 `json:"median_duration_seconds"`
	MeanEvents     *float64 `json:"mean_events"`
	BounceRate     *float64 `json:"bounce_rate"`
}

// SessionsPoint is the sessions that began in the period at T.
type SessionsPoint struct {
	T string `json:"t"`
	SessionsTotals
}

// SessionsGroup is the sessions whose first event has the key's values.
type SessionsGroup struct {
	Key   []any `json:"key"`
	Other bool  `json:"other,omitempty"`
	SessionsTotals
	Points []SessionsPoint `json:"points,omitempty"`
}

func (x *exec) sessions() (Answer, error) {
	b, err := x.divide(x.q.Every, x.from, x.to)
	if err != nil {
		return nil, err
	}
	common, err := x.commonFilter()
	if err != nil {
		return nil, err
	}
	sel := &selection{alts: []alternative{{any: true, where: common}}}
	times := scan.Times{From: x.from, To: x.to}
	days := x.daysOf(times)
	var parts []sessionPart
	if len(x.q.By) == 0 && kernel.InPieces(x.q.Sessions.Gap, x.q.Sessions.Max) {
		parts, err = x.sessionsByDay(b, days, sel, times)
	} else {
		parts, err = x.sessionsByPerson(b, days, sel, times)
	}
	if err != nil {
		return nil, err
	}
	a := &SessionsAnswer{}
	index := map[string]int{}
	var keys [][]any
	var cells [][]kernel.SessionTotals
	for _, p := range parts {
		for tag, c := range p.cells {
			if !slices.ContainsFunc(c, func(t kernel.SessionTotals) bool { return t.Sessions > 0 }) {
				continue
			}
			key := []any{}
			if len(x.q.By) > 0 {
				key = p.groups.Values(uint32(tag))
			}
			text := keyText(key)
			g, ok := index[text]
			if !ok {
				g = len(keys)
				index[text] = g
				keys = append(keys, key)
				cells = append(cells, x.sessionCells(b))
			}
			for i := range c {
				cells[g][i].Merge(&c[i])
			}
		}
	}
	x.sessionsAnswer(a, b, keys, cells)
	return a, nil
}

// sessionPart is what one worker found: a cell for each period, by group.
type sessionPart struct {
	cells  [][]kernel.SessionTotals
	groups *scan.Tuples // nil: there is one group
}

// sessionsByPerson goes through all days for a range of persons, event by event.
func (x *exec) sessionsByPerson(b *period.Buckets, days []dayData, sel *selection, times scan.Times) ([]sessionPart, error) {
	ranges, err := x.ranges(days, sel)
	if err != nil {
		return nil, err
	}
	parts := make([]sessionPart, len(ranges))
	return parts, x.parallel(ranges, func(i int, w *scan.Worker) error {
		p := &parts[i]
		p.groups = scan.NewTuples(len(x.q.By))
		s := kernel.NewSessions(x.q.Sessions.Gap, x.q.Sessions.Max, w.Persons.Lo, w.Persons.Hi, func(person uint32, start, end int64, events int, tag uint32) {
			for int(tag) >= len(p.cells) {
				p.cells = append(p.cells, x.sessionCells(b))
			}
			p.cells[tag][b.Of(start)].Add(person, end-start, events)
		})
		return x.sweepSessions(w, days, sel, times, p.groups, s)
	})
}

func (x *exec) sweepSessions(w *scan.Worker, days []dayData, sel *selection, times scan.Times, groups *scan.Tuples, s *kernel.Sessions) error {
	var line scan.Timeline
	var tags []uint32
	fields := x.byFields()
	for d := range days {
		if err := x.ctx.Err(); err != nil {
			return err
		}
		files, err := x.timelineFiles(&days[d], sel, times)
		if err != nil {
			return err
		}
		if err := w.Timeline(files, times, len(fields) > 0, &line); err != nil {
			return err
		}
		x.counters.rows.Add(int64(len(line.K)))
		tags = tags[:0]
		if len(fields) > 0 {
			if tags, err = groups.Timeline(w, files, &line, fields, tags); err != nil {
				return err
			}
		}
		s.Day(days[d].day, line.K, tags)
	}
	s.End()
	return nil
}

// sessionSweep is what a worker needs for a day, and what it counted so far.
type sessionSweep struct {
	cells []kernel.SessionTotals
	emit  kernel.Emit
	line  scan.Timeline
}

func (x *exec) newSessionSweep(b *period.Buckets) *sessionSweep {
	s := &sessionSweep{cells: x.sessionCells(b)}
	s.emit = func(person uint32, start, end int64, events int) { s.cells[b.Of(start)].Add(person, end-start, events) }
	if b.Len() == 1 {
		only := &s.cells[0]
		s.emit = func(person uint32, start, end int64, events int) { only.Add(person, end-start, events) }
	}
	return s
}

// sessionsByDay cuts each day into pieces, in any order: sections are decoded once, not by each
// worker, and whoever is free takes the next day. Only what lies near midnight is put
// together afterwards, as soon as the days before are cut.
func (x *exec) sessionsByDay(b *period.Buckets, days []dayData, sel *selection, times scan.Times) ([]sessionPart, error) {
	ranges, of, err := x.dayRanges(days, sel)
	if err != nil {
		return nil, err
	}
	var (
		mu     sync.Mutex
		free   []*sessionSweep                       // that no worker has
		edges  = make([]*kernel.Pieces, len(ranges)) // that are not stitched
		next   int                                   // of edges
		middle = x.newSessionSweep(b)
		stitch = kernel.NewStitch(x.q.Sessions.Gap, middle.emit)
		all    = []*sessionSweep{middle}
	)
	err = x.parallel(ranges, func(i int, w *scan.Worker) error {
		mu.Lock()
		if len(free) == 0 {
			free = append(free, x.newSessionSweep(b))
			all = append(all, free[0])
		}
		s := free[len(free)-1]
		free = free[:len(free)-1]
		mu.Unlock()
		d, mine := of[i], &kernel.Pieces{}
		err := x.cutDay(w, d, sel, times, &s.line, func(p *kernel.Pieces) { p.Whole(d.day, x.q.Sessions.Gap, mine, s.emit) })
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		free = append(free, s)
		for edges[i] = mine; next < len(edges) && edges[next] != nil; next++ {
			stitch.Add(of[next].day, edges[next])
			edges[next] = nil
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	stitch.End()
	parts := make([]sessionPart, len(all))
	for i, s := range all {
		parts[i].cells = [][]kernel.SessionTotals{s.cells}
	}
	return parts, nil
}

// cutDay gives the events that the worker's persons have on a day to each, in pieces.
func (x *exec) cutDay(w *scan.Worker, d *dayData, sel *selection, times scan.Times, line *scan.Timeline, each func(*kernel.Pieces)) error {
	if err := x.ctx.Err(); err != nil {
		return err
	}
	files, err := x.timelineFiles(d, sel, times)
	if err != nil {
		return err
	}
	gap, rows := x.q.Sessions.Gap, int64(0)
	ok, err := w.Pieces(files, times, uint64(gap), func(p *kernel.Pieces) {
		rows += p.Sum()
		each(p)
	})
	if err != nil {
		return err
	}
	if !ok {
		if err := w.Timeline(files, times, false, line); err != nil {
			return err
		}
		rows += int64(len(line.K))
		each(kernel.Cut(line.K, gap))
	}
	x.counters.rows.Add(rows)
	return nil
}

// dayRanges makes a range of persons for each day, more for a day that is too large to be
// held or when days are too few to keep all workers busy; of tells the day of each range.
func (x *exec) dayRanges(days []dayData, sel *selection) (ranges []scan.Persons, of []*dayData, err error) {
	share := 0 // ranges of each day for the workers' sake
	if len(days) > 0 {
		share = (2*x.e.limits.Workers + len(days) - 1) / len(days)
	}
	if x.e.limits.Workers < 2 {
		share = 1
	}
	for d := range days {
		rows := 0
		for f := range days[d].files {
			for s := range days[d].files[f].sections {
				rows += days[d].files[f].sections[s].Rows()
			}
		}
		some, err := x.split(max(share, rows/max(x.e.limits.Rows, 1)+1), days[d:d+1], sel)
		if err != nil {
			return nil, nil, err
		}
		for _, r := range some {
			ranges, of = append(ranges, r), append(of, &days[d])
		}
	}
	return ranges, of, nil
}

// timelineFiles prepares the files of a day for a timeline of what sel selects.
func (x *exec) timelineFiles(d *dayData, sel *selection, times scan.Times) ([]scan.DayFile, error) {
	stepFiles, err := x.dayFiles(d, []*selection{sel}, nil, false, times)
	if err != nil {
		return nil, err
	}
	files := make([]scan.DayFile, len(stepFiles))
	for f := range stepFiles {
		files[f] = stepFiles[f].DayFile
		for i := range files[f].Take {
			if files[f].Take[i].Rows {
				where, _ := sel.match(files[f].Sections[i].Event())
				files[f].Take[i].Where = scan.And(files[f].Take[i].Where, where)
			}
		}
	}
	return files, nil
}

// dayFiles prepares the sections of a day for steps: which rows count, and for what.
func (x *exec) dayFiles(d *dayData, sels, voids []*selection, everything bool, times scan.Times) ([]scan.StepFile, error) {
	var out []scan.StepFile
	for fi := range d.files {
		f := scan.StepFile{DayFile: scan.DayFile{R: d.files[fi].r, Day: d.day, Sections: d.files[fi].sections}}
		f.Take, f.Steps = make([]scan.Take, len(f.Sections)), make([][]scan.StepFilter, len(f.Sections))
		wanted := false
		for i := range f.Sections {
			s := &f.Sections[i]
			if s.MaxTime() < times.From || s.MinTime() >= times.To {
				continue
			}
			mask, err := x.mask(s)
			if err != nil {
				return nil, err
			}
			if mask.All {
				continue
			}
			f.Take[i].Mark, f.Take[i].Where = x.names[s.Event()], mask.Where
			for k, sel := range sels {
				if where, ok := sel.match(s.Event()); ok {
					f.Steps[i] = append(f.Steps[i], scan.StepFilter{Step: k, Where: where})
				}
			}
			for k, sel := range voids {
				if where, ok := sel.match(s.Event()); ok {
					f.Steps[i] = append(f.Steps[i], scan.StepFilter{Step: k, Void: true, Where: where})
				}
			}
			if len(f.Steps[i]) > 0 || everything {
				f.Take[i].Rows, wanted = true, true
				if everything {
					common, err := x.commonFilter()
					if err != nil {
						return nil, err
					}
					f.Take[i].Where = scan.And(mask.Where, common)
				}
			}
			if f.Take[i].Rows {
				touched, err := x.view.Identity.Touched(s)
				if err != nil {
					return nil, err
				}
				f.Remap = f.Remap || touched
			}
		}
		if wanted {
			out = append(out, f)
		}
	}
	return out, nil
}

func (x *exec) sessionsAnswer(a *SessionsAnswer, b *period.Buckets, keys [][]any, cells [][]kernel.SessionTotals) {
	all := x.sessionCells(b)
	sizes := make([]int, len(keys))
	for g := range cells {
		for i := range cells[g] {
			sizes[g] += cells[g][i].Sessions
		}
		if len(cells) == 1 {
			all = cells[g]
			break
		}
		for i := range cells[g] {
			all[i].Merge(&cells[g][i])
		}
	}
	a.SessionsTotals = total(all)
	a.Points = x.sessionPoints(b, all)
	if len(x.q.By) == 0 {
		return
	}
	for _, by := range x.q.By {
		a.By = append(a.By, by.String())
	}
	order := make([]int, len(keys))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int {
		if sizes[i] != sizes[j] {
			return sizes[j] - sizes[i]
		}
		return scan.CompareKeys(keys[i], keys[j])
	})
	rest := x.sessionCells(b)
	for at, g := range order {
		if at < x.q.Limit {
			a.Groups = append(a.Groups, SessionsGroup{Key: keys[g], SessionsTotals: total(cells[g]), Points: x.sessionPoints(b, cells[g])})
			continue
		}
		for i := range rest {
			rest[i].Merge(&cells[g][i])
		}
	}
	if len(order) > x.q.Limit {
		a.Groups = append(a.Groups, SessionsGroup{Key: otherKey(len(x.q.By)), Other: true, SessionsTotals: total(rest), Points: x.sessionPoints(b, rest)})
	}
}

func (x *exec) sessionPoints(b *period.Buckets, cells []kernel.SessionTotals) []SessionsPoint {
	if x.q.Every.IsZero() {
		return nil
	}
	out := make([]SessionsPoint, len(cells))
	for i := range cells {
		out[i] = SessionsPoint{T: x.formatLocal(b.Starts[i]), SessionsTotals: total(cells[i : i+1])}
	}
	return out
}

// sessionCells makes a cell for each period.
func (x *exec) sessionCells(b *period.Buckets) []kernel.SessionTotals {
	cells := make([]kernel.SessionTotals, b.Len())
	for i := range cells {
		cells[i].Persons.N = x.view.Identity.Persons()
	}
	return cells
}

// total sums cells up.
func total(cells []kernel.SessionTotals) SessionsTotals {
	t := &cells[0]
	if len(cells) > 1 {
		t = &kernel.SessionTotals{}
		for i := range cells {
			t.Merge(&cells[i])
		}
	}
	out := SessionsTotals{Sessions: t.Sessions, Users: t.Persons.Count()}
	if t.Sessions == 0 {
		return out
	}
	n := float64(t.Sessions)
	mean, events, bounce := float64(t.Duration)/n/1e6, float64(t.Events)/n, float64(t.Bounces)/n
	median := stats.QuantilesOf(t.Durations, 0.5)[0] / 1e6
	out.MeanDuration, out.MedianDuration, out.MeanEvents, out.BounceRate = &mean, &median, &events, &bounce
	return out
}
