package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"spoor/bench/workload"
)

// benchCmd holds what belongs to the benchmarks.
type benchCmd struct {
	Generate generateCmd `cmd:"" help:"Write a deterministic stream of realistic events."`
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
