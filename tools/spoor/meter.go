package main

import (
	"fmt"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"

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
