package identity

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

var secret = []byte("0123456789abcdef")

// state is what a map says of everybody.
func state(x *Map) (out []string) {
	x.Each(func(kind byte, id []byte, name string) { out = append(out, fmt.Sprintf("%c %s is %s", kind, id, name)) })
	slices.Sort(out)
	for p := range x.canon {
		out = append(out, fmt.Sprintf("%d is %d, user %d, gone %v, nameless %v, ids %v", p, x.canon[p], x.personUser[p], x.gone.Contains(uint32(p)), x.nameless.Contains(uint32(p)), x.personHead[p] != 0))
	}
	return append(out, fmt.Sprintf("%d refused, %d merges", len(x.refused), x.merges))
}

// random makes a history of frames and tells which ids were erased and did not come again.
func random(r *rand.Rand) (x *Map, file []byte, gone map[string]bool) {
	x, gone = New(secret), map[string]bool{}
	file = Head()
	id := func(kind string) []byte { return fmt.Appendf(nil, "%s-%d-id", kind, r.IntN(12)) }
	for range 1 + r.IntN(6) {
		for range r.IntN(30) {
			if r.IntN(8) > 0 {
				var user, anon []byte
				if k := r.IntN(3); k > 0 {
					user = id("user")
					delete(gone, string(user))
				} else {
					anon = id("anon")
				}
				if anon == nil && r.IntN(2) == 0 {
					anon = id("anon")
				}
				delete(gone, string(anon))
				if user != nil || anon != nil {
					x.Observe(user, anon)
				}
				continue
			}
			who := id([]string{"user", "anon"}[r.IntN(2)])
			if r.IntN(4) == 0 {
				x.Allow(who)
				continue
			}
			mode := Mode(1 + r.IntN(3))
			e := x.Erase(who, mode)
			if mode != Events {
				for _, t := range append(e.Anons, e.User) {
					gone[string(t)] = true
				}
			}
		}
		file = append(file, Frame(x.Take())...)
	}
	delete(gone, "")
	return x, file, gone
}

func TestAFileGivesTheStateBackAndWrittenAnewItNamesNobodyWhoWasErased(t *testing.T) {
	erased := 0
	for seed := range uint64(500) {
		want, file, gone := random(rand.New(rand.NewPCG(seed, 1)))
		back := New(secret)
		require.NoError(t, back.Load(file))
		require.Equal(t, state(want), state(back), "seed %d", seed)

		anew, err := Rewrite(file)
		require.NoError(t, err)
		again := New(secret)
		require.NoError(t, again.Load(anew))
		require.Equal(t, state(want), state(again), "seed %d, written anew", seed)
		for id := range gone {
			erased++
			require.False(t, bytes.Contains(anew, []byte(id)), "seed %d: %s", seed, id)
		}
		twice, err := Rewrite(anew)
		require.NoError(t, err)
		require.Equal(t, anew, twice)
	}
	require.Greater(t, erased, 300, "the test must be able to fail")
}

func TestARefusedIdIsRefusedByAnotherSecretToo(t *testing.T) {
	for _, s := range [][]byte{secret, []byte("another secret ")} {
		x := New(s)
		x.Observe([]byte("u"), []byte("a"))
		require.True(t, x.Erase([]byte("u"), Person).Known)
		require.True(t, x.Refused([]byte("u"), nil))
		require.True(t, x.Refused(nil, []byte("a")))
		require.False(t, x.Refused([]byte("other"), []byte("a")), "another user on the device")
		require.False(t, x.Refused(nil, []byte("u")), "an anonymousId is no userId")
		require.True(t, x.Allow([]byte("u")))
		require.False(t, x.Refused([]byte("u"), nil))
		require.False(t, x.Allow([]byte("u")))
	}
}

func TestIdsThatAnotherStoreRefusedAreRefusedUntilTheyAreAllowed(t *testing.T) {
	before := New([]byte("the store before"))
	before.Observe([]byte("u"), []byte("a"))
	before.Observe([]byte("v"), nil)
	before.Erase([]byte("u"), Person)
	before.Erase([]byte("v"), Person)
	before.Erase([]byte("nobody"), Person)

	x := New(secret)
	file := Head()
	checkpoint := func() { file = append(file, Frame(x.Take())...) }
	for range 2 { // taken over twice is taken over once
		for _, r := range before.Refusals() {
			read, rest, err := ReadRefusals(AppendRefusals(nil, &r))
			require.NoError(t, err)
			require.Empty(t, rest)
			require.NoError(t, x.Refuse(read))
		}
	}
	checkpoint()
	x.Observe([]byte("wanda-4711"), nil)
	x.Erase([]byte("wanda-4711"), Person)
	check := func(x *Map, vRefused bool) {
		t.Helper()
		require.True(t, x.Refused([]byte("u"), []byte("other")))
		require.True(t, x.Refused(nil, []byte("a")))
		require.True(t, x.Refused(nil, []byte("nobody")))
		require.True(t, x.Refused([]byte("wanda-4711"), nil))
		require.False(t, x.Refused([]byte("other"), []byte("a")))
		require.Equal(t, vRefused, x.Refused([]byte("v"), nil))
	}
	check(x, true)
	require.Equal(t, before.RefusedCount()+1, x.RefusedCount())
	require.True(t, x.Allow([]byte("v")))
	require.False(t, x.Allow([]byte("v")))
	checkpoint()
	check(x, false)

	anew, err := Rewrite(file)
	require.NoError(t, err)
	require.NotContains(t, string(anew), "wanda", "its id goes")
	for _, b := range [][]byte{file, anew} {
		y := New(secret)
		require.NoError(t, y.Load(b))
		check(y, false)
		require.Equal(t, x.Refusals(), y.Refusals())
	}

	third := New([]byte("a third one")) // rebuilt of what was rebuilt
	for _, r := range x.Refusals() {
		require.NoError(t, third.Refuse(r))
	}
	check(third, false)
	for i := range MaxForeign - 2 {
		require.NoError(t, third.Refuse(Refusals{Secret: []byte{byte(i)}}))
	}
	require.ErrorIs(t, third.Refuse(Refusals{Secret: []byte("one too many")}), ErrTooManySecrets)
	require.NoError(t, third.Refuse(Refusals{Secret: []byte{0}}))
}

func FuzzLoad(f *testing.F) {
	f.Add(append(Head(), Frame(AppendRefusals([]byte{0, 0, opRefuse}, &Refusals{Secret: secret, Hashes: [][hashBytes]byte{{1}}}))...))
	for seed := range uint64(20) {
		_, file, _ := random(rand.New(rand.NewPCG(seed, 2)))
		f.Add(file)
	}
	f.Fuzz(func(t *testing.T, ops []byte) {
		_ = New(secret).Load(ops) // as a file: its sums will not fit
		file := append(Head(), Frame(ops)...)
		x := New(secret)
		if x.Load(file) != nil {
			return
		}
		anew, err := Rewrite(file)
		require.NoError(t, err)
		y := New(secret)
		require.NoError(t, y.Load(anew))
		require.Equal(t, state(x), state(y))
	})
}
