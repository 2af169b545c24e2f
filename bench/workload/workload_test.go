package workload

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func lines(t *testing.T, config Config) [][]byte {
	t.Helper()
	g, err := New(config)
	require.NoError(t, err)
	var all [][]byte
	for {
		line, ok := g.Next(nil)
		if !ok {
			return all
		}
		all = append(all, line)
	}
}

func events(t *testing.T, config Config) []Event {
	t.Helper()
	g, err := New(config)
	require.NoError(t, err)
	all := make([]Event, config.Events)
	for i := range all {
		require.True(t, g.NextEvent(&all[i]), "the stream ended after %d events", i)
	}
	require.False(t, g.NextEvent(&Event{}), "the stream goes on after its last event")
	return all
}

func share(part, whole int) float64 { return float64(part) / float64(whole) }

func TestTheFirst10000EventsOfASeedNeverChange(t *testing.T) {
	g, err := New(Config{Events: 1_000_000, Seed: 42})
	require.NoError(t, err)
	h := sha256.New()
	var line []byte
	for range 10_000 {
		var ok bool
		line, ok = g.Next(line[:0])
		require.True(t, ok)
		h.Write(append(line, '\n'))
	}
	// Figures that were published rest on this stream. Who changes it on
	// purpose changes the hash and says so in the CHANGELOG.
	require.Equal(t, "e1631e9b7844259d1fa53ef583a79e3733db0484f60585f498e026d013ebb1ec", hex.EncodeToString(h.Sum(nil)))
}

func TestAnotherSeedIsAnotherStream(t *testing.T) {
	a, b := lines(t, Config{Events: 100, Seed: 1}), lines(t, Config{Events: 100, Seed: 2})
	for i := range a {
		require.NotEqual(t, string(a[i]), string(b[i]))
	}
}

func TestAnEventIsValidJSONWithTheFieldsItsStructHas(t *testing.T) {
	config := Config{Events: 20_000, Seed: 7}
	for i, e := range events(t, config) {
		var got struct {
			EventID     string         `json:"eventId"`
			UserID      string         `json:"userId"`
			AnonymousID string         `json:"anonymousId"`
			EventName   string         `json:"eventName"`
			Timestamp   string         `json:"timestamp"`
			Properties  map[string]any `json:"properties"`
			Context     map[string]any `json:"context"`
		}
		decoder := json.NewDecoder(bytes.NewReader(e.AppendJSON(nil)))
		decoder.DisallowUnknownFields()
		require.NoError(t, decoder.Decode(&got), "event %d", i)

		require.Regexp(t, `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, got.EventID)
		require.Equal(t, e.UserID, got.UserID)
		require.Equal(t, e.AnonymousID, got.AnonymousID)
		require.Equal(t, e.Name, got.EventName)
		require.Equal(t, time.UnixMilli(e.Time).UTC().Format("2006-01-02T15:04:05.000Z"), got.Timestamp)

		want := map[string]any{}
		for field, value := range map[Field]struct {
			name  string
			value any
		}{
			ProductID: {"productId", e.Properties.ProductID},
			Category:  {"category", e.Properties.Category},
			Price:     {"price", float64(e.Properties.Cents) / 100},
			Quantity:  {"quantity", float64(e.Properties.Quantity)},
			Currency:  {"currency", e.Properties.Currency},
			Surface:   {"surface", e.Properties.Surface},
			Variant:   {"variant", e.Properties.Variant},
			Position:  {"position", float64(e.Properties.Position)},
		} {
			if e.Properties.Fields&field != 0 {
				want[value.name] = value.value
			}
		}
		require.Equal(t, want, got.Properties)

		context := map[string]any{
			"device": e.Context.Device, "os": e.Context.OS, "browser": e.Context.Browser,
			"country": e.Context.Country, "locale": e.Context.Locale, "appVersion": e.Context.AppVersion,
		}
		if e.Context.Campaign != "" {
			context["campaign"] = e.Context.Campaign
		}
		require.Equal(t, context, got.Context)
	}
}

func TestNumbersAreInTheirShortestForm(t *testing.T) {
	for cents, want := range map[int32]string{8995: "89.95", 8990: "89.9", 8900: "89", 5: "0.05", 50: "0.5", 100: "1"} {
		require.Equal(t, want, string(appendCents(nil, cents)))
	}
}

func TestTheStreamHasTheSharesItPromises(t *testing.T) {
	const n = 300_000
	all := events(t, Config{Events: n, Seed: 3})

	names, persons := map[string]int{}, map[uint32]bool{}
	size, late, resent, known := 0, 0, 0, map[uint32]bool{}
	devices := map[uint32]map[string]bool{}
	var line []byte
	for i := range all {
		e := &all[i]
		line = e.AppendJSON(line[:0])
		size += len(line)
		names[e.Name]++
		persons[e.Person] = true
		if e.Late {
			late++
		}
		if e.Resent {
			resent++
		}
		if e.UserID != "" {
			known[e.Person] = true
		}
		if devices[e.Person] == nil {
			devices[e.Person] = map[string]bool{}
		}
		devices[e.Person][e.AnonymousID] = true
		require.LessOrEqual(t, len(devices[e.Person]), 3)
	}
	require.InDelta(t, 450, share(size, n), 20, "bytes of JSON per event")
	require.Len(t, names, 30, "event names")
	funnel := names["view_product"] + names["add_to_cart"] + names["checkout_started"] + names["purchase_completed"]
	require.InDelta(t, 0.25, share(funnel, n), 0.015, "events of the funnel")
	require.InDelta(t, n/EventsPerPerson, len(persons), n/EventsPerPerson/100, "persons")
	require.InDelta(t, 0.02, share(late, n), 0.004, "late events")
	require.InDelta(t, 0.01, share(resent, n), 0.001, "resent events")
	require.InDelta(t, 0.70*0.80, share(countKnown(all), n), 0.04, "events with a userId")
	require.InDelta(t, 0.68, share(len(known), len(persons)), 0.04, "persons seen with a userId")
}

func countKnown(all []Event) (n int) {
	for i := range all {
		if all[i].UserID != "" {
			n++
		}
	}
	return n
}

func TestTheFunnelLosesPersonsAtEachStep(t *testing.T) {
	did := map[string]map[uint32]bool{}
	for _, e := range events(t, Config{Events: 100_000, Seed: 4}) {
		if did[e.Name] == nil {
			did[e.Name] = map[uint32]bool{}
		}
		did[e.Name][e.Person] = true
	}
	steps := []string{"view_product", "add_to_cart", "checkout_started", "purchase_completed"}
	for i := 1; i < len(steps); i++ {
		conversion := share(len(did[steps[i]]), len(did[steps[i-1]]))
		require.Less(t, conversion, 0.95, "%s to %s", steps[i-1], steps[i])
		require.Greater(t, conversion, 0.3, "%s to %s", steps[i-1], steps[i])
	}
}

func TestActivityIsSkewedAndNobodyIsEverywhere(t *testing.T) {
	counts := map[uint32]int{}
	all := events(t, Config{Events: 300_000, Seed: 5})
	for i := range all {
		counts[all[i].Person]++
	}
	busy, most := 0, 0
	for _, n := range counts {
		if n >= 10*EventsPerPerson {
			busy += n
		}
		most = max(most, n)
	}
	require.Greater(t, share(busy, len(all)), 0.03, "events of persons with ten times the average")
	require.Less(t, share(most, len(all)), 0.01, "events of the busiest person")
}

func TestEventsStandInOrderOfTimeUnlessLateOrResent(t *testing.T) {
	config := Config{Events: 100_000, Seed: 6}
	var now int64
	for _, e := range events(t, config) {
		switch {
		case e.Resent:
		case e.Late:
			require.Less(t, e.Time, now-minLateMillis+1, "a late event came in time")
		default:
			require.GreaterOrEqual(t, e.Time, now)
			now = e.Time
		}
	}
}

func TestAResendEqualsAnEarlierLineAndEveryOtherIDIsNew(t *testing.T) {
	byID := map[[16]byte]string{}
	for _, e := range events(t, Config{Events: 100_000, Seed: 8}) {
		line := string(e.AppendJSON(nil))
		before, known := byID[e.ID]
		require.Equal(t, e.Resent, known)
		if e.Resent {
			require.Equal(t, before, line)
		}
		byID[e.ID] = line
	}
}

func TestTimestampsFillTheRangeAndStayInIt(t *testing.T) {
	start := time.Date(2025, 12, 20, 0, 0, 0, 0, time.UTC)
	for _, n := range []int64{1, 10, 1000, 100_000} {
		const days = 14
		perDay := make([]int, days)
		for _, e := range events(t, Config{Events: n, Seed: 9, Start: start, Days: days}) {
			day := (e.Time - start.UnixMilli()) / millisPerDay
			require.GreaterOrEqual(t, e.Time, start.UnixMilli())
			require.Less(t, day, int64(days))
			perDay[day]++
		}
		if n == 100_000 {
			for day, count := range perDay {
				require.InDelta(t, n/days, count, float64(n/days)/3, "day %d", day)
			}
		}
	}
}

func TestEveningsAreBusierThanNights(t *testing.T) {
	var hours [24]int
	for _, e := range events(t, Config{Events: 100_000, Seed: 10}) {
		hours[e.Time%millisPerDay/millisPerHour]++
	}
	require.Greater(t, hours[20], 5*hours[3])
}

func TestAPersonKeepsHomeAndVariantAndADeviceItsMachine(t *testing.T) {
	type traits struct{ country, locale, variant string }
	persons, machines := map[uint32]traits{}, map[string]string{}
	for _, e := range events(t, Config{Events: 50_000, Seed: 11}) {
		now := traits{e.Context.Country, e.Context.Locale, e.Properties.Variant}
		if before, ok := persons[e.Person]; ok {
			require.Equal(t, before, now)
		}
		persons[e.Person] = now
		machine := e.Context.Device + e.Context.OS + e.Context.Browser
		if before, ok := machines[e.AnonymousID]; ok {
			require.Equal(t, before, machine)
		}
		machines[e.AnonymousID] = machine
	}
}

func TestUserIDsAreUnique(t *testing.T) {
	p := newPopulation(1, 100_000)
	seen := map[string]bool{}
	for person := range p.size {
		id := p.userID(person)
		require.False(t, seen[id], "person %d shares %s", person, id)
		seen[id] = true
	}
}

func TestMemoryFollowsTheOpenSessionsNotTheStream(t *testing.T) {
	g, err := New(Config{Events: 300_000, Seed: 12, Days: 300})
	require.NoError(t, err)
	var e Event
	for g.NextEvent(&e) {
		require.LessOrEqual(t, g.open.len()+g.resends.len(), 100)
	}
}

func TestNoTextOfAStreamNeedsAnEscape(t *testing.T) {
	var texts []string
	texts = append(texts, eventNames[:]...)
	texts = append(texts, categories...)
	texts = append(texts, surfaces.values...)
	texts = append(texts, campaigns.values...)
	texts = append(texts, variants.values...)
	texts = append(texts, releases...)
	for _, m := range machines {
		texts = append(texts, m.device, m.os, m.browser)
	}
	for _, h := range homes {
		texts = append(texts, h.country, h.locale, h.currency)
	}
	for _, text := range texts {
		require.Regexp(t, `^[A-Za-z0-9_. -]*$`, text)
	}
}

func TestAConfigBeyondItsBoundsIsRefused(t *testing.T) {
	for _, config := range []Config{{Events: 0}, {Events: -1}, {Events: MaxEvents + 1}, {Events: 1, Days: -1}, {Events: 1, Days: MaxDays + 1}} {
		_, err := New(config)
		require.Error(t, err)
	}
}

func BenchmarkNext(b *testing.B) {
	g, err := New(Config{Events: 1 << 32, Seed: 1})
	require.NoError(b, err)
	var line []byte
	b.ReportAllocs()
	total := 0
	for b.Loop() {
		line, _ = g.Next(line[:0])
		total += len(line) + 1
	}
	b.SetBytes(int64(total / b.N))
}
