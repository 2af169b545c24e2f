package main

import (
	"errors"
	"fmt"
	"image/color"
	"math"
	"os"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

const (
	columns     = 4
	panelWidth  = 6 * vg.Centimeter
	panelHeight = 5 * vg.Centimeter
	textSize    = 9
)

// picture is a file of panels in rows of some columns, both scales logarithmic: what grows with the data has the slope of the diagonal. unit
// is that of all panels; they share a scale then.
type picture struct {
	file, unit string
	panels     []panel
	columns    int
	shared     bool
}

// systems are the names of the systems of reports, those of the first first.
func systems(reports []report) (names []string) {
	for _, r := range reports {
		for _, l := range r.Loads {
			if name := system(l.Name); !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

func (p *picture) save(file string, reports []report) (err error) {
	names := systems(reports)
	var sizes []float64
	for _, r := range reports {
		sizes = append(sizes, float64(r.Events))
	}
	low, high := p.bounds()
	var plots []*plot.Plot
	legend := plot.New()
	for i := range p.panels {
		one, err := p.panels[i].plot(names, sizes, legend, i == 0)
		if err != nil {
			return err
		}
		if p.shared {
			one.Y.Min, one.Y.Max = low, high
		}
		plots = append(plots, one)
	}
	legend.HideAxes()
	legend.Title.Text = wrapped(strings.TrimSpace(p.unit + " by number of events"))
	legend.Legend.Padding = vg.Points(3)
	legend.Title.TextStyle.Font.Size = textSize
	legend.Legend.Left, legend.Legend.Top = true, true
	legend.Legend.TextStyle.Font.Size = textSize
	plots = append(plots, legend)

	rows := (len(plots) + p.columns - 1) / p.columns
	grid := make([][]*plot.Plot, rows)
	for i := range grid {
		grid[i] = make([]*plot.Plot, p.columns)
		copy(grid[i], plots[min(i*p.columns, len(plots)):min((i+1)*p.columns, len(plots))])
	}
	canvas := vgsvg.New(vg.Length(p.columns)*panelWidth, vg.Length(rows)*panelHeight)
	area := draw.New(canvas)
	area.SetColor(color.White)
	area.Fill(area.Rectangle.Path())
	tiles := draw.Tiles{Rows: rows, Cols: p.columns, PadX: 4 * vg.Millimeter, PadY: 4 * vg.Millimeter, PadTop: 2 * vg.Millimeter, PadRight: 4 * vg.Millimeter, PadBottom: 2 * vg.Millimeter, PadLeft: 2 * vg.Millimeter}
	for i, line := range plot.Align(grid, tiles, area) {
		for j, at := range line {
			if grid[i][j] != nil {
				grid[i][j].Draw(at)
			}
		}
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = canvas.WriteTo(f)
	return err
}

// bounds are those of all values.
func (p *picture) bounds() (low, high float64) {
	low, high = math.Inf(1), 0.0
	for _, panel := range p.panels {
		for _, curve := range panel.curves {
			for _, at := range curve {
				low, high = min(low, at.Y), max(high, at.Y)
			}
		}
	}
	return low / room, high * room
}

// faint is the colour of grids.
var faint = color.Gray{0xdd}

// room is left around curves.
const room = 1.4

// plot draws the curves of a panel, and the names of all systems into legend if told.
func (p *panel) plot(names []string, sizes []float64, legend *plot.Plot, told bool) (*plot.Plot, error) {
	one := plot.New()
	one.Title.Text = wrapped(p.title)
	for _, size := range []*font.Length{&one.Title.TextStyle.Font.Size, &one.X.Label.TextStyle.Font.Size} {
		*size = textSize
	}
	one.X.Tick.Label.Font.Size, one.Y.Tick.Label.Font.Size = textSize-1, textSize-1
	one.X.Scale, one.Y.Scale = plot.LogScale{}, plot.LogScale{}
	one.X.Tick.Marker, one.Y.Tick.Marker = sizeTicks(sizes), plainTicks{}
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = faint, faint
	one.Add(grid)
	low, high := math.Inf(1), 0.0
	for i, name := range names {
		points := p.curves[name]
		curve, dots, err := plotter.NewLinePoints(points)
		if len(points) == 0 {
			curve, dots, err = plotter.NewLinePoints(plotter.XYs{{X: 1, Y: 1}}) // for the legend alone
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.title, err)
		}
		curve.Color, dots.Color = palette[i%len(palette)], palette[i%len(palette)]
		dots.Shape = shapes[i%len(shapes)]
		if i == 0 { // Spoor
			curve.Width = vg.Points(1.6)
		}
		if told {
			legend.Legend.Add(name, curve, dots)
		}
		if len(points) > 0 {
			one.Add(curve, dots)
		}
		for _, at := range points {
			low, high = min(low, at.Y), max(high, at.Y)
		}
	}
	one.X.Min, one.X.Max = slices.Min(sizes)/room, slices.Max(sizes)*room
	one.Y.Min, one.Y.Max = low/room, high*room
	return one, nil
}

// wrapped breaks a title that is longer than a panel in two lines.
func wrapped(title string) string {
	const fits = 26
	if len(title) <= fits {
		return title
	}
	at := strings.LastIndexByte(title[:min(len(title), fits+2)], ' ')
	if at < 0 {
		return title
	}
	return title[:at] + "\n" + title[at+1:]
}

// sizeTicks are the sizes that were measured.
type sizeTicks []float64

func (t sizeTicks) Ticks(_, _ float64) (ticks []plot.Tick) {
	for _, size := range t {
		ticks = append(ticks, plot.Tick{Value: size, Label: plain(size)})
	}
	return ticks
}

// plainTicks are those of a logarithmic scale: its powers of ten, or 1, 2 and 5 of each where those would be fewer than two, or all.
type plainTicks struct{}

func (plainTicks) Ticks(low, high float64) (ticks []plot.Tick) {
	labelled := 0
	for _, steps := range [][]float64{{1}, {1, 2, 5}, {1, 2, 3, 4, 5, 6, 7, 8, 9}} {
		if labelled >= 2 {
			break
		}
		ticks, labelled = nil, 0
		for power := math.Pow(10, math.Floor(math.Log10(low))); power <= high; power *= 10 {
			for i := 1.0; i < 10; i++ {
				at := power * i
				if at < low || at > high {
					continue
				}
				t := plot.Tick{Value: at}
				if slices.Contains(steps, i) {
					t.Label = plain(at)
					labelled++
				}
				ticks = append(ticks, t)
			}
		}
	}
	return ticks
}

// plain writes a number as persons do: 0.1, 500, 2 k, 10 M.
func plain(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%.3g M", v/1e6)
	case v >= 1e3:
		return fmt.Sprintf("%.3g k", v/1e3)
	}
	return fmt.Sprintf("%.3g", v)
}
