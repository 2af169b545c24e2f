package rawtier

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// status is what Status shows; Run writes it, anybody reads it.
type status struct {
	mu sync.Mutex
	Status
}

// Status is how far the raw tier is.
type Status struct {
	Place    string `json:"place"`
	Leads    bool   `json:"leads"` // this node writes it
	Days     int    `json:"days"`
	Files    int    `json:"files"`
	Events   int64  `json:"events"`
	Bytes    int64  `json:"bytes"`
	Last     string `json:"lastDay,omitempty"`
	Uploaded int64  `json:"uploaded"` // files since the start
	Erasures uint64 `json:"erasures"` // log index up to which erasures were carried out in all files
	Pending  bool   `json:"erasing"`  // there are later ones
	Round    string `json:"round,omitempty"`
	Error    string `json:"error,omitempty"` // of the last round
	Failures int    `json:"failures"`        // rounds that failed since one did not
}

func (s *status) add(*File) {
	s.mu.Lock()
	s.Uploaded++
	s.mu.Unlock()
}

// leading tells whether the last round was that of a leader.
func (t *Tier) leading() bool {
	t.status.mu.Lock()
	defer t.status.mu.Unlock()
	return t.status.Leads
}

// IsWell tells whether this node writes the raw tier and its last round ended well: the raw tier
// is that of this store, which has all of it.
func (t *Tier) IsWell() bool {
	t.status.mu.Lock()
	defer t.status.mu.Unlock()
	return t.status.Leads && t.status.Round != "" && t.status.Error == ""
}

func (s *status) follow() {
	s.mu.Lock()
	s.Leads = false
	s.mu.Unlock()
}

func (s *status) ended(t *Tier, now time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Leads, s.Round, s.Error = true, stamp(now), ""
	if err != nil {
		s.Error = err.Error()
		s.Failures++
		return
	}
	s.Failures, s.Days, s.Files, s.Events, s.Bytes = 0, len(t.days), 0, 0, 0
	for _, d := range t.days {
		s.Files += len(d.Files)
		s.Events += d.Rows
		for i := range d.Files {
			s.Bytes += d.Files[i].Bytes
		}
	}
	if len(t.days) > 0 {
		s.Last = dayName(slices.Max(slices.Collect(maps.Keys(t.days))))
	}
	s.Erasures, s.Pending = t.erased.Erasures, !t.erasedAt.IsZero() && t.erasedSeen != t.erased.Erasures
}

// Status may be called at any time.
func (t *Tier) Status() Status {
	t.status.mu.Lock()
	defer t.status.mu.Unlock()
	s := t.status.Status
	s.Place = t.store.String()
	return s
}
