package boards

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"spoor/server/call"
	"spoor/server/govern"
)

// memory is a Store without a log.
type memory struct {
	docs  map[string]govern.Document
	index uint64
}

func (m *memory) PutDocument(_ context.Context, kind, name string, value []byte) (uint64, error) {
	m.index++
	m.docs[kind+"/"+name] = govern.Document{Name: name, Value: value, Index: m.index}
	return m.index, nil
}

func (m *memory) DeleteDocument(_ context.Context, kind, name string) (bool, uint64, error) {
	_, ok := m.docs[kind+"/"+name]
	delete(m.docs, kind+"/"+name)
	m.index++
	return ok, m.index, nil
}

func (m *memory) Document(kind, name string) (govern.Document, bool) {
	d, ok := m.docs[kind+"/"+name]
	return d, ok
}

func (m *memory) Documents(kind string) (out []govern.Document) {
	for k, d := range m.docs {
		if strings.HasPrefix(k, kind+"/") {
			out = append(out, d)
		}
	}
	slices.SortFunc(out, func(a, b govern.Document) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func (m *memory) CheckQuery(text string) (string, error) {
	if !strings.HasPrefix(text, "trend ") {
		return "", errors.New("it does not parse")
	}
	return "trend", nil
}

func TestABoardComesBackAsItWasStored(t *testing.T) {
	a := New(&memory{docs: map[string]govern.Document{}})
	put := &call.Call{Name: "shop", Body: []byte(`{"title":"Shop","tiles":[{"title":"Views","query":"trend count of any","wide":true},{"title":"Buyers","query":"trend users of buy"}]}`)}
	v, err := a.Put(put)
	require.NoError(t, err)
	require.EqualValues(t, 1, put.Index)
	want := &Board{Name: "shop", Index: 1, Title: "Shop", Tiles: []Tile{{Title: "Views", Query: "trend count of any", Wide: true}, {Title: "Buyers", Query: "trend users of buy"}}}
	require.Equal(t, want, v)
	v, err = a.Get(&call.Call{Name: "shop"})
	require.NoError(t, err)
	require.Equal(t, want, v)
	_, err = a.Put(&call.Call{Name: "empty", Body: []byte(`{"title":"Empty"}`)})
	require.NoError(t, err)
	v, err = a.List(&call.Call{})
	require.NoError(t, err)
	require.Equal(t, map[string][]*Board{"boards": {{Name: "empty", Index: 2, Title: "Empty", Tiles: []Tile{}}, want}}, v)
	_, err = a.Delete(&call.Call{Name: "shop"})
	require.NoError(t, err)
	for _, f := range []func(*call.Call) (any, error){a.Get, a.Delete} {
		_, err = f(&call.Call{Name: "shop"})
		var missing *call.Failure
		require.ErrorAs(t, err, &missing)
		require.Equal(t, 404, missing.Status)
	}
}

func TestABoardThatCannotBeShownIsRefused(t *testing.T) {
	store := &memory{docs: map[string]govern.Document{}}
	a := New(store)
	tile := `{"title":"t","query":"trend count of any"}`
	for what, body := range map[string]string{
		"no JSON":             `{`,
		"no title":            `{"tiles":[]}`,
		"a long title":        `{"title":"` + strings.Repeat("x", MaxTitleBytes+1) + `","tiles":[]}`,
		"a title of two rows": `{"title":"a\nb","tiles":[]}`,
		"a tile without one":  `{"title":"a","tiles":[{"query":"trend count of any"}]}`,
		"a wrong query":       `{"title":"a","tiles":[{"title":"t","query":"nonsense"}]}`,
		"a long query":        `{"title":"a","tiles":[{"title":"t","query":"trend ` + strings.Repeat("x", MaxQueryBytes) + `"}]}`,
		"too many tiles":      `{"title":"a","tiles":[` + strings.Repeat(tile+",", MaxTiles) + tile + `]}`,
		"another member":      `{"title":"a","tiles":[],"colour":"red"}`,
		"too many bytes":      `{"title":"a","tiles":[]` + strings.Repeat(" ", MaxBoardBytes) + `}`,
	} {
		_, err := a.Put(&call.Call{Name: "b", Body: []byte(body)})
		require.Error(t, err, what)
	}
	require.Empty(t, store.docs)
}

func TestAWriteThatNamesWhatItHasSeenReplacesNothingElse(t *testing.T) {
	store := &memory{docs: map[string]govern.Document{}}
	a := New(store)
	put := func(title, match string) (*call.Call, error) {
		c := &call.Call{Name: "b", Body: []byte(`{"title":"` + title + `","tiles":[]}`), IfMatch: match}
		_, err := a.Put(c)
		return c, err
	}
	refused := func(err error) {
		t.Helper()
		var f *call.Failure
		require.ErrorAs(t, err, &f)
		require.Equal(t, []any{412, "changed"}, []any{f.Status, f.Code})
	}
	_, err := put("none is there", `"1"`)
	refused(err)
	first, err := put("first", "")
	require.NoError(t, err)
	seen := &call.Call{Name: "b"}
	_, err = a.Get(seen)
	require.NoError(t, err)
	require.Equal(t, first.Tag, seen.Tag)

	second, err := put("second", seen.Tag)
	require.NoError(t, err)
	require.NotEqual(t, seen.Tag, second.Tag)
	_, err = put("of one who saw the first", seen.Tag)
	refused(err)
	_, err = a.Delete(&call.Call{Name: "b", IfMatch: seen.Tag})
	refused(err)
	v, err := a.Get(seen)
	require.NoError(t, err)
	require.Equal(t, "second", v.(*Board).Title)
	_, err = put("any", "*")
	require.NoError(t, err)
	_, err = put("last writer", "")
	require.NoError(t, err)

	// Of many who saw the same board one writes.
	_, err = a.Get(seen)
	require.NoError(t, err)
	var wrote atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := put("one", seen.Tag); err == nil {
				wrote.Add(1)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 1, wrote.Load())
}
