package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"spoor/engine/cold"
)

// segmentsDir is where the nodes keep segments of old days, each below a name of its own. Nothing of
// the raw tier is there.
const segmentsDir = "_cold/"

// ForSegments is a store as a node keeps segments of old days in it.
func ForSegments(s Store) cold.Store { return segments{s} }

type segments struct{ Store }

func (s segments) Put(ctx context.Context, key string, content io.ReaderAt, size int64) error {
	return s.Store.Put(ctx, segmentsDir+key, content, size)
}

func (s segments) ReadAt(ctx context.Context, key string, p []byte, off int64) error {
	err := s.Store.ReadAt(ctx, segmentsDir+key, p, off)
	if errors.Is(err, ErrMissing) {
		return fmt.Errorf("%w: %w", cold.ErrMissing, err)
	}
	return err
}

func (s segments) List(ctx context.Context, prefix string, f func(key string, bytes int64) error) error {
	return s.Store.List(ctx, segmentsDir+prefix, func(o Object) error {
		return f(strings.TrimPrefix(o.Key, segmentsDir), o.Bytes)
	})
}

func (s segments) Remove(ctx context.Context, key string) error {
	return s.Store.Remove(ctx, segmentsDir+key)
}
