// Package zstd compresses what a spoor.Client sends with zstd: smaller than
// gzip at a fraction of its time. It is a package of its own so that programs
// without it do not link it.
package zstd

import (
	"github.com/klauspost/compress/zstd"

	spoor "spoor/sdk/go"
)

// New returns a coding for spoor.Options.Coding. One coding serves any number
// of clients.
func New() (*spoor.Coding, error) {
	// The window keeps an encoder at a few hundred KiB; the server takes up to 8 MiB.
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(256<<10), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, err
	}
	return &spoor.Coding{
		Name:   "zstd",
		Append: func(dst, src []byte) ([]byte, error) { return enc.EncodeAll(src, dst), nil },
	}, nil
}
