// Package backend puts the store behind the server's interfaces: writes become
// log entries that the node proposes, reads go to the engine and its queries.
// Errors of the layers below become those that the server's handlers tell apart.
package backend

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"spoor/cluster"
	"spoor/cluster/datadir"
	"spoor/engine"
	"spoor/engine/document"
	"spoor/engine/event"
	"spoor/engine/letters"
	"spoor/engine/query"
	"spoor/engine/query/lang"
	"spoor/engine/traits"
	"spoor/internal/vfs"
	"spoor/segment"
	"spoor/segment/batch"
	"spoor/server"
	"spoor/server/collect"
	"spoor/server/govern"
)

// Log proposes entries and answers what applying them gave. Its errors are
// those of package server.
type Log interface {
	Propose(ctx context.Context, data []byte) (result any, index uint64, err error)
	Ready() error
	Cluster() server.ClusterStatus
	// Checkpoint makes everything that was applied durable outside the log.
	Checkpoint(ctx context.Context) error
	// CutLog is Checkpoint, and removes from the disk what came before the call.
	CutLog(ctx context.Context) error
	// Verify reads all that the log keeps and returns the indexes of its ends.
	Verify(ctx context.Context) (first, last uint64, err error)
}

// Backend is a server.Backend.
type Backend struct {
	log   Log
	db    *engine.DB
	data  string // its directory, "" where it is not on the disk
	query *query.Engine
	// backups is the directory that backups are written below, "" for none.
	backups string
	// damaged is told of damage that a query found, nil for nobody.
	damaged func(error)
}

var _ server.Backend = (*Backend)(nil)

// New returns the backend of one node. now is the clock that queries are resolved by.
func New(log Log, db *engine.DB, now func() time.Time) *Backend {
	return &Backend{log: log, db: db, query: query.New(db, query.Limits{}, now)}
}

// KeepBackups lets backups be written into directories below dir.
func (b *Backend) KeepBackups(dir string) *Backend {
	b.backups = dir
	return b
}

// SearchIn lets texts be looked for in the data directory of the log and the store.
func (b *Backend) SearchIn(dir string) *Backend {
	b.data = dir
	return b
}

// OnDamage tells f of damage that a query finds in the store's files.
func (b *Backend) OnDamage(f func(error)) *Backend {
	b.damaged = f
	return b
}

// EventsEntry appends the log entry that stores b.
func (b *Backend) EventsEntry(dst []byte, events *batch.Batch) []byte {
	return engine.EventsEntry(dst, events)
}

// CommitEvents commits an entry of events.
func (b *Backend) CommitEvents(ctx context.Context, entry []byte) (v collect.Verdicts, index uint64, err error) {
	result, index, err := b.propose(ctx, entry)
	if err != nil {
		return v, 0, err
	}
	events, ok := result.(*engine.EventsResult)
	if !ok {
		return v, 0, fmt.Errorf("apply events: the answer is a %T", result)
	}
	v.Duplicate = events.Duplicate
	if events.Refused != nil {
		v.Refused = make([]*event.Reject, len(events.Refused))
		for i, why := range events.Refused {
			v.Refused[i] = refusals[why]
		}
		v.Letters, err = lettersOf(entry, events.Refused)
	}
	return v, index, err
}

// lettersOf are the letters of rows that were refused because the time moved on for
// which eventIds are remembered, after they were taken: what comes later becomes a
// letter before the log. It returns nil where there are none.
func lettersOf(entry []byte, refused []engine.Refusal) (list []*letters.Letter, err error) {
	var events *batch.Batch
	for i, why := range refused {
		if why != engine.TooOld && why != engine.TooFarAhead {
			continue
		}
		if events == nil {
			if events, err = engine.EventsOf(entry); err != nil {
				return nil, err
			}
			list = make([]*letters.Letter, events.N)
		}
		row := event.RowOf(events, i)
		source := string(row.Source)
		row.Source = nil // it is beside the event, not of it
		list[i] = &letters.Letter{
			ID: string(row.ID), Name: string(row.Name), Source: source, Reason: refusals[why].Code, Message: refusals[why].Message,
			Path: "timestamp", Received: events.ReceivedAt, Event: event.AppendJSON(nil, row),
		}
	}
	return list, nil
}

// refusals are what clients are told of events that the engine refuses.
var refusals = [...]*event.Reject{
	engine.ErasedPerson: server.Erased,
	engine.TooOld:       {Code: govern.CodeTooOld, Message: "the event is older than eventIds are remembered: it may be stored already; the event is kept as a dead letter"},
	engine.TooFarAhead:  {Code: govern.CodeTooFarAhead, Message: "the event's time is so far ahead that its eventId would be forgotten before; the event is kept as a dead letter"},
	engine.ExpiredEvent: {Code: "expired", Message: "the event is older than the retention of its name allows"},
}

// CommitLetters stores dead letters.
func (b *Backend) CommitLetters(ctx context.Context, bounds letters.Bounds, encoded []byte) (index uint64, err error) {
	_, index, err = b.propose(ctx, engine.LettersEntry(bounds, encoded))
	return index, err
}

// RemoveLetters removes dead letters by their ids, and those beyond the bounds.
func (b *Backend) RemoveLetters(ctx context.Context, bounds letters.Bounds, ids []string) (removed int, index uint64, err error) {
	result, index, err := b.propose(ctx, engine.UnletterEntry(bounds, ids))
	removed, _ = result.(int)
	return removed, index, err
}

// Letters are the dead letters.
func (b *Backend) Letters() *letters.Store { return b.db.Letters() }

// propose commits an entry. An error that applying it gave is an error.
func (b *Backend) propose(ctx context.Context, entry []byte) (result any, index uint64, err error) {
	if b.db.DiskFull() {
		return nil, 0, fmt.Errorf("%w: recent events fill the memory and there is no space to write them to", server.ErrDiskFull)
	}
	result, index, err = b.log.Propose(ctx, entry)
	if err == nil {
		err, _ = result.(error)
	}
	return result, index, err
}

// Identify links ids and sets traits.
func (b *Backend) Identify(ctx context.Context, call *traits.Call) (linked bool, leftOut []string, index uint64, err error) {
	kept, leftOut := withoutConsent(call)
	result, index, err := b.propose(ctx, engine.IdentifyEntry(kept))
	if err != nil {
		return false, nil, 0, err
	}
	calls, ok := result.([]engine.IdentifyResult)
	if !ok || len(calls) != 1 {
		return false, nil, 0, fmt.Errorf("apply an identify call: the answer is a %T", result)
	}
	if calls[0].Refused {
		return false, nil, 0, server.ErrErased
	}
	return calls[0].Linked, append(leftOut, calls[0].LeftOut...), index, nil
}

// IdentifyAll links ids and sets traits, but for what only SetConsent may set.
func (b *Backend) IdentifyAll(ctx context.Context, calls []traits.Call) (erased []int, index uint64, err error) {
	kept := make([]traits.Call, len(calls))
	for i := range calls {
		kept[i], _ = withoutConsent(&calls[i])
	}
	return b.RestorePersons(ctx, kept)
}

// RestorePersons links ids and sets traits, with what they agreed to.
func (b *Backend) RestorePersons(ctx context.Context, calls []traits.Call) (erased []int, index uint64, err error) {
	result, index, err := b.propose(ctx, engine.IdentifyEntry(calls...))
	if err != nil {
		return nil, 0, err
	}
	done, ok := result.([]engine.IdentifyResult)
	if !ok || len(done) != len(calls) {
		return nil, 0, fmt.Errorf("apply %d identify calls: the answer is a %T", len(calls), result)
	}
	for i := range done {
		if done[i].Refused {
			erased = append(erased, i)
		}
	}
	return erased, index, nil
}

// Person is whom an id stands for.
func (b *Backend) Person(id string) (p server.Person, found bool) {
	who := b.db.Identity()
	person, ok := who.Find(id)
	if !ok {
		return p, false
	}
	user, anons := who.IDs(person, server.MaxListedIDs)
	p = server.Person{Name: who.Name(person), AnonymousIDs: []string{}, Traits: event.AppendObject(nil, who.Traits(person))}
	if user != nil {
		text := string(user)
		p.UserID = &text
	}
	for _, a := range anons {
		p.AnonymousIDs = append(p.AnonymousIDs, string(a))
	}
	return p, true
}

// PutDocument stores a document.
func (b *Backend) PutDocument(ctx context.Context, kind, name string, value []byte) (index uint64, err error) {
	if len(value) > document.MaxBytes || len(name) > document.MaxNameBytes {
		return 0, fmt.Errorf("store %s %q: %w", kind, name, server.ErrTooLarge)
	}
	_, index, err = b.propose(ctx, engine.PutEntry(kind, name, value))
	return index, err
}

// DeleteDocument removes a document.
func (b *Backend) DeleteDocument(ctx context.Context, kind, name string) (found bool, index uint64, err error) {
	result, index, err := b.propose(ctx, engine.DeleteEntry(kind, name))
	found, _ = result.(bool)
	return found, index, err
}

// Document returns a document.
func (b *Backend) Document(kind, name string) (server.Document, bool) {
	d, ok := b.db.Document(kind, name)
	return server.Document{Name: d.Name, Value: d.Value, Index: d.Index}, ok
}

// Documents returns the documents of a kind by name.
func (b *Backend) Documents(kind string) []server.Document {
	var out []server.Document
	for _, d := range b.db.Documents(kind) {
		out = append(out, server.Document{Name: d.Name, Value: d.Value, Index: d.Index})
	}
	return out
}

// DocumentsIndex is the log index of the last change of any document.
func (b *Backend) DocumentsIndex() uint64 { return b.db.DocumentsIndex() }

// Ready is nil once the node serves.
func (b *Backend) Ready() error { return b.log.Ready() }

// Flush writes the memtable to segments.
func (b *Backend) Flush(ctx context.Context) error { return b.log.Checkpoint(ctx) }

// Compact merges segments and leaves nothing in the log that came before the call.
func (b *Backend) Compact(ctx context.Context) error {
	if err := b.db.Compact(ctx); err != nil {
		return err
	}
	return b.log.CutLog(ctx)
}

// Merging is the merge of files that is at work; false: there is none.
func (b *Backend) Merging() (engine.Merge, bool) { return b.db.Merging() }

// Verify reads every byte of store, log and snapshots.
func (b *Backend) Verify(ctx context.Context, progress engine.Progress) (*datadir.Report, error) {
	found, err := b.db.Verify(ctx, progress)
	if err != nil {
		return nil, err
	}
	r := &datadir.Report{Report: *found}
	r.FirstIndex, r.LastIndex, err = b.log.Verify(ctx)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		r.Problems = append(r.Problems, engine.Problem{File: cluster.LogDir, Text: err.Error()})
	}
	return r, nil
}

// Grep looks for texts in every byte of the data directory.
func (b *Backend) Grep(ctx context.Context, texts []string, progress engine.Progress) (*datadir.Found, error) {
	if b.data == "" {
		return nil, server.ErrNoDataDir
	}
	return datadir.GrepInUse(ctx, vfs.OS(), b.data, texts, progress)
}

// Backup writes a backup into a directory below the one of KeepBackups.
func (b *Backend) Backup(ctx context.Context, name string, progress engine.Progress) (*engine.BackupReport, error) {
	if b.backups == "" {
		return nil, server.ErrNoBackupDir
	}
	return b.db.Backup(ctx, vfs.OS(), filepath.Join(b.backups, name), progress)
}

// Cluster is the node as its cluster sees it.
func (b *Backend) Cluster() server.ClusterStatus {
	s := b.log.Cluster()
	s.Applied, s.Durable = b.db.AppliedIndex(), b.db.DurableIndex()
	return s
}

// Store is how far the store is.
func (b *Backend) Store() server.StoreStatus {
	return server.StoreStatus{AppliedIndex: b.db.AppliedIndex(), DurableIndex: b.db.DurableIndex()}
}

// readFailure is queryFailure of what read the store's files.
func (b *Backend) readFailure(err error) error {
	if b.damaged != nil && errors.Is(err, segment.ErrCorrupt) {
		b.damaged(err)
	}
	return queryFailure(err)
}

// queryFailure makes the server's errors of those of the query engine.
func queryFailure(err error) error {
	var syntax *lang.Error
	var planned *query.Error
	switch {
	case errors.As(err, &syntax):
		return &server.QueryError{Code: syntax.Code, Message: syntax.Message, Line: syntax.Line, Column: syntax.Column, Hint: syntax.Hint}
	case errors.As(err, &planned) && planned.Code == query.ErrTooMuch:
		return fmt.Errorf("%w: %s", server.ErrLimit, planned.Message)
	case errors.As(err, &planned):
		return &server.QueryError{Code: planned.Code, Message: planned.Message}
	}
	return err
}
