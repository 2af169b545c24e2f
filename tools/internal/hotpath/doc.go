// Package hotpath measures each hot path beside its physical reference: what the same machine takes, in the same run, for the least that
// the path cannot do without, such as copying what it decodes, one random read of memory an event, or one write and fsync. It holds
// benchmarks alone; "make bench BENCH=HotPath" runs them, docs/performance.md says what they showed.
package hotpath
