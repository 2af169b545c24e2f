package server_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"spoor/server"
	"spoor/server/access"
)

// stats of a batch that was posted.
type stored struct {
	Accepted, Duplicates int
	Rejected             []struct {
		Index         int
		EventID, Code string
	}
}

func (n *node) batch(items string, header ...string) (s stored) {
	n.t.Helper()
	r := n.post("/api/events/batch", items, header...)
	require.Equal(n.t, 200, r.status, "%s", r.body)
	require.NoError(n.t, json.Unmarshal(r.body, &s), "%s", r.body)
	return s
}

// person is the answer of who an id is.
func (n *node) person(id string) string {
	n.t.Helper()
	return string(n.do("GET", "/api/users/"+url.PathEscape(id), nil).body)
}

func TestABatchTakesIdentifyCallsBetweenEvents(t *testing.T) {
	const items = `{"eventId":"e1","eventName":"viewed","anonymousId":"phone","timestamp":"2026-05-01T10:00:00Z"}
{"eventId":"c1","type":"identify","userId":"ada","anonymousId":"phone","timestamp":"2026-05-01T10:01:00Z","traits":{"plan":"pro","address":{"city":"London"}},"context":{"a":1}}
{"type":"identify","userId":"ada","timestamp":"2026-05-01T10:00:30Z","traits":{"plan":"free","age":36}}
{"eventId":"e2","eventName":"bought","userId":"ada","timestamp":"2026-05-01T10:02:00Z"}`
	for form, body := range map[string]string{
		"lines":   items,
		"array":   "[" + strings.ReplaceAll(items, "\n", ",") + "]",
		"wrapper": `{"sentAt":"2026-05-01T10:02:01Z","batch":[` + strings.ReplaceAll(items, "\n", ",") + "]}",
	} {
		t.Run(form, func(t *testing.T) {
			n := start(t, server.Options{})
			s := n.batch(body)
			require.Equal(t, 4, s.Accepted)
			require.Empty(t, s.Rejected)
			again := n.batch(body)
			require.Equal(t, 2, again.Accepted, "a call has no duplicates")
			require.Equal(t, 2, again.Duplicates)
			require.Equal(t, `{"person":"ada","userId":"ada","anonymousIds":["phone"],"traits":{"address":{"city":"London"},"age":36,"plan":"pro"}}`, n.person("phone"))
			require.Contains(t, string(n.post("/api/query", `trend users, count of any where user.plan = "pro" from 2026-05-01 to 2026-05-02 every day`).body), `"value":2}`, "the calls are no events")
			require.Contains(t, string(n.do("GET", "/metrics", nil).body), "spoor_events_accepted_total 2\n")
		})
	}
}

func TestAnItemIsACallOnlyWithoutANameAndWithTheType(t *testing.T) {
	n := start(t, server.Options{})
	s := n.batch(`{"eventName":"viewed","type":"identify","userId":"u1","traits":{"plan":"pro"}}
{"type":"track","userId":"u1","traits":{"plan":"pro"}}
{"type":7,"userId":"u1","traits":{"plan":"pro"}}
{"properties":{"type":"identify"},"userId":"u1","traits":{"plan":"pro"}}
{"\u0074ype" : "identi\u0066y", "userId":"u2", "traits":{"plan":"pro"}}`)
	require.Equal(t, 2, s.Accepted)
	require.Len(t, s.Rejected, 3)
	for i, r := range s.Rejected {
		require.Equal(t, 1+i, r.Index)
		require.Equal(t, "missing_event_name", r.Code)
	}
	require.NotContains(t, n.person("u1"), "pro")
	require.Contains(t, n.person("u2"), `{"plan":"pro"}`)
	require.Equal(t, "missing_event_name", n.post("/api/events", `{"type":"identify","userId":"u1","traits":{"plan":"pro"}}`).errorCode(t))
}

func TestABadCallIsRefusedAloneAndByItsPlace(t *testing.T) {
	n := start(t, server.Options{})
	n.batch(`{"eventName":"viewed","userId":"gone"}`)
	require.Equal(t, 200, n.do("DELETE", "/api/users/gone", nil).status)
	items := []string{
		`{"eventId":"e0","eventName":"viewed","userId":"u"}`,
		`{"eventId":"c1","type":"identify","traits":{"a":1}}`,
		`{"type":"identify","userId":"u"}`,
		`{"type":"identify","userId":"u","traits":{"a":1}}`,
		`{"type":"identify","userId":"u","traits":7}`,
		`{"eventName":"viewed","userId":"gone"}`,
		`{"type":"identify","userId":"gone","traits":{"a":1}}`,
		`{"type":"identify","userId":"u","traits":{"a":"` + strings.Repeat("x", 128<<10) + `"}}`,
		`{"type":"identify","userId":"u","timestamp":"yesterday","traits":{"a":2}}`,
		`{"eventName":"viewed","userId":"gone"}`,
		`{"eventName":"viewed","userId":"u"}`,
	}
	s := n.batch("[" + strings.Join(items, ",") + "]")
	require.Equal(t, 3, s.Accepted)
	var got []string
	for _, r := range s.Rejected {
		got = append(got, fmt.Sprint(r.Index, r.EventID, " ", r.Code))
	}
	require.Equal(t, []string{
		"1c1 missing_person", "2 missing_person", "4 bad_properties", "5 person_erased", "6 person_erased", "7 event_too_large", "8 bad_timestamp", "9 person_erased",
	}, got)
	require.Contains(t, n.person("u"), `{"a":1}`)
}

func TestConsentCannotBeSetByACallOfABatch(t *testing.T) {
	n := start(t, server.Options{})
	s := n.batch(`{"type":"identify","userId":"u","traits":{"$consent":{"ads":true},"a":1}}`)
	require.Equal(t, 1, s.Accepted)
	require.Contains(t, n.person("u"), `"traits":{"a":1}`)
	require.JSONEq(t, `{"id":"u","purposes":{}}`, string(n.do("GET", "/api/users/u/consent", nil).body))
}

// TestLinksOfABatch holds random batches against the first-link rule, item by item.
func TestLinksOfABatchComeOutAsIfItsItemsHadComeOneByOne(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 5))
	n := start(t, server.Options{})
	rejoined := 0
	for round := range 300 {
		users := map[string]string{} // by anonymousId
		id := func(kind string, of int) string { return fmt.Sprintf("%s%d-%d", kind, round, random.IntN(of)) }
		for range 1 + random.IntN(3) {
			var items []string
			for range random.IntN(12) {
				user, anon := id("u", 3), id("a", 4)
				if users[anon] == "" {
					users[anon] = user
				} else if users[anon] != user {
					rejoined++
				}
				if random.IntN(2) == 0 {
					items = append(items, fmt.Sprintf(`{"eventName":"viewed","userId":%q,"anonymousId":%q}`, user, anon))
				} else {
					items = append(items, fmt.Sprintf(`{"type":"identify","userId":%q,"anonymousId":%q,"traits":{"n":%d}}`, user, anon, random.IntN(9)))
				}
			}
			if len(items) > 0 {
				require.Equal(t, len(items), n.batch("["+strings.Join(items, ",")+"]").Accepted)
			}
		}
		for anon, user := range users {
			require.Contains(t, n.person(anon), fmt.Sprintf(`"userId":%q`, user), "round %d: %s", round, anon)
		}
	}
	require.Greater(t, rejoined, 1000)
}

func TestALongBodyWithCallsIsStoredInSeveralEntriesAndTwiceWithTheSameEnd(t *testing.T) {
	n := start(t, server.Options{})
	var items []string
	pad := strings.Repeat("x", 300)
	for i := range 4000 {
		if i%4 == 3 {
			items = append(items, fmt.Sprintf(`{"type":"identify","userId":"u%d","traits":{"n":%d,"pad":%q}}`, i, i, pad))
		} else {
			items = append(items, fmt.Sprintf(`{"eventId":"e%d","eventName":"viewed","userId":"u%d","properties":{"pad":%q}}`, i, i, pad))
		}
	}
	// The link of a call that must go first.
	items[0] = `{"type":"identify","userId":"u3","anonymousId":"a"}`
	items[3999] = `{"eventId":"e3999","eventName":"viewed","userId":"u7","anonymousId":"a"}`
	body := strings.Join(items, "\n")
	require.Equal(t, 4000, n.batch(body).Accepted)
	s := n.batch(body)
	require.Equal(t, 1000, s.Accepted)
	require.Equal(t, 3000, s.Duplicates)
	require.Contains(t, n.person("a"), `"userId":"u3"`)
	require.Contains(t, n.person("u3995"), `"n":3995`)
}

func TestWhereCallsAreNotStoredTheBatchIsAnsweredAsOfUnknownOutcome(t *testing.T) {
	n := start(t, server.Options{})
	const items = `[{"eventId":"e","eventName":"viewed","userId":"u"},{"type":"identify","userId":"u","traits":{"a":1}}]`
	bound := func(entries int64) {
		n.log.mu.Lock()
		n.log.room = entries
		n.log.mu.Unlock()
	}
	bound(n.log.entries.Load() + 1)
	require.Equal(t, "unknown", n.post("/api/events/batch", items).errorCode(t))
	bound(0)
	s := n.batch(items)
	require.Equal(t, 1, s.Accepted)
	require.Equal(t, 1, s.Duplicates)
	require.Contains(t, n.person("u"), `{"a":1}`)
}

func TestWhoMayOnlyAppendLearnsNothingOfDuplicatesAmongCalls(t *testing.T) {
	keys, err := access.NewRing([]string{"write-key-of-16-bytes"}, nil, nil)
	require.NoError(t, err)
	n := start(t, server.Options{Keys: keys})
	const items = `[{"eventId":"e","eventName":"viewed","userId":"u"},{"type":"identify","userId":"u","traits":{"a":1}}]`
	for range 2 {
		s := n.batch(items, "Authorization", "Bearer write-key-of-16-bytes")
		require.Equal(t, 2, s.Accepted)
		require.Zero(t, s.Duplicates)
	}
}
