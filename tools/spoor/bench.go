package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"spoor/bench/questions"
	"spoor/bench/workload"
	"spoor/engine/query"
	"spoor/engine/query/lang"
	"spoor/tools/internal/benchstore"
	"spoor/tools/internal/importer"
)

// benchCmd holds what belongs to the benchmarks.
type benchCmd struct {
	Generate generateCmd   `cmd:"" help:"Write a deterministic stream of realistic events."`
	Query    benchQueryCmd `cmd:"" help:"Measure the questions that have marks, in this process."`
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

// benchQueryCmd measures questions over a store of the workload.
type benchQueryCmd struct {
	Data    string `help:"Directory of the store; filled with the workload the first time, which takes about a minute for 10 million events." required:"" type:"path" placeholder:"DIR"`
	Events  int64  `help:"Events of the workload; the marks are for ${default}." default:"10000000" placeholder:"N"`
	Seed    uint64 `help:"Another seed, another workload." default:"1" placeholder:"S"`
	Runs    int    `help:"How often each question is asked after once for warmth; the median counts." default:"5" placeholder:"N"`
	Only    string `help:"Only questions whose name has this text." placeholder:"TEXT"`
	Memory  int64  `help:"Memory of the store in MiB." default:"1024" placeholder:"MIB"`
	JSON    bool   `help:"Print JSON instead of a table." name:"json"`
	Profile string `help:"Write a CPU profile of the measurement." type:"path" placeholder:"FILE"`
}

// Help implements kong.HelpProvider.
func (benchQueryCmd) Help() string {
	return examples("Loads the events of spoor bench generate into a store of its own, once, and asks each question there: warm, no answer kept, in one process.",
		"spoor bench query --data /tmp/marks",
		"spoor bench query --data /tmp/small --events 1000000 --json",
		"spoor bench query --data /tmp/marks --only funnel --runs 50 --profile cpu.out")
}

// measured is what --json prints.
type measured struct {
	Events     int64           `json:"events"`
	Seed       uint64          `json:"seed"`
	Go         string          `json:"go"`
	Processors int             `json:"processors"`
	Rows       []questions.Row `json:"rows"`
}

// Run loads and measures.
func (c *benchQueryCmd) Run(ctx context.Context, env *environment) (err error) {
	w := workload.Config{Events: c.Events, Seed: c.Seed, Days: workload.DefaultDays}
	if _, err := workload.New(w); err != nil {
		return usageError{err}
	}
	var applied atomic.Int64
	stop := meter{events: c.Events}.show(env, func() importer.Progress { return importer.Progress{Events: applied.Load()} })
	db, err := benchstore.Open(ctx, c.Data, w, c.Memory<<20, applied.Store)
	stop()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	engine := query.New(db, query.Limits{}, time.Now)
	person, err := benchstore.Person(ctx, engine)
	if err != nil {
		return err
	}
	var list []questions.Question
	for _, q := range questions.All(person) {
		if strings.Contains(q.Name, c.Only) {
			list = append(list, q)
		}
	}
	if len(list) == 0 {
		return usageError{fmt.Errorf("no question's name has %q", c.Only)}
	}
	ask := func(ctx context.Context, text string) error {
		q, err := lang.Parse(text)
		if err != nil {
			return err
		}
		a, err := engine.Answer(ctx, q, query.Options{NoCache: true})
		if err != nil {
			return err
		}
		_, err = json.Marshal(a)
		return err
	}
	if c.Profile != "" {
		f, err := os.Create(c.Profile)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	rows, err := questions.Measure(ctx, list, c.Runs, time.Now, ask)
	if err != nil {
		return err
	}
	if c.JSON {
		out := json.NewEncoder(env.Stdout)
		out.SetIndent("", "  ")
		return out.Encode(measured{c.Events, c.Seed, runtime.Version(), runtime.GOMAXPROCS(0), rows})
	}
	return questions.WriteTable(env.Stdout, rows, c.Events == questions.MarkEvents)
}
