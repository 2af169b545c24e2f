package cluster

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/internal/vfs"
)

func BenchmarkPropose(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10} {
		for _, callers := range []int{1, 16, 64} {
			b.Run(fmt.Sprintf("%dKiBx%d", size>>10, callers), func(b *testing.B) {
				cfg := testConfig(vfs.OS())
				cfg.Dir, cfg.SegmentBytes = b.TempDir(), 0
				n, err := Open(cfg, &counter{})
				require.NoError(b, err)
				require.NoError(b, n.WaitReady(context.Background()))
				defer n.Close(context.Background())
				b.SetBytes(int64(size))
				b.ReportAllocs()
				var before, after syscall.Rusage
				_ = syscall.Getrusage(syscall.RUSAGE_SELF, &before)
				b.ResetTimer()
				var wg sync.WaitGroup
				var left atomic.Int64
				left.Store(int64(b.N))
				for range callers {
					wg.Add(1)
					go func() {
						defer wg.Done()
						data := make([]byte, size)
						for left.Add(-1) >= 0 {
							if _, _, err := n.Propose(context.Background(), data); err != nil {
								b.Error(err)
							}
						}
					}()
				}
				wg.Wait()
				_ = syscall.Getrusage(syscall.RUSAGE_SELF, &after)
				cpu := time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano())
				b.ReportMetric(float64(cpu.Microseconds())/float64(b.N), "µs-CPU/op")
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "entries/s")
			})
		}
	}
}

// counter is a machine that costs nothing.
type counter struct{ last atomic.Uint64 }

func (c *counter) Apply(index uint64, _ []byte) any {
	c.last.Store(index)
	return nil
}
func (c *counter) DurableIndex() uint64                       { return 0 }
func (c *counter) Checkpoint(context.Context) (uint64, error) { return c.last.Load(), nil }
