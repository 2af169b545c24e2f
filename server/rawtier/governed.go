package rawtier

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/klauspost/compress/zstd"

	"spoor/engine/document"
	"spoor/engine/erasure"
	"spoor/engine/identity"
	"spoor/engine/letters"
	"spoor/server/rawtier/blob"
	"spoor/server/rawtier/governance"
)

// Governs is what governs a store, as the raw tier keeps it.
type Governs interface {
	// DocumentsIndex is the log index of the last change of any document.
	DocumentsIndex() uint64
	// GoverningDocuments are those of a kind by name.
	GoverningDocuments(kind string) []document.Document
	Refusals() []identity.Refusals
	RefusedCount() int
	Retention() (erasure.Retention, erasure.Cutoffs, error)
	Letters() *letters.Store
}

// lettersEvery is how often the file of dead letters is written where nothing was erased: it is
// written as a whole. All else is looked at in every round, for it is small, and whom an erasure
// took must be refused by whatever is rebuilt from then on.
const lettersEvery = time.Hour

// Governance says which files govern a store that is rebuilt. See package governance for what is in them.
type Governance struct {
	Version   int                  `json:"version"`
	Documents Part                 `json:"documents"`
	Refused   Part                 `json:"refused"`
	Letters   Part                 `json:"letters"` // compressed with zstd
	Retention governance.Retention `json:"retention"`
	Through   uint64               `json:"through"`
	Erasures  uint64               `json:"erasures"`
	At        string               `json:"at"`
	LettersAt string               `json:"lettersAt"`
}

// Part is one file of Governance.
type Part struct {
	Key    string `json:"key"`
	Rows   int64  `json:"rows"` // of refused: ids
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// governed is what was last written, and of which state of the store.
type governed struct {
	Governance
	version string // of the object
	// Of the store when it was written.
	documents uint64
	refused   int
	letters   uint64
	retention string
	known     bool
}

// ReadGovernance reads which files govern a store; nil where none do.
func ReadGovernance(ctx context.Context, store blob.Store) (*Governance, error) {
	g := &Governance{}
	if _, found, err := readJSON(ctx, store, governanceKey, g); err != nil || !found {
		return nil, err
	}
	return g, nil
}

// OpenPart reads a file of Governance, whole and checked, and calls f with its lines.
func OpenPart(ctx context.Context, store blob.Store, p *Part, of string, f func(line []byte) error) error {
	if p.Bytes > maxPartBytes {
		return fmt.Errorf("read %s: it has %d bytes, at most %d", p.Key, p.Bytes, int64(maxPartBytes))
	}
	var b bytes.Buffer
	if err := Fetch(ctx, store, p.Key, p.Bytes, p.SHA256, &b); err != nil {
		return err
	}
	var in io.Reader = &b
	if of == governance.OfLetters {
		z, err := zstd.NewReader(in, zstd.WithDecoderMaxMemory(partWindow), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return fmt.Errorf("read %s: %w", p.Key, err)
		}
		defer z.Close()
		in = z
	}
	if err := governance.Each(in, of, f); err != nil {
		return fmt.Errorf("read %s: %w", p.Key, err)
	}
	return nil
}

const (
	maxPartBytes = 2 << 30
	partWindow   = 64 << 20 // bytes that the compression of a part may look back
)

// writeGovernance writes what governs the store, if that changed.
func (t *Tier) writeGovernance(ctx context.Context, erasing bool) error {
	if t.opts.Governs == nil {
		return nil
	}
	view, err := t.events.View() // what is read behind it is at least that new
	if err != nil {
		return err
	}
	through, erasures := view.AppliedIndex, view.Erasures()
	view.Release()
	if err := t.writeGoverned(ctx, t.opts.Governs, through, erasures, erasing); err != nil {
		return fmt.Errorf("write what governs the store to the raw tier: %w", err)
	}
	return nil
}

func (t *Tier) writeGoverned(ctx context.Context, from Governs, through, erasures uint64, erasing bool) error {
	have := &t.governed
	if have.Through > through {
		return fmt.Errorf("it is of log index %d, the store has %d: %w", have.Through, through, ErrOlder)
	}
	now := t.opts.Now()
	next := governed{Governance: have.Governance, version: have.version, known: true, documents: from.DocumentsIndex(), refused: from.RefusedCount(), letters: have.letters, retention: have.retention}
	rules, cutoffs, err := from.Retention()
	if err != nil {
		return err
	}
	next.Retention = governance.Retention{Rules: rules, Cutoffs: cutoffs}
	next.retention = fmt.Sprint(rules, cutoffs)
	all := erasing || !have.known || have.Erasures != erasures
	at, err := time.Parse(time.RFC3339, have.LettersAt)
	mayLetters := all || err != nil || now.Sub(at) >= lettersEvery || now.Before(at)
	sum := uint64(0)
	if mayLetters {
		from.Letters().EachSum(func(s uint64) { sum = sum*31 + s })
		next.letters = sum
	}
	changed := all || next.documents != have.documents || next.refused != have.refused || next.retention != have.retention
	if changed {
		if next.Documents, err = t.part(ctx, "documents-", ".ndjson", func(w io.Writer) (int64, error) {
			var docs []governance.Document
			for _, kind := range governance.Kinds {
				for _, d := range from.GoverningDocuments(kind) {
					docs = append(docs, governance.Document{Kind: d.Kind, Name: d.Name, Value: string(d.Value)})
				}
			}
			return governance.WriteDocuments(w, docs)
		}, have.Documents); err != nil {
			return err
		}
		if next.Refused, err = t.part(ctx, "refused-", ".ndjson", func(w io.Writer) (int64, error) {
			return governance.WriteRefused(w, from.Refusals())
		}, have.Refused); err != nil {
			return err
		}
	}
	if mayLetters && (all || next.letters != have.letters) {
		if next.Letters, err = t.part(ctx, "letters-", ".ndjson.zst", func(w io.Writer) (rows int64, err error) {
			z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
			if err != nil {
				return 0, err
			}
			rows, err = governance.WriteLetters(z, from.Letters())
			return rows, errors.Join(err, z.Close())
		}, have.Letters); err != nil {
			return err
		}
		next.LettersAt, changed = stamp(now), true
	}
	if !changed {
		return nil
	}
	same := have.version != "" && next.Documents == have.Documents && next.Refused == have.Refused && next.Letters == have.Letters &&
		next.Erasures == erasures && fmt.Sprint(next.Retention) == fmt.Sprint(have.Retention)
	if same {
		*have = next
		return nil
	}
	next.Version, next.Through, next.Erasures, next.At = manifestVersion, through, erasures, stamp(now)
	old := []string{have.Documents.Key, have.Refused.Key, have.Letters.Key}
	if next.version, err = replaceJSON(ctx, t.store, governanceKey, next.Governance, have.version); err != nil {
		t.days = nil
		return err
	}
	*have = next
	for _, key := range old {
		if key != "" && !next.names(key) {
			if err := t.store.Remove(ctx, key); err != nil {
				t.swept = time.Time{} // it is found by the next sweep
				return err
			}
		}
	}
	return nil
}

func (g *Governance) names(key string) bool {
	return key != "" && (key == g.Documents.Key || key == g.Refused.Key || key == g.Letters.Key)
}

// part writes a file of Governance, unless it is as it was.
func (t *Tier) part(ctx context.Context, name, suffix string, write func(io.Writer) (int64, error), have Part) (p Part, err error) {
	file, path, err := t.shop.create()
	if err != nil {
		return p, err
	}
	defer func() {
		_ = file.Close()
		_ = t.shop.fs.Remove(path)
	}()
	h := newHash()
	buf := bufio.NewWriterSize(file, outputBytes)
	if p.Rows, err = write(io.MultiWriter(buf, h)); err != nil {
		return p, err
	}
	if err := buf.Flush(); err != nil {
		return p, err
	}
	p.Bytes, p.SHA256 = file.Size(), string(hexSum(h))
	p.Key = governanceDir + name + p.SHA256[:shaInName] + suffix
	if p == have {
		return p, nil
	}
	return p, upload(ctx, t.store, p.Key, file, p.Bytes, p.SHA256, nil)
}

// governsAlready makes sure that a store which takes over the raw tier of another one refuses
// whom that one refused: else nobody would know of them any more.
func (t *Tier) governsAlready(ctx context.Context) error {
	g, err := ReadGovernance(ctx, t.store)
	if err != nil || g == nil || g.Refused.Rows == 0 || t.opts.Governs == nil {
		return err
	}
	known := map[string]map[[16]byte]bool{}
	for _, r := range t.opts.Governs.Refusals() {
		known[string(r.Secret)] = map[[16]byte]bool{}
		for _, h := range r.Hashes {
			known[string(r.Secret)][h] = true
		}
	}
	missing := 0
	err = OpenPart(ctx, t.store, &g.Refused, governance.OfRefused, func(b []byte) error {
		l, err := governance.Read(b)
		if err != nil || l.Refused == nil {
			return errors.Join(err, governance.ErrLine)
		}
		r, err := l.Refused.Refusals()
		for _, h := range r.Hashes {
			if !known[string(r.Secret)][h] {
				missing++
			}
		}
		return err
	})
	if err == nil && missing > 0 {
		err = fmt.Errorf("%d ids that were erased would be taken again, for this store does not know that they are refused; replay the raw tier into it first (spoor replay), or allow them after that", missing)
	}
	return err
}
