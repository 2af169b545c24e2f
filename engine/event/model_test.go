package event

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"sort"
	"strconv"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/require"

	"spoor/segment/batch"
)

// roundTrip adds an event, passes the batch through its encoded form, and
// gives the event back.
func roundTrip(t *testing.T, d *Decoder, event string) string {
	row, rej := d.Add([]byte(event), "", noID)
	if rej != nil {
		require.NoError(t, rej, event)
	}
	b, err := batch.Decode(d.Seal(1.7e15).AppendEncoded(nil))
	require.NoError(t, err)
	return string(AppendJSON(nil, RowOf(b, row)))
}

// canonical writes a JSON text with sorted members and exact numbers, by way
// of the strict reader of the standard's authors.
func canonical(t testing.TB, text string) string {
	d := jsontext.NewDecoder(strings.NewReader(text))
	var b strings.Builder
	writeCanonical(t, &b, d)
	_, err := d.ReadToken()
	require.ErrorIs(t, err, io.EOF)
	return b.String()
}

func writeCanonical(t testing.TB, b *strings.Builder, d *jsontext.Decoder) {
	tok, err := d.ReadToken()
	require.NoError(t, err)
	switch tok.Kind() {
	case '"':
		fmt.Fprintf(b, "%q", tok.String())
	case '0':
		b.WriteString(exactNumber(tok.String()))
	case '{':
		var members []string
		for d.PeekKind() != '}' {
			name, err := d.ReadToken()
			require.NoError(t, err)
			var v strings.Builder
			fmt.Fprintf(&v, "%q:", name.String())
			writeCanonical(t, &v, d)
			members = append(members, v.String())
		}
		_, err := d.ReadToken()
		require.NoError(t, err)
		sort.Strings(members)
		b.WriteString("{" + strings.Join(members, ",") + "}")
	case '[':
		b.WriteByte('[')
		for d.PeekKind() != ']' {
			writeCanonical(t, b, d)
			b.WriteByte(',')
		}
		_, err := d.ReadToken()
		require.NoError(t, err)
		b.WriteByte(']')
	default:
		b.WriteString(tok.String())
	}
}

// exactNumber is the value as a fraction; numbers too small for one by a sane
// amount of digits stand as they are.
func exactNumber(text string) string {
	if digits, exp, ok := strings.Cut(strings.ToLower(text), "e"); ok {
		if n, err := strconv.Atoi(exp); strings.Trim(digits, "-0.") == "" {
			return "0"
		} else if err != nil || n > 2000 || n < -2000 {
			return text
		}
	}
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		return text
	}
	return r.RatString()
}

func sameJSON(t testing.TB, want, got string) {
	require.True(t, json.Valid([]byte(got)), "%s", got)
	if w, g := canonical(t, want), canonical(t, got); w != g {
		require.Equal(t, w, g, "sent %s\ngot  %s", want, got)
	}
}

func collect(d *Decoder, body string) (items []Item, err error) {
	err = d.AddAll([]byte(body), "", noID, func(it Item) error {
		it.Raw, it.ID = bytes.Clone(it.Raw), bytes.Clone(it.ID)
		items = append(items, it)
		return nil
	})
	return items, err
}

func codesOf(items []Item) []string {
	out := make([]string, len(items))
	for i, it := range items {
		out[i] = "ok"
		if it.Reject != nil {
			out[i] = it.Reject.Code
		}
	}
	return out
}
