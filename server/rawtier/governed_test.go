package rawtier_test

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/engine"
	"spoor/engine/erasure"
	"spoor/engine/letters"
	"spoor/server/rawtier"
	"spoor/server/rawtier/blob"
	"spoor/server/rawtier/governance"
)

func (w *world) governance() *rawtier.Governance {
	w.t.Helper()
	g, err := rawtier.ReadGovernance(context.Background(), w.store)
	require.NoError(w.t, err)
	return g
}

// keys of the store below a prefix.
func (w *world) keys(prefix string) (out []string) {
	require.NoError(w.t, w.store.List(context.Background(), prefix, func(o blob.Object) error { out = append(out, o.Key); return nil }))
	return out
}

func (w *world) letter(id, user string) {
	body := letters.Append(nil, &letters.Letter{ID: id, Name: "view", Reason: "schema_violation", Received: w.now.UnixMicro(), Event: []byte(`{"eventId":"` + id + `","eventName":"view","userId":"` + user + `"}`)})
	w.apply(engine.LettersEntry(letters.Bounds{Bytes: letters.MaxBytes}, body))
}

// refuse takes over whom the raw tier refuses.
func (w *world) refuse(g *rawtier.Governance) {
	require.NoError(w.t, rawtier.OpenPart(context.Background(), w.store, &g.Refused, governance.OfRefused, func(b []byte) error {
		l, err := governance.Read(b)
		require.NoError(w.t, err)
		r, err := l.Refused.Refusals()
		require.NoError(w.t, err)
		w.apply(engine.RefuseEntry(&r))
		return nil
	}))
}

func TestWhatGovernsTheStoreIsWrittenWhenItChanged(t *testing.T) {
	w := newWorld(t, directory(t))
	w.fill(1, 50, 1)
	w.apply(engine.PutEntry("query", "first", []byte(`{"query":"trend"}`)))
	w.apply(engine.PutEntry("secret", "hash", []byte("very secret")))
	w.apply(engine.PutEntry("node", "n1", []byte("{}")))
	w.letter("dead-1", "u1")
	w.at(1, 2)
	w.round()
	first := w.governance()
	require.EqualValues(t, 1, first.Documents.Rows)
	require.EqualValues(t, 1, first.Letters.Rows)
	require.Len(t, w.keys("governance/"), 3)
	require.NotContains(t, w.everything(), "very secret")

	w.restart()
	w.now = w.now.Add(time.Minute)
	w.round()
	require.Equal(t, first, w.governance(), "equal things are equal bytes, and not written again")

	w.apply(engine.PutEntry("board", "b", []byte(`{"title":"B"}`)))
	w.letter("dead-2", "u2")
	w.now = w.now.Add(time.Minute)
	w.round()
	second := w.governance()
	require.EqualValues(t, 2, second.Documents.Rows)
	require.EqualValues(t, 1, second.Letters.Rows, "letters wait, for they are written as a whole")
	require.Len(t, w.keys("governance/"), 3, "what was replaced is gone")
	w.now = w.now.Add(time.Hour)
	w.round()
	require.EqualValues(t, 2, w.governance().Letters.Rows)
}

func TestWhomAnErasureTookIsRefusedByTheRawTierBeforeItsFilesAreWrittenAnew(t *testing.T) {
	w := newWorld(t, directory(t))
	w.fill(2, 200, 3)
	w.letter("dead-1", "u1")
	w.at(2, 2)
	w.round()
	w.erase(&erasure.Request{Kind: erasure.Person, User: "u1"}, func(_, line string) bool { return strings.Contains(line, `"userId":"u1"`) })
	w.now = w.now.Add(time.Minute)
	w.round()
	g := w.governance()
	require.Positive(t, g.Refused.Rows)
	require.Zero(t, g.Letters.Rows, "an erasure does not wait for the hour")
	require.Contains(t, w.everything(), `"userId":"u1"`, "the files of events wait")
	rebuilt := newWorld(t, directory(t))
	rebuilt.store = w.store
	rebuilt.refuse(g)
	result := rebuilt.applyLine(`{"eventId":"x","eventName":"view","userId":"u1","timestamp":"2026-05-01T10:00:00Z"}`)
	require.Equal(t, engine.ErasedPerson, result.Refused[0])
	w.now = w.now.Add(3 * time.Hour)
	w.round()
	require.NotContains(t, w.everything(), `"userId":"u1"`)
}

func TestAStoreThatIsBehindItsRulesDoesNotOverwriteThem(t *testing.T) {
	w := newWorld(t, directory(t))
	w.fill(1, 50, 1)
	w.apply(engine.PutEntry("query", "first", []byte(`{"query":"trend"}`)))
	w.at(1, 2)
	w.round()
	want := w.governance()
	w.openStore() // restored from a backup before
	w.fill(1, 50, 1)
	w.restart()
	w.at(1, 3)
	require.ErrorIs(t, w.tier.Round(context.Background()), rawtier.ErrOlder)
	require.Equal(t, want, w.governance())
}

func TestADamagedPartIsAnError(t *testing.T) {
	w := newWorld(t, directory(t))
	w.fill(1, 50, 1)
	w.apply(engine.PutEntry("query", "first", []byte(`{"query":"trend"}`)))
	w.at(1, 2)
	w.round()
	g := w.governance()
	in, err := w.store.Open(context.Background(), g.Documents.Key)
	require.NoError(t, err)
	b, err := io.ReadAll(in)
	require.NoError(t, err)
	require.NoError(t, in.Close())
	b[len(b)/2] ^= 1
	require.NoError(t, w.store.Put(context.Background(), g.Documents.Key, strings.NewReader(string(b)), int64(len(b))))
	err = rawtier.OpenPart(context.Background(), w.store, &g.Documents, governance.OfDocuments, func([]byte) error { return nil })
	require.ErrorIs(t, err, rawtier.ErrDamaged)
	require.ErrorContains(t, err, g.Documents.Key)
}
