package blob_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/engine/cold"
	"spoor/server/rawtier/blob"
	"spoor/server/rawtier/blob/blobtest"
)

// stores are a directory and, where there is one, a real server.
func stores(t *testing.T, f func(t *testing.T, s blob.Store)) {
	t.Run("directory", func(t *testing.T) {
		s, err := blob.Open(t.TempDir(), blob.Options{})
		require.NoError(t, err)
		f(t, s)
	})
	t.Run("s3", func(t *testing.T) {
		g := blobtest.Start(t, t.TempDir())
		f(t, open(t, g.Endpoint(), blob.Options{PartBytes: 5 << 20}))
	})
}

func open(t *testing.T, endpoint string, opts blob.Options) blob.Store {
	opts.Endpoint, opts.Region = endpoint, "us-east-1"
	s, err := blob.Open("s3://"+blobtest.Bucket+"/some/prefix", opts)
	require.NoError(t, err)
	return s
}

func content(n int, seed uint64) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, 1))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func get(t *testing.T, s blob.Store, key string) []byte {
	in, err := s.Open(context.Background(), key)
	require.NoError(t, err)
	defer in.Close()
	b, err := io.ReadAll(in)
	require.NoError(t, err)
	return b
}

func list(t *testing.T, s blob.Store, prefix string) (out []string) {
	require.NoError(t, s.List(context.Background(), prefix, func(o blob.Object) error {
		out = append(out, fmt.Sprintf("%s %d", o.Key, o.Bytes))
		return nil
	}))
	return out
}

func TestWhatIsPutComesBackAndIsListedAndRemoved(t *testing.T) {
	stores(t, func(t *testing.T, s blob.Store) {
		ctx := context.Background()
		require.Empty(t, list(t, s, ""))
		for key, n := range map[string]int{"a/b/c=1%2F/x.parquet": 10, "a/b/empty": 0, "a/large": 12<<20 + 7, "b": 3} {
			require.NoError(t, s.Put(ctx, key, bytes.NewReader(content(n, 1)), int64(n)), key)
			require.True(t, bytes.Equal(content(n, 1), get(t, s, key)), key)
		}
		require.NoError(t, s.Put(ctx, "b", bytes.NewReader([]byte("other")), 5))
		require.Equal(t, []string{"a/b/c=1%2F/x.parquet 10", "a/b/empty 0", "a/large 12582919", "b 5"}, list(t, s, ""))
		require.Equal(t, []string{"a/b/c=1%2F/x.parquet 10", "a/b/empty 0"}, list(t, s, "a/b/"))
		require.Empty(t, list(t, s, "nothing/here/"))
		require.NoError(t, s.Remove(ctx, "a/large"))
		require.NoError(t, s.Remove(ctx, "a/large"), "once more")
		_, _, err := s.Read(ctx, "a/large")
		require.ErrorIs(t, err, blob.ErrMissing)
		in, err := s.Open(ctx, "a/large")
		if err == nil {
			_, err = io.ReadAll(in)
		}
		require.ErrorIs(t, err, blob.ErrMissing)
		for _, key := range []string{"", "/", "../x", "a/../b", "a//b", "a/", `a\b`} {
			require.Error(t, s.Put(ctx, key, bytes.NewReader(nil), 0), "%q", key)
		}
	})
}

func TestOfTwoWritersWhoSawTheSameVersionOneWins(t *testing.T) {
	stores(t, func(t *testing.T, s blob.Store) {
		ctx := context.Background()
		version := ""
		for round := range 5 {
			var won sync.Map
			var wg sync.WaitGroup
			for w := range 8 {
				wg.Go(func() {
					next, err := s.Replace(ctx, "manifest", fmt.Appendf(nil, "round %d by %d", round, w), version)
					if err == nil {
						won.Store(w, next)
					} else if !errors.Is(err, blob.ErrChanged) {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			winners := 0
			won.Range(func(w, next any) bool {
				winners++
				b, v, err := s.Read(ctx, "manifest")
				require.NoError(t, err)
				require.Equal(t, fmt.Sprintf("round %d by %d", round, w), string(b))
				require.Equal(t, next, v)
				version = v
				return true
			})
			require.Equal(t, 1, winners)
		}
	})
}

func TestAPlaceThatIsNoneIsToldAndNothingLeadsOutOfADirectory(t *testing.T) {
	for place, opts := range map[string]blob.Options{
		"s3://":                 {},
		"ftp://host/x":          {},
		"s3://bucket":           {Endpoint: "no url"},
		"s3://bucket/x":         {Endpoint: "http://user:secret@host"},
		"s3://other":            {Encryption: "rot13"},
		"s3://bucket/elsewhere": {Endpoint: "http://host/path"},
	} {
		_, err := blob.Open(place, opts)
		require.Error(t, err, place)
		require.NotContains(t, err.Error(), "secret@host/")
	}
	dir := t.TempDir()
	outside := filepath.Join(dir, "outside")
	require.NoError(t, os.WriteFile(outside, []byte("secret"), 0o600))
	s, err := blob.Open(filepath.Join(dir, "tier"), blob.Options{})
	require.NoError(t, err)
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "tier", "link")))
	_, err = s.Open(context.Background(), "link")
	require.Error(t, err)
}

func TestAWrongSecretIsRefusedInWordsThatHelp(t *testing.T) {
	g := blobtest.Start(t, t.TempDir())
	t.Setenv("AWS_SECRET_ACCESS_KEY", "wrong")
	s := open(t, g.Endpoint(), blob.Options{})
	err := s.Put(context.Background(), "a", strings.NewReader("x"), 1)
	require.ErrorIs(t, err, blob.ErrDenied)
	require.ErrorContains(t, err, "AWS_SECRET_ACCESS_KEY")
	require.NotContains(t, err.Error(), "wrong")
}

// stalled is a server between, which lets some bytes pass and then nothing for ever.
func stalled(t *testing.T, to string, after int64) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var wg sync.WaitGroup
	ctx, stop := context.WithCancel(context.Background())
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				up, err := net.Dial("tcp", to)
				if err != nil {
					return
				}
				defer up.Close()
				end := context.AfterFunc(ctx, func() { _, _ = c.Close(), up.Close() })
				defer end()
				go func() { _, _ = io.Copy(c, up) }()
				_, _ = io.CopyN(up, c, after)
				<-ctx.Done()
			})
		}
	})
	t.Cleanup(func() { stop(); _ = ln.Close(); wg.Wait() })
	return "http://" + ln.Addr().String()
}

func TestAStoreThatStopsInTheMiddleEndsInAnErrorAndNotInAHang(t *testing.T) {
	g := blobtest.Start(t, t.TempDir())
	slow := open(t, stalled(t, strings.TrimPrefix(g.Endpoint(), "http://"), 100<<10), blob.Options{Timeout: 200 * time.Millisecond})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	big := content(1<<20, 2)
	err := slow.Put(ctx, "a", bytes.NewReader(big), int64(len(big)))
	require.Error(t, err)
	require.NoError(t, ctx.Err(), "it was given up before")
	require.Empty(t, list(t, open(t, g.Endpoint(), blob.Options{}), ""), "nothing half-written is there")
}

func TestARangeOfAnObjectIsReadAndWhatIsNotThereIsMissing(t *testing.T) {
	stores(t, func(t *testing.T, s blob.Store) {
		ctx := context.Background()
		b := content(3<<20, 4)
		require.NoError(t, s.Put(ctx, "a/large", bytes.NewReader(b), int64(len(b))))
		for _, at := range [][2]int{{0, 1}, {0, len(b)}, {len(b) - 1, 1}, {1 << 20, 1 << 20}, {12345, 67890}} {
			p := make([]byte, at[1])
			require.NoError(t, s.ReadAt(ctx, "a/large", p, int64(at[0])))
			require.True(t, bytes.Equal(b[at[0]:at[0]+at[1]], p), "%v", at)
		}
		require.ErrorIs(t, s.ReadAt(ctx, "a/large", make([]byte, 1), int64(len(b))), blob.ErrMissing)
		require.Error(t, s.ReadAt(ctx, "a/large", make([]byte, 2), int64(len(b))-1))
		require.ErrorIs(t, s.ReadAt(ctx, "a/none", make([]byte, 1), 0), blob.ErrMissing)
		ended, stop := context.WithCancel(ctx)
		stop()
		require.Error(t, s.ReadAt(ended, "a/large", make([]byte, 1), 0))

		far := blob.ForSegments(s)
		require.NoError(t, far.Put(ctx, "node/1.seg", bytes.NewReader(b), 100))
		require.NoError(t, far.ReadAt(ctx, "node/1.seg", make([]byte, 100), 0))
		require.ErrorIs(t, far.ReadAt(ctx, "node/2.seg", make([]byte, 1), 0), cold.ErrMissing)
		require.Contains(t, list(t, s, ""), "_cold/node/1.seg 100")
		require.NoError(t, far.List(ctx, "node/", func(key string, bytes int64) error {
			require.Equal(t, "node/1.seg 100", fmt.Sprint(key, " ", bytes))
			return nil
		}))
		require.NoError(t, far.Remove(ctx, "node/1.seg"))
		require.Equal(t, []string{"a/large 3145728"}, list(t, s, ""))
	})
}

func TestADirectoryThatIsNotMountedHasLostNothing(t *testing.T) {
	dir := t.TempDir()
	s, err := blob.Open(dir, blob.Options{})
	require.NoError(t, err)
	require.NoError(t, s.Put(context.Background(), "a/b", strings.NewReader("x"), 1))
	require.NoError(t, os.Rename(filepath.Join(dir, "a"), filepath.Join(dir, "elsewhere")))
	err = s.ReadAt(context.Background(), "a/b", make([]byte, 1), 0)
	require.Error(t, err)
	require.NotErrorIs(t, err, blob.ErrMissing)
}
