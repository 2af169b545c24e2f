package cluster_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/cluster"
	"spoor/cluster/logstore"
	"spoor/engine"
)

// acknowledged waits until so many more events are acknowledged.
func (l *ledger) acknowledged(t *testing.T, more int, within time.Duration) time.Duration {
	t.Helper()
	began, before := time.Now(), l.len()
	require.Eventually(t, func() bool { return l.len() >= before+more }, within, time.Millisecond)
	return time.Since(began)
}

func TestADiskThatHangsEndsItsNodeAndTheOthersGoOn(t *testing.T) {
	stallLimit := time.Second
	for range times(1, 50) {
		for _, leads := range []bool{true, false} {
			g := startEngines(t, func(c *cluster.Config, _ *engine.Options) { c.StallLimit = stallLimit })
			l := &ledger{ids: map[string]bool{}}
			ctx, cancel := context.WithCancel(context.Background())
			wait := g.write(ctx, 3, l)
			l.acknowledged(t, 200, settleTime)
			hung := g.led()
			if !leads {
				hung = g.members[(hung.i+1)%nodes]
			}
			wall := make(chan struct{})
			hung.stall.Store(&wall)
			took := l.acknowledged(t, 500, settleTime)
			select { // its watchdog ends the process
			case err := <-hung.failed:
				require.ErrorIs(t, err, logstore.ErrFailed)
			case <-time.After(stallLimit + 5*time.Second):
				t.Fatal("nobody noticed that the disk hangs")
			}
			require.Eventually(t, func() bool { lead := g.leader(); return lead != nil && lead != hung }, settleTime, time.Millisecond)
			hung.crash(rand.New(rand.NewPCG(1, 2)))
			for len(hung.failed) > 0 {
				<-hung.failed
			}
			cancel()
			wait()
			g.requireEqual(l)
			t.Logf("disk of the leader: %v; 500 more events were acknowledged after %s", leads, took.Round(time.Millisecond))
			for _, m := range g.members {
				m.close()
			}
		}
	}
}

func TestAFollowerWhoseLogTookNothingForAMomentReplicatesAgain(t *testing.T) {
	for range times(3, 100) {
		g := startEngines(t, nil)
		l := &ledger{ids: map[string]bool{}}
		ctx, cancel := context.WithCancel(context.Background())
		wait := g.write(ctx, 3, l)
		l.acknowledged(t, 200, settleTime)
		follower := g.members[(g.led().i+1)%nodes]
		follower.mem.WithDiskLimit(1) // there is no room for anything new
		l.acknowledged(t, 2000, settleTime)
		time.Sleep(200 * time.Millisecond)
		follower.mem.WithDiskLimit(0)
		l.acknowledged(t, 500, settleTime)
		cancel()
		wait()
		g.requireEqual(l)
		for _, m := range g.members {
			m.close()
		}
	}
}

func TestNodesThatLosePowerAtAnyMomentLoseNothing(t *testing.T) {
	g := startEngines(t, func(_ *cluster.Config, o *engine.Options) { o.FlushRows = 150 })
	l := &ledger{ids: map[string]bool{}}
	rng := rand.New(rand.NewPCG(3, 3))
	longest := time.Duration(0)
	for round := range times(8, 500) {
		ctx, cancel := context.WithCancel(context.Background())
		wait := g.write(ctx, 3, l)
		l.acknowledged(t, 50+rng.IntN(300), settleTime)
		cancel() // the ledger is as of a moment before the crash
		wait()
		switch down := rng.IntN(4); {
		case down < nodes:
			m := g.members[down]
			ctx, cancel := context.WithCancel(context.Background())
			wait := g.write(ctx, 2, l)
			time.Sleep(time.Duration(rng.IntN(30)) * time.Millisecond)
			if rng.IntN(2) == 0 { // it misses so much that it has to fetch the state
				g.set(0, true, func(from, to int) bool { return from == down || to == down })
				l.acknowledged(t, 1500, settleTime)
				for _, o := range g.members {
					if o != m {
						_ = o.node.Checkpoint(within(t))
					}
				}
				g.heal()
				time.Sleep(time.Duration(rng.IntN(60)) * time.Millisecond) // in the middle of fetching it
			}
			cancel()
			wait()
			m.crash(rng)
		default:
			for _, m := range g.members {
				m.crash(rng)
			}
		}
		began := time.Now()
		g.requireEqual(l)
		longest = max(longest, time.Since(began))
		if t.Failed() {
			t.Fatalf("round %d", round)
		}
	}
	t.Logf("%d events acknowledged; equal after %s at most", l.len(), longest.Round(time.Millisecond))
}
