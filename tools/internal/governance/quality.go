package governance

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
)

// Quality shows what came in and what was wrong with it.
type Quality struct {
	Event  string `help:"Only this event." placeholder:"NAME"`
	Source string `help:"Only this source." placeholder:"NAME"`
	Hours  int    `help:"Look back so many hours, at most 48." default:"24" placeholder:"N"`
	JSON   bool   `name:"json" help:"Show all numbers as JSON, with those of each hour."`
}

// Run shows.
func (x *Quality) Run(ctx context.Context, c *Console) error {
	args := url.Values{"hours": {fmt.Sprint(x.Hours)}}
	if x.Event != "" {
		args.Set("event", x.Event)
	}
	if x.Source != "" {
		args.Set("source", x.Source)
	}
	if x.JSON {
		args.Set("points", "1")
	}
	var r struct {
		Series []struct {
			Event, Source                                                      string
			Received, Duplicates, Future, Violating, Missing, Unknown, Refused uint64
			Late                                                               map[string]uint64
		}
		Sources []struct{ Source, Latest, Watermark string }
	}
	answer, err := c.call(ctx, http.MethodGet, "/api/quality", args, nil, &r)
	if err != nil {
		return err
	}
	if x.JSON {
		return c.show(answer)
	}
	rows := [][]string{{"EVENT", "SOURCE", "RECEIVED", "DUPLICATES", "LATE >1H", "FUTURE", "VIOLATING", "MISSING", "UNKNOWN", "REFUSED"}}
	for _, s := range r.Series {
		late := s.Late["1d"] + s.Late["7d"] + s.Late["30d"] + s.Late["older"]
		row := []string{s.Event, s.Source}
		for _, n := range []uint64{s.Received, s.Duplicates, late, s.Future, s.Violating, s.Missing, s.Unknown, s.Refused} {
			row = append(row, fmt.Sprint(n))
		}
		rows = append(rows, row)
	}
	if err := c.table(rows); err != nil {
		return err
	}
	for _, s := range r.Sources {
		name := s.Source
		if name == "" {
			name = "(no source)"
		}
		if _, err := fmt.Fprintf(c.Stdout, "%s: last received %s, 99 %% complete up to %s\n", name, s.Latest, orUnknown(s.Watermark)); err != nil {
			return err
		}
	}
	return nil
}

func orUnknown(text string) string {
	if text == "" {
		return "no known time"
	}
	return text
}
