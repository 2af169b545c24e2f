// Package render shows the answer to a query: to a person as a table with bars,
// to a program as JSON or CSV. It is the last step of an event's way. It knows the
// shapes of answers and nothing of how they came about; a kind of answer that it
// has no picture for is shown as plain tables of its members.
package render

import (
	"encoding/json"
	"fmt"
	"io"
)

// Format is how an answer is shown.
type Format string

// The formats.
const (
	Table Format = "table" // for persons
	JSON  Format = "json"  // as the server wrote it
	CSV   Format = "csv"   // one header, one row per fact, numbers as in the JSON
)

// Options describe where the answer is shown.
type Options struct {
	Format Format
	Width  int  // columns of the terminal; 0 is 100
	Color  bool // whether it understands ANSI colours
}

const defaultWidth = 100

// envelope is what every answer carries.
type envelope struct {
	Kind     string    `json:"kind"`
	Query    string    `json:"query"`
	Warnings []warning `json:"warnings"`
	Next     string    `json:"next"`
	Stats    *struct {
		ElapsedMS   float64 `json:"elapsed_ms"`
		RowsScanned int64   `json:"rows_scanned"`
	} `json:"stats"`
	AsOf *struct {
		DataThrough string `json:"data_through"`
	} `json:"as_of"`
}

// warning is a text, or an object with a message.
type warning string

// UnmarshalJSON implements json.Unmarshaler.
func (w *warning) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) == nil {
		*w = warning(text)
		return nil
	}
	var shape struct {
		Message string `json:"message"`
		Hint    string `json:"hint"`
	}
	if json.Unmarshal(data, &shape) == nil && shape.Message != "" {
		*w = warning(shape.Message)
		if shape.Hint != "" {
			*w += warning("; " + shape.Hint)
		}
		return nil
	}
	*w = warning(data)
	return nil
}

// pictures make the sheets of an answer, by kind.
var pictures = map[string]func(answer []byte) ([]sheet, error){
	"funnel":    funnelSheets,
	"trend":     trendSheets,
	"retention": retentionSheets,
	"sessions":  sessionsSheets,
	"top":       topSheets,
	"events":    eventsSheets,
}

// Answer writes the answer to out; warnings and where to read on go to notes.
func Answer(out, notes io.Writer, answer json.RawMessage, o Options) error {
	if o.Width <= 0 {
		o.Width = defaultWidth
	}
	var e envelope
	if err := json.Unmarshal(answer, &e); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if o.Format != JSON {
		for _, w := range e.Warnings {
			if _, err := fmt.Fprintf(notes, "warning: %s\n", printable(string(w))); err != nil {
				return err
			}
		}
	}
	if o.Format == JSON {
		if len(answer) > 0 && answer[len(answer)-1] != '\n' {
			answer = append(answer[:len(answer):len(answer)], '\n')
		}
		_, err := out.Write(answer)
		return err
	}

	if e.Kind == "explain" && o.Format == Table {
		return writeExplanation(out, answer)
	}
	picture, ok := pictures[e.Kind]
	if !ok {
		picture = plainSheets
	}
	sheets, err := picture(answer)
	if err != nil {
		return fmt.Errorf("read the answer of kind %q: %w", e.Kind, err)
	}
	if o.Format == CSV {
		err = writeCSV(out, sheets)
	} else {
		err = writeTables(out, sheets, o)
		if err == nil {
			err = e.footer(out)
		}
	}
	if err == nil && e.Next != "" {
		_, err = fmt.Fprintf(notes, "there are more; add to the query: after %q\n", e.Next)
	}
	return err
}

// footer says what the answer cost and how far the data reaches.
func (e *envelope) footer(out io.Writer) error {
	if e.Stats == nil {
		return nil
	}
	line := fmt.Sprintf("%s ms", decimals(e.Stats.ElapsedMS))
	if e.Stats.RowsScanned > 0 {
		line += fmt.Sprintf(", %s rows", thousands(e.Stats.RowsScanned))
	}
	if e.AsOf != nil && e.AsOf.DataThrough != "" {
		line += ", data through " + moment(e.AsOf.DataThrough)
	}
	_, err := fmt.Fprintf(out, "\n%s\n", line)
	return err
}
