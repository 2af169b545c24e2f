package engine

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/engine/erasure"
	"spoor/internal/vfs"
)

// burst are events, and rules that erase events and fields between them.
func burst(rules int) []logEntry {
	s := newScripter(41)
	for i := range rules {
		s.batch([]testEvent{s.event(nil), s.event(nil)})
		r := &erasure.Request{ID: fmt.Sprint("er-", i), Kind: erasure.Events, Events: []string{"e0", "e9"}, Where: "properties.n > 10"}
		if i%3 == 0 {
			r = &erasure.Request{ID: r.ID, Kind: erasure.Field, Fields: []string{"properties.flag", "properties.deep"}}
		}
		data, err := EraseEntry(r)
		if err != nil {
			panic(err)
		}
		s.entries = append(s.entries, logEntry{erase: r, data: data})
	}
	return s.entries
}

func TestABurstOfRulesMakesOneFileAndErasesWhatItShould(t *testing.T) {
	ctx := context.Background()
	log := burst(300)
	m, mem := newNaive(), vfs.NewMem()
	db := memStore(t, mem, Options{})
	for i := range log {
		require.Equal(t, m.apply(&log[i]), applyEntry(db, log, i))
	}
	checkRows(t, db, m, true)
	_, err := db.Checkpoint(ctx)
	require.NoError(t, err)
	require.Len(t, db.files.current.files, 1)
	checkRows(t, db, m, true)
	counted := int64(0)
	records, err := db.Erasures()
	require.NoError(t, err)
	for i := range records {
		counted += db.EraseStatus(&records[i]).Rows
	}
	require.EqualValues(t, len(m.erased.ids), counted, "each event was counted for the rule that erased it")
	require.NoError(t, db.Close())
	db = memStore(t, mem, Options{})
	checkRows(t, db, m, true)
	require.NoError(t, db.Compact(ctx))
	checkRows(t, db, m, true)
	require.NoError(t, db.Close())
}

// BenchmarkApplyOfABurstOfRules applies rules with events between them on a real disk while the background flushes.
func BenchmarkApplyOfABurstOfRules(b *testing.B) {
	const rules = 1440
	log := burst(rules)
	for range b.N {
		db, err := Open(b.TempDir(), Options{})
		require.NoError(b, err)
		took := make([]time.Duration, len(log))
		for i := range log {
			start := time.Now()
			applyEntry(db, log, i)
			took[i] = time.Since(start)
		}
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "median-ms")
		b.ReportMetric(float64(took[len(took)-1].Microseconds())/1000, "longest-ms")
		require.NoError(b, db.Close())
	}
}
