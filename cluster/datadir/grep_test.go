package datadir_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"spoor/cluster/datadir"
	"spoor/engine"
	"spoor/engine/event"
	"spoor/engine/traits"
	"spoor/internal/vfs"
	"spoor/segment/batch"
)

func grepFor(t testing.TB, dir string, texts ...string) *datadir.Found {
	t.Helper()
	found, err := datadir.Grep(context.Background(), vfs.OS(), dir, texts, nil)
	require.NoError(t, err)
	require.Empty(t, found.Undecoded)
	return found
}

// files are the types of the files in which a text was found.
func typesOf(found *datadir.Found) map[string]bool {
	types := map[string]bool{}
	for _, p := range found.Places {
		types[typeOf(p.File)] = true
	}
	return types
}

func TestEveryTextThatIsStoredIsFoundWhereverItStands(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	n := mustStart(t, dir, "n1")
	uuid := "0192f0c1-2f3a-7abc-8def-0123456789ab"
	d := event.NewDecoder(event.DefaultLimits())
	for _, line := range []string{
		`{"eventId":"` + uuid + `","eventName":"name-of-event","userId":"secret-user","anonymousId":"secret-anon","timestamp":"2026-05-01T10:00:00Z","properties":{"mail":"ada@example.com","list":["\u0065scaped@example.com"],"phone":4915112345678,"exact":9007199254740993,"key of a column":true,"deep":{"x":{"y":"deep-value"}}}}`,
		`{"eventId":"text-event-id","eventName":"other","userId":"u2","properties":{"long":"` + strings.Repeat("filler ", 200) + `needle in hay"}}`,
	} {
		_, rej := d.Add([]byte(line), "", nil)
		require.Nil(t, rej)
	}
	n.propose(engine.EventsEntry(nil, d.Seal(1_777_700_000_000_000)))
	n.propose(engine.PutEntry("query", "doc-name", []byte("trend of x where mail = \"doc@example.com\"")))
	n.propose(engine.IdentifyEntry(traits.Call{UserID: []byte("trait-user"), Time: 5, Traits: []event.Leaf{
		{Path: "mail", Kind: batch.KindString, Text: []byte("trait@example.com")}, {Path: "visits", Kind: batch.KindInt, Int: 9_007_199_254_740_995}, {Path: "score", Kind: batch.KindNumber, Num: 1234.5},
	}}))
	inEvents := []string{uuid, "text-event-id", "name-of-event", "ada@example.com", "escaped@example.com", "4915112345678", "9007199254740993", "key of a column", "deep-value", "needle in hay"}
	other := []string{"secret-user", "secret-anon", "doc-name", "doc@example.com", "trait-user", "trait@example.com", "9007199254740995", "1234.5"}
	for _, text := range append(inEvents, other...) {
		require.True(t, typesOf(grepFor(t, image(t, dir), text))[".log"], "%s in the log", text)
	}
	n.close()
	for _, text := range inEvents {
		require.True(t, typesOf(grepFor(t, dir, text))[".seg"], "%s in a segment", text)
	}
	for text, kind := range map[string]string{
		"secret-user": ".identity", "secret-anon": ".identity", "trait-user": ".identity", "trait@example.com": ".traits",
		"9007199254740995": ".traits", "1234.5": ".traits", "doc-name": ".docs", "doc@example.com": ".docs",
	} {
		require.True(t, typesOf(grepFor(t, dir, text))[kind], "%s in a file %s", text, kind)
	}
	require.True(t, grepFor(t, dir, "never-stored", "ada@example.org").Gone())
	require.False(t, grepFor(t, dir, "never-stored", "needle in hay").Gone(), "one of several is enough")
}

func TestWhatNoLongerCountsIsFoundToo(t *testing.T) {
	dir, _ := killed(t)
	n := mustStart(t, dir, "n1")
	n.events(700, 750, `,"mail":"cut@example.com"`)
	n.checkpoint()
	n.checkpoint()
	n.close()
	found := grepFor(t, dir, "cut@example.com")
	require.True(t, typesOf(found)[".log"], "the log was cut behind it, and the bytes are there")

	for name, from := range map[string]string{"store/00000099.seg.tmp": ".seg", "store/00000098.seg": ".seg", "store/00000097.docs.tmp": ".docs"} {
		left, err := filepath.Glob(filepath.Join(dir, "store", "*"+from))
		require.NoError(t, err)
		b, err := os.ReadFile(left[len(left)-1])
		require.NoError(t, err)
		other := filepath.Join(t.TempDir(), "other")
		require.NoError(t, os.MkdirAll(filepath.Join(other, "store"), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(other, name), b, 0o600))
		wanted := map[string]string{".seg": "cut@example.com", ".docs": "funnel e1 -> e2"}[from]
		require.False(t, grepFor(t, other, wanted).Gone(), name)
		require.NoError(t, os.WriteFile(filepath.Join(other, name), b[:len(b)/2], 0o600))
		half, err := datadir.Grep(context.Background(), vfs.OS(), other, []string{"absent"}, nil)
		require.NoError(t, err)
		require.Len(t, half.Undecoded, 1, "half of %s proves nothing", name)
		require.False(t, half.Gone())
	}
}

func TestATextAcrossTwoReadsIsFoundOnce(t *testing.T) {
	dir := t.TempDir()
	b := make([]byte, 3<<20)
	copy(b[1<<20-3:], "across")
	copy(b[2<<20:], "begin")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "some.bin"), b, 0o600))
	found := grepFor(t, dir, "across", "begin")
	require.Equal(t, []datadir.Place{
		{File: "some.bin", Where: "bytes at offset 1048573", Text: "across"}, {File: "some.bin", Where: "bytes at offset 2097152", Text: "begin"},
	}, found.Places)
	_, err := datadir.Grep(context.Background(), vfs.OS(), dir, []string{""}, nil)
	require.Error(t, err)
}

func TestACutLogHoldsNothingThatCameBefore(t *testing.T) {
	dir, _ := killed(t)
	n := mustStart(t, dir, "n1")
	n.events(700, 750, `,"mail":"cut@example.com"`)
	require.NoError(t, n.raft.CutLog(context.Background()))
	require.False(t, typesOf(grepFor(t, image(t, dir), "cut@example.com", "event-1"))[".log"])
	n.events(750, 800, "")
	served, err := n.served()
	require.NoError(t, err)
	crashed := image(t, dir)
	require.NoError(t, n.raft.CutLog(context.Background()))
	n.close()
	for _, d := range []string{crashed, dir} {
		require.NoError(t, verify(t, d).Err())
		n := mustStart(t, d, "n1")
		got, err := n.served()
		require.NoError(t, err)
		require.Equal(t, served, got)
		require.Equal(t, 50, n.events(750, 800, ""))
		n.close()
	}
}
