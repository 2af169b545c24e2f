package main

import (
	"context"
	"fmt"
	"time"

	"spoor/bench/workload"
	"spoor/tools/internal/importer"
	"spoor/tools/internal/render"
)

// demoCmd loads generated events.
type demoCmd struct {
	sendFlags `embed:""`
	Events    int64  `help:"Events to load." default:"100000" placeholder:"N"`
	Seed      uint64 `help:"Another seed, other events." default:"1" placeholder:"S"`
}

// Help implements kong.HelpProvider.
func (demoCmd) Help() string {
	return examples("The events are those of spoor bench generate: a shop in May 2026. A second demo with the same seed changes nothing, for its events are stored already.",
		"spoor demo",
		"spoor demo --events 1000000",
		"spoor demo --server http://127.0.0.1:7480")
}

// demoQueries are what a newcomer may ask of the demo's events.
var demoQueries = []string{
	"retention view_product -> any every week" + demoRange,
	"trend users of any every day" + demoRange,
	"sessions by context.device" + demoRange,
	"top properties.category of purchase_completed" + demoRange,
}

const (
	demoRange  = " from 2026-05-01 to 2026-05-31"
	demoFunnel = "funnel view_product -> add_to_cart -> checkout_started -> purchase_completed within 7d" + demoRange
)

// Run loads the events and asks for their funnel.
func (c *demoCmd) Run(ctx context.Context, env *environment, g *globals) error {
	stream, err := workload.New(workload.Config{Events: c.Events, Seed: c.Seed})
	if err != nil {
		return usageError{err}
	}
	source := importer.Source{Name: "demo", In: workload.NewReader(stream)}
	if _, err := c.send(ctx, env, g, importer.Config{KeepRejects: 3}, []importer.Source{source}, meter{events: c.Events}); err != nil {
		return err
	}
	if c.JSON {
		return nil
	}
	if _, err := fmt.Fprintf(env.Stdout, "\n%s\n\n", demoFunnel); err != nil {
		return err
	}
	server, err := g.connect(1, time.Minute)
	if err != nil {
		return err
	}
	defer server.Close()
	answer, err := server.Query(ctx, demoFunnel, false)
	if err != nil {
		return queryFailed(env, demoFunnel, err)
	}
	if err := render.Answer(env.Stdout, env.Stderr, answer, env.table()); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(env.Stdout, "\nAsk more, or type spoor query for a prompt:\n\n"); err != nil {
		return err
	}
	for _, q := range demoQueries {
		if _, err := fmt.Fprintf(env.Stdout, "  spoor query '%s'\n", q); err != nil {
			return err
		}
	}
	return nil
}
