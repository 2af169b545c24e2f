// Package importer brings events from files to the collector: it reads lines,
// packs them into batches and posts them over several connections.
//
// An import may be cut at any point and repeated as a whole. Every event has an
// eventId when it leaves here, its own or one that follows from the file, so
// that what is stored already counts as a duplicate.
package importer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"spoor/tools/internal/client"
)

// Defaults and bounds of a Config.
const (
	DefaultConnections = 4
	DefaultBatchLines  = 500
	MaxConnections     = 256
	MaxBatchLines      = 10_000
	maxBatchBytes      = 4 << 20 // of lines in one batch, unless a single line is longer
)

// Config says how to import.
type Config struct {
	Connections int                // default 4
	BatchLines  int                // default 500
	Compression client.Compression // default zstd
	KeepRejects int                // rejects that the summary holds
	RejectsTo   io.Writer          // every reject is written there as a line of JSON; nil: nowhere
	Now         func() time.Time   // default time.Now
	PerSecond   int                // events at most; 0: no bound
}

// Summary is what became of an import. Its JSON is for programs.
type Summary struct {
	Files      int     `json:"files"`
	Events     int64   `json:"events"` // lines that were read and not blank
	Accepted   int64   `json:"accepted"`
	Duplicates int64   `json:"duplicates"`
	Rejected   int64   `json:"rejected"`
	Bytes      int64   `json:"bytes"`   // of the files as they are stored
	Retries    int64   `json:"retries"` // batches that were sent again
	Seconds    float64 `json:"seconds"`

	Rejects []Reject `json:"rejects"` // the first ones
}

// Progress is how far an import is.
type Progress struct {
	Bytes  int64 // read, of the files as they are stored
	Events int64 // answered
}

// Import is one run. It is used once.
type Import struct {
	config  Config
	client  *client.Client
	bytes   atomic.Int64
	events  atomic.Int64
	done    atomic.Int64
	rejects rejects
	limit   *rate.Limiter // nil: none

	mu         sync.Mutex
	accepted   int64
	duplicates int64
}

// New prepares an import to the client's server.
func New(c *client.Client, config Config) *Import {
	if config.Connections == 0 {
		config.Connections = DefaultConnections
	}
	if config.BatchLines == 0 {
		config.BatchLines = DefaultBatchLines
	}
	if config.Compression == "" {
		config.Compression = client.Zstd
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	m := &Import{config: config, client: c, rejects: rejects{keep: config.KeepRejects, to: config.RejectsTo}}
	if config.PerSecond > 0 {
		m.limit = rate.NewLimiter(rate.Limit(config.PerSecond), max(config.PerSecond, config.BatchLines))
	}
	return m
}

// Progress may be called at any time from any goroutine.
func (m *Import) Progress() Progress {
	return Progress{Bytes: m.bytes.Load(), Events: m.done.Load()}
}

// batch is some lines of one source on their way to a sender.
type batch struct {
	source  int // place in the list of sources
	name    string
	data    []byte
	ends    []int   // of the lines in data
	numbers []int64 // of the lines in the source
}

func (b *batch) reset(source int, name string) {
	b.source, b.name = source, name
	b.data, b.ends, b.numbers = b.data[:0], b.ends[:0], b.numbers[:0]
}

func (b *batch) lines(into [][]byte) [][]byte {
	into = into[:0]
	start := 0
	for _, end := range b.ends {
		into = append(into, b.data[start:end])
		start = end
	}
	return into
}

// Run reads the sources in order and returns when every event is answered, or
// at the first error that stops the import. The summary holds in both cases.
func (m *Import) Run(ctx context.Context, sources []Source) (Summary, error) {
	begin := m.config.Now()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)

	full := make(chan *batch, m.config.Connections)
	free := make(chan *batch, 2*m.config.Connections+1) // all batches that there are
	for range cap(free) {
		free <- &batch{}
	}
	var senders sync.WaitGroup
	for range m.config.Connections {
		senders.Go(func() {
			if err := m.sendAll(ctx, full, free); err != nil {
				stop(err)
			}
		})
	}
	files := 0
	for i, s := range sources {
		if err := m.readAll(ctx, i, s, full, free); err != nil {
			stop(err)
			break
		}
		files++
	}
	close(full)
	senders.Wait()

	summary := Summary{
		Files: files, Events: m.events.Load(), Accepted: m.accepted, Duplicates: m.duplicates,
		Rejected: m.rejects.count, Bytes: m.bytes.Load(), Retries: m.client.Retries(),
		Seconds: m.config.Now().Sub(begin).Seconds(), Rejects: m.rejects.kept,
	}
	if summary.Rejects == nil {
		summary.Rejects = []Reject{}
	}
	slices.SortFunc(summary.Rejects, func(a, b Reject) int {
		return cmp.Or(cmp.Compare(a.source, b.source), cmp.Compare(a.Line, b.Line))
	})
	return summary, context.Cause(ctx)
}

func (m *Import) sendAll(ctx context.Context, full <-chan *batch, free chan<- *batch) error {
	sender, err := m.client.NewSender(m.config.Compression)
	if err != nil {
		return err
	}
	var lines [][]byte
	for b := range full {
		if ctx.Err() != nil {
			free <- b
			continue // the reader may still be putting one here
		}
		lines = b.lines(lines)
		result, err := sender.Send(ctx, lines)
		m.mu.Lock()
		m.accepted += result.Accepted
		m.duplicates += result.Duplicates
		m.mu.Unlock()
		for _, r := range result.Rejected {
			rejected := Reject{source: b.source, File: b.name, Line: b.numbers[r.Index], EventID: r.EventID, Code: r.Code, Message: r.Message}
			if err := m.rejects.add(rejected, lines[r.Index]); err != nil {
				return err
			}
		}
		if err != nil {
			return fmt.Errorf("import %s, lines %d to %d: %w", b.name, b.numbers[0], b.numbers[len(b.numbers)-1], err)
		}
		m.done.Add(int64(len(lines)))
		free <- b
	}
	return nil
}

// readAll packs the lines of a source into batches.
func (m *Import) readAll(ctx context.Context, index int, s Source, full, free chan *batch) error {
	lines, err := newLineReader(s, &m.bytes)
	if err != nil {
		return err
	}
	defer lines.close()
	var names namer
	b, err := take(ctx, free)
	if err != nil {
		return err
	}
	b.reset(index, s.Name)
	for {
		line, err := lines.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if errors.Is(err, errLineTooLong) {
			m.events.Add(1)
			m.done.Add(1)
			r := Reject{source: index, File: s.Name, Line: lines.number, Code: "line_too_long", Message: fmt.Sprintf("the line is longer than %d bytes", MaxLineBytes)}
			if err := m.rejects.add(r, nil); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("read %s, line %d: %w", s.Name, lines.number, err)
		}
		if m.events.Add(1); !names.begun && line[0] == '[' {
			return fmt.Errorf("%s is a JSON array; want one event a line, as jq -c '.[]' makes it", s.Name)
		}
		if len(b.ends) == m.config.BatchLines || len(b.ends) > 0 && len(b.data)+len(line) > maxBatchBytes {
			if err := m.pace(ctx, len(b.ends)); err != nil {
				return err
			}
			if b, err = hand(ctx, b, full, free); err != nil {
				return err
			}
			b.reset(index, s.Name)
		}
		b.data = names.appendNamed(b.data, line, lines.number)
		b.ends = append(b.ends, len(b.data))
		b.numbers = append(b.numbers, lines.number)
	}
	if len(b.ends) == 0 {
		free <- b
		return nil
	}
	if err := m.pace(ctx, len(b.ends)); err != nil {
		return err
	}
	return put(ctx, b, full)
}

// pace waits until so many events may be sent.
func (m *Import) pace(ctx context.Context, events int) error {
	if m.limit == nil {
		return nil
	}
	if err := m.limit.WaitN(ctx, events); err != nil {
		return errors.Join(context.Cause(ctx), err)
	}
	return nil
}

// hand passes a batch on and takes an empty one.
func hand(ctx context.Context, b *batch, full chan<- *batch, free <-chan *batch) (*batch, error) {
	if err := put(ctx, b, full); err != nil {
		return nil, err
	}
	return take(ctx, free)
}

func put(ctx context.Context, b *batch, full chan<- *batch) error {
	select {
	case full <- b:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func take(ctx context.Context, free <-chan *batch) (*batch, error) {
	select {
	case b := <-free:
		return b, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
