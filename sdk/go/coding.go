package spoor

import (
	"bytes"
	"compress/gzip"
	"sync"
)

// Coding compresses requests.
type Coding struct {
	Name string // of Content-Encoding; empty for none
	// Append appends what src becomes to dst. It is called by one goroutine at a
	// time of each client.
	Append func(dst, src []byte) ([]byte, error)
}

// Plain sends events as they are.
func Plain() *Coding {
	return &Coding{Append: func(dst, src []byte) ([]byte, error) { return append(dst, src...), nil }}
}

// Gzip compresses with the fastest level, which is a tenth to a fifth of the
// size for batches of events.
func Gzip() *Coding {
	writers := sync.Pool{New: func() any {
		w, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // the level is a known one
		return w
	}}
	return &Coding{Name: "gzip", Append: func(dst, src []byte) ([]byte, error) {
		w := writers.Get().(*gzip.Writer)
		defer writers.Put(w)
		buf := bytes.NewBuffer(dst)
		w.Reset(buf)
		if _, err := w.Write(src); err != nil {
			return nil, err
		}
		if err := w.Close(); err != nil {
			return nil, err
		}
		return buf.Bytes(), nil
	}}
}
