package raw

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"spoor/tools/internal/render"
	"spoor/tools/internal/tables"
)

// Tables keeps answers as tables.
type Tables struct {
	Config string        `arg:"" help:"YAML file with the tables." type:"existingfile"`
	Raw    string        `required:"" help:"The raw tier: a directory, or s3://BUCKET/PREFIX." placeholder:"PLACE"`
	Place  Place         `embed:"" prefix:"raw-"`
	From   string        `help:"First day, 2026-05-01." placeholder:"DATE"`
	To     string        `help:"Day after the last one." placeholder:"DATE"`
	Every  time.Duration `help:"Go on, and look that often what is to be made." placeholder:"TIME"`
}

// Help implements kong.HelpProvider.
func (Tables) Help() string {
	return `Asks the server each question about each day that the raw tier has, and writes the answers as Parquet beside it: tables/NAME/date=2026-05-01/. A day is asked about once, and again when its events or the question have changed; a new table is filled backwards.

    tables:
      - name: daily_active
        query: trend users of any by context.country every day
      - name: checkout
        query: funnel view_product -> purchase_completed within 7d
        refresh: 8          # the latest days are made anew each time

Examples:

    spoor tables tables.yaml --raw s3://events/prod --raw-endpoint https://s3.example.com
    spoor tables tables.yaml --raw ./raw --every 1h`
}

// Run makes tables.
func (c *Tables) Run(ctx context.Context, console *Console) error {
	for _, date := range []string{c.From, c.To} {
		if _, err := time.Parse(time.DateOnly, date); err != nil && date != "" {
			return fmt.Errorf("%q is no date; write 2026-05-01", date)
		}
	}
	text, err := os.ReadFile(c.Config)
	if err != nil {
		return err
	}
	all, err := tables.Read(text)
	if err != nil {
		return err
	}
	store, err := c.Place.existing(c.Raw)
	if err != nil {
		return err
	}
	server, err := console.Connect(1)
	if err != nil {
		return err
	}
	defer server.Close()
	for {
		r, err := tables.Run(ctx, store, all, c.From, c.To, func(ctx context.Context, query string) (json.RawMessage, error) {
			return server.Query(ctx, query, false)
		})
		_, _ = fmt.Fprintf(console.Stdout, "%s tables of days made, %s as they were\n", render.Count(int64(r.Made)), render.Count(int64(r.Kept)))
		if c.Every == 0 {
			return err
		}
		if err != nil && ctx.Err() == nil {
			_, _ = fmt.Fprintf(console.Stderr, "spoor: %v; it is tried again in %s\n", err, c.Every)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(c.Every):
		}
	}
}
