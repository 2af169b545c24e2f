// Package sizes tells what the bytes of a store are for: by column, ids, timelines, filters, log, and what each would take at least.
package sizes

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"

	"spoor/segment"
)

// Report is the account of some files.
type Report struct {
	Events int64  `json:"events"`
	Bytes  int64  `json:"bytes"`
	Parts  []Part `json:"parts"` // the largest first; their bytes are Bytes
}

// Part is what some bytes are for.
type Part struct {
	Name     string  `json:"name"`
	Bytes    int64   `json:"bytes"`
	PerEvent float64 `json:"bytes_per_event"`
	// Floor is what its values would take by their entropy, in bytes per event; nil where that was not asked for or is not known.
	Floor *float64 `json:"floor_bytes_per_event,omitempty"`
}

// others are the files of a data directory beside segments, by how their names end.
var others = []struct{ suffix, name string }{
	{".log", "log"},
	{".bloom", "filters against duplicates"},
	{".identity", "persons and their ids"},
	{".traits", "traits of persons"},
	{".letters", "dead letters"},
}

const (
	segmentSuffix = ".seg"
	rest          = "manifest, checkpoints, documents and the rest"
)

// Of accounts for a segment file, or for all files of a directory; of a data directory that is everything that a node keeps. A server may have it
// open: files that go away meanwhile are left out. With floors every value is read, else directories alone.
func Of(names []string, floors bool) (*Report, error) {
	a := account{bytes: map[string]int64{}, floors: map[string]float64{}}
	for _, name := range names {
		err := filepath.WalkDir(name, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				err = a.file(path, floors)
			}
			if errors.Is(err, fs.ErrNotExist) && path != name {
				return nil
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return a.report(), nil
}

// account gathers bytes by part, and bits by part.
type account struct {
	events int64
	bytes  map[string]int64
	floors map[string]float64
}

func (a *account) file(path string, floors bool) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if strings.HasSuffix(path, segmentSuffix) {
		return a.segment(file, info.Size(), path, floors)
	}
	for _, o := range others {
		if strings.HasSuffix(path, o.suffix) {
			a.bytes[o.name] += info.Size()
			return nil
		}
	}
	a.bytes[rest] += info.Size()
	return nil
}

func (a *account) segment(file *os.File, size int64, path string, floors bool) error {
	r, err := segment.Open(file, size, path, nil)
	if err != nil {
		return err
	}
	parts, err := r.Parts()
	if err != nil {
		return err
	}
	for _, p := range parts {
		a.bytes[p.Name] += p.Bytes
	}
	a.events += int64(r.Rows())
	if !floors {
		return nil
	}
	return a.entropy(r)
}

func (a *account) report() *Report {
	r := &Report{Events: a.events}
	for name, bytes := range a.bytes {
		p := Part{Name: name, Bytes: bytes, PerEvent: perEvent(float64(bytes), a.events)}
		if bits, ok := a.floors[name]; ok {
			floor := perEvent(bits/8, a.events)
			p.Floor = &floor
		}
		r.Bytes += bytes
		r.Parts = append(r.Parts, p)
	}
	slices.SortFunc(r.Parts, func(x, y Part) int { return cmp.Or(cmp.Compare(y.Bytes, x.Bytes), cmp.Compare(x.Name, y.Name)) })
	return r
}

func perEvent(bytes float64, events int64) float64 { return bytes / float64(max(events, 1)) }

// WriteTable writes the report as a table.
func (r *Report) WriteTable(w io.Writer) {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleLight)
	head := table.Row{"part", "bytes", "per event", "%"}
	floors := slices.ContainsFunc(r.Parts, func(p Part) bool { return p.Floor != nil })
	if floors {
		head = append(head, "floor")
	}
	t.AppendHeader(head)
	for _, p := range r.Parts {
		row := table.Row{p.Name, p.Bytes, fmt.Sprintf("%.2f", p.PerEvent), fmt.Sprintf("%.1f", 100*float64(p.Bytes)/float64(max(r.Bytes, 1)))}
		if p.Floor != nil {
			row = append(row, fmt.Sprintf("%.2f", *p.Floor))
		}
		t.AppendRow(row)
	}
	t.AppendFooter(table.Row{fmt.Sprintf("%d events", r.Events), r.Bytes, fmt.Sprintf("%.2f", perEvent(float64(r.Bytes), r.Events))})
	t.Render()
}
