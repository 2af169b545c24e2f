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
	// last is the log index of the last change. Files may be ahead of the index that
	// the manifest covers: what is replayed up to last is in docs already.
	last uint64
}

const (
	documentsMagic   = "SPOORDOC"
	documentsVersion = 1
)

// documentsFile is the JSON of a file of documents, which stands in a frame.
type documentsFile struct {
	Last      uint64     `json:"last"`
	Documents []Document `json:"documents"`
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
	if doc.Index <= d.last {
		return
	}
	d.last = doc.Index
	k := docKey{doc.Kind, doc.Name}
	if _, ok := d.docs[k]; !ok && len(d.docs) >= MaxDocuments {
		return // as the proposer was told: every replica decides alike
	}
	d.docs[k] = doc
}

func (d *documents) remove(kind, name string, index uint64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if index <= d.last {
		return true // it was removed before the store was opened again
	}
	d.last = index
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

// changed is the log index of the last change of any document.
func (d *documents) changed() uint64 {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.last
}

// marshal writes all documents in a fixed order.
func (d *documents) marshal() ([]byte, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	all := slices.SortedFunc(maps.Values(d.docs), func(a, b Document) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	body, err := json.Marshal(documentsFile{d.last, all})
	return frame(documentsMagic, documentsVersion, body), err
}

func (d *documents) unmarshal(b []byte) error {
	body, err := unframe(b, documentsMagic, documentsVersion)
	if err != nil {
		return fmt.Errorf("documents: %w", err)
	}
	var file documentsFile
	if err := json.Unmarshal(body, &file); err != nil {
		return fmt.Errorf("documents: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last = file.Last
	for _, doc := range file.Documents {
		d.docs[docKey{doc.Kind, doc.Name}] = doc
	}
	return nil
}
