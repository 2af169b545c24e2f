package zstd

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
)

func TestWhatIsCompressedComesBackForAnyNumberOfClients(t *testing.T) {
	coding, err := New()
	require.NoError(t, err)
	require.Equal(t, "zstd", coding.Name)
	var all sync.WaitGroup
	for client := range 4 {
		all.Go(func() {
			for n := range 20 {
				want := bytes.Repeat(fmt.Appendf(nil, `{"client":%d,"n":%d},`, client, n), 1+n*100)
				packed, err := coding.Append([]byte("kept"), want)
				if err != nil || string(packed[:4]) != "kept" {
					t.Error("what stood before is gone", err)
				}
				dec, err := zstd.NewReader(bytes.NewReader(packed[4:]))
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := io.ReadAll(dec); err != nil || !bytes.Equal(got, want) {
					t.Error("another text came back", err)
				}
				dec.Close()
			}
		})
	}
	all.Wait()
}
