package ingest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Config says what is measured.
type Config struct {
	Workload    Workload
	From        string // file of events to send instead of the workload; "": make them
	Batch       int    // events of one request
	Connections int
	Dir         string // where the events and the server's data are kept meanwhile; "": the system's place

	Binary string   // the server to start
	Args   []string // further flags of it
	// Profile is the file to which the server writes a CPU profile, from its start to its first stop; "": none.
	Profile string
	Server  string // URL of a server to load instead; what /proc and the disk tell is then not measured
	Key     string

	// CrashEvents are sent before the server is killed: what a start then reads from its log.
	CrashEvents int64
	// Progress is told what goes on, if set.
	Progress func(step string)
	// Loaded is called when everything is loaded, compacted and measured, if set; the server goes
	// on when it returns. It is not called for a server that was not started here.
	Loaded func(ctx context.Context, address, pid string, soFar *Report) error
}

// Bounds of a Config.
const (
	MaxBatch       = 10_000
	MaxConnections = 1_024
)

// Run measures. The directories that it makes are removed again.
func Run(ctx context.Context, c Config) (report *Report, err error) {
	if c.Batch < 1 || c.Batch > MaxBatch || c.Connections < 1 || c.Connections > MaxConnections {
		return nil, fmt.Errorf("batches of %d events over %d connections asked for, want up to %d and %d", c.Batch, c.Connections, MaxBatch, MaxConnections)
	}
	dir, err := os.MkdirTemp(c.Dir, "spoor-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	m := &measurement{c: c, dir: dir, data: filepath.Join(dir, "data"), report: &Report{Batch: c.Batch, Connections: c.Connections}}
	if m.c.Progress == nil {
		m.c.Progress = func(string) {}
	}
	if m.src, err = m.source(ctx); err != nil {
		return nil, fmt.Errorf("make the events: %w", err)
	}
	if c.Server != "" {
		return m.report, m.remote(ctx)
	}
	return m.report, m.local(ctx)
}

// measurement is one run.
type measurement struct {
	c      Config
	dir    string
	data   string
	src    *source
	report *Report
}

func (m *measurement) source(ctx context.Context) (*source, error) {
	if m.c.From != "" {
		m.c.Progress("reading " + m.c.From)
		return index(m.c.From, m.c.Batch)
	}
	m.c.Progress("making events")
	return generate(ctx, filepath.Join(m.dir, "events.ndjson"), m.c.Workload, m.c.Batch)
}

// remote measures what a client sees.
func (m *measurement) remote(ctx context.Context) error {
	base, err := url.Parse(m.c.Server)
	if err != nil || base.Scheme != "http" || base.Host == "" {
		return fmt.Errorf("server %q is not the URL of a server; want one like http://127.0.0.1:7480", m.c.Server)
	}
	if err := m.load(ctx, base.Host, m.src); err != nil {
		return err
	}
	return m.compact(ctx, base.Host)
}

// local measures a server of its own.
func (m *measurement) local(ctx context.Context) (err error) {
	args := m.c.Args
	if m.c.Profile != "" {
		args = append(slices.Clone(args), "--cpu-profile", m.c.Profile)
	}
	p, took, err := start(ctx, m.c.Binary, m.data, args)
	if err != nil {
		return err
	}
	defer func() {
		if p != nil {
			err = errors.Join(err, p.kill())
		}
	}()
	r := m.report
	r.ReadyEmpty = took.Seconds()

	// What the start has cost is no cost of an event.
	before, known := UsageOf(p.pid())
	if err := m.load(ctx, p.address, m.src); err != nil {
		return err
	}
	loaded, _ := UsageOf(p.pid())
	if err := m.compact(ctx, p.address); err != nil {
		return err
	}
	if known == nil {
		after, err := UsageOf(p.pid())
		if err != nil {
			return err
		}
		events := float64(r.Events)
		r.ServerLoad = (loaded.CPU - before.CPU).Seconds()
		r.ServerCPU = (after.CPU - before.CPU).Seconds()
		r.ServerMicros = r.ServerCPU * 1e6 / events
		r.PeakRSS = after.PeakRSS
		r.WrittenPerEvent = float64(after.Written-before.Written) / events
	}
	if err := m.disk(); err != nil {
		return err
	}
	if m.c.Loaded != nil {
		if err := m.c.Loaded(ctx, p.address, p.pid(), r); err != nil {
			return err
		}
	}

	m.c.Progress("stopping and starting")
	stopping := time.Now()
	err = p.stop()
	if p = nil; err != nil {
		return err
	}
	r.Stop = time.Since(stopping).Seconds()
	if p, took, err = start(ctx, m.c.Binary, m.data, m.c.Args); err != nil {
		return err
	}
	r.ReadyStopped = took.Seconds()
	if u, err := UsageOf(p.pid()); err == nil {
		r.ReadStopped = u.Read
	}
	return m.crash(ctx, &p)
}

// crash kills the server behind its last answer and measures the next start.
func (m *measurement) crash(ctx context.Context, p **process) error {
	m.c.Progress("killing and starting")
	w := m.c.Workload
	w.Seed, w.Events = ^w.Seed, m.c.CrashEvents
	more, err := generate(ctx, filepath.Join(m.dir, "crash.ndjson"), w, m.c.Batch)
	if err != nil {
		return err
	}
	l := &loader{address: (*p).address, key: m.c.Key, src: more}
	if _, err := l.run(ctx, m.c.Connections); err != nil {
		return err
	}
	err = (*p).kill()
	if *p = nil; err != nil {
		return err
	}
	next, took, err := start(ctx, m.c.Binary, m.data, m.c.Args)
	if err != nil {
		return err
	}
	*p = next
	m.report.ReadyKilled = took.Seconds()
	if u, err := UsageOf(next.pid()); err == nil {
		m.report.ReadKilled = u.Read
	}
	// Everything that was answered for is a duplicate now.
	l = &loader{address: next.address, key: m.c.Key, src: more}
	again, err := l.run(ctx, m.c.Connections)
	if err != nil {
		return err
	}
	if again.accepted > 0 {
		return fmt.Errorf("%d events that were answered for are gone after the kill", again.accepted)
	}
	return nil
}

// load sends the events of s.
func (m *measurement) load(ctx context.Context, address string, s *source) error {
	m.c.Progress("loading")
	before, known := UsageOf("self")
	begin := time.Now()
	l := &loader{address: address, key: m.c.Key, src: s}
	sums, err := l.run(ctx, m.c.Connections)
	if err != nil {
		return err
	}
	r := m.report
	r.LoadSeconds = time.Since(begin).Seconds()
	if known == nil {
		after, err := UsageOf("self")
		if err != nil {
			return err
		}
		r.LoaderCPU = (after.CPU - before.CPU).Seconds()
	}
	r.Events, r.Accepted, r.Duplicates, r.Rejected, r.Retries = s.total, sums.accepted, sums.duplicates, sums.rejected, sums.retries
	r.EventsPerSecond = float64(s.total) / r.LoadSeconds
	r.LatencyP50 = sums.quantile(0.5).Seconds()
	r.LatencyP99 = sums.quantile(0.99).Seconds()
	r.LatencyMax = sums.quantile(1).Seconds()
	return nil
}

// compact waits until every event is in its final file.
func (m *measurement) compact(ctx context.Context, address string) error {
	m.c.Progress("compacting")
	begin := time.Now()
	err := get(ctx, http.MethodPost, "http://"+address+"/api/admin/compact", m.c.Key)
	m.report.CompactSeconds = time.Since(begin).Seconds()
	return err
}

// disk measures the data directory.
func (m *measurement) disk() error {
	return filepath.WalkDir(m.data, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		m.report.Files++
		m.report.DataBytes += info.Size()
		if !strings.HasPrefix(path, filepath.Join(m.data, "log")+string(filepath.Separator)) {
			m.report.StoreBytes += info.Size()
		}
		return nil
	})
}
