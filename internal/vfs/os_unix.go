//go:build linux || darwin || freebsd

package vfs

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

const errIsDir = syscall.EISDIR

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = f.Sync()
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

func freeBytes(dir string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return uint64(max(st.Bavail, 0)) * uint64(st.Bsize), nil //nolint:unconvert // the types differ between systems
}
