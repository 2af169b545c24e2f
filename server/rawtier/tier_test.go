package rawtier_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/engine"
	"spoor/engine/erasure"
	"spoor/server/rawtier"
	"spoor/server/rawtier/blob"
)

var hostileNames = []string{"_rest", "../../etc/passwd", "a/b=c", ".", "..", "%41", "A", "=1+1", "名前", strings.Repeat("x", 256), strings.Repeat("名", 85), "two words", "\u202e\u0000", "_none"}

// fill sends a mixed load for some days, the busiest event of which has files by hour.
func (w *world) fill(days, perDay int, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 7))
	for d := range days {
		var lines [2][]string
		for i := range perDay {
			at := day0.AddDate(0, 0, d).Add(time.Duration(r.Int64N(int64(24 * time.Hour)))).Truncate(time.Millisecond)
			name := "view"
			switch {
			case i%10 == 1:
				name = "purchase"
			case i%100 == 2:
				name = hostileNames[(d*perDay+i)/100%len(hostileNames)]
			}
			text, _ := jsonText(name)
			source := r.IntN(8) / 7
			lines[source] = append(lines[source], fmt.Sprintf(`{"eventId":"e-%d-%d-%d","eventName":%s,"userId":"u%d","anonymousId":"a%d-%d","timestamp":%q,"properties":{"n":%d,"price":%d.5,"ok":%t,"item":{"id":"i%d","tags":["x",null]},"big":12345678901234567890,"nothing":null,"a.b":"dot"},"context":{"country":"c%d"}}`,
				seed, d, i, text, i%9, i%9, r.IntN(3), at.Format(time.RFC3339Nano), i, i%7, i%2 == 0, i%5, i%3))
		}
		w.now = day0.AddDate(0, 0, d).Add(23 * time.Hour)
		w.sendAll("", lines[0]...)
		w.sendAll("web", lines[1]...)
	}
}

// number is properties.n of an event.
func number(line string) (n int) {
	_, rest, _ := strings.Cut(line, `"n":`)
	_, _ = fmt.Sscanf(rest, "%d", &n)
	return n
}

func jsonText(s string) (string, error) {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		if r < 0x20 || r == '"' || r == '\\' {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String(), nil
}

func TestADayIsSealedWhenItIsOverWithEveryEventAsItWasSent(t *testing.T) {
	w := newWorld(t, directory(t))
	w.fill(3, 800, 1)
	w.at(2, 0.5)
	w.round()
	require.Len(t, w.days(), 1, "the second day has not had its hour yet")
	w.check(day0.AddDate(0, 0, 1))
	w.at(2, 1.5)
	w.round()
	w.check(day0.AddDate(0, 0, 2))
	w.at(3, 2)
	w.round()
	require.Len(t, w.days(), 2, "no later event says that the third is over")
	w.at(4, 2)
	w.round()
	w.check(day0.AddDate(0, 0, 3))

	days := w.days()
	hours, rest := 0, 0
	for _, f := range days[0].Files {
		if f.Hour != nil {
			hours++
			require.GreaterOrEqual(t, f.Rows, int64(20))
		}
		if strings.Contains(f.Key, "/event=_rest/") {
			rest++
		}
	}
	require.Positive(t, hours)
	require.Equal(t, 1, rest, "what is rare shares a file")
	require.Less(t, len(days[0].Files), 800/20+3)
	again := w.days()
	w.round()
	w.restart()
	w.round()
	require.Equal(t, again, w.days(), "nothing is to be done")
	s := w.tier.Status()
	require.Equal(t, int64(2400), s.Events)
	require.Equal(t, "2026-05-03", s.Last)
}

func TestLateEventsGoToAFurtherFileAndTheSealedOnesStay(t *testing.T) {
	w := newWorld(t, directory(t))
	w.fill(1, 300, 1)
	w.at(2, 2)
	w.round()
	before := w.days()[0]
	w.send("web", `{"eventId":"late-1","eventName":"view","userId":"u1","timestamp":"2026-05-01T10:00:00Z"}`)
	w.at(2, 4)
	w.round()
	w.check(day0.AddDate(0, 0, 1))
	after := w.days()[0]
	require.Len(t, after.Files, len(before.Files)+1)
	require.Subset(t, after.Files, before.Files)
	require.Empty(t, after.Gone)
	// A clock that was set back: it is received before those that were sealed.
	w.at(-3, 0)
	w.send("", `{"eventId":"late-2","eventName":"view","userId":"u1","timestamp":"2026-05-01T11:00:00Z"}`)
	w.at(2, 6)
	w.round()
	w.check(day0.AddDate(0, 0, 1))
	require.Len(t, w.days()[0].Files, len(before.Files)+2)
	for i := range 20 {
		w.at(3, float64(2*i))
		w.send("", `{"eventId":"later-%d","eventName":"view","userId":"u1","timestamp":"2026-05-01T12:00:00Z"}`, i)
		w.round()
	}
	w.at(5, 0)
	w.round()
	w.check(day0.AddDate(0, 0, 1))
	require.LessOrEqual(t, len(w.days()[0].Files), len(before.Files)+17, "late files are bounded")
	require.Equal(t, "merged", w.days()[0].Gone[0].Reason)
}

func TestWhatIsErasedLeavesTheFilesInTimeAndTheManifestSaysSo(t *testing.T) {
	for name, request := range map[string]*erasure.Request{
		"person": {Kind: erasure.Person, User: "u3"},
		"events": {Kind: erasure.Events, Events: []string{"purchase"}, Where: `properties.n > 200`},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, directory(t))
			w.fill(2, 400, 2)
			w.identify("u3", "a-of-u3", "trait-of-u3")
			w.at(4, 0)
			w.round()
			w.check(day0.AddDate(0, 0, 2))
			if name == "person" {
				require.Contains(t, w.everything(), "trait-of-u3")
			}
			w.erase(request, func(_, sent string) bool {
				if name == "person" {
					return strings.Contains(sent, `"userId":"u3"`)
				}
				return strings.Contains(sent, `"eventName":"purchase"`) && number(sent) > 200
			})
			w.round()
			w.at(4, 1.5)
			w.round() // by the half of the time that is stated
			w.check(day0.AddDate(0, 0, 2))
			gone := w.days()[0].Gone
			require.NotEmpty(t, gone)
			require.Equal(t, "erasure", gone[0].Reason)
			require.Equal(t, w.days()[0].Erasures, gone[0].Erasures)
			require.Less(t, gone[0].Left, gone[0].Rows)
			if name == "person" {
				all := w.everything()
				require.NotContains(t, all, `"u3"`)
				require.NotContains(t, all, "trait-of-u3")
				require.NotContains(t, all, "a-of-u3")
			}
			state := w.days()
			w.restart()
			w.at(6, 0)
			w.round()
			require.Equal(t, state, w.days(), "once is enough")
		})
	}
}

func TestAnErasureIsNoticedWhereAsManyLateEventsCame(t *testing.T) {
	w := newWorld(t, directory(t))
	w.fill(1, 100, 2)
	w.at(3, 0)
	w.round()
	n := len(w.sent)
	w.erase(&erasure.Request{Kind: erasure.Events, Events: []string{"purchase"}}, func(_, sent string) bool { return strings.Contains(sent, `"eventName":"purchase"`) })
	w.at(-3, 0) // with times of receipt before those of the others
	for i := range n - len(w.sent) {
		w.send("", `{"eventId":"new-%d","eventName":"view","userId":"u1","timestamp":"2026-05-01T12:00:00Z"}`, i)
	}
	w.at(4, 0)
	w.round()
	w.at(4, 2)
	w.round()
	w.check(day0.AddDate(0, 0, 1))
}

func TestAFieldThatIsErasedLeavesTheFiles(t *testing.T) {
	w := newWorld(t, directory(t))
	w.fill(1, 100, 2)
	w.at(3, 0)
	w.round()
	require.Contains(t, w.everything(), `"country":"c1"`)
	w.erase(&erasure.Request{Kind: erasure.Field, Fields: []string{"context.country"}}, func(string, string) bool { return false })
	for id, line := range w.sent {
		i := strings.Index(line, `,"context":`)
		w.sent[id] = line[:i] + "}"
	}
	w.round()
	w.at(3, 2)
	w.round()
	w.check(day0.AddDate(0, 0, 1))
	require.NotContains(t, w.everything(), "country")
}

func TestWhatTheRetentionEndsLeavesTheFiles(t *testing.T) {
	w := newWorld(t, directory(t))
	w.fill(3, 200, 2)
	w.at(5, 0)
	w.round()
	today := int32(day0.Unix() / 86400)
	entry, err := engine.CutoffsEntry(erasure.Cutoffs{Default: today + 1, Events: map[string]int32{"purchase": today + 2}})
	require.NoError(t, err)
	w.apply(entry)
	for id, line := range w.sent {
		if strings.Contains(line, `"timestamp":"2026-05-01`) || strings.Contains(line, `"timestamp":"2026-05-02`) && strings.Contains(line, `"eventName":"purchase"`) {
			delete(w.sent, id)
		}
	}
	w.at(5, 1)
	w.round()
	w.check(day0.AddDate(0, 0, 3))
	require.Empty(t, w.days()[0].Files)
	require.Equal(t, "retention", w.days()[0].Gone[0].Reason)
}

func TestAnotherStoreOrAnOlderOneTouchesNothing(t *testing.T) {
	w := newWorld(t, directory(t))
	w.fill(2, 100, 3)
	w.at(4, 0)
	w.round()
	lost := w.db
	w.openStore()
	w.restart()
	require.ErrorIs(t, w.tier.Round(context.Background()), rawtier.ErrOlder, "an empty one of the same name")
	sent := w.sent
	w.sent = map[string]string{}
	w.fill(1, 20, 9)
	require.ErrorIs(t, w.tier.Round(context.Background()), rawtier.ErrOlder)
	w.opts.Store = func(context.Context) (string, error) { return "store-2", nil }
	w.restart()
	require.ErrorContains(t, w.tier.Round(context.Background()), "belongs to another store")
	w.opts.Adopt = true
	w.restart()
	require.ErrorIs(t, w.tier.Round(context.Background()), rawtier.ErrOlder, "adopting does not erase")
	w.db, w.sent = lost, sent
	w.check(day0.AddDate(0, 0, 2))
}

func TestAStoreThatWasFilledAnewAdoptsTheRawTierAndErasesInIt(t *testing.T) {
	w := newWorld(t, directory(t))
	w.fill(2, 100, 3)
	for i := range 50 { // a longer log than the next one's
		w.identify(fmt.Sprintf("v%d", i), fmt.Sprintf("b%d", i), "pro")
	}
	w.at(4, 0)
	w.round()
	w.erase(&erasure.Request{Kind: erasure.Person, User: "u3"}, func(_, sent string) bool { return strings.Contains(sent, `"userId":"u3"`) })
	w.at(4, 2)
	w.round()
	w.at(4, 4)
	w.round()
	w.check(day0.AddDate(0, 0, 2))
	require.Greater(t, w.days()[0].Erasures, uint64(10))

	w.openStore()
	w.now = day0.AddDate(0, 0, 2)
	var lines [2][]string
	for id, line := range w.sent {
		n := 0
		if w.from[id] != "" {
			n = 1
		}
		lines[n] = append(lines[n], line)
	}
	w.sendAll("", lines[0]...)
	w.sendAll("web", lines[1]...)
	w.opts.Store = func(context.Context) (string, error) { return "store-2", nil }
	w.opts.Adopt = true
	w.restart()
	w.at(4, 5)
	require.ErrorContains(t, w.tier.Round(context.Background()), "ids that were erased would be taken again")
	w.refuse(w.governance())
	w.restart()
	w.round()
	w.opts.Adopt = false
	w.restart()
	w.round()
	w.check(day0.AddDate(0, 0, 2))
	w.erase(&erasure.Request{Kind: erasure.Person, User: "u4"}, func(_, sent string) bool { return strings.Contains(sent, `"userId":"u4"`) })
	w.round()
	w.at(4, 8)
	w.round()
	w.check(day0.AddDate(0, 0, 2))
	require.NotContains(t, w.everything(), `"u4"`)
}

func TestOfTwoLeadersOneWritesAndTheOtherReadsWhatItDid(t *testing.T) {
	w := newWorld(t, directory(t))
	w.fill(2, 200, 4)
	w.at(2, 3)
	other := newWorld(t, w.store)
	other.db, other.query = w.db, w.query
	other.now = w.now
	w.round()
	require.NoError(t, other.tier.Round(context.Background()))
	w.send("", `{"eventId":"late","eventName":"view","userId":"u1","timestamp":"2026-05-01T10:00:00Z"}`)
	w.at(2, 5)
	other.now = w.now
	w.round()
	err := other.tier.Round(context.Background())
	require.ErrorIs(t, err, blob.ErrChanged)
	require.NoError(t, other.tier.Round(context.Background()))
	w.at(5, 0)
	other.now = w.now
	w.round()
	require.NoError(t, w.tier.Round(context.Background()))
	w.check(day0.AddDate(0, 0, 2))
	w.opts.Leads = func() bool { return false }
	w.restart()
	w.fill(9, 10, 5)
	w.at(30, 0)
	w.round()
	require.Len(t, w.days(), 2, "who does not lead writes nothing")
	require.False(t, w.tier.Status().Leads)
}

// breaking fails the nth call, and each after it, until it is mended; a Put that fails may
// have stored the object, or have stored nothing.
type breaking struct {
	blob.Store
	left int
	r    *rand.Rand
}

var errBroken = errors.New("the connection was cut")

func (b *breaking) fails() bool { b.left--; return b.left < 0 }

func (b *breaking) Put(ctx context.Context, key string, content io.ReaderAt, size int64) error {
	if b.fails() {
		if b.r.IntN(2) == 0 {
			_ = b.Store.Put(ctx, key, content, size)
		}
		return errBroken
	}
	return b.Store.Put(ctx, key, content, size)
}

func (b *breaking) Replace(ctx context.Context, key string, content []byte, version string) (string, error) {
	if b.fails() {
		if b.r.IntN(2) == 0 {
			_, _ = b.Store.Replace(ctx, key, content, version)
		}
		return "", errBroken
	}
	return b.Store.Replace(ctx, key, content, version)
}

func (b *breaking) Read(ctx context.Context, key string) ([]byte, string, error) {
	if b.fails() {
		return nil, "", errBroken
	}
	return b.Store.Read(ctx, key)
}

func (b *breaking) Open(ctx context.Context, key string) (io.ReadCloser, error) {
	if b.fails() {
		return nil, errBroken
	}
	return b.Store.Open(ctx, key)
}

func (b *breaking) List(ctx context.Context, prefix string, f func(blob.Object) error) error {
	if b.fails() {
		return errBroken
	}
	return b.Store.List(ctx, prefix, f)
}

func (b *breaking) Remove(ctx context.Context, key string) error {
	if b.fails() {
		return errBroken
	}
	return b.Store.Remove(ctx, key)
}

func TestARoundThatIsCutOffAtAnyCallIsGoneOnWithAndNothingIsLostOrTwice(t *testing.T) {
	const enough = 1 << 30
	for n := range 400 {
		b := &breaking{Store: directory(t), left: enough, r: rand.New(rand.NewPCG(uint64(n), 1))}
		w := newWorld(t, b)
		w.fill(2, 30, 6)
		w.at(4, 0)
		step := func(calls int) (broke bool) {
			b.left = calls
			err := w.tier.Round(context.Background())
			broke = b.left < 0
			b.left = enough
			require.Equal(t, broke, err != nil, "%v", err)
			for err != nil { // it may find the own manifest of the try that was cut off
				if n%2 == 0 {
					w.restart()
				}
				if err = w.tier.Round(context.Background()); err != nil {
					require.ErrorIs(t, err, blob.ErrChanged)
				}
			}
			return broke
		}
		broke := step(n)
		w.send("", `{"eventId":"late","eventName":"view","userId":"u1","timestamp":"2026-05-01T10:00:00Z"}`)
		w.erase(&erasure.Request{Kind: erasure.Person, User: "u3"}, func(_, sent string) bool { return strings.Contains(sent, `"userId":"u3"`) })
		w.at(4, 3)
		broke = step(n) || broke
		w.at(4, 6)
		broke = step(n) || broke
		w.now = time.Now().Add(100 * time.Hour) // when orphans are old
		w.restart()
		w.round()
		w.round()
		w.check(day0.AddDate(0, 0, 2))
		if !broke {
			require.Greater(t, n, 15)
			return
		}
	}
	t.Fatal("no round has so many calls")
}
