package logquota

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAFloodOfAlikeLinesIsBoundedAndCounted(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(0, 0)
	log := slog.New(New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}), func() time.Time { return now }))
	lines := func() int { return strings.Count(out.String(), "\n") }
	for i := range 100_000 {
		log.With("part", i).Warn("flush failed", "error", i)
	}
	require.Equal(t, Lines, lines())
	log.Error("flush failed") // of another level
	log.Warn("something else")
	require.Equal(t, Lines+2, lines())
	for range 100 {
		log.Debug("request")
	}
	require.Equal(t, Lines+102, lines())

	now = now.Add(Window)
	out.Reset()
	log.WithGroup("g").Warn("flush failed")
	require.Contains(t, out.String(), fmt.Sprintf("left_out_before=%d", 100_000-Lines))
	log.Warn("flush failed")
	require.Equal(t, 1, strings.Count(out.String(), "left_out_before"))
	require.Equal(t, 2, lines())
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	h := New(slog.DiscardHandler, time.Now)
	for i := range 10 * maxMessages {
		h.counts.take(key{slog.LevelInfo, fmt.Sprint(i)})
	}
	require.LessOrEqual(t, len(h.counts.by), maxMessages)
}
