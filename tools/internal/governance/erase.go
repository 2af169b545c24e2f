package governance

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// Erase is the group of commands that take data away.
type Erase struct {
	User      eraseUser      `cmd:"" help:"Erase a user: events, ids and traits. What comes later of the user is refused."`
	History   eraseHistory   `cmd:"" help:"Erase the events of a user, who stays known."`
	Anonymise eraseAnonymise `cmd:"" help:"Erase who a user is, and fields of its events; the events go on to count."`
	Events    eraseEvents    `cmd:"" help:"Erase events by name, condition and time."`
	Field     eraseField     `cmd:"" help:"Erase a field of all events."`
	Allow     eraseAllow     `cmd:"" help:"Take events of an erased user again."`
	List      eraseList      `cmd:"" help:"Show the requests and how far they are."`
}

// Help implements kong.HelpProvider.
func (Erase) Help() string {
	return `What is erased is in no answer from the moment the command returns. Its bytes go from the files within the server's --erase-within, or at once by spoor compact; spoor verify --grep proves it. An eventId stays known, so that an event that is sent again stays erased. Backups hold what they held.

Examples:

    spoor erase user u123 --reference TICKET-7
    spoor erase events --event signed_up --from 2026-05-01T10:00:00Z --to 2026-05-01T10:10:00Z --dry-run
    spoor erase field properties.email
    spoor erase list`
}

// eraseFlags are the flags that the commands share.
type eraseFlags struct {
	Reference string `help:"Your own name for the request: a ticket, for example." placeholder:"TEXT"`
	DryRun    bool   `help:"Tell what it would take, and take nothing."`
	JSON      bool   `help:"Print the server's answer." name:"json"`
}

// erasure is the request that the API takes.
type erasure struct {
	Kind      string   `json:"kind"`
	User      string   `json:"user,omitempty"`
	Events    []string `json:"events,omitempty"`
	Where     string   `json:"where,omitempty"`
	From      string   `json:"from,omitempty"`
	To        string   `json:"to,omitempty"`
	Fields    []string `json:"fields,omitempty"`
	Reference string   `json:"reference,omitempty"`
}

// erasureStatus is what it answers.
type erasureStatus struct {
	ID, Kind, Reference, State, RequestedAt string
	Known                                   bool
	IDs                                     int
	EventsErased                            int64
	FilesLeft                               int
	Would                                   struct {
		Known  bool
		Events int64
		IDs    int
	}
}

func (f *eraseFlags) send(ctx context.Context, c *Console, r erasure) error {
	r.Reference = f.Reference
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	args := url.Values{}
	if f.DryRun {
		args.Set("dryRun", "1")
	}
	var s erasureStatus
	answer, err := c.call(ctx, http.MethodPost, "/api/erasures", args, body, &s)
	if err != nil || f.JSON {
		if err == nil {
			err = c.show(answer)
		}
		return err
	}
	about := r.User != ""
	switch {
	case f.DryRun && about && !s.Would.Known:
		_, err = fmt.Fprintf(c.Stdout, "Nobody is known as %q.\n", r.User)
	case f.DryRun:
		_, err = fmt.Fprintf(c.Stdout, "It would reach %d events%s.\n", s.Would.Events, ofIDs(s.Would.IDs))
	case about && !s.Known && r.Kind == "person":
		_, err = fmt.Fprintf(c.Stdout, "Nobody is known as %q; events that come of this id are refused (%s).\n", r.User, s.ID)
	case about && !s.Known:
		_, err = fmt.Fprintf(c.Stdout, "Nobody is known as %q: there was nothing to do (%s).\n", r.User, s.ID)
	default:
		_, err = fmt.Fprintf(c.Stdout, "Done%s; no answer holds it any more (%s).\n", ofIDs(s.IDs), s.ID)
	}
	return err
}

func ofIDs(n int) string {
	switch n {
	case 0:
		return ""
	case 1:
		return " and 1 id"
	}
	return fmt.Sprintf(" and %d ids", n)
}

type eraseUser struct {
	User string `arg:"" help:"The userId, or the anonymousId of somebody without one."`
	eraseFlags
}

// Run erases.
func (x *eraseUser) Run(ctx context.Context, c *Console) error {
	return x.send(ctx, c, erasure{Kind: "person", User: x.User})
}

type eraseHistory struct {
	User string `arg:"" help:"The userId, or the anonymousId of somebody without one."`
	eraseFlags
}

// Run erases.
func (x *eraseHistory) Run(ctx context.Context, c *Console) error {
	return x.send(ctx, c, erasure{Kind: "history", User: x.User})
}

type eraseAnonymise struct {
	User  string   `arg:"" help:"The userId, or the anonymousId of somebody without one."`
	Field []string `help:"Erase this field of the user's events, too; it goes with the bytes, see spoor erase --help." placeholder:"FIELD"`
	eraseFlags
}

// Run erases.
func (x *eraseAnonymise) Run(ctx context.Context, c *Console) error {
	return x.send(ctx, c, erasure{Kind: "anonymise", User: x.User, Fields: x.Field})
}

type eraseEvents struct {
	Event []string `help:"Events of this name; all names without the flag." placeholder:"NAME"`
	Where string   `help:"A condition of the query language over the event's own fields." placeholder:"CONDITION"`
	From  string   `help:"Events from this time on." placeholder:"TIME"`
	To    string   `help:"Events before this time." placeholder:"TIME"`
	eraseFlags
}

// Run erases.
func (x *eraseEvents) Run(ctx context.Context, c *Console) error {
	return x.send(ctx, c, erasure{Kind: "events", Events: x.Event, Where: x.Where, From: x.From, To: x.To})
}

type eraseField struct {
	Fields []string `arg:"" help:"properties.x or context.x; what is below goes with it."`
	Event  []string `help:"Of events of this name; all names without the flag." placeholder:"NAME"`
	eraseFlags
}

// Run erases.
func (x *eraseField) Run(ctx context.Context, c *Console) error {
	return x.send(ctx, c, erasure{Kind: "field", Fields: x.Fields, Events: x.Event})
}

type eraseAllow struct {
	User string `arg:"" help:"The id that was erased."`
	eraseFlags
}

// Run allows.
func (x *eraseAllow) Run(ctx context.Context, c *Console) error {
	return x.send(ctx, c, erasure{Kind: "allow", User: x.User})
}

type eraseList struct {
	JSON bool `help:"Print the server's answer." name:"json"`
}

// Run lists.
func (x *eraseList) Run(ctx context.Context, c *Console) error {
	var answer struct {
		Erasures []erasureStatus
		Total    int
	}
	raw, err := c.call(ctx, http.MethodGet, "/api/erasures", nil, nil, &answer)
	if err != nil {
		return err
	}
	if x.JSON {
		return c.show(raw)
	}
	rows := [][]string{{"REQUESTED", "KIND", "STATE", "EVENTS", "FILES LEFT", "REFERENCE", "ID"}}
	for _, e := range answer.Erasures {
		at, _, _ := strings.Cut(e.RequestedAt, ".")
		rows = append(rows, []string{at, e.Kind, strings.ReplaceAll(e.State, "_", " "), fmt.Sprint(e.EventsErased), fmt.Sprint(e.FilesLeft), e.Reference, e.ID})
	}
	if err := c.table(rows); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.Stdout, "%d requests\n", answer.Total)
	return err
}

// Retention is the group of commands about how long events are kept.
type Retention struct {
	Show retentionShow `cmd:"" default:"1" help:"Show how long events are kept, and what goes at the next midnight of UTC."`
	Set  retentionSet  `cmd:"" help:"Say how long events are kept."`
}

// Help implements kong.HelpProvider.
func (Retention) Help() string {
	return `Events of whole days go: with 90d the events of today and of the 90 days before it stay. What is too old is refused when it comes. What is gone stays gone when the time is made longer.

With --local 90d events older than 90 days go from the disks of the nodes, once the raw tier has them and a copy in its object store was verified; questions read them from there (spoor serve --raw, --cold-cache). It takes --dedupe, of at most that time.

With --dedupe 30d a resend is known for 30 days after the receipt of the event, and not as long as the event is kept. Older events are refused, and kept as dead letters: they may be stored already.

Examples:

    spoor retention
    spoor retention set 365d --event page_viewed=90d --dry-run
    spoor retention set forever --dedupe 30d
    spoor retention set forever --dedupe 30d --local 90d
    spoor retention set forever`
}

type retentionAnswer struct {
	Default int
	Events  map[string]int
	First   string
	Firsts  map[string]string
	Dedupe  int
	Local   int

	DedupeFirst string
	Expiring    []struct {
		Event         string
		Days          int
		Events, Bytes int64
	}
}

func (c *Console) retention(a *retentionAnswer, when string) error {
	rows := [][]string{{"EVENTS", "KEPT", "FIRST DAY"}, {"all others", keptText(a.Default), a.First}}
	for name, days := range a.Events {
		rows = append(rows, []string{name, keptText(days), a.Firsts[name]})
	}
	if err := c.table(rows); err != nil {
		return err
	}
	if a.Dedupe > 0 || a.DedupeFirst != "" {
		if _, err := fmt.Fprintf(c.Stdout, "EventIds are remembered %s, now from %s on.\n", map[bool]string{true: "forever", false: "for " + keptText(a.Dedupe)}[a.Dedupe == 0], a.DedupeFirst); err != nil {
			return err
		}
	}
	if a.Local > 0 {
		if _, err := fmt.Fprintf(c.Stdout, "Events are on the disks of nodes with a raw tier for %s, older ones in its object store.\n", keptText(a.Local)); err != nil {
			return err
		}
	}
	if len(a.Expiring) == 0 {
		_, err := fmt.Fprintf(c.Stdout, "Nothing goes %s.\n", when)
		return err
	}
	if _, err := fmt.Fprintf(c.Stdout, "\nGoes %s:\n", when); err != nil {
		return err
	}
	rows = [][]string{{"EVENT", "DAYS", "EVENTS", "BYTES"}}
	for _, e := range a.Expiring {
		rows = append(rows, []string{e.Event, fmt.Sprint(e.Days), fmt.Sprint(e.Events), fmt.Sprint(e.Bytes)})
	}
	return c.table(rows)
}

func keptText(days int) string {
	if days == 0 {
		return "forever"
	}
	return fmt.Sprintf("%dd", days)
}

type retentionShow struct {
	JSON bool `help:"Print the server's answer." name:"json"`
}

// Run shows.
func (x *retentionShow) Run(ctx context.Context, c *Console) error {
	var a retentionAnswer
	raw, err := c.call(ctx, http.MethodGet, "/api/retention", nil, nil, &a)
	if err != nil {
		return err
	}
	if x.JSON {
		return c.show(raw)
	}
	return c.retention(&a, "at the next midnight of UTC")
}

type retentionSet struct {
	Default string            `arg:"" help:"How long events are kept: 365d, or forever."`
	Event   map[string]string `help:"Another time for events of a name: --event page_viewed=90d." placeholder:"NAME=TIME"`
	Dedupe  string            `help:"How long eventIds are remembered: 30d, or forever, which is as long as their events." placeholder:"TIME" default:"forever"`
	Local   string            `help:"How long events stay on the disks of the nodes: 90d, or forever, which is as long as they are kept." placeholder:"TIME" default:"forever"`
	DryRun  bool              `help:"Tell what would go, and change nothing."`
	JSON    bool              `help:"Print the server's answer." name:"json"`
}

// Run sets.
func (x *retentionSet) Run(ctx context.Context, c *Console) error {
	rules := struct {
		Default int            `json:"default"`
		Events  map[string]int `json:"events,omitempty"`
		Dedupe  int            `json:"dedupe,omitempty"`
		Local   int            `json:"local,omitempty"`
	}{Events: map[string]int{}}
	var err error
	if rules.Default, err = daysOf(x.Default); err != nil {
		return err
	}
	for name, text := range x.Event {
		if rules.Events[name], err = daysOf(text); err != nil {
			return fmt.Errorf("--event %s: %w", name, err)
		}
	}
	if rules.Dedupe, err = daysOf(x.Dedupe); err != nil {
		return fmt.Errorf("--dedupe: %w", err)
	}
	if rules.Local, err = daysOf(x.Local); err != nil {
		return fmt.Errorf("--local: %w", err)
	}
	body, err := json.Marshal(rules)
	if err != nil {
		return err
	}
	args := url.Values{}
	when := "now"
	if x.DryRun {
		args.Set("dryRun", "1")
		when = "if this is set"
	}
	var a retentionAnswer
	raw, err := c.call(ctx, http.MethodPut, "/api/retention", args, body, &a)
	if err != nil {
		return err
	}
	if x.JSON {
		return c.show(raw)
	}
	return c.retention(&a, when)
}

// daysOf reads a number of days: 90d, 90, or forever.
func daysOf(text string) (int, error) {
	if text == "forever" {
		return 0, nil
	}
	days, err := strconv.Atoi(strings.TrimSuffix(text, "d"))
	if err != nil || days < 1 {
		return 0, fmt.Errorf("%q is no time to keep events; write 90d, or forever", text)
	}
	return days, nil
}
