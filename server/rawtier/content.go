package rawtier

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"

	"spoor/engine"
	"spoor/engine/event"
	"spoor/engine/query/lang"
	"spoor/segment"
	"spoor/server/rawtier/parquetfile"
)

// Events is the store as the raw tier reads it.
type Events interface {
	View() (*engine.View, error)
	// Rows calls yield with the events of a query over a view, ordered by time, then eventId.
	Rows(ctx context.Context, view *engine.View, q *lang.Query, yield func(row *event.Row) error) error
}

// sumOf is a hash of all of an event that a file keeps. Sums of them are compared
// to find out whether two sets of events are the same.
func sumOf(json, source []byte, receivedAt int64, buf []byte) (sum uint64, next []byte) {
	buf = append(append(buf[:0], json...), 0)
	buf = append(append(buf, source...), 0)
	if source != nil {
		buf = append(buf, 1)
	}
	buf = binary.LittleEndian.AppendUint64(buf, uint64(receivedAt))
	h := sha256.Sum256(buf)
	return binary.LittleEndian.Uint64(h[:]), buf
}

// whoOf is a hash of the ids of an event: its own, and those of who did it.
func whoOf(id, user, anon, buf []byte) (sum uint64, next []byte) {
	buf = buf[:0]
	for _, t := range [][]byte{id, user, anon} {
		buf = binary.AppendUvarint(buf, uint64(len(t)))
		buf = append(buf, t...)
	}
	h := sha256.Sum256(buf)
	return binary.LittleEndian.Uint64(h[:]), buf
}

// whoRows are read of a section at a time.
const whoRows = 32 << 10

// whoIn adds up whoOf of the events of a day, of which it reads no more than the ids: a fourth to a
// seventh of the time that whole events take (BenchmarkErasureOfOnePerson).
func whoIn(view *engine.View, day int32) (rows int64, sum uint64, err error) {
	var x segment.Scratch
	var id, buf []byte
	keys, users, anons := make([]uint64, whoRows), make([]uint32, whoRows), make([]uint32, whoRows)
	err = eachSection(view, day, func(s *segment.Section) error {
		left, n, err := view.Left(s)
		if err != nil || n == 0 {
			return err
		}
		rows += int64(n)
		for from := 0; from < s.Rows(); from += whoRows {
			to := min(from+whoRows, s.Rows())
			k, u, a := keys[:to-from], users[:to-from], anons[:to-from]
			ids, err := s.Reader().IDs(s.FirstRow()+from, s.FirstRow()+to)
			if err != nil {
				return err
			}
			if err := errors.Join(s.Keys(k, from, to, &x), s.Users(u, from, to, &x), s.Anons(a, from, to, &x)); err != nil {
				return err
			}
			for i := range k {
				if left != nil && !left.Has(from+i) {
					continue
				}
				person := segment.KeyPerson(k[i])
				var h uint64
				id = ids.AppendText(id[:0], i)
				h, buf = whoOf(id, view.Identity.UserText(person, u[i]), view.Identity.AnonText(person, a[i]), buf)
				sum += h
			}
		}
		return nil
	})
	return rows, sum, err
}

func hexOf(sum uint64) string { return fmt.Sprintf("%016x", sum) }

func parseHex(text string) (uint64, error) { return strconv.ParseUint(text, 16, 64) }

// census is what a day has, without its events.
type census struct {
	rows   int
	groups map[group]int
	paths  map[string]parquetfile.Paths // by event
}

// rowsOf counts the events of a day in a view.
func rowsOf(view *engine.View, day int32) (rows int64, err error) {
	err = eachSection(view, day, func(s *segment.Section) error {
		_, n, err := view.Left(s)
		rows += int64(n)
		return err
	})
	return rows, err
}

func eachSection(view *engine.View, day int32, f func(*segment.Section) error) (err error) {
	for _, r := range view.Segments {
		r.Days(func(d int32, sections []segment.Section) {
			if d != day {
				return
			}
			for i := range sections {
				if s := &sections[i]; err == nil && !view.Gone(s) {
					err = f(s)
				}
			}
		})
	}
	return err
}

// takeCensus counts the events of a day by event, source and hour, and the values of their fields.
func takeCensus(view *engine.View, day int32) (*census, error) {
	c := &census{groups: map[group]int{}, paths: map[string]parquetfile.Paths{}}
	var x segment.Scratch
	err := eachSection(view, day, func(s *segment.Section) error {
		left, n, err := view.Left(s)
		if err != nil || n == 0 {
			return err
		}
		c.rows += n
		keys, sources := make([]uint64, s.Rows()), make([]uint32, s.Rows())
		if err := s.Keys(keys, 0, s.Rows(), &x); err != nil {
			return err
		}
		names := []string{""}
		column, ok, err := s.Sources()
		if err != nil {
			return err
		}
		if ok {
			texts, err := column.Codes(sources, 0, s.Rows(), &x)
			if err != nil {
				return err
			}
			for i := range texts.Len() {
				names = append(names, string(texts.At(i)))
			}
		}
		for i, k := range keys {
			if left == nil || left.Has(i) {
				c.groups[group{s.Event(), names[sources[i]], hourOf(segment.KeyTime(k, day), day)}]++
			}
		}
		columns, err := s.AllColumns()
		if err != nil {
			return err
		}
		paths := c.paths[s.Event()]
		if paths == nil {
			paths = parquetfile.Paths{}
			c.paths[s.Event()] = paths
		}
		for _, col := range columns {
			paths[parquetfile.Path{Path: col.Path(), Kind: col.Kind()}] += col.Present()
		}
		return nil
	})
	return c, err
}

// schema has the columns of some events, nil for all.
func (c *census) schema(events []string) *parquetfile.Schema {
	all := parquetfile.Paths{}
	add := func(paths parquetfile.Paths) {
		for p, n := range paths {
			all[p] += n
		}
	}
	if events == nil {
		for _, paths := range c.paths {
			add(paths)
		}
	}
	for _, e := range events {
		add(c.paths[e])
	}
	return parquetfile.NewSchema(all)
}

// dayQuery asks for the events of a day: of some names, nil for all, and received after a
// time in microseconds, 0 for any.
func dayQuery(day int32, events []string, after int64) (*lang.Query, error) {
	text := fmt.Sprintf("events of any from %s to %s", quoteDay(day), quoteDay(day+1))
	if after != 0 {
		text += fmt.Sprintf(" where receivedAt > %q", stamp(time.UnixMicro(after)))
	}
	q, err := lang.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("read the events of %s: %w", dayName(day), err)
	}
	if day == segment.Day(lastTime) {
		q.Range.To = lang.Time{Micros: lastTime + 1}
	}
	if events != nil {
		q.Events.Of = lang.EventSel{}
		for _, name := range events {
			q.Events.Of.Alternatives = append(q.Events.Of.Alternatives, lang.EventMatch{Name: name})
		}
	}
	return q, nil
}

func quoteDay(day int32) string { return `"` + dayName(min(day, segment.Day(lastTime))) + `"` }
