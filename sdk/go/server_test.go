package spoor

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
)

// binaryDir is removed with the end of the tests.
var binaryDir string

// serverBinary builds the server of the repository that this module lies in, once.
var serverBinary = sync.OnceValues(func() (string, error) {
	var err error
	if binaryDir, err = os.MkdirTemp("", "spoor-sdk"); err != nil {
		return "", err
	}
	path := filepath.Join(binaryDir, "spoor")
	cmd := exec.Command("go", "build", "-o", path, "./tools/spoor")
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the server: %w: %s", err, out)
	}
	return path, nil
})

// server is a Spoor server in a process of its own, which can be killed.
type server struct {
	t    testing.TB
	dir  string
	addr string
	args []string
	cmd  *exec.Cmd
	log  bytes.Buffer
}

func newServer(t testing.TB, args ...string) *server {
	t.Helper()
	if _, err := os.Stat("../../tools/spoor"); err != nil {
		t.Skip("the server is not beside this module")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &server{t: t, dir: t.TempDir(), addr: ln.Addr().String(), args: args}
	require.NoError(t, ln.Close())
	t.Cleanup(s.kill)
	return s
}

func (s *server) url() string { return "http://" + s.addr }

func (s *server) start() {
	s.t.Helper()
	path, err := serverBinary()
	require.NoError(s.t, err)
	s.cmd = exec.Command(path, append([]string{"serve", "--data", s.dir, "--listen", s.addr, "--log-level", "warn"}, s.args...)...)
	s.cmd.Stderr = &s.log
	require.NoError(s.t, s.cmd.Start())
}

// kill ends the process as the power would.
func (s *server) kill() {
	if s.cmd != nil {
		s.cmd.Process.Kill()
		s.cmd.Wait()
		s.cmd = nil
	}
}

// await returns when the server is ready.
func (s *server) await() {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		status, _ := s.ask("GET", "/readyz", "")
		return status == 200
	}, 20*time.Second, 20*time.Millisecond)
}

// ask makes a request on a connection of its own.
func (s *server) ask(method, path, body string) (status int, answer []byte) {
	return s.askAs("", method, path, body)
}

func (s *server) askAs(key, method, path, body string) (status int, answer []byte) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	req, err := http.NewRequest(method, s.url()+path, strings.NewReader(body))
	require.NoError(s.t, err)
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	require.NoError(s.t, err)
	return resp.StatusCode, answer
}

// stored is how often the server has each eventId.
func (s *server) stored() map[string]int {
	s.t.Helper()
	status, text := s.ask("POST", "/api/events/export", `{"from":"2000-01-01","to":"2100-01-01"}`)
	require.Equal(s.t, 200, status, "%s", text)
	ids := map[string]int{}
	for line := range bytes.Lines(text) {
		var e struct{ EventID string }
		require.NoError(s.t, json.Unmarshal(line, &e))
		ids[e.EventID]++
	}
	return ids
}

// person is what the server knows of whom an id stands for.
func (s *server) person(id string) (p struct {
	UserID       string
	AnonymousIDs []string
	Traits       map[string]any
},
) {
	s.t.Helper()
	status, text := s.ask("GET", "/api/users/"+url.PathEscape(id), "")
	require.Equal(s.t, 200, status, "%s", text)
	require.NoError(s.t, json.Unmarshal(text, &p))
	return p
}

// requireOnce checks that the server has each of the ids once, and none twice.
func (s *server) requireOnce(ids []string) {
	s.t.Helper()
	stored := s.stored()
	for _, id := range ids {
		require.Equal(s.t, 1, stored[id], "event %s", id)
	}
	for id, n := range stored {
		require.Equal(s.t, 1, n, "event %s", id)
	}
}

// client returns one that tries often, so that tests are short.
func (s *server) client(change ...func(*Options)) *Client {
	s.t.Helper()
	o := Options{
		Endpoint: s.url(), BatchEvents: 100, FlushEvery: 10 * time.Millisecond,
		RetryBase: 10 * time.Millisecond, RetryMax: 100 * time.Millisecond, Logger: discard,
		OnDead: func(d Dead) { s.t.Errorf("dead: %s %s %s", d.EventID, d.Code, d.Message) },
	}
	for _, f := range change {
		f(&o)
	}
	c, err := New(o)
	require.NoError(s.t, err)
	return c
}

func closeInTime(t testing.TB, c *Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(background, 30*time.Second)
	defer cancel()
	require.NoError(t, c.Close(ctx))
}

func TestAgainstTheServerEveryCallIsStoredAndRefusalsAreNamed(t *testing.T) {
	s := newServer(t)
	s.start()
	s.await()
	var dead []Dead
	c := s.client(func(o *Options) { o.OnDead = func(d Dead) { dead = append(dead, d) } })
	require.NoError(t, c.Identify(background, Person{"u1", "a1"}, map[string]any{"plan": "pro"}))
	require.NoError(t, c.Page(background, User("u1"), nil))
	many := map[string]any{}
	for i := range 2000 {
		many[fmt.Sprint(i)] = i
	}
	require.NoError(t, c.Enqueue(background, Event{ID: "wide", Name: "n", UserID: "u", Properties: many}))
	require.NoError(t, c.Enqueue(background, Event{ID: "odd", Name: `"naughty" <b>&\` + "\u2028\x00\xff", UserID: "ü", Properties: map[string]any{"a.b": []any{1, nil}, "": 1e300}}))
	require.NoError(t, c.Enqueue(background, event("odd")), "a second event of an id is a duplicate")
	closeInTime(t, c)
	st := c.Stats()
	require.Equal(t, []uint64{3, 1, 1}, []uint64{st.Accepted, st.Duplicates, st.Dead}, "%+v", dead)
	require.Equal(t, []string{"wide", "too_many_keys"}, []string{dead[0].EventID, dead[0].Code})
	require.Len(t, s.stored(), 2, "identify is no event")
	require.Equal(t, map[string]any{"plan": "pro"}, s.person("a1").Traits)
}

func TestWhatIsSaidOfPersonsCanBeAskedForAndLinksWhateverComesFirst(t *testing.T) {
	s := newServer(t)
	s.start()
	s.await()
	c := s.client()
	require.NoError(t, c.Track(background, Anonymous("phone"), "viewed", nil))
	require.NoError(t, c.Identify(background, Person{"ada", "phone"}, map[string]any{"plan": "free", "address": map[string]any{"city": "London"}}))
	require.NoError(t, c.Identify(background, User("ada"), map[string]any{"plan": "pro"}))
	require.NoError(t, c.Group(background, User("ada"), "acme", map[string]any{"seats": 5}))
	require.NoError(t, c.Track(background, Person{"bob", "phone"}, "viewed", nil), "the second user of the phone")
	require.NoError(t, c.Alias(background, "ada", "old phone"))
	require.NoError(t, c.Track(background, Anonymous("old phone"), "viewed", nil), "behind the alias")
	closeInTime(t, c)
	p := s.person("phone")
	require.Equal(t, "ada", p.UserID)
	require.Equal(t, []string{"phone", "old phone"}, p.AnonymousIDs)
	require.Equal(t, map[string]any{"plan": "pro", "address": map[string]any{"city": "London"}, "groupId": "acme"}, p.Traits)
	for query, want := range map[string]string{
		`trend count of viewed where user.plan = "pro" last 1d every month`:                             `"value":2}`,
		`trend count of viewed where user.plan missing last 1d every month`:                             `"value":1}`,
		`trend users of "$group" where properties.traits.seats = 5 by user.groupId last 1d every month`: `"key":["acme"]`,
	} {
		status, text := s.ask("POST", "/api/query", query)
		require.Equal(t, 200, status, "%s", text)
		require.Contains(t, string(text), want, query)
	}
}

func TestAServerThatLimitsAKeyHasEveryEventOnceInTheEnd(t *testing.T) {
	const admin = "an-admin-key-of-sixteen-characters"
	s := newServer(t, "--admin-key", admin)
	s.start()
	s.await()
	status, text := s.askAs(admin, "POST", "/api/keys", `{"kind":"write","name":"slow","source":"app","rate":200}`)
	require.Contains(t, []int{200, 201}, status, "%s", text)
	var made struct{ Key string }
	require.NoError(t, json.Unmarshal(text, &made))
	c := s.client(func(o *Options) { o.WriteKey = made.Key })
	ids := named("e", 600)
	enqueue(t, c, ids...)
	closeInTime(t, c)
	require.Equal(t, uint64(600), c.Stats().Accepted)
	require.Positive(t, c.Stats().Retries, "it was told to wait")
	status, text = s.askAs(admin, "POST", "/api/events/export", `{"from":"2000-01-01","to":"2100-01-01"}`)
	require.Equal(t, 200, status)
	require.Equal(t, 600, bytes.Count(text, []byte("\n")))
}

func TestTheServerReadsEveryCoding(t *testing.T) {
	s := newServer(t)
	s.start()
	s.await()
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1)) // package zstd imports this one
	require.NoError(t, err)
	small := &Coding{Name: "zstd", Append: func(dst, src []byte) ([]byte, error) { return enc.EncodeAll(src, dst), nil }}
	var ids []string
	for prefix, coding := range map[string]*Coding{"p": Plain(), "g": Gzip(), "z": small} {
		c := s.client(func(o *Options) { o.Coding = coding })
		ids = append(ids, named(prefix, 500)...)
		enqueue(t, c, named(prefix, 500)...)
		closeInTime(t, c)
		require.Equal(t, uint64(500), c.Stats().Accepted)
	}
	s.requireOnce(ids)
}

func TestAWrongKeyKillsEventsByName(t *testing.T) {
	s := newServer(t, "--write-key", "a-write-key-of-sixteen-characters")
	s.start()
	s.await()
	var codes []string
	c := s.client(func(o *Options) {
		o.WriteKey = "another-key-of-sixteen-characters"
		o.OnDead = func(d Dead) { codes = append(codes, d.Code) }
	})
	enqueue(t, c, "a")
	closeInTime(t, c)
	require.Equal(t, []string{"unauthorized"}, codes)
	c = s.client(func(o *Options) { o.WriteKey = "a-write-key-of-sixteen-characters" })
	enqueue(t, c, "a")
	closeInTime(t, c)
	require.Equal(t, uint64(1), c.Stats().Accepted)
}

func TestAServerThatIsDownKilledAndStartedAgainHasEveryEventOnce(t *testing.T) {
	for _, store := range []string{"memory", "spool"} {
		t.Run(store, func(t *testing.T) {
			s := newServer(t)
			c := s.client(func(o *Options) {
				if store == "spool" {
					o.SpoolDir = filepath.Join(t.TempDir(), "spool")
				}
			})
			ids := named("e", 4000)
			enqueue(t, c, ids[:500]...) // while there is no server yet
			for round := range 4 {
				s.start()
				s.await()
				from := 500 + round*800
				enqueue(t, c, ids[from:from+800]...)
				require.NoError(t, c.Identify(background, Person{"u", fmt.Sprint("device", round)}, map[string]any{"round": round}))
				before := c.Stats().Accepted
				require.Eventually(t, func() bool { return c.Stats().Accepted > before }, 10*time.Second, time.Millisecond)
				s.kill()
			}
			enqueue(t, c, ids[3700:]...)
			s.start()
			closeInTime(t, c)
			s.requireOnce(ids)
			require.Equal(t, uint64(4004), c.Stats().Accepted+c.Stats().Duplicates)
			p := s.person("device0")
			require.Equal(t, []string{"device0", "device1", "device2", "device3"}, p.AnonymousIDs)
			require.Equal(t, map[string]any{"round": 3.0}, p.Traits)
		})
	}
}

// TestFaultsOnTheWay puts a proxy between client and server that refuses,
// delays, and cuts connections before and behind the request.
func TestFaultsOnTheWayLeaveEveryEventOnce(t *testing.T) {
	s := newServer(t)
	s.start()
	s.await()
	target, err := url.Parse(s.url())
	require.NoError(t, err)
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	through := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }, Transport: transport}
	var mu sync.Mutex
	random, faults := rand.New(rand.NewPCG(1, 2)), map[int]int{}
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		fault := random.IntN(8)
		faults[fault]++
		mu.Unlock()
		switch fault {
		case 0:
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(429)
		case 1:
			w.WriteHeader(503)
		case 2: // the request arrives, its answer does not
			through.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		case 3: // neither
			panic(http.ErrAbortHandler)
		case 4: // it arrives, too late for the client
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return
			}
			<-r.Context().Done()
			late := r.Clone(context.Background())
			late.Body, late.RequestURI = io.NopCloser(bytes.NewReader(body)), ""
			through.ServeHTTP(httptest.NewRecorder(), late)
		default:
			through.ServeHTTP(w, r)
		}
	}))
	defer proxy.Close()
	c := s.client(func(o *Options) { o.Endpoint, o.Timeout, o.BatchEvents = proxy.URL, 200*time.Millisecond, 50 })
	ids := named("e", 3000)
	for i, id := range ids {
		enqueue(t, c, id)
		require.NoError(t, c.Identify(background, User("u"), map[string]any{"last": i}))
	}
	closeInTime(t, c)
	proxy.Close()
	s.requireOnce(ids)
	require.Equal(t, map[string]any{"last": 2999.0}, s.person("u").Traits, "also where an older call arrived later")
	require.Len(t, faults, 8, "every fault has happened: %v", faults)
	require.Positive(t, c.Stats().Duplicates)
}

// childEnv makes the test binary a program that enqueues until it is killed.
const childEnv = "SPOOR_SDK_TEST_CHILD"

// child enqueues events into the spool that its environment names and prints
// the id of each when Enqueue has returned.
func child() {
	var o Options
	if err := json.Unmarshal([]byte(os.Getenv(childEnv)), &struct{ Endpoint, SpoolDir *string }{&o.Endpoint, &o.SpoolDir}); err != nil {
		panic(err)
	}
	o.BatchEvents, o.FlushEvery, o.RetryBase, o.RetryMax, o.Logger = 50, 5*time.Millisecond, 10*time.Millisecond, 50*time.Millisecond, discard
	c, err := New(o)
	if err != nil {
		panic(err)
	}
	for {
		id := newID(time.Now())
		if err := c.Enqueue(background, event(id)); err != nil {
			panic(err)
		}
		if err := c.Identify(background, User("u"), map[string]any{"last": id}); err != nil {
			panic(err)
		}
		fmt.Println(id)
	}
}

func TestAClientThatIsKilledLeavesEveryEventToTheNextOne(t *testing.T) {
	s := newServer(t)
	s.start()
	s.await()
	dir := filepath.Join(t.TempDir(), "spool")
	config, err := json.Marshal(map[string]string{"Endpoint": s.url(), "SpoolDir": dir})
	require.NoError(t, err)
	var ids []string
	for round := range 8 {
		if round == 3 {
			s.kill() // for a while there is only the spool
		}
		if round == 5 {
			s.start()
			s.await()
		}
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childEnv+"="+string(config))
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		lines, printed := bufio.NewScanner(out), 0
		for lines.Scan() {
			if len(lines.Text()) == 36 {
				ids = append(ids, lines.Text())
			}
			if printed++; printed == 300+137*round {
				require.NoError(t, cmd.Process.Kill())
			}
		}
		cmd.Wait()
		require.Empty(t, stderr.String())
	}
	c := s.client(func(o *Options) { o.SpoolDir = dir })
	closeInTime(t, c)
	require.Greater(t, len(ids), 5000)
	s.requireOnce(ids)
	require.GreaterOrEqual(t, s.person("u").Traits["last"], ids[len(ids)-1])
	require.Zero(t, c.Stats().Damaged)
}
