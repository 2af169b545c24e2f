package govern

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"spoor/engine/event"
	"spoor/engine/letters"
	"spoor/server/call"
	"spoor/server/export"
)

// memory is a store of documents alone.
type memory struct {
	docs  map[[2]string]Document
	index uint64
}

func newMemory() *memory { return &memory{docs: map[[2]string]Document{}} }

func (m *memory) PutDocument(_ context.Context, kind, name string, value []byte) (uint64, error) {
	m.index++
	m.docs[[2]string{kind, name}] = Document{name, slices.Clone(value), m.index}
	return m.index, nil
}

func (m *memory) DeleteDocument(_ context.Context, kind, name string) (bool, uint64, error) {
	m.index++
	_, ok := m.docs[[2]string{kind, name}]
	delete(m.docs, [2]string{kind, name})
	return ok, m.index, nil
}

func (m *memory) Document(kind, name string) (Document, bool) {
	d, ok := m.docs[[2]string{kind, name}]
	return d, ok
}

func (m *memory) Documents(kind string) (out []Document) {
	for k, d := range m.docs {
		if k[0] == kind {
			out = append(out, d)
		}
	}
	slices.SortFunc(out, func(a, b Document) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func (m *memory) DocumentsIndex() uint64 { return m.index }

func (m *memory) Letters() *letters.Store { return letters.New() }

func (m *memory) RemoveLetters(context.Context, letters.Bounds, []string) (int, uint64, error) {
	return 0, m.index, nil
}

func (m *memory) SetConsent(context.Context, string, bool, int64, map[string]bool) (uint64, error) {
	return m.index, nil
}

func (m *memory) Consent([]byte, []byte, string) (bool, bool) { return false, false }

func (m *memory) ConsentsOf(string) (map[string]bool, bool) { return nil, false }

func (m *memory) Export(context.Context, export.Spec, func([]byte) error) error { return nil }

func (m *memory) call(name string, args map[string]string, body string) *call.Call {
	return &call.Call{Context: context.Background(), Reading: context.Background(), Name: name, Arg: func(n string) string { return args[n] }, Body: []byte(body), Limits: event.DefaultLimits()}
}

func decoder(p *Pipeline) *event.Decoder {
	d := event.NewDecoder(event.DefaultLimits())
	d.Govern(p.Governor())
	d.SetOrigin(event.Origin{ReceivedAt: 1.78e15, Address: netip.MustParseAddr("203.0.113.9"), UserAgent: "curl/8"})
	return d
}

func noID() [16]byte { return [16]byte{15: 1} }

// TestNoPersonalDataThatWasPlantedIsInABatchOrALetter sends events with secrets
// in random places under random policies and looks for them in the encoded bytes.
func TestNoPersonalDataThatWasPlantedIsInABatchOrALetter(t *testing.T) {
	secrets := []string{"ann.smith@example.com", "ann%40secret.example.org", "+4917155512345", "4111111111111111", "DE89370400440532013000", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"}
	for seed := range 100 {
		r := rand.New(rand.NewSource(int64(seed)))
		pick := func(of ...string) string { return of[r.Intn(len(of))] }
		store := newMemory()
		p := New(store, nil, Lateness{}, slog.New(slog.DiscardHandler))
		act := func() string { return pick("mask", "hash", "drop", "reject") }
		_, err := p.PutPolicy(store.call("", nil, fmt.Sprintf(`{"unknownEvents":%q,"redact":{"scope":"all","email":%q,"phone":%q,"card":%q,"iban":%q,"jwt":%q,"keys":%q}}`,
			pick("off", "observe", "enforce"), act(), act(), act(), act(), act(), act())))
		require.NoError(t, err)
		_, err = p.PutSchema(store.call("known", map[string]string{"mode": pick("observe", "enforce")}, fmt.Sprintf(`{"required":["q"],"additional":%q,"properties":{"a":{"pii":%q},"b":{"type":"number"}}}`,
			pick("allow", "reject", "drop"), pick("forbid", "hash", "mask", "drop"))))
		require.NoError(t, err)
		d := decoder(p)
		var value func(depth int) string
		value = func(depth int) string {
			s := secrets[r.Intn(len(secrets))]
			switch n := r.Intn(8); {
			case n == 0 && depth < 3:
				return "[" + value(depth+1) + `,{"z":` + value(depth+1) + `}]`
			case n == 1 && depth < 3:
				return `{"x":` + value(depth+1) + `,"email":"plain name"}`
			case n == 2:
				return "4111111111111111"
			case n == 3:
				return `"` + strings.ReplaceAll(s, "@", `\u0040`) + `"`
			}
			return `"see ` + s + ` or ` + secrets[r.Intn(len(secrets))] + `"`
		}
		var kept [][]byte
		for range 20 {
			body := fmt.Sprintf(`{"eventName":%q,"userId":"u","extra":%s,"properties":{"a":%s,"b":%s,"c":%s},"context":{"page":%s}}`, pick("known", "other"), value(0), value(0), value(0), value(0), value(0))
			if _, rej := d.Add([]byte(body), "", noID); rej != nil {
				require.NotNil(t, d.Letter(), "%v of %s", rej, body)
				kept = append(kept, d.Letter().Event)
			}
		}
		kept = append(kept, d.Seal(1e15).Clone().AppendEncoded(nil))
		for _, bytes := range kept {
			for _, s := range append(secrets, "plain name") {
				require.NotContains(t, string(bytes), s, "seed %d", seed)
			}
		}
	}
}

// A user agent that is known to be clean is not looked through again: that must hold
// for it alone, and for no other value of its event or of the next.
func TestPersonalDataIsFoundBesideUserAgentsThatAreKnown(t *testing.T) {
	store := newMemory()
	p := New(store, nil, Lateness{}, slog.New(slog.DiscardHandler))
	governed(t, p, store)
	d := decoder(p)
	const clean = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"
	random := rand.New(rand.NewSource(7))
	agents := []string{clean, "Mozilla/5.0 (mail ada@example.com) Chrome/126", "Mozilla/5.0 +49 151 23456789", ""}
	for range 500 {
		var members []string
		for _, m := range []string{`"userAgent":"` + agents[random.Intn(len(agents))] + `"`, `"a":"ada@example.com"`, `"b":"x"`, `"c":"ada@example.com"`, `"browser":"ada@example.com"`} {
			if random.Intn(2) == 0 {
				members = append(members, m)
			}
		}
		random.Shuffle(len(members), func(i, k int) { members[i], members[k] = members[k], members[i] })
		_, rej := d.Add([]byte(`{"eventName":"x","userId":"u","context":{`+strings.Join(members, ",")+`}}`), "", noID)
		require.Nil(t, rej)
		bytes := string(d.Seal(1e15).AppendEncoded(nil))
		require.NotContains(t, bytes, "ada@")
		require.NotContains(t, bytes, "23456789")
	}
}

func TestEverythingThatIsDecidedFollowsFromTheEventAndTheDocuments(t *testing.T) {
	store := newMemory()
	p := New(store, nil, Lateness{}, slog.New(slog.DiscardHandler))
	governed(t, p, store)
	body := benchBody(300)
	run := func(d *event.Decoder) []byte {
		require.NoError(t, d.AddAll(body, "web", noID, func(event.Item) error { return nil }))
		return d.Seal(1e15).AppendEncoded(nil)
	}
	used := decoder(p)
	first := slices.Clone(run(used))
	require.Equal(t, first, run(used), "paths that are known already")
	require.Equal(t, first, run(decoder(New(store, nil, Lateness{}, slog.New(slog.DiscardHandler)))), "another server")
}

func governed(t testing.TB, p *Pipeline, store *memory) {
	t.Helper()
	_, err := p.PutPolicy(store.call("", nil, `{"redact":{"scope":"all"},"enrich":{"userAgent":true,"campaign":true,"clock":true}}`))
	require.NoError(t, err)
	for _, name := range benchNames {
		_, err := p.PutSchema(store.call(name, map[string]string{"mode": "enforce"}, `{"type":"object","required":["productId","price"],"properties":{
			"productId":{"type":"string","maxLength":40},"category":{"type":"string","pattern":"^cat_[0-9]+$"},"price":{"type":"number","minimum":0},
			"quantity":{"type":"integer","minimum":1},"currency":{"enum":["EUR","USD"]},"coupon":{"type":["string","null"]},"firstTime":{"type":"boolean"}}}`))
		require.NoError(t, err)
	}
}

var benchNames = []string{"page_view", "product_viewed", "add_to_cart", "checkout_started", "purchase", "search", "signup", "login"}

// benchBody makes NDJSON of n events of about 500 bytes.
func benchBody(n int) []byte {
	r := rand.New(rand.NewSource(1))
	var b strings.Builder
	for range n {
		k := r.Intn(len(benchNames))
		fmt.Fprintf(&b, `{"eventId":"%08x-%04x-4%03x-8%03x-%012x","eventName":"%s","userId":"user_%07d","anonymousId":"anon-%016x","timestamp":"2026-03-%02dT%02d:%02d:%02d.%03dZ","properties":{"productId":"sku-%05d","category":"cat_%02d","price":%d.25,"quantity":%d,"currency":"EUR","coupon":null,"firstTime":true,"own_%d":"v%d"},"context":{"platform":"web","country":"DE","appVersion":"4.%d.%d","ip":"203.0.113.%d","page":{"url":"https://shop.example.com/p/%05d?utm_source=news&utm_medium=mail","referrer":"https://www.google.com/"},"locale":"en-US","userAgent":"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/1%d.0.0.0 Safari/537.36"}}`+"\n",
			r.Uint32(), r.Intn(65536), r.Intn(4096), r.Intn(4096), r.Int63()&0xffffffffffff,
			benchNames[k], r.Intn(200000), r.Uint64(), 1+r.Intn(28), r.Intn(24), r.Intn(60), r.Intn(60), r.Intn(1000),
			r.Intn(100000), r.Intn(40), r.Intn(1000), 1+r.Intn(5), k, r.Intn(10), r.Intn(20), r.Intn(10), 1+r.Intn(254), r.Intn(100000), 20+r.Intn(20))
	}
	return []byte(b.String())
}

func benchmark(b *testing.B, d *event.Decoder) {
	const events = 1000
	body := benchBody(events)
	b.ReportAllocs()
	for b.Loop() {
		if err := d.AddAll(body, "web", noID, func(it event.Item) error {
			if it.Reject != nil {
				return it.Reject
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
		d.Seal(1e15)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/events, "ns/event")
}

func BenchmarkUngoverned(b *testing.B) { benchmark(b, event.NewDecoder(event.DefaultLimits())) }

func BenchmarkDefault(b *testing.B) {
	benchmark(b, decoder(New(newMemory(), nil, Lateness{}, slog.New(slog.DiscardHandler))))
}

func BenchmarkGoverned(b *testing.B) {
	store := newMemory()
	p := New(store, nil, Lateness{}, slog.New(slog.DiscardHandler))
	governed(b, p, store)
	benchmark(b, decoder(p))
}
