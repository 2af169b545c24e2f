package segment_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"spoor/segment"
	"spoor/segment/batch"
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

// readAll reads everything that a merge reads, as text.
func readAll(s *segment.Reader) (string, error) {
	var out strings.Builder
	var x segment.Scratch
	var errs []error
	for i := range s.Sections() {
		sec := &s.Sections()[i]
		n := sec.Rows()
		keys, recv, users, codes, nums := make([]uint64, n), make([]int64, n), make([]uint32, n), make([]uint32, n), make([]float64, n)
		errs = append(errs, sec.Keys(keys, 0, n, &x), sec.Received(recv, 0, n, &x), sec.Users(users, 0, n, &x))
		columns, err := sec.AllColumns()
		errs = append(errs, err)
		fmt.Fprintln(&out, sec.Day(), sec.Event(), keys, recv, users)
		for _, c := range columns {
			if c.Kind() == batch.KindNumber {
				errs = append(errs, c.Numbers(nums, 0, n, &x))
				fmt.Fprintln(&out, c.Path(), nums)
				continue
			}
			texts, err := c.Codes(codes, 0, n, &x)
			errs = append(errs, err)
			fmt.Fprintln(&out, c.Path(), codes, texts)
		}
	}
	s.Days(func(day int32, sections []segment.Section) {
		n := 0
		for i := range sections {
			n += sections[i].Rows()
		}
		line := make([]uint32, n)
		errs = append(errs, s.Timeline(day, line, 0, n, &x))
		fmt.Fprintln(&out, line)
	})
	ids, err := s.IDs(0, s.Rows())
	fmt.Fprintln(&out, ids)
	return out.String(), errors.Join(append(errs, err)...)
}

func TestDamageOfAHeldFileIsNoticed(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	file := randomModel(r, 2000, 2, 3, 400).write(t)
	read := func(file []byte) (string, error) {
		s, err := segment.Open(bytes.NewReader(file), int64(len(file)), "held", nil)
		if err != nil {
			return "", err
		}
		release, err := s.Hold()
		require.NoError(t, err)
		defer release()
		return readAll(s)
	}
	good, err := read(file)
	require.NoError(t, err)
	noticed := 0
	for range 200 {
		bad := bytes.Clone(file)
		at := r.IntN(len(bad))
		bad[at] ^= 1 << r.IntN(8)
		got, err := read(bad)
		if err == nil { // it is in what a merge does not read: a set of persons, the filter of ids
			require.Equal(t, good, got, "byte %d of %d", at, len(bad))
			continue
		}
		require.ErrorIs(t, err, segment.ErrCorrupt)
		noticed++
	}
	require.Greater(t, noticed, 150)
}
