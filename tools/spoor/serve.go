package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"spoor/cluster"
	"spoor/cluster/datadir"
	"spoor/cluster/roster"
	"spoor/engine"
	"spoor/sdk/js"
	"spoor/server"
	"spoor/server/access"
	"spoor/server/backend"
	"spoor/server/dialect"
	"spoor/server/dialect/amplitude"
	"spoor/server/dialect/mixpanel"
	"spoor/server/dialect/posthog"
	"spoor/server/dialect/segment"
	"spoor/server/dialect/snowplow"
	"spoor/server/enrich"
	"spoor/server/govern"
	"spoor/server/sdkfile"
	"spoor/tools/internal/logquota"
	"spoor/tools/internal/member"
	"spoor/tools/internal/raw"
	"spoor/tools/internal/replica"
)

// serveCmd runs the server.
type serveCmd struct {
	Data   string `help:"Directory of the data; it is made if it does not exist." default:"./data" type:"path" placeholder:"DIR"`
	Listen string `help:"Address to listen on. Beyond this machine a key is needed: one below, or one made by spoor key create." default:"127.0.0.1:7480" placeholder:"HOST:PORT"`
	NodeID string `help:"Name of this node; it never changes." default:"n1" placeholder:"NAME"`

	Member  member.Flags  `embed:""`
	Replica replica.Flags `embed:""`

	WriteKey []string `help:"Keys that may append events. Separate several by commas, here and below." env:"SPOOR_WRITE_KEY" placeholder:"KEY"`
	ReadKey  []string `help:"Keys that may ask." env:"SPOOR_READ_KEY" placeholder:"KEY"`
	AdminKey []string `help:"Keys that may do everything." env:"SPOOR_ADMIN_KEY" placeholder:"KEY"`

	TrustedProxy []netip.Prefix `help:"Networks of proxies whose X-Forwarded-For names the client, such as 10.0.0.0/8." placeholder:"CIDR"`

	SegmentPrefix   string `help:"Path below which SDKs of Segment and RudderStack send; they may send to the root, too." default:"/segment" placeholder:"PATH"`
	PosthogPrefix   string `help:"The same for SDKs of PostHog." default:"/posthog" placeholder:"PATH"`
	SnowplowPrefix  string `help:"The same for trackers of Snowplow." default:"/snowplow" placeholder:"PATH"`
	AmplitudePrefix string `help:"The same for Amplitude's HTTP API." default:"/amplitude" placeholder:"PATH"`
	MixpanelPrefix  string `help:"The same for Mixpanel's import API." default:"/mixpanel" placeholder:"PATH"`

	SDKPath string `help:"Path of the SDK for web pages, which ad blockers may know by its usual name. Empty: it is not served." name:"sdk-path" default:"/s.js" placeholder:"PATH"`

	Memory      byteSize      `help:"Memory for recent events and caches." default:"256MiB" placeholder:"SIZE"`
	EraseWithin time.Duration `help:"How long what was erased may stay in the bytes of files; no answer has it from the first moment." default:"24h" placeholder:"TIME"`

	FlushRows int `help:"Write recent events to a file at so many." default:"262144" placeholder:"N"`

	raw.Serve `embed:""`

	BackupDir       string      `help:"Directory below which spoor backup --server may write, on this machine." type:"path" placeholder:"DIR"`
	Geoip           string      `help:"Database of countries in MaxMind's format; events then get context.country." type:"path" placeholder:"FILE"`
	AllowedLateness dayDuration `help:"How long after its timestamp an event may come, as 48h or 7d; later ones are tagged or refused. No bound by default." placeholder:"TIME"`
	LateEvents      string      `help:"What becomes of later events: ${enum}." enum:"tag,dead-letter" default:"tag"`

	LogFormat string `help:"Form of the log on standard error: ${enum}." enum:"text,json" default:"text"`
	LogLevel  string `help:"Least important lines that are logged: ${enum}." enum:"debug,info,warn,error" default:"info"`

	CPUProfile string `help:"Write a CPU profile of the whole run to this file when the server ends, for go tool pprof." type:"path" placeholder:"FILE"`
}

// Help implements kong.HelpProvider.
func (serveCmd) Help() string {
	return examples("An event is answered with 200 when it is safe on the disk. SIGTERM and Ctrl-C let requests finish and end the server within 10 seconds; a second one ends it at once, and loses nothing that was answered.",
		"spoor serve --data ./data",
		"SPOOR_WRITE_KEY=... SPOOR_READ_KEY=... SPOOR_ADMIN_KEY=... spoor serve --data /var/lib/spoor --listen :7480",
		"spoor serve --log-format json --log-level debug 2>spoor.log")
}

const (
	// The parts of a shutdown; together below 10 seconds.
	handOverTime = 1500 * time.Millisecond // for the next leader
	drainTime    = 4 * time.Second         // for requests that came
	closeTime    = 4 * time.Second         // for the checkpoint and the log
	// limitShare of a container's memory is where the collector of garbage begins to work harder.
	limitShare = 0.9
	// limitFactor times --memory is that point where there is no container:
	// beside memtables and caches stand request bodies, queries and garbage.
	limitFactor = 4
)

// Run runs the server.
func (c *serveCmd) Run(ctx context.Context, env *environment) (err error) {
	if c.CPUProfile != "" {
		stop, err := profileCPU(c.CPUProfile)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, stop()) }()
	}
	if c.FlushRows < 1 || c.Memory < 32<<20 {
		return usageError{fmt.Errorf("--flush-rows must be at least 1 and --memory at least 32MiB, got %d and %s", c.FlushRows, c.Memory)}
	}
	if err := c.Member.Check(c.NodeID); err != nil {
		return usageError{err}
	}
	keys, err := access.NewRing(c.WriteKey, c.ReadKey, c.AdminKey)
	if err != nil {
		return usageError{err}
	}
	if !access.IsLoopback(c.Listen) {
		keys.Require()
		if _, err := os.Stat(c.Data); os.IsNotExist(err) { // no keys there either
			if err := keys.CheckListen(c.Listen); err != nil {
				return usageError{err}
			}
		}
	}
	var countries *enrich.Countries
	if c.Geoip != "" {
		if countries, err = enrich.OpenCountries(c.Geoip); err != nil {
			return usageError{fmt.Errorf("--geoip: %w", err)}
		}
	}
	dialects, ok := dialect.Mount(map[string]string{
		"segment": c.SegmentPrefix, "posthog": c.PosthogPrefix, "snowplow": c.SnowplowPrefix, "amplitude": c.AmplitudePrefix, "mixpanel": c.MixpanelPrefix,
	}, segment.Segment{}, posthog.PostHog{}, snowplow.Snowplow{}, amplitude.Amplitude{}, mixpanel.Mixpanel{})
	if !ok {
		return usageError{fmt.Errorf("--segment-prefix, --posthog-prefix, --snowplow-prefix, --amplitude-prefix and --mixpanel-prefix are paths of letters, digits and -_./ with at most %d bytes, not below /api", dialect.MaxPrefixBytes)}
	}
	var script *sdkfile.File
	if c.SDKPath != "" {
		if script, err = sdkfile.New(c.SDKPath, js.Script); err != nil {
			return usageError{fmt.Errorf("--sdk-path: %w", err)}
		}
		if taken, _ := dialects.Find([]byte(c.SDKPath)); taken != nil {
			return usageError{fmt.Errorf("--sdk-path: %s is a path of SDKs of %s", c.SDKPath, taken.Name())}
		}
	}
	log := c.logger(env.Stderr)
	if env.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit(int64(c.Memory)))
	}

	// Nothing is promised any more after a failed write: the next start recovers from the log.
	fatal := func(err error) {
		log.Error("the server cannot go on", "error", err)
		os.Exit(exitFailed)
	}
	erased, copies := make(erasedLog, 1), c.Replica.New(log)
	db, err := engine.Open(filepath.Join(c.Data, datadir.StoreDir), engine.Options{
		Logger: log, MemoryBytes: int64(c.Memory), FlushRows: c.FlushRows, OnFatal: fatal,
		EraseWithin: c.EraseWithin, OnErased: erased.tell, OnHash: copies.Audit.OnHash,
	})
	if err != nil {
		return err
	}
	raft, others, err := c.open(ctx, log, db, copies, fatal)
	if err != nil {
		return errors.Join(err, db.Close())
	}
	defer endAtOnce(ctx, log)()
	copies.Start(raft, db)
	node := backend.NewNode(raft)
	back := backend.New(node, db, time.Now).KeepBackups(c.BackupDir).SearchIn(c.Data).OnDamage(copies.Audit.Suspect)
	tier, err := c.Tier(c.Data, c.EraseWithin, back, log)
	if err != nil {
		copies.Close()
		return errors.Join(usageError{err}, raft.Close(context.WithoutCancel(ctx)), db.Close())
	}
	stopChores := chores(log, node, back, others, erased, tier)
	err = c.serve(ctx, env, log, server.New(back, rawOptions(tier, server.Options{
		Logger: log, Nodes: backend.Nodes{Roster: others, Audit: copies.Audit}, Keys: keys, TrustedProxies: c.TrustedProxy, Dialects: dialects, Script: script, BudgetBytes: int64(c.Memory) / 4, Countries: countries,
		Lateness: govern.Lateness{Allowed: time.Duration(c.AllowedLateness), Refuse: c.LateEvents == "dead-letter"},
	})), node, others, keys)
	stopChores()
	copies.Close()

	// Not the context of the command: that has ended.
	closing, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	if cerr := raft.Close(closing); cerr != nil {
		if !errors.Is(cerr, context.DeadlineExceeded) {
			return errors.Join(err, cerr)
		}
		log.Warn("ended before everything was written to files; the next start reads it from the log", "error", cerr)
		return err // what is at work still uses the store
	}
	return errors.Join(err, db.Close())
}

// open starts the node, and what it knows of others.
func (c *serveCmd) open(ctx context.Context, log *slog.Logger, db *engine.DB, copies *replica.Replica, fatal func(error)) (*cluster.Node, *roster.Roster, error) {
	cfg := cluster.Config{ID: c.NodeID, Dir: c.Data, Logger: log, OnFatal: fatal, Installer: copies.Installer(db, c.Data)}
	self := member.Node{ID: c.NodeID, Data: c.Data, Version: build().Version, Durable: db.DurableIndex(), Log: log}
	if len(c.AdminKey) > 0 {
		self.AdminKey = c.AdminKey[0]
	}
	opts, err := c.Member.Configure(ctx, self, &cfg)
	if err != nil {
		return nil, nil, err
	}
	node, err := cluster.Open(cfg, db)
	if err != nil {
		return nil, nil, err
	}
	return node, roster.New(node, db, opts), nil
}

// erasedLog is told when something has gone from the files that the log may still hold.
type erasedLog chan struct{}

func (e erasedLog) tell(uint64) {
	select {
	case e <- struct{}{}:
	default: // it will be cut behind both
	}
}

// cutAgainAfter is how long a log that could not be cut is left alone.
const cutAgainAfter = time.Minute

// rawOptions are what the server shows of the raw tier, if there is one.
func rawOptions(w *raw.Written, o server.Options) server.Options {
	if w != nil {
		o.Raw, o.Exports, o.Jobs = w.Tier, w.Exports, w.Jobs
	}
	return o
}

// chores watches over the other nodes, lets events expire, cuts the log behind what was erased, and writes the
// raw tier, if there is one, until stop is called, which waits for them: a node goes on to be one while it shuts down.
func chores(log *slog.Logger, node *backend.Node, back *backend.Backend, others *roster.Roster, erased erasedLog, tier *raw.Written) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { others.Run(ctx) })
	if tier != nil {
		running.Go(func() { tier.Run(ctx) })
	}
	running.Go(func() {
		back.Expire(ctx, time.Now, func(err error) { log.Error("events did not expire; it will be tried again", "error", err) })
	})
	running.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-erased:
				for {
					err := node.CutLog(ctx)
					if err == nil || ctx.Err() != nil {
						break
					}
					log.Error("the log was not cut behind what was erased; it will be tried again", "error", err)
					select {
					case <-ctx.Done():
					case <-time.After(cutAgainAfter):
					}
				}
			}
		}
	})
	return func() {
		cancel()
		running.Wait()
	}
}

// serve listens until ctx ends or serving fails, and then lets requests finish.
func (c *serveCmd) serve(ctx context.Context, env *environment, log *slog.Logger, srv *server.Server, node *backend.Node, others *roster.Roster, keys *access.Ring) error {
	if !access.IsLoopback(c.Listen) && keys.Empty() {
		// Keys may stand in what is not applied yet.
		if err := node.Wait(ctx); err != nil {
			return errors.Join(err, srv.Shutdown(ctx))
		}
	}
	if err := keys.CheckListen(c.Listen); err != nil {
		return errors.Join(usageError{err}, srv.Shutdown(ctx))
	}
	ln, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return errors.Join(fmt.Errorf("listen on %s: %w", c.Listen, err), srv.Shutdown(ctx))
	}
	if at, ok := ln.Addr().(*net.TCPAddr); ok && !at.IP.IsUnspecified() && c.Member.Advertise == "" {
		others.SetHTTP("http://" + ln.Addr().String())
	}
	if p := others.Peers(); p != nil {
		p.HandleRest(srv.Handle)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	waiting, stopWaiting := context.WithCancel(ctx)
	defer stopWaiting()
	ready := make(chan error, 1)
	go func() { ready <- node.Wait(waiting) }()

	log.Info("listening", "address", ln.Addr().String(), "data", c.Data, "node", c.NodeID)
	for stopped := false; !stopped; {
		select {
		case err = <-served:
			stopped = true
		case <-ctx.Done():
			stopped = true
		case werr := <-ready:
			ready = nil
			if werr != nil {
				err, stopped = werr, ctx.Err() == nil
				break
			}
			log.Info("ready")
			_, _ = fmt.Fprintf(env.Stdout, "Spoor serves http://%s - try: spoor demo, or curl http://%s/\n", ln.Addr(), ln.Addr())
		}
	}
	if ctx.Err() != nil {
		err = nil
		log.Info("shutting down; once more ends it at once")
		leaving, cancel := context.WithTimeout(context.Background(), handOverTime)
		others.HandOver(leaving)
		cancel()
	}
	draining, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	if serr := srv.Shutdown(draining); serr != nil {
		log.Warn("some requests did not finish in time", "error", serr)
	}
	log.Info("all requests are answered")
	return err
}

// endAtOnce ends the process at a signal after the one that ended ctx, until
// stop is called.
func endAtOnce(ctx context.Context, log *slog.Logger) (stop func()) {
	again := make(chan os.Signal, 1)
	done := make(chan struct{})
	go func() {
		select {
		case <-ctx.Done():
			signal.Notify(again, os.Interrupt, syscall.SIGTERM)
		case <-done:
			return
		}
		select {
		case <-again:
			log.Warn("ended at once")
			os.Exit(exitFailed)
		case <-done:
		}
	}()
	return func() {
		signal.Stop(again)
		close(done)
	}
}

func (c *serveCmd) logger(w io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		level = slog.LevelInfo
	}
	opts := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		return slog.New(logquota.New(slog.NewJSONHandler(w, opts), time.Now))
	}
	return slog.New(logquota.New(slog.NewTextHandler(w, opts), time.Now))
}

// memoryLimit is where the runtime shall begin to save memory.
func memoryLimit(memory int64) int64 {
	limit := limitFactor*memory + 256<<20
	if group, ok := containerMemory("/proc/self/cgroup", "/sys/fs/cgroup"); ok {
		limit = int64(limitShare * float64(group))
	}
	return limit
}

// containerMemory is the memory that the control groups of this process may use,
// their parents' limits included; false where there is no limit.
func containerMemory(self, root string) (limit int64, ok bool) {
	f, err := os.Open(self)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		// Version 2 has one line "0::/group", version 1 one per controller, as "4:memory:/group".
		top, file := root, "memory.max"
		_, rest, _ := strings.Cut(lines.Text(), ":")
		controllers, group, found := strings.Cut(rest, ":")
		switch {
		case !found:
			continue
		case slices.Contains(strings.Split(controllers, ","), "memory"):
			top, file = filepath.Join(root, "memory"), "memory.limit_in_bytes"
		case controllers != "":
			continue
		}
		for dir := filepath.Join(top, group); strings.HasPrefix(dir, top); dir = filepath.Dir(dir) {
			b, err := os.ReadFile(filepath.Join(dir, file))
			if err != nil {
				continue
			}
			if n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64); err == nil && n < noLimit && (!ok || n < limit) {
				limit, ok = n, true
			}
		}
	}
	return limit, ok
}

// noLimit and more is what version 1 writes where there is none.
const noLimit = 1 << 60

// dayDuration is a time as a person writes it: 90m, 48h or 7d.
type dayDuration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *dayDuration) UnmarshalText(text []byte) error {
	const maxDays = 100_000
	if days, ok := strings.CutSuffix(string(text), "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n >= 0 && n <= maxDays {
			*d = dayDuration(time.Duration(n) * 24 * time.Hour)
			return nil
		}
	}
	v, err := time.ParseDuration(string(text))
	if err != nil || v < 0 {
		return fmt.Errorf("%q is no time; write 90m, 48h or 7d", text)
	}
	*d = dayDuration(v)
	return nil
}

// byteSize is a number of bytes as a person writes it: 256MiB, 1GB, 4096.
type byteSize int64

var byteUnits = []struct {
	name  string
	bytes float64
}{
	{"KiB", 1 << 10},
	{"MiB", 1 << 20},
	{"GiB", 1 << 30},
	{"TiB", 1 << 40},
	{"kB", 1e3},
	{"KB", 1e3},
	{"MB", 1e6},
	{"GB", 1e9},
	{"TB", 1e12},
	{"B", 1},
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *byteSize) UnmarshalText(text []byte) error {
	number, unit := strings.TrimSpace(string(text)), 1.0
	for _, u := range byteUnits {
		if rest, ok := strings.CutSuffix(number, u.name); ok {
			number, unit = strings.TrimSpace(rest), u.bytes
			break
		}
	}
	v, err := strconv.ParseFloat(number, 64)
	if err != nil || !(v >= 0) || v*unit > 1<<50 {
		return fmt.Errorf("%q is no size; write 256MiB or 1GB", text)
	}
	*s = byteSize(v * unit)
	return nil
}

// String writes whole MiB as such.
func (s byteSize) String() string {
	if s != 0 && s%(1<<20) == 0 {
		return strconv.FormatInt(int64(s>>20), 10) + "MiB"
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}
