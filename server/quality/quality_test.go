package quality

import (
	"fmt"
	"math/rand"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var start = time.Date(2026, 5, 1, 0, 30, 0, 0, time.UTC)

// TestAReportEqualsACountOfAllEventsOfItsHours compares with a plain list.
func TestAReportEqualsACountOfAllEventsOfItsHours(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	b := NewBoard()
	type noted struct {
		name, source string
		Event
	}
	var all []noted
	at := start
	for range 5000 {
		at = at.Add(time.Duration(r.Int63n(int64(2 * time.Minute))))
		e := Event{
			Received: at.UnixMicro(), Time: at.Add(-time.Duration(r.ExpFloat64()*float64(r.Int63n(int64(1000*time.Hour)))) + 10*time.Minute).UnixMicro(),
			Violating: r.Intn(3) == 0, Refused: r.Intn(5) == 0, Version: r.Intn(3),
		}
		x := noted{fmt.Sprint("e", r.Intn(3)), fmt.Sprint("s", r.Intn(2)), e}
		all = append(all, x)
		b.Series([]byte(x.name), []byte(x.source)).Note(&x.Event)
	}
	for _, hours := range []int{1, 5, 48} {
		from := at.Truncate(time.Hour).Add(-time.Duration(hours-1) * time.Hour)
		report := b.Report(Filter{Hours: hours, Points: true}, at)
		require.Len(t, report.Series, 6)
		for _, s := range report.Series {
			var want Counts
			for i := range all {
				x := &all[i]
				if x.name != s.Event || x.source != s.Source || x.Received < from.UnixMicro() {
					continue
				}
				want.Received++
				age := time.Duration(x.Received-x.Time) * time.Microsecond
				k := 0
				for k < len(Ages) && age > Ages[k] {
					k++
				}
				want.ages[k]++
				if age < -5*time.Minute {
					want.Future++
				}
				if x.Violating {
					want.Violating++
				}
				if x.Refused {
					want.Refused++
				}
			}
			require.Equal(t, want, s.Counts)
			var sum Counts
			for _, p := range s.Points {
				sum.add(&p.Counts)
			}
			require.Equal(t, want, sum)
			require.LessOrEqual(t, len(s.Points), hours)
		}
	}
}

func TestTheWatermarkIsBehindNinetyNineOfAHundredEvents(t *testing.T) {
	b := NewBoard()
	s := b.Series([]byte("e"), []byte("web"))
	for i := range 1000 {
		late := 30 * time.Second
		if i%100 == 0 {
			late = 3 * time.Hour
		}
		s.Note(&Event{Received: start.UnixMicro(), Time: start.Add(-late).UnixMicro()})
	}
	require.Equal(t, start.Add(-time.Minute), *b.Report(Filter{Hours: 1}, start).Sources[0].Watermark)
	for range 20 {
		s.Note(&Event{Received: start.UnixMicro(), Time: start.Add(-3 * time.Hour).UnixMicro()})
	}
	require.Equal(t, start.Add(-24*time.Hour), *b.Report(Filter{Hours: 1}, start).Sources[0].Watermark)
	for range 1000 {
		s.Note(&Event{Received: start.UnixMicro(), Time: 0})
	}
	require.Nil(t, b.Report(Filter{Hours: 1}, start).Sources[0].Watermark)
}

func TestNamesWithoutEndShareOneSeries(t *testing.T) {
	b := NewBoard()
	for i := range 3 * MaxSeries {
		b.Series(fmt.Appendf(nil, "e%d", i), nil).Note(&Event{Received: start.UnixMicro(), Time: start.UnixMicro()})
	}
	report := b.Report(Filter{Hours: 1}, start)
	require.Len(t, report.Series, MaxSeries+1)
	require.Equal(t, Other, report.Series[0].Event)
	require.EqualValues(t, 2*MaxSeries, report.Series[0].Received)
}

func BenchmarkNote(b *testing.B) {
	board := NewBoard()
	name, source := []byte("product_viewed"), []byte("web")
	e := Event{Received: start.UnixMicro(), Time: start.UnixMicro(), Version: 3}
	for b.Loop() {
		board.Series(name, source).Note(&e)
	}
}
