package peer

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// TLS are the certificates of a node. A certificate that is replaced on the disk
// is used from the next connection on.
type TLS struct {
	certFile, keyFile string
	authorities       *x509.CertPool
	server            *tls.Config

	mu     sync.Mutex
	loaded tls.Certificate
	from   time.Time // when the file of loaded was written
}

// LoadTLS reads a node's certificate and key and the authorities whose
// certificates other nodes have, all in PEM. The certificate has the id of the
// node among its DNS names, and is for client and server authentication.
func LoadTLS(id, certFile, keyFile, authorityFile string) (*TLS, error) {
	t := &TLS{certFile: certFile, keyFile: keyFile, authorities: x509.NewCertPool()}
	pem, err := os.ReadFile(authorityFile)
	if err != nil {
		return nil, fmt.Errorf("read the certificate authority of the nodes: %w", err)
	}
	if !t.authorities.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read the certificate authority of the nodes: %s holds no certificate in PEM", authorityFile)
	}
	cert, err := t.certificate()
	if err != nil {
		return nil, err
	}
	if err := cert.Leaf.VerifyHostname(id); err != nil {
		return nil, fmt.Errorf("the certificate in %s is not that of node %s: its DNS names have to hold the id of the node (subjectAltName=DNS:%s)", certFile, id, id)
	}
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		if _, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: t.authorities, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
			return nil, fmt.Errorf("the certificate in %s does not fit the authority in %s: %w", certFile, authorityFile, err)
		}
	}
	t.server = &tls.Config{
		MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: t.authorities,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return t.certificate() },
	}
	return t, nil
}

func (t *TLS) client(node string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: t.authorities, ServerName: node,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return t.certificate() },
	}
}

// certificate is the one on the disk, or the last one that was whole.
func (t *TLS) certificate() (*tls.Certificate, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	info, err := os.Stat(t.certFile)
	if err == nil && info.ModTime().Equal(t.from) {
		return &t.loaded, nil
	}
	var cert tls.Certificate
	if err == nil {
		cert, err = tls.LoadX509KeyPair(t.certFile, t.keyFile)
	}
	if err == nil && cert.Leaf == nil {
		err = errors.New("it holds no certificate")
	}
	if err != nil {
		if t.loaded.Leaf != nil {
			return &t.loaded, nil
		}
		return nil, fmt.Errorf("read the certificate of the node: %w", err)
	}
	t.loaded, t.from = cert, info.ModTime()
	return &t.loaded, nil
}
