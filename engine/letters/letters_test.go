package letters

import (
	"fmt"
	"math/rand"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"spoor/internal/vfs"
)

func letter(r *rand.Rand, id int, at int64) *Letter {
	return &Letter{ID: fmt.Sprint("id", id), Name: fmt.Sprint("e", r.Intn(3)), Source: fmt.Sprint("s", r.Intn(2)), Reason: fmt.Sprint("r", r.Intn(2)), Path: fmt.Sprint("p", r.Intn(2)), Version: r.Intn(2), Received: at, Event: fmt.Appendf(nil, `{"n":%d}`, r.Intn(1000))}
}

func all(s *Store) (out []Letter) {
	s.Each(func(l *Letter) { out = append(out, *l) })
	return out
}

// TestTheStoreEqualsANaiveOneThroughCheckpointsAndRestarts applies random entries,
// saves and opens the file at random, and compares with a plain list.
func TestTheStoreEqualsANaiveOneThroughCheckpointsAndRestarts(t *testing.T) {
	for seed := range 20 {
		r := rand.New(rand.NewSource(int64(seed)))
		fsys := vfs.NewMem()
		require.NoError(t, fsys.MkdirAll("d"))
		s, file, files := New(), File{}, 0
		var want []Letter
		var log [][]byte // entries; which of them the file has is not known to who replays
		var ops []byte
		for index := uint64(1); index <= 200; index++ {
			at := int64(index)
			b := Bounds{Bytes: 3000 + r.Int63n(30000), Oldest: at - r.Int63n(150)}
			body := AppendBounds(nil, b)
			op := opPut
			if r.Intn(3) == 0 {
				op = opRemove
			}
			for range r.Intn(6) {
				id := r.Intn(400)
				at := slices.IndexFunc(want, func(l Letter) bool { return l.ID == fmt.Sprint("id", id) })
				if op == opRemove {
					body = AppendText(body, fmt.Sprint("id", id))
					if at >= 0 {
						want = slices.Delete(want, at, at+1)
					}
					continue
				}
				l := letter(r, id, int64(index))
				body = Append(body, l)
				if l.Index = index; at < 0 {
					want = append(want, *l)
				}
			}
			size := int64(0)
			for i := range want {
				size += want[i].size()
			}
			for len(want) > 0 && (want[0].Received < b.Oldest || size > b.Bytes) {
				size -= want[0].size()
				want = want[1:]
			}
			log, ops = append(log, body), append(ops, op)
			_, err := s.apply(index, op, body)
			require.NoError(t, err)
			require.Len(t, s.byID, len(want), "seed %d index %d", seed, index)
			for i := range want {
				l := s.byID[want[i].ID]
				require.NotNil(t, l)
				require.Equal(t, string(want[i].Event), string(l.Event))
			}
			if r.Intn(5) == 0 {
				file, err = s.Save(fsys, "d", file, func() string { files++; return fmt.Sprint(files, Suffix) })
				require.NoError(t, err)
			}
			if r.Intn(20) == 0 && file.Name != "" {
				data, err := vfs.ReadFile(fsys, "d/"+file.Name)
				require.NoError(t, err)
				s, err = Load(data[:file.Bytes])
				require.NoError(t, err)
				for i := range log {
					_, err := s.apply(uint64(i+1), ops[i], log[i])
					require.NoError(t, err)
				}
				require.Equal(t, len(want), len(all(s)))
			}
		}
		n, _, oldest := s.Len()
		require.Equal(t, len(want), n)
		if n > 0 {
			require.Equal(t, want, all(s), "in the order of the log")
			require.Equal(t, want[0].Received, oldest)
		}
	}
}

func TestLettersAreListedInPagesAndCounted(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	s := New()
	for i := range 300 {
		_, err := s.Put(uint64(i+1), Append(AppendBounds(nil, Bounds{Bytes: MaxBytes}), letter(r, i, int64(i))))
		require.NoError(t, err)
	}
	f := Filter{Name: "e1", Reason: "r0", From: 50, To: 250}
	var want, got []string
	s.Each(func(l *Letter) {
		if l.Name == "e1" && l.Reason == "r0" && l.Received >= 50 && l.Received < 250 {
			want = append(want, l.ID)
		}
	})
	after := ""
	for {
		page, more := s.List(f, after, 7)
		for _, l := range page {
			got = append(got, l.ID)
			after = l.ID
		}
		if !more {
			break
		}
	}
	require.Equal(t, want, got)
	total := 0
	for _, c := range s.Counts(f) {
		total += c.Letters
	}
	require.Equal(t, len(want), total)
	gone, more := s.List(f, "nobody", 7)
	require.Empty(t, gone)
	require.False(t, more)
}

func TestAFailedCheckpointLosesNothing(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	mem := vfs.NewMem()
	require.NoError(t, mem.MkdirAll("d"))
	s := New()
	put := func(i int) {
		_, err := s.Put(uint64(i), Append(AppendBounds(nil, Bounds{Bytes: MaxBytes}), letter(r, i, int64(i))))
		require.NoError(t, err)
	}
	put(1)
	file, err := s.Save(mem, "d", File{}, func() string { return "1.letters" })
	require.NoError(t, err)
	put(2)
	_, err = s.Save(mem, "nowhere", file, func() string { return "2.letters" })
	require.Error(t, err)
	put(3)
	file, err = s.Save(mem, "d", file, func() string { return "3.letters" })
	require.NoError(t, err)
	require.Equal(t, "3.letters", file.Name)
	data, err := vfs.ReadFile(mem, "d/3.letters")
	require.NoError(t, err)
	back, err := Load(data)
	require.NoError(t, err)
	require.Equal(t, all(s), all(back))
}

func FuzzLoad(f *testing.F) {
	r := rand.New(rand.NewSource(1))
	mem := vfs.NewMem()
	_ = mem.MkdirAll("d")
	s := New()
	_, _ = s.Put(1, Append(AppendBounds(nil, Bounds{Bytes: MaxBytes}), letter(r, 1, 1)))
	file, _ := s.Save(mem, "d", File{}, func() string { return "x" })
	_, _ = s.Remove(2, AppendText(AppendBounds(nil, Bounds{Bytes: MaxBytes}), "id1"))
	_, _ = s.Save(mem, "d", file, func() string { return "x" })
	b, _ := vfs.ReadFile(mem, "d/x")
	f.Add(b)
	f.Add(Append(AppendBounds(nil, Bounds{Bytes: 10}), letter(r, 1, 1)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := Load(b); err == nil {
			all(s)
		}
		s := New()
		if _, err := s.Put(1, b); err == nil {
			all(s)
		}
		if _, err := s.Remove(2, b); err == nil {
			all(s)
		}
	})
}

// TestTheFormatOfTheFileNeverChanges pins the bytes that file.go draws.
func TestTheFormatOfTheFileNeverChanges(t *testing.T) {
	mem := vfs.NewMem()
	require.NoError(t, mem.MkdirAll("d"))
	s := New()
	b := AppendBounds(nil, Bounds{Bytes: 1 << 20, Oldest: -1})
	one := &Letter{ID: "a", Name: "buy", Source: "web", Reason: "r", Message: "m", Path: "p", Version: 2, Received: 1000, Event: []byte(`{}`)}
	_, err := s.Put(7, Append(b, one))
	require.NoError(t, err)
	file, err := s.Save(mem, "d", File{}, func() string { return "x" })
	require.NoError(t, err)
	_, err = s.Remove(9, AppendText(b, "a"))
	require.NoError(t, err)
	file, err = s.Save(mem, "d", file, func() string { return "y" })
	require.NoError(t, err)
	data, err := vfs.ReadFile(mem, "d/x")
	require.NoError(t, err)
	require.EqualValues(t, len(data), file.Bytes)
	require.Equal(t, golden, fmt.Sprintf("%x", data))
}

const golden = "53504f4f524c4554010000001a000000303756f403071707016103627579037765620172016d017002d00f027b7d090000007b70d7d4020906808040010161"
