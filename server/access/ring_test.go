package access_test

import (
	"bytes"
	"fmt"
	"math/rand"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/server/access"
)

// store is the log's documents as a node has applied them.
type store struct {
	mu      sync.Mutex
	changed uint64
	docs    map[string]access.Stored
}

func newStore() *store { return &store{docs: map[string]access.Stored{}} }

func (s *store) Changed() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

func (s *store) Keys() (out []access.Stored) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.docs {
		out = append(out, d)
	}
	return out
}

func (s *store) put(name string, value []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed++
	s.docs[name] = access.Stored{Name: name, Value: value, Index: s.changed}
}

func (s *store) remove(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed++
	delete(s.docs, name)
}

var made = time.Date(2026, 5, 2, 12, 0, 0, 0, time.UTC)

func webKey() access.Key {
	return access.Key{
		Name: "web-write", Role: access.Write, Source: "web", Made: made,
		Origins: []string{"https://shop.example"}, Events: []string{"page_*"}, Rate: 100, AddressRate: 2.5,
	}
}

// counting is a source of bytes that a test knows.
type counting byte

func (c *counting) Read(p []byte) (int, error) {
	for i := range p {
		*c++
		p[i] = byte(*c)
	}
	return len(p), nil
}

// The document of a key is a format on disk: it may gain members and versions,
// and what was written stays readable.
func TestTheDocumentOfAKeyIsPinned(t *testing.T) {
	_, text, name, value, err := access.New(webKey(), new(counting))
	require.NoError(t, err)
	require.Equal(t, "spoor_w_AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA", text)
	require.Equal(t, "ec28b0f3daf04c022e0f38eae2ed2d37c7bb37698fd93babb27d5e6d24631810", name)
	require.Equal(t, `{"version":1,"name":"web-write","kind":"write","source":"web","made":"2026-05-02T12:00:00Z","origins":["https://shop.example"],"events":["page_*"],"rate":100,"address_rate":2.5}`, string(value))
}

func TestAKeyOfTheLogIsInForceWhenItIsAppliedAndNoMoreWhenItIsRevoked(t *testing.T) {
	s, r := newStore(), &access.Ring{}
	r.Attach(s)
	k, text, name, value, err := access.New(webKey(), rand.New(rand.NewSource(1)))
	require.NoError(t, err)
	require.NotContains(t, string(value), text[8:])
	require.NotContains(t, name, text[8:])
	s.put(name, value)
	got, v := r.Admit(access.Write, []byte(text))
	require.Equal(t, access.Granted, v)
	require.Equal(t, k.ID, got.ID)
	require.Equal(t, []string{"web", "web-write"}, []string{got.Source, got.Name})
	require.Equal(t, []float64{100, 2.5}, []float64{got.Rate, got.AddressRate})
	require.Equal(t, made, got.Made)
	_, v = r.Admit(access.Read, []byte(text))
	require.Equal(t, access.Denied, v)
	require.True(t, r.IsOpen(), "a write key alone closes nothing: nobody could open it again")
	_, v = r.Admit(access.Read)
	require.Equal(t, access.Granted, v)
	_, v = r.Admit(access.Read, []byte("another key"))
	require.Equal(t, access.Unknown, v)
	s.remove(name)
	require.Nil(t, r.ByID(k.ID))
	s.put(name[:63]+"0", value) // so that the ring is not empty
	_, v = r.Admit(access.Write, []byte(text))
	require.Equal(t, access.Unknown, v, "a revoked key stays out, also where keys are not asked for")
}

func TestTheFirstAdminKeyClosesTheDoor(t *testing.T) {
	s, r := newStore(), &access.Ring{}
	r.Attach(s)
	k, text, name, value, err := access.New(access.Key{Name: "ops", Role: access.Admin, Made: made}, rand.New(rand.NewSource(1)))
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(text, "spoor_a_"))
	s.put(name, value)
	require.False(t, r.IsOpen())
	_, v := r.Admit(access.Write)
	require.Equal(t, access.Missing, v)
	require.True(t, r.IsLastAdmin(r.ByID(k.ID)))
	require.NoError(t, r.CheckListen("0.0.0.0:80"))
}

func TestADocumentThatCannotBeReadIsNoKeyAndOpensNothing(t *testing.T) {
	s, r := newStore(), &access.Ring{}
	r.Attach(s)
	_, text, name, value, err := access.New(webKey(), rand.New(rand.NewSource(1)))
	require.NoError(t, err)
	for i, bad := range []string{"", "{}", `{"version":2}`, strings.Replace(string(value), "write", "super", 2), strings.Replace(string(value), "2026-05", "soon", 1)} {
		s.put(name, []byte(bad))
		_, v := r.Admit(access.Write, []byte(text))
		require.Equal(t, access.Unknown, v, i)
		keys, broken := r.List()
		require.Empty(t, keys)
		require.Len(t, broken, 1)
		require.False(t, r.Empty())
	}
}

func TestKeysOfOneNameAreListedOldestFirst(t *testing.T) {
	s, r := newStore(), &access.Ring{}
	r.Attach(s)
	random := rand.New(rand.NewSource(1))
	var ids []string
	for range 5 {
		k, _, name, value, err := access.New(webKey(), random)
		require.NoError(t, err)
		s.put(name, value)
		ids = append(ids, k.ID)
	}
	var got []string
	for _, k := range r.Live("web-write") {
		got = append(got, k.ID)
	}
	require.Equal(t, ids, got)
	require.Empty(t, r.Live("web"))
}

func TestTheAttributesOfAKeyAreChecked(t *testing.T) {
	for what, change := range map[string]func(*access.Key){
		"name has 1":         func(k *access.Key) { k.Name = "" },
		"name is UTF-8":      func(k *access.Key) { k.Name = "a\nb" },
		"source has":         func(k *access.Key) { k.Source = strings.Repeat("x", 65) },
		"needs a source":     func(k *access.Key) { k.Source = "" },
		"for write keys":     func(k *access.Key) { k.Role = access.Read },
		"kind":               func(k *access.Key) { k.Role = access.Open },
		"a rate":             func(k *access.Key) { k.Rate = -1 },
		"event pattern":      func(k *access.Key) { k.Events = []string{""} },
		"at most 64 origins": func(k *access.Key) { k.Origins = make([]string, 65) },
		"no origin":          func(k *access.Key) { k.Origins = []string{"shop.example"} },
	} {
		k := webKey()
		change(&k)
		require.ErrorContains(t, k.Check(), what)
		_, _, _, _, err := access.New(k, new(counting))
		require.ErrorContains(t, err, what)
	}
	k := webKey()
	require.NoError(t, k.Check())
}

func TestEventNamesAreMatchedByPattern(t *testing.T) {
	for _, c := range []struct {
		patterns, yes, no string
	}{
		{"page_viewed", "page_viewed", "page_view,page_viewed2,Page_viewed"},
		{"page_*", "page_,page_viewed", "page,xpage_"},
		{"*_viewed", "_viewed,page_viewed", "page_viewed_"},
		{"a*b*c", "abc,aXbXc,abbcbc", "ab,acb,abcX"},
		{"*", "a,b,", ""},
		{"**", "a,", ""},
		{"a|b*", "a,bc", "c"},
	} {
		k := access.Key{Events: strings.Split(c.patterns, "|")}
		for _, name := range strings.Split(c.yes, ",") {
			require.True(t, k.AllowsEvent([]byte(name)), "%s: %q", c.patterns, name)
		}
		for _, name := range strings.Split(c.no, ",") {
			require.Equal(t, c.no == "", k.AllowsEvent([]byte(name)), "%s: %q", c.patterns, name)
		}
	}
	require.True(t, (&access.Key{}).AllowsEvent([]byte("any")))
}

// Patterns are matched as a plain search by trying all would.
func FuzzEventPatterns(f *testing.F) {
	f.Add("a*b", "acb")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if len(pattern) > 12 || len(name) > 24 || pattern == "" {
			return
		}
		require.Equal(t, naive(pattern, name), (&access.Key{Events: []string{pattern}}).AllowsEvent([]byte(name)))
	})
}

func naive(p, t string) bool {
	switch {
	case p == "":
		return t == ""
	case p[0] == '*':
		return naive(p[1:], t) || t != "" && naive(p, t[1:])
	}
	return t != "" && p[0] == t[0] && naive(p[1:], t[1:])
}

func TestAPatternOfManyStarsTakesNoTime(t *testing.T) {
	k := access.Key{Events: []string{strings.Repeat("*a", 127) + "b"}}
	name := bytes.Repeat([]byte("a"), 256)
	begin := time.Now()
	for range 100 {
		require.False(t, k.AllowsEvent(name))
	}
	require.Less(t, time.Since(begin), time.Second)
}

func TestOriginsAreMatched(t *testing.T) {
	for _, c := range []struct{ pattern, yes, no string }{
		{"https://shop.example", "https://shop.example", "http://shop.example,https://shop.example:8443,https://a.shop.example,https://shop.example.evil,null,"},
		{"https://*.shop.example", "https://a.shop.example,https://a.b.shop.example", "https://shop.example,https://.shop.example,https://evilshop.example,https://evil/.shop.example,https://x@.shop.example"},
		{"http://localhost:3000", "http://localhost:3000", "http://localhost"},
	} {
		k := access.Key{Origins: []string{c.pattern}}
		for _, o := range strings.Split(c.yes, ",") {
			require.True(t, k.AllowsOrigin([]byte(o)), "%s: %s", c.pattern, o)
		}
		for _, o := range strings.Split(c.no, ",") {
			require.False(t, k.AllowsOrigin([]byte(o)), "%s: %s", c.pattern, o)
		}
	}
	for _, bad := range []string{"", "*", "shop.example", "https://", "https://Shop.example", "https://shop.example/", "https://a*.b", "https://x.*.b", "https://*", "https://a b"} {
		k := webKey()
		k.Origins = []string{bad}
		require.Error(t, k.Check(), bad)
	}
	require.Equal(t, "https://a.b", string(access.OriginOf(nil, []byte("https://a.b/c?d"))))
	require.Equal(t, "https://a.b", string(access.OriginOf(nil, []byte("https://a.b"))))
	require.Equal(t, "null", string(access.OriginOf([]byte("null"), []byte("https://a.b/"))))
	require.Empty(t, access.OriginOf(nil, nil))
}

func TestRevocationsAreSeenByAllWhileManyAsk(t *testing.T) {
	s, r := newStore(), &access.Ring{}
	r.Attach(s)
	random := rand.New(rand.NewSource(1))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				s.mu.Lock()
				k := webKey()
				_, text, name, value, err := access.New(k, random)
				s.mu.Unlock()
				if err != nil {
					t.Error(err)
					return
				}
				s.put(name, value)
				if k, _ := r.Identify([]byte(text)); k == nil {
					t.Error("a key that was applied is not known")
				}
				s.remove(name)
				if k, _ := r.Identify([]byte(text)); k != nil {
					t.Error("a key that was revoked is known")
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkAdmit(b *testing.B) {
	for _, keys := range []int{1, 10_000} {
		b.Run(fmt.Sprint(keys), func(b *testing.B) {
			s, r := newStore(), &access.Ring{}
			r.Attach(s)
			random := rand.New(rand.NewSource(1))
			var texts [][]byte
			for range keys {
				_, text, name, value, err := access.New(webKey(), random)
				require.NoError(b, err)
				s.put(name, value)
				texts = append(texts, []byte(text))
			}
			b.ResetTimer()
			b.ReportAllocs()
			for i := range b.N {
				if _, v := r.Admit(access.Write, texts[i%keys]); v != access.Granted {
					b.Fatal(v)
				}
			}
		})
	}
}
