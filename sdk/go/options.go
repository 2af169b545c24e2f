package spoor

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Options configure a Client. Endpoint is needed; what else is zero has the
// default that stands behind it.
type Options struct {
	Endpoint string // URL of the server, such as https://events.example.com
	WriteKey string // sent as a bearer token; none: for a server without keys

	BatchEvents int           // events of one request at most; 500, at most 10,000
	BatchBytes  int           // bytes of one request before compression; 512 KiB, at most 8 MiB
	FlushEvery  time.Duration // an event waits at most so long for others; 1 s

	QueueEvents int           // events in memory; 100,000. Without meaning for a spool
	QueueBytes  int64         // bytes in memory; 64 MiB. Without meaning for a spool
	WhenFull    Policy        // what happens when there is no room; DropOldest
	MaxBlock    time.Duration // bound of one Enqueue, whatever it waits for; 1 s

	// Synchronous has each call return when the server has answered for its event,
	// for functions that are frozen between requests: nil when it is stored, else also
	// a *RefusedError or an error that wraps ErrUnanswered. Calls at the same time
	// share requests. MaxBlock is 10 s then if it is not set, and WhenFull is never DropOldest but Block.
	Synchronous bool

	// SpoolDir is a directory that this client has for itself: events are written
	// to files in it before Enqueue returns, and are sent by the next client that
	// opens it where this one did not come to it. Empty: events are in memory only.
	SpoolDir   string
	SpoolBytes int64         // size of all files; 256 MiB, at least 4 MiB
	SpoolSync  time.Duration // files are fsynced so often; 1 s. SyncEach: before Enqueue returns

	Coding    *Coding       // compression; Gzip(). See also package zstd, and Plain()
	Timeout   time.Duration // of one request; 30 s
	RetryBase time.Duration // mean of the first wait is half of it, each further one doubles; 500 ms
	RetryMax  time.Duration // longest wait between tries; 1 min
	// HTTPClient sends the requests, for proxies, certificates or tests. Its
	// redirects and timeout do not count. Nil: one with a connection of its own.
	HTTPClient *http.Client

	Context     map[string]any        // goes into the context of every event
	Experiments map[string][]Weighted // for Variant, by name

	// BeforeSend sees every event before it is queued, on the goroutine of the
	// caller, and may change it: to leave out what must not be sent. False drops
	// the event. Context is the hook's own; the other maps, and those within, are
	// the caller's: replace them, do not write to them.
	BeforeSend func(*Event) bool
	// OnDead is told of every event that the server refused for good; the log has
	// one line for each request. It is called by the goroutine that sends and must
	// neither take long nor call the client.
	OnDead func(Dead)

	Logger *slog.Logger // slog.Default()
}

// Policy says what happens to an event for which there is no room.
type Policy int

// The policies.
const (
	DropOldest Policy = iota // the oldest events that are not being sent give way
	DropNewest               // Enqueue returns ErrFull
	Block                    // Enqueue waits for room until ctx ends or MaxBlock has passed, then returns ErrFull
)

// SyncEach is the SpoolSync that fsyncs before Enqueue returns. Calls at the
// same time share one.
const SyncEach time.Duration = -1

const (
	maxBatchEvents = 10_000
	maxBatchBytes  = 8 << 20
	minSpoolBytes  = 4 << 20
)

// withDefaults checks the options and fills in the defaults.
func (o Options) withDefaults() (Options, error) {
	base, err := url.Parse(strings.TrimRight(o.Endpoint, "/"))
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return o, fmt.Errorf("the Endpoint %q is not the URL of a server; want one like https://events.example.com", o.Endpoint)
	}
	o.Endpoint = base.String()
	set(&o.BatchEvents, 500)
	set(&o.BatchBytes, 512<<10)
	set(&o.FlushEvery, time.Second)
	set(&o.QueueEvents, 100_000)
	set(&o.QueueBytes, 64<<20)
	if o.Synchronous {
		set(&o.MaxBlock, 10*time.Second)
		set(&o.WhenFull, Block)
	}
	set(&o.MaxBlock, time.Second)
	set(&o.SpoolBytes, 256<<20)
	set(&o.SpoolSync, time.Second)
	set(&o.Timeout, 30*time.Second)
	set(&o.RetryBase, 500*time.Millisecond)
	set(&o.RetryMax, time.Minute)
	if o.Coding == nil {
		o.Coding = Gzip()
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	context := map[string]any{"library": map[string]any{"name": "spoor-go", "version": Version}}
	maps.Copy(context, o.Context)
	o.Context = context
	switch {
	case o.BatchEvents < 1 || o.BatchEvents > maxBatchEvents:
		return o, fmt.Errorf("option BatchEvents is %d, want 1 to %d", o.BatchEvents, maxBatchEvents)
	case o.BatchBytes < 1 || o.BatchBytes > maxBatchBytes:
		return o, fmt.Errorf("option BatchBytes is %d, want 1 to %d", o.BatchBytes, maxBatchBytes)
	case o.QueueEvents < 1 || o.QueueBytes < maxEventBytes:
		return o, fmt.Errorf("a queue of %d events and %d bytes holds less than one event of %d bytes", o.QueueEvents, o.QueueBytes, maxEventBytes)
	case o.SpoolBytes < minSpoolBytes:
		return o, fmt.Errorf("option SpoolBytes is %d, want at least %d", o.SpoolBytes, minSpoolBytes)
	case o.SpoolSync < 0 && o.SpoolSync != SyncEach:
		return o, errors.New("option SpoolSync is negative; want a duration or SyncEach")
	case min(o.FlushEvery, o.MaxBlock, o.Timeout, o.RetryBase, o.RetryMax) < 0:
		return o, errors.New("a duration is negative")
	case o.WhenFull < DropOldest || o.WhenFull > Block:
		return o, fmt.Errorf("option WhenFull is %d, want DropOldest, DropNewest or Block", o.WhenFull)
	}
	return o, nil
}

func set[T comparable](option *T, standard T) {
	var zero T
	if *option == zero {
		*option = standard
	}
}

// httpClient is what sends. Redirects are not followed: they would turn a POST
// into a GET, or show the write key to another server.
func (o *Options) httpClient() *http.Client {
	client := http.Client{}
	if o.HTTPClient != nil {
		client = *o.HTTPClient
	}
	if client.Transport == nil {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.DisableCompression = true // answers are short
		client.Transport = transport
	}
	client.Timeout = o.Timeout
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client
}
