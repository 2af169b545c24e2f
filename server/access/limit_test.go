package access_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/server/access"
)

var here, there = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")

func TestAKeyMaySpendWhatASecondEarnsAndThenWhatItEarns(t *testing.T) {
	l := access.NewLimits(100)
	k := &access.Key{ID: "k", Rate: 10}
	now := time.Hour
	passed := 0
	for end := now + 10*time.Second; now < end; now += 10 * time.Millisecond {
		if l.Wait(k, here, now) == 0 {
			l.Spend(k, here, 1, now)
			passed++
		}
	}
	require.InDelta(t, 110, passed, 1)
	l = access.NewLimits(100)
	slow := &access.Key{ID: "k", Rate: 0.1}
	require.Zero(t, l.Wait(slow, here, now))
	l.Spend(slow, here, 1, now)
	require.Equal(t, 10*time.Second, l.Wait(slow, here, now))
}

func TestALargeBatchIsADebtThatIsWaitedFor(t *testing.T) {
	l := access.NewLimits(100)
	k := &access.Key{ID: "k", Rate: 100}
	now := time.Hour
	l.Spend(k, here, 1000, now)
	wait := l.Wait(k, here, now)
	require.InDelta(t, 9.01, wait.Seconds(), 1e-6)
	require.Equal(t, time.Duration(0), l.Wait(k, here, now+wait))
	require.Positive(t, l.Wait(k, here, now+wait-1))
	l.Spend(k, here, 1<<40, now)
	require.LessOrEqual(t, l.Wait(k, here, now), 24*time.Hour)
}

func TestAddressesHaveBucketsOfTheirOwnByKey(t *testing.T) {
	l := access.NewLimits(100)
	k, other := &access.Key{ID: "k", AddressRate: 1}, &access.Key{ID: "o", AddressRate: 1}
	l.Spend(k, here, 1, 0)
	require.Positive(t, l.Wait(k, here, 0))
	require.Zero(t, l.Wait(k, there, 0))
	require.Zero(t, l.Wait(other, here, 0))
	require.Positive(t, l.Wait(k, netip.AddrFrom16(here.As16()), 0), "mapped into IPv6 it is the same address")
	l.Spend(k, netip.MustParseAddr("2001:db8::1"), 1, 0)
	require.Positive(t, l.Wait(k, netip.MustParseAddr("2001:db8::ffff"), 0), "one network of 64 bits is one client")
	require.Zero(t, l.Wait(k, netip.MustParseAddr("2001:db8:0:1::1"), 0))
	require.Zero(t, l.Wait(nil, here, 0))
	require.Zero(t, l.Wait(&access.Key{ID: "k"}, here, 0), "a key without rates is not bound")
}

func TestAFloodOfAddressesNeitherGrowsTheTableNorGetsMore(t *testing.T) {
	l := access.NewLimits(100)
	k := &access.Key{ID: "k", AddressRate: 1}
	passed := 0
	for i := range 10_000 {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		if l.Wait(k, a, time.Hour) == 0 {
			l.Spend(k, a, 1, time.Hour)
			passed++
		}
	}
	require.Equal(t, 101, passed, "a hundred of their own, and one for all others")
	later := time.Hour + 2*time.Second
	require.Zero(t, l.Wait(k, here, later), "full buckets are forgotten")
	l.Spend(k, here, 1, later)
	require.Positive(t, l.Wait(k, here, later))
	require.Zero(t, l.Wait(k, there, later))
}
