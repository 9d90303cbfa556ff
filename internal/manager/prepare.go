package manager

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"strings"

	"hitoku.dev/attest"
	"hitoku.dev/enclave/simtee/authority"
	"hitoku.dev/internal/manager/ca"
	"hitoku.dev/internal/manager/store"
	"hitoku.dev/internal/wire"
)

// Attestation types of nodes: which root their evidence leads to.
const (
	attestationSimulated = "SIMULATED"
	attestationDCAP      = "DCAP"
)

// preparation is what a nonce for enrolment is bound to.
type preparation struct {
	attestation string
	zone        string
	platform    string // id, lower-case hexadecimal
	key         string // SHA-256 of a simulated platform's PCK key, hexadecimal
}

func (p preparation) String() string {
	return strings.Join([]string{p.attestation, p.zone, p.platform, p.key}, " ")
}

// preparationOf reads a nonce's subject; it is empty for nonces of enrolled nodes.
func preparationOf(subject string) (p preparation) {
	if parts := strings.Split(subject, " "); len(parts) == 4 {
		p = preparation{parts[0], parts[1], parts[2], parts[3]}
	}
	return p
}

// PrepareNode answers a machine's first contact, with a join token: a nonce for its evidence
// and, in the simulation, the PCK certificate of its platform under the account's simulated
// authority (ruling 19). It enrols nothing and does not use the token up.
func (m *Manager) PrepareNode(ctx context.Context, token string, r wire.NodePrepare) (*wire.NodePrepared, error) {
	ppid, err := hex.DecodeString(r.PlatformID)
	if err != nil || len(ppid) != 16 || hex.EncodeToString(ppid) != r.PlatformID {
		return nil, invalid(CodeInvalidValue, "platform_id: wanted 32 lower-case hexadecimal digits, seen %q", clip(r.PlatformID))
	}
	p := preparation{attestation: r.AttestationType, platform: r.PlatformID}
	var key *ecdsa.PublicKey
	switch r.AttestationType {
	case attestationSimulated:
		if key, err = platformKey(r.PlatformPublicKey); err != nil {
			return nil, err
		}
		hash := attest.SPKIHash(r.PlatformPublicKey)
		p.key = hex.EncodeToString(hash[:])
	case attestationDCAP:
	default:
		return nil, invalid(CodeInvalidValue, "attestation_type: wanted %s or %s, seen %q", attestationSimulated, attestationDCAP, clip(r.AttestationType))
	}
	var out *wire.NodePrepared
	changed := false
	err = m.update(ctx, func(tx *store.Tx) error {
		t, err := m.joinToken(ctx, tx, token)
		if err != nil {
			return err
		}
		p.zone = t.ZoneID
		account, err := tx.Accounts().Get(ctx, t.AccountID)
		if err != nil {
			return err
		}
		root, err := authorityRow(ctx, tx, account.ID, store.AuthorityRoot, "", store.AuthorityCurrent)
		if err != nil {
			return err
		}
		out = &wire.NodePrepared{
			AccountID: account.ID, ZoneID: t.ZoneID, AccountRoot: root.Certificate, ManagerSNI: ca.TrustDomain(account.ID, m.opts.Host),
		}
		if key != nil {
			if out.PCKChain, changed, err = m.certifyPlatform(ctx, tx, account, key, [16]byte(ppid), p); err != nil {
				return err
			}
			if changed && !m.allowed("platforms "+t.ID, platformBurst, platformsEach) {
				return newError(Limited, CodeForbidden, "too many platforms came with this join token; wait some seconds")
			}
		}
		value, n, err := m.newNonce(account.ID, p.String(), t.ID)
		if err != nil {
			return err
		}
		out.Nonce = value
		if err := m.putNonce(ctx, tx, n); err != nil || !changed {
			return err
		}
		return tx.Audit(ctx, &store.Event{
			AccountID: account.ID, ZoneID: t.ZoneID, Severity: "INFO", Code: "PLATFORM_CERTIFIED", ActionType: "NODE_ATTESTATION", ActorType: "SYSTEM",
			Description: "Simulated platform " + p.platform + " certified for enrolment, with join token " + t.ID,
		})
	})
	if err != nil {
		return nil, err
	}
	if changed {
		m.issuer.mu.Lock()
		defer m.issuer.mu.Unlock()
		remember(&m.issuer.platforms, out.AccountID+p.String(), out.PCKChain)
	}
	return out, nil
}

func platformKey(spki []byte) (*ecdsa.PublicKey, error) {
	parsed, err := x509.ParsePKIXPublicKey(spki)
	key, ok := parsed.(*ecdsa.PublicKey)
	if err != nil || !ok || key.Curve != elliptic.P256() {
		return nil, invalid(CodeInvalidValue, "platform_public_key: wanted a DER SubjectPublicKeyInfo of an EC P-256 key")
	}
	if again, err := x509.MarshalPKIXPublicKey(key); err != nil || string(again) != string(spki) {
		return nil, invalid(CodeInvalidValue, "platform_public_key: wanted the usual encoding")
	}
	return key, nil
}

// certifyPlatform returns the PCK chain of a simulated platform, and whether the authority's
// row was changed for it. The first key that enrolled with a platform id keeps it.
func (m *Manager) certifyPlatform(ctx context.Context, tx *store.Tx, account *store.Account, key *ecdsa.PublicKey, ppid [16]byte, p preparation) (chain string, changed bool, err error) {
	if !account.TestOnly {
		return "", false, newError(Forbidden, CodeForbidden, "account %s is not test-only, so it has no simulated platforms", account.Name)
	}
	nodes, err := tx.Nodes().Find(ctx, account.ID, store.Is("platform_id", p.platform))
	if err != nil {
		return "", false, err
	}
	for _, n := range nodes {
		if n.Platform != p.key {
			rule := attest.Rule{
				Name: "platform_key", Wanted: "platform key " + n.Platform + ", as node " + n.ID + " has it", Seen: "platform key " + p.key,
				Advice: "another platform uses this id; give the machine an id of its own by removing its platform file",
			}
			return "", false, refusal("enrolment", rule)
		}
	}
	row, err := authorityRow(ctx, tx, account.ID, store.AuthoritySimulated, "", store.AuthorityCurrent)
	if err != nil {
		return "", false, err
	}
	// A machine that asks again gets the same certificate, so that asking often costs nothing.
	m.issuer.mu.Lock()
	known, ok := m.issuer.platforms[account.ID+p.String()]
	m.issuer.mu.Unlock()
	if ok {
		return known, false, nil
	}
	sim, err := m.openSimulated(row)
	if err != nil {
		return "", false, err
	}
	made, err := sim.IssuePCK(key, ppid, m.now())
	if errors.Is(err, authority.ErrRevoked) {
		return "", false, refusal("enrolment", attest.Rule{Name: "platform_revoked", Wanted: "a platform that was not revoked", Seen: "platform " + p.platform + ", revoked", Advice: "use another machine"})
	}
	if err != nil {
		return "", false, err
	}
	if err := m.sealSimulated(row, sim); err != nil {
		return "", false, err
	}
	if err := tx.Authorities().Update(ctx, row); err != nil {
		return "", false, err
	}
	return string(made), true, nil
}

// refusal is an error that names the rules which refused something.
func refusal(what string, rules ...attest.Rule) *Error {
	return &Error{Kind: Refused, Code: CodeAttestation, Message: (&attest.RefusedError{What: what, Rules: rules}).Error(), Rules: rules}
}
