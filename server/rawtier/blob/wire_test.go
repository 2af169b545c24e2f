package blob_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/server/rawtier/blob"
	"spoor/server/rawtier/blob/blobtest"
)

// wire answers as a store that speaks S3 would, and keeps what it was asked.
type wire struct {
	mu    sync.Mutex
	asked []*http.Request
	// redirect is where requests are sent on to; "": nowhere.
	redirect string
}

func (w *wire) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.mu.Lock()
	w.asked = append(w.asked, r)
	n := len(w.asked)
	w.mu.Unlock()
	switch {
	case w.redirect != "":
		http.Redirect(out, r, w.redirect+r.URL.Path, http.StatusTemporaryRedirect)
	case r.Method == http.MethodPost && r.URL.Query().Has("uploads"):
		_, _ = fmt.Fprintf(out, `<InitiateMultipartUploadResult><Bucket>b</Bucket><Key>k</Key><UploadId>u1</UploadId></InitiateMultipartUploadResult>`)
	case r.Method == http.MethodPost:
		_, _ = fmt.Fprintf(out, `<CompleteMultipartUploadResult><Bucket>b</Bucket><Key>k</Key><ETag>"x"</ETag></CompleteMultipartUploadResult>`)
	default:
		out.Header().Set("ETag", fmt.Sprintf(`"%d"`, n))
	}
}

// of returns the requests of a method whose query has a word, "" for any.
func (w *wire) of(method, query string) (out []*http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.asked {
		if r.Method == method && strings.Contains(r.URL.RawQuery, query) {
			out = append(out, r)
		}
	}
	return out
}

func serveHTTP(t *testing.T, h http.Handler) string {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// noCredentials takes those away that this machine has.
func noCredentials(t *testing.T) {
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY", "AWS_SESSION_TOKEN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_PROFILE"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(t.TempDir(), "none"))
}

func put(t *testing.T, s blob.Store, bytesOf int) {
	t.Helper()
	b := content(bytesOf, 1)
	require.NoError(t, s.Put(context.Background(), "k", bytes.NewReader(b), int64(len(b))))
}

func TestWhatAsksForEncryptionIsInEveryRequestThatBeginsAnObject(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "key-of-the-environment")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	for how, want := range map[string]map[string]string{
		"":   {"X-Amz-Server-Side-Encryption": "", "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id": ""},
		"s3": {"X-Amz-Server-Side-Encryption": "AES256", "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id": ""},
		"kms:arn:aws:kms:eu-1:1:key/k1": {
			"X-Amz-Server-Side-Encryption": "aws:kms", "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id": "arn:aws:kms:eu-1:1:key/k1",
		},
	} {
		w := &wire{}
		s := open(t, serveHTTP(t, w), blob.Options{Encryption: how, PartBytes: 5 << 20})
		put(t, s, 10)
		put(t, s, 11<<20)
		_, err := s.Replace(context.Background(), "manifest", []byte("{}"), "")
		require.NoError(t, err)
		_, err = s.Replace(context.Background(), "manifest", []byte("{} "), "v1")
		require.NoError(t, err)
		begun := append(w.of(http.MethodPut, "x-id=PutObject"), w.of(http.MethodPost, "uploads=")...)
		for _, r := range w.of(http.MethodPut, "") {
			if !r.URL.Query().Has("partNumber") {
				begun = append(begun, r)
			}
		}
		require.Len(t, begun, 4, "two objects and two manifests")
		for _, r := range begun {
			for name, value := range want {
				require.Equal(t, value, r.Header.Get(name), "%s: %s of %s %s", how, name, r.Method, r.URL)
			}
			require.Contains(t, r.Header.Get("Authorization"), "Credential=key-of-the-environment/")
			if value := want["X-Amz-Server-Side-Encryption"]; value != "" {
				require.Contains(t, r.Header.Get("Authorization"), "x-amz-server-side-encryption", "it is signed: nobody takes it out on the way")
			}
		}
		require.Len(t, w.of(http.MethodPut, "partNumber"), 3)
	}
	_, err := blob.Open("s3://b/p", blob.Options{Encryption: "rot13"})
	require.ErrorContains(t, err, `neither "s3" nor "kms:KEY-ID"`)
	_, err = blob.Open("s3://b/p", blob.Options{Encryption: "kms:"})
	require.Error(t, err)
}

// metadata is what a machine knows of its role. Each answer has another key, good until a time.
type metadata struct {
	mu      sync.Mutex
	given   int
	expires time.Time
	token   bool // sessions are asked for, as version 2 has them
}

func (m *metadata) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	const roles = "/latest/meta-data/iam/security-credentials/"
	switch {
	case r.Method == http.MethodPut && r.URL.Path == "/latest/api/token":
		_, _ = io.WriteString(out, "session-1")
	case m.token && r.Header.Get("X-aws-ec2-metadata-token") != "session-1":
		out.WriteHeader(http.StatusUnauthorized)
	case r.URL.Path == roles:
		_, _ = io.WriteString(out, "spoor-role")
	case r.URL.Path == roles+"spoor-role" || r.URL.Path == "/container":
		m.given++
		_, _ = fmt.Fprintf(out, `{"Code":"Success","AccessKeyId":"role-key-%d","SecretAccessKey":"secret","Token":"role-token-%d","Expiration":%q}`, m.given, m.given, m.expires.UTC().Format(time.RFC3339))
	default:
		out.WriteHeader(http.StatusNotFound)
	}
}

func TestTheRoleOfAMachineSignsRequestsAndIsAskedForAnewWhenItsKeyExpires(t *testing.T) {
	noCredentials(t)
	m := &metadata{expires: time.Now().Add(time.Hour), token: true}
	w := &wire{}
	s := open(t, serveHTTP(t, w), blob.Options{Metadata: serveHTTP(t, m)})
	put(t, s, 10)
	put(t, s, 10)
	require.Equal(t, 1, m.given, "a key that is good is used again")
	for _, r := range w.of(http.MethodPut, "") {
		require.Contains(t, r.Header.Get("Authorization"), "Credential=role-key-1/")
		require.Equal(t, "role-token-1", r.Header.Get("X-Amz-Security-Token"))
	}

	m = &metadata{expires: time.Now().Add(-time.Minute)}
	w = &wire{}
	s = open(t, serveHTTP(t, w), blob.Options{Metadata: serveHTTP(t, m)})
	put(t, s, 10)
	put(t, s, 10)
	puts := w.of(http.MethodPut, "")
	require.NotEqual(t, puts[0].Header.Get("X-Amz-Security-Token"), puts[len(puts)-1].Header.Get("X-Amz-Security-Token"))
}

func TestTheRoleOfAContainerSignsRequests(t *testing.T) {
	noCredentials(t)
	m := &metadata{expires: time.Now().Add(time.Hour)}
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", serveHTTP(t, m)+"/container")
	w := &wire{}
	put(t, open(t, serveHTTP(t, w), blob.Options{}), 10)
	require.Contains(t, w.of(http.MethodPut, "")[0].Header.Get("Authorization"), "Credential=role-key-1/")
}

func TestTheEnvironmentGoesBeforeTheRoleOfTheMachine(t *testing.T) {
	noCredentials(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "key-of-the-environment")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Setenv("AWS_SESSION_TOKEN", "token-of-the-environment")
	m := &metadata{expires: time.Now().Add(time.Hour)}
	w := &wire{}
	put(t, open(t, serveHTTP(t, w), blob.Options{Metadata: serveHTTP(t, m)}), 10)
	require.Zero(t, m.given)
	require.Equal(t, "token-of-the-environment", w.of(http.MethodPut, "")[0].Header.Get("X-Amz-Security-Token"))
}

func TestAStoreCannotSendRequestsToAnotherPlace(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	other := &wire{}
	w := &wire{redirect: serveHTTP(t, other)}
	s := open(t, serveHTTP(t, w), blob.Options{})
	require.Error(t, s.Put(context.Background(), "k", strings.NewReader("x"), 1))
	_, _, err := s.Read(context.Background(), "k")
	require.Error(t, err)
	require.NotEmpty(t, w.of(http.MethodPut, ""))
	require.Empty(t, other.asked, "what the operator named is all that is asked")
	for _, endpoint := range []string{"https://user:secret@s3.example.com", "ftp://s3.example.com", "https://s3.example.com/path", "s3.example.com"} {
		_, err := blob.Open("s3://"+blobtest.Bucket, blob.Options{Endpoint: endpoint})
		require.ErrorContains(t, err, "is no URL", endpoint)
	}
}
