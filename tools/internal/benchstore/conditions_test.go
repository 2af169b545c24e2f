package benchstore

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/bench/questions"
	"spoor/bench/workload"
	"spoor/engine/query"
	"spoor/engine/query/lang"
	"spoor/engine/query/scan"
)

// What conditions on values of columns cost: the figures of segment/DESIGN.md, "Conditions on values", and of
// docs/performance-queries.md.
//
//	spoor bench query --data DIR
//	SPOOR_BENCH_DATA=DIR go test ./tools/internal/benchstore -run XXX -bench Conditions -benchtime 10x

func equals(path, text string) *scan.Filter {
	return scan.Where(scan.Field{Kind: scan.FieldColumn, Path: path}, scan.Test{Text: func(t []byte) bool { return string(t) == text }})
}

func BenchmarkConditions(b *testing.B) {
	ctx := context.Background()
	dir, events := b.TempDir(), int64(300_000)
	if d := os.Getenv("SPOOR_BENCH_DATA"); d != "" {
		dir, events = d, questions.MarkEvents
	}
	db, err := Open(ctx, dir, workload.Config{Events: events, Seed: 1, Days: workload.DefaultDays}, 1<<30, func(int64) {})
	require.NoError(b, err)
	defer func() { require.NoError(b, db.Close()) }()
	e := query.New(db, query.DefaultLimits(), time.Now)
	times := " from " + workload.DefaultStart.Format(time.DateOnly) + " to " + workload.DefaultStart.AddDate(0, 0, workload.DefaultDays).Format(time.DateOnly)
	for _, c := range []struct{ name, text string }{
		{"count where country", `trend count of any where context.country = "DE" every day`},
		{"count where country is not", `trend count of any where context.country not in ("DE", "US") every day`},
		{"count where category and country", `trend count of any where properties.category = "shoes" and context.country = "DE" every day`},
		{"count by country", `trend count of any by context.country every day`},
		{"count where category by country", `trend count of any where properties.category = "shoes" by context.country every day`},
		{"persons where category and country", `trend users of any where properties.category = "shoes" and context.country = "DE" every day`},
		{"sum of price where country", `trend sum(properties.price) of any where context.country = "DE" every day`},
	} {
		b.Run(c.name, func(b *testing.B) {
			q, err := lang.Parse(c.text + times)
			require.NoError(b, err)
			for b.Loop() {
				_, err := e.Answer(ctx, q, query.Options{NoCache: true})
				require.NoError(b, err)
			}
		})
	}
	view, err := db.View()
	require.NoError(b, err)
	defer view.Release()
	w := scan.NewWorker(scan.Persons{Hi: uint32(view.Identity.Persons())}, view.Identity)
	for _, c := range []struct {
		name  string
		where *scan.Filter
	}{
		{"rows where country, one core", equals("context.country", "DE")},
		{"rows where category and country, one core", scan.And(equals("properties.category", "shoes"), equals("context.country", "DE"))},
	} {
		b.Run(c.name, func(b *testing.B) {
			rows := 0
			for b.Loop() {
				for _, r := range view.Segments {
					for i := range r.Sections() {
						bits, err := w.Rows(c.where, &r.Sections()[i])
						require.NoError(b, err)
						rows += bits.Count()
					}
				}
			}
			require.Positive(b, rows)
		})
	}
}
