// Command plot draws the reports of "spoor bench run" at several sizes: time and memory by question, and the load, against the
// number of events, as SVG files. It is a module of its own, so that the server does not take the library that draws.
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

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
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
			Median  float64 `json:"median_ms"`
			PeakRSS float64 `json:"peak_rss_bytes"`
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
	color.RGBA{0x56, 0xb4, 0xe9, 0xff},
	color.RGBA{0x00, 0x00, 0x00, 0xff},
	color.RGBA{0x99, 0x99, 0x99, 0xff},
}

var shapes = []draw.GlyphDrawer{draw.CircleGlyph{}, draw.BoxGlyph{}, draw.TriangleGlyph{}, draw.RingGlyph{}, draw.SquareGlyph{}, draw.PyramidGlyph{}}

// line is one curve over the number of events.
type line struct {
	name   string
	points plotter.XYs
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
	times, memory := questions(reports)
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	for _, d := range []struct {
		file, title, unit string
		lines             []line
	}{
		{"scale-queries.svg", "Time of a query", "milliseconds", times},
		{"scale-memory.svg", "Peak memory of the server while it answers", "MiB", memory},
		{"scale-load.svg", "Load: CPU, disk, memory", "us of CPU an event, bytes an event, MiB", loads(reports)},
	} {
		if err := drawTo(filepath.Join(out, d.file), d.title, d.unit, d.lines); err != nil {
			return fmt.Errorf("draw %s: %w", d.file, err)
		}
	}
	return nil
}

// questions are Spoor's times and peaks, a curve a question.
func questions(reports []report) (times, memory []line) {
	for i, q := range reports[0].Questions {
		t, m := line{name: q.Name}, line{name: q.Name}
		for _, r := range reports {
			if i < len(r.Questions) && len(r.Questions[i].Times) > 0 {
				own := r.Questions[i].Times[0]
				t.points = append(t.points, plotter.XY{X: float64(r.Events), Y: own.Median})
				m.points = append(m.points, plotter.XY{X: float64(r.Events), Y: own.PeakRSS / (1 << 20)})
			}
		}
		times, memory = append(times, t), append(memory, m)
	}
	return times, memory
}

func loads(reports []report) []line {
	lines := []line{{name: "CPU, us an event"}, {name: "disk, bytes an event"}, {name: "peak memory, MiB"}}
	for _, r := range reports {
		l, x := r.Loads[0], float64(r.Events)
		for i, y := range []float64{l.Micros, l.BytesPerEvent, l.PeakRSS / (1 << 20)} {
			lines[i].points = append(lines[i].points, plotter.XY{X: x, Y: y})
		}
	}
	return lines
}

// drawTo draws lines on two logarithmic scales: what grows with the data has the slope of the diagonal.
func drawTo(file, title, unit string, lines []line) error {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, "events", unit
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker, p.Y.Tick.Marker = plainTicks{}, plainTicks{}
	p.Add(plotter.NewGrid())
	p.Legend.Left, p.Legend.Top = true, true
	p.Legend.TextStyle.Font.Size = vg.Points(8)
	for i, l := range lines {
		for _, at := range l.points {
			if at.Y <= 0 {
				return fmt.Errorf("%s has no figure at %g events", l.name, at.X)
			}
		}
		curve, dots, err := plotter.NewLinePoints(l.points)
		if err != nil {
			return err
		}
		curve.Color, dots.Color = palette[i%len(palette)], palette[i%len(palette)]
		dots.Shape = shapes[i%len(shapes)]
		if i >= len(palette) {
			curve.Dashes = []vg.Length{vg.Points(4), vg.Points(2)}
		}
		p.Add(curve, dots)
		p.Legend.Add(l.name, curve, dots)
	}
	p.Y.Max *= 10 // room for the legend
	return p.Save(20*vg.Centimeter, 14*vg.Centimeter, file)
}

// plainTicks are those of a logarithmic scale, labelled as persons write numbers: 0.1, 500, 2 k, 10 M.
type plainTicks struct{}

func (plainTicks) Ticks(low, high float64) []plot.Tick {
	ticks := plot.LogTicks{Prec: -1}.Ticks(low, high)
	for i, t := range ticks {
		if t.Label == "" {
			continue
		}
		switch {
		case t.Value >= 1e6:
			ticks[i].Label = fmt.Sprintf("%g M", t.Value/1e6)
		case t.Value >= 1e3:
			ticks[i].Label = fmt.Sprintf("%g k", t.Value/1e3)
		default:
			ticks[i].Label = fmt.Sprintf("%g", t.Value)
		}
	}
	return ticks
}
