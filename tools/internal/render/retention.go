package render

import (
	"encoding/json"
	"strconv"
	"strings"
)

type retentionAnswer struct {
	Every   string            `json:"every"`
	Cohorts []retentionCohort `json:"cohorts"`
	By      []string          `json:"by"`
	Groups  []struct {
		group
		Cohorts []retentionCohort `json:"cohorts"`
	} `json:"groups"`
}

type retentionCohort struct {
	T        string   `json:"t"`
	Size     number   `json:"size"`
	Retained []number `json:"retained"`
}

// maxPeriods is how many periods a picture shows; CSV has all.
const maxPeriods = 14

// retentionSheets draws a heat map: a cohort each line, the share that came back
// each column. Each group of a breakdown has a heat map of its own.
func retentionSheets(answer []byte) ([]sheet, error) {
	var r retentionAnswer
	if err := json.Unmarshal(answer, &r); err != nil {
		return nil, err
	}
	keys := len(r.By)
	for i := range r.Groups {
		keys = max(keys, len(r.Groups[i].Key))
	}
	fields := fieldNames(r.By, keys)
	facts := sheet{columns: onlyIn(CSV, append(append(left(fields...), left("t")...), right("size", "period", "retained")...))}
	sheets := []sheet{r.picture(r.Cohorts, "")}
	if len(r.Groups) == 0 {
		facts.rows = retentionFacts(nil, nil, r.Cohorts)
	}
	for i := range r.Groups {
		g := &r.Groups[i]
		key := g.cells(keys)
		names := make([]string, len(key))
		for k := range key {
			names[k] = key[k].show
		}
		sheets = append(sheets, r.picture(g.Cohorts, strings.Join(names, ", ")))
		facts.rows = retentionFacts(facts.rows, key, g.Cohorts)
	}
	return append(sheets, facts), nil
}

func (r *retentionAnswer) picture(cohorts []retentionCohort, title string) sheet {
	periods := 0
	for _, c := range cohorts {
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
	picture := sheet{title: title, columns: onlyIn(Table, append(left(printable(first)), right(append([]string{"size"}, names...)...)...))}
	for _, c := range cohorts {
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
	}
	if periods > maxPeriods {
		if picture.title != "" {
			picture.title += "; "
		}
		picture.title += "the first " + strconv.Itoa(maxPeriods) + " of " + strconv.Itoa(periods) + " periods; --format csv has all"
	}
	return picture
}

// retentionFacts appends a row per cohort and period.
func retentionFacts(rows [][]cell, key []cell, cohorts []retentionCohort) [][]cell {
	for _, c := range cohorts {
		for k, n := range c.Retained {
			rows = append(rows, append(key[:len(key):len(key)], cell{raw: c.T}, cell{raw: string(c.Size)}, cell{raw: strconv.Itoa(k)}, cell{raw: string(n)}))
		}
	}
	return rows
}
