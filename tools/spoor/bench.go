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
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"spoor/bench/ingest"
	"spoor/bench/peers"
	"spoor/bench/questions"
	"spoor/bench/workload"
	"spoor/engine/query"
	"spoor/engine/query/lang"
	"spoor/tools/internal/benchstore"
	"spoor/tools/internal/importer"
	"spoor/tools/internal/load"
	"spoor/tools/internal/render"
)

// benchCmd holds what belongs to the benchmarks.
type benchCmd struct {
	Generate generateCmd   `cmd:"" help:"Write a deterministic stream of realistic events."`
	Ingest   ingestCmd     `cmd:"" help:"Measure how a server takes the stream, what it costs and what stays on the disk."`
	Query    benchQueryCmd `cmd:"" help:"Measure the questions that have marks, in this process."`
	Load     loadCmd       `cmd:"" help:"Send events as fast as a server takes them, and measure."`
	Run      benchRunCmd   `cmd:"" help:"Measure beside ClickHouse, DuckDB and VictoriaLogs, with equal answers."`
	Compare  compareCmd    `cmd:"" help:"Compare two reports of bench run."`
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

// ingestCmd measures a server from outside.
type ingestCmd struct {
	Events       int64  `help:"Events to load, resends among them." default:"1000000" placeholder:"N"`
	Seed         uint64 `help:"Another seed, another stream." default:"1" placeholder:"S"`
	Days         int    `help:"Number of days of the events." default:"30"`
	Names        int    `help:"Distinct event names; 0 are the 30 of the stream." default:"0" placeholder:"N"`
	LateDays     int    `help:"Some events come up to so many days late, beside the few that are hours late." default:"0" placeholder:"N"`
	LatePerMille int    `help:"How many of 1,000 events those are." default:"10" placeholder:"N"`
	From         string `help:"Send this file of events, one a line, instead of making them." files:"" placeholder:"FILE"`

	Batch       int   `help:"Events of one request." default:"500" placeholder:"N"`
	Connections int   `help:"Connections that send at the same time." default:"16" placeholder:"N"`
	CrashEvents int64 `help:"Events to send before the server is killed." default:"250000" placeholder:"N"`

	Dir     string   `help:"Where events and data are kept meanwhile; default: the system's place for temporary files." type:"path" placeholder:"DIR"`
	Memory  byteSize `help:"Memory setting of the server." default:"256MiB" placeholder:"SIZE"`
	Profile string   `help:"Write a CPU profile of the server, from its start to its first stop." type:"path" placeholder:"FILE"`
	Remote  bool     `help:"Load the server of --server instead of one of its own; its memory, CPU, disk and starts are then not measured."`
	JSON    bool     `help:"Print the figures as JSON, for programs." name:"json"`
}

// Help implements kong.HelpProvider.
func (ingestCmd) Help() string {
	return examples("Starts a server of this binary on a directory of its own, loads the stream over HTTP, compacts, stops and starts it, kills and starts it, and checks that nothing that was answered for is lost. It needs about 500 bytes of disk for an event.",
		"spoor bench ingest",
		"spoor bench ingest --events 10000000 --json",
		"spoor bench ingest --names 1000 --days 90",
		"spoor bench ingest --remote --server http://127.0.0.1:7480")
}

// Run measures and prints the figures.
func (c *ingestCmd) Run(ctx context.Context, env *environment, g *globals) error {
	config := ingest.Config{
		Workload: ingest.Workload{
			Config: workload.Config{Events: c.Events, Seed: c.Seed, Days: c.Days},
			Names:  c.Names, LateDays: c.LateDays, LatePerMille: c.LatePerMille,
		},
		From: c.From, Batch: c.Batch, Connections: c.Connections, CrashEvents: c.CrashEvents, Dir: c.Dir,
		Args: []string{"--memory", c.Memory.String()}, Profile: c.Profile, Key: g.Key,
	}
	if c.Remote {
		config.Server = g.Server
	} else {
		binary, err := os.Executable()
		if err != nil {
			return err
		}
		config.Binary = binary
	}
	if env.StderrTerminal {
		config.Progress = func(step string) { _, _ = fmt.Fprintln(env.Stderr, step+" ...") }
	}
	r, err := ingest.Run(ctx, config)
	if err != nil {
		return fmt.Errorf("bench ingest: %w", err)
	}
	if c.JSON {
		return json.NewEncoder(env.Stdout).Encode(r)
	}
	return c.print(env.Stdout, r)
}

// print writes the figures, one a line.
func (c *ingestCmd) print(w io.Writer, r *ingest.Report) error {
	out := bufio.NewWriter(w)
	line := func(name, format string, args ...any) {
		_, _ = fmt.Fprintf(out, "%-32s %s\n", name, fmt.Sprintf(format, args...))
	}
	line("events", "%s: %s accepted, %s duplicates, %s rejected", render.Count(r.Events), render.Count(r.Accepted), render.Count(r.Duplicates), render.Count(r.Rejected))
	line("requests", "%s events each over %d connections, %s sent again", render.Count(int64(r.Batch)), r.Connections, render.Count(r.Retries))
	line("events/s acknowledged", "%s (%s)", render.Count(int64(r.EventsPerSecond)), render.Duration(r.LoadSeconds))
	line("latency p50, p99, max", "%s, %s, %s", render.Duration(r.LatencyP50), render.Duration(r.LatencyP99), render.Duration(r.LatencyMax))
	line("compaction after the last", "%s", render.Duration(r.CompactSeconds))
	if r.LoaderCPU > 0 {
		line("loader CPU per event", "%.2f us", r.LoaderCPU*1e6/float64(r.Events))
	}
	if c.Remote {
		return out.Flush()
	}
	if r.ServerCPU > 0 {
		line("server CPU per event", "%.2f us from socket to compacted, %.2f us until the last answer", r.ServerMicros, r.ServerLoad*1e6/float64(r.Events))
		line("peak RSS", "%.0f MiB", float64(r.PeakRSS)/(1<<20))
		line("written per event", "%.1f B: log, flushes, merges", r.WrittenPerEvent)
	}
	line("disk per stored event", "%.2f B, %.2f B without the Raft log, in %d files", r.BytesPerEvent(), r.StoreBytesPerEvent(), r.Files)
	line("ready, first start", "%s", render.Duration(r.ReadyEmpty))
	line("stop", "%s", render.Duration(r.Stop))
	line("ready after a clean stop", "%s, %.1f MiB read", render.Duration(r.ReadyStopped), float64(r.ReadStopped)/(1<<20))
	line("ready after kill -9", "%s, %.1f MiB read", render.Duration(r.ReadyKilled), float64(r.ReadKilled)/(1<<20))
	return out.Flush()
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
	Query   string `help:"Ask this instead of the questions that have marks." placeholder:"QUERY"`
	Profile string `help:"Write a CPU profile of the measurement." type:"path" placeholder:"FILE"`
}

// Help implements kong.HelpProvider.
func (benchQueryCmd) Help() string {
	return examples("Loads the events of spoor bench generate into a store of its own, once, and asks each question there: warm, no answer kept, in one process.",
		"spoor bench query --data /tmp/marks",
		"spoor bench query --data /tmp/small --events 1000000 --json",
		"spoor bench query --data /tmp/marks --only funnel --runs 50 --profile cpu.out",
		"spoor bench query --data /tmp/marks --query 'paths from page_viewed from 2026-05-01 to 2026-05-31'")
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
		if c.Query == "" && strings.Contains(q.Name, c.Only) {
			list = append(list, q)
		}
	}
	if c.Query != "" {
		list = append(list, questions.Question{Name: c.Query, Text: c.Query})
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
		stop, err := profileCPU(c.Profile)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, stop()) }()
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
	return questions.WriteTable(env.Stdout, rows, c.Events == questions.MarkEvents && c.Query == "")
}

// profileCPU begins to write a CPU profile; stop ends it.
func profileCPU(file string) (stop func() error, err error) {
	f, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return f.Close()
	}, nil
}

// loadCmd measures how fast a server takes events.
type loadCmd struct {
	Connections int           `help:"Requests at once." default:"64" placeholder:"N"`
	Batch       int           `help:"Events of a request." default:"1" placeholder:"N"`
	Rate        float64       `help:"Events per second, 0 as fast as they are answered." placeholder:"N"`
	Duration    time.Duration `help:"How long to measure." default:"10s"`
	Seed        uint64        `help:"Another seed, other events; 0 takes the time." placeholder:"S"`
	Pages       bool          `help:"Events as web pages send them: some 700 bytes, with a user agent, an address with a campaign and a referrer that are enriched."`
}

// Help implements kong.HelpProvider.
func (loadCmd) Help() string {
	return examples("The events are stored. With --rate times count from when a request was due, so that a server that falls behind shows.",
		"spoor bench load --connections 64",
		"spoor bench load --connections 16 --batch 500 --rate 100000",
		"spoor bench load --connections 16 --batch 500 --pages")
}

// Run sends events.
func (c *loadCmd) Run(ctx context.Context, env *environment, g *globals) error {
	if c.Seed == 0 {
		c.Seed = uint64(time.Now().UnixNano()) >> 10
	}
	r, err := load.Run(ctx, load.Options{
		Server: strings.TrimRight(g.Server, "/"), Key: g.Key, Connections: c.Connections, Batch: c.Batch, Rate: c.Rate, Duration: c.Duration, Seed: c.Seed, Pages: c.Pages,
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

// benchRunCmd measures Spoor beside its peers.
type benchRunCmd struct {
	Events int64    `help:"Lines of the stream, resends among them." default:"10000000" placeholder:"N"`
	Seed   uint64   `help:"Another seed, another stream; what was tuned with one is measured with another." default:"2" placeholder:"S"`
	Runs   int      `help:"How often each question is asked of each system after once for warmth; medians count." default:"7" placeholder:"N"`
	Peers  string   `help:"Where make bench-peers has put the peers; what is not there is left out." default:"bench/.peers" type:"path" placeholder:"DIR"`
	Peer   []string `help:"Only this peer: clickhouse, duckdb or victorialogs; may be given several times. none measures Spoor alone." placeholder:"NAME"`
	Only   string   `help:"Only questions whose name has this text." placeholder:"TEXT"`
	Dir    string   `help:"Where events and data are kept meanwhile; default: the system's place for temporary files." type:"path" placeholder:"DIR"`
	Memory byteSize `help:"Memory setting of the server." default:"1024MiB" placeholder:"SIZE"`

	Patience time.Duration `help:"A peer that takes longer for its first answer to a question is not asked again: that one counts." default:"60s"`

	Out  string `help:"Write the report as JSON to this file too." type:"path" placeholder:"FILE"`
	JSON bool   `help:"Print the report as JSON." name:"json"`
}

// Help implements kong.HelpProvider.
func (benchRunCmd) Help() string {
	return examples("Loads one file into a server of this binary and into each peer, asks all the same eleven questions in turn, and wants equal answers. Needs about a kilobyte of disk and, with peers, 300 bytes of memory for an event; exit code 1 when answers differ.",
		"spoor bench run --events 1000000",
		"spoor bench run --events 50000000 --peer none --out 50m.json",
		"spoor bench run --out after.json && spoor bench compare before.json after.json")
}

// Run measures and prints the report.
func (c *benchRunCmd) Run(ctx context.Context, env *environment) error {
	binary, err := os.Executable()
	if err != nil {
		return err
	}
	wanted := c.Peer
	if slices.Equal(wanted, []string{"none"}) {
		wanted = []string{}
	} else if len(wanted) == 0 {
		wanted = nil
	}
	r, err := peers.Run(ctx, peers.Config{
		Events: c.Events, Seed: c.Seed, Runs: c.Runs, Dir: c.Dir, Binary: binary, Args: []string{"--memory", c.Memory.String()}, PeersDir: c.Peers,
		Peers: wanted, Only: c.Only, Patience: c.Patience,
		Progress: func(step string) { _, _ = fmt.Fprintln(env.Stderr, step+" ...") },
	})
	if err != nil {
		return fmt.Errorf("bench run: %w", err)
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	text = append(text, '\n')
	if c.Out != "" {
		if err := os.WriteFile(c.Out, text, 0o644); err != nil {
			return err
		}
	}
	if c.JSON {
		_, err = env.Stdout.Write(text)
	} else {
		err = r.WriteTable(env.Stdout)
	}
	if err == nil && !r.Equal() {
		err = errors.New("answers differ")
	}
	return err
}

// compareCmd compares two reports.
type compareCmd struct {
	Before string `arg:"" help:"Report of the earlier run." type:"existingfile"`
	After  string `arg:"" help:"Report of the later one." type:"existingfile"`
}

// Help implements kong.HelpProvider.
func (compareCmd) Help() string {
	return examples("Prints each figure of both and their ratio, after by before.", "spoor bench compare before.json after.json")
}

// Run prints the comparison.
func (c *compareCmd) Run(env *environment) error {
	var reports [2]peers.Report
	for i, name := range []string{c.Before, c.After} {
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(text, &reports[i]); err != nil {
			return fmt.Errorf("read report %s: %w", name, err)
		}
	}
	return peers.Compare(env.Stdout, &reports[0], &reports[1])
}
