package governance_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"spoor/engine/identity"
	"spoor/engine/letters"
	"spoor/server/rawtier/governance"
)

// files are one of each, with what is hard to write.
func files(t testing.TB) map[string][]byte {
	var documents, refused, dead bytes.Buffer
	_, err := governance.WriteDocuments(&documents, []governance.Document{
		{Kind: "schema", Name: "purchase <&>", Value: "{\n  \"a\": \"\\u0000\"}"}, {Kind: "key", Name: "ab12", Value: `{"sha256":"00"}`},
	})
	require.NoError(t, err)
	n, err := governance.WriteRefused(&refused, []identity.Refusals{
		{Secret: []byte("0123456789abcdef"), Hashes: [][16]byte{{1, 2, 3}, {4}}}, {Secret: []byte{0xff}, Hashes: make([][16]byte, 1001)},
	})
	require.NoError(t, err)
	require.EqualValues(t, 1003, n)
	store := letters.New()
	body := letters.AppendBounds(nil, letters.Bounds{Bytes: letters.MaxBytes})
	body = letters.Append(body, &letters.Letter{ID: "e1", Name: "view", Reason: "schema_violation", Message: "price: it is <no> number", Path: "properties.price", Version: 3, Received: 1777629600000000, Event: []byte(`{"eventId":"e1","properties":{"price":"\u2028 1"}}`)})
	_, err = store.Put(1, body)
	require.NoError(t, err)
	_, err = governance.WriteLetters(&dead, store)
	require.NoError(t, err)
	return map[string][]byte{governance.OfDocuments: documents.Bytes(), governance.OfRefused: refused.Bytes(), governance.OfLetters: dead.Bytes()}
}

func TestTheFilesOfWhatGovernsAStoreAreWhatTheyWere(t *testing.T) {
	for of, b := range files(t) {
		name := filepath.Join("testdata", of+".golden")
		if os.Getenv("SPOOR_GOLDEN") != "" {
			require.NoError(t, os.WriteFile(name, b, 0o600))
		}
		want, err := os.ReadFile(name)
		require.NoError(t, err)
		require.Equal(t, string(want), string(b))
	}
}

func TestWhatWasWrittenIsReadAsItWas(t *testing.T) {
	all := files(t)
	var docs []governance.Document
	require.NoError(t, governance.Each(bytes.NewReader(all[governance.OfDocuments]), governance.OfDocuments, func(b []byte) error {
		l, err := governance.Read(b)
		docs = append(docs, *l.Document)
		return err
	}))
	require.Equal(t, governance.Document{Kind: "schema", Name: "purchase <&>", Value: "{\n  \"a\": \"\\u0000\"}"}, docs[0])
	ids := 0
	require.NoError(t, governance.Each(bytes.NewReader(all[governance.OfRefused]), governance.OfRefused, func(b []byte) error {
		l, err := governance.Read(b)
		require.NoError(t, err)
		r, err := l.Refused.Refusals()
		require.NoError(t, err)
		if ids == 0 {
			require.Equal(t, identity.Refusals{Secret: []byte("0123456789abcdef"), Hashes: [][16]byte{{1, 2, 3}, {4}}}, r)
		}
		ids += len(r.Hashes)
		return nil
	}))
	require.Equal(t, 1003, ids)
	require.NoError(t, governance.Each(bytes.NewReader(all[governance.OfLetters]), governance.OfLetters, func(b []byte) error {
		l, err := governance.Read(b)
		require.NoError(t, err)
		letter, err := l.Letter.Letter()
		require.NoError(t, err)
		require.Equal(t, `{"eventId":"e1","properties":{"price":"\u2028 1"}}`, string(letter.Event))
		require.Equal(t, 3, letter.Version)
		return nil
	}))
}

func TestWhatIsNoSuchFileIsAnError(t *testing.T) {
	ignore := func([]byte) error { return nil }
	for text, want := range map[string]string{
		"{}\n": "0 members", "x\n": "no line", `{"governance":{"version":1,"of":"letters"}}`: "of documents", `{"governance":{"version":2,"of":"documents"}}`: "version 2",
		`{"document":{}}`: "first line", `{"more":1}`: "unknown field", strings.Repeat(" ", governance.MaxLineBytes+1): "too long",
	} {
		require.ErrorContains(t, governance.Each(strings.NewReader(text), governance.OfDocuments, ignore), want)
	}
	_, err := governance.WriteDocuments(&bytes.Buffer{}, []governance.Document{{Kind: "query", Name: "x", Value: "\xff"}})
	require.ErrorIs(t, err, governance.ErrLine)
	require.True(t, slices.IsSortedFunc([]string{"schema", "key"}, func(a, b string) int {
		return slices.Index(governance.Kinds, a) - slices.Index(governance.Kinds, b)
	}), "keys come last: from then on they are asked for")
}

func FuzzRead(f *testing.F) {
	for _, b := range files(f) {
		for line := range bytes.Lines(b) {
			f.Add(line)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := governance.Read(b)
		if err != nil {
			return
		}
		if l.Refused != nil {
			_, _ = l.Refused.Refusals()
		}
		if l.Letter != nil {
			_, _ = l.Letter.Letter()
		}
		again, err := governance.Append(nil, l)
		require.NoError(t, err)
		twice, err := governance.Read(again)
		require.NoError(t, err)
		require.Equal(t, l, twice)
	})
}
