package collect_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"spoor/server/collect"
)

// A request that is told which names may be stored leaves its neighbours alone,
// which share its batch, and says once when its body is decoded, whatever came of it.
func TestARequestIsBoundToItsNamesAndSaysOnceWhenItIsDecoded(t *testing.T) {
	m := &memory{}
	c := collect.New(m, collect.Options{MaxEvents: 3000})
	var long strings.Builder // has a builder of its own
	for i := range 2000 {
		long.WriteString(strings.Replace(line(i), `"n":`, `"text":"`+strings.Repeat("x", 300)+`","n":`, 1) + "\n")
	}
	for i, body := range []string{line(1), "", "{", "[" + line(1) + "," + line(2) + "]", "[" + line(1), strings.Repeat(line(1)+"\n", 3001), long.String()} {
		for _, single := range []bool{true, false} {
			r := collect.NewRequest()
			decoded := 0
			r.Decoded = func() { decoded++ }
			r.Allow = func(name []byte) bool { return string(name) != "home" }
			if single {
				_ = r.One(c, []byte(body), "")
			} else {
				_ = r.Many(c, []byte(body), "")
			}
			require.Equal(t, 1, decoded, "%d: %v", i, single)
			require.Zero(t, r.Accepted)
			r.Release()

			r = collect.NewRequest()
			require.NoError(t, r.One(c, []byte(line(10_000+i)), ""), "the next request is free of it")
			require.Equal(t, 1, r.Accepted+r.Duplicates)
			r.Release()
		}
	}
	r := collect.NewRequest()
	r.Allow = func(name []byte) bool { return string(name) == "home" }
	require.NoError(t, r.Many(c, []byte(line(1)+"\n"+strings.Replace(line(2), "home", "cart", 1)), ""))
	require.Equal(t, 1, r.Accepted)
	require.Equal(t, "event_not_allowed", r.Rejected[0].Code)
	require.Equal(t, "e2", string(r.RejectedID(0)))
	r.Release()
	c.Close()
	r = collect.NewRequest()
	decoded := 0
	r.Decoded = func() { decoded++ }
	require.ErrorIs(t, r.One(c, []byte(line(1)), ""), collect.ErrClosed)
	require.Equal(t, 1, decoded)
	r.Release()
}
