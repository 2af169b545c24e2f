package server_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/server"
)

// batchOf is a body of count events that no other call makes.
func batchOf(serial *atomic.Int64, count int) string {
	var b strings.Builder
	for range count {
		b.WriteString(event(int(serial.Add(1))) + "\n")
	}
	return b.String()
}

// pace lets the log take an entry every d, as a slow disk does, until stop is called.
func (n *node) pace(d time.Duration) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(n.log.hold)
		ticker := time.NewTicker(d)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			select {
			case n.log.hold <- struct{}{}:
			case <-ctx.Done():
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

func slowly(l *testLog) { l.hold = make(chan struct{}) }

// Two hundred connections of one key flood a server whose log is slow; four of
// another want the same. In a single line the four would get a fiftieth.
func TestAKeyThatFloodsTheServerDoesNotStarveAnother(t *testing.T) {
	n := start(t, server.Options{MaxWaiting: 16}, slowly)
	defer n.pace(20 * time.Millisecond)()
	flood, quiet := n.makeKey("", `{"kind":"write","source":"flood"}`), n.makeKey("", `{"kind":"write","source":"quiet"}`)
	var serial, byFlood, byQuiet atomic.Int64
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	send := func(k madeKey, connections int, served *atomic.Int64) {
		for range connections {
			wg.Go(func() {
				for ctx.Err() == nil {
					r := n.post("/api/events", event(int(serial.Add(1))), "Authorization", bearer(k.Key))
					switch {
					case r.status == 200:
						served.Add(1)
					case r.status != 503 || k == quiet:
						t.Errorf("%s: %d: %s", k.Source, r.status, r.body)
						return
					}
				}
			})
		}
	}
	send(flood, 200, &byFlood)
	send(quiet, 4, &byQuiet)
	require.Eventually(t, func() bool { return byFlood.Load()+byQuiet.Load() >= 800 }, 60*time.Second, time.Millisecond)
	stop()
	share := float64(byQuiet.Load()) / float64(byFlood.Load()+byQuiet.Load())
	wg.Wait()
	t.Logf("the quiet key got %.0f %% of the places", 100*share)
	require.Greater(t, share, 0.08)
}

func TestBodiesThatOneKeyLeavesUnfinishedLeaveRoomForOthers(t *testing.T) {
	n := start(t, server.Options{MaxBodyBytes: 1 << 20, BudgetBytes: 1, WaitTimeout: 50 * time.Millisecond, BodyTimeout: 20 * time.Second})
	flood, quiet := n.makeKey("", `{"kind":"write","source":"flood"}`), n.makeKey("", `{"kind":"write","source":"quiet"}`)
	body := "[" + event(1) + "," + strings.Repeat(" ", 1<<20-len(event(1))-3) + "]"
	for range 4 {
		conn := n.dial()
		defer func() { _ = conn.Close() }()
		_, err := fmt.Fprintf(conn, "POST /api/events/batch HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s", flood.Key, len(body), body[:len(body)-1])
		require.NoError(t, err)
	}
	n.becomes("spoor_body_bytes", 4*len(body))
	require.Equal(t, 503, n.post("/api/events", event(1), "Authorization", bearer(flood.Key)).status)
	require.Equal(t, 200, n.post("/api/events", event(1), "Authorization", bearer(quiet.Key)).status)
}

func TestRequestsOfOneKeyThatWaitForTheLogLeavePlacesForOthers(t *testing.T) {
	n := start(t, server.Options{MaxWaiting: 16, WaitTimeout: time.Second})
	flood, quiet := n.makeKey("", `{"kind":"write","source":"flood"}`), n.makeKey("", `{"kind":"write","source":"quiet"}`)
	goOn := n.stopLog()
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			if r := n.post("/api/events", event(i), "Authorization", bearer(flood.Key)); r.status != 200 {
				t.Errorf("event %d: %s", i, r.body)
			}
		})
	}
	n.becomes("spoor_collector_waiting", 16)
	r := n.post("/api/events", event(99), "Authorization", bearer(flood.Key))
	require.Equal(t, 503, r.status)
	require.Equal(t, "1", r.header.Get("Retry-After"))
	wg.Go(func() {
		if r := n.post("/api/events", event(100), "Authorization", bearer(quiet.Key)); r.status != 200 {
			t.Errorf("the other key: %s", r.body)
		}
	})
	n.becomes("spoor_collector_waiting", 17)
	goOn()
	wg.Wait()
}

// inTurn is a store whose queries take as long as they are told.
type inTurn struct {
	server.Backend
	asked   chan string
	proceed chan struct{}
}

func (b *inTurn) Query(ctx context.Context, text string, _ server.QueryOptions) ([]byte, error) {
	b.asked <- text
	select {
	case <-b.proceed:
		return []byte(`{"kind":"users","query":""}`), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func TestKeysThatAskTakeTurns(t *testing.T) {
	store := start(t, server.Options{})
	back := &inTurn{Backend: store.back, asked: make(chan string, 20), proceed: make(chan struct{})}
	n := startOver(t, back, server.Options{MaxQueries: 1, WaitTimeout: maxBecoming})
	flood, quiet := n.makeKey("", `{"kind":"read","name":"flood"}`), n.makeKey("", `{"kind":"read","name":"quiet"}`)
	var wg sync.WaitGroup
	ask := func(k madeKey) {
		wg.Go(func() {
			if r := n.post("/api/query", k.Name, "Authorization", bearer(k.Key)); r.status != 200 {
				t.Errorf("%s: %s", k.Name, r.body)
			}
		})
	}
	for range 8 {
		ask(flood)
	}
	n.becomes("spoor_queries_waiting", 7)
	ask(quiet)
	n.becomes("spoor_queries_waiting", 8)
	var order []string
	for range 9 {
		order = append(order, <-back.asked)
		back.proceed <- struct{}{}
	}
	wg.Wait()
	require.Equal(t, "quiet", order[1], "%v", order)
}

// Overload waits for a place before it is refused: a short one is not noticed.
func TestAShortOverloadIsWaitedFor(t *testing.T) {
	n := start(t, server.Options{MaxWaiting: 1, WaitTimeout: maxBecoming})
	goOn := n.stopLog()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if r := n.post("/api/events", event(i)); r.status != 200 {
				t.Errorf("event %d: %s", i, r.body)
			}
		})
	}
	n.becomes("spoor_requests_waiting", 7)
	goOn()
	wg.Wait()
}

// Five times the connections that saturate a slow log neither lower what it
// takes nor outlast themselves. SPOOR_OVERLOAD=strict asks for the 90 % that a
// quiet machine gives; beside other tests two thirds have to do.
func TestOverloadKeepsTheGoodputAndEnds(t *testing.T) {
	n := start(t, server.Options{WaitTimeout: 200 * time.Millisecond, MaxWaiting: 16}, slowly)
	defer n.pace(20 * time.Millisecond)()
	var serial atomic.Int64
	goodput := func(connections int, d time.Duration) (good, refused int64) {
		var ok, busy atomic.Int64
		var senders sync.WaitGroup
		until := time.Now().Add(d)
		for range connections {
			senders.Go(func() {
				for time.Now().Before(until) {
					switch r := n.post("/api/events/batch", batchOf(&serial, 20)); r.status {
					case 200:
						ok.Add(1)
					case 503:
						busy.Add(1)
						if r.header.Get("Retry-After") == "" {
							t.Error("a refusal does not say when to come again")
						}
					default:
						t.Errorf("%d: %s", r.status, r.body)
					}
				}
			})
		}
		senders.Wait()
		return ok.Load(), busy.Load()
	}
	const measured = time.Second
	goodput(40, measured/2)
	peak, _ := goodput(40, measured)
	over, refused := goodput(200, measured)
	begin := time.Now()
	require.Equal(t, 200, n.post("/api/events", event(0)).status)
	require.Less(t, time.Since(begin), 5*time.Second)
	t.Logf("%d batches at the peak, %d and %d refused at five times its connections", peak, over, refused)
	want := 0.66
	if os.Getenv("SPOOR_OVERLOAD") == "strict" {
		want = 0.9
	}
	require.Greater(t, float64(over), want*float64(peak))
}
