package ingest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"spoor/bench/workload"
)

// Workload says which events are made.
type Workload struct {
	workload.Config
	// Names is how many distinct event names there are, by a suffix to those of the workload; 0: leave them.
	Names int
	// LateDays spreads LatePerMille of the events over so many days before
	// their time, as from devices that were offline; 0: leave them.
	LateDays     int
	LatePerMille int
}

// source is a file of events, one a line, and where its batches end.
type source struct {
	path   string
	ends   []int64 // ends[i] is where batch i ends and batch i+1 begins
	events []int32 // of each batch
	total  int64
}

// batch is the place of a batch in the file.
func (s *source) batch(i int) (from, to int64, events int) {
	if i > 0 {
		from = s.ends[i-1]
	}
	return from, s.ends[i], int(s.events[i])
}

// add ends a batch at a byte of the file.
func (s *source) add(end int64, events int) {
	s.ends = append(s.ends, end)
	s.events = append(s.events, int32(events))
	s.total += int64(events)
}

// checkEvery is after how many lines the context is looked at.
const checkEvery = 10_000

// generate writes the workload to a new file, durably: what the disk has still
// to write would be measured with the server.
func generate(ctx context.Context, path string, w Workload, batch int) (s *source, err error) {
	g, err := workload.New(w.Config)
	if err != nil {
		return nil, err
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	out := bufio.NewWriterSize(f, 1<<20)
	s = &source{path: path}
	change := newChange(w)
	var e workload.Event
	var line []byte
	at, lines := int64(0), 0
	for g.NextEvent(&e) {
		change.apply(&e)
		line = append(e.AppendJSON(line[:0]), '\n')
		if _, err := out.Write(line); err != nil {
			return nil, err
		}
		at += int64(len(line))
		if lines++; lines == batch {
			s.add(at, lines)
			lines = 0
		}
		if (s.total+int64(lines))%checkEvery == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	if lines > 0 {
		s.add(at, lines)
	}
	return s, errors.Join(out.Flush(), f.Sync())
}

// index finds the batches of a file of events.
func index(path string, batch int) (*source, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	s := &source{path: path}
	chunk := make([]byte, 1<<20)
	at, lines, open := int64(0), 0, false
	for {
		n, err := f.Read(chunk)
		rest := chunk[:n]
		for len(rest) > 0 {
			i := bytes.IndexByte(rest, '\n')
			if i < 0 {
				at += int64(len(rest))
				open = true
				break
			}
			at += int64(i + 1)
			rest, open = rest[i+1:], false
			if lines++; lines == batch {
				s.add(at, lines)
				lines = 0
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	if open {
		lines++
	}
	if lines > 0 {
		s.add(at, lines)
	}
	if s.total == 0 {
		return nil, fmt.Errorf("%s has no events", path)
	}
	return s, nil
}

// change turns events of the workload into those of a Workload, the same ones every time.
type change struct {
	w     Workload
	names map[string][]string
}

func newChange(w Workload) *change { return &change{w: w, names: map[string][]string{}} }

// apply changes e by its id alone, so that a resend changes alike.
func (c *change) apply(e *workload.Event) {
	if c.w.Names > 0 {
		names, ok := c.names[e.Name]
		if !ok {
			n := c.w.Names / workload.EventNames
			if len(c.names) < c.w.Names%workload.EventNames {
				n++
			}
			names = make([]string, max(n, 1))
			for i := range names {
				names[i] = e.Name + "_" + strconv.Itoa(i)
			}
			c.names[e.Name] = names
		}
		e.Name = names[(int(e.ID[0])<<8|int(e.ID[1]))%len(names)]
	}
	if c.w.LateDays > 0 && (int(e.ID[2])<<8|int(e.ID[3]))%1000 < c.w.LatePerMille {
		const day = 24 * 60 * 60 * 1000
		e.Time -= int64(e.ID[4]) * int64(c.w.LateDays) * day / 256
	}
}
