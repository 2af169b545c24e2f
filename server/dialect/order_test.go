package dialect_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"spoor/server"
)

// TestWhoIsWhoInABodyComesOutAsIfItsMessagesHadComeOneByOne holds random bodies against
// the first-link rule, message by message.
func TestWhoIsWhoInABodyComesOutAsIfItsMessagesHadComeOneByOne(t *testing.T) {
	for name, d := range map[string]struct {
		path, around string
		message      func(user, anon string, call bool) string
	}{
		"segment": {"/v1/batch", `{"batch":[%s]}`, func(user, anon string, call bool) string {
			if call {
				return fmt.Sprintf(`{"type":"identify","userId":%q,"anonymousId":%q,"traits":{"n":1}}`, user, anon)
			}
			return fmt.Sprintf(`{"type":"track","event":"x","userId":%q,"anonymousId":%q}`, user, anon)
		}},
		"amplitude": {"/2/httpapi", `{"api_key":"k","events":[%s]}`, func(user, anon string, call bool) string {
			kind := "x"
			if call {
				kind = "$identify"
			}
			return fmt.Sprintf(`{"event_type":%q,"user_id":%q,"device_id":%q,"user_properties":{"$set":{"n":1},"$setOnce":{"m":2}}}`, kind, user, anon)
		}},
		"mixpanel": {"/track", `[%s]`, func(user, anon string, call bool) string {
			if call {
				return fmt.Sprintf(`{"event":"$identify","properties":{"token":"k","$identified_id":%q,"$anon_id":%q}}`, user, anon)
			}
			return fmt.Sprintf(`{"event":"x","properties":{"token":"k","$user_id":%q,"$device_id":%q}}`, user, anon)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(3, 5))
			n := start(t, server.Options{}, nil)
			other := 0 // messages that name somebody else than the first
			for round := range 60 {
				users := map[string]string{} // by anonymous id
				var messages []string
				for range 1 + random.IntN(12) {
					user, anon := fmt.Sprintf("user%d-%d", round, random.IntN(3)), fmt.Sprintf("anon%d-%d", round, random.IntN(4))
					if users[anon] == "" {
						users[anon] = user
					} else if users[anon] != user {
						other++
					}
					messages = append(messages, d.message(user, anon, random.IntN(2) == 0))
				}
				r := n.post(d.path, fmt.Sprintf(d.around, strings.Join(messages, ",")))
				require.Equal(t, 200, r.status, "%s", r.body)
				require.Empty(t, r.header.Get("X-Spoor-Rejected"))
				for anon, user := range users {
					require.Contains(t, string(n.do("GET", "/api/users/"+anon, nil).body), fmt.Sprintf(`"userId":%q`, user), "round %d: %s", round, messages)
				}
			}
			require.Greater(t, other, 100)
		})
	}
}

// A body whose calls find no room behind its events is told of as of unknown outcome;
// sent again, each event counts once and the calls are stored.
func TestABodyWhoseCallsWereNotStoredIsStoredWholeWhenItComesAgain(t *testing.T) {
	n := start(t, server.Options{WaitTimeout: 1}, nil)
	n.log.refusal = server.ErrOverloaded
	n.log.allow.Store(1)
	n.log.refuse.Store(1)
	const body = `{"batch":[{"type":"identify","userId":"u","traits":{"a":1}},{"type":"track","event":"x","userId":"u","messageId":"m"}]}`
	r := n.post("/v1/batch", body)
	require.Equal(t, 503, r.status)
	require.Contains(t, string(r.body), `"code":"unknown"`)
	require.Equal(t, 200, n.post("/v1/batch", body).status)
	require.Equal(t, 1, strings.Count(string(n.export()), "\n"))
	require.Contains(t, string(n.do("GET", "/api/users/u", nil).body), `"traits":{"a":1}`)
}

func TestMessagesThatBecomeSeveralItemsAreTakenUpToTheBoundOfMessages(t *testing.T) {
	n := start(t, server.Options{}, nil)
	var body strings.Builder
	body.WriteString(`{"api_key":"k","batch":[`)
	const messages = 10_000
	for i := range messages {
		if i > 0 {
			body.WriteByte(',')
		}
		fmt.Fprintf(&body, `{"event":"x","distinct_id":"u%d","uuid":"e%d","$set":{"n":%d},"$set_once":{"m":%d}}`, i%7, i, i, i)
	}
	r := n.post("/batch", body.String()+"]}")
	require.Equal(t, 200, r.status, "%s", r.body)
	require.Equal(t, messages, strings.Count(string(n.export()), "\n"))
	require.Contains(t, string(n.do("GET", "/api/users/u3", nil).body), `"traits":{"m":3,"n":9999}`)
	r = n.post("/batch", body.String()+`,{"event":"x","distinct_id":"u"}]}`)
	require.Equal(t, 413, r.status)
}
