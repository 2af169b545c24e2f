package batch

import (
	"bytes"
	"math/rand"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseUUIDReadsWhatAppendUUIDWrites(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	for range 1000 {
		id := ID{r.Uint64(), r.Uint64()}
		got, ok := ParseUUID(AppendUUID(nil, id))
		require.True(t, ok)
		require.Equal(t, id, got)
	}
}

// Every byte at every place: accepted exactly if it is what the text form allows.
func TestParseUUIDRefusesEveryOtherByte(t *testing.T) {
	good := AppendUUID(nil, ID{0x0123456789abcdef, 0xfedcba9876543210})
	for i := range good {
		for c := range 256 {
			text := bytes.Clone(good)
			text[i] = byte(c)
			isDigit := c >= '0' && c <= '9' || c >= 'a' && c <= 'f'
			want := isDigit
			if i == 8 || i == 13 || i == 18 || i == 23 {
				want = c == '-'
			}
			id, ok := ParseUUID(text)
			require.Equal(t, want, ok, "%q", text)
			if ok {
				require.Equal(t, string(text), string(AppendUUID(nil, id)))
			}
		}
	}
}
