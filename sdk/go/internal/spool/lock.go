package spool

import "errors"

const lockName = "lock"

// ErrInUse says that another process, or another client of this one, has the directory.
var ErrInUse = errors.New("another client has this spool open; each needs a directory of its own")
