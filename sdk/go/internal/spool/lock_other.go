//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd || windows)

package spool

import (
	"errors"
	"os"
)

// lockDir refuses: without locks two processes would send and remove each
// other's events unseen.
func lockDir(string) (*os.File, error) {
	return nil, errors.New("spools are not supported on this system")
}
