// Command plot draws the reports of "spoor bench run" at several sizes: time and memory by question, and the load, against the
// number of events, as SVG files, a curve for each system. It is a module of its own, so that the server does not take the library that draws.
//
//	go run . -out ../../docs/images 1m.json 10m.json 50m.json
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"image/color"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg/draw"
)

// report is what is read of a report; bench/peers/report.go has all of it.
type report struct {
	Events int64 `json:"events"`
	Loads  []struct {
		Name          string  `json:"name"`
		Micros        float64 `json:"cpu_micros_per_event"`
		BytesPerEvent float64 `json:"disk_bytes_per_event"`
		PeakRSS       float64 `json:"peak_rss_bytes"`
		PerSecond     float64 `json:"events_per_second"`
	} `json:"loads"`
	Questions []struct {
		Name  string `json:"name"`
		Times []struct {
			System  string  `json:"system"`
			Median  float64 `json:"median_ms"`
			PeakRSS float64 `json:"peak_rss_bytes"`
			Differs string  `json:"differs"`
		} `json:"times"`
	} `json:"questions"`
}

// palette is Okabe and Ito's, which the colour-blind can tell apart.
var palette = []color.Color{
	color.RGBA{0x00, 0x72, 0xb2, 0xff},
	color.RGBA{0xd5, 0x5e, 0x00, 0xff},
	color.RGBA{0x00, 0x9e, 0x73, 0xff},
	color.RGBA{0xcc, 0x79, 0xa7, 0xff},
	color.RGBA{0xe6, 0x9f, 0x00, 0xff},
}

var shapes = []draw.GlyphDrawer{draw.CircleGlyph{}, draw.BoxGlyph{}, draw.TriangleGlyph{}, draw.PyramidGlyph{}, draw.RingGlyph{}}

// panel is one small picture: a curve for each system over the number of events. Systems have one place, and so one colour, in all panels.
type panel struct {
	title  string
	curves map[string]plotter.XYs // by system
}

func (p *panel) add(system string, events int64, y float64) {
	if y > 0 { // what was not measured is not drawn
		p.curves[system] = append(p.curves[system], plotter.XY{X: float64(events), Y: y})
	}
}

func main() {
	out := flag.String("out", ".", "directory of the SVG files")
	flag.Parse()
	if err := run(*out, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "plot:", err)
		os.Exit(1)
	}
}

func run(out string, files []string) error {
	if len(files) < 2 {
		return fmt.Errorf("give the reports of two sizes or more")
	}
	var reports []report
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		var r report
		if err := json.Unmarshal(text, &r); err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		if len(r.Loads) == 0 {
			return fmt.Errorf("%s is no report of spoor bench run", name)
		}
		reports = append(reports, r)
	}
	slices.SortFunc(reports, func(a, b report) int { return int(a.Events - b.Events) })
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	times, memory := questions(reports)
	for _, p := range []picture{
		{"scale-queries.svg", "milliseconds", times, columns, true},
		{"scale-memory.svg", "peak MiB of the process", memory, columns, true},
		{"scale-load.svg", "", loads(reports), 3, false},
	} {
		if err := p.save(filepath.Join(out, p.file), reports); err != nil {
			return fmt.Errorf("draw %s: %w", p.file, err)
		}
	}
	return nil
}

// system is the name of a system without its version.
func system(name string) string {
	name, _, _ = strings.Cut(name, " ")
	return name
}

// questions are times and peaks by question.
func questions(reports []report) (times, memory []panel) {
	for _, q := range reports[0].Questions {
		t, m := panel{q.Name, map[string]plotter.XYs{}}, panel{q.Name, map[string]plotter.XYs{}}
		for _, r := range reports {
			for _, of := range r.Questions {
				if of.Name != q.Name {
					continue
				}
				for _, x := range of.Times {
					if x.Differs == "" {
						t.add(system(x.System), r.Events, x.Median)
						m.add(system(x.System), r.Events, x.PeakRSS/(1<<20))
					}
				}
			}
		}
		times, memory = append(times, t), append(memory, m)
	}
	return times, memory
}

func loads(reports []report) []panel {
	panels := []panel{{title: "events per second"}, {title: "CPU, microseconds an event"}, {title: "disk, bytes an event"}, {title: "peak memory, MiB"}}
	for i := range panels {
		panels[i].curves = map[string]plotter.XYs{}
	}
	for _, r := range reports {
		for _, l := range r.Loads {
			for i, y := range []float64{l.PerSecond, l.Micros, l.BytesPerEvent, l.PeakRSS / (1 << 20)} {
				panels[i].add(system(l.Name), r.Events, y)
			}
		}
	}
	return panels
}
