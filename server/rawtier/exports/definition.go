// Package exports writes events into the store of the raw tier in the formats of others: NDJSON, CSV, Parquet,
// once for a range or again and again on a schedule.
//
// An export is a document of the log, so every node knows it, and what it has written is in manifests beside
// its files. The node that leads writes them, a file a period, and a period is done when a manifest names its
// file: so there is one file a period however often a node restarts or another leads, and what was cut off
// goes on behind the last one. Erasures reach the files within the time that the raw tier promises.
//
//	exports/NAME/date=2026-05-01/part-SHA.ndjson            a file a day,
//	exports/NAME/date=2026-05-01/hour=13/part-SHA.ndjson    or an hour
//	manifest/exports/NAME/2026-05.json                      those of a month, see Month
package exports

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"spoor/server/call"
	"spoor/server/export"
)

// DocumentKind is the kind of document that exports are.
const DocumentKind = "export"

// Bounds of exports.
const (
	MaxExports      = 100
	MaxPeriods      = 200_000 // of one export: 22 years of hours
	maxWindow       = 366
	maxNameBytes    = 100
	maxEvents       = 1000 // names of events, and columns
	maxWhereBytes   = 16 << 10
	maxDelay        = 30 * 24 * time.Hour
	defaultDayDelay = 6 * time.Hour
	defaultHour     = 15 * time.Minute
)

const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."

// Definition says what an export has.
type Definition struct {
	// From and To bound the events, RFC 3339 or dates. Without To an export with Every goes on for ever, another ends now.
	From string `json:"from"`
	To   string `json:"to,omitempty"`
	// Every is "day" or "hour": a file for each one that has ended. "": at once, a file a day.
	Every string `json:"every,omitempty"`
	// Window is how many periods a file covers, the last one its own; 0: 1.
	Window int `json:"window,omitzero"`
	// Delay is how long after its end a period is written, for late events: "30m". 6 h for days, 15 min for hours.
	Delay   string   `json:"delay,omitempty"`
	Format  string   `json:"format"` // ndjson, csv or parquet
	Where   string   `json:"where,omitempty"`
	Events  []string `json:"events,omitempty"`
	Columns []string `json:"columns,omitempty"`
	// State is what somebody asked for: "", StateCanceled or stateRemoved.
	State string `json:"state,omitempty"`
}

// States that are asked for.
const (
	StateCanceled = "canceled" // no more files; those that there are stay, and erasures reach them
	stateRemoved  = "removed"  // its files go, and then itself
)

// plan is a definition in times.
type plan struct {
	Definition
	from, to time.Time // to is zero for ever
	unit     time.Duration
	delay    time.Duration
}

// period is one file.
type period struct {
	name     string // 2026-05-01, or 2026-05-01T13
	from, to time.Time
}

func bad(format string, args ...any) error {
	return call.Fail(http.StatusBadRequest, "bad_export", format, args...)
}

func readTime(what, text string) (time.Time, error) {
	for _, form := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(form, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, bad("%s is %.100q; write 2026-05-01, or 2026-05-01T10:00:00Z", what, text)
}

// planOf reads a definition, and says what is wrong with it.
func planOf(d *Definition) (p *plan, err error) {
	p = &plan{Definition: *d, unit: 24 * time.Hour, delay: defaultDayDelay}
	switch d.Every {
	case "":
		p.delay = 0
	case "day":
	case "hour":
		p.unit, p.delay = time.Hour, defaultHour
	default:
		return nil, bad(`every is %.100q; write "day" or "hour", or leave it out`, d.Every)
	}
	if p.from, err = readTime("from", d.From); err != nil {
		return nil, err
	}
	if d.To != "" {
		if p.to, err = readTime("to", d.To); err != nil {
			return nil, err
		}
		if !p.to.After(p.from) {
			return nil, bad("to is not later than from")
		}
		if p.to.Sub(p.from)/p.unit > MaxPeriods {
			return nil, bad("it would have more than %d files", MaxPeriods)
		}
	}
	if d.Delay != "" {
		if p.delay, err = time.ParseDuration(d.Delay); err != nil || p.delay < 0 || p.delay > maxDelay {
			return nil, bad("delay is %.100q; write a time such as 30m, at most %s", d.Delay, maxDelay)
		}
	}
	switch {
	case !slices.Contains([]string{"ndjson", "csv", "parquet"}, d.Format):
		return nil, call.Fail(http.StatusBadRequest, "bad_format", "the format %.100q is not known; use ndjson, csv or parquet", d.Format)
	case d.Every == "" && (d.Window != 0 || d.Delay != ""):
		return nil, bad("window and delay are for exports with every")
	case d.Window < 0 || d.Window > maxWindow:
		return nil, bad("window is 1 to %d periods", maxWindow)
	case len(d.Events) > maxEvents || len(d.Columns) > maxEvents || slices.Contains(d.Events, ""):
		return nil, bad("events and columns list at most %d names, none of them empty", maxEvents)
	case len(d.Where) > maxWhereBytes:
		return nil, bad("where has more than %d bytes", maxWhereBytes)
	case d.Columns != nil && d.Format == "ndjson":
		return nil, bad("columns are for csv and parquet; ndjson gives whole events")
	}
	if d.Format == "csv" {
		if _, err := export.NewCSV(d.Columns); err != nil {
			return nil, bad("%s", err)
		}
	}
	return p, nil
}

func checkName(name string) error {
	if name == "" || len(name) > maxNameBytes || strings.HasPrefix(name, ".") || strings.Trim(name, letters) != "" {
		return call.Fail(http.StatusBadRequest, "bad_name", "name has 1 to %d letters, digits and -_., and does not begin with a dot", maxNameBytes)
	}
	return nil
}

// periods calls f with the periods that are due at a time, in order, until it returns false.
func (p *plan) periods(now time.Time, f func(period) bool) {
	for at := p.from.Truncate(p.unit); p.to.IsZero() || at.Before(p.to); at = at.Add(p.unit) {
		end := at.Add(p.unit)
		if p.Every != "" && now.Before(end.Add(p.delay)) {
			return
		}
		w := period{name: at.Format(time.DateOnly), from: end.Add(-time.Duration(max(1, p.Window)) * p.unit), to: end}
		if p.unit == time.Hour {
			w.name = at.Format("2006-01-02T15")
		}
		if w.from.Before(p.from) {
			w.from = p.from
		}
		if !p.to.IsZero() && w.to.After(p.to) {
			w.to = p.to
		}
		if !f(w) {
			return
		}
	}
}

// ended tells whether no period comes any more.
func (p *plan) ended(now time.Time) bool {
	return !p.to.IsZero() && (p.Every == "" || !now.Before(p.to.Add(p.unit+p.delay)))
}

// spec is what is asked of the store for a period.
func (p *plan) spec(w *period) export.Spec {
	return export.Spec{From: w.from.Format(time.RFC3339), To: w.to.Format(time.RFC3339), Where: p.Where, Events: p.Events, Columns: p.columns()}
}

func (p *plan) columns() []string {
	if p.Format == "parquet" {
		return p.Columns
	}
	return nil
}

// dir is where the file of a period stands.
func (w *period) dir(name string) string {
	date, hour, hourly := strings.Cut(w.name, "T")
	dir := fmt.Sprintf("%s%s/date=%s/", filesDir, name, date)
	if hourly {
		dir += "hour=" + hour + "/"
	}
	return dir
}

const (
	filesDir     = "exports/"
	manifestsDir = "manifest/exports/"
)
