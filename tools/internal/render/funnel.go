package render

import (
	"encoding/json"
	"fmt"
	"strconv"
)

type funnelAnswer struct {
	Steps  []funnelStep  `json:"steps"`
	Open   int64         `json:"open"`
	By     []string      `json:"by"`
	Groups []funnelGroup `json:"groups"`
	Points []funnelPoint `json:"points"`
}

type funnelStep struct {
	Event          string `json:"event"`
	Users          number `json:"users"`
	Conversion     number `json:"conversion"`
	StepConversion number `json:"step_conversion"`
	Median         number `json:"median_seconds"`
}

type funnelGroup struct {
	group
	Steps []funnelStep `json:"steps"`
}

type funnelPoint struct {
	T     string       `json:"t"`
	Steps []funnelStep `json:"steps"`
}

// funnelSheets draws the funnel with what each step lost, and one line for each
// group and each point in time. In CSV all of them are rows of one table.
func funnelSheets(answer []byte) ([]sheet, error) {
	var f funnelAnswer
	if err := json.Unmarshal(answer, &f); err != nil {
		return nil, err
	}
	keys := len(f.By)
	for i := range f.Groups {
		keys = max(keys, len(f.Groups[i].Key))
	}
	fields := fieldNames(f.By, keys)

	sheets := []sheet{f.picture()}
	if len(f.Groups) > 0 {
		s := sheet{columns: onlyIn(Table, append(left(fields...), f.stepColumns()...))}
		for i := range f.Groups {
			g := &f.Groups[i]
			s.rows = append(s.rows, append(g.cells(keys), stepCells(g.Steps, len(f.Steps))...))
		}
		sheets = append(sheets, s)
	}
	if len(f.Points) > 0 {
		s := sheet{columns: onlyIn(Table, append(left("t"), f.stepColumns()...))}
		for _, p := range f.Points {
			s.rows = append(s.rows, append([]cell{timeCell(p.T)}, stepCells(p.Steps, len(f.Steps))...))
		}
		sheets = append(sheets, s)
	}
	return append(sheets, f.facts(fields)), nil
}

func (f *funnelAnswer) picture() sheet {
	s := sheet{columns: onlyIn(Table, append(append(left("#", "step"), right("users", "of all", "of step", "lost", "median")...), left("")...))}
	if f.Open > 0 {
		s.title = fmt.Sprintf("%s still within their window", thousands(f.Open))
	}
	var before number
	for i, step := range f.Steps {
		lost := ""
		if gone := before.value() - step.Users.value(); i > 0 && gone > 0 {
			lost = "-" + thousands(int64(gone))
		}
		before = step.Users
		s.rows = append(s.rows, []cell{
			shown(strconv.Itoa(i + 1)), same(step.Event), step.Users.cell(), step.Conversion.percent(),
			step.StepConversion.percent(), shown(lost), step.Median.duration(), shown(bar(step.Conversion.value(), barCells)),
		})
	}
	return s
}

// stepColumns is the columns of a funnel in one row.
func (f *funnelAnswer) stepColumns() []column {
	var names []string
	for _, step := range f.Steps {
		names = append(names, printable(step.Event))
	}
	return append(right(append(names, "of all")...), left("")...)
}

func stepCells(steps []funnelStep, n int) []cell {
	row := make([]cell, n+2)
	for i := range min(n, len(steps)) {
		row[i] = steps[i].Users.cell()
	}
	if len(steps) == n && n > 0 {
		row[n] = steps[n-1].Conversion.percent()
		row[n+1] = shown(bar(steps[n-1].Conversion.value(), barCells/2))
	}
	return row
}

// facts is the funnel for a program: a row per step, group and point.
func (f *funnelAnswer) facts(fields []string) sheet {
	columns := append(left(fields...), left("t")...)
	columns = append(append(append(columns, right("step")...), left("event")...), right("users", "conversion", "step_conversion", "median_seconds")...)
	s := sheet{columns: onlyIn(CSV, columns)}
	add := func(key []cell, t string, steps []funnelStep) {
		for i, step := range steps {
			row := append(key[:len(key):len(key)], cell{raw: t}, cell{raw: strconv.Itoa(i + 1)}, cell{raw: step.Event}, step.Users.cell(), step.Conversion.cell(), step.StepConversion.cell(), step.Median.cell())
			s.rows = append(s.rows, row)
		}
	}
	if len(f.Groups) == 0 && len(f.Points) == 0 {
		add(nil, "", f.Steps)
	}
	for i := range f.Groups {
		add(f.Groups[i].cells(len(fields)), "", f.Groups[i].Steps)
	}
	for _, p := range f.Points {
		add(make([]cell, len(fields)), p.T, p.Steps)
	}
	return s
}
