package spoor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

var background = context.Background()

func TestAnEventGoesOutWithItsIDAndTimeOfTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := f.open(t)
		called := time.Now()
		require.NoError(t, c.Track(background, Person{"u1", "a1"}, "purchase", map[string]any{"price": 19.5}))
		time.Sleep(time.Second)
		synctest.Wait()
		require.Len(t, f.seen(), 1)
		r := f.seen()[0]
		e := r.events[0]
		require.Equal(t, "7", e["eventId"].(string)[14:15])
		require.Equal(t, called.UTC().Format("2006-01-02T15:04:05.000000Z"), e["timestamp"])
		require.Equal(t, called.Add(time.Second).UTC(), r.sentAt)
		require.Equal(t, map[string]any{"price": 19.5}, e["properties"])
		require.Equal(t, "u1 a1 purchase", e["userId"].(string)+" "+e["anonymousId"].(string)+" "+e["eventName"].(string))
		require.Equal(t, map[string]any{"library": map[string]any{"name": "spoor-go", "version": Version}}, e["context"])
		require.NoError(t, c.Close(background))
	})
}

func TestABatchIsDueByCountByBytesOrByTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := f.open(t, func(o *Options) { o.BatchEvents, o.BatchBytes, o.FlushEvery = 10, 4000, time.Minute })
		enqueue(t, c, named("a", 9)...)
		synctest.Wait()
		require.Empty(t, f.seen())
		enqueue(t, c, "a9")
		synctest.Wait()
		require.Len(t, f.seen(), 1)
		require.Len(t, f.seen()[0].events, 10)
		for _, id := range []string{"b1", "b2"} {
			e := event(id)
			e.Properties = map[string]any{"text": strings.Repeat("x", 3000)}
			require.NoError(t, c.Enqueue(background, e))
		}
		synctest.Wait()
		require.Len(t, f.seen(), 2, "the second does not fit beside the first")
		require.Equal(t, []string{"b1"}, f.seen()[1].ids())
		time.Sleep(59 * time.Second)
		synctest.Wait()
		require.Len(t, f.seen(), 2)
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, []string{"b2"}, f.seen()[2].ids())
	})
}

func TestFlushReturnsWhenWhatCameBeforeIsStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.fault = func(int, request) (*http.Response, error) { time.Sleep(3 * time.Second); return nil, nil }
		c := f.open(t, func(o *Options) { o.BatchEvents, o.FlushEvery = 2, time.Hour })
		enqueue(t, c, named("a", 5)...)
		begin := time.Now()
		require.NoError(t, c.Flush(background))
		require.Equal(t, 9*time.Second, time.Since(begin), "three batches")
		require.Equal(t, named("a", 5), f.storedIDs())
		require.NoError(t, c.Flush(background), "nothing is left")

		enqueue(t, c, "late")
		ctx, cancel := context.WithTimeout(background, time.Second)
		defer cancel()
		require.ErrorIs(t, c.Flush(ctx), context.DeadlineExceeded)
	})
}

func TestCloseDrainsAndRefusesWhatComesLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := f.open(t, func(o *Options) { o.BatchEvents, o.FlushEvery = 100, time.Hour })
		enqueue(t, c, named("a", 250)...)
		require.NoError(t, c.Close(background))
		require.Equal(t, named("a", 250), f.storedIDs())
		require.ErrorIs(t, c.Enqueue(background, event("late")), ErrClosed)
		require.NoError(t, c.Close(background), "closing twice is closing once")
	})
}

func TestCloseGivesUpWithItsContextAndSaysWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.fault = func(int, request) (*http.Response, error) { return nil, errors.New("connection refused") }
		c := f.open(t)
		enqueue(t, c, named("a", 7)...)
		ctx, cancel := context.WithTimeout(background, 5*time.Second)
		defer cancel()
		begin := time.Now()
		err := c.Close(ctx)
		require.Equal(t, 5*time.Second, time.Since(begin))
		var unsent *UnsentError
		require.ErrorAs(t, err, &unsent)
		require.Equal(t, int64(7), unsent.Events)
		require.False(t, unsent.Spooled)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

func TestCloseDoesNotSitOutALongWaitBetweenTries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		var up atomic.Bool
		f.fault = func(int, request) (*http.Response, error) {
			if !up.Load() {
				return nil, errors.New("connection refused")
			}
			return nil, nil
		}
		c := f.open(t, func(o *Options) { o.RetryBase, o.RetryMax = 10*time.Hour, 10*time.Hour })
		enqueue(t, c, "a")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		up.Store(true)
		begin := time.Now()
		require.NoError(t, c.Close(background))
		require.Zero(t, time.Since(begin))
		require.Equal(t, []string{"a"}, f.storedIDs())
	})
}

// full returns a client that holds five events and whose server takes its time.
func full(t *testing.T, f *fake, policy Policy) *Client {
	f.fault = func(int, request) (*http.Response, error) { time.Sleep(10 * time.Second); return nil, f.broken() }
	c := f.open(t, func(o *Options) { o.QueueEvents, o.BatchEvents, o.WhenFull, o.MaxBlock = 5, 2, policy, 30*time.Second })
	enqueue(t, c, named("a", 2)...)
	synctest.Wait() // they are being sent
	enqueue(t, c, named("b", 3)...)
	return c
}

func TestTheOldestGiveWayButNotThoseBeingSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := full(t, f, DropOldest)
		begin := time.Now()
		enqueue(t, c, named("c", 4)...)
		require.Zero(t, time.Since(begin))
		require.NoError(t, c.Flush(background))
		require.Equal(t, append(named("a", 2), named("c", 4)[1:]...), f.storedIDs())
		s := c.Stats()
		require.Equal(t, uint64(9), s.Enqueued)
		require.Equal(t, uint64(4), s.DroppedOldest)
		require.Equal(t, uint64(5), s.Accepted)
	})
}

func TestTheNewestIsRefusedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := full(t, f, DropNewest)
		begin := time.Now()
		require.ErrorIs(t, c.Enqueue(background, event("c")), ErrFull)
		require.Zero(t, time.Since(begin))
		require.NoError(t, c.Close(background))
		require.Equal(t, append(named("a", 2), named("b", 3)...), f.storedIDs())
		require.Equal(t, uint64(1), c.Stats().DroppedNewest)
	})
}

func TestBlockWaitsForRoomButNotBeyondItsBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := full(t, f, Block)
		begin := time.Now()
		require.NoError(t, c.Enqueue(background, event("c1")))
		require.Equal(t, 10*time.Second, time.Since(begin), "until the first batch was answered")
		require.NoError(t, c.Enqueue(background, event("c2")))

		ctx, cancel := context.WithTimeout(background, 3*time.Second)
		defer cancel()
		begin = time.Now()
		err := c.Enqueue(ctx, event("c3"))
		require.ErrorIs(t, err, ErrFull)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 3*time.Second, time.Since(begin))
	})
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := full(t, f, Block)
		f.breaks.Store(true)
		begin := time.Now()
		require.ErrorIs(t, c.Enqueue(background, event("c3")), ErrFull)
		require.Equal(t, 30*time.Second, time.Since(begin), "MaxBlock")
	})
}

func TestAnEventLargerThanTheQueueIsRefusedWithoutDroppingAllOthers(t *testing.T) {
	f := newFake(t)
	c := f.open(t, func(o *Options) { o.QueueBytes, o.FlushEvery = maxEventBytes, time.Hour })
	enqueue(t, c, "a")
	e := event("b")
	e.Properties = map[string]any{"text": strings.Repeat("x", maxEventBytes)}
	require.ErrorIs(t, c.Enqueue(background, e), ErrInvalid)
	require.NoError(t, c.Close(background))
	require.Equal(t, []string{"a"}, f.storedIDs())
}

func TestAContextThatHasEndedIsNoReasonNotToQueue(t *testing.T) {
	f := newFake(t)
	c := f.open(t)
	ctx, cancel := context.WithCancel(background)
	cancel()
	require.NoError(t, c.Enqueue(ctx, event("a")))
	require.NoError(t, c.Close(background))
	require.Equal(t, []string{"a"}, f.storedIDs())
}

func TestTheHookSeesTheWholeContextAndMayChangeOrDrop(t *testing.T) {
	f := newFake(t)
	c := f.open(t, func(o *Options) {
		o.Context = map[string]any{"app": "shop"}
		o.BeforeSend = func(e *Event) bool {
			require.Equal(t, "shop", e.Context["app"])
			delete(e.Context, "ip")
			if e.Name == "panics" {
				panic("boom")
			}
			return e.Name != "secret"
		}
	})
	ctx := WithContext(background, map[string]any{"ip": "10.1.2.3", "requestId": "r1"})
	require.NoError(t, c.Enqueue(ctx, event("a")))
	require.NoError(t, c.Enqueue(ctx, Event{Name: "secret", UserID: "u"}))
	require.ErrorContains(t, c.Enqueue(ctx, Event{Name: "panics", UserID: "u"}), "boom")
	require.NoError(t, c.Close(background))
	require.Equal(t, []string{"a"}, f.storedIDs())
	around := f.seen()[0].events[0]["context"].(map[string]any)
	require.NotContains(t, around, "ip")
	require.Equal(t, "r1", around["requestId"])
	require.Equal(t, uint64(2), c.Stats().DroppedByHook)
}

func TestCallsBecomeItemsOfTheBatch(t *testing.T) {
	f := newFake(t)
	c := f.open(t, func(o *Options) { o.Context = map[string]any{"app": "shop"} })
	who := Person{UserID: "u", AnonymousID: "a"}
	require.NoError(t, c.Page(background, who, map[string]any{"title": "Home"}))
	require.NoError(t, c.Identify(background, who, map[string]any{"plan": "pro"}))
	require.NoError(t, c.Identify(background, User("u"), nil), "which says nothing")
	require.NoError(t, c.Alias(background, "u", "old"))
	require.NoError(t, c.Group(background, User("u"), "g1", map[string]any{"seats": 5}))
	require.NoError(t, c.Track(background, Anonymous("a"), "clicked", nil))
	require.NoError(t, c.Close(background))
	items := f.seen()[0].events
	for _, item := range items {
		require.NotEmpty(t, item["eventId"])
		require.NotEmpty(t, item["timestamp"])
		delete(item, "eventId")
	}
	require.Equal(t, items[3]["timestamp"], items[4]["timestamp"])
	for _, item := range items {
		delete(item, "timestamp")
		if item["context"] != nil {
			require.Contains(t, item["context"], "app")
			delete(item, "context")
		}
	}
	require.Equal(t, []map[string]any{
		{"eventName": "page_viewed", "userId": "u", "anonymousId": "a", "properties": map[string]any{"title": "Home"}},
		{"type": "identify", "userId": "u", "anonymousId": "a", "traits": map[string]any{"plan": "pro"}},
		{"type": "identify", "userId": "u", "anonymousId": "old"},
		{"eventName": "$group", "userId": "u", "properties": map[string]any{"groupId": "g1", "traits": map[string]any{"seats": 5.0}}},
		{"type": "identify", "userId": "u", "traits": map[string]any{"groupId": "g1"}},
		{"eventName": "clicked", "anonymousId": "a"},
	}, items)
}

func TestTheHookMayTakeTraitsOutOfACall(t *testing.T) {
	f := newFake(t)
	c := f.open(t, func(o *Options) {
		o.BeforeSend = func(e *Event) bool {
			if e.Name == IdentifyEvent {
				e.Traits = maps.Clone(e.Traits)
				delete(e.Traits, "email")
			}
			return true
		}
	})
	require.NoError(t, c.Identify(background, User("u"), map[string]any{"plan": "pro", "email": "u@example.com"}))
	require.NoError(t, c.Identify(background, User("u"), map[string]any{"email": "u@example.com"}), "of which nothing is left")
	require.NoError(t, c.Close(background))
	require.Len(t, f.seen()[0].events, 1)
	require.Equal(t, map[string]any{"plan": "pro"}, f.seen()[0].events[0]["traits"])
}

func TestASynchronousCallReturnsWhenTheServerHasAnsweredForItsEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.fault = func(n int, r request) (*http.Response, error) {
			time.Sleep(100 * time.Millisecond)
			switch {
			case n == 0:
				return reply(503, ""), nil
			case slices.Contains(r.ids(), "bad"):
				return reply(200, fmt.Sprintf(`{"accepted":%d,"duplicates":0,"rejected":[{"index":%d,"code":"bad_timestamp","message":"no"}]}`,
					len(r.ids())-1, slices.Index(r.ids(), "bad"))), nil
			}
			return nil, nil
		}
		c := f.open(t, func(o *Options) { o.Synchronous, o.FlushEvery = true, time.Hour })
		require.NoError(t, c.Enqueue(background, event("a")))
		require.Equal(t, []string{"a"}, f.storedIDs(), "after a second try")

		var calls sync.WaitGroup
		before := len(f.seen())
		for _, id := range append(named("e", 50), "bad") {
			calls.Go(func() {
				err := c.Enqueue(background, event(id))
				if id != "bad" {
					require.NoError(t, err)
					return
				}
				var refused *RefusedError
				require.ErrorAs(t, err, &refused)
				require.Equal(t, []string{"bad", "bad_timestamp"}, []string{refused.EventID, refused.Code})
			})
		}
		calls.Wait()
		require.LessOrEqual(t, len(f.seen())-before, 3, "calls at the same time share requests")
		require.NoError(t, c.Close(background))
	})
}

func TestASynchronousCallIsBoundedAndItsEventStaysQueued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.breaks.Store(true)
		f.fault = func(int, request) (*http.Response, error) { return nil, f.broken() }
		c := f.open(t, func(o *Options) { o.Synchronous, o.QueueEvents = true, 2 })
		began := time.Now()
		require.ErrorIs(t, c.Enqueue(background, event("a")), ErrUnanswered)
		require.Equal(t, 10*time.Second, time.Since(began))
		ctx, cancel := context.WithTimeout(background, time.Second)
		defer cancel()
		require.ErrorIs(t, c.Enqueue(ctx, event("b")), ErrUnanswered)
		require.Equal(t, 11*time.Second, time.Since(began))
		require.ErrorIs(t, c.Enqueue(background, event("c")), ErrFull, "the oldest do not give way: somebody may wait for them")
		require.Equal(t, 21*time.Second, time.Since(began))
		f.breaks.Store(false)
		require.NoError(t, c.Close(background))
		require.Equal(t, []string{"a", "b"}, f.storedIDs())
	})
}

func TestAnExposureIsSentOncePerDayByAllProcesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		open := func() *Client {
			return f.open(t, func(o *Options) { o.Experiments = map[string][]Weighted{"checkout": {{"control", 1}, {"new", 1}}} })
		}
		one, two := open(), open()
		want := Assign("checkout", "u1", []Weighted{{"control", 1}, {"new", 1}})
		for range 3 {
			require.Equal(t, want, one.Variant(background, User("u1"), "checkout"))
			require.Equal(t, want, two.Variant(background, User("u1"), "checkout"))
		}
		require.Empty(t, one.Variant(background, User("u1"), "unknown"))
		require.NoError(t, one.Flush(background))
		require.NoError(t, two.Flush(background))
		require.Len(t, f.storedIDs(), 1)
		require.Len(t, f.seen(), 2, "one by each process, which the server counts once")
		require.Equal(t, map[string]any{"experiment": "checkout", "variant": want}, f.seen()[0].events[0]["properties"])
		time.Sleep(24 * time.Hour)
		one.Variant(background, User("u1"), "checkout")
		require.NoError(t, one.Flush(background))
		require.Len(t, f.storedIDs(), 2)
	})
}

func TestOptionsThatCannotBeMeantAreRefused(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"Endpoint":    func(o *Options) { o.Endpoint = "localhost:7480" },
		"BatchEvents": func(o *Options) { o.BatchEvents = 10_001 },
		"BatchBytes":  func(o *Options) { o.BatchBytes = -1 },
		"queue":       func(o *Options) { o.QueueBytes = 1000 },
		"SpoolBytes":  func(o *Options) { o.SpoolBytes = 1000 },
		"SpoolSync":   func(o *Options) { o.SpoolSync = -5 },
		"duration":    func(o *Options) { o.Timeout = -1 },
		"WhenFull":    func(o *Options) { o.WhenFull = 3 },
		"Context":     func(o *Options) { o.Context = map[string]any{"f": func() {}} },
	} {
		o := Options{Endpoint: "https://events.test"}
		change(&o)
		_, err := New(o)
		require.ErrorContains(t, err, name)
	}
}
