package access

import (
	"math"
	"net/netip"
	"sync"
	"time"
)

// Limits are token buckets: one per key, and one per key and address. A bucket
// is a single moment, until which what was spent is not yet earned; a bucket
// whose moment has passed is full and is forgotten. It is safe for concurrent use.
//
// A bucket holds what one second earns, and at least one. Who has something
// left may spend more than that, for the size of a batch is known only when it
// was read; the debt is waited for.
type Limits struct {
	max int

	mu      sync.Mutex
	buckets map[bucket]time.Duration
	swept   time.Duration
}

type bucket struct {
	key     string
	address netip.Addr // zero: the bucket of the key
}

const (
	// MaxBuckets bounds the memory of limits: some 100 bytes each.
	MaxBuckets = 1 << 16
	// maxDebt bounds how long a bucket may stay empty.
	maxDebt = 24 * time.Hour
	// sweepEvery is how often a full table is searched for what may be forgotten.
	sweepEvery = time.Second
)

// NewLimits returns limits with at most max buckets.
func NewLimits(max int) *Limits {
	return &Limits{max: max, buckets: map[bucket]time.Duration{}}
}

// Wait is how long a key has to wait until it may go on, at the moment now of a
// clock that is never set; 0: it may.
func (l *Limits) Wait(k *Key, address netip.Addr, now time.Duration) time.Duration {
	if k == nil || k.Rate == 0 && k.AddressRate == 0 {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	wait := time.Duration(0)
	for _, b := range l.of(k, address) {
		if b.rate > 0 {
			// Full is a second, or one, before the moment.
			full := max(time.Second, time.Duration(float64(time.Second)/b.rate))
			wait = max(wait, l.buckets[l.place(b.bucket, now)]-now-full+earn(1, b.rate))
		}
	}
	return wait
}

// Spend takes n uses of a key.
func (l *Limits) Spend(k *Key, address netip.Addr, n int, now time.Duration) {
	if k == nil || n <= 0 || k.Rate == 0 && k.AddressRate == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.of(k, address) {
		if b.rate > 0 {
			at := l.place(b.bucket, now)
			l.buckets[at] = min(max(l.buckets[at], now)+earn(n, b.rate), now+maxDebt)
		}
	}
}

// earn is how long it takes to earn n.
func earn(n int, rate float64) time.Duration {
	return time.Duration(math.Min(float64(n)/rate*float64(time.Second), float64(maxDebt)))
}

type ratedBucket struct {
	bucket
	rate float64
}

func (l *Limits) of(k *Key, address netip.Addr) [2]ratedBucket {
	return [2]ratedBucket{{bucket{k.ID, netip.Addr{}}, k.Rate}, {bucket{k.ID, network(address)}, k.AddressRate}}
}

// network is what one client may choose addresses from: an address of IPv4, a
// network of 64 bits of IPv6.
func network(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}

// place finds where a bucket is. In a table without room all new addresses of a
// key share one bucket: a flood of addresses makes nobody free.
func (l *Limits) place(b bucket, now time.Duration) bucket {
	if _, ok := l.buckets[b]; ok || len(l.buckets) < l.max {
		return b
	}
	if now-l.swept >= sweepEvery {
		l.swept = now
		for other, until := range l.buckets {
			if until <= now {
				delete(l.buckets, other)
			}
		}
		if len(l.buckets) < l.max {
			return b
		}
	}
	if !b.address.IsValid() {
		return b // as many as there are keys
	}
	return bucket{b.key, netip.IPv6Unspecified()}
}
