package replay

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"sync"
	"time"

	"spoor/tools/internal/client"
)

const (
	// reportEvery is how often the server hears how far the replay is.
	reportEvery = time.Second
	// lastReportTime bounds the report of the end, when the replay's own time may be over.
	lastReportTime = 3 * time.Second
	maxReportText  = 400 // bytes of an error in a report
)

// ErrCanceled ends a replay that somebody canceled by way of the server's list of jobs.
var ErrCanceled = errors.New("the replay was canceled by way of the server's list of jobs; run it again to go on")

// report is what the server's list of jobs is told.
type report struct {
	Kind  string `json:"kind"`
	Name  string `json:"name"`
	Unit  string `json:"unit"`
	State string `json:"state"`
	Done  int64  `json:"done"`
	Total int64  `json:"total"`
	Error string `json:"error,omitempty"`
}

// reporting tells the server how far the replay is until done is called with its end, and ends the
// context that it returns when somebody cancels the job there. A server that takes no reports,
// because it is older or the key may not, does not hinder a replay.
func (r *Replay) reporting(ctx context.Context) (working context.Context, done func(error)) {
	working, stop := context.WithCancelCause(ctx)
	tell := func(ctx context.Context, state string, err error) (canceling, taken bool) {
		p := r.Progress()
		say := report{Kind: "replay", Name: r.store.String(), Unit: "events", State: state, Done: p.Done, Total: p.Total}
		if err != nil {
			say.Error = err.Error()[:min(len(err.Error()), maxReportText)]
		}
		body, err := json.Marshal(say)
		if err != nil {
			return false, false
		}
		answer, err := r.client.Call(ctx, http.MethodPut, "/api/jobs/"+url.PathEscape(r.config.Job), nil, body)
		var refused *client.Error
		if errors.As(err, &refused) {
			return false, false
		}
		var status struct{ State string }
		return err == nil && json.Unmarshal(answer, &status) == nil && status.State == "canceling", true
	}
	ended := make(chan struct{})
	taken := true
	var reporter sync.WaitGroup
	reporter.Go(func() {
		tick := time.NewTicker(reportEvery)
		defer tick.Stop()
		for taken {
			var canceling bool
			if canceling, taken = tell(working, "running", nil); canceling {
				stop(ErrCanceled)
			}
			select {
			case <-ended:
				return
			case <-tick.C:
			}
		}
	})
	return working, func(err error) {
		close(ended)
		canceled := working.Err() != nil
		stop(nil)
		reporter.Wait()
		if !taken {
			return
		}
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastReportTime)
		defer cancel()
		switch {
		case err == nil:
			tell(last, "done", nil)
		case canceled:
			tell(last, "canceled", err)
		default:
			tell(last, "failed", err)
		}
	}
}
