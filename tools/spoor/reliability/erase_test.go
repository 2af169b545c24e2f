package reliability

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// erase erases a user; the status is 0 without an answer.
func (p *process) erase(user string) (status int) {
	req, err := http.NewRequest(http.MethodDelete, p.url()+"/api/users/"+user, nil)
	require.NoError(p.t, err)
	resp, err := p.client.Do(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return 0
	}
	return resp.StatusCode
}

// eraseLedger is what the server has acknowledged of users and their erasure.
type eraseLedger struct {
	mu     sync.Mutex
	events map[string]int  // by user, acknowledged
	erased map[string]bool // true: acknowledged; false: perhaps
}

func (l *eraseLedger) check(p *process) {
	p.t.Helper()
	count := map[string]int{}
	for _, line := range bytes.Split(p.ask("/api/events/export", `{}`), []byte("\n")) {
		if len(line) > 0 {
			var e struct{ UserID string }
			require.NoError(p.t, json.Unmarshal(line, &e), "%s", line)
			count[e.UserID]++
		}
	}
	for user, n := range l.events {
		switch gone, asked := l.erased[user]; {
		case gone:
			require.Zero(p.t, count[user], "events of %s, who was erased", user)
		case !asked:
			require.GreaterOrEqual(p.t, count[user], n, "acknowledged events of %s", user)
		}
	}
}

// TestAKilledServerBringsNobodyBackWhoWasErased kills a server with SIGKILL at random
// moments while users send, others are erased, and flushes and compactions are under way.
func TestAKilledServerBringsNobodyBackWhoWasErased(t *testing.T) {
	kills := number(t, "SPOOR_KILLS", 8, 200)
	dir := filepath.Join(t.TempDir(), "data")
	args := []string{"--data", dir, "--memory", "32MiB", "--flush-rows", "1500"}
	book, r := &eraseLedger{events: map[string]int{}, erased: map[string]bool{}}, rand.New(rand.NewPCG(2, uint64(kills)))
	var next [3]int // number of each writer's next user
	for round := range kills {
		p := serve(t, args...)
		book.check(p)
		var writers sync.WaitGroup
		var dead atomic.Bool
		for w := range next {
			seed := r.Uint64()
			writers.Go(func() {
				r := rand.New(rand.NewPCG(seed, 0))
				for !dead.Load() {
					user := fmt.Sprintf("writer-%d-user-%d-end", w, next[w])
					next[w]++
					var body bytes.Buffer
					n := 1 + r.IntN(20)
					for i := range n {
						fmt.Fprintf(&body, `{"eventId":"event %d %d %d","eventName":"e%d","userId":%q,"timestamp":"2026-05-%02dT00:00:00Z"}`+"\n", w, next[w], i, i%3, user, 1+i%10)
					}
					if status, _, err := p.post("/api/events/batch", body.Bytes()); err != nil || status != http.StatusOK {
						continue
					}
					book.mu.Lock()
					book.events[user] = n
					book.mu.Unlock()
					if r.IntN(3) == 0 {
						status := p.erase(user)
						book.mu.Lock()
						book.erased[user] = status == http.StatusOK
						book.mu.Unlock()
					}
				}
			})
		}
		writers.Go(func() {
			for i := 0; !dead.Load(); i++ {
				_, _, _ = p.post("/api/admin/flush", nil)
				if i%4 == 0 {
					_, _, _ = p.post("/api/admin/compact", nil)
				}
			}
		})
		// When the kill comes is the random part of the test; nothing waits for it.
		time.Sleep(time.Duration(30+r.IntN(400)) * time.Millisecond)
		p.kill()
		dead.Store(true)
		writers.Wait()
		if round%10 == 0 {
			verifies(t, dir)
		}
	}
	p := serve(t, args...)
	book.check(p)
	p.ask("/api/admin/compact", "")
	book.check(p)
	p.stop()
	verifies(t, dir)
	erased, search := 0, []string{"verify", "--data", dir}
	for user, gone := range book.erased {
		if gone {
			if erased++; erased <= 20 {
				search = append(search, "--grep", user)
			}
		}
	}
	require.Positive(t, erased)
	code, out := run(t, search...)
	require.Zero(t, code, out)
	code, _ = run(t, "verify", "--data", dir, "--grep", "writer-")
	require.Equal(t, 1, code, "who was not erased is found")
	t.Logf("%d kills, %d users, %d erased, none came back", kills, len(book.events), erased)
}
