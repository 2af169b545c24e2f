// Package sqlgen writes a question of the query language as SQL over the raw
// tier, for engines that others built.
//
// What it writes counts what Spoor counts, exactly; what it cannot say like that it
// refuses. It reads typed columns, so conditions on numbers beyond a double, and values that
// are arrays or null, are not for it.
package sqlgen

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"spoor/engine/query/lang"
)

// writer is one query on its way.
type writer struct {
	d        Dialect
	q        *lang.Query
	src      Source
	columns  map[string]bool // typed ones that are read
	from, to int64
	where    string
}

// ErrUnsupported is an answer for questions that have no SQL here.
type ErrUnsupported struct{ What string }

func (e *ErrUnsupported) Error() string {
	return "there is no SQL for " + e.What + "; ask the server, which answers it"
}

func (w *writer) refuse(format string, args ...any) error {
	return &ErrUnsupported{fmt.Sprintf(format, args...)}
}

// Generate writes SQL for a query. now is what its times are relative to.
func Generate(q *lang.Query, d Dialect, src Source, now time.Time) (string, error) {
	w := &writer{d: d, q: q, src: src, columns: map[string]bool{}}
	w.from, w.to = q.Range.Resolve(now, q.Location())
	var body string
	var err error
	switch {
	case w.from < 0:
		err = w.refuse("times before 1970")
	case q.User != "":
		err = w.refuse("one person")
	case q.Kind != lang.KindTrend && len(q.By) > 0 || len(q.By) > 1:
		err = w.refuse("this breakdown")
	default:
		if w.where, err = w.predicate(q.Where); err == nil {
			body, err = w.body()
		}
	}
	if err != nil {
		return "", err
	}
	text := "-- " + q.Resolved(now) + "\n" + w.base() + body
	if d == ClickHouse {
		text += "\nSETTINGS join_use_nulls = 1, input_format_parquet_allow_missing_columns = 1"
	}
	return text + ";\n", nil
}

func (w *writer) body() (string, error) {
	switch w.q.Kind {
	case lang.KindFunnel:
		return w.funnel()
	case lang.KindTrend:
		return w.trend()
	case lang.KindRetention:
		return w.retention()
	case lang.KindSessions:
		return w.sessions()
	case lang.KindTop:
		return w.top()
	}
	return "", w.refuse("%s", w.q.Kind)
}

// inRange is the condition that an event lies in the range and passes `where`.
func (w *writer) inRange() string {
	return fmt.Sprintf("t >= %d AND t < %d AND %s", w.from, w.to, w.where)
}

// period is the number of the period of a time and, the other way round, its start.
func (w *writer) period() (number func(t string) string, start func(n string) string, err error) {
	width, shift := int64(0), int64(0)
	switch e := w.q.Every; e.Unit {
	case lang.UnitMinute:
		width = lang.Minute
	case lang.UnitHour:
		width = lang.Hour
	case lang.UnitDay:
		width = lang.Day
	case lang.UnitWeek:
		width, shift = lang.Week, 3*lang.Day // 1970 began on a Thursday
	case lang.UnitDuration:
		width = e.Length
	default:
		return nil, nil, w.refuse("periods of %s", e)
	}
	if w.q.Every.Unit != lang.UnitDuration && w.q.TZ != lang.DefaultTZ {
		return nil, nil, w.refuse("periods of another time zone than UTC")
	}
	return func(t string) string { return w.d.divided(fmt.Sprintf("%s + %d", t, shift), width) },
		func(n string) string { return fmt.Sprintf("((%s) * %d - %d)", n, width, shift) }, nil
}

func (w *writer) funnel() (string, error) {
	f := w.q.Funnel
	switch {
	case f.Order != lang.OrderOrdered:
		return "", w.refuse("order %s", f.Order)
	case f.Per.Kind != lang.PerUser || len(f.Excluding)+len(f.Never)+len(f.Holding) > 0 || !w.q.Every.IsZero():
		return "", w.refuse("funnels per session or field, with exclusions, values that are held, or points")
	}
	var names []string
	var matches, any []string
	for i := range f.Steps {
		s := &f.Steps[i]
		if s.Optional {
			return "", w.refuse("optional steps")
		}
		for _, a := range s.Alternatives {
			if a.Any || slices.Contains(names, a.Name) && len(f.Steps) > 1 {
				return "", w.refuse("funnels in which one event may serve two steps")
			}
		}
		for _, a := range s.Alternatives {
			names = append(names, a.Name)
		}
		p, err := w.selection(&s.EventSel)
		if err != nil {
			return "", err
		}
		matches = append(matches, fmt.Sprintf("%s AS s%d", p, i+1))
		any = append(any, fmt.Sprintf("s%d", i+1))
	}
	var b strings.Builder
	fmt.Fprintf(&b, ", steps AS (\n  SELECT * FROM (SELECT person, t, %s FROM events WHERE t >= %d AND t < %d AND %s) AS m WHERE %s\n)",
		strings.Join(matches, ", "), w.from, w.to+f.Within+1, w.where, strings.Join(any, " OR "))
	// b of an event is the latest start of a chain that this event ends.
	fmt.Fprintf(&b, ", chain1 AS (\n  SELECT *, CASE WHEN s1 AND t < %d THEN t END AS b1 FROM steps\n)", w.to)
	for k := 2; k <= len(f.Steps); k++ {
		fmt.Fprintf(&b, ", chain%d AS (\n  SELECT *, CASE WHEN s%d AND t - before%d <= %d THEN before%d END AS b%d FROM (\n    SELECT *, max(b%d) OVER (PARTITION BY person ORDER BY t RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS before%d FROM chain%d) AS x\n)",
			k, k, k, f.Within, k, k, k-1, k, k-1)
	}
	b.WriteString("\nSELECT ")
	for k := range f.Steps {
		if k > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "count(DISTINCT CASE WHEN b%d IS NOT NULL THEN person END) AS step_%d", k+1, k+1)
	}
	fmt.Fprintf(&b, "\nFROM chain%d", len(f.Steps))
	return b.String(), nil
}

func (w *writer) retention() (string, error) {
	r := w.q.Retention
	if r.Times != 1 || r.Rolling {
		return "", w.refuse("retention by times, or rolling")
	}
	number, start, err := w.period()
	if err != nil {
		return "", err
	}
	a, err := w.selection(&r.Start)
	if err != nil {
		return "", err
	}
	b, err := w.selection(&r.Return)
	if err != nil {
		return "", err
	}
	cohort := "SELECT DISTINCT person, " + number("t") + " AS p"
	tail := ""
	if r.First {
		cohort, tail = "SELECT person, min("+number("t")+") AS p", " GROUP BY person"
	}
	return fmt.Sprintf(`, starts AS (
  %s FROM events WHERE %s AND %s%s
), returns AS (
  SELECT DISTINCT person, %s AS p FROM events WHERE %s AND %s
), sizes AS (
  SELECT p, count(*) AS size FROM starts GROUP BY p
), kept AS (
  SELECT starts.p AS p, returns.p - starts.p AS k, count(*) AS retained
  FROM starts JOIN returns ON starts.person = returns.person
  WHERE returns.p >= starts.p AND returns.p < starts.p + %d GROUP BY 1, 2
)
SELECT %s AS cohort, sizes.size AS size, kept.k AS k, kept.retained AS retained
FROM sizes LEFT JOIN kept ON sizes.p = kept.p
ORDER BY 1, 3`, cohort, w.inRange(), a, tail, number("t"), w.where, b, r.Periods, w.d.moment(start("sizes.p"))), nil
}

func (w *writer) sessions() (string, error) {
	if w.q.Sessions.Max != 0 {
		return "", w.refuse("sessions with max")
	}
	by, group := "", ""
	if !w.q.Every.IsZero() {
		number, start, err := w.period()
		if err != nil {
			return "", err
		}
		by, group = w.d.moment(start(number("began")))+" AS period, ", "\nGROUP BY 1 ORDER BY 1"
	}
	return fmt.Sprintf(`, ordered AS (
  SELECT person, t, max(t) OVER (PARTITION BY person ORDER BY t, eventId ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before, eventId
  FROM events WHERE %s
), numbered AS (
  SELECT person, t, sum(CASE WHEN coalesce(t - before > %d, true) THEN 1 ELSE 0 END) OVER (PARTITION BY person ORDER BY t, eventId ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS n
  FROM ordered
), sessions AS (
  SELECT person, n, min(t) AS began, max(t) AS ended, count(*) AS length FROM numbered GROUP BY person, n
)
SELECT %scount(*) AS sessions, count(DISTINCT person) AS users, sum(length) AS events,
  sum(CASE WHEN length = 1 THEN 1 ELSE 0 END) AS bounces, avg((ended - began) / 1000000.0) AS mean_duration_seconds
FROM sessions%s`, w.inRange(), w.q.Sessions.Gap, by, group), nil
}
