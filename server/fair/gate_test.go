package fair_test

import (
	"context"
	"math/rand"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/server/fair"
)

const second = time.Second

func TestUnitsAreTakenAndGivenBack(t *testing.T) {
	g := fair.NewGate(10, 10)
	ctx := context.Background()
	require.True(t, g.Take(ctx, "a", 10, 10, 0))
	require.False(t, g.Take(ctx, "b", 1, 1, 0))
	require.EqualValues(t, 10, g.Held())
	g.Give("a", 4)
	require.True(t, g.Take(ctx, "b", 4, 4, 0))
	g.Give("a", 6)
	g.Give("b", 4)
	require.Zero(t, g.Held())
	require.Panics(t, func() { g.Give("a", 1) })
}

func TestWhoWaitsIsServedWhenThereIsRoomOrToldInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := fair.NewGate(1, 1)
		ctx := context.Background()
		require.True(t, g.Take(ctx, "a", 1, 1, 0))
		begin := time.Now()
		require.False(t, g.Take(ctx, "b", 1, 1, 2*second))
		require.Equal(t, 2*second, time.Since(begin))
		go func() {
			time.Sleep(second)
			g.Give("a", 1)
		}()
		require.True(t, g.Take(ctx, "b", 1, 1, 2*second))
		require.Equal(t, 3*second, time.Since(begin))
		gone, cancel := context.WithCancel(ctx)
		cancel()
		require.False(t, g.Take(gone, "a", 1, 1, time.Hour))
		require.Zero(t, g.Waiting())
	})
}

func TestATenantThatFloodsTheGateWaitsInItsOwnLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := fair.NewGate(2, 2)
		ctx, stop := context.WithCancel(context.Background())
		var flood, quiet atomic.Int64
		work := func(name string, cost int64, served *atomic.Int64) {
			for g.Take(ctx, name, 1, cost, time.Hour) {
				time.Sleep(time.Duration(cost) * time.Millisecond)
				g.Give(name, 1)
				served.Add(1)
			}
		}
		var wg sync.WaitGroup
		for range 500 {
			wg.Go(func() { work("flood", 10, &flood) })
		}
		for range 2 {
			wg.Go(func() { work("quiet", 10, &quiet) })
		}
		time.Sleep(100 * second)
		stop()
		wg.Wait()
		// 20,000 turns in 100 s: half each, as both always want.
		require.InDelta(t, 10_000, quiet.Load(), 200)
		require.InDelta(t, 10_000, flood.Load(), 700)
	})
}

func TestTurnsAreSharedByCostNotByNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := fair.NewGate(1, 1)
		ctx, stop := context.WithCancel(context.Background())
		var large, small atomic.Int64
		var wg sync.WaitGroup
		for name, c := range map[string]struct {
			cost   int64
			served *atomic.Int64
		}{"large": {100, &large}, "small": {1, &small}} {
			for range 8 {
				wg.Go(func() {
					for g.Take(ctx, name, 1, c.cost, time.Hour) {
						time.Sleep(time.Duration(c.cost) * time.Millisecond)
						g.Give(name, 1)
						c.served.Add(c.cost)
					}
				})
			}
		}
		time.Sleep(60 * second)
		stop()
		wg.Wait()
		require.InDelta(t, 30_000, small.Load(), 300)
		require.InDelta(t, 30_000, large.Load(), 1000)
	})
}

func TestNobodyHoldsMoreThanAShareSoThatOthersFindRoom(t *testing.T) {
	g := fair.NewGate(100, 75)
	ctx := context.Background()
	for range 75 {
		require.True(t, g.Take(ctx, "flood", 1, 1, 0))
	}
	require.False(t, g.Take(ctx, "flood", 1, 1, 0))
	require.True(t, g.Take(ctx, "other", 25, 25, 0))
	g.Give("other", 25)
	for range 75 {
		g.Give("flood", 1)
	}
	require.True(t, g.Take(ctx, "large", 100, 100, 0), "one request that is larger than a share passes alone")
}

func TestALargeRequestIsNotOvertakenForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := fair.NewGate(10, 10)
		ctx, stop := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				for g.Take(ctx, "small", 1, 1, time.Hour) {
					time.Sleep(time.Millisecond)
					g.Give("small", 1)
				}
			})
		}
		time.Sleep(second)
		begin := time.Now()
		require.True(t, g.Take(ctx, "large", 10, 10, time.Hour))
		require.Less(t, time.Since(begin), 100*time.Millisecond)
		g.Give("large", 10)
		stop()
		wg.Wait()
	})
}

func TestForceOverdrawsAndIsWaitedFor(t *testing.T) {
	g := fair.NewGate(10, 10)
	ctx := context.Background()
	require.True(t, g.Take(ctx, "a", 8, 8, 0))
	g.Force("a", 7)
	require.EqualValues(t, 15, g.Held())
	g.Give("a", 10)
	require.False(t, g.Take(ctx, "b", 6, 6, 0))
	require.True(t, g.Take(ctx, "b", 5, 5, 0))
	g.Give("a", 5)
	g.Give("b", 5)
}

// Whatever comes in whatever order: never more than there is, and all of it back.
func TestRandomTenantsNeverHoldMoreThanThereIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const capacity = 50
		g := fair.NewGate(capacity, 30)
		var wg sync.WaitGroup
		var held atomic.Int64
		for i := range 40 {
			r := rand.New(rand.NewSource(int64(i)))
			wg.Go(func() {
				name := string(rune('a' + i%7))
				for range 200 {
					units := 1 + r.Int63n(30)
					if !g.Take(context.Background(), name, units, units, time.Duration(r.Intn(50))*time.Millisecond) {
						continue
					}
					if h := held.Add(units); h > capacity {
						t.Errorf("%d of %d are held", h, capacity)
					}
					time.Sleep(time.Duration(r.Intn(10)) * time.Millisecond)
					held.Add(-units)
					g.Give(name, units)
				}
			})
		}
		wg.Wait()
		require.Zero(t, g.Held())
		require.Zero(t, g.Waiting())
	})
}

func BenchmarkTakeWithoutWaiting(b *testing.B) {
	g := fair.NewGate(1<<20, 1<<20)
	b.ReportAllocs()
	for range b.N {
		g.Take(context.Background(), "a", 100, 100, second)
		g.Give("a", 100)
	}
}

func TestATightShareHoldsOnlyWhileOthersAreServed(t *testing.T) {
	g := fair.NewGate(100, 100)
	g.Tighten(func() int64 { return 10 })
	none := context.Background()
	require.True(t, g.Take(none, "flood", 60, 1, 0), "alone it has what there is")
	require.True(t, g.Take(none, "quiet", 1, 1, 0))
	require.False(t, g.Take(none, "flood", 5, 1, 0), "beside others its share is tight")
	require.True(t, g.Take(none, "quiet", 9, 1, 0), "and so is theirs")
	require.False(t, g.Take(none, "quiet", 1, 1, 0))
	g.Give("flood", 60)
	require.True(t, g.Take(none, "flood", 20, 1, 0), "one large request passes,")
	require.True(t, g.Take(none, "flood", 20, 1, 0), "and a few of its size")
	require.False(t, g.Take(none, "flood", 2, 1, 0))
	g.Give("flood", 40)
	g.Give("quiet", 10)
	for range 1000 {
		require.True(t, g.Take(none, "flood", 1, 1, 0))
		g.Give("flood", 1)
	}
	require.True(t, g.Take(none, "flood", 60, 1, 0))
	require.True(t, g.Take(none, "flood", 5, 1, 0), "the other has not come for long")
}

func TestThoseWhoWaitUnderATightShareGoOnWhenUnitsComeBack(t *testing.T) {
	g := fair.NewGate(100, 100)
	g.Tighten(func() int64 { return 2 })
	none := context.Background()
	require.True(t, g.Take(none, "quiet", 1, 1, 0))
	var inside, most atomic.Int64
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if !g.Take(none, "flood", 1, 1, time.Minute) {
				t.Error("it waited in vain")
				return
			}
			for now := inside.Add(1); now > most.Load(); {
				most.Store(now)
			}
			runtime.Gosched()
			inside.Add(-1)
			g.Give("flood", 1)
		})
	}
	wg.Wait()
	require.LessOrEqual(t, most.Load(), int64(4), "a few requests pass however tight it is")
	require.EqualValues(t, 1, g.Held())
}
