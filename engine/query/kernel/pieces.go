package kernel

import "spoor/segment"

// Pieces are the events of one day, cut where a person changes or a gap lies, by (person, time).
type Pieces struct {
	First, Last []uint64 // keys
	Events      []uint32
}

// InPieces tells whether sessions follow from pieces alone, which are cut by the difference
// of keys: events of two persons must lie further apart than gap, and no session be cut
// by its length.
func InPieces(gap, maxLength int64) bool {
	return maxLength == 0 && gap < 1<<segment.KeyTimeBits-segment.MicrosPerDay
}

func (p *Pieces) add(first, last uint64, events uint32) {
	p.First, p.Last, p.Events = append(p.First, first), append(p.Last, last), append(p.Events, events)
}

// Cut cuts the events of a day, sorted by key.
func Cut(keys []uint64, gap int64) *Pieces {
	p := &Pieces{}
	for from, i := 0, 1; i <= len(keys); i++ {
		if i == len(keys) || keys[i]-keys[i-1] > uint64(gap) {
			p.add(keys[from], keys[i-1], uint32(i-from))
			from = i
		}
	}
	return p
}

// Emit is called once per session, with its first and last time.
type Emit func(person uint32, start, end int64, events int)

// Whole hands on the pieces that are sessions as they are. Those so near midnight that an
// event of another day may belong to them go to edges.
func (p *Pieces) Whole(day int32, gap int64, edges *Pieces, emit Emit) {
	base := int64(day) * segment.MicrosPerDay
	last, events := p.Last[:len(p.First)], p.Events[:len(p.First)]
	for i, first := range p.First {
		start, end := int64(first&timeMask), int64(last[i]&timeMask)
		if start > gap && end < segment.MicrosPerDay-gap {
			emit(uint32(first>>segment.KeyTimeBits), start+base, end+base, int(events[i]))
			continue
		}
		edges.add(first, last[i], events[i])
	}
}

// Stitch joins the edges of days to sessions. It holds no state per person but that of
// the sessions which reach midnight, in the order of persons.
type Stitch struct {
	gap   int64
	emit  Emit
	day   int32
	open  []edge // of the day before
	met   int    // of open: those of persons that have been passed
	still []edge // of this day: may go on after it
}

type edge struct {
	person     uint32
	events     int
	start, end int64
}

// NewStitch makes one for sessions of which InPieces is true.
func NewStitch(gap int64, emit Emit) *Stitch { return &Stitch{gap: gap, emit: emit} }

// Add takes the edges of one day, or of some of its persons: day after day, and within a
// day by (person, time).
func (s *Stitch) Add(day int32, edges *Pieces) {
	if day != s.day {
		s.turn()
		s.day = day
	}
	base := int64(day) * segment.MicrosPerDay
	for i, first := range edges.First {
		e := edge{person: uint32(first >> segment.KeyTimeBits), events: int(edges.Events[i]), start: base + int64(first&timeMask), end: base + int64(edges.Last[i]&timeMask)}
		for ; s.met < len(s.open) && s.open[s.met].person <= e.person; s.met++ {
			o := &s.open[s.met]
			if o.person == e.person && e.start-o.end <= s.gap {
				e.start = o.start
				e.events += o.events
				continue
			}
			s.give(o)
		}
		// Two pieces of a person lie further apart than gap: only the last comes near enough.
		if e.end >= base+segment.MicrosPerDay-s.gap {
			s.still = append(s.still, e)
			continue
		}
		s.give(&e)
	}
}

// End emits the sessions that reached the end of the last day.
func (s *Stitch) End() {
	s.turn()
	s.turn()
}

// turn ends the day.
func (s *Stitch) turn() {
	for ; s.met < len(s.open); s.met++ {
		s.give(&s.open[s.met])
	}
	s.open, s.still, s.met = s.still, s.open[:0], 0
}

func (s *Stitch) give(e *edge) { s.emit(e.person, e.start, e.end, e.events) }

// Sum is the number of events.
func (p *Pieces) Sum() (n int64) {
	for _, e := range p.Events {
		n += int64(e)
	}
	return n
}
