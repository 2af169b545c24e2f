// Package tables keeps answers as tables for warehouses, notebooks and training:
// the answer to a question about each day, as Parquet beside the raw tier.
//
//	tables/NAME/date=2026-05-01/part-SHA.parquet
//	manifest/tables/NAME/date=2026-05-01.json      of what it was made
//
// A table of a day is made when the day is sealed, and again when its events, or the
// question, have changed. So a run may be repeated at any time, and a new table is filled backwards.
package tables

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"

	"spoor/engine/query/lang"
	"spoor/server/rawtier"
	"spoor/server/rawtier/blob"
	"spoor/server/rawtier/parquetfile"
	"spoor/tools/internal/render"
)

// Table is one question.
type Table struct {
	Name  string `yaml:"name"`
	Query string `yaml:"query"`
	// Refresh is how many of the latest days are computed anew each time: what a day says may
	// change as persons log in, and as funnels that began in it go on.
	Refresh int `yaml:"refresh"`
}

// Bounds of a configuration.
const (
	maxConfig  = 1 << 20
	maxTables  = 1000
	maxRefresh = 366
)

var nameForm = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)

// Read reads a configuration: YAML with a list of tables.
func Read(text []byte) ([]Table, error) {
	if len(text) > maxConfig {
		return nil, fmt.Errorf("a configuration has at most %d bytes", maxConfig)
	}
	var c struct {
		Tables []Table `yaml:"tables"`
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&c); err != nil {
		return nil, fmt.Errorf("read the tables: %w", err)
	}
	if len(c.Tables) == 0 || len(c.Tables) > maxTables {
		return nil, fmt.Errorf("%d tables; there are 1 to %d below the word tables", len(c.Tables), maxTables)
	}
	seen := map[string]bool{}
	for i := range c.Tables {
		t := &c.Tables[i]
		if !nameForm.MatchString(t.Name) || seen[t.Name] {
			return nil, fmt.Errorf("table %d: the name %.100q is taken already, or not one of lower-case letters, digits and _", i+1, t.Name)
		}
		seen[t.Name] = true
		if t.Refresh < 0 || t.Refresh > maxRefresh {
			return nil, fmt.Errorf("table %s: refresh is 0 to %d days", t.Name, maxRefresh)
		}
		if _, err := t.of("2026-05-01"); err != nil {
			return nil, fmt.Errorf("table %s: %w", t.Name, err)
		}
	}
	return c.Tables, nil
}

// of is the question about one day.
func (t *Table) of(date string) (string, error) {
	q, err := lang.Parse(t.Query)
	if err != nil {
		return "", err
	}
	switch {
	case q.PosOf("range") != q.At:
		return "", errors.New("the query names a time; it is asked about each day")
	case q.Kind == lang.KindEvents || q.Kind == lang.KindUsers:
		return "", fmt.Errorf("%s are no table; see spoor export", q.Kind)
	}
	day, err := time.Parse(time.DateOnly, date)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s\nfrom %q to %q", t.Query, date, day.AddDate(0, 0, 1).Format(time.DateOnly)), nil
}

// state is of what a table of a day was made.
type state struct {
	Version int    `json:"version"`
	Query   string `json:"query"`
	Day     string `json:"day"` // sum of the day's events
	Rows    int    `json:"rows"`
	Key     string `json:"key"`
	Bytes   int    `json:"bytes"`
	SHA256  string `json:"sha256"`
}

// Report says what a run did.
type Report struct {
	Made, Kept int
}

// Run makes the tables of all sealed days from one date to before another, "" for no bound. ask
// answers a query.
func Run(ctx context.Context, store blob.Store, all []Table, from, to string, ask func(ctx context.Context, query string) (json.RawMessage, error)) (Report, error) {
	var r Report
	days, err := rawtier.Days(ctx, store)
	if err != nil {
		return r, err
	}
	last := len(days)
	for i := range all {
		for j := range days {
			d := &days[j]
			if from != "" && d.Date < from || to != "" && d.Date >= to {
				continue
			}
			made, err := all[i].make(ctx, store, d, last-j <= all[i].Refresh, ask)
			if err != nil {
				return r, fmt.Errorf("table %s of %s: %w", all[i].Name, d.Date, err)
			}
			if made {
				r.Made++
			} else {
				r.Kept++
			}
		}
	}
	return r, nil
}

func (t *Table) make(ctx context.Context, store blob.Store, d *rawtier.Day, fresh bool, ask func(context.Context, string) (json.RawMessage, error)) (made bool, err error) {
	text, err := t.of(d.Date)
	if err != nil {
		return false, err
	}
	key := "manifest/tables/" + t.Name + "/date=" + d.Date + ".json"
	var old state
	version, found, err := rawtier.ReadState(ctx, store, key, &old)
	if err != nil || found && !fresh && old.Query == text && old.Day == d.Sum {
		return false, err
	}
	answer, err := ask(ctx, text)
	if err != nil {
		return false, err
	}
	columns, rows, err := render.Rows(answer)
	if err != nil {
		return false, err
	}
	var typed []parquetfile.TableColumn
	for _, c := range columns {
		typed = append(typed, parquetfile.TableColumn(c))
	}
	var b bytes.Buffer
	if err := parquetfile.WriteTable(&b, typed, slices.Clip(rows)); err != nil {
		return false, err
	}
	dir := "tables/" + t.Name + "/date=" + d.Date + "/"
	next := state{Version: rawtier.StateVersion, Query: text, Day: d.Sum, Rows: len(rows), Bytes: b.Len()}
	next.Key = dir + "part-" + rawtier.SumOf(b.Bytes())[:32] + ".parquet"
	if next.SHA256, err = rawtier.Upload(ctx, store, next.Key, b.Bytes()); err != nil {
		return false, err
	}
	if err := rawtier.ReplaceState(ctx, store, key, next, version); err != nil {
		return false, err
	}
	// What is not named by the state is of an earlier run, or of one that was cut off.
	return true, store.List(ctx, dir, func(o blob.Object) error {
		if o.Key == next.Key {
			return nil
		}
		return store.Remove(ctx, o.Key)
	})
}
