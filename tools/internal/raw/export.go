package raw

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"

	"spoor/tools/internal/client"
	"spoor/tools/internal/render"
)

// Export takes events out of a server.
type Export struct {
	Out     string   `help:"File to write; - is standard output." short:"o" default:"-" placeholder:"FILE"`
	Format  string   `help:"One of ${enum}." enum:"ndjson,csv,parquet" default:"ndjson" short:"f"`
	From    string   `help:"First time: 2026-05-01, or 2026-05-01T10:00:00Z." placeholder:"TIME"`
	To      string   `help:"Time before which it ends." placeholder:"TIME"`
	Where   string   `help:"Condition of the query language." placeholder:"CONDITION"`
	Event   []string `help:"Names of events; all by default." placeholder:"NAME"`
	Columns []string `help:"Columns of CSV, or the fields that have columns of their own in Parquet." placeholder:"FIELD"`
	Limit   int      `help:"Events at most." placeholder:"N"`
	Name    string   `help:"Have the server write it into its raw tier, under this name, instead of sending it. Needs an admin key." placeholder:"NAME"`
	Every   string   `help:"With --name: a file for each day or hour that ends, from --from on." enum:",day,hour" default:"" placeholder:"PERIOD"`
	Window  int      `help:"With --every: how many periods each file covers." placeholder:"N"`
	Delay   string   `help:"With --every: how long after its end a period is written; 6h for days, 15m for hours." placeholder:"TIME"`
	Resume  bool     `help:"Go on behind the last whole line of the file (ndjson)."`
}

// Help implements kong.HelpProvider.
func (Export) Help() string {
	return `Events come by time, then eventId. An export as ndjson that is cut off goes on by itself behind the last line, and after an interruption with --resume. Texts in CSV that a spreadsheet would take for formulas get an apostrophe in front.

Examples:

    spoor export --from 2026-05-01 --to 2026-06-01 -o may.ndjson
    spoor export --from 2026-05-01 --to 2026-06-01 -o may.ndjson --resume
    spoor export --event purchase --where 'properties.price > 100' --format csv --columns eventId,timestamp,properties.price
    spoor export --format parquet -o all.parquet
    spoor export --format parquet --from 2026-05-01 --to 2026-06-01 --name may   # into the raw tier; the server goes on without this command
    spoor export --format csv --name daily --from 2026-05-01 --every day --window 7
    spoor exports                                                              # all of them; spoor exports daily --remove`
}

// call is the request that the API takes.
type call struct {
	From    string          `json:"from,omitempty"`
	To      string          `json:"to,omitempty"`
	Where   string          `json:"where,omitempty"`
	Events  []string        `json:"events,omitempty"`
	Format  string          `json:"format"`
	Columns []string        `json:"columns,omitempty"`
	Limit   int             `json:"limit,omitempty"`
	Cursor  json.RawMessage `json:"cursor,omitempty"`
}

// maxTries is how often an export that is cut off goes on without a line more.
const maxTries = 5

// maxLine bounds a line of an export.
const maxLine = 8 << 20

// Run exports.
func (c *Export) Run(ctx context.Context, console *Console) (err error) {
	if c.Resume && (c.Format != "ndjson" || c.Out == "-") {
		return errors.New("--resume goes on in a file of ndjson; name it with --out")
	}
	server, err := console.Connect(1)
	if err != nil {
		return err
	}
	defer server.Close()
	if c.Name != "" {
		return c.intoRaw(ctx, server, console)
	}
	if c.Every != "" || c.Window != 0 || c.Delay != "" {
		return errors.New("--every, --window and --delay are of exports into the raw tier; name one with --name")
	}
	request := call{From: c.From, To: c.To, Where: c.Where, Events: c.Event, Format: c.Format, Columns: c.Columns, Limit: c.Limit}
	out, before := console.Stdout, int64(0)
	if c.Out != "-" {
		flags := os.O_CREATE | os.O_RDWR | os.O_TRUNC
		if c.Resume {
			flags = os.O_CREATE | os.O_RDWR
		}
		f, err := os.OpenFile(c.Out, flags, 0o600)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		if c.Resume {
			if request.Cursor, before, err = lastLine(f); err != nil {
				return fmt.Errorf("--resume %s: %w", c.Out, err)
			}
		}
		out = f
	}
	if c.Limit > 0 {
		if request.Limit = c.Limit - int(before); request.Limit <= 0 {
			return nil
		}
	}
	var done, total atomic.Int64
	done.Store(before)
	total.Store(c.count(ctx, server, console))
	stop := console.bar(func() (int64, int64) { return done.Load(), total.Load() })
	err = c.copy(ctx, server, request, out, &done)
	stop()
	if err == nil && c.Out != "-" && c.Format == "ndjson" {
		_, _ = fmt.Fprintf(console.Stderr, "%s events in %s\n", render.Count(done.Load()), c.Out)
	}
	return err
}

// count asks how many events there are, for the bar; 0 where that cannot be said.
func (c *Export) count(ctx context.Context, server *client.Client, console *Console) int64 {
	if !console.Terminal || c.Format != "ndjson" || len(c.Event) > 0 || strings.ContainsAny(c.Where, "#\n") {
		return 0
	}
	text := "trend count of any from " + quoted(c.From, "1900-01-01") + " to " + quoted(c.To, "2199-12-31")
	if c.Where != "" {
		text += " where (" + c.Where + ")"
	}
	answer, err := server.Query(ctx, text, false)
	var a struct {
		Series []struct{ Points []struct{ Value int64 } }
	}
	if err != nil || json.Unmarshal(answer, &a) != nil || len(a.Series) != 1 || len(a.Series[0].Points) != 1 {
		return 0
	}
	if n := a.Series[0].Points[0].Value; c.Limit == 0 || n < int64(c.Limit) {
		return n
	}
	return int64(c.Limit)
}

func quoted(text, otherwise string) string {
	if text == "" {
		text = otherwise
	}
	return `"` + text + `"`
}

// copy writes what the server sends. What is cut off goes on behind the last line, if it may.
func (c *Export) copy(ctx context.Context, server *client.Client, request call, out io.Writer, done *atomic.Int64) error {
	for tries := 0; ; tries++ {
		body, err := server.Stream(ctx, "/api/events/export", request)
		if err != nil {
			return err
		}
		if c.Format != "ndjson" {
			_, err = io.Copy(out, body)
			return errors.Join(err, body.Close())
		}
		n, last, err := copyLines(out, body, done)
		if cerr := body.Close(); err == nil {
			err = cerr
		}
		if err == nil {
			return nil
		}
		if n > 0 {
			tries, request.Cursor = 0, last
			if c.Limit > 0 {
				if request.Limit = c.Limit - int(done.Load()); request.Limit <= 0 {
					return nil
				}
			}
		}
		var own *writeError
		if ctx.Err() != nil || errors.As(err, &own) || tries >= maxTries {
			return fmt.Errorf("the export was cut off after %d events: %w; go on with --resume", done.Load(), err)
		}
	}
}

// writeError is a failure of this machine, which another try does not mend.
type writeError struct{ error }

// copyLines writes whole lines.
func copyLines(out io.Writer, in io.Reader, done *atomic.Int64) (n int64, last json.RawMessage, err error) {
	lines := bufio.NewReaderSize(in, 256<<10)
	buffered := bufio.NewWriterSize(out, 256<<10)
	defer func() {
		if ferr := buffered.Flush(); ferr != nil {
			err = &writeError{ferr}
		}
	}()
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return n, last, nil
		}
		if err != nil {
			return n, last, err
		}
		if _, err := buffered.Write(line); err != nil {
			return n, last, &writeError{err}
		}
		last = json.RawMessage(bytes.TrimSpace(line))
		n++
		done.Add(1)
	}
}

// lastLine finds the last whole line of a file of events, cuts what is behind it, and counts.
func lastLine(f *os.File) (last json.RawMessage, lines int64, err error) {
	in := bufio.NewReaderSize(f, 256<<10)
	end := int64(0)
	for {
		line, err := in.ReadBytes('\n')
		if len(line) > maxLine {
			return nil, 0, fmt.Errorf("line %d has %d bytes: this is no export", lines+1, len(line))
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, 0, err
		}
		last, end = json.RawMessage(bytes.TrimSpace(line)), end+int64(len(line))
		lines++
	}
	if last != nil && !json.Valid(last) {
		return nil, 0, fmt.Errorf("line %d is no event", lines)
	}
	if err := f.Truncate(end); err != nil {
		return nil, 0, err
	}
	_, err = f.Seek(end, io.SeekStart)
	return last, lines, err
}
