package hotpath

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"spoor/bench/workload"
	"spoor/engine"
	"spoor/tools/internal/benchstore"
)

// pair is a path and its reference, both over the same n units.
type pair struct {
	n               int
	path, reference func()
	between         func() // prepares the next round, not measured; nil for nothing
}

// hotPaths are all that is measured. The name says which path beside which reference, unit of what the times are. prepare makes a pair
// over about so many events of the workload, and checks that the path gives what it should.
var hotPaths = []struct {
	name, unit string
	prepare    func(tb testing.TB, events int) pair
}{
	{"JSON to columns, beside xxhash of its bytes", "event", decodeJSON},
	{"dictionary, beside xxhash of its texts", "value", dictionary},
	{"log append and fsync, beside write and fsync", "append", appendLog},
	{"apply, beside 2 random reads and a copy", "event", apply},
	{"filter of ids, beside a random read", "id", filterProbe},
	{"look-up of an id in memory, beside a random read", "id", lookUpCached},
	{"look-up of an id in a file, beside a read of its page", "id", lookUpRead},
	{"merge, beside read, write and fsync", "event", merge},
	{"keys decoded, beside a copy", "row", decodeKeys},
	{"codes decoded, beside a copy", "row", decodeCodes},
	{"filter of a column, beside a loop over codes", "row", filterColumn},
	{"timeline replayed, beside a copy of keys", "event", replayTimeline},
	{"funnel, beside a sum of its keys", "row", sweepFunnel},
	{"sessions, beside a sum of their keys", "event", sweepSessions},
	{"zstd texts, beside a copy", "byte", decodeTexts},
}

const (
	benchEvents = 600_000
	testEvents  = 20_000
	days        = 2 // so that sections are as long as those of a large store
)

// BenchmarkHotPath runs a path and its reference in turn, so that whatever else the machine does meets both. Medians count:
// ns/unit of the path, ref-ns/unit of the reference, and how often the one goes into the other.
func BenchmarkHotPath(b *testing.B) {
	for _, h := range hotPaths {
		b.Run(h.name, func(b *testing.B) {
			p := h.prepare(b, benchEvents)
			var paths, references []time.Duration
			for b.Loop() {
				begin := time.Now()
				p.path()
				middle := time.Now()
				p.reference()
				references, paths = append(references, time.Since(middle)), append(paths, middle.Sub(begin))
				if p.between != nil {
					p.between()
				}
			}
			path, reference := median(paths)/float64(p.n), median(references)/float64(p.n)
			b.ReportMetric(0, "ns/op") // of both together says nothing
			b.ReportMetric(path, "ns/"+h.unit)
			b.ReportMetric(reference, "ref-ns/"+h.unit)
			b.ReportMetric(path/reference, "x-of-ref")
		})
	}
}

func TestEachHotPathRunsBesideItsReference(t *testing.T) {
	for _, h := range hotPaths {
		t.Run(h.name, func(t *testing.T) {
			p := h.prepare(t, testEvents)
			require.Positive(t, p.n)
			for range 2 {
				p.path()
				p.reference()
				if p.between != nil {
					p.between()
				}
			}
		})
	}
}

// median in nanoseconds.
func median(times []time.Duration) float64 {
	slices.Sort(times)
	return float64(times[len(times)/2].Nanoseconds())
}

// sums keep what references compute from being left out.
var sums uint64

// stores are those of the workload by their number of events: each is made once. TestMain closes them.
var stores = map[int]*store{}

type store struct {
	dir string
	db  *engine.DB
}

func TestMain(m *testing.M) {
	code := m.Run()
	for _, s := range stores {
		if err := errors.Join(s.db.Close(), os.RemoveAll(s.dir)); err != nil {
			panic(err)
		}
	}
	goleak.VerifyTestMain(done(code))
}

// done lets goleak look for goroutines behind the end of the stores.
type done int

func (d done) Run() int { return int(d) }

// view is what a store of the workload holds, compacted; dir is where its files are.
func view(tb testing.TB, events int) (v *engine.View, dir string) {
	tb.Helper()
	s := stores[events]
	if s == nil {
		dir, err := os.MkdirTemp("", "spoor-hotpath-")
		require.NoError(tb, err)
		db, err := benchstore.Open(context.Background(), dir, workload.Config{Events: int64(events), Seed: 1, Days: days}, 512<<20, func(int64) {})
		require.NoError(tb, err)
		s = &store{dir, db}
		stores[events] = s
	}
	v, err := s.db.View()
	require.NoError(tb, err)
	tb.Cleanup(v.Release)
	return v, s.dir
}

// lines makes so many events of the workload, one a line.
func lines(tb testing.TB, events int, seed uint64) []byte {
	tb.Helper()
	g, err := workload.New(workload.Config{Events: int64(events), Seed: seed, Days: days})
	require.NoError(tb, err)
	var body []byte
	for {
		more := false
		if body, more = g.Next(body); !more {
			return body
		}
		body = append(body, '\n')
	}
}
