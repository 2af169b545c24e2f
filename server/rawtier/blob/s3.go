package blob

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/encrypt"
)

// s3 keeps objects in a bucket, below a prefix.
type s3 struct {
	client  *minio.Client
	bucket  string
	prefix  string // "" or without slashes at its ends
	seal    encrypt.ServerSide
	part    uint64
	timeout time.Duration
}

const (
	amazon         = "https://s3.amazonaws.com"
	defaultPart    = 16 << 20
	minPart        = 5 << 20 // by the protocol
	defaultTimeout = time.Minute
	// maxTries of a request: the library waits longer between them each time.
	maxTries = 5
)

func openS3(bucket, prefix string, opts Options) (*s3, error) {
	if opts.Endpoint == "" {
		opts.Endpoint = amazon
	}
	u, err := url.Parse(opts.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.Path != "" && u.Path != "/" || u.User != nil {
		return nil, fmt.Errorf("the endpoint %q is no URL such as https://s3.example.com", opts.Endpoint)
	}
	s := &s3{bucket: bucket, prefix: prefix, part: defaultPart, timeout: opts.Timeout}
	if opts.PartBytes != 0 {
		s.part = uint64(max(opts.PartBytes, minPart))
	}
	if s.timeout == 0 {
		s.timeout = defaultTimeout
	}
	switch key, kms := strings.CutPrefix(opts.Encryption, "kms:"); {
	case kms && key == "":
		return nil, fmt.Errorf("encryption %q names no key; write kms:KEY-ID", opts.Encryption)
	case kms:
		if s.seal, err = encrypt.NewSSEKMS(key, nil); err != nil {
			return nil, fmt.Errorf("encryption %q: %w", opts.Encryption, err)
		}
	case opts.Encryption == "s3":
		s.seal = encrypt.NewSSE()
	case opts.Encryption != "":
		return nil, fmt.Errorf(`encryption %q is neither "s3" nor "kms:KEY-ID"`, opts.Encryption)
	}
	// ResponseHeaderTimeout is about a server that does not answer, the deadline of each
	// connection about one that stops in the middle.
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           s.dial,
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:   s.timeout,
		ResponseHeaderTimeout: s.timeout,
		MaxIdleConnsPerHost:   8,
		IdleConnTimeout:       90 * time.Second,
		DisableCompression:    true,
	}
	s.client, err = minio.New(u.Host, &minio.Options{
		Creds: roles(transport, opts.Metadata), Secure: u.Scheme == "https", Transport: transport, Region: opts.Region, MaxRetries: maxTries,
	})
	if err != nil {
		return nil, fmt.Errorf("open s3://%s at %s: %w", bucket, opts.Endpoint, err)
	}
	return s, nil
}

// roles are the credentials of the environment, of the usual files, or of the role of
// this machine, the first that there are.
func roles(transport http.RoundTripper, metadata string) *credentials.Credentials {
	return credentials.NewChainCredentials([]credentials.Provider{
		&credentials.EnvAWS{}, &credentials.FileAWSCredentials{},
		&credentials.IAM{Endpoint: metadata, Client: &http.Client{Transport: transport, Timeout: 10 * time.Second}},
	})
}

// dial connects to where progress is watched.
func (s *s3) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := (&net.Dialer{Timeout: s.timeout, KeepAlive: 15 * time.Second}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &watched{c, s.timeout}, nil
}

// watched is a connection on which each read and write must end in time.
type watched struct {
	net.Conn
	timeout time.Duration
}

func (w *watched) Read(p []byte) (int, error) {
	if err := w.SetReadDeadline(time.Now().Add(w.timeout + 90*time.Second)); err != nil { // it may be idle before
		return 0, err
	}
	return w.Conn.Read(p)
}

func (w *watched) Write(p []byte) (int, error) {
	if err := w.SetWriteDeadline(time.Now().Add(w.timeout)); err != nil {
		return 0, err
	}
	return w.Conn.Write(p)
}

func (s *s3) String() string { return "s3://" + path.Join(s.bucket, s.prefix) }

func (s *s3) key(key string) string { return strings.TrimPrefix(s.prefix+"/"+key, "/") }

func (s *s3) failure(what, key string, err error) error {
	r := minio.ToErrorResponse(err)
	switch {
	case r.Code == minio.NoSuchKey || r.Code == "NotFound":
		err = ErrMissing
	case r.Code == minio.PreconditionFailed || r.StatusCode == http.StatusPreconditionFailed || r.Code == "ConditionalRequestConflict":
		err = ErrChanged
	case r.StatusCode == http.StatusInsufficientStorage || r.Code == "QuotaExceeded" || r.Code == "XMinioStorageFull" || strings.Contains(r.Message, "no space left"):
		err = fmt.Errorf("%w: %w", ErrFull, err)
	case r.StatusCode == http.StatusForbidden || r.StatusCode == http.StatusUnauthorized:
		err = fmt.Errorf("%w: %w; look at AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, ~/.aws/credentials, or the role of this machine", ErrDenied, err)
	}
	return fmt.Errorf("%s %s in %s: %w", what, key, s, err)
}

func (s *s3) Put(ctx context.Context, key string, content io.ReaderAt, size int64) error {
	if err := checkKey(key); err != nil {
		return err
	}
	_, err := s.client.PutObject(ctx, s.bucket, s.key(key), io.NewSectionReader(content, 0, size), size, minio.PutObjectOptions{
		ContentType: "application/vnd.apache.parquet", PartSize: s.part, ServerSideEncryption: s.seal, SendContentMd5: true,
	})
	if err != nil {
		return s.failure("write", key, err)
	}
	return nil
}

func (s *s3) Replace(ctx context.Context, key string, content []byte, version string) (string, error) {
	if err := checkKey(key); err != nil {
		return "", err
	}
	opts := minio.PutObjectOptions{ContentType: "application/json", ServerSideEncryption: s.seal, SendContentMd5: true, DisableMultipart: true}
	if version == "" {
		opts.SetMatchETagExcept("*")
	} else {
		opts.SetMatchETag(version)
	}
	info, err := s.client.PutObject(ctx, s.bucket, s.key(key), bytes.NewReader(content), int64(len(content)), opts)
	if err != nil {
		err = s.failure("write", key, err)
		if !errors.Is(err, ErrChanged) {
			return "", err
		}
		// A try that was cut off may have been carried out: then it is what stands there.
		now, next, rerr := s.Read(ctx, key)
		if rerr == nil && bytes.Equal(now, content) {
			return next, nil
		}
		return "", err
	}
	return info.ETag, nil
}

func (s *s3) Read(ctx context.Context, key string) ([]byte, string, error) {
	if err := checkKey(key); err != nil {
		return nil, "", err
	}
	o, err := s.client.GetObject(ctx, s.bucket, s.key(key), minio.GetObjectOptions{})
	if err != nil {
		return nil, "", s.failure("read", key, err)
	}
	defer o.Close()
	b, err := readSmall(o)
	if err != nil {
		return nil, "", s.failure("read", key, err)
	}
	info, err := o.Stat()
	if err != nil {
		return nil, "", s.failure("read", key, err)
	}
	return b, info.ETag, nil
}

func (s *s3) Open(ctx context.Context, key string) (io.ReadCloser, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	o, err := s.client.GetObject(ctx, s.bucket, s.key(key), minio.GetObjectOptions{})
	if err != nil {
		return nil, s.failure("read", key, err)
	}
	return &s3Reader{s, key, o}, nil
}

// s3Reader makes the errors of this package of those of the library.
type s3Reader struct {
	s   *s3
	key string
	o   *minio.Object
}

func (r *s3Reader) Read(p []byte) (int, error) {
	n, err := r.o.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = r.s.failure("read", r.key, err)
	}
	return n, err
}

func (r *s3Reader) Close() error { return r.o.Close() }

func (s *s3) List(ctx context.Context, prefix string, f func(Object) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop() // ends the listing, which else waits for somebody to take the rest
	for o := range s.client.ListObjects(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.key(prefix), Recursive: true}) {
		if o.Err != nil {
			return s.failure("list", prefix, o.Err)
		}
		key := strings.TrimPrefix(o.Key, s.prefix)
		if err := f(Object{Key: strings.TrimPrefix(key, "/"), Bytes: o.Size, Changed: o.LastModified}); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (s *s3) Remove(ctx context.Context, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	err := s.client.RemoveObject(ctx, s.bucket, s.key(key), minio.RemoveObjectOptions{})
	if err != nil && !errors.Is(s.failure("remove", key, err), ErrMissing) {
		return s.failure("remove", key, err)
	}
	return nil
}
