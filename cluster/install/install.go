// Package install carries the state of one node to another: the node that is behind asks for a
// snapshot of the engine, pulls the files that it lacks, piece by piece, and lets its own engine take
// the state over. Events that are too old for the log come to a replica on this way.
//
// The node that is asked holds the files under a lease, which ends when nobody has used it for a
// while. What was pulled is kept under the sum of its bytes in a directory of its own, so that a cut
// connection, a crash and another source cost no more than the piece that was on its way. No file
// is used before its sum was compared and its bytes were synced.
//
//	POST /cluster/state?lease=ID                         the manifest, see engine.ReadSnapshot; 202 while it is made
//	GET  /cluster/state/file?lease=ID&name=&from=&bytes= a piece of a file, at most MaxPieceBytes
//	POST /cluster/state/release?lease=ID
package install

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/valyala/fasthttp"

	"spoor/cluster/peer"
)

// Paths of the calls between nodes.
const (
	pathState   = "/cluster/state"
	pathFile    = "/cluster/state/file"
	pathRelease = "/cluster/state/release"
)

const (
	// MaxPieceBytes are read from a file at a time.
	MaxPieceBytes = 4 << 20
	// maxManifestBytes is what one call can answer: some 50,000 files.
	maxManifestBytes = 16 << 20
	// manifestWait is how long a call waits for a manifest that is being made.
	manifestWait = 10 * time.Second
)

// Source is another node's state.
type Source interface {
	// Manifest takes a snapshot of the state, which stays as it is until Close.
	Manifest(ctx context.Context) ([]byte, error)
	// ReadAt reads a piece of a file of the snapshot, all of p.
	ReadAt(ctx context.Context, name string, p []byte, off int64) error
	Close()
}

// ErrLease is wrapped when a snapshot is held no more: another one has to be taken.
var ErrLease = errors.New("the snapshot is not held any more")

// remote is a Source behind the port for other nodes.
type remote struct {
	port          *peer.Port
	node, address string
	lease         string
}

// Remote is the state of a node at an address.
func Remote(port *peer.Port, node, address string) Source {
	return &remote{port: port, node: node, address: address, lease: uuid.NewString()}
}

// call sends a call and hands the answer's body to use, which must not keep it.
func (r *remote) call(ctx context.Context, method, path string, query url.Values, use func(body []byte) error) (status int, err error) {
	req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(resp)
	query.Set("lease", r.lease)
	req.Header.SetMethod(method)
	req.Header.SetHost(r.node)
	req.SetRequestURI(path + "?" + query.Encode())
	if err := r.port.Call(ctx, r.node, r.address, req, resp); err != nil {
		return 0, err
	}
	switch status := resp.StatusCode(); status {
	case fasthttp.StatusOK:
		return status, use(resp.Body())
	case fasthttp.StatusAccepted:
		return status, nil
	case fasthttp.StatusGone:
		return status, fmt.Errorf("node %s: %w", r.node, ErrLease)
	default:
		return status, fmt.Errorf("node %s: %d: %.300s", r.node, status, resp.Body())
	}
}

func (r *remote) Manifest(ctx context.Context) (manifest []byte, err error) {
	for {
		within, cancel := context.WithTimeout(ctx, 2*manifestWait)
		status, err := r.call(within, fasthttp.MethodPost, pathState, url.Values{}, func(body []byte) error {
			manifest = append([]byte(nil), body...)
			return nil
		})
		cancel()
		if err != nil || status == fasthttp.StatusOK {
			return manifest, err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
}

func (r *remote) ReadAt(ctx context.Context, name string, p []byte, off int64) error {
	q := url.Values{"name": {name}, "from": {strconv.FormatInt(off, 10)}, "bytes": {strconv.Itoa(len(p))}}
	_, err := r.call(ctx, fasthttp.MethodGet, pathFile, q, func(body []byte) error {
		if len(body) != len(p) {
			return fmt.Errorf("node %s sent %d bytes of %s at %d, %d were asked for", r.node, len(body), name, off, len(p))
		}
		copy(p, body)
		return nil
	})
	return err
}

// releaseTimeout bounds the courtesy of telling that a lease is over; else it ends by itself.
const releaseTimeout = 2 * time.Second

func (r *remote) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), releaseTimeout)
	defer cancel()
	_, _ = r.call(ctx, fasthttp.MethodPost, pathRelease, url.Values{}, func([]byte) error { return nil })
}
