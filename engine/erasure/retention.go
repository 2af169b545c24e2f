package erasure

import (
	"fmt"
	"maps"
	"math"

	"spoor/segment"
)

// Document is the kind of the documents that Apply keeps of a retention: under Rules what was asked for, a
// Retention, under InForce what follows, Cutoffs.
const (
	Document = "retention"
	Rules    = "rules"
	InForce  = "cutoffs"
)

// Retention says how long events are kept, in whole UTC days behind the day of
// today: with 90, the events of today and of the 90 days before it. 0 is for ever.
type Retention struct {
	Default int `json:"default"`
	// Events are names that have a time of their own.
	Events map[string]int `json:"events,omitempty"`
	// Dedupe says how long an eventId is remembered after it was received, likewise; 0 is as long as the event.
	Dedupe int `json:"dedupe,omitempty"`
	// Local says how long events are kept on the disks of the nodes, likewise; older ones are kept in the
	// object store of each node that has one. 0 is as long as the event. It is never shorter than Dedupe: what a
	// new event is compared with is on the disk.
	Local int `json:"local,omitempty"`
}

// Bounds of a Retention.
const (
	MaxRetentionDays  = 100_000
	MaxRetentionNames = 10_000
)

// Check says what is wrong with a retention before it is proposed.
func (r *Retention) Check() error {
	if len(r.Events) > MaxRetentionNames {
		return refuse("%d event names, at most %d may have a time of their own", len(r.Events), MaxRetentionNames)
	}
	check := func(name string, days int) error {
		if days < 0 || days > MaxRetentionDays {
			return refuse("%s: %d days; write 1 to %d, or 0 to keep for ever", name, days, MaxRetentionDays)
		}
		return nil
	}
	for name, days := range r.Events {
		if name == "" || len(name) > maxNameBytes {
			return refuse("an event name has 1 to %d bytes", maxNameBytes)
		}
		if err := check(fmt.Sprintf("%.100q", name), days); err != nil {
			return err
		}
	}
	for name, days := range map[string]int{"dedupe": r.Dedupe, "local": r.Local} {
		if err := check(name, days); err != nil {
			return err
		}
	}
	switch {
	case r.Local != 0 && r.Dedupe == 0:
		return refuse("local: %d days, and eventIds are remembered for ever; say how long they are, %d days or less, with dedupe: new events are compared with what is on the disk", r.Local, r.Local)
	case r.Local != 0 && r.Dedupe > r.Local:
		return refuse("local: %d days are fewer than the %d for which eventIds are remembered (dedupe); new events are compared with what is on the disk", r.Local, r.Dedupe)
	}
	return check("default", r.Default)
}

// Cutoffs are the first days that are kept: events of the days before are gone,
// and are refused when they come. They only ever move on, so that what is gone stays gone
// when a retention is made longer.
type Cutoffs struct {
	Default int32            `json:"default"`
	Events  map[string]int32 `json:"events,omitempty"`
	// Dedupe is the first day of which eventIds are remembered, 0 for all days: those of events that are of
	// days before it and were received on days before it may have been forgotten. So an event
	// of a day before it is refused: it may be stored already.
	Dedupe int32 `json:"dedupe,omitempty"`
}

// MaxAheadDays is how many days an event may be ahead of its receipt once eventIds are forgotten:
// its own is remembered until its day has passed.
const MaxAheadDays = 31

// Forgets tells whether the id of an event of a day, received on another, counts no more.
func (c *Cutoffs) Forgets(day, received int32) bool { return max(day, received) < c.Dedupe }

// TooOld and TooFarAhead tell whether nobody could say if such an event was stored before,
// or if it is when it comes again.
func (c *Cutoffs) TooOld(day int32) bool { return c.Dedupe != 0 && day < c.Dedupe }

// TooFarAhead see TooOld.
func (c *Cutoffs) TooFarAhead(day, received int32) bool {
	return c.Dedupe != 0 && day > received+MaxAheadDays
}

// NoCutoff is before every day.
const NoCutoff = math.MinInt32

// At are the cutoffs of a retention at a time in microseconds.
func (r *Retention) At(micros int64) Cutoffs {
	today := segment.Day(micros)
	day := func(days int) int32 {
		if days == 0 {
			return NoCutoff
		}
		return today - int32(days)
	}
	c := Cutoffs{Default: day(r.Default), Events: map[string]int32{}}
	for name, days := range r.Events {
		c.Events[name] = day(days)
	}
	if r.Dedupe != 0 {
		c.Dedupe = today - int32(r.Dedupe)
	}
	return c
}

// Of is the first day of a name that is kept.
func (c *Cutoffs) Of(name string) int32 {
	if day, ok := c.Events[name]; ok {
		return day
	}
	return c.Default
}

// Last is the latest cutoff of any name.
func (c *Cutoffs) Last() int32 {
	last := c.Default
	for _, day := range c.Events {
		last = max(last, day)
	}
	return last
}

// Advance moves cutoffs on to those of next. A name that next does not list goes by its default.
func (c *Cutoffs) Advance(next Cutoffs) Cutoffs {
	out := Cutoffs{Default: max(c.Default, next.Default), Events: map[string]int32{}, Dedupe: max(c.Dedupe, next.Dedupe)}
	for name := range c.Events {
		if day := max(c.Of(name), next.Of(name)); day != out.Default { // else it goes by the default from now on
			out.Events[name] = day
		}
	}
	for name := range next.Events {
		out.Events[name] = max(c.Of(name), next.Of(name))
	}
	return out
}

// Leap is the most days by which a cutoff moves on to that of next.
func (c *Cutoffs) Leap(next Cutoffs) (days int) {
	leap := func(from, to int32) {
		if from != NoCutoff {
			days = max(days, int(to)-int(from))
		}
	}
	leap(c.Default, next.Default)
	if c.Dedupe != 0 {
		leap(c.Dedupe, next.Dedupe)
	}
	for name, day := range next.Events {
		leap(c.Of(name), day)
	}
	return days
}

// Equal tells whether cutoffs are the same.
func (c *Cutoffs) Equal(d Cutoffs) bool {
	return c.Default == d.Default && c.Dedupe == d.Dedupe && maps.Equal(c.Events, d.Events)
}
