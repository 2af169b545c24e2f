package sqlgen

import (
	"fmt"
	"strconv"
	"strings"
)

// Dialect is the SQL of an engine.
type Dialect string

// The dialects.
const (
	DuckDB     Dialect = "duckdb"
	ClickHouse Dialect = "clickhouse"
)

// name quotes the name of a column.
func (d Dialect) name(s string) string {
	if d == ClickHouse {
		return "`" + strings.NewReplacer(`\`, `\\`, "`", "\\`").Replace(s) + "`"
	}
	return `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
}

// text quotes a string.
func (d Dialect) text(s string) string {
	if d == ClickHouse {
		return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\x00", `\0`).Replace(s) + "'"
	}
	if strings.IndexByte(s, 0) < 0 {
		return "'" + strings.ReplaceAll(s, "'", "''") + "'"
	}
	var parts []string
	for part := range strings.SplitSeq(s, "\x00") {
		parts = append(parts, "'"+strings.ReplaceAll(part, "'", "''")+"'")
	}
	return "(" + strings.Join(parts, " || chr(0) || ") + ")"
}

func (d Dialect) number(v float64) string {
	text := strconv.FormatFloat(v, 'e', -1, 64)
	if d == ClickHouse {
		return "toFloat64('" + text + "')"
	}
	return "CAST('" + text + "' AS DOUBLE)"
}

// pick is one of two texts, of DuckDB and of ClickHouse.
func (d Dialect) pick(duck, click string) string {
	if d == ClickHouse {
		return click
	}
	return duck
}

// micros is a column of timestamps as microseconds since the Unix epoch.
func (d Dialect) micros(column string) string {
	return d.pick("epoch_us(", "toUnixTimestamp64Micro(") + column + ")"
}

// moment is microseconds as RFC 3339 in UTC, to the second.
func (d Dialect) moment(micros string) string {
	return d.pick("strftime(make_timestamp("+micros+"), '%Y-%m-%dT%H:%M:%SZ')", "formatDateTime(fromUnixTimestamp64Micro(toInt64("+micros+"), 'UTC'), '%Y-%m-%dT%H:%i:%SZ')")
}

// divided is a whole quotient of a number that is not negative.
func (d Dialect) divided(a string, by int64) string {
	return d.pick(fmt.Sprintf("((%s) // %d)", a, by), fmt.Sprintf("intDiv(%s, %d)", a, by))
}
