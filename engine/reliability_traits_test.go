package engine

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"spoor/engine/event"
	"spoor/engine/traits"
	"spoor/internal/vfs"
)

// said is an identify call as the model keeps it.
type said struct {
	user, anon string
	at         int64
	traits     map[string]any
}

// identifyEntry is the entry of one call; traits is a JSON object or empty.
func identifyEntry(user, anon string, at int64, object string) logEntry {
	e := logEntry{user: user, anon: anon, said: said{user: user, anon: anon, at: at}}
	call := traits.Call{Time: at}
	if user != "" {
		call.UserID = []byte(user)
	}
	if anon != "" {
		call.AnonymousID = []byte(anon)
	}
	if object != "" {
		if err := json.Unmarshal([]byte(object), &e.said.traits); err != nil {
			panic(err)
		}
		c, rej := event.NewDecoder(event.DefaultLimits()).Identify([]byte(`{"userId":"x","traits":` + object + `}`))
		if rej != nil {
			panic(rej)
		}
		call.Traits = c.Traits
	}
	e.data = IdentifyEntry(call)
	return e
}

// identify is a random call: with one id or both, with traits or without, of few
// times so that they tie and come in any order.
func (s *scripter) identify(user, anon string) logEntry {
	switch s.rng.IntN(4) {
	case 0:
		user = ""
	case 1:
		anon = ""
	}
	return identifyEntry(user, anon, scriptStart+int64(s.rng.IntN(5)), []string{
		``, `{}`, `{"plan":"free"}`, `{"plan":"pro","seats":3}`, `{"plan":null}`, `{"seats":9007199254740993,"admin":true}`,
		`{"address":{"city":"Berlin","zip":"10115"}}`, `{"address":{"city":"Oslo","geo":{"lat":59.9}}}`, `{"address":"unknown"}`, `{"address":{}}`,
		`{"tags":["a",{"b":1}],"":1,"a.b":2,"a":{"b":3}}`, ``, `{"admin":false,"plan":{"name":"team"}}`,
	}[s.rng.IntN(13)])
}

// traitsOf is what the model knows of everybody, by name.
func (m *naive) traitsOf() map[string]map[string]any {
	calls := slices.Clone(m.said)
	slices.SortStableFunc(calls, func(a, b said) int { return cmp.Compare(a.at, b.at) })
	out := map[string]map[string]any{}
	for _, c := range calls {
		person := m.person(&testEvent{user: c.user, anon: c.anon})
		if len(c.traits) > 0 && out[person] == nil {
			out[person] = map[string]any{}
		}
		maps.Copy(out[person], c.traits)
	}
	return out
}

func checkTraits(t testing.TB, db *DB, m *naive) {
	t.Helper()
	v, err := db.View()
	require.NoError(t, err)
	defer v.Release()
	want := m.traitsOf()
	plan := v.Identity.Trait("plan")
	for p := range uint32(v.Identity.Persons()) {
		var got map[string]any
		require.NoError(t, json.Unmarshal(event.AppendObject(nil, v.Identity.Traits(p)), &got))
		name := v.Identity.Name(p)
		if want[name] == nil {
			require.Empty(t, got, "traits of %s", name)
			continue
		}
		require.Equal(t, want[name], got, "traits of %s", name)
		if text, ok := want[name]["plan"].(string); ok {
			require.Equal(t, text, string(plan.Values[plan.Codes[p]-1].Text))
		}
	}
}

func TestChainsOfAliasesOverIdsThatAreUsersAndAnonymousAgreeWithTheModel(t *testing.T) {
	for seed := range uint64(rounds(40, 2000)) {
		s := newScripter(7000 + seed)
		m, db := newNaive(), memStore(t, vfs.NewMem(), Options{})
		for i := range 60 {
			a, b := s.pick("id", 6), s.pick("id", 6) // one pool: a userId here is an anonymousId there
			switch e := (testEvent{id: fmt.Sprint("e", i), name: "e", time: scriptStart + int64(i)}); s.rng.IntN(4) {
			case 0:
				s.entries = append(s.entries, identifyEntry(a, b, 0, "")) // alias b to a
			case 1:
				e.user = a
				s.batch([]testEvent{e})
			case 2:
				e.anon = a
				s.batch([]testEvent{e})
			default:
				e.user, e.anon = a, b
				s.batch([]testEvent{e})
			}
			require.Equal(t, m.apply(&s.entries[i]), applyEntry(db, s.entries, i))
			_, err := step(context.Background(), db, s.rng)
			require.NoError(t, err)
		}
		checkRows(t, db, m, true)
		require.NoError(t, db.Close())
	}
}
