package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"hitoku.dev/attest"
	"hitoku.dev/enclave/simtee/client"
	"hitoku.dev/internal/csr"
	"hitoku.dev/measure/sgx"
	"hitoku.dev/measure/workload"
)

const certificateCount = 500

// certificates plays guests that ask for many certificates through the agent and the
// manager, one guest alone and several at one time, and compares the processor time of
// everybody with that of the signatures that no implementation can do without.
func (b *bench) certificates(ctx context.Context) error {
	s, err := b.startStack(ctx)
	if err != nil {
		return err
	}
	defer s.end()
	g, err := s.newGuest(ctx)
	if err != nil {
		return err
	}
	defer g.tee.Close()
	debug.SetGCPercent(400) // a guest asks once a day and never collects what that leaves
	// Warm caches, and let every heap grow to the size that it keeps: on a virtual machine the
	// first touch of memory costs more than what is done with it.
	if err := g.many(ctx, certificateCount, 8); err != nil {
		return err
	}
	for _, clients := range []int{1, 8} {
		if err := g.measure(ctx, clients); err != nil {
			return err
		}
	}
	return nil
}

// measure obtains certificateCount certificates for so many clients and prints what they cost.
func (g *guest) measure(ctx context.Context, clients int) error {
	needed, err := signatureTime()
	if err != nil {
		return err
	}
	before, err := g.s.cpuTimes()
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := g.many(ctx, certificateCount, clients); err != nil {
		return err
	}
	wall := time.Since(begin)
	after, err := g.s.cpuTimes()
	if err != nil {
		return err
	}
	again, err := signatureTime()
	if err != nil {
		return err
	}
	needed = (needed + again) / 2
	fmt.Printf("\ncertificates through agent and manager, %d at a time, %d altogether\n", clients, certificateCount)
	fmt.Printf("  %.0f certificates per second\n", certificateCount/wall.Seconds())
	total := time.Duration(0)
	for i, name := range []string{"manager", "agent", "guest"} {
		each := (after[i] - before[i]) / certificateCount
		total += each
		fmt.Printf("  %-8s %8.0f µs of processor time each, %4.1f × the signatures\n", name, float64(each.Nanoseconds())/1e3, each.Seconds()/needed.Seconds())
	}
	fmt.Printf("  %-8s %8.0f µs, %4.1f × the signatures\n", "all", float64(total.Nanoseconds())/1e3, total.Seconds()/needed.Seconds())
	fmt.Printf("  signatures, all P-256: %8.0f µs of processor time for 3 made (quote, request, leaf) and 6 verified\n", float64(needed.Nanoseconds())/1e3)
	fmt.Println("           (request, quoting enclave's report and quote by the manager; leaf by the authority that")
	fmt.Println("           made it, before it lets go of it; leaf and zone CA by the guest). Not counted: making the")
	fmt.Println("           key, what is verified once for many (PCK chain, collateral), TLS handshakes (kept alive)")
	return nil
}

// many obtains n certificates, so many at a time.
func (g *guest) many(ctx context.Context, n, clients int) error {
	var left atomic.Int64
	left.Store(int64(n))
	group, ctx := errgroup.WithContext(ctx)
	for range clients {
		group.Go(func() error {
			for left.Add(-1) >= 0 {
				if err := g.certificate(ctx); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

func (s *stack) cpuTimes() ([3]time.Duration, error) {
	var out [3]time.Duration
	for i, pid := range []int{s.ManagerPID, s.AgentPID, os.Getpid()} {
		t, err := cpu(pid)
		if err != nil {
			return out, err
		}
		out[i] = t
	}
	return out, nil
}

// signatureTime measures the processor time of the signatures of one certificate.
func signatureTime() (time.Duration, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return 0, err
	}
	digest := sha256.Sum256([]byte("bench"))
	const rounds = 500
	begin, err := ownTime()
	if err != nil {
		return 0, err
	}
	for range rounds {
		var sig []byte
		for range 3 {
			if sig, err = ecdsa.SignASN1(rand.Reader, key, digest[:]); err != nil {
				return 0, err
			}
		}
		for range 6 {
			if !ecdsa.VerifyASN1(&key.PublicKey, digest[:], sig) {
				return 0, errors.New("a signature does not verify")
			}
		}
	}
	end, err := ownTime()
	return (end - begin) / rounds, err
}

// ownTime is the processor time that this program has used so far.
func ownTime() (time.Duration, error) {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0, err
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano()), nil
}

// guest is this program in the role of a measured workload.
type guest struct {
	s    *stack
	tee  *client.Client
	root [32]byte
	name string
	http *http.Client
}

// newGuest makes a manifest whose guest is this very program, has it approved, and is measured.
func (s *stack) newGuest(ctx context.Context) (*guest, error) {
	out, err := s.hitoku(ctx, "account", "root", "--json")
	if err != nil {
		return nil, err
	}
	var root struct {
		SPKI string `json:"spki_sha256"`
	}
	if err := json.Unmarshal(out, &root); err != nil {
		return nil, err
	}
	exe, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return nil, err
	}
	own := sha256.Sum256(exe)
	m := workload.Manifest{
		AccountRoot: root.SPKI, Schema: workload.Schema, TEE: "sim", Source: "linux/amd64", Guest: hex.EncodeToString(own[:]),
		Exec:  workload.Exec{Entry: []string{"/bench"}, Args: []string{}, Groups: []uint32{}, WorkDir: "/", Home: "/"},
		Env:   workload.Env{Allowed: []string{}, Fixed: []string{}, Mutable: []string{}},
		Files: []workload.File{{Path: "/", Type: workload.TypeDir, Mode: 0o755}}, Folders: []workload.Folder{},
		Fronts: []workload.Front{}, Certificates: []workload.Certificate{}, CACertificates: []workload.CAFile{},
	}
	raw, err := workload.Encode(&m)
	if err != nil {
		return nil, err
	}
	key, err := sgx.LoadOrCreateKey(filepath.Join(s.dir, "signing-key.pem"), rand.Reader)
	if err != nil {
		return nil, err
	}
	sig, err := sgx.Sign(ctx, sgx.Params{EnclaveHash: workload.Measurement(raw), ISVProdID: 1, ISVSVN: 1, Date: sgx.DefaultDate}, sgx.KeySigner{Key: key})
	if err != nil {
		return nil, err
	}
	g := &guest{s: s, name: "hello.demo.internal", http: &http.Client{Timeout: 60 * time.Second}}
	if _, err := hex.Decode(g.root[:], []byte(root.SPKI)); err != nil {
		return nil, err
	}
	measurement := workload.Measurement(raw)
	signer := sig.MRSigner()
	if err := s.approveBuild(ctx, hex.EncodeToString(measurement[:]), hex.EncodeToString(signer[:])); err != nil {
		return nil, err
	}
	if g.tee, err = client.Dial(ctx, filepath.Join(s.TEEDir, client.SocketName)); err != nil {
		return nil, err
	}
	return g, g.tee.Measure(ctx, raw, sig.Marshal())
}

func (s *stack) approveBuild(ctx context.Context, measurement, signer string) error {
	if _, err := s.hitoku(ctx, "image", "register", "--app", "hello", "--measurement", measurement, "--signer", signer, "--isv-prod-id", "1", "--isv-svn", "1", "--name", "bench:1"); err != nil {
		return err
	}
	out, err := s.hitoku(ctx, "task", "list", "--json")
	if err != nil {
		return err
	}
	var tasks []struct {
		TaskID string `json:"task_id"`
	}
	if err := json.Unmarshal(out, &tasks); err != nil {
		return err
	}
	for _, t := range tasks {
		if _, err := s.hitoku(ctx, "task", "approve", t.TaskID); err != nil {
			return err
		}
	}
	return nil
}

// certificate obtains one certificate over a new key.
func (g *guest) certificate(ctx context.Context) error {
	var target struct {
		Nonce []byte `json:"nonce"`
	}
	if err := g.call(ctx, http.MethodGet, "/v1/enclave/target-info", nil, &target); err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	binding := attest.Binding{Purpose: attest.PurposeAppTLS, Subject: attest.SPKIHash(spki), Nonce: target.Nonce, AccountRoot: g.root}
	quote, err := g.tee.Evidence(ctx, &binding)
	if err != nil {
		return err
	}
	der, err := binding.MarshalDER()
	if err != nil {
		return err
	}
	request, err := csr.Create(rand.Reader, csr.Template{
		CommonName: g.name, DNSNames: []string{g.name},
		Attributes: []csr.Attribute{{OID: attest.OIDQuote, Value: quote}, {OID: attest.OIDBinding, Value: der}},
	}, key)
	if err != nil {
		return err
	}
	body, err := json.Marshal(map[string]string{"csr": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: request}))})
	if err != nil {
		return err
	}
	var issued struct {
		Certificate string `json:"certificate"`
		AccountRoot string `json:"account_root"`
		Reason      string `json:"reason"`
	}
	if err := g.call(ctx, http.MethodPost, "/v1/certificate/issue", body, &issued); err != nil {
		return err
	}
	if issued.Certificate == "" {
		return fmt.Errorf("no certificate: %s", issued.Reason)
	}
	return g.check(issued.Certificate, issued.AccountRoot, spki)
}

// check verifies the chain as a guest does: leaf over its own key, zone CA, measured account root.
func (g *guest) check(certificate, root string, spki []byte) error {
	var chain [3]*x509.Certificate
	rest := []byte(certificate + "\n" + root)
	for i := range chain {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return fmt.Errorf("%d certificates, wanted leaf, zone CA and account root", i)
		}
		var err error
		if chain[i], err = x509.ParseCertificate(block.Bytes); err != nil {
			return err
		}
	}
	if attest.SPKIHash(chain[2].RawSubjectPublicKeyInfo) != g.root || !bytes.Equal(chain[0].RawSubjectPublicKeyInfo, spki) {
		return errors.New("the certificate is over another key, or of another account")
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(chain[2])
	between.AddCert(chain[1])
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	return err
}

func (g *guest) call(ctx context.Context, method, path string, body []byte, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, g.s.Agent+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := g.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %d %s", path, res.StatusCode, raw)
	}
	return json.Unmarshal(raw, out)
}
