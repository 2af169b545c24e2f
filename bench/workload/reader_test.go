package workload

import (
	"bytes"
	"io"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

func TestAReaderGivesEachEventOnALine(t *testing.T) {
	config := Config{Events: 2000, Seed: 13}
	want := append(bytes.Join(lines(t, config), []byte{'\n'}), '\n')
	fresh := func() *Reader {
		g, err := New(config)
		require.NoError(t, err)
		return NewReader(g)
	}

	require.NoError(t, iotest.TestReader(struct{ io.Reader }{fresh()}, want))

	var got bytes.Buffer
	r := fresh()
	n, err := r.WriteTo(&got)
	require.NoError(t, err)
	require.EqualValues(t, len(want), n)
	require.Equal(t, want, got.Bytes())

	got.Reset()
	r = fresh()
	_, err = io.CopyN(&got, struct{ io.Reader }{r}, 1000)
	require.NoError(t, err)
	_, err = r.WriteTo(&got)
	require.NoError(t, err)
	require.Equal(t, want, got.Bytes(), "a reader that was begun goes on where it stood")
}

func TestAReaderStopsWhenItCannotWrite(t *testing.T) {
	g, err := New(Config{Events: 2000, Seed: 13})
	require.NoError(t, err)
	r, w := io.Pipe()
	require.NoError(t, r.CloseWithError(io.ErrShortWrite))
	_, err = NewReader(g).WriteTo(w)
	require.ErrorIs(t, err, io.ErrShortWrite)
}
