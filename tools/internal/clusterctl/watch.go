package clusterctl

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

const (
	// clearScreen empties a terminal and begins at its top.
	clearScreen = "\x1b[H\x1b[2J"
	// minWatch is how often the picture is drawn at most.
	minWatch = 100 * time.Millisecond
	// askTimeout bounds one question, so that the next node is asked soon.
	askTimeout = 3 * time.Second
)

type watchCmd struct {
	Every time.Duration `help:"Time between two pictures." default:"1s" placeholder:"TIME"`
	Count int           `help:"End after so many; 0: when you say so." placeholder:"N"`
	JSON  bool          `help:"Print a line of JSON for each." name:"json"`
}

// Help implements kong.HelpProvider.
func (watchCmd) Help() string {
	return help("When the node that is asked does not answer, another one of the cluster is. Ctrl-C ends it.", "spoor cluster watch", "spoor cluster watch --every 5s --json")
}

// Run draws pictures until it is told to end.
func (x *watchCmd) Run(ctx context.Context, c *Console) error {
	servers := []string{""}
	for n := 1; ; n++ {
		s, answer, from, err := c.askAny(ctx, servers)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil { // those that it names are asked next, the one that answered first
			servers = []string{from}
			for _, m := range s.Nodes {
				if m.HTTP != "" && m.HTTP != from {
					servers = append(servers, m.HTTP)
				}
			}
			if from != "" {
				servers = append(servers, "")
			}
		}
		if err := x.picture(c, s, answer, err); err != nil {
			return err
		}
		if n == x.Count {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(max(x.Every, minWatch)):
		}
	}
}

func (x *watchCmd) picture(c *Console, s *status, answer json.RawMessage, failed error) error {
	var out bytes.Buffer
	switch {
	case x.JSON && failed == nil:
		if err := json.Compact(&out, answer); err != nil {
			return fmt.Errorf("the answer is no JSON: %w", err)
		}
		out.WriteByte('\n')
	case x.JSON:
		line, err := json.Marshal(map[string]string{"error": failed.Error()})
		if err != nil {
			return err
		}
		out.Write(append(line, '\n'))
	default:
		if c.Terminal {
			out.WriteString(clearScreen)
		}
		fmt.Fprintln(&out, time.Now().Format(time.TimeOnly))
		if failed != nil {
			fmt.Fprintln(&out, "No node answers:", failed)
		} else if err := draw(&out, s); err != nil {
			return err
		}
		out.WriteByte('\n')
	}
	_, err := c.Stdout.Write(out.Bytes())
	return err
}

// askAny asks one server after the other for the cluster, "" being the one of the flags.
func (c *Console) askAny(ctx context.Context, servers []string) (s *status, answer json.RawMessage, from string, err error) {
	var errs []error
	for _, server := range slices.Compact(servers) {
		answer, err := c.askOne(ctx, server)
		if err == nil {
			s = new(status)
			err = json.Unmarshal(answer, s)
		}
		if err == nil {
			return s, answer, server, nil
		}
		errs = append(errs, err)
	}
	return nil, nil, "", errors.Join(errs...)
}

func (c *Console) askOne(ctx context.Context, server string) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	client, err := c.Connect(server, -1)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	return client.Call(ctx, http.MethodGet, "/api/cluster", nil, nil)
}
