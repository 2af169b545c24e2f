package peer

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"
	"go.uber.org/goleak"
)

// Servers and clients of fasthttp leave goroutines behind that end by themselves when they wake.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*HostClient).connsCleaner"))
}

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func options(id string) Options {
	v1 := Range{Min: 1, Max: 1}
	return Options{Listen: "127.0.0.1:0", Cluster: [16]byte{1}, ID: id, Formats: Formats{Commands: v1, Segments: v1}}
}

func open(t testing.TB, o Options) *Port {
	t.Helper()
	p, err := Open(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

// ask calls the path of a node and returns the answer's body.
func ask(ctx context.Context, from *Port, node, address, path, body string) (string, error) {
	req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(resp)
	req.Header.SetMethod("POST")
	req.SetRequestURI(path)
	req.Header.SetHost("spoor")
	req.SetBodyString(body)
	if err := from.Call(ctx, node, address, req, resp); err != nil {
		return "", err
	}
	if resp.StatusCode() != fasthttp.StatusOK {
		return "", errors.New(string(resp.Body()))
	}
	return string(resp.Body()), nil
}

func echo(ctx *fasthttp.RequestCtx) { ctx.SetBody(ctx.PostBody()) }

func TestANodeCallsAnotherAndBothLearnWhatTheOtherUnderstands(t *testing.T) {
	o := options("n2")
	o.Formats.Commands.Max = 7
	a, b := open(t, options("n1")), open(t, o)
	_, known := a.Formats("n2")
	require.False(t, known)
	_, err := ask(within(t), a, "n2", b.Addr(), "/echo", "early")
	require.ErrorContains(t, err, "does not serve /echo yet")
	b.Handle("/echo", echo)
	for range 3 {
		answer, err := ask(within(t), a, "n2", b.Addr(), "/echo", "hello")
		require.NoError(t, err)
		require.Equal(t, "hello", answer)
	}
	f, known := a.Formats("n2")
	require.True(t, known)
	require.Equal(t, o.Formats, f)
	f, known = b.Formats("n1")
	require.True(t, known)
	require.Equal(t, options("").Formats, f)
	require.Len(t, b.conns, 1, "one connection served all")
}

func TestAHandlerLearnsWhichNodeCalls(t *testing.T) {
	a, b := open(t, options("n1")), open(t, options("n2"))
	b.Handle("/who", func(ctx *fasthttp.RequestCtx) { ctx.SetBodyString(Caller(ctx)) })
	answer, err := ask(within(t), a, "n2", b.Addr(), "/who", "")
	require.NoError(t, err)
	require.Equal(t, "n1", answer)
}

func TestWhoDoesNotBelongIsRefusedAndToldWhy(t *testing.T) {
	other := options("n1")
	other.Cluster[0] = 9
	for name, c := range map[string]struct {
		from       Options
		to         string
		code, text string
	}{
		"another cluster":          {other, "n2", RefusedCluster, "wrong data directory"},
		"another node is wanted":   {options("n1"), "n3", RefusedNode, "an address is wrong"},
		"two nodes of the same id": {options("n2"), "n2", RefusedNode, "two nodes have the id n2"},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := open(t, c.from), open(t, options("n2"))
			b.Handle("/echo", echo)
			_, err := ask(within(t), a, c.to, b.Addr(), "/echo", "x")
			require.ErrorIs(t, err, ErrNotReached)
			require.ErrorContains(t, err, c.text)
			var r *Refusal
			require.ErrorAs(t, err, &r)
			require.Equal(t, c.code, r.Code)
		})
	}
}

func TestANewerProtocolIsRefusedByAnOlderNode(t *testing.T) {
	p := open(t, options("n1"))
	h := p.hello("n1", purposeCall)
	h.From, h.Protocol = "n2", Protocol+1
	require.Equal(t, RefusedProtocol, p.check(h).Code)
}

func TestBytesThatAreNoHelloEndTheConnectionWithoutAnAnswer(t *testing.T) {
	p := open(t, options("n1"))
	for _, garbage := range []string{"GET / HTTP/1.1\r\n\r\n", "SPOORPER\xff\xff\xff\xff", "SPOORPER\x02\x00\x00\x00{}abcd"} {
		conn, err := net.Dial("tcp", p.Addr())
		require.NoError(t, err)
		_, err = conn.Write([]byte(garbage))
		require.NoError(t, err)
		answer, _ := io.ReadAll(conn)
		require.Empty(t, answer)
		require.NoError(t, conn.Close())
	}
}

func TestACallToNobodyHasSentNothing(t *testing.T) {
	a := open(t, options("n1"))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, ln.Close())
	_, err = ask(within(t), a, "n2", ln.Addr().String(), "/echo", "x")
	require.ErrorIs(t, err, ErrNotReached)
}

func TestACallWhoseAnswerIsLostMayHaveArrived(t *testing.T) {
	a, b := open(t, options("n1")), open(t, options("n2"))
	arrived := make(chan struct{})
	b.Handle("/slow", func(ctx *fasthttp.RequestCtx) {
		close(arrived)
		<-b.ctx.Done()
	})
	failed := make(chan error)
	go func() {
		_, err := ask(within(t), a, "n2", b.Addr(), "/slow", "x")
		failed <- err
	}()
	<-arrived
	require.NoError(t, b.Close())
	err := <-failed
	require.Error(t, err)
	require.NotErrorIs(t, err, ErrNotReached)
}

// A node that has restarted leaves connections behind on which a call would be
// written without an error, and nobody could tell whether it arrived.
func TestACallAfterARestartOfTheOtherNodeIsSentAgainOnANewConnection(t *testing.T) {
	a := open(t, options("n1"))
	b := open(t, options("n2"))
	at := b.Addr()
	b.Handle("/echo", echo)
	_, err := ask(within(t), a, "n2", at, "/echo", "x")
	require.NoError(t, err)
	require.NoError(t, b.Close())
	again := options("n2")
	again.Listen = at
	b = open(t, again)
	b.Handle("/echo", echo)
	answer, err := ask(within(t), a, "n2", at, "/echo", "once more")
	require.NoError(t, err)
	require.Equal(t, "once more", answer)
}

func TestManyCallsAtOnceAreAllAnswered(t *testing.T) {
	a, b := open(t, options("n1")), open(t, options("n2"))
	b.Handle("/echo", echo)
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			body := strings.Repeat("x", 100<<10)
			answer, err := ask(within(t), a, "n2", b.Addr(), "/echo", body)
			if err != nil || answer != body {
				t.Errorf("%d bytes, %v", len(answer), err)
			}
		})
	}
	wg.Wait()
}

// certificates writes an authority and a certificate for each of the names.
func certificates(t testing.TB, dir string, names ...string) {
	t.Helper()
	write := func(name, kind string, der []byte) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "spoor"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	require.NoError(t, err)
	write("ca.pem", "CERTIFICATE", der)
	for i, name := range names {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
		cert := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i) + 2), DNSNames: []string{name}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		}
		der, err := x509.CreateCertificate(rand.Reader, cert, ca, &key.PublicKey, caKey)
		require.NoError(t, err)
		write(name+".pem", "CERTIFICATE", der)
		der, err = x509.MarshalECPrivateKey(key)
		require.NoError(t, err)
		write(name+".key", "EC PRIVATE KEY", der)
	}
}

func load(t testing.TB, dir, id string) *TLS {
	t.Helper()
	c, err := LoadTLS(id, filepath.Join(dir, id+".pem"), filepath.Join(dir, id+".key"), filepath.Join(dir, "ca.pem"))
	require.NoError(t, err)
	return c
}

func TestWithCertificatesBothSidesShowWhoTheyAre(t *testing.T) {
	dir, foreign := t.TempDir(), t.TempDir()
	certificates(t, dir, "n1", "n2", "n3")
	certificates(t, foreign, "n1")
	secured := func(dir, id string) *Port {
		o := options(id)
		o.TLS = load(t, dir, id)
		return open(t, o)
	}
	n2 := secured(dir, "n2")
	n2.Handle("/echo", echo)

	n1 := secured(dir, "n1")
	for range 2 {
		answer, err := ask(within(t), n1, "n2", n2.Addr(), "/echo", "secret")
		require.NoError(t, err)
		require.Equal(t, "secret", answer)
	}
	_, err := ask(within(t), n1, "n3", n2.Addr(), "/echo", "x")
	require.ErrorContains(t, err, "TLS", "n2 has no certificate of n3")

	_, err = ask(within(t), open(t, options("n1")), "n2", n2.Addr(), "/echo", "x")
	require.ErrorIs(t, err, ErrNotReached, "without TLS")
	_, err = ask(within(t), secured(foreign, "n1"), "n2", n2.Addr(), "/echo", "x")
	require.ErrorIs(t, err, ErrNotReached, "the certificate of another authority")

	liar := secured(dir, "n3") // it has a certificate, but says that it is n1
	liar.opts.ID = "n1"
	_, err = ask(within(t), liar, "n2", n2.Addr(), "/echo", "x")
	require.ErrorContains(t, err, "the certificate is not that of node")
}

func TestCertificatesOfAnotherNodeOrAuthorityAreRefusedAtTheStart(t *testing.T) {
	dir, foreign := t.TempDir(), t.TempDir()
	certificates(t, dir, "n1")
	certificates(t, foreign, "n1")
	path := func(dir, name string) string { return filepath.Join(dir, name) }
	_, err := LoadTLS("n2", path(dir, "n1.pem"), path(dir, "n1.key"), path(dir, "ca.pem"))
	require.ErrorContains(t, err, "is not that of node n2")
	_, err = LoadTLS("n1", path(dir, "n1.pem"), path(dir, "n1.key"), path(foreign, "ca.pem"))
	require.ErrorContains(t, err, "does not fit the authority")
	_, err = LoadTLS("n1", path(dir, "n1.pem"), path(dir, "none"), path(dir, "ca.pem"))
	require.Error(t, err)
}

func TestTheRaftLibraryReachesTheNodeThatItMeans(t *testing.T) {
	a, b := open(t, options("n1")), open(t, options("n2"))
	ta, tb := a.RaftTransport(hclog.NewNullLogger()), b.RaftTransport(hclog.NewNullLogger())
	defer func() {
		require.NoError(t, ta.(raft.WithClose).Close())
		require.NoError(t, tb.(raft.WithClose).Close())
	}()
	require.Equal(t, raft.ServerAddress(b.Addr()), tb.LocalAddr())
	var answered atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		rpc := <-tb.Consumer()
		answered.Store(true)
		rpc.Respond(&raft.RequestVoteResponse{Term: 4, Granted: true}, nil)
	}()
	var resp raft.RequestVoteResponse
	require.NoError(t, ta.RequestVote("n2", raft.ServerAddress(b.Addr()), &raft.RequestVoteRequest{Term: 4}, &resp))
	require.True(t, resp.Granted)
	<-done
	require.True(t, answered.Load())
	err := ta.RequestVote("n3", raft.ServerAddress(b.Addr()), &raft.RequestVoteRequest{Term: 4}, &resp)
	require.ErrorContains(t, err, "an address is wrong")
}

func TestAnAddressThatNobodyCanDialIsRefused(t *testing.T) {
	dir := t.TempDir()
	certificates(t, dir, "n1")
	o := options("n1")
	o.TLS, o.Listen = load(t, dir, "n1"), "0.0.0.0:0"
	_, err := Open(o)
	require.ErrorContains(t, err, "name the address to advertise")
	o.Advertise = "10.1.2.3:7481"
	require.Equal(t, "10.1.2.3:7481", open(t, o).Addr())
}

func FuzzReadHello(f *testing.F) {
	p := &Port{opts: options("n1"), cluster: clusterText([16]byte{1})}
	b, err := appendHello(nil, p.hello("n2", purposeRaft))
	require.NoError(f, err)
	f.Add(b)
	f.Add(b[:len(b)-1])
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := readHello(bytes.NewReader(b))
		if err != nil {
			return
		}
		_ = p.check(h)
		again, err := appendHello(nil, h)
		if err != nil {
			return // larger once it is written in full
		}
		back, err := readHello(bytes.NewReader(again))
		require.NoError(t, err)
		require.Equal(t, h.From, back.From)
	})
}

func TestTheHelloIsPinned(t *testing.T) {
	p := &Port{opts: options("n1"), cluster: clusterText([16]byte{1})}
	b, err := appendHello(nil, p.hello("n2", purposeRaft))
	require.NoError(t, err)
	require.Equal(t, "SPOORPER\xa8\x00\x00\x00"+
		`{"protocol":1,"cluster":"01000000000000000000000000000000","from":"n1","to":"n2","purpose":"raft","formats":{"commands":{"min":1,"max":1},"segments":{"min":1,"max":1}}}`, string(b[:len(b)-4]))
}
