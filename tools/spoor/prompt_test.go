package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peterh/liner"
	"github.com/stretchr/testify/require"

	"spoor/tools/internal/client"
)

// typist types the lines and then leaves.
type typist struct {
	lines   []any // a string or an error
	prompts []string
	history []string
}

func (p *typist) Prompt(prompt string) (string, error) {
	p.prompts = append(p.prompts, prompt)
	if len(p.lines) == 0 {
		return "", io.EOF
	}
	line := p.lines[0]
	p.lines = p.lines[1:]
	if err, ok := line.(error); ok {
		return "", err
	}
	return line.(string), nil
}

func (p *typist) AppendHistory(line string) { p.history = append(p.history, line) }

func hold(p *typist, answer error) (asked []string, out, errs string, err error) {
	var stdout, stderr bytes.Buffer
	env := &environment{Stdout: &stdout, Stderr: &stderr}
	err = converse(env, p, func(text string) error {
		asked = append(asked, text)
		return answer
	})
	return asked, stdout.String(), stderr.String(), err
}

func TestALineWithABackslashGoesOnInTheNext(t *testing.T) {
	p := &typist{lines: []any{`funnel a -> b \`, `  within 7d`, "top x"}}
	asked, _, _, err := hold(p, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"funnel a -> b \n  within 7d", "top x"}, asked)
	require.Equal(t, []string{firstPrompt, furtherPrompt, firstPrompt, firstPrompt}, p.prompts)
	require.Equal(t, []string{"funnel a -> b    within 7d", "top x"}, p.history)
}

func TestCtrlCDropsWhatWasTyped(t *testing.T) {
	p := &typist{lines: []any{`funnel a \`, liner.ErrPromptAborted, "top x"}}
	asked, _, _, err := hold(p, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"top x"}, asked)
}

func TestThePromptHelpsAndLeaves(t *testing.T) {
	p := &typist{lines: []any{"", `\h`, `\q`, "never asked"}}
	asked, out, _, err := hold(p, nil)
	require.NoError(t, err)
	require.Empty(t, asked)
	require.Contains(t, out, "retention signed_up")
	require.Empty(t, p.history)
}

func TestAFailedQueryDoesNotEndThePrompt(t *testing.T) {
	p := &typist{lines: []any{"a", "b"}}
	asked, _, errs, err := hold(p, errors.New("no luck"))
	require.NoError(t, err)
	require.Len(t, asked, 2)
	require.Equal(t, "spoor: no luck\nspoor: no luck\n", errs)

	_, _, errs, err = hold(&typist{lines: []any{"a"}}, errReported)
	require.NoError(t, err)
	require.Empty(t, errs, "an error that was told is not told again")
}

func TestABrokenTerminalIsAnError(t *testing.T) {
	_, _, _, err := hold(&typist{lines: []any{os.ErrClosed}}, nil)
	require.ErrorIs(t, err, os.ErrClosed)
}

func TestTheHistoryIsKeptForItsPersonAlone(t *testing.T) {
	path := historyPath(func() (string, error) { return filepath.Join(t.TempDir(), "config"), nil })
	state := liner.NewLiner()
	defer func() { _ = state.Close() }()
	state.AppendHistory("funnel a -> b")
	require.NoError(t, writeHistory(state, path))
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "funnel a -> b\n", string(data))
	for name, mode := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		info, err := os.Stat(name)
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode().Perm())
	}
	require.Empty(t, historyPath(func() (string, error) { return "", os.ErrNotExist }))
	require.NoError(t, writeHistory(state, ""))
}

func TestTabOffersWhatMayStandAtTheCursor(t *testing.T) {
	complete := func(_ context.Context, text string, pos int) ([]client.Suggestion, error) {
		require.Equal(t, "funnel é -> vi", text[:pos])
		return []client.Suggestion{{Text: "view", From: 13, To: pos}, {Text: "video", From: 13, To: pos}, {Text: "x", From: 0, To: pos}}, nil
	}
	head, words, tail := completeQuery(context.Background(), complete, "funnel é -> vi within 7d", 14)
	require.Equal(t, "funnel é -> ", head)
	require.Equal(t, []string{"view", "video"}, words)
	require.Equal(t, " within 7d", tail)
	none := func(context.Context, string, int) ([]client.Suggestion, error) { return nil, io.ErrUnexpectedEOF }
	head, words, tail = completeQuery(context.Background(), none, "abc", 1)
	require.Equal(t, "a", head)
	require.Empty(t, words)
	require.Equal(t, "bc", tail)
}

func TestAProgressBarHasOneWidth(t *testing.T) {
	for _, share := range []float64{-1, 0, 0.5, 0.99, 2} {
		require.Equal(t, progressWidth, strings.Count(progressBar(share), "█")+strings.Count(progressBar(share), "░"))
	}
}
