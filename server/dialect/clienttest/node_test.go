package clienttest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// installTime bounds the installation of the clients.
const installTime = 90 * time.Second

// needNode skips a test where the clients of npm cannot run, and says why.
func needNode(t *testing.T) {
	t.Helper()
	spoor.npm.Do(func() {
		if spoor.npmIs = install(); spoor.npmIs != "" {
			fmt.Println("Only analytics-go is tested:", spoor.npmIs)
		}
	})
	if spoor.npmIs != "" {
		t.Skip("the clients of npm are not tested: " + spoor.npmIs)
	}
	spoor.start(t)
	t.Parallel()
}

// nodeDir is where the clients are installed: a place that stays, if
// SPOOR_CLIENTS_DIR names one.
func nodeDir() string {
	if dir := os.Getenv("SPOOR_CLIENTS_DIR"); dir != "" {
		return dir
	}
	return filepath.Join(spoor.dir, "clients")
}

// install installs the clients and says why it could not.
func install() (reason string) {
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			return program + " is not installed"
		}
	}
	dir := nodeDir()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err.Error()
	}
	for _, name := range []string{"package.json", "run.mjs", "chrome.mjs"} {
		text, err := os.ReadFile(filepath.Join("clients", name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o644)
		}
		if err != nil {
			return err.Error()
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), installTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--prefer-offline", "--loglevel=error")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return "npm install: " + err.Error() + ": " + string(out)
	}
	return ""
}

// clientTime bounds one run of a client.
const clientTime = 75 * time.Second

// drive sends count events of a name with a client through a proxy, below a
// prefix or "", and returns when the client is done.
func drive(t *testing.T, client string, p *proxy, prefix, event string, count string, env ...string) (said string) {
	t.Helper()
	script := "run.mjs"
	if page, ok := strings.CutPrefix(client, inChrome); ok {
		chromes <- struct{}{}
		defer func() { <-chromes }()
		script, client, env = "chrome.mjs", page, append(env, "CHROMIUM="+needChrome(t))
	}
	ctx, cancel := context.WithTimeout(t.Context(), clientTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", script, client, p.URL+prefix, event, count)
	cmd.Dir = nodeDir()
	cmd.Env = append(os.Environ(), env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	require.NoError(t, err, "%s", &out)
	require.Contains(t, out.String(), "done")
	return out.String()
}

// clients are the published clients of npm and what the matrix says of them.
var clients = []struct {
	name   string
	prefix string
	alias  bool // it links old-EVENT to the user
	traits bool
	anon   bool // its event 0 is of somebody who is identified later
	drops  bool // what was answered with 429
	once   bool // it sends nothing again, and tells its caller
	lists  bool // it wants the bad events of a batch listed with 400
}{
	{name: "analytics-node", prefix: "/segment", alias: true, traits: true, anon: true},
	{name: "rudder-sdk-node", prefix: "/segment", alias: true, traits: true, anon: true},
	{name: "posthog-node", prefix: "/posthog", alias: true, traits: true},
	{name: "amplitude-node", prefix: "/amplitude", traits: true, anon: true, lists: true},
	{name: "mixpanel-node", prefix: "/mixpanel", anon: true, once: true},
	{name: "snowplow-node", prefix: "/snowplow"},
	{name: "analytics-next", prefix: "/segment", alias: true, traits: true, anon: true},
	{name: "posthog-js", prefix: "/posthog", alias: true, traits: true, anon: true, drops: true},
	{name: "snowplow-js", prefix: "/snowplow", anon: true},
	{name: inChrome + "analytics-next", prefix: "/segment", alias: true, traits: true, anon: true},
	{name: inChrome + "posthog-js", prefix: "/posthog", alias: true, traits: true, anon: true, drops: true},
	{name: inChrome + "rudder-js", prefix: "/segment", alias: true, traits: true, anon: true},
}

// maxPosts is how many requests the calls of one event make at most: more, and
// some were sent again.
const maxPosts = 5

// eventName is a name that is a schema's, too.
func eventName(parts ...string) string {
	return strings.NewReplacer("-", "_").Replace(strings.Join(parts, "_"))
}

func TestPublishedClientsDeliverEveryEventOnce(t *testing.T) {
	needNode(t)
	for _, c := range clients {
		for place, prefix := range map[string]string{"root": "", "prefix": c.prefix} {
			t.Run(c.name+"/"+place, func(t *testing.T) {
				t.Parallel()
				p := newProxy(t, pass)
				event := eventName("buy", c.name, place)
				drive(t, c.name, p, prefix, event, "12")
				events := spoor.requireOnce(t, event, 12)
				for _, e := range events {
					require.NotEmpty(t, e.EventID)
					if c.anon || e.UserID != "" {
						require.Equal(t, "user-"+event, e.Person, "who was identified later did the earlier events, too")
					}
				}
				who := spoor.person(t, "user-"+event)
				if c.traits {
					require.Equal(t, []any{"pro", 3.0}, []any{who.Traits["plan"], who.Traits["seats"]}, "%+v", who)
				}
				if c.alias {
					require.Contains(t, who.AnonymousIDs, "old-"+event)
				}
				for _, status := range p.statuses() {
					require.Equal(t, 200, status)
				}
			})
		}
	}
}

func TestPublishedClientsSendAgainAfter503AndLostAnswersAndAreCountedOnce(t *testing.T) {
	needNode(t)
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if c.once {
				p := newProxy(t, 503)
				require.Contains(t, drive(t, c.name, p, "", eventName("once", c.name), "2"), "gave up")
				require.Equal(t, 1, p.count())
				return
			}
			p := newProxy(t, 503, lose, pass)
			event := eventName("again", c.name)
			drive(t, c.name, p, "", event, "5", "WINDOW_MILLIS=20000")
			spoor.requireOnce(t, event, 5)
			require.GreaterOrEqual(t, p.count(), 2, "it was sent again after 503; after a lost answer not every client does")
		})
	}
}

func TestPublishedClientsDropAfter400(t *testing.T) {
	needNode(t)
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			if c.lists {
				t.Skip("its dialect never answers so: a bad event does not fail the others")
			}
			t.Parallel()
			p := newProxy(t, 400)
			event := eventName("bad", c.name)
			drive(t, c.name, p, "", event, "1")
			require.Empty(t, spoor.events(t, event))
			require.NotZero(t, p.count())
			require.LessOrEqual(t, p.count(), maxPosts)
		})
	}
}

func TestPublishedClientsAfter429(t *testing.T) {
	needNode(t)
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if c.once {
				t.Skip("it sends nothing again")
			}
			event := eventName("busy", c.name)
			if c.drops { // why its dialect never answers so
				p := newProxy(t, 429)
				drive(t, c.name, p, "", event, "1", "WINDOW_MILLIS=15000")
				require.NotZero(t, p.count())
				require.LessOrEqual(t, p.count(), maxPosts)
				return
			}
			p := newProxy(t, 429, pass)
			drive(t, c.name, p, "", event, "1", "WINDOW_MILLIS=15000")
			spoor.requireOnce(t, event, 1)
		})
	}
}
