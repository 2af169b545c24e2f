package render

import "encoding/json"

type sessionFigures struct {
	Sessions   number `json:"sessions"`
	Users      number `json:"users"`
	Mean       number `json:"mean_duration_seconds"`
	Median     number `json:"median_duration_seconds"`
	MeanEvents number `json:"mean_events"`
	Bounce     number `json:"bounce_rate"`
}

type sessionsAnswer struct {
	sessionFigures
	By     []string `json:"by"`
	Points []struct {
		sessionFigures
		T string `json:"t"`
	} `json:"points"`
	Groups []struct {
		sessionFigures
		group
	} `json:"groups"`
}

var (
	sessionHeads = []string{"sessions", "users", "mean duration", "median", "events", "bounce"}
	sessionFacts = []string{"sessions", "users", "mean_duration_seconds", "median_duration_seconds", "mean_events", "bounce_rate"}
)

func (f *sessionFigures) cells() []cell {
	return []cell{f.Sessions.cell(), f.Users.cell(), f.Mean.duration(), f.Median.duration(), f.MeanEvents.cell(), f.Bounce.percent()}
}

// sessionsSheets shows the figures of all sessions, of each group and each period.
func sessionsSheets(answer []byte) ([]sheet, error) {
	var a sessionsAnswer
	if err := json.Unmarshal(answer, &a); err != nil {
		return nil, err
	}
	keys := len(a.By)
	for i := range a.Groups {
		keys = max(keys, len(a.Groups[i].Key))
	}
	fields := fieldNames(a.By, keys)

	all := sheet{columns: onlyIn(Table, right(sessionHeads...)), rows: [][]cell{a.cells()}}
	groups := sheet{columns: onlyIn(Table, append(append(left(fields...), right(sessionHeads...)...), left("")...))}
	points := sheet{columns: onlyIn(Table, append(append(left("t"), right(sessionHeads...)...), left("")...))}
	facts := sheet{columns: onlyIn(CSV, append(append(left(fields...), left("t")...), right(sessionFacts...)...))}
	top := 0.0
	for i := range a.Points {
		top = max(top, a.Points[i].Sessions.value())
	}
	for i := range a.Groups {
		g := &a.Groups[i]
		row := append(g.group.cells(keys), g.sessionFigures.cells()...)
		groups.rows = append(groups.rows, append(row, shown(bar(g.Sessions.value()/a.Sessions.value(), barCells/2))))
		facts.rows = append(facts.rows, append(append(g.group.cells(keys), cell{}), g.sessionFigures.cells()...))
	}
	for i := range a.Points {
		p := &a.Points[i]
		row := append([]cell{timeCell(p.T)}, p.cells()...)
		points.rows = append(points.rows, append(row, shown(bar(p.Sessions.value()/top, barCells/2))))
		facts.rows = append(facts.rows, append(append(make([]cell, keys), cell{raw: p.T}), p.cells()...))
	}
	if len(facts.rows) == 0 {
		facts.rows = append(facts.rows, append(make([]cell, keys+1), a.cells()...))
	}
	sheets := []sheet{all}
	if len(groups.rows) > 0 {
		sheets = append(sheets, groups)
	}
	if len(points.rows) > 0 {
		sheets = append(sheets, points)
	}
	return append(sheets, facts), nil
}
