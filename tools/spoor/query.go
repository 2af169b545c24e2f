package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"spoor/engine/query/lang"
	"spoor/tools/internal/client"
	"spoor/tools/internal/raw"
	"spoor/tools/internal/render"
)

// queryCmd asks.
type queryCmd struct {
	Text []string `arg:"" optional:"" help:"The question; quote it, for > means something to the shell. Without it: a prompt, or the text of standard input."`

	Format  string `help:"One of ${enum}." enum:"table,json,csv" default:"table" short:"f"`
	Explain bool   `help:"Show how the question is run instead of only its answer." xor:"mode"`
	Fmt     bool   `help:"Lay the text out for reading instead of asking it. Needs no server." xor:"mode"`
	raw.SQL `embed:""`
}

// Help implements kong.HelpProvider.
func (queryCmd) Help() string {
	return examples("Asks in Spoor's language: funnel, trend, retention, sessions, paths, top, events and more.",
		"spoor query 'funnel view_product -> add_to_cart -> purchase_completed within 7d last 30d'",
		"spoor query --format csv 'trend users of any every day last 30d' > users.csv",
		"spoor query 'retention signed_up -> any every week'",
		"spoor query --explain 'top properties.category of purchase_completed'",
		"spoor query --fmt < checkout.query",
		"spoor query --sql duckdb --raw s3://events/prod 'trend users of any every day last 30d' | duckdb",
		"spoor query                                            # a prompt; \\h helps")
}

// maxQueryBytes bounds a text that comes by standard input.
const maxQueryBytes = 1 << 20

// table is how an answer is shown to whom sits there.
func (env *environment) table() render.Options {
	return render.Options{
		Format: render.Table, Width: env.Width,
		Color: env.StdoutTerminal && env.Getenv("NO_COLOR") == "" && env.Getenv("TERM") != "dumb",
	}
}

// Run asks the question, or many.
func (c *queryCmd) Run(ctx context.Context, env *environment, g *globals) error {
	text := strings.Join(c.Text, " ")
	if text == "" && !env.StdinTerminal {
		data, err := io.ReadAll(io.LimitReader(env.Stdin, maxQueryBytes+1))
		if err != nil {
			return fmt.Errorf("read the query: %w", err)
		}
		if len(data) > maxQueryBytes {
			return usageError{fmt.Errorf("the query is longer than %d bytes", maxQueryBytes)}
		}
		if text = strings.TrimSpace(string(data)); text == "" {
			return usageError{errors.New("no query given")}
		}
	}
	if c.Fmt {
		if text == "" {
			return usageError{errors.New("--fmt: no query given")}
		}
		return layOut(env, text)
	}
	if c.SQL.SQL != "" {
		return printSQL(ctx, env, &c.SQL, text)
	}
	server, err := g.connect(1, time.Minute)
	if err != nil {
		return err
	}
	defer server.Close()
	if text == "" {
		return c.prompt(ctx, env, server)
	}
	return c.ask(ctx, env, server, text)
}

// ask asks one question and shows the answer.
func (c *queryCmd) ask(ctx context.Context, env *environment, server *client.Client, text string) error {
	answer, err := withProgress(ctx, env, server, func(ctx context.Context) (json.RawMessage, error) {
		return server.Query(ctx, text, c.Explain)
	})
	if err != nil {
		return queryFailed(env, text, err)
	}
	options := env.table()
	options.Format = render.Format(c.Format)
	return render.Answer(env.Stdout, env.Stderr, answer, options)
}

// printSQL prints the question as SQL.
func printSQL(ctx context.Context, env *environment, sql *raw.SQL, text string) error {
	if text == "" {
		return usageError{errors.New("--sql: no query given")}
	}
	err := sql.Print(ctx, env.Stdout, text)
	var place *lang.Error
	if errors.As(err, &place) {
		return queryFailed(env, text, &client.Error{Code: place.Code, Message: place.Message, Line: place.Line, Column: place.Column, Hint: place.Hint})
	}
	return err
}

// layOut prints the text as the formatter writes it.
func layOut(env *environment, text string) error {
	formatted, err := lang.Format(text)
	var place *lang.Error
	if errors.As(err, &place) {
		return queryFailed(env, text, &client.Error{Code: place.Code, Message: place.Message, Line: place.Line, Column: place.Column, Hint: place.Hint})
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(env.Stdout, formatted)
	return err
}

// queryFailed shows where in the text an error is, if it says so.
func queryFailed(env *environment, text string, err error) error {
	var e *client.Error
	if !errors.As(err, &e) {
		return err
	}
	caret := render.Caret(text, e.Line, e.Column)
	if caret == "" {
		return err
	}
	_, _ = fmt.Fprintf(env.Stderr, "%s\nspoor: line %d, column %d: %s\n", caret, e.Line, e.Column, render.Printable(e.Message))
	if e.Hint != "" {
		_, _ = fmt.Fprintf(env.Stderr, "hint: %s\n", render.Printable(e.Hint))
	}
	return errReported
}
