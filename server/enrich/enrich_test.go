package enrich

import (
	"encoding/json"
	"fmt"
	"math/rand"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"
	"github.com/stretchr/testify/require"

	"spoor/engine/event"
)

// governor applies a worker and refuses each event, so that its letter can be read.
type governor struct {
	w *Worker
	s Settings
}

func (g *governor) Govern(d *event.Draft) event.Verdict {
	g.w.Apply(d, g.s)
	return event.Verdict{Reject: &event.Reject{Code: "shown"}, Keep: true}
}

var received = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func enriched(t testing.TB, w *Worker, s Settings, o event.Origin, body string) map[string]any {
	t.Helper()
	d := event.NewDecoder(event.DefaultLimits())
	d.Govern(&governor{w, s})
	if o.ReceivedAt == 0 {
		o.ReceivedAt = received.UnixMicro()
	}
	d.SetOrigin(o)
	_, rej := d.Add([]byte(body), "", func() [16]byte { return [16]byte{} })
	require.Equal(t, "shown", rej.Code, "%v", rej)
	var v map[string]any
	require.NoError(t, json.Unmarshal(d.Letter().Event, &v))
	return v
}

func contextOf(t testing.TB, w *Worker, s Settings, o event.Origin, context string) map[string]any {
	t.Helper()
	c, _ := enriched(t, w, s, o, `{"eventName":"e","userId":"u","context":`+context+`}`)["context"].(map[string]any)
	return c
}

const chrome = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"

func TestAUserAgentBecomesFieldsUnlessTheClientSentThem(t *testing.T) {
	on := Settings{UserAgent: true}
	w := &Worker{}
	want := map[string]any{"browser": "Chrome", "browserVersion": "126", "os": "Windows", "osVersion": "10", "device": "desktop"}
	require.Equal(t, want, contextOf(t, w, on, event.Origin{UserAgent: chrome}, `null`))
	require.Equal(t, want, contextOf(t, w, on, event.Origin{UserAgent: chrome}, `{}`))
	require.Empty(t, contextOf(t, w, on, event.Origin{UserAgent: "analytics-go/3"}, `{}`))
	got := contextOf(t, w, on, event.Origin{}, `{"userAgent":"`+chrome+`","os":{"name":"mine"},"device":null,"browser":{}}`)
	require.Equal(t, map[string]any{"userAgent": chrome, "os": map[string]any{"name": "mine"}, "device": nil, "browser": map[string]any{}, "browserVersion": "126", "osVersion": "10"}, got)
	bot := contextOf(t, w, on, event.Origin{UserAgent: "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"}, `{}`)
	require.Equal(t, true, bot["bot"])
	phone := contextOf(t, w, on, event.Origin{UserAgent: "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1"}, `{}`)
	require.Equal(t, "mobile", phone["device"])
	require.Equal(t, "iOS", phone["os"])
	for i := range 3 * maxAgents {
		contextOf(t, w, on, event.Origin{UserAgent: fmt.Sprintf("Mozilla/5.0 x%d", i)}, `{}`)
		require.LessOrEqual(t, len(w.agents), maxAgents)
	}
}

func TestTheAddressOfThePageSaysCampaignAndChannel(t *testing.T) {
	on := Settings{Campaign: true}
	for _, c := range []struct{ page, from, channel string }{
		{"https://shop.de/", "", "direct"},
		{"https://shop.de/a", "https://www.shop.de/b", ""},
		{"https://shop.de/a", "https://blog.shop.de/b", ""},
		{"https://shop.de/", "https://www.google.co.uk/search?q=x", "search"},
		{"https://shop.de/", "https://out.reddit.com/", "social"},
		{"https://shop.de/", "https://t.co/x", "social"},
		{"https://shop.de/", "https://news.example.org/", "referral"},
		{"https://shop.de/?gclid=1", "https://www.google.com/", "paid"},
		{"https://shop.de/?utm_medium=CPC&utm_source=google", "", "paid"},
		{"https://shop.de/?utm_medium=newsletter", "", "email"},
		{"https://shop.de/?utm_source=partner#utm_medium=cpc", "", "campaign"},
		{"no address", "", "direct"},
	} {
		got := contextOf(t, &Worker{}, on, event.Origin{}, fmt.Sprintf(`{"page":{"url":%q,"referrer":%q}}`, c.page, c.from))
		channel, _ := got["channel"].(string)
		require.Equal(t, c.channel, channel, "%s from %s", c.page, c.from)
	}
	got := contextOf(t, &Worker{}, on, event.Origin{}, `{"utmTerm":1,"page":{"referrer":"https://user@Blog.example.org:8443/x","url":"https://shop.de/?utm_source=a%20b&utm_medium=m&utm_campaign=spring+%26+sun&utm_term=t&utm_content=%zz"}}`)
	delete(got, "page")
	require.Equal(t, map[string]any{"utmSource": "a b", "utmMedium": "m", "campaign": "spring & sun", "utmTerm": 1.0, "utmContent": "%zz", "referrerDomain": "blog.example.org", "channel": "campaign"}, got)
	require.Empty(t, contextOf(t, &Worker{}, on, event.Origin{}, `{}`), "an event without a page has no channel")
}

func database(t testing.TB) string {
	t.Helper()
	w, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: "Test-Country", RecordSize: 24, IncludeReservedNetworks: true})
	require.NoError(t, err)
	for network, code := range map[string]string{"203.0.113.0/24": "DE", "198.51.100.0/25": "US", "2001:db8::/32": "FR"} {
		_, n, err := net.ParseCIDR(network)
		require.NoError(t, err)
		require.NoError(t, w.Insert(n, mmdbtype.Map{"country": mmdbtype.Map{"iso_code": mmdbtype.String(code)}}))
	}
	file := filepath.Join(t.TempDir(), "countries.mmdb")
	f, err := os.Create(file)
	require.NoError(t, err)
	_, err = w.WriteTo(f)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	return file
}

func TestWhatFollowsFromAnAddressIsTheSameForAWorkerThatKnowsIt(t *testing.T) {
	on := Settings{Campaign: true}
	random := rand.New(rand.NewSource(5))
	of := func(list ...string) string { return list[random.Intn(len(list))] }
	used := &Worker{}
	for i := range 4 * maxArrivals {
		page := of("https://shop.example", "https://www.Shop.example:443", "shop.example", "") + of("", "/", "/p/1", "/p/2/?x=//a/b", "?utm_source=s&utm_campaign=%61", "/p?utm_medium=cpc#?utm_medium=mail", "?gclid=1", "#?utm_source=s") + of("", fmt.Sprint("&utm_term=t", i))
		from := of("", "https://www.google.com/", "https://shop.example/p/1", "https://news.example/?x=https://y.example/", "android-app://com.google")
		about := fmt.Sprintf(`{"page":{"url":%q,"referrer":%q}}`, page, from)
		require.Equal(t, contextOf(t, &Worker{}, on, event.Origin{}, about), contextOf(t, used, on, event.Origin{}, about), about)
		require.LessOrEqual(t, len(used.arrived), maxArrivals)
	}
}

func TestTheCountryIsThatOfTheClientsAddress(t *testing.T) {
	c, err := OpenCountries(database(t))
	require.NoError(t, err)
	w := &Worker{Countries: c}
	on := Settings{Country: true}
	from := func(a string) event.Origin { return event.Origin{Address: netip.MustParseAddr(a)} }
	require.Equal(t, "DE", contextOf(t, w, on, from("203.0.113.9"), `{}`)["country"])
	require.Equal(t, "FR", contextOf(t, w, on, from("2001:db8::1"), `{}`)["country"])
	require.Equal(t, "US", contextOf(t, w, on, from("203.0.113.9"), `{"ip":"198.51.100.1"}`)["country"], "a server sends for its users")
	require.Equal(t, "XX", contextOf(t, w, on, from("203.0.113.9"), `{"country":"XX"}`)["country"])
	require.Empty(t, contextOf(t, w, on, from("192.0.2.1"), `{}`))
	require.Empty(t, contextOf(t, w, on, event.Origin{}, `{}`))
	_, err = OpenCountries(filepath.Join(t.TempDir(), "none"))
	require.Error(t, err)
	broken := filepath.Join(t.TempDir(), "broken")
	require.NoError(t, os.WriteFile(broken, []byte(strings.Repeat("no database", 100)), 0o600))
	_, err = OpenCountries(broken)
	require.ErrorContains(t, err, broken)
}

func TestADamagedDatabaseIsNeverAPanic(t *testing.T) {
	b, err := os.ReadFile(database(t))
	require.NoError(t, err)
	r := rand.New(rand.NewSource(1))
	for range 60 {
		damaged := append([]byte(nil), b...)
		for range 1 + r.Intn(5) {
			damaged[r.Intn(len(damaged))] ^= byte(1 << r.Intn(8))
		}
		file := filepath.Join(t.TempDir(), "x.mmdb")
		require.NoError(t, os.WriteFile(file, damaged, 0o600))
		if c, err := OpenCountries(file); err == nil {
			c.Find(netip.MustParseAddr("203.0.113.9"))
			c.Find(netip.MustParseAddr("2001:db8::1"))
		}
	}
}

func TestAWrongClockIsCorrectedAndTheRawTimeKept(t *testing.T) {
	w := &Worker{Clock: NewClock()}
	on := Settings{Clock: true}
	body := func(timestamp, sent time.Time) string {
		return fmt.Sprintf(`{"eventName":"e","anonymousId":"d","timestamp":%q,"sentAt":%q}`, timestamp.Format(time.RFC3339Nano), sent.Format(time.RFC3339Nano))
	}
	behind := received.Add(-3*time.Hour - 10*time.Second)
	e := enriched(t, w, on, event.Origin{}, body(behind.Add(-time.Second), behind))
	require.Equal(t, received.Add(-11*time.Second).Format("2006-01-02T15:04:05.000Z"), e["timestamp"])
	require.Equal(t, map[string]any{"spoor": map[string]any{"clockOffset": 10800.0, "sentTimestamp": behind.Add(-time.Second).Format(time.RFC3339Nano)}}, e["context"])

	right := received.Add(-5 * time.Minute)
	e = enriched(t, &Worker{Clock: NewClock()}, on, event.Origin{}, body(right, right))
	require.Equal(t, right.Format(time.RFC3339Nano), e["timestamp"], "what the network takes is no skew")
	require.Empty(t, e["context"])
	e = enriched(t, w, on, event.Origin{}, `{"eventName":"e","anonymousId":"x","sentAt":"2020-01-01T00:00:00Z"}`)
	require.Empty(t, e["context"], "an event without a time has that of its receipt")
}

// TestTheOrderOfADeviceNeverChanges sends events of a device whose clock is wrong,
// in batches that the network delays at random.
func TestTheOrderOfADeviceNeverChanges(t *testing.T) {
	for seed := range 50 {
		r := rand.New(rand.NewSource(int64(seed)))
		w := &Worker{Clock: NewClock()}
		skew := time.Duration(r.Int63n(int64(100*time.Hour))) - 50*time.Hour
		at, last := received, ""
		for range 50 {
			at = at.Add(time.Duration(r.Int63n(int64(2 * time.Minute))))
			e := enriched(t, w, Settings{Clock: true}, event.Origin{ReceivedAt: at.Add(time.Duration(r.Int63n(int64(20 * time.Second)))).UnixMicro(), SentAt: at.Add(skew).UnixMicro()},
				fmt.Sprintf(`{"eventName":"e","anonymousId":"d","timestamp":%q}`, at.Add(skew).Format("2006-01-02T15:04:05.000Z")))
			now := e["timestamp"].(string)
			require.LessOrEqual(t, last, now, "seed %d", seed)
			last = now
			parsed, err := time.Parse(time.RFC3339, now)
			require.NoError(t, err)
			require.Less(t, parsed.Sub(at).Abs(), maxSkew*time.Microsecond+time.Minute)
		}
	}
}

func TestTheClockRemembersABoundedNumberOfDevices(t *testing.T) {
	c := NewClock()
	for i := range uint64(3 * maxDevices) {
		if c.offset(i, 0, 600*micros) != 600*micros || c.offset(0, 0, 610*micros) != 600*micros {
			t.Fatal("a device that goes on keeps its offset")
		}
	}
	require.LessOrEqual(t, len(c.young)+len(c.old), 2*maxDevices)
	require.Zero(t, c.offset(0, 0, 0), "the clock was set right")
	require.Zero(t, c.offset(0, 0, 290*micros))
}
