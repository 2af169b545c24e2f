package query_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/engine/query"
	"spoor/engine/query/lang"
	"spoor/engine/query/oracle"
)

func TestEveryExampleOfTheReferenceIsAnsweredAndAgreesWithTheOracle(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "query-language.md"))
	require.NoError(t, err)
	db, model := openStore(t), &oracle.Store{}
	for i, name := range []string{"page_viewed", "search", "purchase", "signed_up", "experiment_viewed", "Order Completed", "refund", "page_viewed", "purchase"} {
		for person := range 3 {
			line := fmt.Appendf(nil, `{"eventId":"e%d-%d","userId":"u%d","eventName":%q,"timestamp":"2026-05-0%dT10:00:00Z","properties":{"price":%d,"category":"c%d","variant":"v%d"},"context":{"device":"phone","campaign":"k"}}`,
				i, person, person, name, 1+i%7, 5*i, person%2, person%2)
			received := 1_790_000_000_000_000 + int64(10*i+person)*1000
			model.Add(oracleEvent(t, line, received))
			loadAt(t, db, [][]byte{line}, received)
		}
	}
	now := time.Date(2026, 5, 10, 12, 0, 0, 0, time.UTC)
	e := query.New(db, query.Limits{}, func() time.Time { return now })
	examples := 0
	for i, block := range strings.Split(string(text), "```") {
		body, ok := strings.CutPrefix(block, "spoor\n")
		if i%2 == 0 || !ok {
			continue
		}
		for q := range strings.Lines(body) {
			examples++
			got, err := e.Ask(context.Background(), q)
			require.NoError(t, err, q)
			want, err := model.Ask(q, now.UnixMicro())
			require.NoError(t, err, q)
			if !strings.HasPrefix(q, "events") { // the oracle does not write events as they were sent
				require.Empty(t, difference("", plain(t, want), plain(t, got)), q)
			}
		}
	}
	require.Greater(t, examples, 30)
}

// limited is an engine over a store of a few persons, with limits.
func limited(t *testing.T, limits query.Limits) *query.Engine {
	t.Helper()
	db := openStore(t)
	var lines [][]byte
	for i := range 200 {
		lines = append(lines, fmt.Appendf(nil, `{"eventId":"e%d","userId":"u%d","eventName":"a","timestamp":"2026-05-02T10:00:00Z","properties":{"n":%d}}`, i, i%5, i))
	}
	load(t, db, lines, 50)
	return query.New(db, limits, func() time.Time { return worldNow })
}

func TestAQueryBeyondALimitSaysWhichAndWhatToDo(t *testing.T) {
	all := query.DefaultLimits()
	for _, c := range []struct {
		change func(*query.Limits)
		text   string
		says   string
	}{
		{func(l *query.Limits) { l.Buckets = 10 }, "trend count of a every day" + may, "more than 10 periods"},
		{func(l *query.Limits) { l.Groups = 50 }, "trend count of a by n" + may, "more than 50 different values"},
		{func(l *query.Limits) { l.Groups = 50 }, "funnel a -> a by n" + may, "more than 50 different values"},
		{func(l *query.Limits) { l.Groups = 50 }, "retention a -> a by n" + may, "more than 50 different values"},
		{func(l *query.Limits) { l.Bytes = 100 }, "funnel a -> a -> a" + may, "more than 100 bytes of rows"},
	} {
		l := all
		c.change(&l)
		_, err := limited(t, l).Ask(context.Background(), c.text)
		var e *query.Error
		require.ErrorAs(t, err, &e, c.text)
		require.Equal(t, query.ErrTooMuch, e.Code)
		require.Contains(t, e.Message, c.says)
	}
}

func TestTopCountsPersonsHoweverManyValuesThereAre(t *testing.T) {
	for _, distinct := range []int{3, 64, 65, 400} { // up to 64 with their absence take one pass
		db := openStore(t)
		var lines [][]byte
		for i := range 1200 {
			lines = append(lines, fmt.Appendf(nil, `{"eventId":"e%d","userId":"u%d","eventName":"search","timestamp":"2026-05-%02dT10:00:00Z","properties":{"term":"t%d"}}`,
				i, i%90, 1+i%9, i%distinct))
		}
		load(t, db, lines, 500)
		e := query.New(db, query.Limits{}, time.Now)
		got, err := e.Ask(context.Background(), "top properties.term of search from 2026-05-01 to 2026-06-01 limit 400")
		require.NoError(t, err)
		values := got.(*query.TopAnswer).Values
		require.Len(t, values, distinct)
		for _, v := range values {
			term, events, persons := v.Value, 0, map[int]bool{}
			for i := range 1200 {
				if term == fmt.Sprintf("t%d", i%distinct) {
					events++
					persons[i%90] = true
				}
			}
			require.Equal(t, events, v.Count, "%v of %d", term, distinct)
			require.Equal(t, len(persons), v.Users, "%v of %d", term, distinct)
		}
	}
}

func TestAQueryThatIsCancelledEndsWithTheCause(t *testing.T) {
	e := limited(t, query.DefaultLimits())
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, text := range []string{
		"funnel a -> a", "funnel a", "trend users of a by n", "retention a -> a by n", "sessions", "paths", "top n of a", "users of a",
		"attribution a by n", "experiment n goal a exposure a",
	} {
		_, err := e.Ask(ctx, text+may)
		require.ErrorIs(t, err, context.Canceled, text)
	}
	require.Empty(t, e.Running(), "none is left behind")
}

// pausing is a context that holds up whoever asks whether it has ended.
type pausing struct {
	context.Context
	held, release chan struct{}
	once          *sync.Once
}

func (p pausing) Err() error {
	p.once.Do(func() {
		close(p.held)
		<-p.release
	})
	return nil
}

func TestARunningQueryIsListedWithItsProgressUntilItEnds(t *testing.T) {
	e := limited(t, query.DefaultLimits())
	q, err := lang.Parse("trend users of a by n" + may)
	require.NoError(t, err)
	ctx := pausing{context.Background(), make(chan struct{}), make(chan struct{}), &sync.Once{}}
	done := make(chan error, 1)
	go func() {
		_, err := e.Answer(ctx, q, query.Options{ID: "mine"})
		done <- err
	}()
	<-ctx.held
	running := e.Running()
	require.Len(t, running, 1)
	require.Equal(t, "mine", running[0].ID)
	require.Contains(t, running[0].Query, "trend users of a")
	require.EqualValues(t, 200, running[0].RowsTotal)
	require.Less(t, running[0].Progress, 1.0)
	close(ctx.release)
	require.NoError(t, <-done)
	require.Empty(t, e.Running())
}

// impatient is a context that ends when it was asked so often.
type impatient struct {
	context.Context
	left atomic.Int64
}

func (c *impatient) Err() error {
	if c.left.Add(-1) < 0 {
		return context.Canceled
	}
	return nil
}

func TestAQueryThatNobodyWaitsForEndsBeforeTheNextSection(t *testing.T) {
	const names = 40 // of one day, a section each
	db := openStore(t)
	var lines [][]byte
	for i := range names {
		for person := range 3 {
			lines = append(lines, fmt.Appendf(nil, `{"eventId":"e%d-%d","userId":"u%d","eventName":"n%02d","timestamp":"2026-05-02T10:00:00Z"}`, i, person, person, i))
		}
	}
	load(t, db, lines, len(lines))
	_, err := db.Checkpoint(context.Background())
	require.NoError(t, err)
	limits := query.DefaultLimits()
	limits.Workers = 1
	e := query.New(db, limits, func() time.Time { return worldNow })
	for _, text := range []string{"top eventName of any", "sessions", "funnel any -> any"} {
		q, err := lang.Parse(text + may)
		require.NoError(t, err)
		asked := int64(0)
		for ; ; asked++ {
			ctx := &impatient{Context: context.Background()}
			ctx.left.Store(asked)
			if _, err = e.Answer(ctx, q, query.Options{NoCache: true}); err == nil {
				break
			}
			require.ErrorIs(t, err, context.Canceled, text)
			require.GreaterOrEqual(t, ctx.left.Load(), int64(-3), "%s: it goes on though it was told", text)
		}
		require.GreaterOrEqual(t, asked, int64(names), text)
	}
}
