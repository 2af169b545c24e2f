package load_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/tools/internal/load"
)

// collector notes what comes and answers as it is told.
type collector struct {
	mu     sync.Mutex
	ids    map[string]bool
	events int
	calls  int
	answer func(call int) int
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, line := range strings.Split(strings.TrimSpace(string(body)), "\n") {
		var e struct{ EventID, EventName, UserID string }
		if json.Unmarshal([]byte(line), &e) == nil && e.EventName != "" && e.UserID != "" {
			c.ids[e.EventID] = true
			c.events++
		}
	}
	c.calls++
	w.WriteHeader(c.answer(c.calls))
}

func run(t *testing.T, answer func(int) int, o load.Options) (*collector, load.Result) {
	t.Helper()
	c := &collector{ids: map[string]bool{}, answer: answer}
	s := httptest.NewServer(c)
	t.Cleanup(s.Close)
	o.Server = s.URL
	r, err := load.Run(t.Context(), o)
	require.NoError(t, err)
	return c, r
}

func TestEveryEventIsOneOfItsOwnAndIsCounted(t *testing.T) {
	for i, batch := range []int{1, 7, 1, 7} {
		c, r := run(t, func(int) int { return 200 }, load.Options{Connections: 3, Batch: batch, Duration: 200 * time.Millisecond, Seed: 5, Pages: i > 1})
		require.Positive(t, c.events)
		require.Len(t, c.ids, c.events)
		require.Equal(t, c.calls*batch, c.events)
		require.LessOrEqual(t, r.Acknowledged, int64(c.events))
		require.Greater(t, r.Acknowledged, int64(c.events)/2)
		require.Zero(t, r.Refused+r.Failed)
		require.LessOrEqual(t, r.P50, r.P99)
		require.LessOrEqual(t, r.P99, r.Max)
	}
}

func TestARateIsKept(t *testing.T) {
	c, _ := run(t, func(int) int { return 200 }, load.Options{Connections: 2, Batch: 5, Rate: 1000, Duration: 500 * time.Millisecond})
	require.LessOrEqual(t, c.events, 560)
}

func TestRefusalsAndFailuresAreToldApart(t *testing.T) {
	_, r := run(t, func(call int) int { return []int{200, 429, 503, 400}[call%4] }, load.Options{Connections: 1, Batch: 1, Duration: 200 * time.Millisecond})
	require.Positive(t, r.Acknowledged)
	require.InDelta(t, 2*r.Acknowledged, r.Refused, 4)
	require.InDelta(t, r.Acknowledged, r.Failed, 4)
	require.ErrorContains(t, r.FirstError, "answered 400")
	_, err := load.Run(t.Context(), load.Options{Server: "nowhere"})
	require.Error(t, err)
}
