package rawtier

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"time"

	"spoor/engine"
	"spoor/engine/erasure"
	"spoor/internal/vfs"
	"spoor/segment"
	"spoor/server/rawtier/blob"
	"spoor/server/rawtier/parquetfile"
)

// Options tune a Tier. Zero values take the defaults.
type Options struct {
	// Store is the id of the store whose events these are, the same on each of its nodes.
	Store func(ctx context.Context) (string, error)
	// Governs is what governs the store; nil: the raw tier has no part of it.
	Governs Governs
	// Erasures are the requests to erase that were carried out; nil: all of a day is read after each.
	Erasures func() ([]erasure.Record, error)
	// Leads tells whether this node may write; only a leader may.
	Leads func() bool
	FS    vfs.FS // for files on their way; default the operating system's
	Dir   string // of files on their way; it is emptied
	// Delay is how long after its end a day is sealed; default 6 h.
	Delay time.Duration
	// EraseWithin is how long what was erased may stay in files; default 24 h. It is begun after half of it.
	EraseWithin time.Duration
	// LateEvery is how long late events of a day are gathered; default an hour.
	LateEvery time.Duration
	// Every is how often it is looked what is to be done; default a minute.
	Every   time.Duration
	MinRows int // of a file; default DefaultMinRows
	// Adopt takes over a raw tier of another store, once this one has all of its events.
	Adopt  bool
	Now    func() time.Time
	Logger *slog.Logger
}

func (o *Options) setDefaults() {
	if o.FS == nil {
		o.FS = vfs.OS()
	}
	if o.Leads == nil {
		o.Leads = func() bool { return true }
	}
	for _, d := range []struct {
		value *time.Duration
		def   time.Duration
	}{{&o.Delay, 6 * time.Hour}, {&o.EraseWithin, 24 * time.Hour}, {&o.LateEvery, time.Hour}, {&o.Every, time.Minute}} {
		if *d.value == 0 {
			*d.value = d.def
		}
	}
	if o.MinRows == 0 {
		o.MinRows = DefaultMinRows
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

const (
	// patience is how long the watermark is waited for: a day is sealed when later events
	// have come, or when none came for so long.
	patience = 24 * time.Hour
	// sweepEvery is how often files are looked for that no manifest names.
	sweepEvery = 24 * time.Hour
	// orphanAge is how old such a file must be: another leader may be about to name it.
	orphanAge = 6 * time.Hour
	// followEvery is how often a node that does not lead looks whether it does.
	followEvery = 250 * time.Millisecond
	// maxBackoff bounds the pause after rounds that failed.
	maxBackoff = 15 * time.Minute
)

// Tier writes the raw tier of one store. Run is its one goroutine.
type Tier struct {
	opts   Options
	store  blob.Store
	events Events
	shop   *workshop
	status status

	// Of Run alone, from the time that this node began to lead.
	days       map[int32]*daily
	erased     Erased
	erasedV    string
	persons    Persons
	personsV   string
	governed   governed
	erasedSeen uint64    // the last erasure that was seen,
	erasedAt   time.Time // and when it was seen first
	swept      time.Time
	wrote      bool // a day was written since who is who was
}

// daily is a manifest as it is in the store.
type daily struct {
	Day
	version string
	lateAt  time.Time // when late events were looked for
	refused string    // the state of the store in which rows were missing without a reason
}

// New returns the raw tier of a store. Run writes it.
func New(store blob.Store, events Events, opts Options) *Tier {
	opts.setDefaults()
	return &Tier{opts: opts, store: store, events: events, shop: &workshop{fs: opts.FS, dir: opts.Dir}}
}

// Run writes the raw tier until ctx ends. What fails is logged, shown by Status, and tried again.
func (t *Tier) Run(ctx context.Context) {
	pause := t.opts.Every
	for {
		err := t.Round(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			t.opts.Logger.Error("the raw tier was not written; it will be tried again", "place", t.store.String(), "error", err)
			pause = min(2*pause, maxBackoff)
		case !t.leading():
			pause = min(t.opts.Every, followEvery)
		default:
			pause = t.opts.Every
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// Round does what is due now. It is Run's, and of tests.
func (t *Tier) Round(ctx context.Context) error {
	if !t.opts.Leads() {
		t.days = nil
		t.status.follow()
		return nil
	}
	err := t.round(ctx)
	if errors.Is(err, blob.ErrChanged) {
		t.days = nil // another leader was here: read what it did
	}
	t.status.ended(t, t.opts.Now(), err)
	return err
}

func (t *Tier) round(ctx context.Context) error {
	if t.days == nil {
		if err := t.load(ctx); err != nil {
			return err
		}
	}
	view, err := t.events.View()
	if err != nil {
		return err
	}
	due, index, through := t.due(view), view.Erasures(), view.DataThrough
	empty := view.Empty()
	view.Release()
	if empty && len(t.days) > 0 {
		return fmt.Errorf("the store is empty: %w", ErrOlder)
	}
	erasing := t.erasingNow(index)
	var failures []error
	older := t.writeGovernance(ctx, erasing) // first: whom an erasure took is refused by what is rebuilt from here on
	if older != nil && !errors.Is(older, ErrOlder) {
		return older
	}
	for _, day := range due {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := t.reconcile(ctx, day, through, erasing); err != nil {
			if errors.Is(err, blob.ErrChanged) || errors.Is(err, blob.ErrDenied) || errors.Is(err, blob.ErrFull) || ctx.Err() != nil {
				return err
			}
			switch {
			case errors.Is(err, ErrOlder):
				older = cmp.Or(older, err) // of this day alone; the others go on
			default:
				failures = append(failures, err)
			}
			if len(failures) >= maxFailures {
				break
			}
		}
	}
	if err := errors.Join(append(failures, older)...); err != nil {
		return err
	}
	if err := t.writePersons(ctx, erasing); err != nil {
		return err
	}
	if erasing && t.erased.Erasures != index {
		if err := t.replaceErased(ctx, index); err != nil {
			return err
		}
	}
	if now := t.opts.Now(); now.Sub(t.swept) >= sweepEvery || now.Before(t.swept) {
		if err := t.sweep(ctx); err != nil {
			return err
		}
		t.swept = now
	}
	return nil
}

// maxFailures is after how many days that fail a round ends.
const maxFailures = 3

// load reads the state of the raw tier: this node leads from now on.
func (t *Tier) load(ctx context.Context) error {
	if err := t.shop.clear(); err != nil {
		return err
	}
	if err := t.own(ctx); err != nil {
		return err
	}
	days := map[int32]*daily{}
	err := t.store.List(ctx, manifestDir+"date=", func(o blob.Object) error {
		d := &daily{}
		var found bool
		var err error
		if d.version, found, err = readJSON(ctx, t.store, o.Key, &d.Day); err != nil || !found {
			return err
		}
		day, err := d.day()
		days[day] = d
		return err
	})
	if err != nil {
		return err
	}
	t.erased, t.persons = Erased{}, Persons{}
	if t.erasedV, _, err = readJSON(ctx, t.store, erasedKey, &t.erased); err != nil {
		return err
	}
	if t.personsV, _, err = readJSON(ctx, t.store, personsKey, &t.persons); err != nil {
		return err
	}
	t.governed = governed{}
	if t.governed.version, _, err = readJSON(ctx, t.store, governanceKey, &t.governed.Governance); err != nil {
		return err
	}
	// For how long erasures wait already is not known here: they are carried out at once.
	t.days, t.swept, t.erasedAt = days, time.Time{}, t.opts.Now().Add(-t.opts.EraseWithin)
	return nil
}

// due lists the days that are over, and those that have files.
func (t *Tier) due(view *engine.View) []int32 {
	over := map[int32]bool{}
	last := segment.Day(t.opts.Now().Add(-t.opts.Delay).UnixMicro()) - 1
	for _, r := range view.Segments {
		r.Days(func(day int32, _ []segment.Section) {
			if day <= last {
				over[day] = true
			}
		})
	}
	for day := range t.days {
		over[day] = true
	}
	return slices.Sorted(maps.Keys(over))
}

// erasingNow tells whether it is time to carry out erasures in files.
func (t *Tier) erasingNow(index uint64) bool {
	now := t.opts.Now()
	if t.erased.Erasures == index {
		t.erasedAt = time.Time{}
		return false
	}
	if t.erasedAt.IsZero() {
		t.erasedAt = now
	}
	t.erasedSeen = index
	return now.Sub(t.erasedAt) >= t.opts.EraseWithin/2
}

// reconcile makes the files of a day what the store has.
func (t *Tier) reconcile(ctx context.Context, day int32, through int64, erasing bool) error {
	view, err := t.events.View()
	if err != nil {
		return err
	}
	defer view.Release()
	rows, err := rowsOf(view, day)
	if err != nil {
		return fmt.Errorf("count the events of %s: %w", dayName(day), err)
	}
	if err := t.reconcileWith(ctx, view, day, rows, through, erasing); err != nil {
		return fmt.Errorf("write %s to the raw tier: %w", dayName(day), err)
	}
	return nil
}

func (t *Tier) reconcileWith(ctx context.Context, view *engine.View, day int32, rows, through int64, erasing bool) error {
	have := t.days[day]
	now := t.opts.Now()
	end := time.UnixMicro(int64(day+1) * segment.MicrosPerDay)
	switch {
	case have == nil && (rows == 0 || through < end.UnixMicro() && now.Before(end.Add(t.opts.Delay+patience))):
		return nil
	case have == nil:
		return t.seal(ctx, view, day)
	case view.Erasures() != have.Erasures && view.Erasures() != t.erased.Erasures:
		if !erasing {
			return nil
		}
		same, err := t.same(ctx, view, day)
		if err != nil || same {
			return err
		}
		return t.rewrite(ctx, view, day)
	case rows < have.Rows:
		state := fmt.Sprintf("%s %d", view.Meaning(), rows)
		if have.refused == state {
			return ErrOlder // nothing has changed since all files were read
		}
		err := t.rewrite(ctx, view, day) // what the retention does not explain is refused
		if errors.Is(err, ErrOlder) {
			have.refused = state
		}
		return err
	case rows > have.Rows && now.Sub(have.lateAt) >= t.opts.LateEvery:
		have.lateAt = now
		ok, err := t.late(ctx, view, day, rows)
		if err == nil && !ok {
			err = t.rewrite(ctx, view, day)
		}
		if err != nil {
			return err
		}
		if count := len(slices.DeleteFunc(slices.Clone(t.days[day].Files), func(f File) bool { return !f.Late })); count > maxLateFiles {
			return t.mergeLate(ctx, view, day)
		}
	}
	return nil
}

// commit replaces the manifest of a day and removes the files that it no longer names.
func (t *Tier) commit(ctx context.Context, day int32, d *Day) error {
	d.Changed = stamp(t.opts.Now())
	slices.SortFunc(d.Files, func(a, b File) int {
		if a.Key < b.Key {
			return -1
		}
		return 1
	})
	version, lateAt := "", time.Time{}
	var old []File
	if have := t.days[day]; have != nil {
		version, old, lateAt = have.version, have.Files, have.lateAt
	}
	next, err := replaceJSON(ctx, t.store, manifestKey(day), d, version)
	if err != nil {
		return err
	}
	t.days[day] = &daily{Day: *d, version: next, lateAt: lateAt}
	t.wrote = true
	t.opts.Logger.Info("a day was written to the raw tier", "date", d.Date, "files", len(d.Files), "events", d.Rows)
	for _, f := range old {
		if !d.names(f.Key) {
			if err := t.store.Remove(ctx, f.Key); err != nil {
				t.swept = time.Time{} // it is found by the next sweep
				return err
			}
		}
	}
	return nil
}

func (d *Day) names(key string) bool {
	return slices.ContainsFunc(d.Files, func(f File) bool { return f.Key == key })
}

// replaceErased says that all days were looked through for an erasure.
func (t *Tier) replaceErased(ctx context.Context, index uint64) error {
	e := Erased{Version: manifestVersion, Erasures: index, At: stamp(t.opts.Now())}
	version, err := replaceJSON(ctx, t.store, erasedKey, e, t.erasedV)
	if err != nil {
		return err
	}
	t.erased, t.erasedV = e, version
	return nil
}

// eachOf reads a file of a manifest, checked, by way of this machine.
func (t *Tier) eachOf(ctx context.Context, f *File, each func(*parquetfile.Event) error) error {
	file, name, err := t.shop.create()
	if err != nil {
		return err
	}
	defer func() {
		_ = file.Close()
		_ = t.shop.fs.Remove(name)
	}()
	if err := Fetch(ctx, t.store, f.Key, f.Bytes, f.SHA256, io.Writer(file)); err != nil {
		return err
	}
	return parquetfile.Each(file, f.Bytes, each)
}
