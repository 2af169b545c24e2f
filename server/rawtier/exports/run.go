package exports

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"spoor/engine"
	"spoor/internal/vfs"
	"spoor/segment"
	"spoor/server/export"
	"spoor/server/govern"
	"spoor/server/jobs"
	"spoor/server/rawtier"
	"spoor/server/rawtier/blob"
	"spoor/server/rawtier/parquetfile"
)

// Store is where events and definitions are.
type Store interface {
	PutDocument(ctx context.Context, kind, name string, value []byte) (index uint64, err error)
	DeleteDocument(ctx context.Context, kind, name string) (found bool, index uint64, err error)
	Document(kind, name string) (govern.Document, bool)
	Documents(kind string) []govern.Document
	View() (*engine.View, error)
	Export(ctx context.Context, spec export.Spec, yield func(line []byte) error) error
	ExportParquet(ctx context.Context, spec export.Spec, w io.Writer) error
}

// Options tune Exports. Zero values take the defaults.
type Options struct {
	// Mine tells whether this node may write: it leads, and the last round of the raw tier ended
	// well, so the raw tier is this store's and the store has all of it.
	Mine func() bool
	Jobs *jobs.Jobs // where progress is told
	FS   vfs.FS     // for files on their way; default the operating system's
	Dir  string     // of files on their way; it is emptied
	// EraseWithin is how long what was erased may stay in files; default 24 h. It is begun after half of it.
	EraseWithin time.Duration
	// Every is how often it is looked what is to be done; default 10 s.
	Every  time.Duration
	Now    func() time.Time
	Logger *slog.Logger
}

// maxBackoff bounds the pause after rounds that failed.
const maxBackoff = 15 * time.Minute

// outputBytes are written to a file at a time; so often it is looked whether the export was canceled.
const outputBytes = 256 << 10

// Exports are those of one store. Run is its one goroutine.
type Exports struct {
	opts  Options
	raw   blob.Store
	store Store
	woken chan struct{}

	mu       sync.Mutex
	progress map[string]progress

	// Of Run alone, from the time that this node began to write.
	months   map[string]map[string]*month // by export
	erasedAt time.Time                    // since when erasures wait
	erasedOf uint64                       // up to which erasure
	next     int
}

type progress struct {
	done          int
	events, bytes int64
	last, failed  string
	erasing       bool
}

// New returns the exports of a store into that of a raw tier. Run writes them.
func New(raw blob.Store, store Store, opts Options) *Exports {
	if opts.FS == nil {
		opts.FS = vfs.OS()
	}
	if opts.EraseWithin == 0 {
		opts.EraseWithin = 24 * time.Hour
	}
	if opts.Every == 0 {
		opts.Every = 10 * time.Second
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Jobs == nil {
		opts.Jobs = jobs.New(opts.Now)
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &Exports{opts: opts, raw: raw, store: store, woken: make(chan struct{}, 1), progress: map[string]progress{}}
}

func (x *Exports) wake() {
	select {
	case x.woken <- struct{}{}:
	default:
	}
}

// Run writes exports until ctx ends. What fails is logged, shown, and tried again.
func (x *Exports) Run(ctx context.Context) {
	pause := x.opts.Every
	for {
		err := x.Round(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			x.opts.Logger.Error("exports were not written; they will be tried again", "place", x.raw.String(), "error", err)
			pause = min(2*pause, maxBackoff)
		default:
			pause = x.opts.Every
		}
		select {
		case <-ctx.Done():
			return
		case <-x.woken:
		case <-time.After(pause):
		}
	}
}

// Round does what is due now: a file of each export by turns, until there is none. It is Run's, and of tests.
func (x *Exports) Round(ctx context.Context) error {
	if !x.opts.Mine() {
		x.months = nil
		return nil
	}
	erasures, err := x.erasures()
	if err != nil {
		return err
	}
	switch {
	case x.months == nil:
		if err := x.opts.FS.RemoveAll(x.opts.Dir); err != nil {
			return fmt.Errorf("clear %s: %w", x.opts.Dir, err)
		}
		if err := x.opts.FS.MkdirAll(x.opts.Dir); err != nil {
			return err
		}
		// For how long erasures wait already is not known here: they are carried out at once.
		x.months, x.erasedAt = map[string]map[string]*month{}, x.opts.Now().Add(-x.opts.EraseWithin)
	case erasures != x.erasedOf && x.erasedAt.IsZero():
		x.erasedAt = x.opts.Now()
	}
	x.erasedOf = erasures
	erasing := !x.erasedAt.IsZero() && x.opts.Now().Sub(x.erasedAt) >= x.opts.EraseWithin/2
	var failures []error
	failed := map[string]bool{}
	for more := true; more; {
		more = false
		for _, doc := range x.store.Documents(DocumentKind) {
			if failed[doc.Name] || !x.opts.Mine() {
				continue
			}
			did, err := x.step(ctx, doc.Name, erasures, erasing)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			x.note(doc.Name, erasures, err)
			if err != nil {
				failed[doc.Name] = true
				delete(x.months, doc.Name) // another leader may have been here: read what it did
				failures = append(failures, fmt.Errorf("export %s: %w", doc.Name, err))
			}
			more = more || did
		}
	}
	if erasing && len(failures) == 0 {
		x.erasedAt = time.Time{}
	}
	x.forget()
	return errors.Join(failures...)
}

func (x *Exports) erasures() (uint64, error) {
	view, err := x.store.View()
	if err != nil {
		return 0, err
	}
	defer view.Release()
	return view.Erasures(), nil
}

// firstDay is the first day that has events, today if there is none.
func (x *Exports) firstDay(now time.Time) (time.Time, error) {
	view, err := x.store.View()
	if err != nil {
		return now, err
	}
	defer view.Release()
	first := segment.Day(now.UnixMicro())
	for _, r := range view.Segments {
		r.Days(func(day int32, _ []segment.Section) { first = min(first, day) })
	}
	return time.UnixMicro(int64(first) * segment.MicrosPerDay).UTC(), nil
}

// step does one thing that is due for an export, and tells whether there was one.
func (x *Exports) step(ctx context.Context, name string, erasures uint64, erasing bool) (did bool, err error) {
	d, _, err := x.definition(name)
	if err != nil {
		return false, nil // it was just removed
	}
	if d.State == stateRemoved {
		return true, x.purge(ctx, name)
	}
	p, err := planOf(&d)
	if err != nil {
		return false, err
	}
	if x.months[name] == nil {
		if x.months[name], err = readMonths(ctx, x.raw, name); err != nil {
			return false, err
		}
		if err := x.sweep(ctx, name); err != nil {
			return false, err
		}
	}
	if erasing {
		if did, err := x.erase(ctx, name, p, erasures); did || err != nil {
			return did, err
		}
	}
	if d.State != "" {
		return false, nil
	}
	var due *period
	count, total := 0, 0
	p.periods(x.opts.Now(), func(w period) bool {
		total++
		if m := x.months[name][monthOf(w.name)]; m != nil && m.find(w.name) != nil {
			count++
		} else if due == nil {
			due = &w
		}
		return total < MaxPeriods
	})
	if due == nil {
		return false, nil
	}
	return true, x.write(ctx, name, p, due, nil, erasures, count, total)
}

// note says how far an export is.
func (x *Exports) note(name string, erasures uint64, err error) {
	var n progress
	for _, m := range x.months[name] {
		for i := range m.Parts {
			q := &m.Parts[i]
			n.done, n.events, n.bytes, n.last = n.done+1, n.events+q.Rows, n.bytes+q.Bytes, max(n.last, q.Period)
			n.erasing = n.erasing || q.Erasures != erasures
		}
	}
	if err != nil {
		n.failed = err.Error()
	}
	x.mu.Lock()
	x.progress[name] = n
	x.mu.Unlock()
}

// forget lets go of exports that are no more.
func (x *Exports) forget() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for name := range x.progress {
		if _, there := x.store.Document(DocumentKind, name); !there {
			delete(x.progress, name)
			delete(x.months, name)
		}
	}
}

// errCanceled ends a file of an export that somebody canceled on the way.
var errCanceled = errors.New("the export was canceled")

// watch ends a file when the export is canceled or this node leads no more.
type watch struct {
	io.Writer
	x    *Exports
	name string
}

func (w watch) Write(p []byte) (int, error) {
	if d, _, err := w.x.definition(w.name); err != nil || d.State != "" || !w.x.opts.Mine() {
		return 0, errCanceled
	}
	return w.Writer.Write(p)
}

// write writes the file of a period, in place of an old one if there is one.
func (x *Exports) write(whole context.Context, name string, p *plan, w *period, old *Part, erasures uint64, done, total int) (err error) {
	ctx, cancel := context.WithCancel(whole)
	defer cancel()
	job := x.opts.Jobs.Continue("export-"+name, "export", name, "files", cancel)
	job.Told(int64(done), int64(total))
	canceled := false
	defer func() {
		if canceled {
			job.Cancel()
		} else if err != nil || done+1 >= total {
			job.Told(int64(done+1), int64(total))
			job.End(err)
		}
	}()
	path := filepath.Join(x.opts.Dir, fmt.Sprintf("%d%s", x.next, vfs.TempSuffix))
	x.next++
	f, err := x.opts.FS.Create(path)
	if err != nil {
		return fmt.Errorf("write %s: %w", w.name, err)
	}
	defer func() {
		_ = f.Close()
		_ = x.opts.FS.Remove(path) // the next start clears what stays
	}()
	h := sha256.New()
	var out io.Writer = io.MultiWriter(f, h)
	if old == nil { // an erasure in the files of one that was canceled is carried out
		out = watch{out, x, name}
	}
	buf := bufio.NewWriterSize(out, outputBytes)
	rows, err := x.content(ctx, p, w, buf)
	if err == nil {
		err = buf.Flush()
	}
	if err == nil && p.Format == "parquet" {
		rows, err = parquetfile.Rows(f, f.Size())
	}
	if ctx.Err() != nil && whole.Err() == nil { // by way of the list of jobs
		canceled = true
		return x.cancel(whole, name)
	}
	if errors.Is(err, errCanceled) {
		canceled = true
		return nil // what was asked for is done by the next step
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", w.name, err)
	}
	sum := hex.EncodeToString(h.Sum(nil))
	part := Part{
		Period: w.name, From: w.from.Format(time.RFC3339), To: w.to.Format(time.RFC3339), Rows: rows, Bytes: f.Size(), SHA256: sum, Erasures: erasures,
		Key: w.dir(name) + "part-" + sum[:shaInName] + "." + p.Format, Written: x.opts.Now().UTC().Format(time.RFC3339),
	}
	if old != nil && old.Key == part.Key {
		part.Written = old.Written
	} else if err := rawtier.UploadFile(ctx, x.raw, part.Key, f, part.Bytes, sum); err != nil {
		return fmt.Errorf("write %s: %w", w.name, err)
	}
	if err := x.commit(ctx, name, part); err != nil {
		return err
	}
	if old != nil && old.Key != part.Key {
		return x.raw.Remove(ctx, old.Key)
	}
	return nil
}

const shaInName = 32 // hexadecimal digits

// cancel stores that an export was canceled.
func (x *Exports) cancel(ctx context.Context, name string) error {
	d, _, err := x.definition(name)
	if err != nil || d.State != "" {
		return nil
	}
	d.State = StateCanceled
	_, err = x.put(ctx, name, &d)
	return err
}

// content writes the events of a period; rows of Parquet stand in its footer.
func (x *Exports) content(ctx context.Context, p *plan, w *period, out io.Writer) (rows int64, err error) {
	spec := p.spec(w)
	var lines export.Format = export.NDJSON{}
	switch p.Format {
	case "parquet":
		return 0, x.store.ExportParquet(ctx, spec, out)
	case "csv":
		if lines, err = export.NewCSV(p.Columns); err != nil {
			return 0, err
		}
	}
	buf := lines.Head(nil)
	err = x.store.Export(ctx, spec, func(event []byte) error {
		var err error
		if buf, err = lines.Line(buf, event); err != nil {
			return err
		}
		rows++
		_, err = out.Write(buf)
		buf = buf[:0]
		return err
	})
	if err == nil {
		_, err = out.Write(buf) // the head, where there was no event
	}
	return rows, err
}

// commit names a part in the manifest of its month.
func (x *Exports) commit(ctx context.Context, name string, part Part) error {
	key := monthOf(part.Period)
	m := x.months[name][key]
	if m == nil {
		m = &month{Month: Month{Version: rawtier.StateVersion, Name: name, Month: key}}
	}
	next := month{Month: m.with(part)}
	if err := rawtier.ReplaceState(ctx, x.raw, manifestKey(name, key), next.Month, m.version); err != nil {
		return err
	}
	var read Month
	version, _, err := rawtier.ReadState(ctx, x.raw, manifestKey(name, key), &read)
	if err != nil {
		return err
	}
	next.version = version
	x.months[name][key] = &next
	return nil
}

// erase looks through the first file that was not yet looked through for an erasure: it is made anew of what the store has.
func (x *Exports) erase(ctx context.Context, name string, p *plan, erasures uint64) (did bool, err error) {
	for _, key := range slices.Sorted(maps.Keys(x.months[name])) {
		m := x.months[name][key]
		for i := range m.Parts {
			old := m.Parts[i]
			if old.Erasures == erasures {
				continue
			}
			from, ferr := time.Parse(time.RFC3339, old.From)
			to, terr := time.Parse(time.RFC3339, old.To)
			if err := errors.Join(ferr, terr); err != nil {
				return false, fmt.Errorf("read %s: %w", manifestKey(name, key), err)
			}
			return true, x.write(ctx, name, p, &period{name: old.Period, from: from, to: to}, &old, erasures, i, len(m.Parts))
		}
	}
	return false, nil
}

// sweep removes files of an export that no manifest names, which an attempt that was cut off left.
func (x *Exports) sweep(ctx context.Context, name string) error {
	named := map[string]bool{}
	for _, m := range x.months[name] {
		for i := range m.Parts {
			named[m.Parts[i].Key] = true
		}
	}
	return x.removeAll(ctx, filesDir+name+"/", func(key string) bool { return !named[key] })
}

// purge removes an export: its files, its manifests, and then its definition.
func (x *Exports) purge(ctx context.Context, name string) error {
	for _, dir := range []string{filesDir, manifestsDir} {
		if err := x.removeAll(ctx, dir+name+"/", func(string) bool { return true }); err != nil {
			return err
		}
	}
	delete(x.months, name)
	_, _, err := x.store.DeleteDocument(ctx, DocumentKind, name)
	return err
}

func (x *Exports) removeAll(ctx context.Context, prefix string, wanted func(key string) bool) error {
	var keys []string
	err := x.raw.List(ctx, prefix, func(o blob.Object) error {
		if wanted(o.Key) {
			keys = append(keys, o.Key)
		}
		return nil
	})
	for _, key := range keys {
		if err == nil {
			err = x.raw.Remove(ctx, key)
		}
	}
	return err
}
