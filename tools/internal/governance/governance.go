// Package governance holds the commands that look after schemas and the policy
// of a server. They say what they did in plain lines, or show the JSON that the
// server answered.
package governance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"

	"spoor/tools/internal/client"
	"spoor/tools/internal/render"
)

// Console is where a command runs.
type Console struct {
	Stdin   io.Reader
	Stdout  io.Writer
	Connect func() (*client.Client, error)
}

// maxFileBytes bounds a file that is sent whole; the server's bound is smaller for most.
const maxFileBytes = 16 << 20

func (c *Console) readFile(name string) ([]byte, error) {
	in := c.Stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, maxFileBytes+1))
	if err == nil && len(b) > maxFileBytes {
		err = fmt.Errorf("%s is larger than %d bytes", name, maxFileBytes)
	}
	return b, err
}

// call sends a request and reads the answer into value, if that is not nil.
func (c *Console) call(ctx context.Context, method, path string, args url.Values, body []byte, value any) (json.RawMessage, error) {
	server, err := c.Connect()
	if err != nil {
		return nil, err
	}
	defer server.Close()
	answer, err := server.Call(ctx, method, path, args, body)
	if err == nil && value != nil {
		err = json.Unmarshal(answer, value)
	}
	return answer, err
}

func (c *Console) show(answer json.RawMessage) error { return client.WriteJSON(c.Stdout, answer) }

// table writes rows with aligned columns; the first one is the head.
func (c *Console) table(rows [][]string) error {
	w := tabwriter.NewWriter(c.Stdout, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		for i := range row {
			row[i] = render.Printable(row[i])
		}
		_, _ = fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}

// Schema is the group of commands about schemas.
type Schema struct {
	Put   schemaPut   `cmd:"" help:"Make a file the next version of an event's schema, or change the mode."`
	List  schemaList  `cmd:"" help:"List the events that have a schema."`
	Show  schemaShow  `cmd:"" help:"Show a schema, or its history."`
	Diff  schemaDiff  `cmd:"" help:"Show what changed between two versions."`
	Check schemaCheck `cmd:"" help:"Judge the events of a file by a schema. Nothing is stored."`
	Infer schemaInfer `cmd:"" help:"Propose a schema from stored events."`
	Drop  schemaDrop  `cmd:"" help:"Forget an event's schema and its history."`
}

func schemaPath(event, what string) string { return "/api/schemas/" + url.PathEscape(event) + what }

type schemaPut struct {
	Event         string `arg:"" help:"Name of the event."`
	File          string `arg:"" optional:"" help:"JSON Schema of its properties; - is standard input. Without it only the mode changes."`
	Mode          string `help:"What becomes of events that do not obey: off, observe (counted and tagged), enforce (dead letters)." enum:"off,observe,enforce," default:""`
	Compatibility string `help:"What a new version must keep: backward, forward, full or none." enum:"backward,forward,full,none" default:"backward"`
}

type change struct {
	Path, What, From, To string
	Narrows, Widens      bool
}

type entry struct {
	Event, Mode string
	Version     int
	Violations  uint64
	Changes     []change
	Schema      json.RawMessage
}

// Run puts it.
func (x *schemaPut) Run(ctx context.Context, c *Console) error {
	var body []byte
	if x.File == "" && x.Mode == "" {
		return errors.New("name a file with the schema, or a --mode")
	}
	if x.File != "" {
		var err error
		if body, err = c.readFile(x.File); err != nil {
			return err
		}
		if len(bytes.TrimSpace(body)) == 0 {
			return fmt.Errorf("%s is empty", x.File)
		}
	}
	var e entry
	args := url.Values{"compatibility": {x.Compatibility}}
	if x.Mode != "" {
		args.Set("mode", x.Mode)
	}
	if _, err := c.call(ctx, http.MethodPut, schemaPath(x.Event, ""), args, body, &e); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(c.Stdout, "%s: version %d, %s\n", render.Printable(e.Event), e.Version, e.Mode); err != nil || len(e.Changes) == 0 {
		return err
	}
	return c.changes(e.Changes)
}

func (c *Console) changes(list []change) error {
	rows := [][]string{{"FIELD", "WHAT", "FROM", "TO", ""}}
	for _, x := range list {
		note := ""
		if x.Narrows {
			note = "narrower"
		} else if x.Widens {
			note = "wider"
		}
		rows = append(rows, []string{x.Path, x.What, x.From, x.To, note})
	}
	return c.table(rows)
}

type schemaList struct{}

// Run lists.
func (*schemaList) Run(ctx context.Context, c *Console) error {
	var all struct {
		Schemas           []entry
		UnknownEvents     string
		UnknownViolations uint64
	}
	if _, err := c.call(ctx, http.MethodGet, "/api/schemas", nil, nil, &all); err != nil {
		return err
	}
	rows := [][]string{{"EVENT", "MODE", "VERSION", "VIOLATING"}}
	for _, e := range all.Schemas {
		rows = append(rows, []string{e.Event, e.Mode, fmt.Sprint(e.Version), fmt.Sprint(e.Violations)})
	}
	rows = append(rows, []string{"(others)", all.UnknownEvents, "", fmt.Sprint(all.UnknownViolations)})
	return c.table(rows)
}

type schemaShow struct {
	Event   string `arg:"" help:"Name of the event."`
	Version int    `help:"Number of the version; the last one by default." placeholder:"N"`
	History bool   `help:"Show all versions."`
}

// Run shows.
func (x *schemaShow) Run(ctx context.Context, c *Console) error {
	if x.History {
		answer, err := c.call(ctx, http.MethodGet, schemaPath(x.Event, "/versions"), nil, nil, nil)
		if err != nil {
			return err
		}
		return c.show(answer)
	}
	args := url.Values{}
	if x.Version != 0 {
		args.Set("version", fmt.Sprint(x.Version))
	}
	var e entry
	if _, err := c.call(ctx, http.MethodGet, schemaPath(x.Event, ""), args, nil, &e); err != nil {
		return err
	}
	return c.show(e.Schema)
}

type schemaDiff struct {
	Event string `arg:"" help:"Name of the event."`
	From  int    `help:"Number of a version; the last but one by default." placeholder:"N"`
	To    int    `help:"Number of a version; the last one by default." placeholder:"N"`
}

// Run compares.
func (x *schemaDiff) Run(ctx context.Context, c *Console) error {
	args := url.Values{}
	if x.From != 0 {
		args.Set("from", fmt.Sprint(x.From))
	}
	if x.To != 0 {
		args.Set("to", fmt.Sprint(x.To))
	}
	var d struct {
		From, To int
		Changes  []change
	}
	if _, err := c.call(ctx, http.MethodGet, schemaPath(x.Event, "/diff"), args, nil, &d); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(c.Stdout, "version %d to %d: %d changes\n", d.From, d.To, len(d.Changes)); err != nil || len(d.Changes) == 0 {
		return err
	}
	return c.changes(d.Changes)
}

type schemaCheck struct {
	Event string `arg:"" help:"Name of the event whose schema judges."`
	File  string `arg:"" help:"Events: an array, or one per line; - is standard input."`
}

// Run judges; events that do not obey make it fail.
func (x *schemaCheck) Run(ctx context.Context, c *Console) error {
	body, err := c.readFile(x.File)
	if err != nil {
		return err
	}
	var v struct {
		Version int
		Events  []struct {
			Index      int
			Valid      bool
			Violations []struct{ Message string }
		}
	}
	if _, err := c.call(ctx, http.MethodPost, schemaPath(x.Event, "/check"), nil, body, &v); err != nil {
		return err
	}
	bad := 0
	for _, e := range v.Events {
		if e.Valid {
			continue
		}
		bad++
		for _, m := range e.Violations {
			if _, err := fmt.Fprintf(c.Stdout, "event %d: %s\n", e.Index, render.Printable(m.Message)); err != nil {
				return err
			}
		}
	}
	if _, err := fmt.Fprintf(c.Stdout, "%d events, %d do not obey version %d\n", len(v.Events), bad, v.Version); err != nil {
		return err
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d events do not obey", bad, len(v.Events))
	}
	return nil
}

type schemaInfer struct {
	Event string `arg:"" help:"Name of the event."`
	From  string `help:"Look at events from this day on." placeholder:"DAY"`
	To    string `help:"Look at events before this day." placeholder:"DAY"`
}

// Run proposes.
func (x *schemaInfer) Run(ctx context.Context, c *Console) error {
	args := url.Values{}
	if x.From != "" {
		args.Set("from", x.From)
	}
	if x.To != "" {
		args.Set("to", x.To)
	}
	var e entry
	if _, err := c.call(ctx, http.MethodGet, schemaPath(x.Event, "/infer"), args, nil, &struct{ Schema *json.RawMessage }{&e.Schema}); err != nil {
		return err
	}
	return c.show(e.Schema)
}

type schemaDrop struct {
	Event string `arg:"" help:"Name of the event."`
}

// Run forgets.
func (x *schemaDrop) Run(ctx context.Context, c *Console) error {
	if _, err := c.call(ctx, http.MethodDelete, schemaPath(x.Event, ""), nil, nil, nil); err != nil {
		return err
	}
	_, err := fmt.Fprintf(c.Stdout, "%s: its schema is gone\n", render.Printable(x.Event))
	return err
}

// Policy is the group of commands about the policy.
type Policy struct {
	Show policyShow `cmd:"" help:"Show the policy in force."`
	Put  policyPut  `cmd:"" help:"Make a file the policy. What it leaves out has the default."`
}

type policyShow struct{}

// Run shows.
func (*policyShow) Run(ctx context.Context, c *Console) error {
	answer, err := c.call(ctx, http.MethodGet, "/api/policy", nil, nil, nil)
	if err != nil {
		return err
	}
	return c.show(answer)
}

type policyPut struct {
	File string `arg:"" help:"JSON; - is standard input."`
}

// Run puts it.
func (x *policyPut) Run(ctx context.Context, c *Console) error {
	body, err := c.readFile(x.File)
	if err != nil {
		return err
	}
	answer, err := c.call(ctx, http.MethodPut, "/api/policy", nil, body, nil)
	if err != nil {
		return err
	}
	return c.show(answer)
}
