package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"spoor/bench/workload"
	"spoor/tools/internal/load"
)

// benchCmd holds what belongs to the benchmarks.
type benchCmd struct {
	Generate generateCmd `cmd:"" help:"Write a deterministic stream of realistic events."`
	Load     loadCmd     `cmd:"" help:"Send events as fast as a server takes them, and measure."`
}

// generateCmd writes the workload.
type generateCmd struct {
	Events int64     `help:"Lines of the stream, resends among them." default:"1000000" placeholder:"N"`
	Seed   uint64    `help:"Another seed, another stream." default:"1" placeholder:"S"`
	Out    string    `help:"File to write; - is standard output. A name that ends in .gz or .zst is compressed." default:"-" short:"o" files:"" placeholder:"FILE"`
	Format string    `help:"One of ${enum}." enum:"ndjson" default:"ndjson"`
	Start  time.Time `help:"First day of the events." format:"2006-01-02" default:"2026-05-01" placeholder:"DATE"`
	Days   int       `help:"Number of days of the events." default:"30"`
}

// Help implements kong.HelpProvider.
func (generateCmd) Help() string {
	return examples("The same flags give the same bytes on every machine: a shop with 30 event names, one person for every 50 events, a funnel of view_product, add_to_cart, checkout_started and purchase_completed, 1 % resent and 2 % late events.",
		"spoor bench generate --events 100000 --out events.ndjson.zst",
		"spoor bench generate --events 1000 --seed 7 | head -1",
		"spoor bench generate --events 1000000 | spoor import -")
}

// Run writes the stream.
func (c *generateCmd) Run(env *environment) error {
	g, err := workload.New(workload.Config{Events: c.Events, Seed: c.Seed, Start: c.Start, Days: c.Days})
	if err != nil {
		return usageError{err}
	}
	if c.Out == "-" {
		_, err := workload.NewReader(g).WriteTo(env.Stdout)
		return err
	}
	f, err := os.Create(c.Out)
	if err != nil {
		return err
	}
	err = errors.Join(writeStream(f, c.Out, g), f.Close())
	if err != nil {
		_ = os.Remove(c.Out)
		return fmt.Errorf("generate %s: %w", c.Out, err)
	}
	return nil
}

// writeStream writes the stream as the file's name asks for.
func writeStream(f io.Writer, name string, g *workload.Generator) error {
	stream := workload.NewReader(g)
	var packer io.WriteCloser
	switch {
	case strings.HasSuffix(name, ".gz"):
		packer = gzip.NewWriter(f)
	case strings.HasSuffix(name, ".zst"):
		encoder, err := zstd.NewWriter(f, zstd.WithEncoderConcurrency(1))
		if err != nil {
			return err
		}
		packer = encoder
	default:
		w := bufio.NewWriter(f)
		_, err := stream.WriteTo(w)
		return errors.Join(err, w.Flush())
	}
	_, err := stream.WriteTo(packer)
	return errors.Join(err, packer.Close())
}

// loadCmd measures how fast a server takes events.
type loadCmd struct {
	Connections int           `help:"Requests at once." default:"64" placeholder:"N"`
	Batch       int           `help:"Events of a request." default:"1" placeholder:"N"`
	Rate        float64       `help:"Events per second, 0 as fast as they are answered." placeholder:"N"`
	Duration    time.Duration `help:"How long to measure." default:"10s"`
	Seed        uint64        `help:"Another seed, other events; 0 takes the time." placeholder:"S"`
}

// Help implements kong.HelpProvider.
func (loadCmd) Help() string {
	return examples("The events are stored. With --rate times count from when a request was due, so that a server that falls behind shows.",
		"spoor bench load --connections 64",
		"spoor bench load --connections 16 --batch 500 --rate 100000")
}

// Run sends events.
func (c *loadCmd) Run(ctx context.Context, env *environment, g *globals) error {
	if c.Seed == 0 {
		c.Seed = uint64(time.Now().UnixNano()) >> 10
	}
	r, err := load.Run(ctx, load.Options{
		Server: strings.TrimRight(g.Server, "/"), Key: g.Key, Connections: c.Connections, Batch: c.Batch, Rate: c.Rate, Duration: c.Duration, Seed: c.Seed,
	})
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(env.Stdout, "%.0f events/s acknowledged, %d refused, %d failed; requests p50 %v, p99 %v, max %v\n",
		r.PerSecond(), r.Refused, r.Failed, r.P50.Round(10*time.Microsecond), r.P99.Round(10*time.Microsecond), r.Max.Round(10*time.Microsecond)); err != nil {
		return err
	}
	return r.FirstError
}
