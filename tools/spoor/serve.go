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
	"strconv"
	"strings"
	"syscall"
	"time"

	"spoor/cluster"
	"spoor/engine"
	"spoor/server"
	"spoor/server/access"
	"spoor/server/backend"
)

// serveCmd runs the server.
type serveCmd struct {
	Data   string `help:"Directory of the data; it is made if it does not exist." default:"./data" type:"path" placeholder:"DIR"`
	Listen string `help:"Address to listen on. Beyond this machine a key is needed: one below, or one made by spoor key create." default:"127.0.0.1:7480" placeholder:"HOST:PORT"`
	NodeID string `help:"Name of this node; it never changes." default:"n1" placeholder:"NAME"`

	WriteKey []string `help:"Keys that may append events. Separate several by commas, here and below." env:"SPOOR_WRITE_KEY" placeholder:"KEY"`
	ReadKey  []string `help:"Keys that may ask." env:"SPOOR_READ_KEY" placeholder:"KEY"`
	AdminKey []string `help:"Keys that may do everything." env:"SPOOR_ADMIN_KEY" placeholder:"KEY"`

	TrustedProxy []netip.Prefix `help:"Networks of proxies whose X-Forwarded-For names the client, such as 10.0.0.0/8." placeholder:"CIDR"`

	Memory    byteSize `help:"Memory for recent events and caches." default:"256MiB" placeholder:"SIZE"`
	FlushRows int      `help:"Write recent events to a file at so many." default:"262144" placeholder:"N"`

	LogFormat string `help:"Form of the log on standard error: ${enum}." enum:"text,json" default:"text"`
	LogLevel  string `help:"Least important lines that are logged: ${enum}." enum:"debug,info,warn,error" default:"info"`
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
	drainTime = 4 * time.Second // for requests that came
	closeTime = 4 * time.Second // for the checkpoint and the log
	// limitShare of a container's memory is where the collector of garbage begins to work harder.
	limitShare = 0.9
	// limitFactor times --memory is that point where there is no container:
	// beside memtables and caches stand request bodies, queries and garbage.
	limitFactor = 4
)

// Run runs the server.
func (c *serveCmd) Run(ctx context.Context, env *environment) error {
	if c.FlushRows < 1 || c.Memory < 32<<20 {
		return usageError{fmt.Errorf("--flush-rows must be at least 1 and --memory at least 32MiB, got %d and %s", c.FlushRows, c.Memory)}
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
	log := c.logger(env.Stderr)
	if env.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit(int64(c.Memory)))
	}

	// Nothing is promised any more after a failed write: the next start recovers from the log.
	fatal := func(err error) {
		log.Error("the server cannot go on", "error", err)
		os.Exit(exitFailed)
	}
	db, err := engine.Open(filepath.Join(c.Data, "store"), engine.Options{
		Logger: log, MemoryBytes: int64(c.Memory), FlushRows: c.FlushRows, OnFatal: fatal,
	})
	if err != nil {
		return err
	}
	raft, err := cluster.Open(cluster.Config{ID: c.NodeID, Dir: c.Data, Bootstrap: true, Logger: log, OnFatal: fatal}, db)
	if err != nil {
		return errors.Join(err, db.Close())
	}
	defer endAtOnce(ctx, log)()
	node := backend.NewNode(raft)
	err = c.serve(ctx, env, log, server.New(backend.New(node, db, time.Now), server.Options{
		Logger: log, Keys: keys, TrustedProxies: c.TrustedProxy, BudgetBytes: int64(c.Memory) / 4,
	}), node, keys)

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

// serve listens until ctx ends or serving fails, and then lets requests finish.
func (c *serveCmd) serve(ctx context.Context, env *environment, log *slog.Logger, srv *server.Server, node *backend.Node, keys *access.Ring) error {
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
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// memoryLimit is where the runtime shall begin to save memory.
func memoryLimit(memory int64) int64 {
	limit := limitFactor*memory + 256<<20
	if group, ok := containerMemory("/proc/self/cgroup", "/sys/fs/cgroup"); ok {
		limit = int64(limitShare * float64(group))
	}
	return limit
}

// containerMemory is the memory that the control group of this process may use,
// its parents' limits included; false where there is no limit.
func containerMemory(self, root string) (limit int64, ok bool) {
	f, err := os.Open(self)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		group, found := strings.CutPrefix(lines.Text(), "0::/")
		if !found {
			continue
		}
		for dir := filepath.Join(root, group); strings.HasPrefix(dir, root); dir = filepath.Dir(dir) {
			b, err := os.ReadFile(filepath.Join(dir, "memory.max"))
			if err != nil {
				continue
			}
			if n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64); err == nil && (!ok || n < limit) {
				limit, ok = n, true
			}
		}
	}
	return limit, ok
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
