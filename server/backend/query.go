package backend

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"spoor/engine/query"
	"spoor/engine/query/lang"
	"spoor/segment/batch"
	"spoor/server"
	"spoor/server/export"
)

// Query answers a query.
func (b *Backend) Query(ctx context.Context, text string, opt server.QueryOptions) ([]byte, error) {
	q, err := lang.Parse(text)
	if err != nil {
		return nil, queryFailure(err)
	}
	var answer any
	if opt.Explain {
		answer, err = b.query.Explain(ctx, q)
	} else {
		answer, err = b.query.Answer(ctx, q, query.Options{NoCache: opt.NoCache, ID: opt.ID})
	}
	if err != nil {
		return nil, b.readFailure(err)
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(answer); err != nil {
		return nil, fmt.Errorf("write the answer of a %s: %w", q.Kind, err)
	}
	return out.Bytes(), nil
}

// Persons answers who is in one number of a query's answer.
func (b *Backend) Persons(ctx context.Context, text string, at query.Place) (*query.UsersAnswer, error) {
	q, err := lang.Parse(text)
	if err != nil {
		return nil, queryFailure(err)
	}
	a, err := b.query.Persons(ctx, q, at)
	if err != nil {
		return nil, b.readFailure(err)
	}
	return a, nil
}

// CheckQuery parses a query.
func (b *Backend) CheckQuery(text string) (kind string, err error) {
	q, err := lang.Parse(text)
	if err != nil {
		return "", queryFailure(err)
	}
	return q.Kind.String(), nil
}

// errEnough ends an export at its limit.
var errEnough = errors.New("enough")

// Export yields events in the order of time and eventId.
func (b *Backend) Export(ctx context.Context, spec export.Spec, yield func(line []byte) error) error {
	q, err := exportQuery(spec)
	if err != nil {
		return err
	}
	left := spec.Limit
	err = b.query.Export(ctx, q, func(line []byte, _ string) error {
		if err := yield(line); err != nil {
			return err
		}
		if left--; left == 0 {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return b.readFailure(err)
}

// The bounds of an export without bounds, as the language can say them.
const beginning, end = "1900-01-01", "2199-12-31"

// whereLine is the line of an export's query on which the caller's predicate begins.
const whereLine = 2

// exportQuery makes a query of a spec. The predicate stands alone in brackets on
// lines of its own, so it can be nothing but a predicate.
func exportQuery(spec export.Spec) (*lang.Query, error) {
	from, err := timeText("from", spec.From, beginning)
	if err != nil {
		return nil, err
	}
	to, err := timeText("to", spec.To, end)
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf("events of any from %s to %s", from, to)
	if spec.Where != "" {
		text += " where (\n" + spec.Where + "\n)"
	}
	q, err := lang.Parse(text)
	if err != nil {
		return nil, exportFailure(err)
	}
	if spec.To == "" {
		q.Range.To = lang.Time{Micros: batch.MaxTime + 1}
	}
	if len(spec.Events) > 0 {
		of := lang.EventSel{}
		for _, name := range spec.Events {
			of.Alternatives = append(of.Alternatives, lang.EventMatch{Name: name})
		}
		q.Events.Of = of
	}
	if spec.After != nil {
		q.After = cursorAt(spec.After)
	}
	return q, nil
}

// cursorAt is the query engine's cursor of a place in the order of time and eventId.
func cursorAt(p *export.Position) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(p.Time))
	return base64.RawURLEncoding.EncodeToString(append(b, p.EventID...))
}

// timeText quotes a time for the query language.
func timeText(name, text, otherwise string) (string, error) {
	if text == "" {
		text = otherwise
	}
	if len(text) > 64 || strings.Trim(text, "0123456789-+:.TZtz ") != "" {
		return "", &server.QueryError{Code: lang.CodeValue, Message: name + " is no date and no time; write 2026-05-01 or 2026-05-01T10:30:00Z"}
	}
	return `"` + text + `"`, nil
}

// exportFailure says where an error is in what the caller sent.
func exportFailure(err error) error {
	var syntax *lang.Error
	if !errors.As(err, &syntax) {
		return err
	}
	e := *syntax
	if e.Line < whereLine {
		e.Line, e.Column = 0, 0
		e.Message = "from and to: " + e.Message
	} else {
		e.Line -= whereLine - 1
		e.Message = "where: " + e.Message
	}
	return queryFailure(&e)
}
