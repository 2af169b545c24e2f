package governance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
)

// Letters is the group of commands about dead letters.
type Letters struct {
	List   lettersList   `cmd:"" help:"Show refused events, oldest first, as JSON lines."`
	Count  lettersCount  `cmd:"" help:"Count refused events by name and reason."`
	Replay lettersReplay `cmd:"" help:"Send refused events through the pipeline as it is now. What is taken leaves; each counts once."`
	Purge  lettersPurge  `cmd:"" help:"Remove refused events for good."`
}

// lettersFilter is the flag that the commands share.
type lettersFilter struct {
	Filter map[string]string `help:"Only letters with this event, reason, source or path, or received from or to a time: --filter event=purchase --filter from=2026-05-01." placeholder:"KEY=VALUE"`
}

var filterKeys = []string{"event", "reason", "source", "path", "from", "to"}

func (f *lettersFilter) args() (url.Values, error) {
	args := url.Values{}
	for key, value := range f.Filter {
		if !slices.Contains(filterKeys, key) {
			return nil, fmt.Errorf("--filter %s: there is no such key; there are %q", key, filterKeys)
		}
		args.Set(key, value)
	}
	return args, nil
}

type lettersList struct {
	lettersFilter
	Limit int `help:"At most so many." default:"100" placeholder:"N"`
}

// Run lists page by page.
func (x *lettersList) Run(ctx context.Context, c *Console) error {
	args, err := x.args()
	if err != nil {
		return err
	}
	const page = 500
	for left := x.Limit; left > 0; {
		args.Set("limit", fmt.Sprint(min(left, page)))
		var answer struct {
			Letters []json.RawMessage
			Next    string
		}
		if _, err := c.call(ctx, http.MethodGet, "/api/dlq", args, nil, &answer); err != nil {
			return err
		}
		for _, l := range answer.Letters {
			if _, err := fmt.Fprintf(c.Stdout, "%s\n", l); err != nil {
				return err
			}
		}
		left -= len(answer.Letters)
		if answer.Next == "" {
			return nil
		}
		args.Set("after", answer.Next)
	}
	return nil
}

type lettersCount struct{ lettersFilter }

// Run counts.
func (x *lettersCount) Run(ctx context.Context, c *Console) error {
	args, err := x.args()
	if err != nil {
		return err
	}
	var answer struct {
		Letters int
		Bytes   int64
		Counts  []struct {
			Event, Reason, Path string
			Version, Letters    int
		}
	}
	if _, err := c.call(ctx, http.MethodGet, "/api/dlq/count", args, nil, &answer); err != nil {
		return err
	}
	rows := [][]string{{"EVENT", "REASON", "PATH", "SCHEMA", "LETTERS"}}
	for _, x := range answer.Counts {
		version := ""
		if x.Version > 0 {
			version = fmt.Sprint("v", x.Version)
		}
		rows = append(rows, []string{x.Event, x.Reason, x.Path, version, fmt.Sprint(x.Letters)})
	}
	if err := c.table(rows); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.Stdout, "%d letters; all take %d bytes\n", answer.Letters, answer.Bytes)
	return err
}

type lettersReplay struct{ lettersFilter }

// Run sends them again.
func (x *lettersReplay) Run(ctx context.Context, c *Console) error {
	args, err := x.args()
	if err != nil {
		return err
	}
	var answer struct{ Replayed, Duplicates, Refused int }
	if _, err := c.call(ctx, http.MethodPost, "/api/dlq/replay", args, nil, &answer); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.Stdout, "%d replayed, %d were stored before, %d refused again and kept\n", answer.Replayed, answer.Duplicates, answer.Refused)
	return err
}

type lettersPurge struct {
	lettersFilter
	All bool `help:"Remove all of them."`
}

// Run removes.
func (x *lettersPurge) Run(ctx context.Context, c *Console) error {
	args, err := x.args()
	if err != nil {
		return err
	}
	if len(args) == 0 && !x.All {
		return errors.New("give a --filter, or --all")
	}
	var answer struct{ Purged int }
	if _, err := c.call(ctx, http.MethodDelete, "/api/dlq", args, nil, &answer); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.Stdout, "%d letters are gone\n", answer.Purged)
	return err
}
