package segment

import (
	"fmt"
	"sort"

	"spoor/segment/encoding"
)

// Timeline reads which of the day's sections each event belongs to, for the
// events [from, to) of the day by (person, time, arrival), counted from the
// day's first section.
func (r *Reader) Timeline(day int32, dst []uint32, from, to int, x *Scratch) error {
	i := sort.Search(len(r.days), func(i int) bool { return r.days[i].day >= day })
	if i == len(r.days) || r.days[i].day != day {
		return fmt.Errorf("read segment %s: no day %d", r.name, day)
	}
	d := &r.days[i]
	limit := uint32(d.to - d.from)
	return r.eachBlock(&d.timeline, d.timeline.present, from, to, func(b []byte, first, n int) error {
		x.Blocks++
		out := into(dst, &x.codes, from, to, first, n)
		if encoding.ReadInts(encoding.NewLane(b), out) != nil {
			return corrupt("timeline")
		}
		if most := greatest(out); most >= limit {
			return corrupt("timeline: section %d of %d", most, limit)
		}
		back(dst, out, from, to, first, n)
		return nil
	})
}
