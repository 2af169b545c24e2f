package raw

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"text/tabwriter"
	"time"

	"spoor/tools/internal/client"
	"spoor/tools/internal/render"
)

const exportsPath = "/api/exports"

// askEvery is how often it is asked how far an export is.
const askEvery = time.Second

// exportStatus is an export into the raw tier as the API shows it.
type exportStatus struct {
	Name, From, To, Every, Format, Progress, Last, Error string
	Done, Due                                            int
	Events, Bytes                                        int64
	Erasing                                              bool
}

// intoRaw has the server write the export. An interruption ends the waiting, not the export.
func (c *Export) intoRaw(ctx context.Context, server *client.Client, console *Console) error {
	if c.Limit != 0 || c.Resume || c.Out != "-" {
		return errors.New("--limit, --resume and --out are not of exports into the raw tier, which go on by themselves")
	}
	body, err := json.Marshal(struct {
		Name    string   `json:"name"`
		From    string   `json:"from,omitempty"`
		To      string   `json:"to,omitempty"`
		Every   string   `json:"every,omitempty"`
		Window  int      `json:"window,omitempty"`
		Delay   string   `json:"delay,omitempty"`
		Format  string   `json:"format"`
		Where   string   `json:"where,omitempty"`
		Events  []string `json:"events,omitempty"`
		Columns []string `json:"columns,omitempty"`
	}{c.Name, c.From, c.To, c.Every, c.Window, c.Delay, c.Format, c.Where, c.Event, c.Columns})
	if err != nil {
		return err
	}
	answer, err := server.Call(ctx, http.MethodPost, exportsPath, nil, body)
	for {
		if err != nil {
			return err
		}
		var s exportStatus
		if err := json.Unmarshal(answer, &s); err != nil {
			return fmt.Errorf("read the state of the export: %w", err)
		}
		if console.Terminal {
			_, _ = fmt.Fprintf(console.Stderr, "\r\x1b[K%s: %d of %d files, %s events", s.Name, s.Done, s.Due, render.Count(s.Events))
		}
		if s.Progress != "running" {
			if console.Terminal {
				_, _ = fmt.Fprint(console.Stderr, "\r\x1b[K")
			}
			_, err := fmt.Fprintf(console.Stdout, "exports/%s: %s, %s files, %s events, %s bytes\n", s.Name, s.Progress, render.Count(int64(s.Done)), render.Count(s.Events), render.Count(s.Bytes))
			if s.Progress == "failed" {
				err = fmt.Errorf("the export failed, and is tried again: %s", s.Error)
			}
			return err
		}
		select {
		case <-ctx.Done():
			_, _ = fmt.Fprintf(console.Stderr, "the server goes on with it; spoor exports %s shows how far it is, --cancel ends it\n", s.Name)
			return nil
		case <-time.After(askEvery):
		}
		answer, err = server.Call(ctx, http.MethodGet, exportsPath+"/"+url.PathEscape(c.Name), nil, nil)
		if ctx.Err() != nil {
			err = nil // it is said above
		}
	}
}

// Exports shows and ends exports into the raw tier.
type Exports struct {
	Name   string `arg:"" optional:"" help:"One export; all by default."`
	Cancel bool   `help:"End it; its files stay, and erasures reach them." xor:"end"`
	Remove bool   `help:"End it and remove its files." xor:"end"`
	JSON   bool   `help:"Print JSON, for programs." name:"json"`
}

// Help implements kong.HelpProvider.
func (Exports) Help() string {
	return `Exports are begun with spoor export --name. The server writes them, one file a day or hour, and goes on after a restart.

Examples:

    spoor exports
    spoor exports daily
    spoor exports daily --remove`
}

// Run shows or ends exports.
func (c *Exports) Run(ctx context.Context, console *Console) error {
	server, err := console.Connect(1)
	if err != nil {
		return err
	}
	defer server.Close()
	method, path := http.MethodGet, exportsPath
	if c.Name != "" {
		path += "/" + url.PathEscape(c.Name)
	}
	switch {
	case (c.Cancel || c.Remove) && c.Name == "":
		return errors.New("name the export that is to end")
	case c.Cancel:
		method, path = http.MethodPost, path+"/cancel"
	case c.Remove:
		method = http.MethodDelete
	}
	answer, err := server.Call(ctx, method, path, nil, nil)
	if err != nil {
		return err
	}
	if c.JSON {
		_, err := fmt.Fprintf(console.Stdout, "%s\n", answer)
		return err
	}
	var list struct{ Exports []exportStatus }
	if c.Name != "" {
		list.Exports = make([]exportStatus, 1)
		err = json.Unmarshal(answer, &list.Exports[0])
	} else {
		err = json.Unmarshal(answer, &list)
	}
	if err != nil {
		return fmt.Errorf("read the exports: %w", err)
	}
	t := tabwriter.NewWriter(console.Stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "NAME\tSTATE\tFILES\tEVENTS\tBYTES\tLAST\tEVERY\tFORMAT")
	for _, s := range list.Exports {
		_, _ = fmt.Fprintf(t, "%s\t%s\t%d of %d\t%s\t%s\t%s\t%s\t%s\n", s.Name, s.Progress, s.Done, s.Due, render.Count(s.Events), render.Count(s.Bytes), s.Last, s.Every, s.Format)
		if s.Error != "" {
			_, _ = fmt.Fprintf(t, "  %s\n", s.Error)
		}
	}
	return t.Flush()
}
