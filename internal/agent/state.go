package agent

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"hitoku.dev/attest"
)

const (
	nodeFile   = "node.json"
	lockFile   = "lock"
	nodeSchema = 1
	maxState   = 1 << 20
)

// node is the enrolment of this machine. Key and certificate lie in one file, so
// that a renewal replaces both or neither.
type node struct {
	Schema      int    `json:"schema"`
	Manager     string `json:"manager"`
	ManagerSNI  string `json:"manager_sni"`
	AccountID   string `json:"account_id"`
	ZoneID      string `json:"zone_id"`
	NodeID      string `json:"node_id"`
	AccountRoot string `json:"account_root"`          // PEM
	Key         string `json:"key"`                   // PEM, PKCS#8
	Certificate string `json:"certificate,omitempty"` // PEM, leaf first
	// PendingTask is the NODE_ATTESTATION task that the enrolment waits for.
	PendingTask string `json:"pending_task,omitempty"`

	key             *ecdsa.PrivateKey
	root            *x509.Certificate
	accountRootHash [32]byte
	leaf            *x509.Certificate // nil while pending
	chain           [][]byte
}

func (n *node) hasCertificate() bool { return n.leaf != nil }

func (n *node) tlsCertificate() tls.Certificate {
	return tls.Certificate{Certificate: n.chain, PrivateKey: n.key, Leaf: n.leaf}
}

// remaining is what is left of the certificate's life, and its whole life.
func (n *node) remaining(now time.Time) (left, life time.Duration) {
	return n.leaf.NotAfter.Sub(now), n.leaf.NotAfter.Sub(n.leaf.NotBefore)
}

// adoptRoot takes a renewed certificate of the account root that this node is
// enrolled under, which is known by its key. Anything else is left aside.
func (n *node) adoptRoot(text string) {
	root, err := parseRoot([]byte(text))
	if err == nil && attest.SPKIHash(root.RawSubjectPublicKeyInfo) == n.accountRootHash && root.NotAfter.After(n.root.NotAfter) {
		n.AccountRoot = text
	}
}

// loadNode reads the state file; a missing one is (nil, nil).
func loadNode(path string) (*node, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	if fi.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("agent: %s holds a private key and has mode %04o, wanted 0600; run chmod 600 on it, and enrol again if others may have read it", path, fi.Mode().Perm())
	}
	if fi.Size() > maxState {
		return nil, fmt.Errorf("agent: %s has %d bytes, at most %d expected", path, fi.Size(), maxState)
	}
	raw := make([]byte, fi.Size())
	if _, err := f.ReadAt(raw, 0); err != nil {
		return nil, fmt.Errorf("agent: %s: %w", path, err)
	}
	n, err := parseNode(raw)
	if err != nil {
		return nil, fmt.Errorf("agent: %s is damaged: %w; restore it, or move it away and enrol again with a join token", path, err)
	}
	return n, nil
}

func parseNode(raw []byte) (*node, error) {
	n := new(node)
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(n); err != nil {
		return nil, err
	}
	if n.Schema != nodeSchema {
		return nil, fmt.Errorf("schema %d, wanted %d", n.Schema, nodeSchema)
	}
	if err := n.complete(); err != nil {
		return nil, err
	}
	return n, nil
}

// complete parses the PEM members of n and checks that they belong together.
func (n *node) complete() error {
	block, _ := pem.Decode([]byte(n.Key))
	if block == nil {
		return errors.New("key: no PEM block")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return fmt.Errorf("key: %w", err)
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return fmt.Errorf("key: wanted ECDSA, seen %T", key)
	}
	n.key = ec
	if n.root, err = parseRoot([]byte(n.AccountRoot)); err != nil {
		return err
	}
	n.accountRootHash = attest.SPKIHash(n.root.RawSubjectPublicKeyInfo)
	n.leaf, n.chain = nil, nil
	if n.Certificate == "" {
		if n.PendingTask == "" {
			return errors.New("neither a certificate nor a task to wait for")
		}
		return nil
	}
	certs, err := parseChain([]byte(n.Certificate))
	if err != nil {
		return err
	}
	if err := checkNodeChain(certs, n.root, &ec.PublicKey); err != nil {
		return err
	}
	n.leaf = certs[0]
	for _, c := range certs {
		n.chain = append(n.chain, c.Raw)
	}
	return nil
}

func parseRoot(raw []byte) (*x509.Certificate, error) {
	certs, err := parseChain(raw)
	if err != nil {
		return nil, fmt.Errorf("account root: %w", err)
	}
	if len(certs) != 1 || !certs[0].IsCA {
		return nil, errors.New("account root: wanted exactly one CA certificate")
	}
	if err := certs[0].CheckSignatureFrom(certs[0]); err != nil {
		return nil, fmt.Errorf("account root: not self-signed: %w", err)
	}
	return certs[0], nil
}

// parseChain reads PEM certificates, at most 8, and nothing else.
func parseChain(raw []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for rest := raw; len(bytes.TrimSpace(rest)) > 0; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" {
			return nil, errors.New("certificate: wanted PEM blocks of type CERTIFICATE only")
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate: %w", err)
		}
		if certs = append(certs, c); len(certs) > 8 {
			return nil, errors.New("certificate: more than 8 in a chain")
		}
	}
	if len(certs) == 0 {
		return nil, errors.New("certificate: none given")
	}
	return certs, nil
}

// checkNodeChain checks a node certificate that the manager handed out: our key,
// the node key usage, and a path to the account root. Times are not judged here.
func checkNodeChain(certs []*x509.Certificate, root *x509.Certificate, key *ecdsa.PublicKey) error {
	leaf := certs[0]
	if pub, ok := leaf.PublicKey.(*ecdsa.PublicKey); !ok || !pub.Equal(key) {
		return errors.New("node certificate: it is for another key than this node's")
	}
	var usage bool
	for _, oid := range leaf.UnknownExtKeyUsage {
		usage = usage || oid.Equal(attest.OIDNodeEKU)
	}
	if !usage {
		return errors.New("node certificate: it lacks the key usage of nodes")
	}
	pool, between := x509.NewCertPool(), x509.NewCertPool()
	pool.AddCert(root)
	for _, c := range certs[1:] {
		between.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: pool, Intermediates: between, CurrentTime: leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) / 2),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return fmt.Errorf("node certificate: it does not lead to the account root: %w", err)
	}
	return nil
}

// save writes n so that a crash leaves the old file or the new one.
func (n *node) save(dir string) error {
	raw, err := json.MarshalIndent(n, "", "  ")
	if err != nil {
		return err
	}
	return writeFileAtomic(filepath.Join(dir, nodeFile), append(raw, '\n'), 0o600)
}

func writeFileAtomic(path string, data []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	defer os.Remove(f.Name())
	err = errors.Join(f.Chmod(mode), write(f, data), f.Sync(), f.Close())
	if err != nil {
		return fmt.Errorf("agent: %s: %w", path, err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	defer d.Close()
	return d.Sync()
}

func write(f *os.File, data []byte) error {
	_, err := f.Write(data)
	return err
}
