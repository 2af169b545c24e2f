package spoor

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWhatMayPassIsSentAgainWithTheSameIDsUntilItIsStored(t *testing.T) {
	faults := map[string]func(f *fake, r request) (*http.Response, error){
		"no connection": func(*fake, request) (*http.Response, error) { return nil, errors.New("connection refused") },
		"answer lost":   func(f *fake, r request) (*http.Response, error) { f.keep(r); return nil, errors.New("reset by peer") },
		"408":           func(*fake, request) (*http.Response, error) { return reply(408, ""), nil },
		"429":           func(*fake, request) (*http.Response, error) { return reply(429, "slow down"), nil },
		"500":           func(*fake, request) (*http.Response, error) { return reply(500, "<html>"), nil },
		"503": func(*fake, request) (*http.Response, error) {
			return reply(503, `{"error":{"code":"overloaded"}}`), nil
		},
		"507":                   func(*fake, request) (*http.Response, error) { return reply(507, ""), nil },
		"a redirect":            func(*fake, request) (*http.Response, error) { return reply(302, "", "Location", "http://login"), nil },
		"a portal":              func(*fake, request) (*http.Response, error) { return reply(200, "<html>log in"), nil },
		"200 for other events":  func(*fake, request) (*http.Response, error) { return reply(200, `{"accepted":99}`), nil },
		"200 without an answer": func(*fake, request) (*http.Response, error) { return reply(200, "{}"), nil },
		"200 that counts twice": func(*fake, request) (*http.Response, error) {
			return reply(200, `{"accepted":0,"rejected":[{"index":0},{"index":0}]}`), nil
		},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				f.fault = func(n int, r request) (*http.Response, error) {
					if n < 7 {
						return fault(f, r)
					}
					return nil, nil
				}
				c := f.open(t, func(o *Options) { o.OnDead = func(d Dead) { t.Errorf("dead: %+v", d) } })
				enqueue(t, c, "a", "b")
				require.NoError(t, c.Flush(background))
				require.Equal(t, []string{"a", "b"}, f.storedIDs())
				seen := f.seen()
				require.Len(t, seen, 8)
				require.NotEqual(t, seen[0].sentAt, seen[7].sentAt, "sentAt is that of the try")
				require.Equal(t, seen[0].events, seen[7].events)
				s := c.Stats()
				require.Equal(t, uint64(2), s.Accepted+s.Duplicates)
				require.Equal(t, uint64(7), s.Retries)
				require.Zero(t, s.QueuedEvents)
			})
		})
	}
}

func TestOtherRefusalsAreFinalAndToldOnce(t *testing.T) {
	for _, status := range []int{400, 401, 403, 404, 405, 415, 422} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake(t)
			f.fault = func(n int, r request) (*http.Response, error) {
				if n == 0 {
					return reply(status, `{"error":{"code":"no_way","message":"because"}}`), nil
				}
				return nil, nil
			}
			var dead []Dead
			c := f.open(t, func(o *Options) { o.OnDead = func(d Dead) { dead = append(dead, d) } })
			enqueue(t, c, "a", "b")
			require.NoError(t, c.Flush(background))
			enqueue(t, c, "c")
			require.NoError(t, c.Close(background))
			require.Len(t, f.seen(), 2)
			require.Equal(t, []string{"c"}, f.storedIDs())
			require.Len(t, dead, 2)
			require.Equal(t, []string{"b", "no_way", "because"}, []string{dead[1].EventID, dead[1].Code, dead[1].Message})
			require.JSONEq(t, `"tested"`, string(dead[1].Event[len(`{"eventId":"b","eventName":`):][:8]))
			require.Equal(t, uint64(2), c.Stats().Dead)
		})
	}
}

func TestEventsThatAreRefusedAmongOthersAreTold(t *testing.T) {
	f := newFake(t)
	f.fault = func(int, request) (*http.Response, error) {
		return reply(200, `{"accepted":1,"duplicates":1,"rejected":[{"index":1,"eventId":"b","code":"bad_timestamp","message":"no"}]}`), nil
	}
	var dead []Dead
	c := f.open(t, func(o *Options) {
		o.OnDead = func(d Dead) { dead = append(dead, d); panic("a callback that fails harms nobody") }
	})
	enqueue(t, c, "a", "b", "c")
	require.NoError(t, c.Close(background))
	require.Len(t, dead, 1)
	require.Equal(t, []string{"b", "bad_timestamp", "no"}, []string{dead[0].EventID, dead[0].Code, dead[0].Message})
	s := c.Stats()
	require.Equal(t, []uint64{1, 1, 1}, []uint64{s.Accepted, s.Duplicates, s.Dead})
}

func TestABatchThatIsTooLargeIsDividedDownToTheEventThatIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.fault = func(_ int, r request) (*http.Response, error) {
			if len(r.events) > 3 || slices.Contains(r.ids(), "a0006") {
				return reply(413, `{"error":{"code":"too_large"}}`), nil
			}
			return nil, nil
		}
		var dead []string
		c := f.open(t, func(o *Options) { o.OnDead = func(d Dead) { dead = append(dead, d.EventID+" "+d.Code) } })
		enqueue(t, c, named("a", 10)...)
		require.NoError(t, c.Close(background))
		require.Equal(t, []string{"a0006 too_large"}, dead)
		require.Equal(t, slices.Concat(named("a", 10)[:6], named("a", 10)[7:]), f.storedIDs())
	})
}

func TestWaitsDoubleUpToABoundWithFullJitter(t *testing.T) {
	s := &sender{opts: &Options{RetryBase: time.Second, RetryMax: time.Minute}, random: func() float64 { return 0.5 }}
	for try, want := range []time.Duration{500, 1000, 2000, 4000, 8000, 16000, 30000, 30000} {
		require.Equal(t, want*time.Millisecond, s.backoff(try, 0))
	}
	require.Equal(t, 30*time.Second, s.backoff(1<<40, 0))
	s.random = rand.Float64
	lowest, highest := time.Hour, time.Duration(0)
	for range 1000 {
		wait := s.backoff(3, 0)
		lowest, highest = min(lowest, wait), max(highest, wait)
	}
	require.Less(t, lowest, time.Second)
	require.Greater(t, highest, 7*time.Second)
	require.Less(t, highest, 8*time.Second)
}

func TestRetryAfterIsObeyedInBothForms(t *testing.T) {
	for name, header := range map[string]func() string{
		"seconds": func() string { return "120" },
		"a date":  func() string { return time.Now().Add(120 * time.Second).UTC().Format(http.TimeFormat) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				f.fault = func(n int, _ request) (*http.Response, error) {
					if n < 2 {
						return reply(429+74*n, "", "Retry-After", header()), nil // 429, 503
					}
					return nil, nil
				}
				c := f.open(t)
				enqueue(t, c, "a")
				require.NoError(t, c.Flush(background))
				seen := f.seen()
				for i := 1; i < 3; i++ {
					wait := seen[i].at.Sub(seen[i-1].at)
					require.GreaterOrEqual(t, wait, 119*time.Second, "dates have no fractions")
					require.Less(t, wait, 121*time.Second)
				}
			})
		})
	}
}

func TestRetryAfterIsBounded(t *testing.T) {
	now := time.Unix(1e9, 0)
	require.Equal(t, maxRetryAfter, retryAfter("4000000000", now))
	require.Equal(t, maxRetryAfter, retryAfter(now.Add(time.Hour*100).UTC().Format(http.TimeFormat), now))
	for _, text := range []string{"", "soon", "-5", "1e9", "99999999999999999999", now.Add(-time.Hour).UTC().Format(http.TimeFormat)} {
		require.Zero(t, retryAfter(text, now), "%q", text)
	}
}

func TestARequestThatHangsEndsAfterItsTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := f.open(t, func(o *Options) {
			o.Timeout = 20 * time.Second
			o.HTTPClient = &http.Client{Transport: hanging{f}}
		})
		enqueue(t, c, "a")
		require.NoError(t, c.Flush(background))
		require.Equal(t, []string{"a"}, f.storedIDs())
		require.Equal(t, uint64(2), c.Stats().Requests)
	})
}

// hanging swallows the first request.
type hanging struct{ f *fake }

func (h hanging) RoundTrip(r *http.Request) (*http.Response, error) {
	h.f.mu.Lock()
	first := h.f.stored["hung"] == 0
	h.f.stored["hung"]++
	h.f.mu.Unlock()
	if first {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	return h.f.RoundTrip(r)
}

// Whatever fails and however often, each event is stored once, or told of as
// dead, or counted as dropped: in the order of the calls.
func TestEveryEventHasOneFateWhateverFails(t *testing.T) {
	for seed := range uint64(16) {
		synctest.Test(t, func(t *testing.T) {
			random, weather := rand.New(rand.NewPCG(seed, 1)), rand.New(rand.NewPCG(seed, 2))
			f := newFake(t)
			f.fault = func(_ int, r request) (*http.Response, error) {
				time.Sleep(time.Duration(weather.IntN(2000)) * time.Millisecond)
				switch weather.IntN(8) {
				case 0:
					return nil, errors.New("reset")
				case 1:
					f.keep(r)
					return nil, errors.New("reset behind the request")
				case 2:
					return reply(503, "", "Retry-After", fmt.Sprint(weather.IntN(5))), nil
				case 3:
					if !slices.Contains(f.storedIDs(), r.ids()[0]) { // a server that has it would say so
						return reply(413, ""), nil
					}
				}
				return nil, nil
			}
			dead := map[string]bool{}
			c := f.open(t, func(o *Options) {
				o.BatchEvents, o.QueueEvents, o.WhenFull = 1+random.IntN(20), 20+random.IntN(100), Policy(random.IntN(2))
				o.OnDead = func(d Dead) { dead[d.EventID] = true }
				if seed%2 == 1 {
					o.SpoolDir = filepath.Join(t.TempDir(), "spool")
				}
			})
			var queued []string
			for _, id := range named("e", 300) {
				if err := c.Enqueue(background, event(id)); err == nil {
					queued = append(queued, id)
				} else {
					require.ErrorIs(t, err, ErrFull)
				}
				if random.IntN(10) == 0 {
					time.Sleep(time.Duration(random.IntN(3000)) * time.Millisecond)
				}
			}
			require.NoError(t, c.Close(background))
			s := c.Stats()
			require.Equal(t, uint64(len(queued)), s.Enqueued)
			require.Equal(t, s.Enqueued, s.Accepted+s.Duplicates+s.Dead+s.DroppedOldest, "%+v", s)
			require.Equal(t, uint64(300), s.Enqueued+s.DroppedNewest)
			require.True(t, slices.IsSorted(f.storedIDs()))
			for id := range dead {
				require.NotContains(t, f.storedIDs(), id)
			}
			require.Zero(t, s.QueuedEvents+s.QueuedBytes)
		})
	}
}

func TestTheLogTellsOfAnOutageAndOfWhatWasLostInIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.breaks.Store(true)
		f.fault = func(int, request) (*http.Response, error) { return nil, f.broken() }
		var log bytes.Buffer
		c := f.open(t, func(o *Options) {
			o.QueueEvents, o.Logger = 3, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelInfo}))
		})
		enqueue(t, c, named("e", 2)...)
		time.Sleep(time.Hour)
		enqueue(t, c, named("f", 4)...)
		f.breaks.Store(false)
		require.NoError(t, c.Close(background))
		require.Equal(t, 2, strings.Count(log.String(), "\n"), "%s", log.String())
		require.Contains(t, log.String(), "level=WARN msg=\"events could not be sent and will be sent again\" code=no_answer")
		require.Contains(t, log.String(), "level=ERROR msg=\"events are sent again; meanwhile there was no room for all\"")
		require.Contains(t, log.String(), "dropped=3")
	})
}

func FuzzAnAnswerIsBelievedOnlyWhereItAccountsForEveryEvent(f *testing.F) {
	f.Add(200, `{"accepted":2,"duplicates":1,"rejected":[]}`, "")
	f.Add(200, `{"accepted":1,"duplicates":1,"rejected":[{"index":2,"code":"c","message":"m"}]}`, "5")
	f.Add(200, `{"accepted":18446744073709551615,"duplicates":4}`, "")
	f.Add(503, `{"error":{"code":"overloaded"}}`, "Fri, 31 Dec 1999 23:59:59 GMT")
	f.Add(413, "\xff", "-1")
	f.Fuzz(func(t *testing.T, status int, body, after string) {
		a := readAnswer(status, http.Header{"Retry-After": {after}}, []byte(body), 3, time.Unix(0, 0))
		require.LessOrEqual(t, a.wait, maxRetryAfter)
		require.GreaterOrEqual(t, a.wait, time.Duration(0))
		if a.verdict == stored {
			require.Equal(t, 200, status)
			require.Equal(t, uint64(3), a.accepted+a.duplicates+uint64(len(a.rejected)))
			require.LessOrEqual(t, max(a.accepted, a.duplicates), uint64(3))
			for _, r := range a.rejected {
				require.True(t, r.Index >= 0 && r.Index < 3)
			}
		}
	})
}
