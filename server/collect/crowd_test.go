package collect_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/server/collect"
)

// of stores an event for a tenant.
func of(t *testing.T, c *collect.Collector, tenant string, id int) {
	r := collect.NewRequest()
	defer r.Release()
	r.Tenant = tenant
	if err := r.One(c, []byte(line(id)), tenant); err != nil || r.Accepted != 1 {
		t.Errorf("%s %d: %v, %d accepted", tenant, id, err, r.Accepted)
	}
}

func TestOfAnEntryThoseAreAnsweredFirstWhoHaveFewRequests(t *testing.T) {
	m := &memory{gate: make(chan struct{})}
	c := collect.New(m, collect.Options{})
	defer c.Close()
	var wg sync.WaitGroup
	wg.Go(func() { one(t, c, 0) })
	require.Eventually(t, func() bool { return m.begun.Load() == 1 }, 5*time.Second, 100*time.Microsecond)
	const many, few = 200, 3
	var answered atomic.Int64
	var last atomic.Int64 // of those with few
	for i := range many + few {
		tenant := "many"
		if i >= many {
			tenant = "few"
		}
		wg.Go(func() {
			of(t, c, tenant, 1+i)
			if n := answered.Add(1); tenant == "few" {
				last.Store(n)
			}
		})
		require.Eventually(t, func() bool { return c.Stats().Gathered == 1+i }, 5*time.Second, 10*time.Microsecond)
	}
	close(m.gate)
	wg.Wait()
	require.EqualValues(t, 2, m.begun.Load(), "all of them shared an entry")
	require.Less(t, last.Load(), int64(many/2), "they came last")
}

// However tenants come and go, each request is answered and nothing is left behind.
func TestTenantsThatContendAreAllAnswered(t *testing.T) {
	m := &memory{}
	c := collect.New(m, collect.Options{})
	var wg sync.WaitGroup
	var serial atomic.Int64
	for tenant := range 12 {
		for range 1 + tenant*tenant/4 {
			wg.Go(func() {
				for range 30 {
					of(t, c, fmt.Sprint(tenant), int(serial.Add(1)))
				}
			})
		}
	}
	for round := range 300 { // more tenants than are told apart
		wg.Go(func() { of(t, c, fmt.Sprint("rare", round), int(serial.Add(1))) })
	}
	wg.Wait()
	c.Close()
	require.EqualValues(t, serial.Load(), c.Stats().Rows)
	require.Zero(t, c.Stats().Waiting)
}
