// Package boards is the part of the API that keeps boards: questions that are
// looked at together, as tiles in an order. A board is a document of the log, so
// every node has it, and so has a backup.
package boards

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json"

	"spoor/server/call"
	"spoor/server/govern"
)

// DocumentKind is the kind of document that boards are.
const DocumentKind = "board"

// Bounds of boards.
const (
	MaxTiles      = 50
	MaxTitleBytes = 200
	// MaxQueryBytes bounds the text of one tile's question; all of a board fit one document.
	MaxQueryBytes = 16 << 10
	MaxBoardBytes = 200 << 10
)

// Store keeps documents and knows the query language.
type Store interface {
	PutDocument(ctx context.Context, kind, name string, value []byte) (index uint64, err error)
	DeleteDocument(ctx context.Context, kind, name string) (found bool, index uint64, err error)
	Document(kind, name string) (govern.Document, bool)
	Documents(kind string) []govern.Document
	// CheckQuery reads a text and says what kind of query it is.
	CheckQuery(text string) (kind string, err error)
}

// Board is questions that are looked at together.
type Board struct {
	Name  string `json:"name,omitzero"`  // from the path, not in the document
	Index uint64 `json:"index,omitzero"` // of the log, where it was stored; not in the document
	Title string `json:"title"`
	Tiles []Tile `json:"tiles"`
}

// Tile is one question, in the order in which the board shows them.
type Tile struct {
	Title string `json:"title"`
	Query string `json:"query"`
	Wide  bool   `json:"wide,omitzero"`  // over the whole width
	Table bool   `json:"table,omitzero"` // as a table
}

// API answers calls.
type API struct {
	store Store
	// writing is held from the look at what a write replaces until it stands. Writes of all nodes come to
	// the leader's, so what was compared is what is replaced.
	writing sync.Mutex
}

// New makes the API of a store.
func New(store Store) *API { return &API{store: store} }

// tag is the ETag of a board as it was stored at a log index.
func tag(index uint64) string { return `"` + strconv.FormatUint(index, 10) + `"` }

// expect holds a write with If-Match to the board that its sender has seen. "*" is any that is there.
func (a *API) expect(c *call.Call) error {
	if c.IfMatch == "" {
		return nil
	}
	d, ok := a.store.Document(DocumentKind, c.Name)
	switch {
	case !ok:
		return call.Fail(http.StatusPreconditionFailed, "changed", "the board %.100q is not there any more; nothing was changed", c.Name)
	case c.IfMatch != "*" && c.IfMatch != tag(d.Index):
		return call.Fail(http.StatusPreconditionFailed, "changed", "the board %.100q was changed meanwhile, it is %s now and not %.40s; read it and change that", c.Name, tag(d.Index), c.IfMatch)
	}
	return nil
}

func read(d govern.Document) (*Board, error) {
	var b Board
	if err := json.Unmarshal(d.Value, &b); err != nil {
		return nil, call.Fail(http.StatusInternalServerError, "internal", "the board %.100q cannot be read; save it again", d.Name)
	}
	b.Name, b.Index = d.Name, d.Index
	return &b, nil
}

// List answers all boards by name.
func (a *API) List(*call.Call) (any, error) {
	list := []*Board{}
	for _, d := range a.store.Documents(DocumentKind) {
		b, err := read(d)
		if err != nil {
			return nil, err
		}
		list = append(list, b)
	}
	return map[string][]*Board{"boards": list}, nil
}

// Get answers one board.
func (a *API) Get(c *call.Call) (any, error) {
	d, ok := a.store.Document(DocumentKind, c.Name)
	if !ok {
		return nil, notFound(c.Name)
	}
	c.Tag = tag(d.Index)
	return read(d)
}

func notFound(name string) error {
	return call.Fail(http.StatusNotFound, "not_found", "there is no board %.100q; GET /api/boards lists them", name)
}

// Put stores a board in place of an earlier one, with If-Match only of that one.
func (a *API) Put(c *call.Call) (any, error) {
	var b Board
	if len(c.Body) > MaxBoardBytes {
		return nil, call.Fail(http.StatusRequestEntityTooLarge, "too_large", "the board has %d bytes, the limit is %d", len(c.Body), MaxBoardBytes)
	}
	if err := json.Unmarshal(c.Body, &b, json.RejectUnknownMembers(true)); err != nil {
		return nil, call.Fail(http.StatusBadRequest, "bad_board", `the body is no board, {"title":"...","tiles":[{"title":"...","query":"..."}]}: %.200s`, err)
	}
	b.Name, b.Index = "", 0
	if err := a.check(&b); err != nil {
		return nil, err
	}
	value, err := json.Marshal(b)
	if err != nil {
		return nil, err
	}
	a.writing.Lock()
	defer a.writing.Unlock()
	if err := a.expect(c); err != nil {
		return nil, err
	}
	if c.Index, err = a.store.PutDocument(c.Context, DocumentKind, c.Name, value); err != nil {
		return nil, err
	}
	b.Name, b.Index, c.Tag = c.Name, c.Index, tag(c.Index)
	return &b, nil
}

// check says what is wrong with a board: its texts, and questions that do not parse.
func (a *API) check(b *Board) error {
	if err := checkTitle("title", b.Title); err != nil {
		return err
	}
	if len(b.Tiles) > MaxTiles {
		return call.Fail(http.StatusBadRequest, "bad_board", "a board has at most %d tiles, this one %d", MaxTiles, len(b.Tiles))
	}
	if b.Tiles == nil {
		b.Tiles = []Tile{}
	}
	for i := range b.Tiles {
		t := &b.Tiles[i]
		if err := checkTitle("title of a tile", t.Title); err != nil {
			return err
		}
		if len(t.Query) > MaxQueryBytes {
			return call.Fail(http.StatusBadRequest, "bad_board", "the query of tile %d has %d bytes, the limit is %d", i+1, len(t.Query), MaxQueryBytes)
		}
		if _, err := a.store.CheckQuery(t.Query); err != nil {
			return err
		}
	}
	return nil
}

func checkTitle(what, text string) error {
	ok := text != "" && len(text) <= MaxTitleBytes && utf8.ValidString(text)
	for _, r := range text {
		ok = ok && !unicode.IsControl(r)
	}
	if !ok {
		return call.Fail(http.StatusBadRequest, "bad_board", "the %s has 1 to %d bytes of UTF-8 without control characters", what, MaxTitleBytes)
	}
	return nil
}

// Delete forgets a board, with If-Match only if it is that one.
func (a *API) Delete(c *call.Call) (any, error) {
	a.writing.Lock()
	defer a.writing.Unlock()
	if err := a.expect(c); err != nil {
		return nil, err
	}
	found, index, err := a.store.DeleteDocument(c.Context, DocumentKind, c.Name)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, notFound(c.Name)
	}
	c.Index = index
	return map[string]bool{"deleted": true}, nil
}
