package manager

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"hitoku.dev/attest"
	"hitoku.dev/internal/manager/ca"
	"hitoku.dev/internal/manager/store"
)

// AuthenticateNode finds the node whose certificate a TLS client has proved to hold. The
// account follows from the authority that issued it (security decision S6), and the
// certificate must be, byte for byte, one that this manager issued and has not revoked.
func (m *Manager) AuthenticateNode(ctx context.Context, chain []*x509.Certificate) (Peer, error) {
	refuse := func(format string, args ...any) (Peer, error) {
		return Peer{}, newError(Unauthenticated, CodeNotEnrolled, "the client certificate is no node's: "+format, args...)
	}
	if len(chain) == 0 {
		return refuse("none was sent; enrol with a join token first")
	}
	leaf := chain[0]
	if !slices.ContainsFunc(leaf.UnknownExtKeyUsage, attest.OIDNodeEKU.Equal) || len(leaf.URIs) != 1 {
		return refuse("it was not issued for a node")
	}
	account, _, _ := strings.Cut(leaf.URIs[0].Host, ".")
	if uuid.Validate(account) != nil {
		return refuse("it names no account")
	}
	now := m.now()
	if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return refuse("wanted one valid at %s, seen %s to %s; enrol again with a join token", stamp(now), stamp(leaf.NotBefore), stamp(leaf.NotAfter))
	}
	hash := sha256.Sum256(leaf.Raw)
	if peer, ok := m.knownCaller(hash); ok {
		return peer, nil
	}
	var peer Peer
	var known *knownCaller
	err := m.view(ctx, func(tx *store.Tx) error {
		rows, err := tx.Certificates().Find(ctx, account, store.Is("serial", serialText(leaf)), store.Is("kind", store.CertificateNode))
		if err != nil {
			return err
		}
		for _, row := range rows {
			if same, err := m.issuedHere(ctx, tx, row, leaf); err != nil || !same {
				return err
			}
			node, err := tx.Nodes().Get(ctx, account, row.NodeID)
			if err != nil {
				return err
			}
			if err := nodeMayCall(node, row); err != nil {
				return err
			}
			acct, err := activeAccount(ctx, tx, account)
			if err != nil {
				return err
			}
			peer = Peer{AccountID: account, ZoneID: row.ZoneID, NodeID: row.NodeID, CertificateID: row.ID}
			known = &knownCaller{peer, row, node, acct}
		}
		return nil
	})
	if err != nil {
		return Peer{}, err
	}
	if peer.NodeID == "" {
		return refuse("this manager did not issue it")
	}
	m.issuer.mu.Lock()
	defer m.issuer.mu.Unlock()
	remember(&m.issuer.callers, hash, known)
	return peer, nil
}

// knownCaller is a node that was authenticated, with the rows that this followed from.
type knownCaller struct {
	peer        Peer
	certificate *store.Certificate
	node        *store.Node
	account     *store.Account
}

// knownCaller returns whom a certificate belongs to, if it was authenticated before and
// nothing of what this followed from has changed since.
func (m *Manager) knownCaller(hash [32]byte) (Peer, bool) {
	m.issuer.mu.Lock()
	known := m.issuer.callers[hash]
	m.issuer.mu.Unlock()
	if known == nil || !m.store.Present(known.certificate, known.node, known.account) {
		return Peer{}, false
	}
	return known.peer, true
}

func nodeMayCall(node *store.Node, row *store.Certificate) error {
	switch {
	case node.Status == store.NodeDeactivated:
		return newError(Unauthenticated, CodeNotEnrolled, "node %s was deactivated at %s; an administrator makes a new join token to admit the machine again", node.Name, stamp(node.StatusUpdatedAt))
	case row.Status != store.CertificateIssued:
		return newError(Unauthenticated, CodeNotEnrolled, "the certificate of node %s was revoked; enrol again with a join token", node.Name)
	case !nodeActive(node):
		return newError(Unauthenticated, CodeNotEnrolled, "node %s is %s; enrol it with a join token", node.Name, node.Status)
	}
	return nil
}

// issuedHere reports whether leaf is the certificate of a row, and signed by the row's authority.
func (m *Manager) issuedHere(ctx context.Context, tx *store.Tx, row *store.Certificate, leaf *x509.Certificate) (bool, error) {
	k := leafKey{rowKey{row.ID, row.Version}, sha256.Sum256(leaf.Raw)}
	m.issuer.mu.Lock()
	_, known := m.issuer.leaves[k]
	m.issuer.mu.Unlock()
	if known {
		return true, nil
	}
	certs, err := ca.ParsePEM(row.Certificate)
	if err != nil || !certs[0].Equal(leaf) {
		return false, nil
	}
	authority, err := tx.Authorities().Get(ctx, row.AccountID, row.AuthorityID)
	if err != nil {
		return false, err
	}
	issuer, err := ca.ParsePEM(authority.Certificate)
	if err != nil || leaf.CheckSignatureFrom(issuer[0]) != nil {
		return false, nil
	}
	m.issuer.mu.Lock()
	defer m.issuer.mu.Unlock()
	remember(&m.issuer.leaves, k, struct{}{})
	return true, nil
}

// ServerCertificate returns the certificate for the name "<account-uuid>.<manager host>", under
// that account's root (security decision S4). It is nil for other names.
func (m *Manager) ServerCertificate(ctx context.Context, serverName string) (*tls.Certificate, error) {
	account, _, _ := strings.Cut(serverName, ".")
	if uuid.Validate(account) != nil || len(account) != 36 || serverName != ca.TrustDomain(account, m.opts.Host) {
		return nil, nil
	}
	now := m.now()
	m.issuer.mu.Lock()
	known := m.issuer.servers[serverName]
	m.issuer.mu.Unlock()
	if known != nil && now.Before(known.Leaf.NotAfter.Add(-ca.ServerLifetime/2)) && now.After(known.Leaf.NotBefore) {
		return known, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), m.opts.Rand)
	if err != nil {
		return nil, fmt.Errorf("certificate for %s: %w", serverName, err)
	}
	var made *tls.Certificate
	err = m.view(ctx, func(tx *store.Tx) error {
		if _, err := tx.Accounts().Get(ctx, account); err != nil {
			return err
		}
		root, err := m.rootAuthority(ctx, tx, account)
		if err != nil {
			return err
		}
		leaf, err := root.ServerLeaf(m.opts.Rand, now, key.Public(), []string{serverName}, ca.ServerLifetime)
		if err != nil {
			return err
		}
		made = &tls.Certificate{Certificate: [][]byte{leaf.Raw, root.Certificate.Raw}, PrivateKey: key, Leaf: leaf}
		return nil
	})
	if err != nil {
		return nil, err
	}
	m.issuer.mu.Lock()
	defer m.issuer.mu.Unlock()
	remember(&m.issuer.servers, serverName, made)
	return made, nil
}
