package datadir_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"spoor/cluster/datadir"
	"spoor/internal/vfs"
)

// damageOffsets is at how many places of each file each kind of damage is tried;
// make soak tries more.
func damageOffsets(t testing.TB) int {
	text := os.Getenv("SPOOR_DAMAGE_OFFSETS")
	switch {
	case text == "" && os.Getenv("SOAK") != "":
		return 200
	case text == "" && raceEnabled: // which sees nothing new in repetitions
		return 15
	case text == "":
		return 50
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err)
	return n
}

// damages make a damaged copy of a file. Each changes at least one byte.
var damages = map[string]func(r *rand.Rand, b []byte, at int) []byte{
	"torn": func(_ *rand.Rand, b []byte, at int) []byte { return b[:at] },
	"flipped": func(r *rand.Rand, b []byte, at int) []byte {
		b[at] ^= 1 << r.IntN(8)
		return b
	},
	"zeroed": func(_ *rand.Rand, b []byte, at int) []byte {
		for at > 0 && b[at] == 0 {
			at--
		}
		clear(b[at:min(at+64, len(b))])
		return b
	},
}

// typeOf is what a file is, by its name.
func typeOf(name string) string {
	base := filepath.Base(name)
	if strings.HasPrefix(base, "snapshot-") {
		return "snapshot"
	}
	if ext := filepath.Ext(base); ext != "" {
		return ext
	}
	return base
}

// TestDamageIsNoticedAndNeverServed damages every file of a data directory in
// every way at many places. Verify tells of it, as a problem or as a note that names the
// file; a start is refused, a read fails, or all that is served is what was stored.
func TestDamageIsNoticedAndNeverServed(t *testing.T) {
	dir, _ := killed(t)
	n := mustStart(t, dir, "n1") // and ended, so that there are two snapshots and filters
	n.events(650, 690, "")
	n.checkpoint()
	n.events(690, 700, "")
	served, err := n.served()
	require.NoError(t, err)
	dir = image(t, dir)
	n.close()

	files, types := contents(t, dir), map[string]bool{}
	for name := range files {
		types[typeOf(name)] = true
	}
	for _, kind := range []string{"MANIFEST", ".seg", ".identity", ".traits", ".docs", ".bloom", "meta", "mark", "vote", ".log", "snapshot"} {
		require.True(t, types[kind], "no file of the type %s", kind)
	}
	for name, content := range files {
		rel, err := filepath.Rel(dir, name)
		require.NoError(t, err)
		t.Run(strings.ReplaceAll(rel, "/", "_"), func(t *testing.T) {
			t.Parallel()
			s := &sweep{t: t, dir: image(t, dir), rel: rel, content: content, served: served}
			s.missing()
			for kind := range damages {
				s.kind(kind, damageOffsets(t))
			}
			t.Logf("%d damages: %d problems, %d notes, %d of them started: %d refused, %d served all", s.tried, s.problems, s.notes, s.refused+s.same, s.refused, s.same)
		})
	}
}

type sweep struct {
	t                   *testing.T
	dir, rel            string
	content, served     string
	tried               int
	problems, notes     int
	refused, same       int
	startsOfKindAndFate map[string]int
}

func (s *sweep) kind(kind string, offsets int) {
	r := rand.New(rand.NewPCG(uint64(len(s.content)), uint64(len(s.rel))))
	length := len(strings.TrimRight(s.content, "\x00")) // behind it a log file is empty
	for i := range offsets {
		at := r.IntN(length)
		if i < 2 {
			at = []int{0, length - 1}[i]
		}
		damaged := damages[kind](r, []byte(s.content), at)
		if string(damaged) == s.content {
			continue
		}
		s.try(fmt.Sprintf("%s at %d of %d", kind, at, len(s.content)), kind, damaged)
	}
}

// try damages the file, verifies, and starts a node on it: always when Verify
// saw no problem, else a few times per kind.
func (s *sweep) try(what, kind string, damaged []byte) {
	t := s.t
	t.Helper()
	s.tried++
	name := filepath.Join(s.dir, s.rel)
	require.NoError(t, os.WriteFile(name, damaged, 0o600))
	defer func() { require.NoError(t, os.WriteFile(name, []byte(s.content), 0o600)) }()
	report, err := datadir.Verify(context.Background(), vfs.OS(), s.dir, nil)
	require.NoError(t, err, what)
	noted := strings.Contains(strings.Join(report.Notes, "\n"), filepath.Base(s.rel)) || typeOf(s.rel) == ".bloom" && len(report.Notes) > 0
	fate := "problem"
	switch {
	case len(report.Problems) > 0:
		s.problems++
	case noted:
		fate = "note"
		s.notes++
	default:
		t.Errorf("%s: %s was not noticed: %v", s.rel, what, report.Notes)
	}
	if s.startsOfKindAndFate == nil {
		s.startsOfKindAndFate = map[string]int{}
	}
	if s.startsOfKindAndFate[kind+fate]++; s.startsOfKindAndFate[kind+fate] <= 3 {
		s.start(what)
	}
}

// start starts a node on a copy and holds what it serves against what was stored.
func (s *sweep) start(what string) {
	t := s.t
	t.Helper()
	n, err := start(t, image(t, s.dir), "n1")
	if err != nil {
		s.refused++
		return
	}
	got, err := n.served()
	_ = n.raft.Close(context.Background()) // its checkpoint may meet the damage too
	_ = n.db.Close()
	if err != nil {
		s.refused++
		return
	}
	s.same++
	require.Equal(t, s.served, got, "%s: %s was served", s.rel, what)
}

// missing removes the file. Filters are made again, and a snapshot may be missing as long as the log reaches back far enough.
func (s *sweep) missing() {
	t := s.t
	s.tried++
	name := filepath.Join(s.dir, s.rel)
	require.NoError(t, os.Remove(name))
	defer func() { require.NoError(t, os.WriteFile(name, []byte(s.content), 0o600)) }()
	report, err := datadir.Verify(context.Background(), vfs.OS(), s.dir, nil)
	require.NoError(t, err)
	before := s.refused
	s.start("missing")
	switch {
	case len(report.Problems) > 0:
		s.problems++
	case len(report.Notes) > 0:
		s.notes++
	default:
		require.Contains(t, []string{"snapshot", ".bloom"}, typeOf(s.rel), "it is missing and nobody noticed")
		require.Equal(t, before, s.refused)
	}
}
