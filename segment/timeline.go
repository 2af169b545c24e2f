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
	if err := r.RawTimeline(day, dst, from, to, x); err != nil {
		return err
	}
	d := r.dayDir(day)
	if most, limit := greatest(dst[:max(to-from, 0)]), uint32(d.to-d.from); to > from && most >= limit {
		return fmt.Errorf("read segment %s: %w", r.name, corrupt("timeline: section %d of %d", most, limit))
	}
	return nil
}

// RawTimeline does the same and leaves it to the caller to find sections that there are not,
// who looks at each event anyway.
func (r *Reader) RawTimeline(day int32, dst []uint32, from, to int, x *Scratch) error {
	d := r.dayDir(day)
	if d == nil {
		return fmt.Errorf("read segment %s: no day %d", r.name, day)
	}
	return r.eachBlock(&d.timeline, d.timeline.present, from, to, func(b []byte, first, n int) error {
		x.Blocks++
		out := into(dst, &x.codes, from, to, first, n)
		if encoding.ReadInts(encoding.NewLane(b), out) != nil {
			return corrupt("timeline")
		}
		back(dst, out, from, to, first, n)
		return nil
	})
}

// dayDir is the directory of a day, nil if the file holds none of it.
func (r *Reader) dayDir(day int32) *dayDir {
	i := sort.Search(len(r.days), func(i int) bool { return r.days[i].day >= day })
	if i == len(r.days) || r.days[i].day != day {
		return nil
	}
	return &r.days[i]
}
