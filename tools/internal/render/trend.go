package render

import "encoding/json"

type trendAnswer struct {
	By     []string      `json:"by"`
	Series []trendSeries `json:"series"`
}

type trendSeries struct {
	group
	Measure string `json:"measure"`
	Event   string `json:"event"`
	Points  []struct {
		T     string `json:"t"`
		Value number `json:"value"`
	} `json:"points"`
}

// maxColumns is how many series stand side by side; more become a line each.
const maxColumns = 6

// trendSheets draws one series as bars over time, a few as columns, many as a
// line each with its shape.
func trendSheets(answer []byte) ([]sheet, error) {
	var t trendAnswer
	if err := json.Unmarshal(answer, &t); err != nil {
		return nil, err
	}
	keys := len(t.By)
	for i := range t.Series {
		keys = max(keys, len(t.Series[i].Key))
	}
	fields := fieldNames(t.By, keys)

	picture := t.lines(fields)
	if n := len(t.Series); n > 0 && n <= maxColumns && t.aligned() {
		picture = t.sideBySide()
	}
	return []sheet{picture, t.facts(fields)}, nil
}

// aligned tells whether all series have the same points in time.
func (t *trendAnswer) aligned() bool {
	for _, s := range t.Series[1:] {
		if len(s.Points) != len(t.Series[0].Points) {
			return false
		}
		for i := range s.Points {
			if s.Points[i].T != t.Series[0].Points[i].T {
				return false
			}
		}
	}
	return true
}

func (s *trendSeries) title(single bool) string {
	name := s.name()
	if name == "" {
		return printable(s.Measure)
	}
	if single {
		return name
	}
	return name + " " + printable(s.Measure)
}

func (t *trendAnswer) sideBySide() sheet {
	single := true
	for i := range t.Series {
		single = single && t.Series[i].Measure == t.Series[0].Measure
	}
	names := make([]string, len(t.Series))
	top := 0.0
	for i := range t.Series {
		names[i] = t.Series[i].title(single)
		for _, p := range t.Series[i].Points {
			top = max(top, p.Value.value())
		}
	}
	columns := append(left("t"), right(names...)...)
	if len(t.Series) == 1 {
		columns = append(columns, left("")...)
	}
	s := sheet{title: t.heading(), columns: onlyIn(Table, columns)}
	for i, p := range t.Series[0].Points {
		row := []cell{timeCell(p.T)}
		for j := range t.Series {
			row = append(row, t.Series[j].Points[i].Value.cell())
		}
		if len(t.Series) == 1 {
			row = append(row, shown(bar(p.Value.value()/top, barCells)))
		}
		s.rows = append(s.rows, row)
	}
	return s
}

// heading names the event that all series are of.
func (t *trendAnswer) heading() string {
	event := t.Series[0].Event
	for i := range t.Series {
		if t.Series[i].Event != event {
			return ""
		}
	}
	return printable(event)
}

// sparkCells is the width of a series in one line.
const sparkCells = 30

func (t *trendAnswer) lines(fields []string) sheet {
	columns := append(left("measure", "event"), left(fields...)...)
	s := sheet{columns: onlyIn(Table, append(append(columns, left("")...), right("least", "most", "last")...))}
	for i := range t.Series {
		series := &t.Series[i]
		row := append([]cell{same(series.Measure), same(series.Event)}, series.cells(len(fields))...)
		var least, most, last number
		var values []float64
		for _, p := range series.Points {
			if p.Value != "" && (least == "" || p.Value.value() < least.value()) {
				least = p.Value
			}
			if p.Value != "" && (most == "" || p.Value.value() > most.value()) {
				most = p.Value
			}
			last = p.Value
			values = append(values, p.Value.value())
		}
		row = append(row, shown(sparkline(values, sparkCells)), least.cell(), most.cell(), last.cell())
		s.rows = append(s.rows, row)
	}
	return s
}

// facts is the trend for a program: a row per series and point.
func (t *trendAnswer) facts(fields []string) sheet {
	s := sheet{columns: onlyIn(CSV, append(left("t", "measure", "event"), append(left(fields...), right("value")...)...))}
	for i := range t.Series {
		series := &t.Series[i]
		for _, p := range series.Points {
			row := append([]cell{{raw: p.T}, {raw: series.Measure}, {raw: series.Event}}, series.cells(len(fields))...)
			s.rows = append(s.rows, append(row, p.Value.cell()))
		}
	}
	return s
}
