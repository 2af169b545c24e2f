package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"

	"spoor/tools/internal/client"
	"spoor/tools/internal/importer"
	"spoor/tools/internal/render"
)

// meter shows how far an import is, against the measure that is known of it.
type meter struct {
	bytes  int64 // of all files; 0: not known
	events int64 // 0: not known
}

// meterInterval is how often the bar moves.
const meterInterval = 100 * time.Millisecond

// show draws a bar on a terminal until the returned function is called.
func (m meter) show(env *environment, progress func() importer.Progress) (stop func()) {
	if !env.StderrTerminal {
		return func() {}
	}
	total := int64(-1)
	switch {
	case m.events > 0:
		total = m.events
	case m.bytes > 0:
		total = m.bytes
	}
	bar := progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(env.Stderr),
		progressbar.OptionSetWidth(30),
		progressbar.OptionSetPredictTime(total > 0),
		progressbar.OptionSetElapsedTime(true),
		progressbar.OptionClearOnFinish(),
		progressbar.OptionSetTheme(progressbar.Theme{Saucer: "█", SaucerPadding: "░", BarStart: "", BarEnd: ""}),
	)
	begin := time.Now()
	draw := func() {
		p := progress()
		rate := float64(p.Events) / max(time.Since(begin).Seconds(), 0.001)
		bar.Describe(fmt.Sprintf("%s events, %s/s", render.Count(p.Events), render.Count(int64(rate))))
		at := p.Bytes
		if m.events > 0 {
			at = p.Events
		}
		if total > 0 {
			at = min(at, total-1) // the end comes with stop
		}
		_ = bar.Set64(at)
	}

	done := make(chan struct{})
	var drawer sync.WaitGroup
	drawer.Go(func() {
		ticker := time.NewTicker(meterInterval)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				draw()
			}
		}
	})
	return func() {
		close(done)
		drawer.Wait()
		_ = bar.Finish()
	}
}

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
