// Package govern is what happens to an event between its reading and the batch:
// it is completed (package enrich), judged by the schema of its name, and
// personal data in it is replaced.
// Refused events are marked for the dead letters.
//
// What is in force comes from documents that are committed through the log:
// schemas by event name, one policy, and the secret of keyed hashes. They are
// compiled into an immutable snapshot when a document changed, so that a change
// holds for every event that is read after its answer. Without documents an
// event costs a look at its address alone.
package govern

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"

	"spoor/engine/erasure"
	"spoor/engine/event"
	"spoor/engine/letters"
	"spoor/engine/schema"
	"spoor/server/enrich"
	"spoor/server/export"
	"spoor/server/quality"
)

// Document is a small named value that is committed through the log. Value must not be changed.
type Document struct {
	Name  string
	Value []byte
	Index uint64 // log index that stored it
}

// Store is what a Pipeline needs of the store.
type Store interface {
	PutDocument(ctx context.Context, kind, name string, value []byte) (index uint64, err error)
	DeleteDocument(ctx context.Context, kind, name string) (found bool, index uint64, err error)
	Document(kind, name string) (Document, bool)
	Documents(kind string) []Document
	Letters
	Consents
	// DocumentsIndex is the log index of the last change of any document.
	DocumentsIndex() uint64
	// Export yields stored events as JSON.
	Export(ctx context.Context, spec export.Spec, yield func(line []byte) error) error
}

// Letters is where dead letters are.
type Letters interface {
	Letters() *letters.Store
	// RemoveLetters removes letters by their ids, and those beyond the bounds.
	RemoveLetters(ctx context.Context, b letters.Bounds, ids []string) (removed int, index uint64, err error)
}

// Pipeline governs the events of one server. Safe for concurrent use.
type Pipeline struct {
	store Store
	log   *slog.Logger
	now   atomic.Pointer[snapshot]
	build sync.Mutex
	// change is held while a document is read, changed and committed.
	change sync.Mutex
	Stats  Stats

	countries *enrich.Countries // nil: there is no database
	clock     *enrich.Clock
	lateness  Lateness
	board     *quality.Board
}

// Stats counts since the start.
type Stats struct {
	Violating atomic.Uint64 // events that did not obey, observed or refused
	Refused   atomic.Uint64 // events that went to the dead letters
	Dropped   atomic.Uint64 // events of which nothing was stored, for want of consent
	Late      atomic.Uint64 // events that were later than is allowed
	Future    atomic.Uint64 // events whose time is after their receipt
	// LateBy counts events by the bucket of their lateness; the first, of those that came in time, stays 0.
	LateBy   [len(quality.Ages) + 1]atomic.Uint64
	Stripped atomic.Uint64 // events that lost something, for want of consent
	Redacted atomic.Uint64 // events of which a value was replaced or dropped
}

// Counters are the numbers that the metrics show, by name.
func (p *Pipeline) Counters() map[string]*atomic.Uint64 {
	counters := map[string]*atomic.Uint64{
		"spoor_schema_violating_events_total": &p.Stats.Violating,
		"spoor_events_redacted_total":         &p.Stats.Redacted,
		"spoor_dead_letters_total":            &p.Stats.Refused,
		"spoor_events_too_late_total":         &p.Stats.Late,
		"spoor_consent_dropped_total":         &p.Stats.Dropped,
		"spoor_consent_stripped_total":        &p.Stats.Stripped,
		"spoor_events_future_total":           &p.Stats.Future,
	}
	for i := 1; i < len(p.Stats.LateBy); i++ {
		counters[fmt.Sprintf("spoor_events_late_total{age=%q}", quality.AgeName(i))] = &p.Stats.LateBy[i]
	}
	return counters
}

// Lateness says how late an event may come: how long its receipt may be after its timestamp.
type Lateness struct {
	Allowed time.Duration // 0: without bound
	Refuse  bool          // later ones go to the dead letters; else they are tagged
}

// New returns the pipeline over a store. countries may be nil.
func New(store Store, countries *enrich.Countries, lateness Lateness, log *slog.Logger) *Pipeline {
	return &Pipeline{store: store, log: log, countries: countries, clock: enrich.NewClock(), lateness: lateness, board: quality.NewBoard()}
}

// Governor returns a governor for one decoder.
func (p *Pipeline) Governor() event.Governor {
	return &worker{pipeline: p, ips: addressPlaces(), enrich: enrich.Worker{Countries: p.countries, Clock: p.clock}}
}

// snapshot is all that is in force, compiled.
type snapshot struct {
	index   uint64 // of the documents
	policy  Policy
	events  map[string]*eventRules
	unknown *eventRules
	hash    *hasher       // nil: there is no secret
	plain   bool          // nothing is added
	consent *consentRules // nil: none is needed
	cutoffs erasure.Cutoffs
}

// eventRules are what holds for one event name, or for all without a schema.
type eventRules struct {
	snap    *snapshot
	name    string
	mode    schema.Mode
	schema  *schema.Schema // nil: there is none, or it is off
	scan    bool           // personal data is looked for in properties
	scanAll bool           // and in everything else
	idle    bool           // nothing is done but addresses
	index   uint64         // of the document

	violating *atomic.Uint64 // events that did not obey, kept over snapshots
}

// current is the snapshot of the documents as they are.
func (p *Pipeline) current() *snapshot {
	index := p.store.DocumentsIndex()
	if s := p.now.Load(); s != nil && s.index == index {
		return s
	}
	return p.rebuild()
}

func (p *Pipeline) rebuild() *snapshot {
	p.build.Lock()
	defer p.build.Unlock()
	old := p.now.Load()
	// Read before the documents: what changes meanwhile makes another snapshot.
	index := p.store.DocumentsIndex()
	if old != nil && old.index == index {
		return old
	}
	s := &snapshot{index: index, policy: DefaultPolicy(), events: map[string]*eventRules{}}
	if d, ok := p.store.Document(policyKind, policyName); ok {
		policy, err := ReadPolicy(d.Value)
		if err != nil { // of a newer program: what is understood of it holds
			p.log.Error("the policy cannot be read whole", "error", err)
		}
		s.policy = policy
	}
	if d, ok := p.store.Document(secretKind, secretName); ok {
		s.hash = newHasher(d.Value)
	}
	if d, ok := p.store.Document(erasure.Document, erasure.InForce); ok {
		if err := json.Unmarshal(d.Value, &s.cutoffs); err != nil {
			p.log.Error("the retention cannot be read", "error", err)
		}
	}
	for _, d := range p.store.Documents(schema.Kind) {
		if old != nil {
			if e := old.events[d.Name]; e != nil && e.index == d.Index {
				kept := *e
				kept.snap = s
				s.events[d.Name] = kept.settle()
				continue
			}
		}
		e, err := compileRecord(d)
		if err != nil { // of a newer program; it would be wrong to let everything pass silently
			p.log.Error("a schema cannot be read and is not applied", "event", d.Name, "error", err)
			continue
		}
		e.snap = s
		if e.violating = new(atomic.Uint64); old != nil && old.events[d.Name] != nil {
			e.violating = old.events[d.Name].violating
		}
		s.events[d.Name] = e.settle()
	}
	s.consent = newConsentRules(&s.policy.Consent)
	s.plain = s.policy.Enrich.None(p.countries != nil)
	s.unknown = (&eventRules{snap: s, mode: s.policy.UnknownEvents, violating: new(atomic.Uint64)}).settle()
	if old != nil {
		s.unknown.violating = old.unknown.violating
	}
	p.now.Store(s)
	return s
}

func compileRecord(d Document) (*eventRules, error) {
	r, err := schema.ReadRecord(d.Value)
	if err != nil {
		return nil, err
	}
	e := &eventRules{name: d.Name, mode: r.Mode, index: d.Index}
	if v := r.Last(); v == nil {
		return nil, fmt.Errorf("the record of %q has no version", d.Name)
	} else if r.Mode != schema.Off {
		e.schema, err = schema.Compile(d.Name, v.Version, v.Schema)
	}
	return e, err
}

// settle works out what the policy makes of the rules.
func (e *eventRules) settle() *eventRules {
	r := &e.snap.policy.Redact
	e.scanAll = r.Scope == scopeAll
	e.scan = e.scanAll || r.Scope == scopeEnforced && e.schema != nil && e.mode == schema.Enforce
	unknown := e.schema == nil && e.name == "" && e.mode != schema.Off
	e.idle = e.schema == nil && !e.scan && !unknown
	return e
}
