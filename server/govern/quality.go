package govern

import (
	"net/http"
	"strconv"

	"spoor/segment/batch"
	"spoor/server/call"
	"spoor/server/quality"
)

// Duplicates counts the rows of a batch that were stored before.
func (p *Pipeline) Duplicates(b *batch.Batch, duplicate []bool) {
	for i, is := range duplicate {
		if is {
			name, _ := b.Names.At(i)
			source, _ := b.Sources.At(i)
			p.board.Series(name, source).Duplicates(1, b.ReceivedAt)
		}
	}
}

// Quality answers what came in and what was wrong with it. Arguments: event,
// source, hours (24), and points=1 for each hour.
func (p *Pipeline) Quality(c *call.Call) (any, error) {
	f := quality.Filter{Event: c.Arg("event"), Source: c.Arg("source"), Hours: 24, Points: c.Arg("points") == "1"}
	if text := c.Arg("hours"); text != "" {
		var err error
		if f.Hours, err = strconv.Atoi(text); err != nil || f.Hours < 1 || f.Hours > quality.Hours {
			return nil, call.Fail(http.StatusBadRequest, "bad_hours", "hours is a number from 1 to %d", quality.Hours)
		}
	}
	return p.board.Report(f, c.Now), nil
}
