package peers

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"spoor/bench/questions"
)

// maxLineBytes bounds one answer of a driver: 10,000 ids and more.
const maxLineBytes = 16 << 20

//go:embed driver.py
var driverSource []byte

// dialect is how a database is filled and asked by SQL. {file} stands for the file of events.
type dialect struct {
	load        []string // from the file into a table, nothing more: what ingest is compared by
	prepare     []string // dedupe, persons as numbers, one sorted table
	bytes       string   // answers the bytes of that table on the disk
	packed      []string // the same table as small as it gets, if that is another
	packedBytes string
	dropPacked  string
	question    func(q questions.Question, person string) string
}

// driver is a database in a process of Python.
type driver struct {
	dialect dialect
	name    string
	dir     string
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Scanner
	errors  bytes.Buffer
}

// said is what the process answers to a statement.
type said struct {
	Rows    json.RawMessage `json:"rows"`
	Seconds float64         `json:"seconds"`
	CPU     float64         `json:"cpu"`
	RSS     int64           `json:"rss"`
	Error   string          `json:"error"`
}

// startDriver starts kind, "clickhouse" or "duckdb", with its data in dir.
func startDriver(ctx context.Context, python, kind, dir string, threads int) (*driver, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	script, data := filepath.Join(dir, "driver.py"), filepath.Join(dir, "data")
	if err := os.WriteFile(script, driverSource, 0o644); err != nil {
		return nil, err
	}
	d := &driver{dialect: duckdb, dir: dir, cmd: exec.CommandContext(ctx, python, script, kind, data, strconv.Itoa(threads))}
	if kind == "clickhouse" {
		d.dialect = clickhouse
	}
	d.cmd.Stderr = &d.errors
	var err error
	if d.in, err = d.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	d.out = bufio.NewScanner(out)
	d.out.Buffer(make([]byte, 64<<10), maxLineBytes)
	if err := d.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", kind, err)
	}
	var hello struct {
		Name string `json:"name"`
	}
	if err := d.read(&hello); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", kind, err), d.close())
	}
	d.name = hello.Name
	return d, nil
}

func (d *driver) read(to any) error {
	if !d.out.Scan() {
		_ = d.cmd.Wait()
		return errors.Join(fmt.Errorf("it ended: %s", strings.TrimSpace(d.errors.String())), d.out.Err())
	}
	return json.Unmarshal(d.out.Bytes(), to)
}

func (d *driver) run(sql string, rows bool) (said, error) {
	var s said
	ask, err := json.Marshal(map[string]any{"sql": sql, "rows": rows})
	if err != nil {
		return s, err
	}
	if _, err := d.in.Write(append(ask, '\n')); err != nil {
		return s, fmt.Errorf("%s: %w", d.name, err)
	}
	if err := d.read(&s); err != nil {
		return s, fmt.Errorf("%s: %w", d.name, err)
	}
	if s.Error != "" {
		return s, fmt.Errorf("%s: %s; asked %s", d.name, s.Error, sql)
	}
	return s, nil
}

// all runs statements and answers the time of all and the last one's usage.
func (d *driver) all(statements []string, file string) (said, error) {
	var sum said
	for _, sql := range statements {
		s, err := d.run(strings.ReplaceAll(sql, "{file}", file), false)
		if err != nil {
			return sum, err
		}
		sum.Seconds, sum.CPU, sum.RSS = sum.Seconds+s.Seconds, s.CPU, s.RSS
	}
	return sum, nil
}

// fill loads the file and makes the table that is asked.
func (d *driver) fill(file string, events int64) (Load, error) {
	l := Load{Name: d.name}
	start, err := d.run("SELECT 1", false)
	if err != nil {
		return l, err
	}
	loaded, err := d.all(d.dialect.load, file)
	if err != nil {
		return l, err
	}
	prepared, err := d.all(d.dialect.prepare, file)
	if err != nil {
		return l, err
	}
	l.Seconds, l.CPU = loaded.Seconds, loaded.CPU-start.CPU
	l.PrepareSeconds, l.PrepareCPU, l.PeakRSS = prepared.Seconds, prepared.CPU-loaded.CPU, prepared.RSS
	if l.Bytes, err = d.number(d.dialect.bytes); err != nil {
		return l, err
	}
	if d.dialect.packed != nil {
		if _, err = d.all(d.dialect.packed, file); err != nil {
			return l, err
		}
		if l.PackedBytes, err = d.number(d.dialect.packedBytes); err != nil {
			return l, err
		}
		if _, err = d.run(d.dialect.dropPacked, false); err != nil {
			return l, err
		}
	}
	l.derive(events)
	return l, nil
}

// number asks for one number.
func (d *driver) number(sql string) (int64, error) {
	s, err := d.run(sql, true)
	if err != nil {
		return 0, err
	}
	rows, err := rowsOf(s.Rows)
	if err != nil || len(rows) != 1 || len(rows[0]) != 1 {
		return 0, fmt.Errorf("%s: no number for %s: %v %w", d.name, sql, rows, err)
	}
	return strconv.ParseInt(rows[0][0], 10, 64)
}

// ask answers a question and tells how long that took.
func (d *driver) ask(q questions.Question, person string, rows bool) (Rows, time.Duration, error) {
	s, err := d.run(d.dialect.question(q, person), rows)
	if err != nil || !rows {
		return nil, time.Duration(s.Seconds * float64(time.Second)), err
	}
	r, err := rowsOf(s.Rows)
	return r, time.Duration(s.Seconds * float64(time.Second)), err
}

func (d *driver) close() error {
	_ = d.in.Close() // the driver ends at the end of its input
	_ = d.cmd.Wait() // how it ended is of no interest any more
	return os.RemoveAll(d.dir)
}
