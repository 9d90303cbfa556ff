package tpm

import (
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"hitoku.dev/attest/eventlog"
)

// swtpm starts a TPM of other people's making (libtpms) on one end of a Unix socket.
func swtpm(t *testing.T) transport.TPM {
	t.Helper()
	path, err := exec.LookPath("swtpm")
	if err != nil {
		t.Skip("no TPM: swtpm is missing; test/setup.sh installs it")
	}
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	cmd := exec.Command(path, "socket", "--tpm2", "--tpmstate", "dir="+t.TempDir(), "--fd", "3", "--flags", "not-need-init,startup-clear")
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close() // so that a read ends when the TPM does
	t.Cleanup(func() { ours.Close(); _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return transport.FromReadWriter(ours)
}

// akTemplate is a restricted signing key.
func akTemplate(scheme tpm2.TPMAlgID) tpm2.TPMTPublic {
	p := tpm2.TPMTPublic{NameAlg: tpm2.TPMAlgSHA256, ObjectAttributes: tpm2.TPMAObject{
		FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, Restricted: true, SignEncrypt: true,
	}}
	switch scheme {
	case tpm2.TPMAlgECDSA:
		p.Type = tpm2.TPMAlgECC
		p.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
			Scheme:  tpm2.TPMTECCScheme{Scheme: scheme, Details: tpm2.NewTPMUAsymScheme(scheme, &tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA256})},
			CurveID: tpm2.TPMECCNistP256,
		})
	case tpm2.TPMAlgRSAPSS:
		p.Type = tpm2.TPMAlgRSA
		p.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{
			Scheme: tpm2.TPMTRSAScheme{Scheme: scheme, Details: tpm2.NewTPMUAsymScheme(scheme, &tpm2.TPMSSigSchemeRSAPSS{HashAlg: tpm2.TPMAlgSHA256})}, KeyBits: 2048,
		})
	default:
		p.Type = tpm2.TPMAlgRSA
		p.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{
			Scheme: tpm2.TPMTRSAScheme{Scheme: scheme, Details: tpm2.NewTPMUAsymScheme(scheme, &tpm2.TPMSSigSchemeRSASSA{HashAlg: tpm2.TPMAlgSHA256})}, KeyBits: 2048,
		})
	}
	return p
}

// realTPM is a world whose structures a TPM made.
type realTPM struct {
	*world
	tpm    transport.TPM
	handle tpm2.NamedHandle
	public []byte
}

func (r *realTPM) create(hierarchy tpm2.TPMHandle, template tpm2.TPMTPublic) (tpm2.NamedHandle, []byte) {
	r.t.Helper()
	rsp, err := tpm2.CreatePrimary{PrimaryHandle: hierarchy, InPublic: tpm2.New2B(template)}.Execute(r.tpm)
	r.must(err)
	return tpm2.NamedHandle{Handle: rsp.ObjectHandle, Name: rsp.Name}, rsp.OutPublic.Bytes()
}

// extend measures into a PCR and reads the bank back.
func (r *realTPM) extend(pcr int, data []byte) {
	r.t.Helper()
	digests := []tpm2.TPMTHA{{HashAlg: tpm2.TPMAlgSHA256, Digest: sumOf(eventlog.SHA256, data)}, {HashAlg: tpm2.TPMAlgSHA384, Digest: sumOf(eventlog.SHA384, data)}}
	_, err := tpm2.PCRExtend{
		PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(pcr), Auth: tpm2.PasswordAuth(nil)}, Digests: tpm2.TPMLDigestValues{Digests: digests},
	}.Execute(r.tpm)
	r.must(err)
}

func (r *realTPM) read(bank tpm2.TPMAlgID, pcrs ...uint) PCRs {
	r.t.Helper()
	out := make(PCRs)
	for _, i := range pcrs { // one at a time: a TPM answers with at most eight
		rsp, err := tpm2.PCRRead{PCRSelectionIn: selection(bank, i)}.Execute(r.tpm)
		r.must(err)
		r.must(out.set(eventlog.Alg(bank), int(i), rsp.PCRValues.Digests[0].Buffer))
	}
	return out
}

func selection(bank tpm2.TPMAlgID, pcrs ...uint) tpm2.TPMLPCRSelection {
	return tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{Hash: bank, PCRSelect: tpm2.PCClientCompatible.PCRs(pcrs...)}}}
}

func (r *realTPM) realQuote(bank tpm2.TPMAlgID, pcrs ...uint) Quote {
	r.t.Helper()
	rsp, err := tpm2.Quote{
		SignHandle: tpm2.AuthHandle{Handle: r.handle.Handle, Name: r.handle.Name, Auth: tpm2.PasswordAuth(nil)}, QualifyingData: tpm2.TPM2BData{Buffer: r.nonce},
		InScheme: tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull}, PCRSelect: selection(bank, pcrs...),
	}.Execute(r.tpm)
	r.must(err)
	return Quote{Attest: rsp.Quoted.Bytes(), Signature: tpm2.Marshal(rsp.Signature), PCRs: r.read(bank, pcrs...)}
}

func TestRealTPM(t *testing.T) {
	t.Parallel()
	tpm := swtpm(t)
	w := newWorldOf(t, newECC(t, elliptic.P256()), tpm2.TPMAlgECDSA, tpm2.TPMAlgSHA256) // the maker
	r := &realTPM{world: w, tpm: tpm}
	r.extend(7, []byte("secure boot"))
	r.extend(16, []byte("debug"))
	for name, scheme := range map[string]tpm2.TPMAlgID{"RSASSA": tpm2.TPMAlgRSASSA, "RSAPSS": tpm2.TPMAlgRSAPSS, "ECDSA": tpm2.TPMAlgECDSA} {
		r.handle, r.public = r.create(tpm2.TPMRHEndorsement, akTemplate(scheme))
		p, err := ParsePublic(r.public)
		if err != nil || string(p.Name) != string(r.handle.Name.Buffer) {
			t.Fatalf("%s: %v; the name differs from the TPM's", name, err)
		}
		e := &Evidence{AKPublic: r.public, Quotes: []Quote{r.realQuote(tpm2.TPMAlgSHA256, 0, 7, 16, 23), r.realQuote(tpm2.TPMAlgSHA384, 7, 16)}}
		res, err := Verify(e.protobuf(), Options{At: now, Keys: []crypto.PublicKey{p.Key}})
		if err != nil || !res.OK() || string(res.Claims.Nonce) != "a nonce" || len(res.Claims.Measurements["pcr7"]) != 96 {
			t.Errorf("%s: %v %+v", name, err, res)
		}
		e.Quotes[0].PCRs[eventlog.SHA256][7] = make([]byte, 32)
		if failed := w.failed(e, Options{At: now, Keys: []crypto.PublicKey{p.Key}}); failed == nil {
			t.Errorf("%s: a register that the TPM does not have was accepted", name)
		}
		r.flush(r.handle)
	}
	r.activate()
}

func (r *realTPM) flush(h tpm2.NamedHandle) {
	_, err := tpm2.FlushContext{FlushHandle: h.Handle}.Execute(r.tpm)
	r.must(err)
}

// activate proves an attestation key by both kinds of endorsement keys.
func (r *realTPM) activate() {
	t := r.t
	o := Options{At: now, Roots: []*x509.Certificate{r.root}}
	for name, template := range map[string]tpm2.TPMTPublic{"RSA": tpm2.RSAEKTemplate, "ECC": tpm2.ECCEKTemplate} {
		ek, ekPublic := r.create(tpm2.TPMRHEndorsement, template)
		r.handle, r.public = r.create(tpm2.TPMRHOwner, akTemplate(tpm2.TPMAlgECDSA))
		p, err := ParsePublic(ekPublic)
		r.must(err)
		cert := r.certificate("EK", 4, r.ca, r.caKey, p.Key, false, func(c *x509.Certificate) {
			c.KeyUsage = x509.KeyUsageKeyEncipherment | x509.KeyUsageKeyAgreement
		})
		chain, err := o.EKCertificate(cert.Raw, r.ca.Raw)
		r.must(err)
		c, err := NewChallenge(rand.Reader, chain, ekPublic, r.public)
		r.must(err)
		rsp, err := tpm2.ActivateCredential{
			ActivateHandle: tpm2.AuthHandle{Handle: r.handle.Handle, Name: r.handle.Name, Auth: tpm2.PasswordAuth(nil)},
			KeyHandle:      tpm2.AuthHandle{Handle: ek.Handle, Name: ek.Name, Auth: tpm2.Policy(tpm2.TPMAlgSHA256, 16, endorsementPolicy)},
			CredentialBlob: tpm2.TPM2BIDObject{Buffer: c.CredentialBlob}, Secret: tpm2.TPM2BEncryptedSecret{Buffer: c.EncryptedSecret},
		}.Execute(r.tpm)
		r.must(err)
		a, err := c.Check(rsp.CertInfo.Buffer)
		r.must(err)
		e := &Evidence{AKPublic: r.public, Quotes: []Quote{r.realQuote(tpm2.TPMAlgSHA256, 0, 7)}}
		if failed := r.failed(e, Options{At: now, Activated: []*Activation{a}}); failed != nil {
			t.Errorf("%s: failed %v", name, failed)
		}
		// The challenge is for this key alone: the TPM gives no secret for another.
		other, _ := r.create(tpm2.TPMRHOwner, akTemplate(tpm2.TPMAlgRSASSA))
		_, err = tpm2.ActivateCredential{
			ActivateHandle: tpm2.AuthHandle{Handle: other.Handle, Name: other.Name, Auth: tpm2.PasswordAuth(nil)},
			KeyHandle:      tpm2.AuthHandle{Handle: ek.Handle, Name: ek.Name, Auth: tpm2.Policy(tpm2.TPMAlgSHA256, 16, endorsementPolicy)},
			CredentialBlob: tpm2.TPM2BIDObject{Buffer: c.CredentialBlob}, Secret: tpm2.TPM2BEncryptedSecret{Buffer: c.EncryptedSecret},
		}.Execute(r.tpm)
		if err == nil {
			t.Errorf("%s: the TPM activated another key", name)
		}
		for _, h := range []tpm2.NamedHandle{ek, r.handle, other} {
			r.flush(h)
		}
	}
}

// endorsementPolicy is the policy of the default endorsement key templates.
func endorsementPolicy(tpm transport.TPM, session tpm2.TPMISHPolicy, nonce tpm2.TPM2BNonce) error {
	_, err := tpm2.PolicySecret{
		AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth(nil)}, PolicySession: session, NonceTPM: nonce,
	}.Execute(tpm)
	return err
}
