package cluster_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/cluster"
	"spoor/engine"
)

// TestHoursOfAClusterInVirtualTimeLoseNothing lets three nodes live through hours of virtual time, or
// through a hundred days with SOAK: some events, minutes of nothing but heartbeats, a partition or a loss of power for some
// minutes, and on. An hour takes some ten seconds of a core, nearly all for heartbeats.
func TestHoursOfAClusterInVirtualTimeLoseNothing(t *testing.T) {
	life := time.Duration(times(1, 24)) * time.Hour
	if raceEnabled {
		life /= 4 // it takes ten times as long
	}
	for day := range times(1, 100) {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			g := startEngines(t, func(c *cluster.Config, o *engine.Options) {
				c.ElectionTimeout, o.FlushRows = 2*time.Second, 150
			})
			l := &ledger{ids: map[string]bool{}}
			rng := rand.New(rand.NewPCG(uint64(day), 24))
			var names []string
			for name := range shapes {
				names = append(names, name)
			}
			for time.Since(began) < life {
				ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
				g.write(ctx, 2, l)()
				cancel()
				time.Sleep(time.Duration(rng.IntN(1200)) * time.Second)
				lead := g.leader()
				for lead == nil {
					time.Sleep(time.Second)
					lead = g.leader()
				}
				if rng.IntN(4) == 0 {
					g.members[rng.IntN(nodes)].crash(rng)
				} else {
					a := (lead.i + 1 + rng.IntN(2)) % nodes
					g.set(0, true, shapes[names[rng.IntN(len(names))]](lead.i, a, nodes-lead.i-a))
					time.Sleep(time.Duration(rng.IntN(20)) * time.Second)
					ctx, cancel = context.WithTimeout(context.Background(), 300*time.Millisecond)
					g.write(ctx, 2, l)()
					cancel()
					time.Sleep(time.Duration(rng.IntN(600)) * time.Second)
					for _, m := range g.members {
						if rng.IntN(2) == 0 {
							_ = m.node.Checkpoint(within(t))
						}
					}
					g.heal()
				}
				time.Sleep(30 * time.Second) // an election, and the library's longest pause
				g.requireEqual(l)
			}
			require.NotZero(t, l.len())
			t.Logf("day %d: %s, %d events acknowledged", day, time.Since(began).Round(time.Minute), l.len())
		})
	}
}
