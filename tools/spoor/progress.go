package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"spoor/tools/internal/client"
)

// When a query is long: the first look at it, and the time between two.
const (
	progressAfter = 500 * time.Millisecond
	progressEvery = 200 * time.Millisecond
	progressWidth = 30
)

// withProgress asks, and shows on a terminal how far a long query is.
func withProgress[T any](ctx context.Context, env *environment, server *client.Client, ask func(ctx context.Context) (T, error)) (T, error) {
	if !env.StderrTerminal {
		return ask(ctx)
	}
	id := rand.Text()
	watch, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		shown := false
		for wait := progressAfter; ; wait = progressEvery {
			select {
			case <-watch.Done():
				if shown {
					_, _ = fmt.Fprint(env.Stderr, "\r\x1b[K")
				}
				return
			case <-time.After(wait):
			}
			if share, ok, err := server.Progress(watch, id); err == nil && ok {
				shown = true
				_, _ = fmt.Fprintf(env.Stderr, "\r%s", progressBar(share))
			}
		}
	}()
	answer, err := ask(client.WithQueryID(ctx, id))
	stop()
	<-ended
	return answer, err
}

// progressBar draws a share as a bar with a number.
func progressBar(share float64) string {
	done := min(max(int(share*progressWidth), 0), progressWidth)
	return fmt.Sprintf("%s%s %3.0f %%", strings.Repeat("█", done), strings.Repeat("░", progressWidth-done), 100*share)
}
