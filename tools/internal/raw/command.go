package raw

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/schollz/progressbar/v3"

	"spoor/tools/internal/client"
	"spoor/tools/internal/render"
	"spoor/tools/internal/replay"
)

// Console is what the commands find around them.
type Console struct {
	Stdout, Stderr io.Writer
	Terminal       bool // Stderr is one
	Connect        func(connections int) (*client.Client, error)
}

// Replay fills a server from a raw tier.
type Replay struct {
	Raw         string `arg:"" help:"The raw tier: a directory, or s3://BUCKET/PREFIX." name:"place"`
	Place       `embed:""`
	From        string `help:"First day, 2026-05-01." placeholder:"DATE"`
	To          string `help:"Day after the last one." placeholder:"DATE"`
	As          string `help:"What events pass: ${enum}. sent keeps source and time of receipt, and needs an admin key; governed is through schemas and redaction as they are now." enum:"sent,governed" default:"sent"`
	Rebuild     bool   `help:"Bring back what governed the store, too: schemas, policy, saved queries, boards, dead letters, retention, and the keys last. For a store that was lost."`
	Rate        int    `help:"Events per second at most." placeholder:"N"`
	Connections int    `help:"Connections that send at the same time." default:"4" placeholder:"N"`
	Resume      string `help:"Remember in this file what is done, and pass by what it names." type:"path" placeholder:"FILE"`
	JSON        bool   `help:"Print the summary as JSON, for programs." name:"json"`
}

// Help implements kong.HelpProvider.
func (Replay) Help() string {
	return `A replay may be cut off and repeated: an event that is stored already counts as a duplicate. Who is who comes first, then the events, day by day. What was erased is not in the raw tier any more; who was erased is refused from then on, by this server too. A server that was filled like this goes on with the raw tier when it is started once with --raw-adopt.

Examples:

    spoor replay /var/backups/raw --rebuild --resume rebuild.done
    spoor replay /var/backups/raw
    spoor replay s3://events/prod --endpoint https://s3.example.com --resume replay.done
    spoor replay s3://events/prod --from 2026-05-01 --to 2026-06-01 --as governed --rate 5000`
}

// Run replays.
func (c *Replay) Run(ctx context.Context, console *Console) error {
	if c.Connections < 1 || c.Connections > replay.MaxConnections {
		return fmt.Errorf("--connections: want 1 to %d, got %d", replay.MaxConnections, c.Connections)
	}
	for _, date := range []string{c.From, c.To} {
		if _, err := time.Parse(time.DateOnly, date); err != nil && date != "" {
			return fmt.Errorf("%q is no date; write 2026-05-01", date)
		}
	}
	if c.Rate < 0 {
		return fmt.Errorf("--rate must not be negative, got %d", c.Rate)
	}
	if c.Rebuild && (c.As != "sent" || c.From != "" || c.To != "") {
		return errors.New("--rebuild brings back a whole store as it was: leave --as, --from and --to out")
	}
	store, err := c.existing(c.Raw)
	if err != nil {
		return err
	}
	to, err := console.Connect(c.Connections)
	if err != nil {
		return err
	}
	defer to.Close()
	run := replay.New(store, to, replay.Config{From: c.From, To: c.To, AsSent: c.As == "sent", Rebuild: c.Rebuild, Connections: c.Connections, PerSecond: c.Rate, Resume: c.Resume, Job: "replay-" + uuid.NewString()})
	stop := console.bar(func() (int64, int64) { p := run.Progress(); return p.Done, p.Total })
	sum, err := run.Run(ctx)
	stop()
	if c.JSON {
		if perr := json.NewEncoder(console.Stdout).Encode(sum); perr != nil && err == nil {
			err = perr
		}
		return err
	}
	_, _ = fmt.Fprintf(console.Stdout, "%s events of %s days in %.1f s: %s accepted, %s duplicates, %s rejected; %s ids of persons\n",
		render.Count(sum.Events), render.Count(int64(sum.Days)), sum.Seconds, render.Count(sum.Accepted), render.Count(sum.Duplicates), render.Count(sum.Rejected), render.Count(sum.Persons))
	if c.Rebuild {
		_, _ = fmt.Fprintf(console.Stdout, "%s rules that govern the store: documents, lists of refused ids, dead letters, retention\n", render.Count(sum.Rules))
	}
	for _, why := range sum.Rejects {
		_, _ = fmt.Fprintln(console.Stdout, "  rejected:", why)
	}
	return err
}

// barInterval is how often a bar moves.
const barInterval = 100 * time.Millisecond

// bar draws on a terminal how far something is, until the returned function is called.
func (c *Console) bar(progress func() (done, total int64)) (stop func()) {
	if !c.Terminal {
		return func() {}
	}
	bar := progressbar.NewOptions64(-1,
		progressbar.OptionSetWriter(c.Stderr), progressbar.OptionSetWidth(30), progressbar.OptionSetPredictTime(true),
		progressbar.OptionSetElapsedTime(true), progressbar.OptionShowCount(), progressbar.OptionClearOnFinish(),
		progressbar.OptionSetTheme(progressbar.Theme{Saucer: "█", SaucerPadding: "░", BarStart: "", BarEnd: ""}))
	ended := make(chan struct{})
	var drawer sync.WaitGroup
	drawer.Go(func() {
		tick := time.NewTicker(barInterval)
		defer tick.Stop()
		for {
			select {
			case <-ended:
				return
			case <-tick.C:
				if done, total := progress(); total > 0 {
					bar.ChangeMax64(total)
					_ = bar.Set64(min(done, total-1)) // the end comes with stop
				}
			}
		}
	})
	return func() {
		close(ended)
		drawer.Wait()
		_ = bar.Finish()
	}
}
