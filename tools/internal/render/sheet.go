package render

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// sheet is one table of an answer.
type sheet struct {
	title   string // above the table; not in CSV
	columns []column
	rows    [][]cell
}

// column is a column of a sheet.
type column struct {
	name  string
	right bool // numbers
	only  Format
}

// cell is one value in its two forms.
type cell struct {
	show string // for a person
	raw  string // for CSV
	heat float64
}

// noHeat is the heat of a cell that is no part of a heat map; a zero cell is cold too.
const noHeat = 0

func shown(text string) cell { return cell{show: text} }

func same(text string) cell { return cell{show: printable(text), raw: text} }

func left(names ...string) (columns []column) {
	for _, n := range names {
		columns = append(columns, column{name: n})
	}
	return columns
}

func right(names ...string) (columns []column) {
	for _, n := range names {
		columns = append(columns, column{name: n, right: true})
	}
	return columns
}

func onlyIn(f Format, columns []column) []column {
	for i := range columns {
		columns[i].only = f
	}
	return columns
}

// writeCSV writes the sheets that have rows for a program. Sheets with the same
// columns share one header; others stand behind an empty line.
func writeCSV(out io.Writer, sheets []sheet) error {
	w := csv.NewWriter(out)
	var last []string
	for _, s := range sheets {
		var keep []int
		var header []string
		for i, c := range s.columns {
			if c.only != Table {
				keep = append(keep, i)
				header = append(header, c.name)
			}
		}
		if len(keep) == 0 {
			continue
		}
		if !slices.Equal(header, last) {
			if last != nil {
				w.Flush()
				if _, err := io.WriteString(out, "\n"); err != nil {
					return err
				}
			}
			if err := w.Write(header); err != nil {
				return err
			}
			last = header
		}
		for _, row := range s.rows {
			record := make([]string, len(keep))
			for i, at := range keep {
				record[i] = row[at].raw
			}
			if err := w.Write(record); err != nil {
				return err
			}
		}
	}
	w.Flush()
	return w.Error()
}

// writeTables writes the sheets for a person.
func writeTables(out io.Writer, sheets []sheet, o Options) error {
	written := 0
	for _, s := range sheets {
		var keep []int
		var header table.Row
		var configs []table.ColumnConfig
		for i, c := range s.columns {
			if c.only == CSV {
				continue
			}
			keep = append(keep, i)
			header = append(header, c.name)
			config := table.ColumnConfig{Number: len(keep)}
			if c.right {
				config.Align, config.AlignHeader = text.AlignRight, text.AlignRight
			}
			configs = append(configs, config)
		}
		if len(keep) == 0 {
			continue
		}
		w := table.NewWriter()
		style := table.StyleLight
		style.Options = table.OptionsNoBordersAndSeparators
		style.Options.SeparateHeader = true
		style.Format.Header = text.FormatDefault
		w.SetStyle(style)
		w.SuppressTrailingSpaces()
		w.SetAllowedRowLength(o.Width)
		w.AppendHeader(header)
		w.SetColumnConfigs(configs)
		for _, row := range s.rows {
			shownRow := make(table.Row, len(keep))
			for i, at := range keep {
				shownRow[i] = row[at].paint(o.Color)
			}
			w.AppendRow(shownRow)
		}
		if written++; written > 1 {
			if _, err := io.WriteString(out, "\n"); err != nil {
				return err
			}
		}
		if s.title != "" {
			if _, err := fmt.Fprintln(out, s.title); err != nil {
				return err
			}
		}
		body := w.Render()
		if len(s.rows) == 0 {
			body += "\n (nothing)"
		}
		if _, err := fmt.Fprintln(out, body); err != nil {
			return err
		}
	}
	return nil
}

// heatColors are backgrounds of the 256-colour palette from cold to hot.
var heatColors = [...]int{17, 18, 19, 20, 26, 32, 38, 44}

func (c cell) paint(color bool) string {
	if !color || c.heat <= noHeat {
		return c.show
	}
	shade := min(int(c.heat*float64(len(heatColors))), len(heatColors)-1)
	return fmt.Sprintf("\x1b[48;5;%dm\x1b[97m%s\x1b[0m", heatColors[shade], c.show)
}

// Column is a column of an answer as a table.
type Column struct {
	Name   string
	Number bool
}

// Rows are an answer as a table for programs: what CSV has, as long as the columns stay the same.
func Rows(answer []byte) (columns []Column, rows [][]string, err error) {
	var e envelope
	if err := json.Unmarshal(answer, &e); err != nil {
		return nil, nil, fmt.Errorf("read the answer: %w", err)
	}
	picture, ok := pictures[e.Kind]
	if !ok {
		picture = plainSheets
	}
	sheets, err := picture(answer)
	if err != nil {
		return nil, nil, fmt.Errorf("read the answer of kind %q: %w", e.Kind, err)
	}
	for _, s := range sheets {
		var own []Column
		var keep []int
		for i, c := range s.columns {
			if c.only != Table {
				own, keep = append(own, Column{c.name, c.right}), append(keep, i)
			}
		}
		switch {
		case len(own) == 0:
			continue
		case columns == nil:
			columns = own
		case !slices.Equal(columns, own):
			continue
		}
		for _, row := range s.rows {
			record := make([]string, len(keep))
			for i, at := range keep {
				record[i] = row[at].raw
			}
			rows = append(rows, record)
		}
	}
	return columns, rows, nil
}
