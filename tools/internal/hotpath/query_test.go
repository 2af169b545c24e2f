package hotpath

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/bench/workload"
	"spoor/engine"
	"spoor/engine/query/kernel"
	"spoor/engine/query/scan"
	"spoor/segment"
)

var steps = []string{"view_product", "add_to_cart", "checkout_started", "purchase_completed"}

// always holds the times of the workload.
var always = scan.Times{From: workload.DefaultStart.UnixMicro(), To: workload.DefaultStart.Add(365 * 24 * time.Hour).UnixMicro()}

// sectionsOf are the sections of a view and their rows.
func sectionsOf(v *engine.View) (out []*segment.Section, rows int) {
	for _, r := range v.Segments {
		for i := range r.Sections() {
			s := &r.Sections()[i]
			out, rows = append(out, s), rows+s.Rows()
		}
	}
	return out, rows
}

func total[T uint32 | uint64](values []T) (sum uint64) {
	for _, v := range values {
		sum += uint64(v)
	}
	return sum
}

func decodeKeys(tb testing.TB, events int) pair {
	v, _ := view(tb, events)
	sections, rows := sectionsOf(v)
	var x segment.Scratch
	keys, to := make([]uint64, rows), make([]uint64, rows)
	path := func() {
		at := 0
		for _, s := range sections {
			require.NoError(tb, s.Keys(keys[at:at+s.Rows()], 0, s.Rows(), &x))
			at += s.Rows()
		}
	}
	path()
	return pair{n: rows, path: path, reference: func() { copy(to, keys) }}
}

const country = "context.country"

func decodeCodes(tb testing.TB, events int) pair {
	v, _ := view(tb, events)
	sections, rows := sectionsOf(v)
	var x segment.Scratch
	codes, to := make([]uint32, rows), make([]uint32, rows)
	path := func() {
		at := 0
		for _, s := range sections {
			columns, err := s.Columns(country)
			require.NoError(tb, err)
			require.Len(tb, columns, 1)
			_, err = columns[0].Codes(codes[at:at+s.Rows()], 0, s.Rows(), &x)
			require.NoError(tb, err)
			at += s.Rows()
		}
	}
	path()
	return pair{n: rows, path: path, reference: func() { copy(to, codes) }}
}

// filterColumn finds the rows of one text. The reference compares codes that are decoded already.
func filterColumn(tb testing.TB, events int) pair {
	v, _ := view(tb, events)
	sections, rows := sectionsOf(v)
	w := scan.NewWorker(scan.Persons{Hi: uint32(v.Identity.Persons())}, v.Identity)
	german := scan.Where(scan.Field{Kind: scan.FieldColumn, Path: country}, scan.Test{Text: func(t []byte) bool { return string(t) == "DE" }})
	codes, wanted := make([]uint32, 0, rows), 0
	var x segment.Scratch
	for _, s := range sections {
		columns, err := s.Columns(country)
		require.NoError(tb, err)
		of := make([]uint32, s.Rows())
		texts, err := columns[0].Codes(of, 0, s.Rows(), &x)
		require.NoError(tb, err)
		for _, c := range of {
			if c != 0 && string(texts.At(int(c-1))) == "DE" {
				wanted++
				c = 1 // one code for all files
			} else {
				c = 2
			}
			codes = append(codes, c)
		}
	}
	require.Positive(tb, wanted)
	return pair{
		n: rows,
		path: func() {
			found := 0
			for _, s := range sections {
				bits, err := w.Rows(german, s)
				require.NoError(tb, err)
				found += bits.Count()
			}
			require.Equal(tb, wanted, found)
		},
		reference: func() {
			found := uint64(0)
			for _, c := range codes {
				if c == 1 {
					found++
				}
			}
			sums += found
		},
	}
}

// timelines reads the events of each day by (person, time).
func timelines(tb testing.TB, v *engine.View) (read func(each func(day int32, keys []uint64))) {
	w := scan.NewWorker(scan.Persons{Hi: uint32(v.Identity.Persons())}, v.Identity)
	files, order := map[int32][]scan.DayFile{}, []int32(nil)
	for _, r := range v.Segments {
		r.Days(func(day int32, sections []segment.Section) {
			f := scan.DayFile{R: r, Day: day, Sections: sections, Take: make([]scan.Take, len(sections))}
			for i := range f.Take {
				f.Take[i].Rows = true
			}
			if len(files[day]) == 0 {
				order = append(order, day)
			}
			files[day] = append(files[day], f)
		})
	}
	var line scan.Timeline
	return func(each func(day int32, keys []uint64)) {
		for _, day := range order {
			require.NoError(tb, w.Timeline(files[day], always, false, &line))
			each(day, line.K)
		}
	}
}

func replayTimeline(tb testing.TB, events int) pair {
	v, _ := view(tb, events)
	_, rows := sectionsOf(v)
	read := timelines(tb, v)
	keys, to := make([]uint64, rows), make([]uint64, rows)
	return pair{
		n: rows,
		path: func() {
			seen := 0
			read(func(_ int32, keys []uint64) { seen += len(keys) })
			require.Equal(tb, rows, seen)
		},
		reference: func() { copy(to, keys) },
	}
}

// dayKeys are rows of one day, sorted.
type dayKeys struct {
	day  int32
	keys [][]uint64 // by step
}

func sweepFunnel(tb testing.TB, events int) pair {
	v, _ := view(tb, events)
	persons := uint32(v.Identity.Persons())
	w := scan.NewWorker(scan.Persons{Hi: persons}, v.Identity)
	var of []dayKeys
	rows := 0
	for _, r := range v.Segments {
		r.Days(func(day int32, _ []segment.Section) {
			d := dayKeys{day: day}
			for _, name := range steps {
				var k scan.Keys
				s := r.Find(day, name)
				require.NotNil(tb, s)
				require.NoError(tb, w.Keys(day, []scan.Part{{S: s}}, always, false, &k))
				d.keys, rows = append(d.keys, k.K), rows+len(k.K)
			}
			of = append(of, d)
		})
	}
	var f kernel.Funnel
	return pair{
		n: rows,
		path: func() {
			f.Reset(len(steps), (7 * 24 * time.Hour).Microseconds(), 0, persons, false)
			for _, d := range of {
				f.Begin(d.day, d.keys[0], nil)
				for k := 1; k < len(steps); k++ {
					f.Step(k, d.keys[k])
				}
				f.End()
			}
			users := f.Users()
			require.Positive(tb, users[3])
			require.Greater(tb, users[0], users[3])
		},
		reference: func() {
			for _, d := range of {
				for _, keys := range d.keys {
					sums += total(keys)
				}
			}
		},
	}
}

func sweepSessions(tb testing.TB, events int) pair {
	v, _ := view(tb, events)
	persons := uint32(v.Identity.Persons())
	var of []dayKeys
	rows := 0
	timelines(tb, v)(func(day int32, keys []uint64) {
		of, rows = append(of, dayKeys{day, [][]uint64{append([]uint64(nil), keys...)}}), rows+len(keys)
	})
	return pair{
		n: rows,
		path: func() {
			counted := 0
			s := kernel.NewSessions((30 * time.Minute).Microseconds(), 0, 0, persons, func(_ uint32, _, _ int64, events int, _ uint32) { counted += events })
			for _, d := range of {
				s.Day(d.day, d.keys[0], nil)
			}
			s.End()
			require.Equal(tb, rows, counted)
		},
		reference: func() {
			for _, d := range of {
				sums += total(d.keys[0])
			}
		},
	}
}
