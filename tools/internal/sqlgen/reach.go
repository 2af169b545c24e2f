package sqlgen

import (
	"math"
	"slices"
	"time"

	"spoor/engine/query/lang"
	"spoor/server/rawtier"
)

// Reach is what of a raw tier a query may read.
type Reach struct {
	From, To int64           // microseconds, To exclusive
	Events   map[string]bool // names; nil: any
}

// ReachOf is the reach of a query.
func ReachOf(q *lang.Query, now time.Time) Reach {
	r := Reach{Events: map[string]bool{}}
	r.From, r.To = q.Range.Resolve(now, q.Location())
	var selections []*lang.EventSel
	switch q.Kind {
	case lang.KindFunnel:
		r.To += q.Funnel.Within + 1
		for i := range q.Funnel.Steps {
			selections = append(selections, &q.Funnel.Steps[i].EventSel)
		}
	case lang.KindTrend:
		for i := range q.Trend.Series {
			selections = append(selections, &q.Trend.Series[i].Value.Of)
		}
	case lang.KindRetention: // returns in whole periods, before and after the range
		r.From -= 32 * lang.Day
		r.To = math.MaxInt64
		selections = append(selections, &q.Retention.Start, &q.Retention.Return)
	case lang.KindTop:
		selections = append(selections, &q.Top.Of)
	default:
		r.Events = nil
	}
	for _, s := range selections {
		for _, a := range s.Alternatives {
			if a.Any {
				r.Events = nil
				return r
			}
			r.Events[a.Name] = true
		}
	}
	return r
}

// Files are the keys of the files that may hold events within the reach.
func (r Reach) Files(days []rawtier.Day) (keys []string) {
	for i := range days {
		for j := range days[i].Files {
			f := &days[i].Files[j]
			if (f.Event == "" || r.Events == nil || r.Events[f.Event]) && r.meets(f) {
				keys = append(keys, f.Key)
			}
		}
	}
	slices.Sort(keys)
	return keys
}

func (r Reach) meets(f *rawtier.File) bool {
	first, err := time.Parse(time.RFC3339Nano, f.MinTime)
	last, lerr := time.Parse(time.RFC3339Nano, f.MaxTime)
	return err != nil || lerr != nil || first.UnixMicro() < r.To && last.UnixMicro() >= r.From
}
