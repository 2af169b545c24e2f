package engine

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// documents are small things that are committed through the log and kept whole
// in memory: saved queries, cohorts, settings. A document is found by kind and name.
type documents struct {
	mu   sync.RWMutex
	docs map[docKey]Document
}

type docKey struct{ kind, name string }

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
	MaxDocumentBytes     = 256 << 10
	MaxDocumentNameBytes = 256
	MaxDocuments         = 100_000
)

func newDocuments() *documents { return &documents{docs: map[docKey]Document{}} }

func (d *documents) put(doc Document) {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := docKey{doc.Kind, doc.Name}
	if _, ok := d.docs[k]; !ok && len(d.docs) >= MaxDocuments {
		return // as the proposer was told: every replica decides alike
	}
	d.docs[k] = doc
}

func (d *documents) remove(kind, name string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, ok := d.docs[docKey{kind, name}]
	delete(d.docs, docKey{kind, name})
	return ok
}

func (d *documents) get(kind, name string) (Document, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	doc, ok := d.docs[docKey{kind, name}]
	return doc, ok
}

// list returns the documents of a kind by name.
func (d *documents) list(kind string) []Document {
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

// marshal writes all documents in a fixed order.
func (d *documents) marshal() ([]byte, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	all := slices.SortedFunc(maps.Values(d.docs), func(a, b Document) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	return json.Marshal(all)
}

func (d *documents) unmarshal(b []byte) error {
	var all []Document
	if err := json.Unmarshal(b, &all); err != nil {
		return fmt.Errorf("documents: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, doc := range all {
		d.docs[docKey{doc.Kind, doc.Name}] = doc
	}
	return nil
}
