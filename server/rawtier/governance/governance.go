// Package governance is what governs a store, as lines of JSON: saved queries and
// boards, schemas, the policy, keys, whom it refuses, its dead letters and its retention. The raw
// tier keeps them beside the events, so that a store which is rebuilt is ruled as the one before was.
//
// A file begins with a head, {"governance":{"version":1,"of":"documents"}}, and has one thing a line, in a
// fixed order. Equal things give equal bytes. The lines are also what POST /api/admin/replay/governance takes.
package governance

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"

	"spoor/engine/erasure"
	"spoor/engine/identity"
	"spoor/engine/letters"
	"spoor/server/access"
	"spoor/server/boards"
)

// Version is that of the files.
const Version = 1

// What a file is of.
const (
	OfDocuments = "documents"
	OfRefused   = "refused"
	OfLetters   = "letters"
)

// Kinds are the kinds of documents that a rebuilt store gets, in the order in which it gets them. Not among them
// are secrets and whatever belongs to one store or one cluster alone: the key of hashes that redaction leaves,
// nodes and their tokens, the id of the store, and the log of requests to erase, whose rules count in one log. Of keys
// the document has the SHA-256.
var Kinds = []string{"schema", "policy", "query", boards.DocumentKind, "export", access.DocumentKind}

const (
	// MaxLineBytes bounds a line: the event of a letter, escaped once more.
	MaxLineBytes = 4 << 20
	// refusedALine is how many ids stand in one line.
	refusedALine = 1000
)

// Line is one line: one of its members is there.
type Line struct {
	Head      *Head      `json:"governance,omitempty"`
	Document  *Document  `json:"document,omitempty"`
	Refused   *Refused   `json:"refused,omitempty"`
	Letter    *Letter    `json:"letter,omitempty"`
	Retention *Retention `json:"retention,omitempty"`
}

// Head is the first line of a file.
type Head struct {
	Version int    `json:"version"`
	Of      string `json:"of"`
}

// Document is a document of the store.
type Document struct {
	Kind  string `json:"kind"`
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Refused are ids that are refused, as hexadecimal hashes under a secret.
type Refused struct {
	Secret string   `json:"secret"`
	Hashes []string `json:"hashes"`
}

// Letter is a dead letter.
type Letter struct {
	ID       string `json:"eventId"`
	Name     string `json:"eventName"`
	Source   string `json:"source,omitempty"`
	Reason   string `json:"reason"`
	Message  string `json:"message"`
	Path     string `json:"path,omitempty"`
	Version  int    `json:"version,omitzero"`
	Received int64  `json:"received"` // microseconds since the Unix epoch
	Event    string `json:"event"`
}

// Retention is how long events and their ids are kept, and what has gone already.
type Retention struct {
	Rules   erasure.Retention `json:"rules"`
	Cutoffs erasure.Cutoffs   `json:"cutoffs"`
}

// Append appends a line.
func Append(dst []byte, l *Line) ([]byte, error) {
	b := bytes.NewBuffer(dst)
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	err := e.Encode(l)
	return b.Bytes(), err
}

// ErrLine is wrapped when something cannot be written or read as a line.
var ErrLine = errors.New("it is no line of what governs a store")

// file writes a file.
type file struct {
	w    io.Writer
	buf  []byte
	rows int64
}

func begin(w io.Writer, of string) (*file, error) {
	f := &file{w: w}
	err := f.add(&Line{Head: &Head{Version, of}})
	f.rows = 0
	return f, err
}

func (f *file) add(l *Line) (err error) {
	if f.buf, err = Append(f.buf[:0], l); err == nil {
		_, err = f.w.Write(f.buf)
	}
	f.rows++
	return err
}

// WriteDocuments writes documents in the order in which they come, and returns how many.
func WriteDocuments(w io.Writer, docs []Document) (rows int64, err error) {
	f, err := begin(w, OfDocuments)
	if err != nil {
		return 0, err
	}
	for i := range docs {
		d := &docs[i]
		if !utf8.ValidString(d.Value) || !utf8.ValidString(d.Name) {
			return 0, fmt.Errorf("%s %.100q: %w: it is no UTF-8", d.Kind, d.Name, ErrLine)
		}
		if err := f.add(&Line{Document: d}); err != nil {
			return 0, err
		}
	}
	return f.rows, nil
}

// WriteRefused writes whom a store refuses, and returns how many ids that is.
func WriteRefused(w io.Writer, all []identity.Refusals) (ids int64, err error) {
	f, err := begin(w, OfRefused)
	if err != nil {
		return 0, err
	}
	for _, r := range all {
		for chunk := range slices.Chunk(r.Hashes, refusedALine) {
			l := Refused{Secret: hex.EncodeToString(r.Secret)}
			for _, h := range chunk {
				l.Hashes = append(l.Hashes, hex.EncodeToString(h[:]))
			}
			if err := f.add(&Line{Refused: &l}); err != nil {
				return 0, err
			}
			ids += int64(len(chunk))
		}
	}
	return ids, nil
}

// WriteLetters writes dead letters in the order of the log, and returns how many.
func WriteLetters(w io.Writer, all *letters.Store) (rows int64, err error) {
	f, err := begin(w, OfLetters)
	if err != nil {
		return 0, err
	}
	rerr := all.Each(func(l *letters.Letter) {
		if err == nil {
			err = f.add(&Line{Letter: &Letter{l.ID, l.Name, l.Source, l.Reason, l.Message, l.Path, l.Version, l.Received, string(l.Event)}})
		}
	})
	return f.rows, errors.Join(rerr, err)
}

// Each calls f with the lines of a file behind its head. They may not be kept.
func Each(in io.Reader, of string, f func(line []byte) error) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, MaxLineBytes)
	for n := 0; lines.Scan(); n++ {
		if n > 0 {
			if err := f(lines.Bytes()); err != nil {
				return err
			}
			continue
		}
		l, err := Read(lines.Bytes())
		switch {
		case err != nil:
			return err
		case l.Head == nil || l.Head.Of != of:
			return fmt.Errorf("%w: its first line does not say that it is of %s", ErrLine, of)
		case l.Head.Version != Version:
			return fmt.Errorf("%w: version %d, this program knows %d", ErrLine, l.Head.Version, Version)
		}
	}
	return lines.Err()
}

// Read reads a line.
func Read(b []byte) (*Line, error) {
	l := &Line{}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(l); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLine, err)
	}
	if d.More() {
		return nil, fmt.Errorf("%w: something follows", ErrLine)
	}
	n := 0
	for _, there := range []bool{l.Head != nil, l.Document != nil, l.Refused != nil, l.Letter != nil, l.Retention != nil} {
		if there {
			n++
		}
	}
	if n != 1 {
		return nil, fmt.Errorf("%w: it has %d members, not one of governance, document, refused, letter and retention", ErrLine, n)
	}
	return l, nil
}

// Refusals are the ids of a line as the store takes them.
func (r *Refused) Refusals() (out identity.Refusals, err error) {
	if out.Secret, err = hex.DecodeString(r.Secret); err != nil || len(out.Secret) == 0 || len(out.Secret) > identity.MaxSecretBytes {
		return out, fmt.Errorf("%w: the secret has 1 to %d bytes, hexadecimal", ErrLine, identity.MaxSecretBytes)
	}
	if len(r.Hashes) > identity.MaxRefusals {
		return out, fmt.Errorf("%w: %d hashes, at most %d", ErrLine, len(r.Hashes), identity.MaxRefusals)
	}
	for _, text := range r.Hashes {
		var h [16]byte
		if n, err := hex.Decode(h[:], []byte(text[:min(len(text), 2*len(h))])); err != nil || n != len(h) || len(text) != 2*len(h) {
			return out, fmt.Errorf("%w: a hash has %d hexadecimal digits", ErrLine, 2*len(h))
		}
		out.Hashes = append(out.Hashes, h)
	}
	return out, nil
}

// Letter is the letter of a line as the store takes it.
func (l *Letter) Letter() (*letters.Letter, error) {
	if l.ID == "" || !json.Valid([]byte(l.Event)) {
		return nil, fmt.Errorf("%w: a letter has an eventId and an event", ErrLine)
	}
	return &letters.Letter{ID: l.ID, Name: l.Name, Source: l.Source, Reason: l.Reason, Message: l.Message, Path: l.Path, Version: l.Version, Received: l.Received, Event: []byte(l.Event)}, nil
}
