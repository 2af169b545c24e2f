//go:build !linux && !darwin && !freebsd

package vfs

import (
	"errors"
	"fmt"
)

var errIsDir = errors.New("is a directory")

// syncDir does nothing: these systems write names through or cannot be asked to.
func syncDir(string) error { return nil }

func freeBytes(dir string) (uint64, error) {
	return 0, fmt.Errorf("free space of %s: %w", dir, errors.ErrUnsupported)
}
