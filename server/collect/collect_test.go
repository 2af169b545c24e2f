package collect_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"spoor/engine/event"
	"spoor/engine/letters"
	"spoor/segment/batch"
	"spoor/server/collect"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a log that keeps what was committed.
type memory struct {
	mu      sync.Mutex
	batches []*batch.Batch
	seen    map[string]bool
	gate    chan struct{} // if not nil, a commit takes one from it
	begun   atomic.Int64
	err     error
	forget  bool
	refuse  map[string]bool // userIds
	chunks  [][]byte        // entries of letters
	keep    bool            // what is refused becomes a letter
	noRoom  error           // for letters
}

// refusals refuses the events of some users.
func (m *memory) refusals(b *batch.Batch) []*event.Reject {
	if m.refuse == nil {
		return nil
	}
	out := make([]*event.Reject, b.N)
	for i := range out {
		if user, _ := b.Users.At(i); m.refuse[string(user)] {
			out[i] = &event.Reject{Code: "person_erased", Message: "no"}
		}
	}
	return out
}

func (m *memory) EventsEntry(dst []byte, b *batch.Batch) []byte { return b.AppendEncoded(dst) }

func (m *memory) CommitLetters(_ context.Context, b letters.Bounds, encoded []byte) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := errors.Join(m.err, m.noRoom); err != nil {
		return 0, err
	}
	m.chunks = append(m.chunks, append(letters.AppendBounds(nil, b), encoded...))
	return uint64(len(m.chunks)), nil
}

func (m *memory) CommitEvents(_ context.Context, entry []byte) (collect.Verdicts, uint64, error) {
	m.begun.Add(1)
	if m.gate != nil {
		<-m.gate
	}
	if m.forget {
		return collect.Verdicts{}, uint64(m.begun.Load()), nil
	}
	b, err := batch.Decode(entry)
	if err != nil {
		return collect.Verdicts{}, 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return collect.Verdicts{}, 0, m.err
	}
	if m.seen == nil {
		m.seen = map[string]bool{}
	}
	duplicate := make([]bool, b.N)
	for i := range b.N {
		id := string(b.IDText(nil, i))
		duplicate[i] = m.seen[id]
		m.seen[id] = true
	}
	m.batches = append(m.batches, b)
	v := collect.Verdicts{Duplicate: duplicate, Refused: m.refusals(b)}
	if m.keep && v.Refused != nil {
		v.Letters = make([]*letters.Letter, b.N)
		for i, why := range v.Refused {
			if why != nil {
				v.Letters[i] = &letters.Letter{ID: string(b.IDText(nil, i)), Reason: why.Code, Event: event.AppendJSON(nil, event.RowOf(b, i))}
			}
		}
	}
	return v, uint64(len(m.batches)), nil
}

func line(id int) string {
	return fmt.Sprintf(`{"eventId":"e%d","eventName":"home","userId":"u%d","properties":{"n":%d}}`, id, id%5, id)
}

func one(t *testing.T, c *collect.Collector, id int) (accepted, duplicates int) {
	r := collect.NewRequest()
	defer r.Release()
	if err := r.One(c, []byte(line(id)), ""); err != nil {
		t.Error(err)
	}
	return r.Accepted, r.Duplicates
}

func TestAnIdleLogTakesAnEventAtOnceAndABusyOneWhateverCame(t *testing.T) {
	m := &memory{gate: make(chan struct{})}
	c := collect.New(m, collect.Options{})
	defer c.Close()
	var wg sync.WaitGroup
	wg.Go(func() { one(t, c, 0) })
	require.Eventually(t, func() bool { return m.begun.Load() == 1 }, 5*time.Second, time.Millisecond)
	for i := range 100 {
		wg.Go(func() { one(t, c, 1+i) })
	}
	require.Eventually(t, func() bool { return c.Stats().Waiting == 101 && c.Stats().Gathered == 100 }, 5*time.Second, time.Millisecond)
	require.EqualValues(t, 1, m.begun.Load(), "what is not full waits while the log is busy")
	close(m.gate)
	wg.Wait()
	require.LessOrEqual(t, m.begun.Load(), int64(1+16), "a hundred events in an entry for each builder")
	require.EqualValues(t, 101, c.Stats().Rows)
}

func TestEveryRequestLearnsOfItsOwnRows(t *testing.T) {
	m := &memory{}
	c := collect.New(m, collect.Options{})
	defer c.Close()
	var wg sync.WaitGroup
	var accepted, duplicates atomic.Int64
	for w := range 16 {
		wg.Go(func() {
			for i := range 200 {
				a, d := one(t, c, i) // all clients send the same 200 events
				accepted.Add(int64(a))
				duplicates.Add(int64(d))
				if a+d != 1 {
					t.Errorf("client %d, event %d: %d and %d", w, i, a, d)
				}
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 200, accepted.Load())
	require.EqualValues(t, 15*200, duplicates.Load())
}

func TestABadBodyLeavesTheRowsOfOthersAlone(t *testing.T) {
	m := &memory{gate: make(chan struct{})}
	c := collect.New(m, collect.Options{})
	defer c.Close()
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() { one(t, c, i) })
		wg.Go(func() {
			r := collect.NewRequest()
			defer r.Release()
			err := r.Many(c, []byte("["+line(1000+i)+","+line(2000+i)+",}"), "")
			var rej *event.Reject
			if !errors.As(err, &rej) || len(r.Rejected)+len(r.Assigned) > 0 {
				t.Errorf("a body that is no JSON was taken: %v", err)
			}
		})
	}
	require.Eventually(t, func() bool { return c.Stats().Waiting == 40 }, 5*time.Second, time.Millisecond)
	close(m.gate)
	wg.Wait()
	require.Len(t, m.seen, 40)
}

func TestTheTimeOfReceiptIsTheClocksInMilliseconds(t *testing.T) {
	m := &memory{}
	at := time.UnixMicro(1_700_000_000_123_456)
	c := collect.New(m, collect.Options{Now: func() time.Time { return at }, Random: func(p []byte) { clear(p) }})
	defer c.Close()
	r := collect.NewRequest()
	defer r.Release()
	require.NoError(t, r.Many(c, []byte(`{"eventName":"home","userId":"u"}`), "src"))
	require.EqualValues(t, 1_700_000_000_123_000, m.batches[0].ReceivedAt)
	require.Equal(t, m.batches[0].ReceivedAt, m.batches[0].Times[0])
	require.Equal(t, "018bcfe5-687b-7000-8000-000000000000", string(r.AssignedID(0)))
	source, _ := m.batches[0].Sources.At(0)
	require.Equal(t, "src", string(source))
}

func TestALongBodyIsCommittedInSeveralEntriesOrNotAtAll(t *testing.T) {
	m := &memory{}
	c := collect.New(m, collect.Options{MaxEvents: 20_000})
	defer c.Close()
	var b strings.Builder
	for i := range 15_000 {
		b.WriteString(line(i) + "\n")
	}
	r := collect.NewRequest()
	defer r.Release()
	array := "[" + strings.ReplaceAll(strings.TrimSpace(b.String()), "\n", ",")
	require.Error(t, r.Many(c, []byte(array+"}"), ""))
	require.Empty(t, m.batches)
	require.NoError(t, r.Many(c, []byte(array+"]"), ""))
	require.Equal(t, 15_000, r.Accepted)
	require.Greater(t, len(m.batches), 2)
	for _, b := range m.batches {
		require.LessOrEqual(t, b.N, 4096)
	}
}

func TestBodiesOfManyDifferentColumnsFindRoom(t *testing.T) {
	m := &memory{}
	c := collect.New(m, collect.Options{})
	defer c.Close()
	r := collect.NewRequest()
	defer r.Release()
	for round := range 3 {
		var b strings.Builder
		for i := range 60 {
			fmt.Fprintf(&b, `{"eventId":"r%d-%d","eventName":"home","userId":"u","properties":{`, round, i)
			for k := range 400 {
				fmt.Fprintf(&b, `"k%d_%d_%d":1,`, round, i, k)
			}
			b.WriteString("\"last\":1}}\n")
		}
		require.NoError(t, r.Many(c, []byte(b.String()), ""))
		require.Empty(t, r.Rejected)
		require.Equal(t, 60, r.Accepted)
		c2, d2 := one(t, c, round)
		require.Equal(t, 1, c2+d2)
	}
}

// counter counts the events that it decides on, as what counts them does.
type counter struct{ calls, counted *atomic.Int64 }

func (n counter) Govern(d *event.Draft) event.Verdict {
	n.calls.Add(1)
	if !d.Origin().Counted {
		n.counted.Add(1)
	}
	return event.Verdict{}
}

func TestABodyThatIsReadAgainIsCountedOnce(t *testing.T) {
	m := &memory{}
	n := counter{new(atomic.Int64), new(atomic.Int64)}
	c := collect.New(m, collect.Options{Governor: func() event.Governor { return n }})
	defer c.Close()
	wide := func(event, columns int) string { // no column is another event's
		var b strings.Builder
		fmt.Fprintf(&b, `{"eventName":"home","userId":"u","properties":{"k%d_0":1`, event)
		for k := 1; k < columns; k++ {
			fmt.Fprintf(&b, `,"k%d_%d":1`, event, k)
		}
		return b.String() + "}}\n"
	}
	r := collect.NewRequest()
	defer r.Release()
	var body strings.Builder
	for i := range 20 {
		body.WriteString(wide(i, 900))
	}
	require.NoError(t, r.Many(c, []byte(body.String()), ""))
	require.Equal(t, 20, r.Accepted)
	require.Greater(t, n.calls.Load(), int64(20), "the shared batch was full, and the body was read again")
	require.EqualValues(t, 20, n.counted.Load())

	again := collect.NewRequest()
	defer again.Release()
	again.Met = 2 // as after a try that the log refused
	require.NoError(t, again.Many(c, []byte(wide(1, 1)+wide(2, 1)+wide(3, 1)), ""))
	require.EqualValues(t, 21, n.counted.Load())
	require.Equal(t, 3, again.Met)
}

func TestAnErrorOfTheLogReachesAllWhoWait(t *testing.T) {
	lost := errors.New("lost")
	m := &memory{err: lost}
	c := collect.New(m, collect.Options{})
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			r := collect.NewRequest()
			defer r.Release()
			if err := r.One(c, []byte(line(i)), ""); !errors.Is(err, lost) || r.Accepted != 0 {
				t.Errorf("event %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	c.Close()
	r := collect.NewRequest()
	defer r.Release()
	require.ErrorIs(t, r.One(c, []byte(line(1)), ""), collect.ErrClosed)
	require.NotZero(t, c.Stats().Failed)
}

func TestAFloodOfLongBodiesDoesNotKeepASingleEventWaiting(t *testing.T) {
	m := &memory{forget: true}
	c := collect.New(m, collect.Options{})
	defer c.Close()
	var long strings.Builder
	for i := range 9000 {
		long.WriteString(line(i) + "\n")
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for ctx.Err() == nil {
				r := collect.NewRequest()
				if err := r.Many(c, []byte(long.String()), ""); err != nil {
					t.Error(err)
				}
				r.Release()
			}
		})
	}
	for i := range 50 {
		one(t, c, i)
	}
	cancel()
	wg.Wait()
}

// delayed is a log that takes a while, as a disk does.
type delayed struct {
	memory
	takes time.Duration
}

func (d *delayed) CommitEvents(context.Context, []byte) (collect.Verdicts, uint64, error) {
	time.Sleep(d.takes)
	return collect.Verdicts{}, 1, nil
}

func BenchmarkSingleEventsOf64Clients(b *testing.B) {
	body := []byte(`{"eventId":"6f1c0e5a-93d5-4a1e-8f2b-0d6c1b7a9e10","eventName":"product_viewed","userId":"user_0001234","timestamp":"2026-03-07T10:11:12.345Z","properties":{"productId":"sku-00123","category":"cat_07","price":129.99,"quantity":1,"currency":"EUR","coupon":null},"context":{"platform":"ios","country":"DE","appVersion":"4.12.3","locale":"de-DE"}}`)
	for _, takes := range []time.Duration{0, time.Millisecond, 4 * time.Millisecond} {
		b.Run(fmt.Sprintf("log=%v", takes), func(b *testing.B) {
			c := collect.New(&delayed{takes: takes}, collect.Options{})
			defer c.Close()
			b.ReportAllocs()
			var left atomic.Int64
			left.Store(int64(b.N))
			var wg sync.WaitGroup
			for range 64 {
				wg.Go(func() {
					for left.Add(-1) >= 0 {
						r := collect.NewRequest()
						if err := r.One(c, body, ""); err != nil {
							b.Error(err)
						}
						r.Release()
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/float64(c.Stats().Entries), "rows/entry")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

func TestARefusedEventIsNamedByItsPlaceInTheBody(t *testing.T) {
	m := &memory{refuse: map[string]bool{"gone": true}}
	c := collect.New(m, collect.Options{})
	defer c.Close()
	var lines []byte
	for i := range 9000 { // more than one entry
		switch {
		case i%3000 == 1:
			lines = append(lines, "{broken\n"...)
		case i%3000 == 2:
			lines = fmt.Appendf(lines, `{"eventId":"%d","eventName":"e","userId":"gone"}`+"\n", i)
		default:
			lines = fmt.Appendf(lines, `{"eventId":"%d","eventName":"e","userId":"u"}`+"\n", i)
		}
	}
	r := collect.NewRequest()
	defer r.Release()
	require.NoError(t, r.Many(c, lines, ""))
	require.Equal(t, 9000-6, r.Accepted)
	var got []string
	for _, x := range r.Rejected {
		got = append(got, fmt.Sprintf("%d %s", x.Index, x.Code))
	}
	require.Equal(t, []string{
		"1 malformed_json", "2 person_erased", "3001 malformed_json", "3002 person_erased", "6001 malformed_json", "6002 person_erased",
	}, got)
}
