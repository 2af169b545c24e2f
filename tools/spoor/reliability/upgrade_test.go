package reliability

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// release names the data directory that is to be made, by the binary in SPOOR_BINARY:
//
//	SPOOR_BINARY=/path/of/an/old/spoor go test ./tools/spoor/reliability -run EarlierRelease -release 2026-11-28
var release = flag.String("release", "", "make the data directory of this release anew")

// releaseQuestions are what a data directory is asked.
var releaseQuestions = []string{
	"events of any from 2026-05-01 to 2026-06-01 limit 30",
	"trend count of any by properties.plan every 1d from 2026-05-01 to 2026-06-01",
	"trend users, sum(properties.price) of bought every 1d from 2026-05-01 to 2026-06-01",
	"funnel viewed -> cart -> bought within 7d by user.tier from 2026-05-01 to 2026-06-01",
	"retention viewed -> any every day for 5 from 2026-05-01 to 2026-06-01",
	"users of viewed from 2026-05-01 to 2026-06-01",
}

// releaseAnswers are what a server says, without what tells how it got there.
func releaseAnswers(p *process) map[string]json.RawMessage {
	p.t.Helper()
	all := map[string]json.RawMessage{}
	keep := func(name string, body []byte) {
		var v map[string]any
		require.NoError(p.t, json.Unmarshal(body, &v), "%s: %s", name, body)
		for _, changing := range []string{"stats", "as_of", "warnings"} {
			delete(v, changing)
		}
		b, err := json.Marshal(v)
		require.NoError(p.t, err)
		all[name] = b
	}
	for _, q := range releaseQuestions {
		keep(q, p.ask("/api/query", fmt.Sprintf(`{"query":%q}`, q)))
	}
	for _, path := range []string{"/api/users/u3", "/api/queries", "/api/dlq", "/api/retention"} {
		resp, err := p.client.Get(p.url() + path)
		require.NoError(p.t, err)
		b, err := io.ReadAll(resp.Body)
		require.NoError(p.t, err)
		require.NoError(p.t, resp.Body.Close())
		require.Equal(p.t, http.StatusOK, resp.StatusCode, "%s: %s", path, b)
		keep(path, b)
	}
	return all
}

// covers tells whether an answer says what an earlier one said; it may say more of a thing.
func covers(was, is any) bool {
	switch was := was.(type) {
	case map[string]any:
		is, ok := is.(map[string]any)
		for name, v := range was {
			ok = ok && covers(v, is[name])
		}
		return ok
	case []any:
		is, ok := is.([]any)
		if ok = ok && len(is) == len(was); ok {
			for i := range was {
				ok = ok && covers(was[i], is[i])
			}
		}
		return ok
	}
	return reflect.DeepEqual(was, is)
}

// fillRelease stores a little of everything, part of it in files, the rest in the log alone.
func fillRelease(p *process) {
	p.t.Helper()
	events := func(from, to int) {
		var lines []string
		for i := from; i < to; i++ {
			name := []string{"viewed", "cart", "bought"}[i%3]
			lines = append(lines, fmt.Sprintf(`{"eventId":"id-%d","eventName":%q,"userId":"u%d","anonymousId":"a%d","timestamp":"2026-05-%02dT%02d:00:00Z","properties":{"plan":%q,"price":%d.5,"deep":{"n":%d,"list":[1,"x",null]}}}`,
				i, name, i%9, i%14, 1+i%11, i%24, []string{"free", "pro"}[i%2], i%40, i))
		}
		p.ask("/api/events/batch", "["+strings.Join(lines, ",")+"]")
	}
	events(0, 120)
	p.ask("/api/identify", `{"userId":"u3","anonymousId":"web-3","traits":{"tier":"gold","age":41}}`)
	p.ask("/api/identify", `{"userId":"u4","traits":{"tier":"iron"}}`)
	p.ask("/api/alias", `{"userId":"u5","previousId":"a12"}`)
	p.ask("/api/admin/compact", "")
	events(100, 180)
	p.ask("/api/admin/flush", "")
	resp, err := p.client.Do(request(p.t, http.MethodDelete, p.url()+"/api/users/u7"))
	require.NoError(p.t, err)
	require.NoError(p.t, resp.Body.Close())
	events(180, 220)
}

func request(t testing.TB, method, url string) *http.Request {
	r, err := http.NewRequest(method, url, http.NoBody)
	require.NoError(t, err)
	return r
}

func TestTheDataOfEveryEarlierReleaseOpensAndAnswersAsItDid(t *testing.T) {
	if *release != "" {
		makeRelease(t, *release)
	}
	kept, err := filepath.Glob(filepath.Join("testdata", "release-*.tar.gz"))
	require.NoError(t, err)
	require.NotEmpty(t, kept)
	for _, file := range kept {
		dir := filepath.Join(t.TempDir(), "data")
		unpack(t, file, dir)
		var want map[string]json.RawMessage
		b, err := os.ReadFile(strings.TrimSuffix(file, ".tar.gz") + ".json")
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(b, &want))
		p := serve(t, "--data", dir)
		same := func() {
			got := releaseAnswers(p)
			require.Len(t, got, len(want), file)
			for q := range want {
				var was, is any
				require.NoError(t, json.Unmarshal(want[q], &was))
				require.NoError(t, json.Unmarshal(got[q], &is))
				require.True(t, covers(was, is), "%s: %s: it was %s, it is %s", file, q, want[q], got[q])
			}
		}
		same()
		p.ask("/api/admin/compact", "") // its files are written anew
		same()
		p.stop()
		verifies(t, dir)
		p = serve(t, "--data", dir)
		same()
		p.stop()
	}
}

func makeRelease(t *testing.T, name string) {
	dir := filepath.Join(t.TempDir(), "data")
	p := serve(t, "--data", dir)
	fillRelease(p)
	b, err := json.MarshalIndent(releaseAnswers(p), "", " ")
	require.NoError(t, err)
	p.kill()
	base := filepath.Join("testdata", "release-"+name)
	require.NoError(t, os.MkdirAll("testdata", 0o755))
	require.NoError(t, os.WriteFile(base+".json", append(b, '\n'), 0o644))
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	require.NoError(t, err)
	w := tar.NewWriter(z)
	require.NoError(t, w.AddFS(os.DirFS(dir)))
	require.NoError(t, w.Close())
	require.NoError(t, z.Close())
	require.Less(t, out.Len(), 200<<10, "it is kept for ever")
	require.NoError(t, os.WriteFile(base+".tar.gz", out.Bytes(), 0o644))
}

func unpack(t *testing.T, file, dir string) {
	f, err := os.Open(file)
	require.NoError(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return
		}
		require.NoError(t, err)
		require.True(t, fs.ValidPath(strings.TrimSuffix(h.Name, "/")))
		name := filepath.Join(dir, h.Name)
		if h.Typeflag == tar.TypeDir {
			require.NoError(t, os.MkdirAll(name, 0o755))
			continue
		}
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
		b, err := io.ReadAll(r)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(name, b, 0o644))
	}
}
