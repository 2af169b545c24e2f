package peers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"spoor/bench/ingest"
	"spoor/bench/questions"
	"spoor/bench/workload"
)

// PeerNames are the peers that there are.
var PeerNames = []string{clickhouseKind, duckdbKind, victoriaKind}

const (
	clickhouseKind = "clickhouse"
	duckdbKind     = "duckdb"
	victoriaKind   = "victorialogs"
)

// Bounds of a run.
const (
	MaxRuns        = questions.MaxRuns
	maxAnswerBytes = 64 << 20
)

// Config says what is measured.
type Config struct {
	Events   int64
	Seed     uint64
	Runs     int
	Dir      string   // where events and data are kept meanwhile; "": the system's place
	Binary   string   // of Spoor
	Args     []string // further flags of its server
	PeersDir string   // where make bench-peers has put the peers; what is not there is left out
	Peers    []string // of PeerNames, those that are measured; nil: all, empty: none
	Only     string   // ask only questions whose name has this text
	// Patience is how long a peer may take for its first answer to a question to be asked again: else that one counts. 0 is no bound.
	Patience time.Duration
	Progress func(step string)
}

// Run measures. It returns a report also when answers differ: see Report.Equal.
func Run(ctx context.Context, c Config) (report *Report, err error) {
	if c.Runs < 1 || c.Runs > MaxRuns {
		return nil, fmt.Errorf("%d runs asked for, want 1 to %d", c.Runs, MaxRuns)
	}
	if !slices.ContainsFunc(questions.All(""), func(q questions.Question) bool { return strings.Contains(q.Name, c.Only) }) {
		return nil, fmt.Errorf("no question's name has %q", c.Only)
	}
	for _, name := range c.Peers {
		if !slices.Contains(PeerNames, name) {
			return nil, fmt.Errorf("there is no peer %q, only %s", name, strings.Join(PeerNames, ", "))
		}
	}
	dir, err := os.MkdirTemp(c.Dir, "spoor-peers-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	r := &run{c: c, dir: dir, file: filepath.Join(dir, "events.ndjson"), report: &Report{Machine: describe(), Events: c.Events, Seed: c.Seed, Runs: c.Runs}}
	c.Progress("making events")
	if err := r.generate(); err != nil {
		return nil, fmt.Errorf("make the events: %w", err)
	}
	_, err = ingest.Run(ctx, ingest.Config{
		From: r.file, Batch: batchEvents, Connections: connections, Dir: dir, Binary: c.Binary, Args: c.Args, CrashEvents: crashEvents,
		Workload: ingest.Workload{Config: workload.Config{Seed: c.Seed}}, Progress: c.Progress, Loaded: r.loaded,
	})
	if err != nil {
		return nil, err
	}
	return r.report, nil
}

const (
	batchEvents = 500
	connections = 16
	crashEvents = 10_000
)

type run struct {
	c       Config
	dir     string
	file    string
	base    string // of Spoor
	drivers []*driver
	pids    []string // of Spoor's server, then of the drivers
	report  *Report
}

func (r *run) generate() (err error) {
	g, err := workload.New(workload.Config{Events: r.c.Events, Seed: r.c.Seed})
	if err != nil {
		return err
	}
	f, err := os.Create(r.file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = workload.NewReader(g).WriteTo(f)
	return err
}

// loaded is called while Spoor is up and has everything.
func (r *run) loaded(ctx context.Context, address, pid string, own *ingest.Report) (err error) {
	r.base, r.pids = "http://"+address, []string{pid}
	l := Load{
		Name: "Spoor", Seconds: own.LoadSeconds, CPU: own.ServerCPU, PrepareSeconds: own.CompactSeconds, PeakRSS: own.PeakRSS, Bytes: own.DataBytes,
	}
	l.derive(r.c.Events)
	r.report.Loads = append(r.report.Loads, l)
	defer func() {
		for _, d := range r.drivers {
			err = errors.Join(err, d.close())
		}
	}()
	if err := r.peers(ctx); err != nil {
		return err
	}
	return r.ask(ctx)
}

// peers loads what is installed.
func (r *run) peers(ctx context.Context) error {
	python := filepath.Join(r.c.PeersDir, "bin", "python")
	for _, peer := range []struct{ kind, module string }{{clickhouseKind, "chdb"}, {duckdbKind, "duckdb"}} {
		if !r.wants(peer.kind) {
			continue
		}
		if exec.CommandContext(ctx, python, "-c", "import "+peer.module).Run() != nil {
			r.c.Progress(peer.module + " is not installed, so it is left out; make bench-peers installs it")
			continue
		}
		r.c.Progress("loading " + peer.kind)
		d, err := startDriver(ctx, python, peer.kind, filepath.Join(r.dir, peer.kind), runtime.GOMAXPROCS(0))
		if err != nil {
			return err
		}
		r.drivers, r.pids = append(r.drivers, d), append(r.pids, strconv.Itoa(d.cmd.Process.Pid))
		l, err := d.fill(r.file, r.c.Events)
		if err != nil {
			return fmt.Errorf("load %s: %w", peer.kind, err)
		}
		r.report.Loads = append(r.report.Loads, l)
	}
	if !r.wants(victoriaKind) {
		return nil
	}
	binary := filepath.Join(r.c.PeersDir, "bin", "victoria-logs")
	if _, err := os.Stat(binary); err != nil {
		r.c.Progress("VictoriaLogs is not installed, so it is left out; make bench-peers installs it")
		return nil
	}
	r.c.Progress("loading VictoriaLogs")
	l, err := victoria(ctx, binary, filepath.Join(r.dir, "victoria"), r.file, r.c.Events)
	if err != nil {
		return err
	}
	r.report.Loads = append(r.report.Loads, l)
	return nil
}

func (r *run) wants(kind string) bool { return r.c.Peers == nil || slices.Contains(r.c.Peers, kind) }

// ask asks each question of all systems in turn, run by run, so that what else the machine does meets all of them.
func (r *run) ask(ctx context.Context) error {
	person, err := r.person(ctx)
	if err != nil {
		return err
	}
	for _, q := range questions.All(person) {
		if !strings.Contains(q.Name, r.c.Only) {
			continue
		}
		r.c.Progress("asking: " + q.Name)
		row := Question{Name: q.Name, Text: q.Text}
		for _, pid := range r.pids {
			_ = ingest.ResetPeak(pid) // where that cannot be done, peaks are those of the whole run
		}
		want, _, err := r.spoor(ctx, q.Text, true)
		if err != nil {
			return err
		}
		took := make([][]time.Duration, 1+len(r.drivers))
		differs := make([]string, len(took))
		once := make([]bool, len(took))
		for i, d := range r.drivers {
			got, t, err := d.ask(q, person, true)
			if err != nil {
				return err
			}
			differs[1+i] = differences(want, got)
			if r.c.Patience > 0 && t > r.c.Patience {
				took[1+i], once[1+i] = append(took[1+i], t), true
			}
		}
		for range r.c.Runs {
			_, t, err := r.spoor(ctx, q.Text, false)
			if err != nil {
				return err
			}
			took[0] = append(took[0], t)
			for i, d := range r.drivers {
				if once[1+i] {
					continue
				}
				if _, t, err = d.ask(q, person, false); err != nil {
					return err
				}
				took[1+i] = append(took[1+i], t)
			}
		}
		for i := range took {
			t := timesOf(r.report.Loads[i].Name, took[i])
			t.Differs, t.Once = differs[i], once[i]
			if u, err := ingest.UsageOf(r.pids[i]); err == nil {
				t.PeakRSS = u.PeakRSS
			}
			row.Times = append(row.Times, t)
		}
		row.finish()
		r.report.Questions = append(r.report.Questions, row)
	}
	return nil
}

// spoor asks the server; nothing is kept from one question to the next.
func (r *run) spoor(ctx context.Context, text string, read bool) (Rows, time.Duration, error) {
	begin := time.Now()
	body, err := fetch(ctx, http.MethodPost, r.base+"/api/query?cache=off", "text/plain", []byte(text))
	took := time.Since(begin)
	if err != nil || !read {
		return nil, took, err
	}
	rows, err := spoorRows(body)
	return rows, took, err
}

// person is somebody who did as much as persons do on average.
func (r *run) person(ctx context.Context) (string, error) {
	text := fmt.Sprintf("users of any exactly %d where userId exists from %s to %s limit 1", workload.EventsPerPerson,
		workload.DefaultStart.Format(time.DateOnly), workload.DefaultStart.AddDate(0, 0, workload.DefaultDays).Format(time.DateOnly))
	body, err := fetch(ctx, http.MethodPost, r.base+"/api/query", "text/plain", []byte(text))
	if err != nil {
		return "", err
	}
	var a struct {
		Users []string `json:"users"`
	}
	if err := json.Unmarshal(body, &a); err != nil {
		return "", err
	}
	if len(a.Users) == 0 {
		return "", fmt.Errorf("nobody in the workload has %d events; take more events", workload.EventsPerPerson)
	}
	return a.Users[0], nil
}

// fetch sends a request, wants an answer below 300 and returns its body.
func fetch(ctx context.Context, method, url, contentType string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes))
	if err == nil && resp.StatusCode >= http.StatusMultipleChoices {
		err = fmt.Errorf("%s %s: the server answered %d: %.200s", method, url, resp.StatusCode, answer)
	}
	return answer, err
}
