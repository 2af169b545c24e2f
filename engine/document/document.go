// Package document keeps small things that are committed through the log and held
// whole in memory: saved queries, settings, the requests to erase. One is found by
// kind and name. Apply puts and removes them; a checkpoint writes all of them into one file.
package document

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"spoor/internal/frame"
)

// Store is the documents. Apply alone changes it; reading is safe beside that.
type Store struct {
	mu   sync.RWMutex
	docs map[key]Document
	// last is the log index of the last change. Files may be ahead of the index that
	// the manifest covers: what is replayed up to last is in docs already.
	last    uint64
	changed atomic.Uint64  // last, for readers without the lock; set after docs
	kinds   map[string]int // documents of each kind
}

const (
	magic   = "SPOORDOC"
	version = 1
)

// file is the JSON of a file of documents, which stands in a frame.
type file struct {
	Last      uint64     `json:"last"`
	Documents []Document `json:"documents"`
}

type key struct{ kind, name string }

// Document is a small value under a kind and a name.
type Document struct {
	Kind  string `json:"kind"`
	Name  string `json:"name"`
	Value []byte `json:"value"`
	// Index is the log index that stored it; it tells versions apart.
	Index uint64 `json:"index"`
}

// Limits of documents; proposals beyond them are refused before the log.
const (
	MaxBytes     = 256 << 10
	MaxNameBytes = 256
	MaxCount     = 100_000
)

// New makes an empty store.
func New() *Store { return &Store{docs: map[key]Document{}, kinds: map[string]int{}} }

// Put stores a client's document unless there are MaxCount.
func (d *Store) Put(doc Document) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if doc.Index <= d.last {
		return
	}
	d.last = doc.Index
	defer d.changed.Store(doc.Index)
	if _, ok := d.docs[key{doc.Kind, doc.Name}]; ok || len(d.docs) < MaxCount { // else as the proposer was told: every replica decides alike
		d.set(doc)
	}
}

// Set stores documents of one log entry, which the engine made and bounds itself.
func (d *Store) Set(docs ...Document) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if docs[0].Index <= d.last {
		return
	}
	d.last = docs[0].Index
	for _, doc := range docs {
		d.set(doc)
	}
	d.changed.Store(d.last)
}

func (d *Store) set(doc Document) {
	k := key{doc.Kind, doc.Name}
	if _, ok := d.docs[k]; !ok {
		d.kinds[doc.Kind]++
	}
	d.docs[k] = doc
}

func (d *Store) delete(k key) (found bool) {
	if _, found = d.docs[k]; found {
		d.kinds[k.kind]--
		delete(d.docs, k)
	}
	return found
}

// Trim removes the oldest documents of a kind that may go, until it has at most
// limit. The newest stays. It belongs to the log entry of the last Set.
func (d *Store) Trim(kind string, limit int, mayGo func(Document) bool) {
	d.mu.RLock()
	over := d.kinds[kind] - limit
	d.mu.RUnlock()
	if over <= 0 {
		return
	}
	all := d.List(kind)
	slices.SortFunc(all, func(a, b Document) int { return cmp.Compare(a.Index, b.Index) })
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, doc := range all[:len(all)-1] {
		if over == 0 {
			return
		}
		if mayGo(doc) {
			d.delete(key{kind, doc.Name})
			over--
		}
	}
}

// Remove removes a document and tells whether it was there.
func (d *Store) Remove(kind, name string, index uint64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if index <= d.last {
		return true // it was removed before the store was opened again
	}
	d.last = index
	defer d.changed.Store(index)
	return d.delete(key{kind, name})
}

// Get returns a document.
func (d *Store) Get(kind, name string) (Document, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	doc, ok := d.docs[key{kind, name}]
	return doc, ok
}

// List returns the documents of a kind by name.
func (d *Store) List(kind string) []Document {
	d.mu.RLock()
	defer d.mu.RUnlock()
	var out []Document
	for k, doc := range d.docs {
		if k.kind == kind {
			out = append(out, doc)
		}
	}
	slices.SortFunc(out, func(a, b Document) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// Marshal writes all documents in a fixed order.
func (d *Store) Marshal() ([]byte, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	all := slices.SortedFunc(maps.Values(d.docs), func(a, b Document) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	body, err := json.Marshal(file{d.last, all})
	return frame.Wrap(magic, version, body), err
}

// Unmarshal reads what Marshal wrote, into an empty store.
func (d *Store) Unmarshal(b []byte) error {
	body, err := frame.Unwrap(b, magic, version)
	if err != nil {
		return fmt.Errorf("documents: %w", err)
	}
	var file file
	if err := json.Unmarshal(body, &file); err != nil {
		return fmt.Errorf("documents: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last = file.Last
	for _, doc := range file.Documents {
		d.docs[key{doc.Kind, doc.Name}] = doc
		d.kinds[doc.Kind]++
	}
	d.changed.Store(d.last)
	return nil
}

// Changed is the log index of the last change. What is read after it is at least that new.
func (d *Store) Changed() uint64 { return d.changed.Load() }

// Len is how many documents there are.
func (d *Store) Len() int {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return len(d.docs)
}

// Each calls f with every document, in no order.
func (d *Store) Each(f func(Document)) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, doc := range d.docs {
		f(doc)
	}
}
