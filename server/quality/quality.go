// Package quality counts what is wrong with the events that come in: late and
// future times, duplicates, violations, unknown names, by event name and source
// over the last two days.
//
// On the way of an event it looks on: the pipeline notes each event that it has
// decided on, the collector what turned out to be stored already. The numbers are
// of this server since its start, in memory and bounded.
package quality

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// Hours are kept of each series.
	Hours = 48
	// MaxSeries bounds the pairs of event name and source; others share one series.
	MaxSeries = 2000
	// Other is the event name of what has no series of its own.
	Other = "(other)"
	// futureAfter is how far ahead of its receipt an event's time may be.
	futureAfter = 5 * time.Minute
	maxVersions = 16 // of schemas, of one series
)

// Ages are the bounds of the buckets of lateness: from event time to receipt. The last bucket has none.
var Ages = [...]time.Duration{time.Minute, time.Hour, 24 * time.Hour, 7 * 24 * time.Hour, 30 * 24 * time.Hour}

var ageNames = [len(Ages) + 1]string{"1m", "1h", "1d", "7d", "30d", "older"}

// Counts are numbers of events.
type Counts struct {
	Received   uint64 `json:"received"`
	Duplicates uint64 `json:"duplicates"`
	Future     uint64 `json:"future"`    // their time is more than five minutes after their receipt
	Violating  uint64 `json:"violating"` // they do not obey their schema
	Missing    uint64 `json:"missing"`   // of those: a field that the schema requires is missing
	Unknown    uint64 `json:"unknown"`   // their name has no schema, and the policy minds
	Refused    uint64 `json:"refused"`   // they went to the dead letters
	Dropped    uint64 `json:"dropped"`   // for want of consent
	Redacted   uint64 `json:"redacted"`  // something was replaced
	TooLate    uint64 `json:"tooLate"`   // beyond the allowed lateness
	ages       [len(Ages) + 1]uint64
}

func (c *Counts) add(o *Counts) {
	c.Received += o.Received
	c.Duplicates += o.Duplicates
	c.Future += o.Future
	c.Violating += o.Violating
	c.Missing += o.Missing
	c.Unknown += o.Unknown
	c.Refused += o.Refused
	c.Dropped += o.Dropped
	c.Redacted += o.Redacted
	c.TooLate += o.TooLate
	for i := range c.ages {
		c.ages[i] += o.ages[i]
	}
}

// Late are the events by how late they came, each bucket up to its bound: 1m, 1h, 1d, 7d, 30d, older.
func (c *Counts) Late() map[string]uint64 {
	out := map[string]uint64{}
	for i, n := range c.ages {
		out[ageNames[i]] = n
	}
	return out
}

// Event is what the pipeline says of one event.
type Event struct {
	Received                             int64 // microseconds since the Unix epoch
	Time                                 int64 // of the event; equal to Received where none was sent
	Violating, Unknown, Refused, Dropped bool
	Missing, Redacted, TooLate           bool
	Version                              int // of the schema; 0: none
}

// Series is one event name of one source.
type Series struct {
	mu       sync.Mutex
	key      key
	hours    [Hours]hour
	versions map[int]uint64
	latest   int64 // receipt of the last event
}

type key struct{ event, source string }

type hour struct {
	number int64 // since the Unix epoch
	counts Counts
}

const microsPerHour = int64(time.Hour / time.Microsecond)

func (s *Series) at(micros int64) *Counts {
	n := micros / microsPerHour
	h := &s.hours[uint64(n)%Hours]
	if h.number < n {
		*h = hour{number: n}
	}
	return &h.counts
}

// AgeName is the name of a bucket of lateness: its bound.
func AgeName(bucket int) string { return ageNames[bucket] }

// Note counts an event. bucket is that of its lateness.
func (s *Series) Note(e *Event) (bucket int, future bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.at(e.Received)
	c.Received++
	s.latest = max(s.latest, e.Received)
	age := time.Duration(e.Received-e.Time) * time.Microsecond
	if future = age < -futureAfter; future {
		c.Future++
	}
	for bucket < len(Ages) && age > Ages[bucket] {
		bucket++
	}
	c.ages[bucket]++
	c.Violating += one(e.Violating)
	c.Missing += one(e.Missing)
	c.Unknown += one(e.Unknown)
	c.Refused += one(e.Refused)
	c.Dropped += one(e.Dropped)
	c.Redacted += one(e.Redacted)
	c.TooLate += one(e.TooLate)
	if e.Version > 0 {
		if s.versions == nil {
			s.versions = map[int]uint64{}
		}
		if _, ok := s.versions[e.Version]; ok || len(s.versions) < maxVersions {
			s.versions[e.Version]++
		}
	}
	return bucket, future
}

func one(is bool) uint64 {
	if is {
		return 1
	}
	return 0
}

// Duplicates counts events that were stored before.
func (s *Series) Duplicates(n int, received int64) {
	s.mu.Lock()
	s.at(received).Duplicates += uint64(n)
	s.mu.Unlock()
}

// Board holds all series. Safe for concurrent use.
type Board struct {
	mu     sync.RWMutex
	series map[key]*Series
}

// NewBoard returns an empty board.
func NewBoard() *Board { return &Board{series: map[key]*Series{}} }

// Series finds or makes the series of a name and a source. The texts are copied.
func (b *Board) Series(event, source []byte) *Series {
	b.mu.RLock()
	s := b.series[key{string(event), string(source)}]
	b.mu.RUnlock()
	if s != nil {
		return s
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	k := key{string(event), string(source)}
	if s := b.series[k]; s != nil {
		return s
	}
	if len(b.series) >= MaxSeries {
		k = key{event: Other}
		if s := b.series[k]; s != nil {
			return s
		}
	}
	s = &Series{key: k}
	b.series[k] = s
	return s
}

// Report is what the board knows of some hours.
type Report struct {
	Series  []SeriesReport `json:"series"` // the most events first
	Sources []SourceReport `json:"sources"`
}

// SeriesReport is the sum of a series, and its hours.
type SeriesReport struct {
	Event  string `json:"event"`
	Source string `json:"source"`
	Counts
	Late     map[string]uint64 `json:"late"`
	Versions map[string]uint64 `json:"versions"` // of schemas, since the start
	Points   []Point           `json:"points,omitempty"`
}

// Point is one hour.
type Point struct {
	At time.Time `json:"t"`
	Counts
}

// SourceReport says how far the data of a source is complete.
type SourceReport struct {
	Source string    `json:"source"`
	Latest time.Time `json:"latest"` // receipt of its last event
	// Watermark is the event time before which 99 of 100 events of the source had
	// come, by how late those of the hours were; absent where more were later than any bound.
	Watermark *time.Time `json:"watermark,omitempty"`
}

// Filter says what a report is of.
type Filter struct {
	Event, Source string // empty: all
	Hours         int    // back from now
	Points        bool
}

// Report sums up.
func (b *Board) Report(f Filter, now time.Time) Report {
	b.mu.RLock()
	all := make([]*Series, 0, len(b.series))
	for _, s := range b.series {
		if (f.Event == "" || f.Event == s.key.event) && (f.Source == "" || f.Source == s.key.source) {
			all = append(all, s)
		}
	}
	b.mu.RUnlock()
	first := now.UnixMicro()/microsPerHour - int64(f.Hours) + 1
	out := Report{Series: []SeriesReport{}, Sources: []SourceReport{}}
	type source struct {
		latest int64
		counts Counts
	}
	sources := map[string]*source{}
	for _, s := range all {
		r, latest := s.report(first, f.Points)
		out.Series = append(out.Series, r)
		x := sources[s.key.source]
		if x == nil {
			x = &source{}
			sources[s.key.source] = x
		}
		x.latest = max(x.latest, latest)
		x.counts.add(&r.Counts)
	}
	slices.SortFunc(out.Series, func(a, b SeriesReport) int {
		return cmp.Or(cmp.Compare(b.Received, a.Received), strings.Compare(a.Event, b.Event), strings.Compare(a.Source, b.Source))
	})
	for name, x := range sources {
		r := SourceReport{Source: name, Latest: time.UnixMicro(x.latest).UTC()}
		var sum uint64
		for i, n := range x.counts.ages {
			if sum += n; i < len(Ages) && x.counts.Received > 0 && sum*100 >= x.counts.Received*99 {
				at := r.Latest.Add(-Ages[i])
				r.Watermark = &at
				break
			}
		}
		out.Sources = append(out.Sources, r)
	}
	slices.SortFunc(out.Sources, func(a, b SourceReport) int { return strings.Compare(a.Source, b.Source) })
	return out
}

func (s *Series) report(first int64, points bool) (r SeriesReport, latest int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r = SeriesReport{Event: s.key.event, Source: s.key.source, Versions: map[string]uint64{}}
	for v, n := range s.versions {
		r.Versions[strconv.Itoa(v)] = n
	}
	for i := range s.hours {
		h := &s.hours[i]
		if h.number < first || h.counts == (Counts{}) {
			continue
		}
		r.Counts.add(&h.counts)
		if points {
			r.Points = append(r.Points, Point{time.UnixMicro(h.number * microsPerHour).UTC(), h.counts})
		}
	}
	slices.SortFunc(r.Points, func(a, b Point) int { return a.At.Compare(b.At) })
	r.Late = r.Counts.Late()
	return r, s.latest
}
