package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"spoor/segment"
	"spoor/tools/internal/sizes"
)

// segmentCmd looks into segment files.
type segmentCmd struct {
	Inspect segmentInspectCmd `cmd:"" help:"Print what a segment holds: days, events, columns and their sizes."`
	Verify  segmentVerifyCmd  `cmd:"" help:"Read every byte of segments and check it; look for a text in them."`
	Sizes   segmentSizesCmd   `cmd:"" help:"Tell what the bytes of a data directory, or of segments, are for."`
}

type segmentSizesCmd struct {
	Files  []string `arg:"" type:"path" help:"Data directories, or segment files."`
	Floors bool     `help:"Also read every value and tell what each column would take by its entropy."`
	JSON   bool     `help:"Print JSON, for programs." name:"json"`
}

// Help implements kong.HelpProvider.
func (segmentSizesCmd) Help() string {
	return examples("Accounts for every byte: columns with their dictionaries, ids, timelines, sets of persons, filters, log. It works beside a running server; compact first to see what stays.",
		"spoor segment sizes data",
		"spoor segment sizes data --floors",
		"spoor segment sizes data/store/00000012.seg --json")
}

// Run prints the account.
func (c *segmentSizesCmd) Run(env *environment) error {
	r, err := sizes.Of(c.Files, c.Floors)
	if err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(env.Stdout).Encode(r)
	}
	r.WriteTable(env.Stdout)
	return nil
}

type segmentInspectCmd struct {
	Files   []string `arg:"" type:"path" help:"Segment files, or directories that hold some."`
	Columns bool     `help:"List the columns too."`
	JSON    bool     `help:"Print JSON, one object per file." name:"json"`
}

// Help implements kong.HelpProvider.
func (segmentInspectCmd) Help() string {
	return examples("Reads the directory of a file alone, so it is fast and works beside a running server.",
		"spoor segment inspect data/store",
		"spoor segment inspect data/store/00000012.seg --columns")
}

// segmentInfo is what inspect prints of one file.
type segmentInfo struct {
	Name     string        `json:"name"`
	Bytes    int64         `json:"bytes"`
	Rows     int           `json:"rows"`
	PerRow   float64       `json:"bytes_per_row"`
	First    uint64        `json:"first_log_index"`
	Last     uint64        `json:"last_log_index"`
	Sections []sectionInfo `json:"sections"`
	Columns  []columnInfo  `json:"columns"`
}

type sectionInfo struct {
	Day     string `json:"day"`
	Event   string `json:"event"`
	Rows    int    `json:"rows"`
	Persons int    `json:"persons"`
	Columns int    `json:"columns"`
}

type columnInfo struct {
	Path    string `json:"path"`
	Kind    string `json:"kind"`
	Present int    `json:"rows"`
	Bytes   int64  `json:"bytes"`
}

// Run prints the segments.
func (c *segmentInspectCmd) Run(env *environment) error {
	return eachSegment(c.Files, func(name string, r *segment.Reader) error {
		info, err := inspect(name, r)
		if err != nil {
			return err
		}
		if c.JSON {
			return json.NewEncoder(env.Stdout).Encode(info)
		}
		printSegment(env.Stdout, info, c.Columns)
		return nil
	})
}

func inspect(name string, r *segment.Reader) (*segmentInfo, error) {
	info := &segmentInfo{Name: name, Bytes: r.Size(), Rows: r.Rows(), PerRow: float64(r.Size()) / float64(max(r.Rows(), 1)), First: r.Meta().FirstIndex, Last: r.Meta().LastIndex}
	byColumn := map[string]int{}
	sections := r.Sections()
	for i := range sections {
		s := &sections[i]
		columns, err := s.AllColumns()
		if err != nil {
			return nil, err
		}
		day := time.Unix(int64(s.Day())*86400, 0).UTC().Format(time.DateOnly)
		info.Sections = append(info.Sections, sectionInfo{day, s.Event(), s.Rows(), s.DistinctPersons(), len(columns)})
		for _, col := range columns {
			key := col.Path() + "\x00" + col.Kind().String()
			at, ok := byColumn[key]
			if !ok {
				at = len(info.Columns)
				byColumn[key] = at
				info.Columns = append(info.Columns, columnInfo{Path: col.Path(), Kind: col.Kind().String()})
			}
			info.Columns[at].Present += col.Present()
			info.Columns[at].Bytes += col.Bytes()
		}
	}
	return info, nil
}

func printSegment(w io.Writer, info *segmentInfo, columns bool) {
	fmt.Fprintf(w, "%s: %d events in %d bytes (%.1f per event), log entries %d to %d\n", info.Name, info.Rows, info.Bytes, info.PerRow, info.First, info.Last)
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleLight)
	t.AppendHeader(table.Row{"day", "event", "events", "persons", "columns"})
	for _, s := range info.Sections {
		t.AppendRow(table.Row{s.Day, s.Event, s.Rows, s.Persons, s.Columns})
	}
	t.Render()
	if !columns {
		return
	}
	t = table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleLight)
	t.AppendHeader(table.Row{"column", "kind", "events", "bytes", "bytes per event"})
	for _, c := range info.Columns {
		t.AppendRow(table.Row{c.Path, c.Kind, c.Present, c.Bytes, fmt.Sprintf("%.2f", float64(c.Bytes)/float64(max(c.Present, 1)))})
	}
	t.Render()
}

type segmentVerifyCmd struct {
	Files []string `arg:"" type:"path" help:"Segment files, or directories that hold some."`
	Grep  []string `help:"Also look for this text in all that is stored: what was deleted must not be found. May be given several times." sep:"none" placeholder:"TEXT"`
	JSON  bool     `help:"Print JSON, one object per file." name:"json"`
}

// Help implements kong.HelpProvider.
func (segmentVerifyCmd) Help() string {
	return examples("Checks every checksum, decodes every column and holds keys, timelines, person sets and ids against each other. Ends with 1 when something is damaged, or when a text of --grep was found.",
		"spoor segment verify data/store",
		"spoor segment verify data/store --grep ada@example.com --grep '+49 151 1234567'",
		"spoor verify --data data --grep ada@example.com   # the log and all other files too")
}

// Run checks the segments.
func (c *segmentVerifyCmd) Run(ctx context.Context, env *environment) error {
	bad := 0
	err := eachSegment(c.Files, func(name string, r *segment.Reader) error {
		report, err := r.Verify(ctx, c.Grep...)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil || len(report.Found) > 0 {
			bad++
		}
		if c.JSON {
			out := struct {
				*segment.VerifyReport
				Error string `json:"error,omitempty"`
			}{VerifyReport: report}
			if err != nil {
				out.Error = err.Error()
			}
			return json.NewEncoder(env.Stdout).Encode(out)
		}
		switch {
		case err != nil:
			fmt.Fprintf(env.Stdout, "%s: DAMAGED: %v\n", name, err)
		case len(report.Found) > 0:
			fmt.Fprintf(env.Stdout, "%s: FOUND in %s\n", name, strings.Join(report.Found, "; "))
		default:
			fmt.Fprintf(env.Stdout, "%s: good, %d events, %d sections, %d columns, %d bytes\n", name, report.Rows, report.Sections, report.Columns, report.Bytes)
		}
		return nil
	})
	if err == nil && bad > 0 {
		return fmt.Errorf("%d files are damaged or hold the text", bad)
	}
	return err
}

// eachSegment opens the files that names stand for, one after the other.
func eachSegment(names []string, f func(name string, r *segment.Reader) error) error {
	var files []string
	for _, n := range names {
		info, err := os.Stat(n)
		if err != nil {
			return err
		}
		if !info.IsDir() {
			files = append(files, n)
			continue
		}
		err = filepath.WalkDir(n, func(path string, d fs.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(path, ".seg") {
				files = append(files, path)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	if len(files) == 0 {
		return errors.New("no segment files (*.seg) there")
	}
	for _, name := range files {
		if err := oneSegment(name, f); err != nil {
			return err
		}
	}
	return nil
}

func oneSegment(name string, f func(name string, r *segment.Reader) error) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	r, err := segment.Open(file, info.Size(), name, nil)
	if err != nil {
		return err
	}
	return f(name, r)
}
