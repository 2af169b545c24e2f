package nodes_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Requests that were read to be carried on are served by the node that became the leader meanwhile.
func TestNoRequestWaitsInVainWhileTheLeadIsHandedOver(t *testing.T) {
	nodes := three(t)
	require.Eventually(t, func() bool {
		return nodes[0].do("POST", "/api/cluster/transfer", `{"to":"n2"}`).status == 200
	}, 20*time.Second, 20*time.Millisecond)
	var writers sync.WaitGroup
	stop := make(chan struct{})
	var mu sync.Mutex
	stored := 0
	for w, n := range nodes {
		writers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				began := time.Now()
				r := n.do("POST", "/api/events", fmt.Sprintf(`{"eventId":"%d-%d","userId":"u","eventName":"steady"}`, w, i))
				if r.status == 200 {
					mu.Lock()
					stored++
					mu.Unlock()
				} else if took := time.Since(began); r.status != 503 || took > 1900*time.Millisecond {
					t.Errorf("%s: %d after %s: %s", n.id, r.status, took, r.body)
				}
			}
		})
	}
	for _, to := range []string{"n3", "n1", "n2"} {
		require.Eventually(t, func() bool {
			return nodes[0].do("POST", "/api/cluster/transfer", `{"to":"`+to+`"}`).status == 200
		}, 20*time.Second, 20*time.Millisecond)
	}
	close(stop)
	writers.Wait()
	require.Positive(t, stored)
	require.GreaterOrEqual(t, nodes[2].count("steady", "?consistency=linearizable"), min(stored, 1000))
}
