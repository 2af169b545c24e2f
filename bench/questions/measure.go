package questions

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Ask answers a question and returns when the whole answer is there. It must keep
// no answer from one call to the next.
type Ask func(ctx context.Context, text string) error

// MaxRuns bounds how often a question is asked.
const MaxRuns = 1000

// Row is one question measured. Times are in milliseconds.
type Row struct {
	Name    string  `json:"name"`
	Query   string  `json:"query"`
	Median  float64 `json:"median_ms"`
	Fastest float64 `json:"fastest_ms"`
	Slowest float64 `json:"slowest_ms"`
	Runs    int     `json:"runs"`
	Mark    float64 `json:"mark_ms"`
	Met     bool    `json:"met"` // the median is within the mark
}

// Measure asks each question once to warm what is read, then runs times; clock
// tells the time.
func Measure(ctx context.Context, list []Question, runs int, clock func() time.Time, ask Ask) ([]Row, error) {
	if runs < 1 || runs > MaxRuns {
		return nil, fmt.Errorf("measure: %d runs asked for, want 1 to %d", runs, MaxRuns)
	}
	var rows []Row
	for _, q := range list {
		took := make([]time.Duration, 0, runs)
		for i := -1; i < runs; i++ {
			start := clock()
			if err := ask(ctx, q.Text); err != nil {
				return nil, fmt.Errorf("ask %q: %w", q.Text, err)
			}
			if i >= 0 {
				took = append(took, clock().Sub(start))
			}
		}
		slices.Sort(took)
		median := took[len(took)/2]
		rows = append(rows, Row{
			Name: q.Name, Query: q.Text, Runs: runs,
			Median: milliseconds(median), Fastest: milliseconds(took[0]), Slowest: milliseconds(took[len(took)-1]),
			Mark: milliseconds(q.Mark), Met: median <= q.Mark,
		})
	}
	return rows, nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// WriteTable writes rows for a person. Marks are shown for the size that they are set for alone.
func WriteTable(out io.Writer, rows []Row, marks bool) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	head := []string{"query", "median ms", "fastest", "slowest"}
	if marks {
		head = append(head, "mark", "")
	}
	if _, err := fmt.Fprintln(w, strings.Join(head, "\t")+"\t"); err != nil {
		return err
	}
	for _, r := range rows {
		line := fmt.Sprintf("%s\t%.2f\t%.2f\t%.2f\t", r.Name, r.Median, r.Fastest, r.Slowest)
		if marks {
			verdict := "met"
			if !r.Met {
				verdict = "MISSED"
			}
			line += fmt.Sprintf("%g\t%s\t", r.Mark, verdict)
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return w.Flush()
}
