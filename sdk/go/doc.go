// Package spoor sends events from an application to a Spoor server.
//
// It is where an event begins. Enqueue gives it its id and its time, writes it
// as JSON on the caller's goroutine and puts it into a bounded queue, in memory
// or, with Options.SpoolDir, in files (internal/spool). One goroutine takes
// batches from the queue's head and sends one after the other, each until the
// server has answered for every event: stored, had already, or refused for
// good. An answer that is lost, a server that is down or busy, and a client
// that is killed with a spool all end in a resend with the same ids, of which
// the server keeps one: every event counts exactly once.
//
//	client, err := spoor.New(spoor.Options{Endpoint: "https://events.example.com", WriteKey: key})
//	if err != nil { ... }
//	defer client.Close(ctx)
//	err = client.Track(ctx, spoor.User("u1"), "purchase_completed", map[string]any{"price": 19.99})
//
// README.md has the options and the guarantees.
package spoor
