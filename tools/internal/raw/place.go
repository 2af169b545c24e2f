// Package raw is what the commands do with the raw tier: where it is, that the
// server writes it, and that a store is filled from it.
package raw

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"spoor/engine/cold"
	"spoor/server/backend"
	"spoor/server/jobs"
	"spoor/server/rawtier"
	"spoor/server/rawtier/blob"
	"spoor/server/rawtier/exports"
)

// Place is the flags that say where a raw tier is.
type Place struct {
	Endpoint   string `help:"URL of the S3-compatible store; Amazon's by default. Credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, ~/.aws/credentials, or the role of this machine." placeholder:"URL"`
	Region     string `help:"Region of the bucket." placeholder:"NAME"`
	Encryption string `help:"Ask the store to encrypt: s3, or kms:KEY-ID." placeholder:"HOW"`
}

// existing opens a raw tier that is there already.
func (p *Place) existing(place string) (blob.Store, error) {
	if !strings.Contains(place, "://") {
		if _, err := os.Stat(place); err != nil {
			return nil, fmt.Errorf("there is no raw tier: %w", err)
		}
	}
	return p.open(place)
}

func (p *Place) open(place string) (blob.Store, error) {
	return blob.Open(place, blob.Options{Endpoint: p.Endpoint, Region: p.Region, Encryption: p.Encryption})
}

// Serve is the flags of the server.
type Serve struct {
	Raw      string        `help:"Keep all events for years, as Parquet: in a directory, or in s3://BUCKET/PREFIX. See docs/scale.md." placeholder:"PLACE"`
	RawPlace Place         `embed:"" prefix:"raw-"`
	RawDelay time.Duration `help:"How long after its end a day is written there; what comes later goes to further files." default:"6h" placeholder:"TIME"`
	RawAdopt bool          `help:"Go on with the raw tier of another store, after it was replayed into this one."`
}

// Where files stand on their way, in the directory of the data.
const (
	workDir    = "rawtier"
	exportsDir = "exports"
)

// Written is what a server writes into its raw tier.
type Written struct {
	Tier    *rawtier.Tier
	Exports *exports.Exports
	Jobs    *jobs.Jobs
}

// Run writes it until ctx ends.
func (w *Written) Run(ctx context.Context) {
	var running sync.WaitGroup
	running.Go(func() { w.Exports.Run(ctx) })
	w.Tier.Run(ctx)
	running.Wait()
}

// Tier opens the raw tier that the flags name; nil if they name none.
func (s *Serve) Tier(data string, eraseWithin time.Duration, back *backend.Backend, log *slog.Logger) (*Written, error) {
	if s.Raw == "" {
		return nil, nil
	}
	if s.RawDelay < 0 {
		return nil, fmt.Errorf("--raw-delay must not be negative, got %s", s.RawDelay)
	}
	store, err := s.RawPlace.open(s.Raw)
	if err != nil {
		return nil, fmt.Errorf("--raw: %w", err)
	}
	w := &Written{Jobs: jobs.New(time.Now)}
	w.Tier = rawtier.New(store, back, rawtier.Options{
		Store:   func(ctx context.Context) (string, error) { return storeID(ctx, back) },
		Governs: back, Erasures: back.Erasures, Leads: back.Leads, Dir: filepath.Join(data, workDir), Delay: s.RawDelay, EraseWithin: eraseWithin, Adopt: s.RawAdopt, Logger: log,
	})
	w.Exports = exports.New(store, back, exports.Options{
		Mine: func() bool { return back.Leads() && w.Tier.IsWell() },
		Jobs: w.Jobs, Dir: filepath.Join(data, exportsDir), EraseWithin: eraseWithin, Logger: log,
	})
	return w, nil
}

// Cold is where days may go that need not stay on this disk, with a cache of so many bytes; the zero value
// without a raw tier. A day goes when the raw tier has it, too.
func (s *Serve) Cold(cacheBytes int64) (cold.Options, error) {
	if s.Raw == "" {
		return cold.Options{}, nil
	}
	store, err := s.RawPlace.open(s.Raw)
	if err != nil {
		return cold.Options{}, fmt.Errorf("--raw: %w", err)
	}
	sealed := map[int32]bool{} // of rounds alone, of which one runs at a time
	return cold.Options{Store: blob.ForSegments(store), CacheBytes: cacheBytes, Held: func(ctx context.Context, day int32) (bool, error) {
		if !sealed[day] {
			found, err := rawtier.Sealed(ctx, store, day)
			if err != nil {
				return false, err
			}
			sealed[day] = found
		}
		return sealed[day], nil
	}}, nil
}

// The document that holds the id of a store, the same on all of its nodes.
const (
	idKind = "rawtier"
	idName = "store"
)

// storeID is the id of the store, which its first leader with a raw tier gives it.
func storeID(ctx context.Context, back *backend.Backend) (string, error) {
	if d, ok := back.Document(idKind, idName); ok {
		return string(d.Value), nil
	}
	if _, err := back.PutDocument(ctx, idKind, idName, []byte(uuid.NewString())); err != nil {
		return "", fmt.Errorf("name the store: %w", err)
	}
	d, _ := back.Document(idKind, idName)
	return string(d.Value), nil
}
