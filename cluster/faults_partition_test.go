package cluster_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/cluster"
	"spoor/engine"
)

// shapes are the ways in which a network falls apart. l leads; a and b follow.
var shapes = map[string]func(l, a, b int) func(from, to int) bool{
	"the leader alone": func(l, _, _ int) func(from, to int) bool {
		return func(from, to int) bool { return from == l || to == l }
	},
	"a follower alone": func(_, a, _ int) func(from, to int) bool {
		return func(from, to int) bool { return from == a || to == a }
	},
	"a bridge: the leader and one follower see each other through the other one alone": func(l, a, _ int) func(from, to int) bool {
		return func(from, to int) bool { return from == l && to == a || from == a && to == l }
	},
	"a bridge between followers": func(_, a, b int) func(from, to int) bool {
		return func(from, to int) bool { return from == a && to == b || from == b && to == a }
	},
	"one way: the leader is not heard": func(l, _, _ int) func(from, to int) bool { return func(from, _ int) bool { return from == l } },
	"one way: the leader hears nobody": func(l, _, _ int) func(from, to int) bool { return func(_, to int) bool { return to == l } },
	"one way: a follower is not heard": func(_, a, _ int) func(from, to int) bool { return func(from, _ int) bool { return from == a } },
	"one way: a follower hears nobody": func(_, a, _ int) func(from, to int) bool { return func(_, to int) bool { return to == a } },
	"everybody alone":                  func(_, _, _ int) func(from, to int) bool { return func(int, int) bool { return true } },
}

func TestAfterAnyPartitionNothingIsLostOrThereTwiceAndTheReplicasAreEqual(t *testing.T) {
	g := startEngines(t, func(_ *cluster.Config, o *engine.Options) { o.FlushRows = 150 })
	l := &ledger{ids: map[string]bool{}}
	rng := rand.New(rand.NewPCG(1, uint64(times(1, int(time.Now().Unix())))))
	heals, installs := 0, 0
	for range times(1, 1100) {
		for name, shape := range shapes {
			ctx, cancel := context.WithCancel(context.Background())
			wait := g.write(ctx, 3, l)
			time.Sleep(time.Duration(rng.IntN(50)) * time.Millisecond)
			var lead *machine
			require.Eventually(t, func() bool { lead = g.leader(); return lead != nil }, settleTime, time.Millisecond)
			a := (lead.i + 1 + rng.IntN(2)) % nodes
			g.set(0, true, shape(lead.i, a, nodes-lead.i-a))
			before := l.len()
			time.Sleep(time.Duration(100+rng.IntN(700)) * time.Millisecond)
			if rng.IntN(3) == 0 { // who is cut off has to be fetched then
				for _, m := range g.members {
					_ = m.node.Checkpoint(within(t))
				}
			}
			g.heal()
			healed := time.Now()
			time.Sleep(time.Duration(rng.IntN(200)) * time.Millisecond)
			cancel()
			wait()
			g.requireEqual(l)
			heals++
			t.Logf("%s: %d events acknowledged while it lasted, equal %s after the heal", name, l.len()-before, time.Since(healed).Round(time.Millisecond))
		}
	}
	for _, m := range g.members {
		installs += m.node.Status().Install.Done
	}
	t.Logf("%d heals, %d events acknowledged, %d states taken over", heals, l.len(), installs)
}
