package spool

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func options(dir string) Options {
	return Options{Dir: dir, MaxBytes: 4 << 20, MaxLine: 512 << 10, Sync: time.Hour, Changed: func() {}, Log: slog.New(slog.DiscardHandler)}
}

func open(t testing.TB, dir string, change ...func(*Options)) *Spool {
	t.Helper()
	o := options(dir)
	for _, c := range change {
		c(&o)
	}
	s, err := Open(o)
	require.NoError(t, err)
	return s
}

func push(t testing.TB, s *Spool, lines ...string) {
	t.Helper()
	for _, line := range lines {
		w := s.Push([]byte(line))
		<-w.Done
		require.NoError(t, w.Err)
	}
}

// takeAll takes and settles everything, in batches of n lines.
func takeAll(s *Spool, n int) (lines []string, damaged int) {
	for {
		batch, bad := s.Take(nil, n, 1<<20)
		damaged += bad
		for _, line := range batch {
			lines = append(lines, string(line))
		}
		s.Settle()
		if len(batch) == 0 {
			return lines, damaged
		}
	}
}

func numbered(from, to int) (lines []string) {
	for i := from; i < to; i++ {
		lines = append(lines, fmt.Sprintf(`{"n":%d}`, i))
	}
	return lines
}

func TestLinesComeOutInTheOrderOfTheirComing(t *testing.T) {
	s := open(t, t.TempDir())
	push(t, s, numbered(0, 100)...)
	first, damaged := s.Take(nil, 30, 1<<20)
	require.Len(t, first, 30)
	require.Zero(t, damaged)
	waiting, taken, _ := s.Size()
	require.Equal(t, []int64{70, 30}, []int64{waiting, taken})
	s.Settle()
	rest, _ := takeAll(s, 7)
	require.Equal(t, numbered(30, 100), rest)
	waiting, taken, unread := s.Size()
	require.Equal(t, []int64{0, 0, 0}, []int64{waiting, taken, unread})
	require.NoError(t, s.Close())
}

func TestABatchEndsAtItsBytesButHasALineAtLeast(t *testing.T) {
	s := open(t, t.TempDir())
	push(t, s, strings.Repeat("a", 500), strings.Repeat("b", 500), strings.Repeat("c", 300<<10))
	for _, want := range []int{500, 500, 300 << 10} {
		batch, _ := s.Take(nil, 10, 999)
		require.Len(t, batch, 1)
		require.Len(t, batch[0], want)
		s.Settle()
	}
	require.NoError(t, s.Close())
}

func TestWhatWasNotSettledComesBackAndNothingElse(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	push(t, s, numbered(0, 10)...)
	s.Take(nil, 4, 1<<20)
	s.Settle()
	s.Take(nil, 3, 1<<20) // and is not settled
	require.NoError(t, s.Close())

	s = open(t, dir)
	require.Equal(t, 6, s.Found())
	push(t, s, numbered(10, 12)...)
	lines, _ := takeAll(s, 100)
	require.Equal(t, numbered(4, 12), lines)
	require.NoError(t, s.Close())
	require.Empty(t, segmentFiles(t, dir), "what is settled needs no file")

	s = open(t, dir)
	require.Zero(t, s.Found())
	require.NoError(t, s.Close())
}

func segmentFiles(t testing.TB, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
	require.NoError(t, err)
	return files
}

func TestOneDirectoryIsForOneClient(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	_, err := Open(options(dir))
	require.ErrorIs(t, err, ErrInUse)
	require.NoError(t, s.Close())
	require.NoError(t, open(t, dir).Close())
}

func TestAFormatOfTheFutureIsNotTouched(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "0000000000000001"+suffix)
	require.NoError(t, os.WriteFile(path, []byte("spoor-spool 2 0123456789abcdef\nwhatever\n"), 0o600))
	_, err := Open(options(dir))
	require.ErrorContains(t, err, `format "2"`)
	require.FileExists(t, path)
}

// killed is the directory as a process that was killed leaves it: without the
// lock's owner, cut at any byte.
func killed(t testing.TB, segment []byte) string {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "0000000000000001"+suffix), segment, 0o600))
	return dir
}

// aSegment returns the bytes of a segment with the lines.
func aSegment(t testing.TB, lines ...string) []byte {
	dir := t.TempDir()
	s := open(t, dir)
	push(t, s, lines...)
	text, err := os.ReadFile(segmentFiles(t, dir)[0])
	require.NoError(t, err)
	takeAll(s, 100)
	require.NoError(t, s.Close())
	return text
}

func TestASegmentCutAtAnyByteKeepsItsWholeLines(t *testing.T) {
	text := aSegment(t, numbered(0, 5)...)
	for size := range len(text) + 1 {
		dir := killed(t, text[:size])
		s := open(t, dir)
		push(t, s, "new")
		lines, damaged := takeAll(s, 100)
		whole := max(bytes.Count(text[:size], []byte{'\n'})-1, 0)
		require.Equal(t, append(numbered(0, whole), "new"), lines, "cut at %d", size)
		require.Zero(t, damaged, "cut at %d", size)
		require.NoError(t, s.Close())
	}
}

func TestADamagedByteCostsItsLineAndIsCounted(t *testing.T) {
	text := aSegment(t, numbered(0, 5)...)
	for at := range text {
		for _, bit := range []byte{1, 0x80} {
			bad := bytes.Clone(text)
			bad[at] ^= bit
			if strings.HasPrefix(string(bad), headerPrefix) && !strings.HasPrefix(string(bad), headerPrefix+version+" ") {
				continue // it reads as a format of the future
			}
			s := open(t, killed(t, bad))
			lines, damaged := takeAll(s, 100)
			require.NoError(t, s.Close())
			for _, line := range lines {
				require.Contains(t, numbered(0, 5), line)
			}
			require.GreaterOrEqual(t, len(lines), 3, "byte %d", at)
			if at >= headerBytes && len(lines) < 5 && at < len(text)-1 {
				require.Positive(t, damaged, "byte %d", at)
			}
		}
	}
}

func TestZeroesBehindTheEndAreNoLines(t *testing.T) {
	s := open(t, killed(t, append(aSegment(t, numbered(0, 3)...), make([]byte, 4096)...)))
	lines, damaged := takeAll(s, 100)
	require.Equal(t, numbered(0, 3), lines)
	require.Zero(t, damaged)
	require.NoError(t, s.Close())
}

func TestALineLongerThanAnyCanBeIsPassedOver(t *testing.T) {
	text := aSegment(t, "before")
	text = append(text, bytes.Repeat([]byte{'x'}, 3<<20)...)
	text = append(append(text, '\n'), aSegment(t, "behind")[headerBytes:]...)
	s := open(t, killed(t, text))
	lines, damaged := takeAll(s, 100)
	require.Equal(t, []string{"before", "behind"}, lines)
	require.Equal(t, 1, damaged)
	require.NoError(t, s.Close())
}

func TestACursorThatIsDamagedOrOfAnotherSegmentIsNotBelieved(t *testing.T) {
	text := aSegment(t, numbered(0, 3)...)
	for name, cursor := range map[string]string{
		"empty": "", "garbage": strings.Repeat("x", 43), "other": string(cursorText("0123456789abcdef", 60)),
		"cut": string(cursorText(string(text[14:30]), 60)[:40]),
	} {
		dir := killed(t, text)
		require.NoError(t, os.WriteFile(filepath.Join(dir, cursorName), []byte(cursor), 0o600))
		s := open(t, dir)
		require.Equal(t, 3, s.Found(), name)
		require.NoError(t, s.Close())
	}
}

func TestTheOldestSegmentGivesWayAndItsFileGoes(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	line := strings.Repeat("x", 100<<10)
	n := 0
	for ; ; n++ {
		if ok, drop := s.Room(len(line)); !ok {
			require.True(t, drop)
			break
		}
		push(t, s, line)
	}
	require.InDelta(t, 40, n, 1, "as many as fit 4 MiB")
	batch, _ := s.Take(nil, 2, 1<<20)
	require.Len(t, batch, 2)
	dropped, ok := s.DropOldest()
	require.True(t, ok)
	require.InDelta(t, 3, dropped, 1, "a segment is 512 KiB, and two are being sent")
	s.Settle()
	ok, _ = s.Room(len(line))
	require.True(t, ok)
	rest, _ := takeAll(s, 100)
	require.Len(t, rest, n-2-dropped)
	require.NoError(t, s.Close())
	require.Empty(t, segmentFiles(t, dir))
}

func TestADiskThatRefusesIsToldAndTheSpoolGoesOnWhenItCan(t *testing.T) {
	if os.Getuid() == 0 {
		t.Log("root may write anywhere; the directory is taken away instead")
	}
	dir := filepath.Join(t.TempDir(), "spool")
	s := open(t, dir)
	require.NoError(t, os.Rename(dir, dir+".away"))
	w := s.Push([]byte("lost"))
	<-w.Done
	require.Error(t, w.Err)
	require.False(t, w.Kept)
	waiting, _, unread := s.Size()
	require.Zero(t, waiting+unread)
	require.NoError(t, os.Rename(dir+".away", dir))
	push(t, s, "kept")
	lines, _ := takeAll(s, 10)
	require.Equal(t, []string{"kept"}, lines)
	require.NoError(t, s.Close())
}

// A spool that is pushed to, taken from, settled, dropped from, closed and
// opened again in any order behaves as a list does.
func TestItBehavesAsAList(t *testing.T) {
	for seed := range uint64(24) {
		random := rand.New(rand.NewPCG(seed, 7))
		dir := t.TempDir()
		sync := []time.Duration{-1, time.Hour, time.Millisecond}[seed%3]
		s := open(t, dir, func(o *Options) { o.Sync = sync })
		var list []string // pushed and neither settled nor dropped
		taken, next := 0, 0
		gone := false // the segment of what is taken was dropped: it does not come back
		for range 300 {
			switch random.IntN(10) {
			case 0:
				require.NoError(t, s.Close())
				s = open(t, dir, func(o *Options) { o.Sync = sync })
				if gone {
					list, gone = list[taken:], false
				}
				require.Equal(t, len(list), s.Found())
				taken = 0
			case 1, 2, 3:
				if taken == 0 {
					batch, damaged := s.Take(nil, 1+random.IntN(20), 1+random.IntN(1<<20))
					require.Zero(t, damaged)
					taken = len(batch)
					for i, line := range batch {
						require.Equal(t, list[i], string(line))
					}
				}
			case 4, 5:
				s.Settle()
				list, taken, gone = list[taken:], 0, false
			case 6:
				if random.IntN(4) == 0 {
					if n, ok := s.DropOldest(); ok {
						list, gone = slices.Delete(list, taken, taken+n), taken > 0
					}
				}
			default:
				line := fmt.Sprintf(`{"n":%d,"text":"%s"}`, next, strings.Repeat("x", random.IntN(60<<10)))
				next++
				if ok, _ := s.Room(len(line)); ok {
					push(t, s, line)
					list = append(list, line)
				}
			}
			waiting, flying, _ := s.Size()
			require.Equal(t, []int{len(list) - taken, taken}, []int{int(waiting), int(flying)}, "seed %d", seed)
		}
		require.NoError(t, s.Close())
	}
}

// Whatever a segment holds, it opens, what comes out has its checksum, and the
// counts come to zero.
func FuzzASegmentOfAnyBytes(f *testing.F) {
	text := aSegment(f, numbered(0, 4)...)
	f.Add(text)
	f.Add(text[:len(text)-3])
	f.Add(text[headerBytes:])
	f.Add(append(bytes.Clone(text), "\n\n\x00zzzzzzzz {}\n"...))
	f.Fuzz(func(t *testing.T, text []byte) {
		dir := killed(t, text)
		s, err := Open(options(dir))
		if err != nil {
			require.ErrorContains(t, err, "format")
			return
		}
		lines, _ := takeAll(s, 3)
		for _, line := range lines {
			require.Contains(t, string(text), string(appendChecksum(nil, []byte(line)))+line+"\n")
		}
		waiting, taken, unread := s.Size()
		require.Zero(t, waiting+taken+unread)
		require.NoError(t, s.Close())
		require.Empty(t, segmentFiles(t, dir))
	})
}
