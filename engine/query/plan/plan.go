// Package plan tells how a query was answered: which partitions, files and
// sections were left aside and why, and how long each stage took. It stands
// beside the way of an event: a query is run, and what it did is told instead of
// what it found.
package plan

import (
	"slices"
	"time"

	"spoor/segment"
)

// Plan is how a query was answered. Times are milliseconds.
type Plan struct {
	Kind   string  `json:"kind"` // "explain"
	Of     string  `json:"of"`   // the kind of the query
	Query  string  `json:"query"`
	Stages []Stage `json:"stages"`
	// What the view holds, what was read of it and what was not.
	Partitions Share `json:"partitions"` // days
	Files      Share `json:"files"`      // the memtable's runs among them
	Sections   Share `json:"sections"`   // one day and one event name of a file
	Blocks     Share `json:"blocks"`     // 4096 rows of a section
	Rows       Share `json:"rows"`
	// RowsScanned are those that were decoded; counts that footers answer need none.
	RowsScanned int64    `json:"rows_scanned"`
	BytesRead   int64    `json:"bytes_read"`
	ElapsedMS   float64  `json:"elapsed_ms"`
	Warnings    []string `json:"warnings,omitempty"`
}

// Stage is a part of the work.
type Stage struct {
	Name    string  `json:"name"`
	MS      float64 `json:"ms"`
	Rows    int64   `json:"rows,omitempty"`    // decoded in it
	Workers int     `json:"workers,omitempty"` // goroutines that shared it
}

// Share is how many there are, how many may matter to the query, and why the others do not.
type Share struct {
	Total  int      `json:"total"`
	Read   int      `json:"read"`
	Pruned []Pruned `json:"pruned,omitempty"`
}

// Pruned counts what was left aside for one reason.
type Pruned struct {
	Reason string `json:"reason"`
	Count  int    `json:"count"`
}

func (s *Share) add(n int, reason string) {
	s.Total += n
	if reason == "" {
		s.Read += n
		return
	}
	i := slices.IndexFunc(s.Pruned, func(p Pruned) bool { return p.Reason == reason })
	if i < 0 {
		i = len(s.Pruned)
		s.Pruned = append(s.Pruned, Pruned{Reason: reason})
	}
	s.Pruned[i].Count += n
}

// Reasons why something is not read.
const (
	OutsideTime = "outside the time"
	OtherEvents = "other events"
	Erased      = "erased or expired"
)

// Survey sorts what files hold into what matters and what does not: by the times
// [from, to) that the query looks at, by what is erased, and by the names of events.
func (p *Plan) Survey(files []*segment.Reader, from, to int64, gone func(*segment.Section) bool, wanted func(event string) bool) {
	days := map[int32]string{}
	for _, r := range files {
		why := OutsideTime
		r.Days(func(day int32, sections []segment.Section) {
			dayWhy := OutsideTime
			for i := range sections {
				s := &sections[i]
				reason := ""
				switch {
				case s.MaxTime() < from || s.MinTime() >= to:
					reason = OutsideTime
				case gone(s):
					reason = Erased
				case !wanted(s.Event()):
					reason = OtherEvents
				}
				p.Sections.add(1, reason)
				p.Blocks.add(s.Blocks(), reason)
				p.Rows.add(s.Rows(), reason)
				if reason == "" || reason == OtherEvents && dayWhy != "" {
					dayWhy = reason
				}
			}
			if dayWhy == "" || dayWhy == OtherEvents && why != "" {
				why = dayWhy
			}
			if known, ok := days[day]; !ok || dayWhy == "" || dayWhy == OtherEvents && known != "" {
				days[day] = dayWhy
			}
		})
		p.Files.add(1, why)
	}
	for _, why := range days {
		p.Partitions.add(1, why)
	}
	for _, s := range []*Share{&p.Partitions, &p.Files, &p.Sections, &p.Blocks, &p.Rows} {
		slices.SortFunc(s.Pruned, func(a, b Pruned) int { return b.Count - a.Count })
	}
}

// Recorder measures stages. A nil Recorder measures nothing.
type Recorder struct {
	stages []Stage
	last   time.Time
	now    func() time.Time
}

// NewRecorder begins to measure; now is the clock.
func NewRecorder(now func() time.Time) *Recorder { return &Recorder{last: now(), now: now} }

// Stage ends a stage that began when the one before ended.
func (r *Recorder) Stage(name string, rows int64, workers int) {
	if r == nil {
		return
	}
	t := r.now()
	r.stages = append(r.stages, Stage{Name: name, MS: milliseconds(t.Sub(r.last)), Rows: rows, Workers: workers})
	r.last = t
}

// Stages are those that were measured.
func (r *Recorder) Stages() []Stage { return r.stages }

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
