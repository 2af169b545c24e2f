package client

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLongWorkTellsOfItselfUntilItsResult(t *testing.T) {
	for _, c := range []struct{ answer, fails string }{
		{`{"done":1,"total":4}` + "\n" + `{"done":3,"total":4}` + "\n" + `{"result":{"files":7}}` + "\n", ""},
		{`{"done":1,"total":4}` + "\n" + `{"done":3,"total":4}` + "\n" + `{"error":{"code":"damaged","message":"00000007.seg"}}` + "\n", "00000007.seg (damaged)"},
		{`{"done":1,"total":4}` + "\n" + `{"done":3,"total":4}` + "\n", "cut off"},
		{`{"done":1,"total":4}` + "\n" + `{"done":3,"total":4}` + "\n<html>", "read the answer"},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if r.Method != http.MethodPost || r.Header.Get("Authorization") != "Bearer k" || string(body) != `{"name":"x"}` {
				w.WriteHeader(http.StatusTeapot)
			}
			_, _ = io.WriteString(w, c.answer)
		}))
		client, err := New(Options{Server: server.URL, Key: "k"})
		require.NoError(t, err)
		var told [][2]int64
		var result struct{ Files int }
		err = client.Operate(context.Background(), "/p", map[string]string{"name": "x"}, func(done, total int64) { told = append(told, [2]int64{done, total}) }, &result)
		if c.fails == "" {
			require.NoError(t, err)
			require.Equal(t, 7, result.Files)
		} else {
			require.ErrorContains(t, err, c.fails)
		}
		require.Equal(t, [][2]int64{{1, 4}, {3, 4}}, told)
		client.Close()
		server.Close()
	}
}

func TestWorkThatIsRefusedSaysWhy(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = io.WriteString(w, `{"error":{"code":"busy","message":"one runs already"}}`)
	}))
	client, err := New(Options{Server: server.URL})
	require.NoError(t, err)
	_, err = client.Await(context.Background(), "/p")
	require.ErrorContains(t, err, "one runs already (busy)")
	client.Close()
	server.Close()
	_, err = client.Await(context.Background(), "/p")
	require.ErrorContains(t, err, "start one with: spoor serve")
}
