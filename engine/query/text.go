package query

import (
	"time"

	"spoor/engine/query/lang"
)

// formatLocal writes a time as RFC 3339 in the query's time zone.
func (x *exec) formatLocal(micros int64) string {
	return time.UnixMicro(micros).In(x.loc).Format(time.RFC3339Nano)
}

// resolvedText is the query with the defaults that were taken: the range in
// absolute times, and the zone.
func (x *exec) resolvedText() string {
	q := *x.q
	q.Range = lang.Range{From: lang.Time{Micros: x.from}, To: lang.Time{Micros: x.to}}
	return q.String()
}
