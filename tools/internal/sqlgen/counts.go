package sqlgen

import (
	"fmt"
	"strings"

	"spoor/engine/query/lang"
)

// valueOf is a field's value as text, and what values of all types are grouped by.
func (w *writer) valueOf(f *lang.Field) (text string, all []string, err error) {
	t, err := w.field(f)
	if err != nil {
		return "", nil, err
	}
	for _, c := range []string{t.str, t.num, t.boolean} {
		if c != "" {
			all = append(all, c)
		}
	}
	var texts []string
	for _, c := range all {
		texts = append(texts, "CAST("+c+" AS "+w.d.pick("VARCHAR", "Nullable(String)")+")")
	}
	if len(texts) == 1 {
		return texts[0], all, nil
	}
	return "coalesce(" + strings.Join(texts, ", ") + ")", all, nil
}

// trend has a row for each measure, period and value of the breakdown.
func (w *writer) trend() (string, error) {
	var parts []string
	for i := range w.q.Trend.Series {
		p, err := w.series(&w.q.Trend.Series[i])
		if err != nil {
			return "", err
		}
		parts = append(parts, p)
	}
	return "\nSELECT * FROM (\n" + strings.Join(parts, "\nUNION ALL\n") + "\n) AS answer ORDER BY 1, 2, 3", nil
}

func (w *writer) series(s *lang.Series) (string, error) {
	m := &s.Value
	if s.Per != nil {
		return "", w.refuse("ratios")
	}
	value := ""
	switch m.Agg {
	case lang.AggCount:
		value = "count(*)"
	case lang.AggUsers:
		value = "count(DISTINCT person)"
	case lang.AggSum, lang.AggAvg, lang.AggMin, lang.AggMax:
		t, err := w.field(&m.Field)
		if err != nil || t.num == "" {
			return "", w.refuse("%s", s.Label())
		}
		value = map[lang.Agg]string{lang.AggSum: "coalesce(sum(%s), 0)", lang.AggAvg: "avg(%s)", lang.AggMin: "min(%s)", lang.AggMax: "max(%s)"}[m.Agg]
		value = fmt.Sprintf(value, t.num)
	default:
		return "", w.refuse("%s", s.Label())
	}
	of, err := w.selection(&m.Of)
	if err != nil {
		return "", err
	}
	period, key, groups := w.d.moment(fmt.Sprint(w.from)), "CAST(NULL AS "+w.d.pick("VARCHAR", "Nullable(String)")+")", []string{}
	if !w.q.Every.IsZero() {
		number, start, err := w.period()
		if err != nil {
			return "", err
		}
		period = w.d.moment(start(number("t")))
		groups = append(groups, number("t"))
	}
	if len(w.q.By) > 0 {
		text, all, err := w.valueOf(&w.q.By[0].Field)
		if err != nil {
			return "", err
		}
		key, groups = text, append(groups, all...)
	}
	tail := ""
	if len(groups) > 0 {
		tail = " GROUP BY " + strings.Join(groups, ", ")
	}
	label := s.Label()
	if !m.Of.IsAny() {
		label += " of " + m.Of.Label()
	}
	return fmt.Sprintf("SELECT %s AS measure, %s AS period, %s AS key, %s AS value FROM events WHERE %s AND %s%s",
		w.d.text(label), period, key, value, w.inRange(), of, tail), nil
}

func (w *writer) top() (string, error) {
	of, err := w.selection(&w.q.Top.Of)
	if err != nil {
		return "", err
	}
	if _, ok := timeOf(&w.q.Top.Field); ok {
		return "", w.refuse("top of times")
	}
	text, all, err := w.valueOf(&w.q.Top.Field)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("\nSELECT %s AS value, count(*) AS count, count(DISTINCT person) AS users\nFROM events WHERE %s AND %s AND %s IS NOT NULL\nGROUP BY %s ORDER BY 2 DESC, 1 LIMIT %d",
		text, w.inRange(), of, text, strings.Join(all, ", "), w.q.Limit), nil
}
