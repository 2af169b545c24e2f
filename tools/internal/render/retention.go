package render

import (
	"encoding/json"
	"strconv"
)

type retentionAnswer struct {
	Every   string `json:"every"`
	Cohorts []struct {
		T        string   `json:"t"`
		Size     number   `json:"size"`
		Retained []number `json:"retained"`
	} `json:"cohorts"`
}

// maxPeriods is how many periods a picture shows; CSV has all.
const maxPeriods = 14

// retentionSheets draws a heat map: a cohort each line, the share that came back
// each column.
func retentionSheets(answer []byte) ([]sheet, error) {
	var r retentionAnswer
	if err := json.Unmarshal(answer, &r); err != nil {
		return nil, err
	}
	periods := 0
	for _, c := range r.Cohorts {
		periods = max(periods, len(c.Retained))
	}
	names := make([]string, 0, maxPeriods)
	for k := range min(periods, maxPeriods) {
		names = append(names, strconv.Itoa(k))
	}
	first := r.Every
	if first == "" {
		first = "cohort"
	}
	picture := sheet{columns: onlyIn(Table, append(left(printable(first)), right(append([]string{"size"}, names...)...)...))}
	facts := sheet{columns: onlyIn(CSV, left("t", "size", "period", "retained"))}
	for _, c := range r.Cohorts {
		row := append(make([]cell, 0, len(names)+2), timeCell(c.T), c.Size.cell())
		for k := range names {
			if k >= len(c.Retained) || c.Retained[k] == "" || c.Size.value() == 0 {
				row = append(row, cell{})
				continue
			}
			share := c.Retained[k].value() / c.Size.value()
			row = append(row, cell{show: strconv.FormatFloat(100*share, 'f', 0, 64) + "%", heat: share})
		}
		picture.rows = append(picture.rows, row)
		for k, n := range c.Retained {
			facts.rows = append(facts.rows, []cell{{raw: c.T}, {raw: string(c.Size)}, {raw: strconv.Itoa(k)}, {raw: string(n)}})
		}
	}
	if periods > maxPeriods {
		picture.title = "the first " + strconv.Itoa(maxPeriods) + " of " + strconv.Itoa(periods) + " periods; --format csv has all"
	}
	return []sheet{picture, facts}, nil
}
