// Package replay fills a store from the raw tier: who is who first, so that
// every event finds its person, then the events, day by day.
//
// On the way of an event it begins where package rawtier ended. A replay may be
// cut off and repeated: what is stored already is a duplicate.
package replay

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"spoor/server/rawtier"
	"spoor/server/rawtier/blob"
	"spoor/server/rawtier/parquetfile"
	"spoor/tools/internal/client"
)

// Paths of the API that take what is replayed.
const (
	eventsPath  = "/api/admin/replay"
	personsPath = "/api/admin/replay/persons"
)

const (
	// A request has at most so many lines, of at most so many bytes.
	batchLines = 2000
	batchBytes = 4 << 20
	// MaxConnections bounds Config.Connections.
	MaxConnections = 64
	// maxRejects is how many rejected events are told of; all are counted.
	maxRejects = 10
)

// Config says what is replayed and how.
type Config struct {
	From, To string // dates of days, To exclusive; empty: no bound
	// AsSent passes by schemas and redaction; else events go through what is in force now.
	AsSent bool
	// Rebuild brings back what governs the store too, with AsSent alone.
	Rebuild     bool
	Connections int
	PerSecond   int    // events at most; 0: no bound
	Resume      string // file that remembers what is done; empty: none
	Temp        string // directory for files on their way
	Job         string // id in the server's list of jobs
}

// Summary says what became of the events.
type Summary struct {
	Days       int      `json:"days"`
	Files      int      `json:"files"`
	Skipped    int      `json:"skipped"` // files that an earlier run had done
	Persons    int64    `json:"persons"` // rows of who is who
	Rules      int64    `json:"rules"`   // lines of what governs the store that were new to it
	Events     int64    `json:"events"`
	Accepted   int64    `json:"accepted"`
	Duplicates int64    `json:"duplicates"`
	Rejected   int64    `json:"rejected"`
	Seconds    float64  `json:"seconds"`
	Rejects    []string `json:"rejects"` // the first ones
}

// Progress is how far a replay is, in events.
type Progress struct{ Done, Total int64 }

// Replay is one run.
type Replay struct {
	config      Config
	store       blob.Store
	client      *client.Client
	limit       *rate.Limiter
	done, total atomic.Int64

	mu  sync.Mutex
	sum Summary
}

// New prepares a replay of a raw tier to the client's server.
func New(store blob.Store, c *client.Client, config Config) *Replay {
	r := &Replay{config: config, store: store, client: c, sum: Summary{Rejects: []string{}}}
	if config.PerSecond > 0 {
		r.limit = rate.NewLimiter(rate.Limit(config.PerSecond), max(config.PerSecond, batchLines))
	}
	return r
}

// Progress may be called at any time.
func (r *Replay) Progress() Progress { return Progress{r.done.Load(), r.total.Load()} }

// Run returns when everything is answered, or at the first error. The summary holds in both cases.
func (r *Replay) Run(ctx context.Context) (Summary, error) {
	begin := time.Now()
	working, done := r.reporting(ctx)
	err := r.run(working)
	if err != nil && errors.Is(context.Cause(working), ErrCanceled) {
		err = ErrCanceled
	}
	done(err)
	r.sum.Seconds = time.Since(begin).Seconds()
	return r.sum, err
}

func (r *Replay) run(ctx context.Context) error {
	done, err := readResume(r.config.Resume)
	if err != nil {
		return err
	}
	all, err := rawtier.Days(ctx, r.store)
	if err != nil {
		return err
	}
	days := slices.DeleteFunc(all, func(d rawtier.Day) bool {
		return r.config.From != "" && d.Date < r.config.From || r.config.To != "" && d.Date >= r.config.To
	})
	persons, err := rawtier.ReadPersons(ctx, r.store)
	if err != nil {
		return err
	}
	if len(days) == 0 && persons == nil {
		return fmt.Errorf("there is no raw tier in %s, or none of its days lies in the range", r.store)
	}
	for i := range days {
		r.total.Add(days[i].Rows)
	}
	rules, err := rawtier.ReadGovernance(ctx, r.store)
	if err != nil {
		return err
	}
	if rules == nil && r.config.Rebuild {
		return fmt.Errorf("%s has no part of what governs a store, for an older program wrote it; start the store once more with it, or leave --rebuild out", r.store)
	}
	if rules != nil && r.config.AsSent {
		if err := r.before(ctx, rules, done); err != nil {
			return err
		}
	}
	if persons != nil && !done[persons.Key] {
		if err := r.persons(ctx, persons); err != nil {
			return fmt.Errorf("replay who is who: %w", err)
		}
		if err := remember(r.config.Resume, persons.Key); err != nil {
			return err
		}
	}
	for i := range days {
		for j := range days[i].Files {
			f := &days[i].Files[j]
			if done[f.Key] {
				r.sum.Skipped++
				r.done.Add(f.Rows)
				continue
			}
			if err := r.file(ctx, f); err != nil {
				return fmt.Errorf("replay %s: %w", f.Key, err)
			}
			r.sum.Files++
			if err := remember(r.config.Resume, f.Key); err != nil {
				return err
			}
		}
		r.sum.Days++
	}
	if rules != nil && r.config.AsSent {
		return r.behind(ctx, rules, done)
	}
	return nil
}

// fetched reads a file of the raw tier, whose checksum was compared, by way of this machine.
func (r *Replay) fetched(ctx context.Context, key string, size int64, sum string, read func(*os.File) error) error {
	f, err := os.CreateTemp(r.config.Temp, "spoor-replay-*")
	if err != nil {
		return err
	}
	defer func() {
		_ = f.Close()
		_ = os.Remove(f.Name())
	}()
	if err := rawtier.Fetch(ctx, r.store, key, size, sum, f); err != nil {
		return err
	}
	return read(f)
}

func (r *Replay) persons(ctx context.Context, p *rawtier.Persons) error {
	return r.fetched(ctx, p.Key, p.Bytes, p.SHA256, func(f *os.File) error {
		// The order matters: of two users who name an anonymousId the first has it.
		return r.sending(ctx, 1, personsPath, func(add func([]byte) error) error {
			return parquetfile.EachPerson(f, p.Bytes, func(row *parquetfile.Person) error {
				line, err := personLine(row)
				if err == nil {
					err = add(line)
				}
				return err
			})
		}, func(in *client.Ingested, _ int) { r.sum.Persons += in.Accepted })
	})
}

func personLine(row *parquetfile.Person) ([]byte, error) {
	call := struct {
		UserID      *string         `json:"userId,omitempty"`
		AnonymousID *string         `json:"anonymousId,omitempty"`
		Traits      json.RawMessage `json:"traits,omitempty"`
	}{UserID: row.UserID, AnonymousID: row.AnonymousID}
	if row.Traits != nil {
		call.Traits = json.RawMessage(*row.Traits)
	}
	return json.Marshal(call)
}

func (r *Replay) file(ctx context.Context, f *rawtier.File) error {
	path := "/api/events/batch"
	if r.config.AsSent {
		path = eventsPath
	}
	return r.fetched(ctx, f.Key, f.Bytes, f.SHA256, func(file *os.File) error {
		return r.sending(ctx, r.config.Connections, path, func(add func([]byte) error) error {
			var line []byte
			return parquetfile.Each(file, f.Bytes, func(e *parquetfile.Event) error {
				line = append(line[:0], e.JSON...)
				if r.config.AsSent {
					line = append(line[:len(line)-1], `,"receivedAt":"`...)
					line = append(time.UnixMicro(e.ReceivedAt).UTC().AppendFormat(line, time.RFC3339Nano), '"')
					if e.Source != nil {
						text, err := json.Marshal(string(e.Source))
						if err != nil {
							return err
						}
						line = append(append(line, `,"source":`...), text...)
					}
					line = append(line, '}')
				}
				return add(line)
			})
		}, func(in *client.Ingested, lines int) {
			r.sum.Events += int64(lines)
			r.sum.Accepted += in.Accepted
			r.sum.Duplicates += in.Duplicates
			r.done.Add(int64(lines))
		})
	})
}

// sending posts the lines that read adds, over some connections, and waits for all
// answers. took is told of each, one at a time.
func (r *Replay) sending(ctx context.Context, connections int, path string, read func(add func([]byte) error) error, took func(in *client.Ingested, lines int)) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	full := make(chan [][]byte)
	var senders sync.WaitGroup
	for range connections {
		senders.Go(func() {
			s, err := r.client.NewSender(client.Zstd)
			if err != nil {
				stop(err)
				return
			}
			s.To(path)
			for lines := range full {
				in, err := s.Send(ctx, lines)
				r.mu.Lock()
				took(&in, len(lines))
				r.rejected(&in, lines)
				r.mu.Unlock()
				if err != nil {
					stop(err)
					return
				}
			}
		})
	}
	var lines [][]byte
	size := 0
	hand := func() error {
		if len(lines) == 0 {
			return nil
		}
		if r.limit != nil && path != personsPath && path != governancePath {
			if err := r.limit.WaitN(ctx, len(lines)); err != nil {
				return context.Cause(ctx)
			}
		}
		select {
		case full <- lines:
			lines, size = nil, 0
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	err := read(func(line []byte) error {
		if len(lines) >= batchLines || size+len(line) > batchBytes {
			if err := hand(); err != nil {
				return err
			}
		}
		lines = append(lines, bytes.Clone(line))
		size += len(line)
		return nil
	})
	if err == nil {
		err = hand()
	}
	close(full)
	senders.Wait()
	return errors.Join(err, context.Cause(ctx))
}

// rejected counts what was not stored. The caller holds mu.
func (r *Replay) rejected(in *client.Ingested, lines [][]byte) {
	r.sum.Rejected += int64(len(in.Rejected))
	for _, x := range in.Rejected {
		if len(r.sum.Rejects) < maxRejects {
			r.sum.Rejects = append(r.sum.Rejects, fmt.Sprintf("%s: %s: %.200s", x.Code, x.Message, lines[x.Index]))
		}
	}
}
