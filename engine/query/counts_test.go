package query_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/engine/query"
	"spoor/engine/query/oracle"
)

// counts are questions that directories and codes answer, and whether the directories alone do in
// a store of whole days with many rows of few values, of which nothing is erased.
var counts = []struct {
	text      string
	directory bool
}{
	{`trend count of any where context.device = "phone"`, true},
	{`trend count of any where context.device != "phone" every day`, true},
	{`trend count of any where context.device in ("phone", "tab") by eventName`, true},
	{`trend count of a where not (context.device = "desk" or context.device = "tab")`, false},
	{`trend count of any where context.device = "phone" and eventName = "a"`, true},
	{`trend count of any where eventName = "b" or context.device = "none such"`, true},
	{`trend count of any where context.device = "none such" and userId = "u1"`, true},
	{`trend count of any where context.device = "phone" and properties.item = "i1"`, false},
	{`trend count of any where context.device exists by context.device every day`, true},
	{`trend count of any by context.device`, true},
	{`trend count of (a or buy) by properties.item every day`, true},
	{`trend count of any by properties.p`, false},
	{`trend count of any by context.device, properties.item`, false},
	{`trend count of any where properties.p != 1 by context.device`, false},
	{`trend count of any where properties.p in (1, "s2", true, null)`, false},
	{`trend count of any where properties.item missing by context.device limit 2`, false},
	{`trend count of any where userId = "u1" by userId`, false},
	{`trend count of a[context.device = "phone"] / count of a by context.device`, false},
	{`trend count of any where user.plan = "pro" and context.device != "tab" by user.plan`, false},
	{`trend count of any where context.device = "phone" tz "Asia/Kathmandu" every day`, false},
	{`funnel a[context.device = "phone"] -> b[properties.item = "i1"] within 2d`, false},
	{`funnel a[context.device = "none such"] -> b within 2d`, false},
	{`trend users of any where context.device != "none such" every day`, false},
	{`top properties.item of any where context.device = "phone" and properties.item != "i0"`, false},
	{`sessions where context.device = "phone"`, false},
	{`retention a[context.device = "phone"] -> any[context.device exists] every day for 5`, false},
}

func TestCountsOfValuesAreThoseOfTheRows(t *testing.T) {
	ctx := context.Background()
	for seed := range uint64(4) {
		w := &world{r: rand.New(rand.NewPCG(seed, 3)), db: openCut(t, 0), oracle: &oracle.Store{}}
		limits := query.DefaultLimits()
		limits.Workers = 1 + int(seed)
		e := query.New(w.db, limits, func() time.Time { return worldNow })
		ask := func(when string, erased bool) {
			for _, q := range counts {
				text, directory := q.text, q.directory
				if directory = directory && w.r.IntN(2) == 0; directory {
					text += " from 2026-03-26 to 2026-03-28" // when most happened
				} else {
					text += " from 2026-03-26 to 2026-04-06"
				}
				want, err := w.oracle.Ask(text, worldNow.UnixMicro())
				require.NoError(t, err, text)
				got, err := e.Ask(ctx, text)
				require.NoError(t, err, text)
				require.Empty(t, difference("", plain(t, want), plain(t, got)), "world %d, %s (oracle and engine):\n%s", seed, when, text)
				if a, ok := got.(*query.TrendAnswer); ok && directory && !erased {
					require.Zero(t, a.Stats.BlocksRead, "world %d, %s: %s", seed, when, text)
				}
			}
		}
		w.add(t, 6000)
		require.NoError(t, w.db.Compact(ctx))
		ask("merged", false)
		for range 2 {
			w.erase(t)
			ask("at once", true)
		}
		w.add(t, 200)
		ask("with events in memory", true)
		require.NoError(t, w.db.Compact(ctx))
		ask("when the bytes have gone", true)
	}
}
