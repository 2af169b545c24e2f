package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"spoor/tools/internal/client"
	"spoor/tools/internal/convert"
	"spoor/tools/internal/importer"
	"spoor/tools/internal/render"
)

// sendFlags are the flags of the commands that send events.
type sendFlags struct {
	Connections int           `help:"Connections that send at the same time. With 1, events are stored in the order of the file." default:"4" placeholder:"N"`
	Compression string        `help:"How events travel: one of ${enum}." enum:"zstd,gzip,none" default:"zstd"`
	RetryFor    time.Duration `help:"How long to try again what a busy or restarting server did not answer." default:"2m"`
	Wait        time.Duration `help:"Wait this long for a server that is still starting." default:"0s"`
	JSON        bool          `help:"Print the summary as JSON, for programs." name:"json"`
}

// importCmd sends files.
type importCmd struct {
	Files []string `arg:"" help:"Files of events, one JSON object a line, plain, gzip or zstd; - is standard input." files:"" name:"file"`

	sendFlags   `embed:""`
	From        string `help:"What the files hold, if not events: ${enum}. CSV has the names of its columns in the first line." enum:",segment,posthog,mixpanel,amplitude,ndjson,csv,parquet" default:""`
	Mapping     string `help:"YAML file that says which field of a record is what of an event; see docs/scale.md." type:"existingfile" placeholder:"FILE"`
	Rate        int    `help:"Events per second at most." placeholder:"N"`
	Batch       int    `help:"Events of one request." default:"500" placeholder:"N"`
	Strict      bool   `help:"Fail if an event was rejected."`
	Rejects     string `help:"Write every rejected event with its reason to this file, a line of JSON each." files:"" placeholder:"FILE"`
	ShowRejects int    `help:"How many rejected events to show." default:"10" placeholder:"N"`
}

// Help implements kong.HelpProvider.
func (importCmd) Help() string {
	return examples("An import may be cut and repeated: an event that is stored already counts as a duplicate. An event without an eventId gets one that follows from the file and its line.",
		"spoor import events.ndjson.gz",
		"spoor import --strict --rejects rejects.ndjson 2026-05-*.ndjson.zst",
		"spoor import --from mixpanel export.ndjson.gz",
		"spoor import --from csv --mapping shop.yaml --rate 2000 orders.csv",
		"zcat events.gz | jq -c 'select(.userId)' | spoor import -",
		"spoor import --json events.ndjson | jq .accepted")
}

// Run imports the files.
func (c *importCmd) Run(ctx context.Context, env *environment, g *globals) (err error) {
	if c.Batch < 1 || c.Batch > importer.MaxBatchLines {
		return usageError{fmt.Errorf("--batch: want 1 to %d, got %d", importer.MaxBatchLines, c.Batch)}
	}
	var sources []importer.Source
	defer func() {
		for _, s := range sources {
			if closer, ok := s.In.(io.Closer); ok {
				_ = closer.Close()
			}
		}
	}()
	converts, err := convert.Source(c.From, c.Mapping)
	if err != nil {
		return usageError{err}
	}
	total := int64(0)
	for _, path := range c.Files {
		s, err := importer.Open(path, env.Stdin)
		if err != nil {
			return err
		}
		if converts != nil {
			file := s.In
			s.Convert = func(plain io.Reader) (io.Reader, error) { return converts(file, plain) }
		}
		sources = append(sources, s)
		if total += s.Size; s.Size == 0 {
			total = -1 << 62 // not known
		}
	}
	config := importer.Config{BatchLines: c.Batch, KeepRejects: c.ShowRejects, PerSecond: c.Rate}
	if c.Rejects != "" {
		f, err := os.Create(c.Rejects)
		if err != nil {
			return err
		}
		w := bufio.NewWriter(f)
		defer func() { err = errors.Join(err, w.Flush(), f.Close()) }()
		config.RejectsTo = w
	}
	summary, err := c.send(ctx, env, g, config, sources, meter{bytes: max(total, 0)})
	if err != nil {
		return err
	}
	if c.Strict && summary.Rejected > 0 {
		return errReported
	}
	return nil
}

// send runs the import, shows its progress and prints its summary.
func (f *sendFlags) send(ctx context.Context, env *environment, g *globals, config importer.Config, sources []importer.Source, m meter) (importer.Summary, error) {
	if f.Connections < 1 || f.Connections > importer.MaxConnections {
		return importer.Summary{}, usageError{fmt.Errorf("--connections: want 1 to %d, got %d", importer.MaxConnections, f.Connections)}
	}
	if f.RetryFor == 0 {
		f.RetryFor = -1 // for the client, zero is its default
	}
	c, err := g.connect(f.Connections, f.RetryFor)
	if err != nil {
		return importer.Summary{}, err
	}
	defer c.Close()
	if f.Wait > 0 {
		if err := c.WaitReady(ctx, f.Wait); err != nil {
			return importer.Summary{}, err
		}
	}
	config.Connections = f.Connections
	config.Compression = client.Compression(f.Compression)

	run := importer.New(c, config)
	stop := m.show(env, run.Progress)
	summary, err := run.Run(ctx, sources)
	stop()
	if printErr := f.print(env, summary); printErr != nil {
		return summary, errors.Join(err, printErr)
	}
	if err != nil && interrupted(ctx) {
		return summary, errors.New("interrupted; run it again to send the rest, what is stored counts as duplicate")
	}
	return summary, err
}

func (f *sendFlags) print(env *environment, s importer.Summary) error {
	if f.JSON {
		return json.NewEncoder(env.Stdout).Encode(s)
	}
	for _, r := range s.Rejects {
		if _, err := fmt.Fprintf(env.Stderr, "%s:%d: %s (%s)\n", r.File, r.Line, render.Printable(r.Message), render.Printable(r.Code)); err != nil {
			return err
		}
	}
	if more := s.Rejected - int64(len(s.Rejects)); more > 0 {
		if _, err := fmt.Fprintf(env.Stderr, "and %s more rejected\n", render.Count(more)); err != nil {
			return err
		}
	}
	rate := ""
	if s.Seconds > 0 {
		rate = fmt.Sprintf(" (%s/s)", render.Count(int64(float64(s.Events)/s.Seconds)))
	}
	_, err := fmt.Fprintf(env.Stdout, "%s events in %s%s: %s accepted, %s duplicates, %s rejected\n",
		render.Count(s.Events), render.Duration(s.Seconds), rate, render.Count(s.Accepted), render.Count(s.Duplicates), render.Count(s.Rejected))
	return err
}
