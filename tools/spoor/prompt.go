package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/peterh/liner"

	"spoor/tools/internal/client"
)

// What stands before a line of a query, and before a further one.
const (
	firstPrompt   = "spoor> "
	furtherPrompt = "  ...> "
)

const promptHelp = `Type a question and press Enter; Tab completes; a line that ends in \ goes on in the next.

  funnel view_product -> add_to_cart -> purchase_completed within 7d last 30d
  trend count, users of page_viewed by properties.surface every day
  retention signed_up -> any every week
  sessions gap 30m by context.device
  paths from page_viewed depth 4
  top properties.category of product_clicked limit 20
  events of purchase_completed limit 10

  \h  this help     \q  leave (also Ctrl-D)     Ctrl-C  drop the line or stop the query
`

// lineReader reads what a person types. io.EOF is the end, liner.ErrPromptAborted
// a line that was dropped.
type lineReader interface {
	Prompt(prompt string) (string, error)
	AppendHistory(line string)
}

// prompt asks one question after another.
func (c *queryCmd) prompt(ctx context.Context, env *environment, server *client.Client) error {
	cooked, err := liner.TerminalMode()
	if err != nil {
		return fmt.Errorf("read the terminal's mode: %w", err)
	}
	state := liner.NewLiner()
	defer func() { _ = state.Close() }()
	state.SetCtrlCAborts(true)
	state.SetMultiLineMode(true)
	raw, err := liner.TerminalMode()
	if err != nil {
		return fmt.Errorf("read the terminal's mode: %w", err)
	}
	state.SetTabCompletionStyle(liner.TabPrints)
	state.SetWordCompleter(func(line string, pos int) (string, []string, string) {
		return completeQuery(ctx, server.Complete, line, pos)
	})
	history := historyPath(os.UserConfigDir)
	readHistory(state, history)

	_, _ = fmt.Fprintf(env.Stdout, "%s at %s. \\h helps, \\q leaves.\n", "Spoor "+build().Version, server.Server())
	ask := func(text string) error {
		// While a query runs the terminal works as outside, so that Ctrl-C ends it.
		_ = cooked.ApplyMode()
		defer func() { _ = raw.ApplyMode() }()
		ctx, stop := signal.NotifyContext(context.WithoutCancel(ctx), os.Interrupt)
		defer stop()
		return c.ask(ctx, env, server, text)
	}
	err = converse(env, state, ask)
	return errors.Join(err, writeHistory(state, history))
}

// maxCompletionWait is how long a person waits for what Tab offers.
const maxCompletionWait = time.Second

// completeQuery says what may stand at pos, in characters of the line: the line before it, the
// candidates, and the line behind it.
func completeQuery(ctx context.Context, complete func(context.Context, string, int) ([]client.Suggestion, error), line string, pos int) (string, []string, string) {
	ctx, cancel := context.WithTimeout(ctx, maxCompletionWait)
	defer cancel()
	at := len(string([]rune(line)[:pos]))
	list, err := complete(ctx, line, at)
	if err != nil || len(list) == 0 {
		return line[:at], nil, line[at:]
	}
	// All that is offered in one place replaces the same text.
	from, to := list[0].From, list[0].To
	var words []string
	for _, s := range list {
		if s.From == from && s.To == to {
			words = append(words, s.Text)
		}
	}
	if from > len(line) || to > len(line) || from > to {
		return line[:at], nil, line[at:]
	}
	return line[:from], words, line[to:]
}

// converse reads questions and has them answered until the person leaves.
func converse(env *environment, lines lineReader, ask func(text string) error) error {
	var parts []string
	for {
		prompt := firstPrompt
		if len(parts) > 0 {
			prompt = furtherPrompt
		}
		line, err := lines.Prompt(prompt)
		switch {
		case errors.Is(err, io.EOF):
			_, _ = fmt.Fprintln(env.Stdout)
			return nil
		case errors.Is(err, liner.ErrPromptAborted):
			parts = nil
			continue
		case err != nil:
			return fmt.Errorf("read a line: %w", err)
		}
		if more, ok := strings.CutSuffix(strings.TrimRight(line, " \t"), `\`); ok {
			parts = append(parts, more)
			continue
		}
		text := strings.TrimSpace(strings.Join(append(parts, line), "\n"))
		parts = nil
		switch text {
		case "":
			continue
		case `\q`:
			return nil
		case `\h`, `\?`, "help":
			_, _ = io.WriteString(env.Stdout, promptHelp)
			continue
		}
		lines.AppendHistory(strings.ReplaceAll(text, "\n", " "))
		if err := ask(text); err != nil && !errors.Is(err, errReported) {
			_, _ = fmt.Fprintln(env.Stderr, "spoor:", err)
		}
	}
}

// historyPath is where the questions of this person are kept; "" where there is no place.
func historyPath(configDir func() (string, error)) string {
	dir, err := configDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "spoor", "history")
}

func readHistory(state *liner.State, path string) {
	if path == "" {
		return
	}
	f, err := os.Open(path)
	if err != nil {
		return // the first time, or not ours to read: a prompt works without
	}
	defer func() { _ = f.Close() }()
	_, _ = state.ReadHistory(f)
}

// writeHistory keeps the questions for this person alone: they may hold names.
func writeHistory(state *liner.State, path string) error {
	if path == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("keep the history: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("keep the history: %w", err)
	}
	_, err = state.WriteHistory(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("keep the history: %w", err)
	}
	return nil
}
