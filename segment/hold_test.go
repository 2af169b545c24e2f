package segment_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"spoor/segment"
)

// countedFile counts the reads of a file.
type countedFile struct {
	*bytes.Reader
	reads int
}

func (f *countedFile) ReadAt(p []byte, off int64) (int, error) {
	f.reads++
	return f.Reader.ReadAt(p, off)
}

func TestAHeldFileReadsAlikeWithOneReadAndLeavesTheCacheAlone(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	m := randomModel(r, 20_000, 3, 4, 900)
	file := &countedFile{Reader: bytes.NewReader(m.write(t))}
	cache := segment.NewCache(64 << 20)
	s, err := segment.Open(file, file.Size(), "held", cache)
	require.NoError(t, err)
	release, err := s.Hold()
	require.NoError(t, err)

	check := func() {
		want := make([]int, 20_000)
		for i := range want {
			want[i] = i
		}
		slices.SortStableFunc(want, m.compare)
		at := 0
		for i := range s.Sections() {
			sec := &s.Sections()[i]
			m.checkSection(t, r, sec, want[at:at+sec.Rows()])
			at += sec.Rows()
		}
		m.checkTimelines(t, s)
	}
	before := file.reads
	check()
	require.Equal(t, before, file.reads, "nothing is read any more")
	require.Zero(t, cache.Bytes())
	release()
	check()
	require.Greater(t, file.reads, before)
	require.Positive(t, cache.Bytes())
}

func TestDamageOfAHeldFileIsNoticed(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	file := randomModel(r, 3000, 2, 3, 400).write(t)
	for range 200 {
		bad := bytes.Clone(file)
		at := r.IntN(len(bad))
		bad[at] ^= 1 << r.IntN(8)
		s, err := segment.Open(bytes.NewReader(bad), int64(len(bad)), "bad", nil)
		if err == nil {
			_, err = s.Hold()
			require.NoError(t, err)
			_, err = s.Verify(context.Background())
		}
		require.Error(t, err, "byte %d of %d", at, len(bad))
	}
	s, err := segment.Open(bytes.NewReader(file), int64(len(file)), "good", nil)
	require.NoError(t, err)
	_, err = s.Hold()
	require.NoError(t, err)
	_, err = s.Verify(context.Background())
	require.NoError(t, err)
}
