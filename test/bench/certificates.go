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
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/enclave/simtee/client"
	"hitoku.dev/internal/csr"
	"hitoku.dev/measure/sgx"
	"hitoku.dev/measure/workload"
)

const certificateCount = 500

// certificates plays a guest that asks for many certificates, one after the other, through
// the agent and the manager, and compares the processor time of everybody with that of the
// signatures that no implementation can do without.
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
	for range 20 { // warm caches
		if err := g.certificate(ctx); err != nil {
			return err
		}
	}
	needed, err := signatureTime()
	if err != nil {
		return err
	}
	before, err := s.cpuTimes()
	if err != nil {
		return err
	}
	begin := time.Now()
	for range certificateCount {
		if err := g.certificate(ctx); err != nil {
			return err
		}
	}
	wall := time.Since(begin)
	after, err := s.cpuTimes()
	if err != nil {
		return err
	}
	fmt.Printf("\ncertificates through agent and manager, one client, %d in a row\n", certificateCount)
	fmt.Printf("  %.0f certificates per second\n", certificateCount/wall.Seconds())
	total := time.Duration(0)
	for i, name := range []string{"manager", "agent", "client"} {
		each := (after[i] - before[i]) / certificateCount
		total += each
		fmt.Printf("  %-8s %8.0f µs of processor time each\n", name, float64(each.Nanoseconds())/1e3)
	}
	manager := (after[0] - before[0]) / certificateCount
	fmt.Printf("  signatures needed: 3 made, 4 verified (P-256): %.0f µs; all / signatures = %.1f, manager / signatures = %.1f\n",
		float64(needed.Nanoseconds())/1e3, total.Seconds()/needed.Seconds(), manager.Seconds()/needed.Seconds())
	return nil
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

// signatureTime measures the signatures of one certificate: the request's own, the quote's
// and the leaf's are made; the request's, the QE report's, the quote's and, by the client,
// the leaf's are verified.
func signatureTime() (time.Duration, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return 0, err
	}
	digest := sha256.Sum256([]byte("bench"))
	const rounds = 500
	begin := time.Now()
	for range rounds {
		var sig []byte
		for range 3 {
			if sig, err = ecdsa.SignASN1(rand.Reader, key, digest[:]); err != nil {
				return 0, err
			}
		}
		for range 4 {
			if !ecdsa.VerifyASN1(&key.PublicKey, digest[:], sig) {
				return 0, errors.New("a signature does not verify")
			}
		}
	}
	return time.Since(begin) / rounds, nil
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
		Reason      string `json:"reason"`
	}
	if err := g.call(ctx, http.MethodPost, "/v1/certificate/issue", body, &issued); err != nil {
		return err
	}
	block, _ := pem.Decode([]byte(issued.Certificate))
	if block == nil {
		return fmt.Errorf("no certificate: %s", issued.Reason)
	}
	_, err = x509.ParseCertificate(block.Bytes)
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
