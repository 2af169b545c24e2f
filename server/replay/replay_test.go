package replay_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/engine/event"
	"spoor/engine/traits"
	"spoor/segment/batch"
	"spoor/server/call"
	"spoor/server/collect"
	"spoor/server/replay"
)

// log keeps what is committed.
type log struct {
	replay.Rules // but for what is below: none
	mu           sync.Mutex
	rows         map[string]string // by eventId: time of receipt and source
	calls        []string
	fail         error
}

func (l *log) EventsEntry(dst []byte, b *batch.Batch) []byte { return b.AppendEncoded(dst) }

func (l *log) CommitEvents(_ context.Context, entry []byte) (v collect.Verdicts, index uint64, err error) {
	b, err := batch.Decode(entry)
	if err != nil {
		return v, 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return v, 0, l.fail
	}
	v.Duplicate, v.Refused = make([]bool, b.N), make([]*event.Reject, b.N)
	for i := range b.N {
		id := string(b.IDText(nil, i))
		source, _ := b.Sources.At(i)
		user, _ := b.Users.At(i)
		_, seen := l.rows[id]
		switch {
		case string(user) == "erased":
			v.Refused[i] = &event.Reject{Code: "person_erased", Message: "gone"}
		case seen:
			v.Duplicate[i] = true
		default:
			l.rows[id] = time.UnixMicro(b.ReceivedAt).UTC().Format(time.RFC3339Nano) + " " + string(source) + " " + time.UnixMicro(b.Times[i]).UTC().Format(time.RFC3339Nano)
		}
	}
	return v, 7, nil
}

func (l *log) RestorePersons(_ context.Context, calls []traits.Call) ([]int, uint64, error) {
	for _, c := range calls {
		l.calls = append(l.calls, fmt.Sprintf("%s %s %d traits at %d", c.UserID, c.AnonymousID, len(c.Traits), c.Time))
	}
	return nil, 9, l.fail
}

func TestEventsAreStoredWithTheirTimeOfReceiptAndSourceAndEveryLineIsCounted(t *testing.T) {
	l := &log{rows: map[string]string{}}
	c := &call.Call{Context: context.Background(), Body: []byte(strings.Join([]string{
		`{"eventId":"a","eventName":"home","userId":"u","timestamp":"2026-05-01T10:00:00Z","receivedAt":"2026-05-01T10:00:01.5Z","person":"u","source":"web"}`,
		``,
		`{"eventId":"b","eventName":"home","userId":"u","receivedAt":"2026-05-01T10:00:01.5Z"}`,
		`{"eventId":"c","eventName":"home","userId":"u","receivedAt":"2026-05-02T10:00:01.5Z","source":"app"}`,
		`{"eventId":"a","eventName":"home","userId":"u","timestamp":"2026-05-01T10:00:00Z","receivedAt":"2026-05-01T10:00:01.5Z","person":"u","source":"web"}`,
		`{"eventId":"d","eventName":"home","userId":"erased","receivedAt":"2026-05-03T10:00:00Z"}`,
		`{"eventId":"e","eventName":"home","userId":"u"}`,
		`{"eventId":"f","receivedAt":"2026-05-03T10:00:00Z"}`,
		`nonsense`,
	}, "\n"))}
	got, err := replay.New(l).Events(c)
	require.NoError(t, err)
	a := got.(replay.Answer)
	require.Equal(t, 3, a.Accepted)
	require.Equal(t, 1, a.Duplicates)
	codes := map[int]string{}
	for _, r := range a.Rejected {
		codes[r.Index] = r.Code
	}
	require.Equal(t, map[int]string{4: "person_erased", 5: "bad_received_at", 6: "missing_event_name", 7: "malformed_json"}, codes)
	require.Equal(t, map[string]string{
		"a": "2026-05-01T10:00:01.5Z web 2026-05-01T10:00:00Z",
		"b": "2026-05-01T10:00:01.5Z  2026-05-01T10:00:01.5Z",
		"c": "2026-05-02T10:00:01.5Z app 2026-05-02T10:00:01.5Z",
	}, l.rows)
	require.Equal(t, uint64(7), c.Index)

	l.fail = errors.New("no log")
	_, err = replay.New(l).Events(c)
	require.ErrorIs(t, err, l.fail)
	_, err = replay.New(l).Events(&call.Call{Body: []byte(strings.Repeat("{}\n", replay.MaxLines+1))})
	require.ErrorContains(t, err, "too_many_events")
}

func TestWhoIsWhoIsSaidWithTheOldestTraits(t *testing.T) {
	l := &log{}
	got, err := replay.New(l).Persons(&call.Call{Context: context.Background(), Body: []byte(`{"userId":"u","anonymousId":"a","traits":{"plan":"pro"}}` + "\n" + `{"traits":{}}` + "\n" + `{"userId":"v","anonymousId":"b"}`)})
	require.NoError(t, err)
	require.Equal(t, 2, got.(replay.Answer).Accepted)
	require.Len(t, got.(replay.Answer).Rejected, 1)
	require.Equal(t, []string{"u a 1 traits at 0", "v b 0 traits at 0"}, l.calls)
}
