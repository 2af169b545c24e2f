package query

import "time"

// formatLocal writes a time as RFC 3339 in the query's time zone.
func (x *exec) formatLocal(micros int64) string {
	return time.UnixMicro(micros).In(x.loc).Format(time.RFC3339Nano)
}
