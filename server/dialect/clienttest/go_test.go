package clienttest

import (
	"fmt"
	"log"
	"testing"
	"time"

	"github.com/segmentio/analytics-go/v3"
	"github.com/stretchr/testify/require"
)

// verdicts counts what analytics-go says became of its messages.
type verdicts struct {
	done chan struct{} // one for each message
}

func (v *verdicts) Success(analytics.Message)        { v.done <- struct{}{} }
func (v *verdicts) Failure(analytics.Message, error) { v.done <- struct{}{} }

// segmentGo sends count events of a name with analytics-go, and returns when it
// has delivered them or given up. It closes the client only then: a client that
// is closed sends nothing again.
func segmentGo(t *testing.T, endpoint, event string, count int) {
	t.Helper()
	v := &verdicts{done: make(chan struct{}, count+2)}
	client, err := analytics.NewWithConfig("WK", analytics.Config{
		Endpoint: endpoint, BatchSize: 100, Interval: 50 * time.Millisecond, Callback: v,
		RetryAfter: func(int) time.Duration { return 10 * time.Millisecond },
		Logger:     analytics.StdLogger(log.New(t.Output(), "", 0)),
	})
	require.NoError(t, err)
	require.NoError(t, client.Enqueue(analytics.Identify{UserId: "user-" + event, AnonymousId: "anon-" + event, Traits: analytics.NewTraits().Set("plan", "pro")}))
	for i := range count {
		require.NoError(t, client.Enqueue(analytics.Track{UserId: "user-" + event, Event: event, Properties: analytics.NewProperties().Set("n", i)}))
	}
	require.NoError(t, client.Enqueue(analytics.Alias{UserId: "user-" + event, PreviousId: "old-" + event}))
	for late := time.After(30 * time.Second); count+2 > 0; count-- {
		select {
		case <-v.done:
		case <-late:
			t.Fatal("analytics-go has not decided after 30 s")
		}
	}
	require.NoError(t, client.Close())
}

func TestAnalyticsGoDeliversEveryEventOnce(t *testing.T) {
	for i, prefix := range []string{"", "/segment", "/segment/"} {
		t.Run(prefix, func(t *testing.T) {
			t.Parallel()
			p := newProxy(t, pass)
			event := fmt.Sprintf("go_buy_%d", i)
			segmentGo(t, p.URL+prefix, event, 250)
			spoor.requireOnce(t, event, 250)
			who := spoor.person(t, "anon-"+event)
			require.Equal(t, "user-"+event, who.Person)
			require.Equal(t, "pro", who.Traits["plan"])
			require.Contains(t, who.AnonymousIDs, "old-"+event)
			for _, status := range p.statuses() {
				require.Equal(t, 200, status)
			}
		})
	}
}

func TestAnalyticsGoSendsAgainAfterEveryFailureAndIsCountedOnce(t *testing.T) {
	for name, answers := range map[string][]answer{
		"lost": {lose, lose, pass}, "503": {503, pass}, "429": {429, pass}, "400": {400, pass}, "413": {413, pass},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProxy(t, answers...)
			event := "go_again_" + name
			segmentGo(t, p.URL, event, 20)
			spoor.requireOnce(t, event, 20)
			require.Equal(t, len(answers), p.count())
		})
	}
}

func TestABatchThatAnalyticsGoSendsTenTimesIsStoredOnce(t *testing.T) {
	p := newProxy(t, spoil)
	segmentGo(t, p.URL, "go_poison", 20)
	spoor.requireOnce(t, "go_poison", 20)
	require.Equal(t, 10, p.count())
}
