package clusterctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"spoor/cluster/audit"
	"spoor/tools/internal/render"
)

type verifyCmd struct {
	All  bool `help:"Print every partition, not only those that differ."`
	JSON bool `help:"Print the verdict as JSON." name:"json"`
}

// Help implements kong.HelpProvider.
func (verifyCmd) Help() string {
	return help("The leader puts a mark into the log; each node sums what it holds at the mark, from its disk, at a quarter of a core, and the sums are compared by day of events, and for persons, traits, documents and dead letters. A node that differs from the majority, or that cannot read its files, takes over the state of one that is sound, unless its server was started with --no-repair. The leader does the same every six hours (spoor serve --verify-every).\n\nEnds with 0 when all nodes answered and hold the same, else with 1.",
		"spoor cluster verify", "spoor cluster verify --all", "spoor cluster verify --json | jq .nodes")
}

// verifyPause lies between two looks at whether the comparison is done.
const verifyPause = 500 * time.Millisecond

var errUnequal = errors.New("the replicas are not known to be equal: see above")

// Run compares the replicas.
func (x *verifyCmd) Run(ctx context.Context, c *Console) error {
	var r audit.Report
	before := uint64(0)
	args := url.Values{}
	for {
		now := audit.Report{}
		answer, err := c.call(ctx, http.MethodPost, "/api/cluster/verify", args, nil, &now)
		if err != nil {
			return err
		}
		if r = now; args.Get("begin") == "" && r.Last != nil && r.Running {
			before = r.Last.Index
		}
		args.Set("begin", "0")
		if !r.Running {
			if r.Error != "" {
				return fmt.Errorf("compare the replicas: %s", r.Error)
			}
			if r.Last == nil || r.Last.Index == before {
				return errors.New("the comparison was cut off, as when another node begins to lead; try again")
			}
			if x.JSON {
				if err := c.show(answer); err != nil {
					return err
				}
			} else if err := drawVerdict(c.Stdout, r.Last, x.All); err != nil {
				return err
			}
			if !r.Last.Equal {
				return errUnequal
			}
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(verifyPause):
		}
	}
}

// drawVerdict writes what a comparison found.
func drawVerdict(out io.Writer, v *audit.Verdict, all bool) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	var ids []string
	_, _ = fmt.Fprintln(w, "NODE\tSTATE\tREMARK")
	for _, n := range v.Nodes {
		ids = append(ids, n.ID)
		remark := n.Error
		if n.Repair != "" {
			remark = strings.TrimPrefix(remark+"; "+n.Repair, "; ")
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\n", render.Printable(n.ID), render.Printable(n.State), render.Printable(remark))
	}
	_ = w.Flush()
	equal, events := 0, int64(0)
	w = tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, p := range v.Partitions {
		events += p.Events
		if p.Equal {
			equal++
		}
		if p.Equal && !all {
			continue
		}
		_, _ = fmt.Fprintf(w, "%s\t%s events\t%s\n", render.Printable(p.Name), render.Count(p.Events), sums(&p, ids))
	}
	_ = w.Flush()
	_, err := fmt.Fprintf(out, "%d of %d partitions are equal, %s events, at log entry %d.\n", equal, len(v.Partitions), render.Count(events), v.Index)
	return err
}

// sums says who has which sum.
func sums(p *audit.Partition, ids []string) string {
	if p.Equal {
		return "equal"
	}
	var out []string
	for _, id := range slices.Sorted(slices.Values(ids)) {
		h := p.Hashes[id]
		if h == "" {
			h = "none"
		}
		out = append(out, render.Printable(id)+" "+render.Printable(h[:min(len(h), 8)]))
	}
	return "UNEQUAL: " + strings.Join(out, ", ")
}
