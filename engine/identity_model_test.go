package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"spoor/internal/vfs"
)

// history builds a log of single events and links from a short text: "a1" is an
// event of an anonymousId, "u1" of a user, "u1+a1" of both, "u1=a1" an identify entry.
func history(s *scripter, steps ...string) []logEntry {
	for i, step := range steps {
		var a, b string
		var sep byte
		for j := range step {
			if step[j] == '+' || step[j] == '=' {
				a, b, sep = step[:j], step[j+1:], step[j]
			}
		}
		e := testEvent{id: fmt.Sprintf("event-%d-%d", len(s.entries), i), name: "e", time: scriptStart + int64(i)}
		switch {
		case sep == '=':
			s.entries = append(s.entries, identifyEntry(a, b, 0, ""))
			continue
		case sep == '+':
			e.user, e.anon = a, b
		case step[0] == 'u':
			e.user = step
		default:
			e.anon = step
		}
		s.batch([]testEvent{e})
	}
	return s.entries
}

func TestWhoIsWhoInTheHistoriesThatMatter(t *testing.T) {
	for name, c := range map[string]struct {
		steps []string
		want  []string // the person of each event
	}{
		"a login names what came before":                {[]string{"a1", "a1", "u1+a1", "a1", "u1"}, []string{"u1", "u1", "u1", "u1", "u1"}},
		"a shared device stays with its first user":     {[]string{"a1", "u1+a1", "a1", "u2+a1", "a1", "u2"}, []string{"u1", "u1", "u1", "u2", "u1", "u2"}},
		"a user with five devices":                      {[]string{"a1", "a2", "a3", "u1+a1", "u1+a2", "a4", "u1+a3", "u1=a4", "u1=a5", "a5", "a2"}, []string{"u1", "u1", "u1", "u1", "u1", "u1", "u1", "u1", "u1"}},
		"a link before the first event":                 {[]string{"u1=a1", "a1", "u1"}, []string{"u1", "u1"}},
		"a link to a user that had events":              {[]string{"u1", "a1", "u1=a1", "a1"}, []string{"u1", "u1", "u1"}},
		"the first link stands":                         {[]string{"u1=a1", "u2=a1", "a1", "u2+a1", "a1"}, []string{"u1", "u2", "u1"}},
		"two users are never one":                       {[]string{"u1+a1", "u2+a2", "u1+a2", "u2+a1", "a1", "a2"}, []string{"u1", "u2", "u1", "u2", "u1", "u2"}},
		"two devices that meet at a login":              {[]string{"a1", "u1+a2", "a2", "u1+a1", "a1"}, []string{"u1", "u1", "u1", "u1", "u1"}},
		"nobody is linked":                              {[]string{"a1", "a2", "a1"}, []string{"a1", "a2", "a1"}},
		"a second user comes first to a shared device":  {[]string{"u2", "a1", "u2+a1", "u1+a1", "a1"}, []string{"u2", "u2", "u2", "u1", "u2"}},
		"a device that is linked before its own events": {[]string{"u1", "u1=a1", "u2+a1", "a1"}, []string{"u1", "u2", "u1"}},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			log := history(newScripter(1), c.steps...)
			m := modelAt(log, uint64(len(log)))
			var got []string
			for i := range log {
				for _, e := range log[i].events {
					got = append(got, m.person(&e))
				}
			}
			require.Equal(t, c.want, got, "the model")
			// Flushed or merged after no step, after each, or after one of them.
			for after := -1; after <= len(log); after++ {
				for _, do := range []func(db *DB) error{
					func(db *DB) error { _, err := db.Checkpoint(ctx); return err },
					func(db *DB) error { return db.Compact(ctx) },
				} {
					mem := vfs.NewMem()
					db := memStore(t, mem, Options{})
					for i := range log {
						applyEntry(db, log, i)
						if i == after || after == len(log) {
							require.NoError(t, do(db))
						}
					}
					check(t, db, m)
					require.NoError(t, do(db))
					check(t, db, m)
					require.NoError(t, db.Close())
					db = memStore(t, mem, Options{})
					check(t, db, m)
					require.NoError(t, db.Close())
				}
			}
		})
	}
}

func TestRandomHistoriesOfWhoIsWhoAgreeWithRewritingEveryRow(t *testing.T) {
	ctx := context.Background()
	for seed := range uint64(rounds(30, 3000)) {
		rng := rand.New(rand.NewPCG(seed, 60))
		users, anons := 1+rng.IntN(6), 1+rng.IntN(60) // up to more devices than a short reference reaches
		var steps []string
		for range 100 + rng.IntN(150) {
			u, a := fmt.Sprint("u", rng.IntN(users)), fmt.Sprint("a", rng.IntN(anons))
			switch rng.IntN(6) {
			case 0:
				steps = append(steps, u)
			case 1:
				steps = append(steps, u+"+"+a)
			case 2:
				steps = append(steps, u+"="+a)
			default:
				steps = append(steps, a)
			}
		}
		log := history(newScripter(seed), steps...)
		m, mem := newNaive(), vfs.NewMem()
		db := memStore(t, mem, randomOptions(rng))
		for i := range log {
			m.apply(&log[i])
			applyEntry(db, log, i)
			if rng.IntN(4) == 0 {
				_, err := step(ctx, db, rng)
				require.NoError(t, err)
			}
			if rng.IntN(60) == 0 {
				db = reopen(t, mem, db, log, i+1, rng)
			}
			if rng.IntN(40) == 0 {
				check(t, db, m)
			}
		}
		check(t, db, m)
		finds(t, db, m)
		require.NoError(t, db.Compact(ctx))
		check(t, db, m)
		untouched(t, db)
		require.NoError(t, db.Close())
		db = memStore(t, mem, Options{})
		check(t, db, m)
		finds(t, db, m)
		require.NoError(t, db.Close())
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// finds asks for the person of every id.
func finds(t *testing.T, db *DB, m *naive) {
	t.Helper()
	v, err := db.View()
	require.NoError(t, err)
	defer v.Release()
	for _, e := range m.events {
		id := e.user
		if id == "" {
			id = e.anon
		}
		p, ok := v.Identity.Find(id)
		require.True(t, ok)
		require.Equal(t, m.person(&e), v.Identity.Name(p))
	}
	_, ok := v.Identity.Find("nobody")
	require.False(t, ok)
}

// untouched checks that after Compact no file names a person that was merged.
func untouched(t *testing.T, db *DB) {
	t.Helper()
	v, err := db.View()
	require.NoError(t, err)
	defer v.Release()
	for _, r := range v.Segments {
		for i := range r.Sections() {
			touched, err := v.Identity.Touched(&r.Sections()[i])
			require.NoError(t, err)
			require.False(t, touched, "%s", r.Name())
		}
	}
}
