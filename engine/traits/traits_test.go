package traits

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"spoor/engine/event"
	"spoor/internal/vfs"
)

func leaves(t testing.TB, object string) []event.Leaf {
	t.Helper()
	c, rej := event.NewDecoder(event.DefaultLimits()).Identify([]byte(`{"userId":"u","traits":` + object + `}`))
	require.Nil(t, rej)
	return c.Traits
}

func object(s *Store, person uint32) string { return string(event.AppendObject(nil, s.Person(person))) }

// saved writes what is new and returns the store as the next start reads it.
func saved(t testing.TB, fsys vfs.FS, s *Store, f *File) *Store {
	t.Helper()
	if c := s.Take(); c != nil {
		var err error
		*f, err = c.Write(fsys, "", *f, func() string { return fmt.Sprint(f.Bytes, Suffix) })
		require.NoError(t, err)
	}
	if f.Name == "" {
		return New()
	}
	b, err := vfs.ReadFile(fsys, f.Name)
	require.NoError(t, err)
	again, err := Load(b[:f.Bytes], 100)
	require.NoError(t, err)
	return again
}

func everything(s *Store) (out []string) {
	s.Each(func(person uint32, path string, value []byte, time int64, seq uint64) {
		out = append(out, fmt.Sprint(person, path, value, time, seq))
	})
	slices.Sort(out)
	return out
}

func TestRandomCallsAndMergesAgreeWithAModelAndSurviveEveryCheckpoint(t *testing.T) {
	objects := []string{`{"a":1}`, `{"a":{"b":1,"c":{"d":null}}}`, `{"a":{"b":"x"},"e":true}`, `{"e":[1,2]}`, `{"f":9007199254740993,"g":1e300}`, `{"a":"text","f":0.5}`, `{"a":{}}`}
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 1))
		fsys, file := vfs.NewMem(), File{}
		s := New()
		type call struct {
			person uint32
			time   int64
			traits map[string]any
		}
		var said []call
		now := map[uint32]uint32{} // persons that were absorbed
		for index := range uint64(200) {
			switch k := r.IntN(20); {
			case k == 0:
				from, to := uint32(r.IntN(100)), uint32(r.IntN(100))
				_, gone := now[from]
				if _, absorbed := now[to]; from == to || gone || absorbed {
					break
				}
				s.Join(from, to)
				now[from] = to
				for p, q := range now {
					if q == from {
						now[p] = to
					}
				}
			case k == 1:
				s = saved(t, fsys, s, &file)
			case k == 2:
				s.rewrite, s.dirty = true, true
				before := everything(s)
				s = saved(t, fsys, s, &file)
				require.Equal(t, before, everything(s))
			default:
				p, o := uint32(r.IntN(100)), objects[r.IntN(len(objects))]
				if q, ok := now[p]; ok {
					p = q
				}
				c := call{person: p, time: int64(r.IntN(6))}
				require.NoError(t, json.Unmarshal([]byte(o), &c.traits))
				require.True(t, s.At(index+1))
				require.Empty(t, s.Set(p, c.time, 0, leaves(t, o)))
				said = append(said, c)
			}
		}
		slices.SortStableFunc(said, func(a, b call) int { return cmp.Compare(a.time, b.time) })
		want := map[uint32]map[string]any{}
		for _, c := range said {
			p := c.person
			if q, ok := now[p]; ok {
				p = q
			}
			if want[p] == nil {
				want[p] = map[string]any{}
			}
			maps.Copy(want[p], c.traits)
		}
		column := s.Column("a.b", 100, nil)
		for p := range uint32(100) {
			got := map[string]any{}
			require.NoError(t, json.Unmarshal([]byte(object(s, p)), &got))
			if want[p] == nil {
				want[p] = map[string]any{}
			}
			require.Equal(t, want[p], got, "seed %d person %d", seed, p)
			inner, _ := want[p]["a"].(map[string]any)
			require.Equal(t, inner["b"] != nil, column.Codes[p] != 0)
		}
		require.Equal(t, everything(s), everything(saved(t, fsys, s, &file)))
	}
}

func TestWhoCameFirstKeepsWhatTheBoundsAllow(t *testing.T) {
	s := New()
	s.At(1)
	require.Equal(t, []string{"long"}, s.Set(1, 1, 0, leaves(t, `{"long":"`+strings.Repeat("x", MaxValueBytes+1)+`","short":"x"}`)))
	require.Equal(t, `{"short":"x"}`, object(s, 1))
	for i := range MaxPerPerson {
		s.Set(2, 1, 0, leaves(t, fmt.Sprintf(`{"t%d":1}`, i)))
	}
	require.Equal(t, []string{"more"}, s.Set(2, 1, 0, leaves(t, `{"more":1}`)))
	require.Empty(t, s.Set(2, 2, 0, leaves(t, `{"t0":{"one":2}}`)), "in place of one there is room for one")
	require.Equal(t, []string{"t1"}, s.Set(2, 2, 0, leaves(t, `{"t1":{"one":2,"two":3}}`)))
	for i := s.paths; i < MaxPaths; i++ {
		require.Empty(t, s.Set(uint32(3+i%2), 1, 0, leaves(t, fmt.Sprintf(`{"p%d":1}`, i))))
	}
	require.Equal(t, []string{"fresh"}, s.Set(7, 1, 0, leaves(t, `{"fresh":1,"short":"y"}`)))
	require.Equal(t, `{"short":"y"}`, object(s, 7))
	s.Erase(7)
	s.Erase(1)
	require.Empty(t, s.Set(8, 1, 0, leaves(t, `{"fresh":1}`)), "a path that nobody has is free")
}

func TestWhatIsErasedIsInNoFile(t *testing.T) {
	s, fsys, file := New(), vfs.NewMem(), File{}
	s.At(1)
	s.Set(1, 1, 0, leaves(t, `{"secret-path":"secret-value"}`))
	s.Set(2, 1, 0, leaves(t, `{"plan":"pro"}`))
	saved(t, fsys, s, &file)
	s.Erase(1)
	again := saved(t, fsys, s, &file)
	b, err := vfs.ReadFile(fsys, file.Name)
	require.NoError(t, err)
	require.NotContains(t, string(b), "secret")
	require.Equal(t, []string{"plan"}, again.Paths())
	require.Equal(t, 1, s.values.Len(), "memory keeps no copy either")
}

func TestAFileThatIsWrittenAnewStaysInBounds(t *testing.T) {
	s, fsys, file := New(), vfs.NewMem(), File{}
	for i := range uint64(60_000) {
		s.At(i + 1)
		s.Set(uint32(i%50), int64(i), 0, leaves(t, fmt.Sprintf(`{"seen":"%020d"}`, i)))
		if i%1000 == 999 {
			saved(t, fsys, s, &file)
			require.Less(t, file.Bytes, int64(2*minJournal))
		}
	}
	require.Less(t, s.values.Len(), 60_000)
}

func TestACallThatWasAppliedIsNotDecidedAgain(t *testing.T) {
	s := New()
	require.True(t, s.At(5))
	require.False(t, s.At(5))
	require.False(t, s.At(4))
	require.True(t, s.At(6))
}

func TestCallsComeBackFromTheirLogEntry(t *testing.T) {
	want := []Call{{UserID: []byte("u"), Time: -5, Traits: leaves(t, `{"a":{"b":1},"n":null,"t":"x"}`)}, {AnonymousID: []byte("a"), UserID: []byte("v")}}
	var b []byte
	for i := range want {
		b = AppendCall(b, &want[i])
	}
	got, err := ReadCalls(b)
	require.NoError(t, err)
	require.Equal(t, want, got)
	for n := range b {
		if _, err := ReadCalls(b[:n]); err == nil {
			require.Less(t, n, len(AppendCall(nil, &want[0]))+1, "only whole calls are read")
		}
	}
}

// FuzzNoBytesMakeLoadingFail loads bytes under a good checksum: an error at most.
func FuzzLoadingAnythingIsAnErrorAtMost(f *testing.F) {
	s := New()
	s.At(1)
	s.Set(1, 1, 0, leaves(f, `{"a":{"b":1},"t":"x"}`))
	s.Set(2, 1, 1, leaves(f, `{"t":"y"}`))
	s.Join(1, 2)
	f.Add(s.Take().body)
	s.rewrite, s.dirty = true, true
	f.Add(s.Take().body)
	f.Fuzz(func(t *testing.T, body []byte) {
		b := binary.LittleEndian.AppendUint32([]byte(fileMagic), fileVersion)
		loaded, err := Load(append(b, frameOf(body)...), 100)
		if err != nil {
			require.ErrorIs(t, err, ErrFile)
			return
		}
		for p := range uint32(100) {
			require.True(t, json.Valid(event.AppendObject(nil, loaded.Person(p))))
		}
		_, _ = ReadCalls(body)
	})
}
