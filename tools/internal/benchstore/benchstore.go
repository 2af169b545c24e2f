// Package benchstore makes stores of generated events for benchmarks: it applies
// the workload to a store directly, as the log would, merges what the load left,
// and does it once for a directory.
package benchstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"spoor/bench/workload"
	"spoor/engine"
	"spoor/engine/event"
	"spoor/engine/query"
)

const (
	entryLines = 10_000 // events in one log entry
	entryGap   = 1_000  // microseconds of receivedAt from one entry to the next
	ahead      = 4      // entries that are generated and not yet applied
	markerName = "WORKLOAD"
)

// Progress is told how many events were applied.
type Progress func(events int64)

// Open opens the store of a workload in dir. A directory that does not exist or is
// empty is filled; one that was filled with another workload, or not to its end, is
// an error. memory bounds the store's memtables and caches.
func Open(ctx context.Context, dir string, c workload.Config, memory int64, progress Progress) (*engine.DB, error) {
	want := fmt.Sprintf("events %d seed %d days %d\n", c.Events, c.Seed, c.Days)
	marker := filepath.Join(dir, markerName)
	have, err := os.ReadFile(marker)
	filled := err == nil
	if filled && string(have) != want {
		return nil, fmt.Errorf("%s holds another workload: %s; name another directory", dir, strings.TrimSpace(string(have)))
	}
	if !filled {
		names, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if len(names) > 0 {
			return nil, fmt.Errorf("%s is not empty and holds no whole workload; remove it or name another directory", dir)
		}
	}
	db, err := engine.Open(dir, engine.Options{MemoryBytes: memory, ManualCompaction: filled})
	if err != nil || filled {
		return db, err
	}
	if err = fill(ctx, db, c, progress); err == nil {
		err = os.WriteFile(marker, []byte(want), 0o644)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("load the workload into %s: %w", dir, err), db.Close())
	}
	return db, nil
}

// fill applies the workload and merges until each day is in one file.
func fill(ctx context.Context, db *engine.DB, c workload.Config, progress Progress) error {
	g, err := workload.New(c)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	bodies := make(chan []byte, ahead)
	done := make(chan struct{})
	go func() {
		defer close(done)
		generate(ctx, g, bodies)
	}()
	defer func() { stop(); <-done }()
	received := workload.DefaultStart.Add(time.Duration(max(c.Days, workload.DefaultDays)) * 24 * time.Hour).UnixMicro()
	applied := int64(0)
	for body := range bodies {
		d := event.NewDecoder(event.DefaultLimits())
		err := d.AddAll(body, "bench", noID, func(it event.Item) error {
			if it.Reject != nil {
				return it.Reject
			}
			return nil
		})
		if err != nil {
			return err
		}
		rows := d.Rows()
		index := db.AppliedIndex() + 1
		if err, failed := db.Apply(index, engine.EventsEntry(nil, d.Seal(received+int64(index)*entryGap))).(error); failed {
			return err
		}
		applied += int64(rows)
		progress(applied)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return db.Compact(ctx)
}

// noID is never asked: every event of the workload has an id.
func noID() [16]byte { panic("an event of the workload has no id") }

// generate sends the stream in bodies of entryLines lines.
func generate(ctx context.Context, g *workload.Generator, bodies chan<- []byte) {
	defer close(bodies)
	for more := true; more; {
		var body []byte
		for n := 0; n < entryLines && more; n++ {
			if body, more = g.Next(body); more {
				body = append(body, '\n')
			}
		}
		if len(body) == 0 {
			return
		}
		select {
		case bodies <- body:
		case <-ctx.Done():
			return
		}
	}
}

// Person is somebody who did as much as persons do on average while known: whose history is
// asked for.
func Person(ctx context.Context, e *query.Engine) (string, error) {
	text := fmt.Sprintf("users of any exactly %d where userId exists from %s to %s limit 1", workload.EventsPerPerson,
		workload.DefaultStart.Format(time.DateOnly), workload.DefaultStart.AddDate(0, 0, workload.DefaultDays).Format(time.DateOnly))
	a, err := e.Ask(ctx, text)
	if err != nil {
		return "", err
	}
	users, ok := a.(*query.UsersAnswer)
	if !ok || len(users.Users) == 0 {
		return "", fmt.Errorf("nobody in the workload has %d events", workload.EventsPerPerson)
	}
	return users.Users[0], nil
}
