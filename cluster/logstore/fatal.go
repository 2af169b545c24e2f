package logstore

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// ErrFailed is wrapped by every answer after the first write that failed. After
// an error of fsync the kernel forgets what it could not write and answers the
// next fsync with success, so nothing that follows may be trusted.
var ErrFailed = errors.New("the log failed and takes no more entries; the process has to be started again")

var errClosed = errors.New("the log is closed")

// poison remembers the first failure for ever.
type poison struct {
	once    sync.Once
	err     atomic.Pointer[error]
	onFatal func(error)
	stall   time.Duration
}

func (p *poison) failed() error {
	if e := p.err.Load(); e != nil {
		return *e
	}
	return nil
}

// fail ends the store and returns the error of the first failure.
func (p *poison) fail(err error) error {
	p.once.Do(func() {
		e := fmt.Errorf("%w: %w", ErrFailed, err)
		p.err.Store(&e)
		p.onFatal(e)
	})
	return p.failed()
}

// end lets every later call answer that the store is closed.
func (p *poison) end() {
	p.once.Do(func() { p.err.Store(&errClosed) })
}

// watched runs one call to the disk. A call that hangs longer than the limit
// fails the store while it hangs: a leader that cannot write must not go on leading.
func (p *poison) watched(what, name string, call func() error) error {
	t := time.AfterFunc(p.stall, func() {
		_ = p.fail(fmt.Errorf("%s %s: the disk has not answered for %s", what, name, p.stall))
	})
	err := call()
	t.Stop()
	if err != nil {
		return err
	}
	return p.failed() // the call may have come back after the limit
}
