package etcd

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
)

// A pair is our certificate. It is read for each connection, as certificates
// are replaced before they end.
type pair struct {
	cert, key string

	mu   sync.Mutex
	last *tls.Certificate // that could be read
}

func (p *pair) load() error {
	c, err := tls.LoadX509KeyPair(p.cert, p.key)
	if err != nil {
		return fmt.Errorf("%s, %s: %w", p.cert, p.key, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = &c
	return nil
}

// current is tls.Config.GetClientCertificate. Files that are just being replaced
// do not match: the last ones that did hold.
func (p *pair) current(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	_ = p.load()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last, nil
}

// LoadTLS makes the settings of secure connections from files: the authority
// that etcd's certificate is by ("" for those of the host), and our certificate
// with its key ("" for none).
func LoadTLS(ca, cert, key string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		data, err := os.ReadFile(ca)
		if err != nil {
			return nil, err
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("%s: no certificate in it", ca)
		}
	}
	if (cert == "") != (key == "") {
		return nil, errors.New("a certificate and its key belong together; name both or neither")
	}
	if cert != "" {
		p := &pair{cert: cert, key: key}
		if err := p.load(); err != nil {
			return nil, err
		}
		c.GetClientCertificate = p.current
	}
	return c, nil
}
