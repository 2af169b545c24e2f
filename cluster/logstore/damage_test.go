package logstore

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"spoor/internal/vfs"
)

var (
	update = flag.Bool("update", false, "write the golden files anew")
	images = flag.Int("images", 300, "power cuts to try")
)

func errorsIsAny(err error, targets ...error) bool {
	for _, t := range targets {
		if errors.Is(err, t) {
			return true
		}
	}
	return false
}

// setVersion changes the version of an envelope and makes its checksum right.
func setVersion(b []byte, v uint32) {
	binary.LittleEndian.PutUint32(b[8:], v)
	end := envelopeHeaderBytes + int(binary.LittleEndian.Uint32(b[12:]))
	binary.LittleEndian.PutUint32(b[end:], crc32.Checksum(b[:end], castagnoli))
}

// segmentImage is the file of a log with three writes: entries 1, 2 to 4, and 5.
func segmentImage(t testing.TB) (image []byte, starts []int) {
	t.Helper()
	mem := vfs.NewMem()
	s := open(t, mem)
	require.NoError(t, s.StoreLog(entry(1, 100)))
	require.NoError(t, s.StoreLogs([]*raft.Log{entry(2, 100), entry(3, 100), entry(4, 100)}))
	require.NoError(t, s.StoreLog(entry(5, 100)))
	for _, o := range s.segments[0].offsets {
		starts = append(starts, int(o))
	}
	starts = append(starts, int(s.segments[0].end))
	require.NoError(t, s.Close())
	b, err := vfs.ReadFile(mem, filepath.Join("/log", segmentName(1)))
	require.NoError(t, err)
	return b, starts
}

// openImage opens a log whose mark says that entries up to marked are durable.
func openImage(t testing.TB, image []byte, marked uint64) (*Store, error) {
	t.Helper()
	mem := vfs.NewMem()
	s := open(t, mem)
	require.NoError(t, s.Close())
	m, err := openMark(mem, "/log", testCluster)
	require.NoError(t, err)
	require.NoError(t, m.set(marked))
	require.NoError(t, vfs.WriteFileAtomic(mem, filepath.Join("/log", segmentName(1)), image))
	s, err = Open(testOptions(mem))
	if err == nil {
		t.Cleanup(func() { _ = s.Close() })
	}
	return s, err
}

func TestATornWriteIsToldFromDamage(t *testing.T) {
	image, at := segmentImage(t)
	tests := []struct {
		name   string
		change func(b []byte)
		marked uint64
		last   uint64 // 0: refused
	}{
		{"nothing", func([]byte) {}, 5, 5},
		{"last write gone, not yet marked", func(b []byte) { clear(b[at[4]:]) }, 4, 4},
		{"last write gone, marked", func(b []byte) { clear(b[at[4]:]) }, 5, 0},
		{"last record flipped, not yet marked", func(b []byte) { b[at[4]+60] ^= 1 }, 4, 4},
		{"last record flipped, marked", func(b []byte) { b[at[4]+60] ^= 1 }, 5, 0},
		{"last header flipped, not yet marked", func(b []byte) { b[at[4]+8] ^= 1 }, 4, 4},
		{"first of the last write gone, the others of it there", func(b []byte) { clear(b[at[4]:]); clear(b[at[1]:at[2]]) }, 1, 1},
		{"middle of the last write torn", func(b []byte) { clear(b[at[4]:]); clear(b[at[2]+50 : at[2]+60]) }, 1, 2},
		{"middle of a write torn that a later write follows", func(b []byte) { clear(b[at[2]+50 : at[2]+60]) }, 1, 0},
		{"first of a write gone that a later write follows", func(b []byte) { clear(b[at[1]:at[2]]) }, 1, 0},
		{"first record flipped", func(b []byte) { b[at[0]+70] ^= 1 }, 0, 0},
		{"first write torn, header there", func(b []byte) { clear(b[at[0]+8:]) }, 0, ^uint64(0)},
		{"first write torn, record there", func(b []byte) { clear(b[:segmentHeaderBytes]); clear(b[at[1]:]) }, 0, ^uint64(0)},
		{"header gone, later writes there", func(b []byte) { clear(b[:segmentHeaderBytes]) }, 0, 0},
		{"all zeros", func(b []byte) { clear(b) }, 0, ^uint64(0)},
		{"all zeros, marked", func(b []byte) { clear(b) }, 5, 0},
		{"garbage behind the end", func(b []byte) { b[at[5]+300] = 1 }, 4, 5},
		{"garbage behind the end, marked", func(b []byte) { b[at[5]+300] = 1 }, 5, 5},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := append([]byte(nil), image...)
			tt.change(b)
			s, err := openImage(t, b, tt.marked)
			if tt.last == 0 {
				require.ErrorIs(t, err, ErrDamaged)
				return
			}
			require.NoError(t, err)
			last := tt.last
			if last == ^uint64(0) {
				requireBounds(t, s, 0, 0)
				last = 0
			} else {
				requireBounds(t, s, 1, last)
			}
			for i := uint64(1); i <= last; i++ {
				requireEntry(t, s, entry(i, 100))
			}
			fill(t, s, last+1, last+3, 10)
			requireBounds(t, s, 1, last+3)
		})
	}
}

func TestEveryFlippedBitOfStoredEntriesIsNoticed(t *testing.T) {
	image, at := segmentImage(t)
	for o := range at[len(at)-1] {
		b := append([]byte(nil), image...)
		b[o] ^= 1 << (o % 8)
		_, err := openImage(t, b, 5)
		require.Error(t, err, "byte %d", o)
	}
}

func TestABitThatFlipsWhileTheLogIsOpenIsNoticedByTheReader(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, mem)
	fill(t, s, 1, 3, 100)
	f, err := mem.OpenReadWrite(filepath.Join("/log", segmentName(1)))
	require.NoError(t, err)
	_, err = f.WriteAt([]byte{0xff}, int64(s.segments[0].offsets[1])+80)
	require.NoError(t, err)
	require.ErrorIs(t, s.GetLog(2, &raft.Log{}), ErrDamaged)
	requireEntry(t, s, entry(3, 100))
}

func TestDamageOfTheSmallFilesIsNoticed(t *testing.T) {
	for _, name := range []string{metaName, markName, voteName} {
		for _, kind := range []string{"zeroed", "cut", "flipped"} {
			t.Run(name+" "+kind, func(t *testing.T) {
				mem := vfs.NewMem()
				s := open(t, mem)
				fill(t, s, 1, 3, 100)
				require.NoError(t, s.Close())
				path := filepath.Join("/log", name)
				b, err := vfs.ReadFile(mem, path)
				require.NoError(t, err)
				switch kind {
				case "zeroed":
					clear(b)
				case "cut":
					b = b[:len(b)/2]
				case "flipped":
					for o := 40; o < len(b); o += 64 {
						b[o] ^= 4
					}
				}
				require.NoError(t, vfs.WriteFileAtomic(mem, path, b))
				_, err = Open(testOptions(mem))
				require.ErrorContains(t, err, name)
			})
		}
	}
}

// history runs a random script on a log and remembers what it was promised.
type history struct {
	mu    *sync.Mutex
	model map[uint64]*raft.Log
	promise
}

// promise is what must hold if the power goes now.
type promise struct {
	first uint64 // entries below may be gone
	keep  uint64 // entries from first up to here, exclusive, must be there
	end   uint64 // entries from here on must not be there
}

func newHistory() *history {
	return &history{mu: &sync.Mutex{}, model: map[uint64]*raft.Log{}, promise: promise{1, 1, 1}}
}

func (h *history) set(p promise) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.promise = p
}

func (h *history) now() promise {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.promise
}

func (h *history) step(s *Store, rng *rand.Rand) error {
	p := h.now()
	next := p.end
	switch k := rng.IntN(11); {
	case k == 10:
		return s.Roll()
	case k < 7 || next-p.first < 3:
		var logs []*raft.Log
		for range 1 + rng.IntN(5) {
			l := entry(p.end, rng.IntN(900))
			l.Term = rng.Uint64N(1000)
			h.model[p.end] = l
			logs = append(logs, l)
			p.end++
		}
		h.set(p)
		if err := s.StoreLogs(logs); err != nil {
			return err
		}
		p.keep = p.end
	case k == 7:
		from, to := p.first, p.first+rng.Uint64N(next-p.first-1)
		p.first = to + 1
		h.set(p)
		if err := s.DeleteRange(from, to); err != nil {
			return err
		}
	default:
		p.keep = p.first + 1 + rng.Uint64N(next-p.first-1)
		h.set(p)
		if err := s.DeleteRange(p.keep, next-1); err != nil {
			return err
		}
		p.end = p.keep
	}
	h.set(p)
	return nil
}

// check verifies a log that was opened after a crash in the middle of a step.
func (h *history) check(t testing.TB, s *Store, p promise) {
	t.Helper()
	first, _ := s.FirstIndex()
	last, _ := s.LastIndex()
	require.LessOrEqual(t, first, p.first)
	require.GreaterOrEqual(t, last, p.keep-1, "acknowledged entries are there")
	require.Less(t, last, p.end, "removed entries are not")
	for i := max(first, 1); i <= last; i++ {
		requireEntry(t, s, h.model[i])
	}
}

// resume goes on from what a log that was opened holds.
func (h *history) resume(s *Store) {
	first, _ := s.FirstIndex()
	last, _ := s.LastIndex()
	h.set(promise{first: max(first, 1), keep: last + 1, end: last + 1})
}

func TestAPowerCutLosesNothingThatWasAcknowledged(t *testing.T) {
	for n := range *images {
		rng := rand.New(rand.NewPCG(uint64(n), 7))
		mem, h := vfs.NewMem(), newHistory()
		then := h.promise
		// Of longer files the first are short, and Roll cuts down one that was made ahead.
		fileBytes := int64(MinSegmentBytes) << rng.IntN(4)
		options := func(fsys vfs.FS) Options {
			o := testOptions(fsys)
			o.SegmentBytes = fileBytes
			return o
		}
		for life := range 3 { // each on what the last one left
			cutAt, calls := 1+rng.IntN(120), 0
			cutRNG := rand.New(rand.NewPCG(uint64(n), uint64(life)))
			var left *vfs.Mem
			before := then
			h.set(before)
			fault := vfs.NewFault(mem, vfs.Plan{Before: func(vfs.Call) {
				h.mu.Lock()
				defer h.mu.Unlock()
				if calls++; calls == cutAt {
					left, then = mem.CrashClone(cutRNG), h.promise
				}
			}})
			over := func() bool {
				h.mu.Lock()
				defer h.mu.Unlock()
				return left != nil
			}
			s, err := Open(options(fault))
			require.NoError(t, err, "image %d, life %d", n, life)
			h.check(t, s, before)
			if !over() { // else the power went while it opened, and what was promised before holds on
				h.resume(s)
			}
			for !over() {
				require.NoError(t, h.step(s, rng))
			}
			require.NoError(t, s.Close())
			mem = left
		}
		s, err := Open(options(mem))
		require.NoError(t, err, "image %d", n)
		h.check(t, s, then)
		require.NoError(t, s.Close())
	}
}

func TestAfterAnyFailedCallNothingIsAcknowledgedAndTheLogOpensAgain(t *testing.T) {
	for n := 1; ; n++ {
		mem := vfs.NewMem()
		fault := vfs.NewFault(mem, vfs.Plan{FailAt: n, Err: syscall.EIO})
		o := testOptions(fault)
		o.OnFatal = func(error) {}
		h := newHistory()
		rng := rand.New(rand.NewPCG(1, 2))
		failedAt := ""
		s, err := Open(o)
		if err == nil {
			for range 40 {
				s.waitSpare()
				if err = h.step(s, rng); err != nil {
					break
				}
			}
			call, failed := fault.Failed()
			failedAt = fmt.Sprint(call)
			if err == nil && failed && call.Op != vfs.OpClose && call.Op != vfs.OpFree {
				require.NotNil(t, s.Failed(), "%s went unnoticed", failedAt)
			}
			if s.Failed() != nil {
				require.ErrorIs(t, s.StoreLog(entry(h.now().end, 10)), ErrFailed)
			}
			_ = s.Close()
		}
		if _, failed := fault.Failed(); !failed {
			require.Greater(t, n, 150)
			return
		}
		// The disk lost what a failing sync had to write; then the power goes too.
		s, err = Open(testOptions(mem.CrashClone(rng)))
		require.NoError(t, err, "call %d: %s", n, failedAt)
		h.check(t, s, h.now())
		require.NoError(t, s.Close())
	}
}

func TestTheBytesOnDiskAreThoseOfTheGoldenFiles(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, mem)
	require.NoError(t, s.StableStore().SetUint64([]byte("CurrentTerm"), 3))
	require.NoError(t, s.StoreLogs([]*raft.Log{
		{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: []byte("configuration")},
		{Index: 2, Term: 3, Type: raft.LogCommand, Data: []byte("command"), Extensions: []byte("ext"), AppendedAt: entry(2, 0).AppendedAt},
	}))
	require.NoError(t, s.StoreLog(entry(3, 20)))
	require.NoError(t, s.DeleteRange(1, 1))
	require.NoError(t, s.Close())
	for _, name := range []string{metaName, markName, voteName, segmentName(1)} {
		b, err := vfs.ReadFile(mem, filepath.Join("/log", name))
		require.NoError(t, err)
		golden := filepath.Join("testdata", name+".hex")
		got := dump(b)
		if *update {
			require.NoError(t, os.MkdirAll("testdata", 0o755))
			require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
		}
		want, err := os.ReadFile(golden)
		require.NoError(t, err)
		require.Equal(t, string(want), got, name)
	}
}

// dump writes bytes in lines of 16 and leaves lines of zeros out.
func dump(b []byte) string {
	var out strings.Builder
	for at := 0; at < len(b); at += 16 {
		line := b[at:min(at+16, len(b))]
		if isZero(line) {
			continue
		}
		text := []byte(strings.Map(func(r rune) rune {
			if r < ' ' || r > '~' {
				return '.'
			}
			return r
		}, string(latin1(line))))
		fmt.Fprintf(&out, "%06x  % x  |%s|\n", at, line, text)
	}
	fmt.Fprintf(&out, "%06x  end\n", len(b))
	return out.String()
}

func latin1(b []byte) []rune {
	r := make([]rune, len(b))
	for i, c := range b {
		r[i] = rune(c)
	}
	return r
}

func FuzzDecodeRecord(f *testing.F) {
	f.Add(appendRecord(nil, entry(1, 30), 7, 0), uint32(7))
	f.Add(appendRecord(nil, &raft.Log{Index: 9, Extensions: []byte("x")}, 0, 64), uint32(0))
	f.Add([]byte{}, uint32(0))
	f.Fuzz(func(t *testing.T, b []byte, salt uint32) {
		r, err := decodeRecord(b, salt)
		if err != nil {
			return
		}
		var l raft.Log
		r.entry(&l)
		again := appendRecord(nil, &l, salt, r.writeStart)
		got, err := decodeRecord(again, salt)
		require.NoError(t, err)
		require.Equal(t, r.data, got.data)
		require.Equal(t, r.ext, got.ext)
		require.LessOrEqual(t, r.size, len(b))
	})
}
