package grep

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestATextIsFoundHoweverJSONWritesIt(t *testing.T) {
	for _, c := range []struct {
		text, wanted string
		found        bool
	}{
		{`ada@example.com`, "ada@", true},
		{`["\u0061da@example.com"]`, "ada@example.com", true},
		{`["a\"b"]`, `a"b`, true},
		{`["\ud83d\ude00"]`, "😀", true},
		{`["\ud83dx"]`, "😀", false},
		{`\u00`, "x", false},
		{`\`, "x", false},
		{`\q`, `\q`, true},
		{`["c:\\dir"]`, `c:\dir`, true},
		{`Ada`, "ada", false},
	} {
		require.Equal(t, c.found, Contains([]byte(c.text), []byte(c.wanted)), "%s in %s", c.wanted, c.text)
	}
}

func FuzzWhatJSONEscapesIsFound(f *testing.F) {
	f.Add("a\"\\\u2028é😀<", "x")
	f.Fuzz(func(t *testing.T, text, around string) {
		quoted, err := json.Marshal(text)
		require.NoError(t, err)
		var back string
		require.NoError(t, json.Unmarshal(quoted, &back))
		require.True(t, Contains(append([]byte(around+" "), quoted...), []byte(back)))
	})
}
