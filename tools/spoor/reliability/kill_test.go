package reliability

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestAKilledServerHasEverythingThatItAcknowledgedOnce kills a server with SIGKILL at
// random moments while four writers send and flushes and compactions are under way.
func TestAKilledServerHasEverythingThatItAcknowledgedOnce(t *testing.T) {
	kills := number(t, "SPOOR_KILLS", 20, 1000)
	dir := filepath.Join(t.TempDir(), "data")
	args := []string{"--data", dir, "--memory", "32MiB", "--flush-rows", "1500"}
	// So many events a writer sends in large batches before each kill, then few at a time.
	roundEvents := min(1500, 200_000/kills)
	book, r := newLedger(), rand.New(rand.NewPCG(1, uint64(kills)))
	var next [4]int // number of each writer's next event
	checkEvery := max(kills/10, 5)
	for round := range kills {
		p := serve(t, args...)
		if round > 0 && round%checkEvery == 0 {
			book.check(p)
		}
		var writers sync.WaitGroup
		var dead atomic.Bool
		for w := range next {
			seed := r.Uint64()
			writers.Go(func() {
				r := rand.New(rand.NewPCG(seed, 0))
				for first := next[w]; !dead.Load(); {
					n := 1 + r.IntN(150)
					if next[w]-first > roundEvents {
						n = 1 + r.IntN(3) // so that a thousand rounds do not fill the disk
					}
					events := make([]numbered, n, n+1)
					for i := range events {
						events[i] = eventOf(w, next[w]+i)
					}
					if next[w] > 0 && r.IntN(5) == 0 { // and one that was sent before
						events = append(events, eventOf(w, r.IntN(next[w])))
					}
					if book.send(p, events) == http.StatusOK {
						next[w] += n
					}
				}
			})
		}
		writers.Go(func() {
			for i := 0; !dead.Load(); i++ {
				_, _, _ = p.post("/api/admin/flush", nil)
				if i%4 == 0 { // each writes a new file of the log, 16 MiB
					_, _, _ = p.post("/api/admin/compact", nil)
				}
			}
		})
		// When the kill comes is the random part of the test; nothing waits for it.
		time.Sleep(time.Duration(30+r.IntN(400)) * time.Millisecond)
		p.kill()
		dead.Store(true)
		writers.Wait()
		if kills <= 100 || round%checkEvery == 0 {
			verifies(t, dir)
		}
	}
	verifies(t, dir)
	p := serve(t, args...)
	book.check(p)

	resent, duplicates := 0, 0
	for w := range next {
		for from := 0; from < next[w]; from += 1000 {
			var body bytes.Buffer
			for i := from; i < min(from+1000, next[w]); i++ {
				body.WriteString(eventOf(w, i).line + "\n")
				resent++
			}
			var answer struct{ Duplicates int }
			require.NoError(t, json.Unmarshal(p.ask("/api/events/batch", body.String()), &answer))
			duplicates += answer.Duplicates
		}
	}
	require.Equal(t, resent, duplicates, "every resend of an acknowledged event is a duplicate")
	book.check(p)
	p.stop()
	verifies(t, dir)
	t.Logf("%d kills, %d events acknowledged, 0 lost, 0 twice, %d resent: all duplicates", kills, len(book.acked), resent)
}
