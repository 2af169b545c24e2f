package benchstore

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/stretchr/testify/require"

	"spoor/bench/questions"
	"spoor/bench/workload"
	"spoor/engine/query/scan"
	"spoor/segment"
)

// What segments would gain from a roaring bitmap of rows for each value of a column with few
// values, and what they would cost: the figures of segment/DESIGN.md, "What is left out".
//
//	spoor bench query --data DIR
//	SPOOR_BENCH_DATA=DIR go test ./tools/internal/benchstore -run XXX -bench BitmapsOfValues -benchtime 10x -v
//
// The bitmaps are in memory and parsed; a file's would have to be read first.

// fewValues is up to how many values of a section a column has bitmaps.
const fewValues = 256

// valueBitmaps are the rows of a section by text of a column.
type valueBitmaps map[string]*roaring.Bitmap

func bitmapsOf(b *testing.B, s *segment.Section, c segment.Column) valueBitmaps {
	var x segment.Scratch
	codes := make([]uint32, s.Rows())
	texts, err := c.Codes(codes, 0, len(codes), &x)
	require.NoError(b, err)
	by := map[uint32][]uint32{}
	for row, code := range codes {
		if code != 0 {
			if by[code] = append(by[code], uint32(row)); len(by) > fewValues {
				return nil
			}
		}
	}
	out := valueBitmaps{}
	for code, rows := range by {
		m := roaring.BitmapOf(rows...)
		m.RunOptimize()
		out[string(texts.At(int(code-1)))] = m
	}
	return out
}

func equals(path, text string) *scan.Filter {
	return scan.Where(scan.Field{Kind: scan.FieldColumn, Path: path}, scan.Test{Text: func(t []byte) bool { return string(t) == text }})
}

func BenchmarkBitmapsOfValues(b *testing.B) {
	dir, events := b.TempDir(), int64(300_000)
	if d := os.Getenv("SPOOR_BENCH_DATA"); d != "" {
		dir, events = d, questions.MarkEvents
	}
	db, err := Open(context.Background(), dir, workload.Config{Events: events, Seed: 1, Days: workload.DefaultDays}, 1<<30, func(int64) {})
	require.NoError(b, err)
	defer func() { require.NoError(b, db.Close()) }()
	view, err := db.View()
	require.NoError(b, err)
	defer view.Release()

	const country, category = "context.country", "properties.category"
	steps := []string{"view_product", "add_to_cart", "checkout_started", "purchase_completed"}
	type held struct {
		s                   *segment.Section
		countries, category valueBitmaps
		step                bool
	}
	var sections []held
	codes, bitmaps, columns := map[string]int64{}, map[string]int64{}, 0
	for _, r := range view.Segments {
		for i := range r.Sections() {
			s := &r.Sections()[i]
			h := held{s: s, step: slices.Contains(steps, s.Event())}
			all, err := s.AllColumns()
			require.NoError(b, err)
			for _, c := range all {
				if d, err := c.Dict(); !c.Kind().HasText() || d == nil || err != nil {
					continue
				}
				m := bitmapsOf(b, s, c)
				if m == nil {
					continue
				}
				codes[c.Path()] += c.Bytes()
				for _, v := range m {
					bitmaps[c.Path()] += int64(v.GetSerializedSizeInBytes())
				}
				switch c.Path() {
				case country:
					h.countries = m
				case category:
					h.category = m
				}
			}
			sections = append(sections, h)
		}
	}
	codeBytes, bitmapBytes := int64(0), int64(0)
	for path := range codes {
		columns++
		codeBytes, bitmapBytes = codeBytes+codes[path], bitmapBytes+bitmaps[path]
	}
	per := func(n int64) string { return fmt.Sprintf("%.2f", float64(n)/float64(events)) }
	b.Logf("%d columns with at most %d values: %s bytes an event as codes, %s more as bitmaps; country %s and %s, category %s and %s",
		columns, fewValues, per(codeBytes), per(bitmapBytes), per(codes[country]), per(bitmaps[country]), per(codes[category]), per(bitmaps[category]))

	w := scan.NewWorker(scan.Persons{Hi: uint32(view.Identity.Persons())}, view.Identity)
	german := equals(country, "DE")
	both := scan.And(equals(category, "shoes"), equals(country, "DE"))
	var want, rows int
	b.Run("count where country, codes", func(b *testing.B) {
		for range b.N {
			rows = 0
			for i := range sections {
				bits, err := w.Rows(german, sections[i].s)
				require.NoError(b, err)
				rows += bits.Count()
			}
		}
		want = rows
	})
	b.Run("count where country, bitmaps", func(b *testing.B) {
		for range b.N {
			rows = 0
			for i := range sections {
				if m := sections[i].countries["DE"]; m != nil {
					rows += int(m.GetCardinality())
				}
			}
		}
		require.Equal(b, want, rows)
	})
	var keys scan.Keys
	times := scan.Times{From: workload.DefaultStart.UnixMicro(), To: workload.DefaultStart.Add(365 * 24 * time.Hour).UnixMicro()}
	b.Run("keys of 4 steps where category and country, codes", func(b *testing.B) {
		for range b.N {
			rows = 0
			for i := range sections {
				if sections[i].step {
					require.NoError(b, w.Keys(sections[i].s.Day(), []scan.Part{{S: sections[i].s, Where: both}}, times, false, &keys))
					rows += len(keys.K)
				}
			}
		}
		want = rows
	})
	var all []uint64
	b.Run("keys of 4 steps where category and country, bitmaps", func(b *testing.B) {
		var x segment.Scratch
		var out []uint64
		for range b.N {
			rows = 0
			for i := range sections {
				h := &sections[i]
				shoes, german := h.category["shoes"], h.countries["DE"]
				if !h.step || shoes == nil || german == nil {
					continue
				}
				all = slices.Grow(all[:0], h.s.Rows())[:h.s.Rows()]
				require.NoError(b, h.s.Keys(all, 0, len(all), &x))
				out = out[:0]
				for it := roaring.And(shoes, german).Iterator(); it.HasNext(); {
					out = append(out, all[it.Next()])
				}
				rows += len(out)
			}
		}
		require.Equal(b, want, rows)
	})
	b.Run("keys of 4 steps without a condition", func(b *testing.B) {
		for range b.N {
			for i := range sections {
				if sections[i].step {
					require.NoError(b, w.Keys(sections[i].s.Day(), []scan.Part{{S: sections[i].s}}, times, false, &keys))
				}
			}
		}
	})
}
