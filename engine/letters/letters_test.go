package letters

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/internal/vfs"
)

func letter(r *rand.Rand, id int, at int64) *Letter {
	return &Letter{ID: fmt.Sprint("id", id), Name: fmt.Sprint("e", r.Intn(3)), Source: fmt.Sprint("s", r.Intn(2)), Reason: fmt.Sprint("r", r.Intn(2)), Path: fmt.Sprint("p", r.Intn(2)), Version: r.Intn(2), Received: at, Event: fmt.Appendf(nil, `{"n":%d}`, r.Intn(1000))}
}

func all(t testing.TB, s *Store) (out []Letter) {
	require.NoError(t, s.Each(func(l *Letter) { out = append(out, *l) }))
	return out
}

func load(t testing.TB, fsys vfs.FS, f File) *Store {
	s, err := Load(fsys, "d", f)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
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
		erased := map[uint64]func(){}
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
			if len(want) > 0 && r.Intn(4) == 0 {
				since := want[r.Intn(len(want))].Index
				gone := fmt.Appendf(nil, "%d}", r.Intn(10))
				has := func(l *Letter) bool { return bytes.HasSuffix(l.Event, gone) }
				before := len(want)
				want = slices.DeleteFunc(want, func(l Letter) bool { return l.Index >= since && has(&l) })
				n, err := s.Erase(index, since, has)
				require.NoError(t, err)
				require.Equal(t, before-len(want), n)
				erased[index] = func() {
					_, err := s.Erase(index, since, has)
					require.NoError(t, err)
				}
				// As the engine has it: no file covers less than the last erasure.
				file, err = s.Save(fsys, "d", file, func() string { files++; return fmt.Sprint(files, Suffix) })
				require.NoError(t, err)
			}
			if r.Intn(3) == 0 {
				require.Equal(t, slices.Concat(want), all(t, s), "seed %d index %d", seed, index)
			}
			if r.Intn(5) == 0 {
				file, err = s.Save(fsys, "d", file, func() string { files++; return fmt.Sprint(files, Suffix) })
				require.NoError(t, err)
			}
			if r.Intn(20) == 0 && file.Name != "" {
				s.Close()
				s = load(t, fsys, file)
				for i := range log {
					_, err := s.apply(uint64(i+1), ops[i], log[i])
					require.NoError(t, err)
					if again := erased[uint64(i+1)]; again != nil {
						again()
					}
				}
				require.Equal(t, len(want), len(all(t, s)))
			}
		}
		n, _, oldest := s.Len()
		require.Equal(t, len(want), n)
		if n > 0 {
			require.Equal(t, want, all(t, s), "in the order of the log")
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
	mem, file := vfs.NewMem(), File{}
	require.NoError(t, mem.MkdirAll("d"))
	_, err := s.Save(mem, "d", file, func() string { return "x" })
	require.NoError(t, err)
	_, err = s.Put(301, Append(AppendBounds(nil, Bounds{Bytes: MaxBytes}), &Letter{ID: "waits", Name: "e1", Reason: "r0", Received: 100}))
	require.NoError(t, err)
	require.NoError(t, s.Each(func(l *Letter) {
		if l.Name == "e1" && l.Reason == "r0" && l.Received >= 50 && l.Received < 250 {
			want = append(want, l.ID)
		}
	}))
	after := ""
	for {
		page, more, err := s.List(f, after, 7, 1<<20)
		require.NoError(t, err)
		ids, moreIDs := s.IDs(f, after, 7)
		require.Len(t, ids, len(page))
		require.Equal(t, more, moreIDs)
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
	gone, more, err := s.List(f, "nobody", 7, 1<<20)
	require.NoError(t, err)
	require.Empty(t, gone)
	require.False(t, more)
	one, more, err := s.List(f, "", 7, 1)
	require.NoError(t, err)
	require.Len(t, one, 1, "a page has a letter however large that is")
	require.True(t, more)
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
	back := load(t, mem, file)
	require.Equal(t, all(t, s), all(t, back))
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
		mem := vfs.NewMem()
		require.NoError(t, mem.MkdirAll("d"))
		require.NoError(t, vfs.WriteFileAtomic(mem, "d/x", b))
		if s, err := Load(mem, "d", File{"x", int64(len(b))}); err == nil {
			before := all(t, s)
			s.rewrite = true
			f, err := s.Save(mem, "d", File{"x", int64(len(b))}, func() string { return "y" })
			require.NoError(t, err)
			require.Equal(t, before, all(t, s))
			s.Close()
			back := load(t, mem, f)
			require.Equal(t, before, all(t, back))
		}
		s := New()
		if _, err := s.Put(1, b); err == nil {
			all(t, s)
		}
		if _, err := s.Remove(2, b); err == nil {
			all(t, s)
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

const golden = "53504f4f524c455401000000280000004612d7b10107258080808004ffffffffffffffffff01016103627579037765620172016d017002d00f027b7d090000007b70d7d4020906808040010161"

// goldenWhole is a file of a version of the program that wrote all letters as one operation of kind 3.
const goldenWhole = "53504f4f524c4554010000001a000000303756f403071707016103627579037765620172016d017002d00f027b7d090000007b70d7d4020906808040010161"

func TestAFileWithAllLettersInOneOperationIsRead(t *testing.T) {
	data, err := hex.DecodeString(goldenWhole)
	require.NoError(t, err)
	mem := vfs.NewMem()
	require.NoError(t, mem.MkdirAll("d"))
	require.NoError(t, vfs.WriteFileAtomic(mem, "d/x", data))
	want := Letter{ID: "a", Name: "buy", Source: "web", Reason: "r", Message: "m", Path: "p", Version: 2, Received: 1000, Event: []byte(`{}`), Index: 7}
	first := load(t, mem, File{"x", fileHead + frameHead + 26}) // without the removal
	require.Equal(t, []Letter{want}, all(t, first))
	require.Empty(t, all(t, load(t, mem, File{"x", int64(len(data))})))
	_, err = first.Put(8, Append(AppendBounds(nil, Bounds{Bytes: MaxBytes}), letter(rand.New(rand.NewSource(1)), 2, 2)))
	require.NoError(t, err)
	f, err := first.Save(mem, "d", File{"x", fileHead + frameHead + 26}, func() string { return "y" })
	require.NoError(t, err)
	require.Equal(t, "x", f.Name, "it goes on")
	require.Equal(t, all(t, first), all(t, load(t, mem, f)))
}

// manyLetters is a store of n letters of 1 KB, of which a file has all.
func manyLetters(t testing.TB, fsys vfs.FS, n int) (*Store, File) {
	s, f, files := New(), File{}, 0
	t.Cleanup(s.Close)
	for i := 0; i < n; {
		b := AppendBounds(nil, Bounds{Bytes: MaxBytes})
		for range min(100, n-i) {
			b = Append(b, &Letter{ID: fmt.Sprintf("0190a5d2-0000-7000-8000-%012d", i), Name: "checkout_done", Source: "web", Reason: "schema_violation", Message: "properties.total is a text, the schema has a number", Path: "properties.total", Version: 3, Received: int64(i), Event: bytes.Repeat([]byte{'x'}, 900)})
			i++
		}
		_, err := s.Put(uint64(i), b)
		require.NoError(t, err)
		if i%10_000 == 0 || i == n {
			f, err = s.Save(fsys, "d", f, func() string { files++; return fmt.Sprint(files, Suffix) })
			require.NoError(t, err)
		}
	}
	return s, f
}

// TestADamagedLetterIsAnErrorAndNeverServed flips each byte of a letter while the store is open.
func TestADamagedLetterIsAnErrorAndNeverServed(t *testing.T) {
	mem := vfs.NewMem()
	require.NoError(t, mem.MkdirAll("d"))
	s, f := manyLetters(t, mem, 30)
	h, err := mem.OpenReadWrite("d/" + f.Name)
	require.NoError(t, err)
	it := s.queue[17]
	for at := it.place; at < it.place+int64(it.length); at += 7 {
		b := make([]byte, 1)
		_, err := h.ReadAt(b, at)
		require.NoError(t, err)
		flip := func() {
			b[0] ^= 0x10
			_, err := h.WriteAt(b, at)
			require.NoError(t, err)
		}
		flip()
		sound, more, err := s.List(Filter{}, "", 17, 1<<20)
		require.NoError(t, err)
		require.Len(t, sound, 17)
		require.True(t, more)
		_, _, err = s.List(Filter{}, "", 18, 1<<20)
		require.ErrorIs(t, err, ErrFile)
		_, err = s.Erase(31, 0, func(*Letter) bool { return true })
		require.ErrorIs(t, err, ErrFile)
		s.rewrite = true
		_, err = s.Save(mem, "d", f, func() string { return "new.letters" })
		require.ErrorIs(t, err, ErrFile, "damage is not copied")
		require.ErrorIs(t, Check(h, f.Bytes), ErrFile)
		flip()
	}
	require.NoError(t, h.Close())
	require.Len(t, all(t, s), 30)
	_, err = s.Save(mem, "d", f, func() string { return "new.letters" })
	require.NoError(t, err)
	require.Len(t, all(t, s), 30)
}

func TestLettersAreReadWhileCheckpointsReplaceTheFile(t *testing.T) {
	mem := vfs.NewMem()
	require.NoError(t, mem.MkdirAll("d"))
	s, f := manyLetters(t, mem, 200)
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				list, _, err := s.List(Filter{Name: "checkout_done"}, "", 200, 1<<20)
				if err != nil || len(list) != 200 {
					t.Errorf("%d letters: %v", len(list), err)
					return
				}
			}
		})
	}
	for i := range 50 {
		_, err := s.Put(uint64(1000+i), Append(AppendBounds(nil, Bounds{Bytes: MaxBytes}), &Letter{ID: fmt.Sprint("other", i), Name: "other", Received: 1}))
		require.NoError(t, err)
		if i%2 == 0 {
			n, err := s.Erase(uint64(1000+i), uint64(1000+i), func(*Letter) bool { return true })
			require.NoError(t, err)
			require.Equal(t, 1, n)
		}
		old := f.Name
		f, err = s.Save(mem, "d", f, func() string { return fmt.Sprint("new", i) })
		require.NoError(t, err)
		if f.Name != old {
			require.NoError(t, mem.Remove("d/"+old))
		}
	}
	close(done)
	readers.Wait()
}

// TestTheIndexTakesAFractionOfTheLetters measures memory. SPOOR_LETTERS sets how many letters there are.
func TestTheIndexTakesAFractionOfTheLetters(t *testing.T) {
	n := 20_000
	if text := os.Getenv("SPOOR_LETTERS"); text != "" {
		var err error
		n, err = strconv.Atoi(text)
		require.NoError(t, err)
	}
	fsys, dir := vfs.OS(), t.TempDir()
	t.Chdir(dir)
	require.NoError(t, fsys.MkdirAll("d"))
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	s, f := manyLetters(t, fsys, n)
	built := heap() - before
	start := time.Now()
	back := load(t, fsys, f)
	opened := time.Since(start)
	loaded := heap() - before - built
	start = time.Now()
	count, size, _ := back.Len()
	erased, err := back.Erase(uint64(n+1), 0, func(*Letter) bool { return false })
	require.NoError(t, err)
	require.Zero(t, erased)
	t.Logf("%d letters, %d bytes of the bound, %d of file: %d bytes of heap after checkpoints, %d after opening in %v; all read in %v",
		count, size, f.Bytes, built, loaded, opened, time.Since(start))
	require.Less(t, max(built, loaded), size/4)
	n, _, _ = s.Len()
	require.Equal(t, count, n)
}
