package ingest

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/bench/workload"
)

func TestAFileIsReadInTheBatchesInWhichItWasMade(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events")
	made, err := generate(t.Context(), path, Workload{Config: workload.Config{Events: 1001, Seed: 3}}, 100)
	require.NoError(t, err)
	read, err := index(path, 100)
	require.NoError(t, err)
	require.Equal(t, made, read)
	require.EqualValues(t, 1001, made.total)
	require.Len(t, made.ends, 11)
	from, to, events := made.batch(10)
	require.Equal(t, 1, events)
	require.Less(t, from, to)

	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.EqualValues(t, len(text), to)
	require.Equal(t, 100, bytes.Count(text[made.ends[3]:made.ends[4]], []byte("\n")))
	require.NoError(t, os.WriteFile(path, text[:len(text)-1], 0o600), "the last line without its end")
	read, err = index(path, 100)
	require.NoError(t, err)
	require.EqualValues(t, 1001, read.total)

	require.NoError(t, os.WriteFile(path, nil, 0o600))
	_, err = index(path, 100)
	require.ErrorContains(t, err, "has no events")
}

func TestNamesAndLateEventsAreThoseAskedForAndAResendStaysEqual(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events")
	config := Workload{Config: workload.Config{Events: 40_000, Seed: 3, Days: 90}, Names: 1000, LateDays: 60, LatePerMille: 100}
	_, err := generate(t.Context(), path, config, 500)
	require.NoError(t, err)
	text, err := os.ReadFile(path)
	require.NoError(t, err)

	names, lines, early, resent := map[string]bool{}, map[string]string{}, 0, 0
	for line := range bytes.Lines(text) {
		var e struct {
			EventID, EventName string
			Timestamp          time.Time
		}
		require.NoError(t, json.Unmarshal(line, &e))
		if before, ok := lines[e.EventID]; ok {
			require.Equal(t, before, string(line))
			resent++
		}
		lines[e.EventID] = string(line)
		names[e.EventName] = true
		if e.Timestamp.Before(workload.DefaultStart) {
			early++
		}
	}
	require.InDelta(t, 1000, len(names), 40, "rare names need not all be there")
	require.Positive(t, resent)
	require.InDelta(t, 40_000*0.1/3, early, 400, "a tenth goes up to 60 of 90 days back")
}

func TestUsageOfThisProcessGrows(t *testing.T) {
	before, err := UsageOf("self")
	if os.IsNotExist(err) {
		t.Skip("there is no /proc here")
	}
	require.NoError(t, err)
	require.Positive(t, before.PeakRSS)
	_, err = os.ReadFile("source.go")
	require.NoError(t, err)
	after, err := UsageOf("self")
	require.NoError(t, err)
	require.Greater(t, after.Read, before.Read)
	_, err = UsageOf("no such process")
	require.ErrorIs(t, err, os.ErrNotExist)
}
