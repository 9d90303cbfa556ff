package verify

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
)

// maxTarget is the longest file that is looked at, in bytes.
const maxTarget = 1 << 20

// open returns the certificates of a server or file, or the bytes of anything else.
func (r *Report) open(ctx context.Context, o *Options) (chain []*x509.Certificate, raw []byte, err error) {
	u, err := url.Parse(o.Target)
	if err == nil && u.Scheme == "https" {
		chain, err := dial(ctx, u, o)
		return chain, nil, err
	}
	if raw, err = read(o.Target, o.Stdin); err != nil {
		return nil, nil, err
	}
	chain, err = certificates(raw)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", o.Target, err)
	}
	return chain, raw, nil
}

// read returns the content of a file, or of in for "-".
func read(name string, in io.Reader) ([]byte, error) {
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	raw, err := io.ReadAll(io.LimitReader(in, maxTarget+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(raw) > maxTarget {
		return nil, fmt.Errorf("%s: more than %d bytes", name, maxTarget)
	}
	return raw, nil
}

// certificates reads PEM or DER certificates; nil when raw holds something else.
func certificates(raw []byte) ([]*x509.Certificate, error) {
	text := bytes.TrimSpace(raw)
	if !bytes.HasPrefix(text, []byte("-----BEGIN ")) {
		chain, err := x509.ParseCertificates(raw)
		if err != nil || len(chain) == 0 {
			return nil, nil
		}
		return chain, nil
	}
	var chain []*x509.Certificate
	for len(text) > 0 {
		block, rest := pem.Decode(text)
		if block == nil {
			return nil, errors.New("text that is no PEM")
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("PEM block %q, wanted CERTIFICATE", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		chain, text = append(chain, cert), bytes.TrimSpace(rest)
	}
	return chain, nil
}

// dial makes a TLS connection and returns what the server showed. The handshake
// proves that the server holds the leaf's key; everything else is judged later.
func dial(ctx context.Context, u *url.URL, o *Options) ([]*x509.Certificate, error) {
	host, port := u.Hostname(), u.Port()
	if port == "" {
		port = "443"
	}
	if o.Name == "" && net.ParseIP(host) == nil {
		o.Name = host
	}
	conn, err := o.Dial(ctx, "tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, fmt.Errorf("%s does not answer: %w", o.Target, err)
	}
	defer conn.Close()
	client := tls.Client(conn, &tls.Config{
		MinVersion:         tls.VersionTLS13,
		ServerName:         o.Name,
		InsecureSkipVerify: true, // judged with its evidence, after the handshake
	})
	if err := client.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("%s: TLS 1.3 handshake: %w", o.Target, err)
	}
	return client.ConnectionState().PeerCertificates, nil
}
