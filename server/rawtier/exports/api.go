package exports

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"spoor/server/call"
)

// Status is an export and how far it is.
type Status struct {
	Name  string `json:"name"`
	Index uint64 `json:"index"` // of the log, where it was last changed
	Definition
	EventNames []string `json:"eventNames,omitempty"` // that it has; none: all
	// Progress is running, waiting (for the next period), done, canceled, removing or failed (it is tried again).
	Progress string `json:"progress"`
	// As the node that leads has it:
	Done    int    `json:"done"`           // periods
	Due     int    `json:"due"`            // periods that have ended
	Events  int64  `json:"events"`         // in the files
	Bytes   int64  `json:"bytes"`          // of the files
	Last    string `json:"last,omitempty"` // the latest period that is done
	Erasing bool   `json:"erasing"`        // there are erasures that its files were not looked through for
	Error   string `json:"error,omitempty"`
}

func notFound(name string) error {
	return call.Fail(http.StatusNotFound, "not_found", "there is no export %.100q; GET /api/exports lists them", name)
}

// definition reads a document.
func (x *Exports) definition(name string) (d Definition, index uint64, err error) {
	doc, ok := x.store.Document(DocumentKind, name)
	if !ok {
		return d, 0, notFound(name)
	}
	if err := json.Unmarshal(doc.Value, &d); err != nil {
		return d, 0, call.Fail(http.StatusInternalServerError, "internal", "the export %.100q cannot be read", name)
	}
	return d, doc.Index, nil
}

// List answers all exports by name.
func (x *Exports) List(*call.Call) (any, error) {
	list := []Status{}
	for _, doc := range x.store.Documents(DocumentKind) {
		s, err := x.status(doc.Name)
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return map[string][]Status{"exports": list}, nil
}

// Get answers one export.
func (x *Exports) Get(c *call.Call) (any, error) { return x.status(c.Name) }

// create is what a call to create has.
type create struct {
	Name string `json:"name"`
	Definition
}

// Create begins an export, or a schedule of exports. One of the same name and definition is the same.
func (x *Exports) Create(c *call.Call) (any, error) {
	var r create
	if err := json.Unmarshal(c.Body, &r, json.RejectUnknownMembers(true)); err != nil {
		return nil, bad(`the body is no export, {"name":"may","from":"2026-05-01","to":"2026-06-01","format":"parquet"}: %.200s`, err)
	}
	if err := checkName(r.Name); err != nil {
		return nil, err
	}
	d := &r.Definition
	if d.State != "" {
		return nil, bad("state is not said here; POST /api/exports/%s/cancel", r.Name)
	}
	if d.Format == "" {
		d.Format = "ndjson"
	}
	old, _, err := x.definition(r.Name)
	there := err == nil
	if err := x.complete(d, &old, c.Now); err != nil {
		return nil, err
	}
	p, err := planOf(d)
	if err != nil {
		return nil, err
	}
	first := period{from: p.from, to: p.from.Add(time.Second)}
	spec := p.spec(&first)
	spec.Limit = 1
	if err := x.store.Export(c.Reading, spec, func([]byte) error { return nil }); err != nil { // says what is wrong with the condition
		return nil, err
	}
	if there {
		if !same(&old, d) {
			return nil, call.Fail(http.StatusConflict, "name_taken", "there is another export %.100q; take another name, or remove it first: its files go with it", r.Name)
		}
		if old.State == "" {
			return x.status(r.Name)
		}
	} else if len(x.store.Documents(DocumentKind)) >= MaxExports {
		return nil, call.Fail(http.StatusConflict, "too_many_exports", "there are %d exports; remove one first", MaxExports)
	}
	if c.Index, err = x.put(c.Context, r.Name, d); err != nil {
		return nil, err
	}
	x.wake()
	return x.status(r.Name)
}

// complete says the times that a call left out; a call that is repeated means the times of the first.
func (x *Exports) complete(d, old *Definition, now time.Time) error {
	if d.From == "" {
		if d.From = old.From; d.From == "" {
			first, err := x.firstDay(now)
			if err != nil {
				return err
			}
			d.From = first.Format(time.DateOnly)
		}
	}
	if d.To == "" && d.Every == "" {
		if d.To = old.To; d.To == "" {
			d.To = now.UTC().Truncate(time.Second).Format(time.RFC3339)
		}
	}
	return nil
}

func same(a, b *Definition) bool {
	return a.From == b.From && a.To == b.To && a.Every == b.Every && a.Window == b.Window && a.Delay == b.Delay && a.Format == b.Format && a.Where == b.Where &&
		slices.Equal(a.Events, b.Events) && slices.Equal(a.Columns, b.Columns)
}

func (x *Exports) put(ctx context.Context, name string, d *Definition) (uint64, error) {
	value, err := json.Marshal(d)
	if err != nil {
		return 0, err
	}
	return x.store.PutDocument(ctx, DocumentKind, name, value)
}

// Cancel ends an export; its files stay.
func (x *Exports) Cancel(c *call.Call) (any, error) { return x.become(c, StateCanceled) }

// Remove ends an export and removes its files.
func (x *Exports) Remove(c *call.Call) (any, error) { return x.become(c, stateRemoved) }

func (x *Exports) become(c *call.Call, state string) (any, error) {
	d, _, err := x.definition(c.Name)
	if err != nil {
		return nil, err
	}
	if d.State != stateRemoved {
		d.State = state
	}
	if c.Index, err = x.put(c.Context, c.Name, &d); err != nil {
		return nil, err
	}
	x.wake()
	return x.status(c.Name)
}

func (x *Exports) status(name string) (s Status, err error) {
	s.Name = name
	if s.Definition, s.Index, err = x.definition(name); err != nil {
		return s, err
	}
	p, err := planOf(&s.Definition)
	if err != nil {
		return s, err
	}
	s.EventNames = s.Definition.Events
	x.mu.Lock()
	known := x.progress[name]
	x.mu.Unlock()
	now := x.opts.Now()
	p.periods(now, func(period) bool { s.Due++; return s.Due < MaxPeriods })
	s.Done, s.Events, s.Bytes, s.Last, s.Erasing, s.Error = known.done, known.events, known.bytes, known.last, known.erasing, known.failed
	switch {
	case s.State == stateRemoved:
		s.Progress = "removing"
	case s.State == StateCanceled:
		s.Progress = "canceled"
	case s.Error != "":
		s.Progress = "failed"
	case s.Done < s.Due:
		s.Progress = "running"
	case p.ended(now):
		s.Progress = "done"
	default:
		s.Progress = "waiting"
	}
	return s, nil
}
