package serve

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hitoku.dev/internal/manager/ca"
	"hitoku.dev/internal/wire"
)

// TestRestartKeepsThePin starts a manager twice in one folder.
func TestRestartKeepsThePin(t *testing.T) {
	t.Parallel()
	w := &world{t: t, dir: filepath.Join(t.TempDir(), "manager")}
	stop := w.run()
	p := w.user("admin@example.com", w.ready.Code)
	p.account("acme")
	first := w.ready
	stop()
	w.run()
	if w.ready.Pin != first.Pin {
		t.Errorf("pin %s after a restart, %s before", w.ready.Pin, first.Pin)
	}
	if w.ready.Code != "" {
		t.Errorf("a one-time code was made although there is an administrator")
	}
	var accounts wire.List[wire.Account]
	p.must(p.do("GET", "/v1/accounts", nil), 200, &accounts)
	if len(accounts.Items) != 1 || accounts.Items[0].Name != "acme" {
		t.Errorf("accounts after a restart: %+v", accounts.Items)
	}
}

// TestLostKeysAreRefused removes one of the files that belong together.
func TestLostKeysAreRefused(t *testing.T) {
	t.Parallel()
	for _, file := range []string{masterKeyFile, checkpointFile} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			w := &world{t: t, dir: filepath.Join(t.TempDir(), "manager")}
			w.run()()
			if err := os.Remove(filepath.Join(w.dir+"-keys", file)); err != nil {
				t.Fatal(err)
			}
			err := Run(t.Context(), Options{Dir: w.dir, Listen: "127.0.0.1:0", Log: discard()}, func(Ready) {})
			if err == nil || !strings.Contains(err.Error(), file) {
				t.Errorf("started without %s: %v", file, err)
			}
		})
	}
}

// TestAccountServerName looks at the certificate for "<account>.<host>" (security decision S4).
func TestAccountServerName(t *testing.T) {
	t.Parallel()
	w := start(t)
	p := w.user("admin@example.com", w.ready.Code)
	a := p.account("acme")
	var root wire.RootReply
	p.must(p.do("GET", "/v1/accounts/"+a.AcctID+"/root", nil), 200, &root)
	certs, err := ca.ParsePEM(root.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	if got := sha256.Sum256(certs[0].RawSubjectPublicKeyInfo); hex.EncodeToString(got[:]) != root.SPKISHA256 {
		t.Errorf("spki_sha256 %s does not belong to the certificate", root.SPKISHA256)
	}
	pool := x509.NewCertPool()
	pool.AddCert(certs[0])
	address := strings.TrimPrefix(w.ready.URL, "https://")
	host, _, _ := strings.Cut(address, ":")
	for _, tc := range []struct {
		name string
		ok   bool
	}{{ca.TrustDomain(a.AcctID, host), true}, {ca.TrustDomain("11111111-1111-4111-8111-111111111111", host), false}, {host, false}} {
		conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: pool, ServerName: tc.name})
		if (err == nil) != tc.ok {
			t.Errorf("server name %s under the account root: %v", tc.name, err)
		}
		if err == nil {
			conn.Close()
		}
	}
}

// TestBackup restores a database: the same state is accepted, an older one only by name.
func TestBackup(t *testing.T) {
	t.Parallel()
	w := &world{t: t, dir: filepath.Join(t.TempDir(), "manager")}
	stop := w.run()
	p := w.user("admin@example.com", w.ready.Code)
	p.account("before")
	o := Options{Dir: w.dir, Log: discard()}
	file := filepath.Join(t.TempDir(), "backup.db")
	if err := Backup(t.Context(), o, file); err != nil {
		t.Fatal(err)
	}
	if err := Backup(t.Context(), o, file); err == nil {
		t.Error("a backup was overwritten")
	}
	p.account("after")
	stop()
	if err := Restore(t.Context(), o, file, false); err == nil || !strings.Contains(err.Error(), "--accept-rollback") {
		t.Fatalf("an older state was restored: %v", err)
	}
	if err := Restore(t.Context(), o, file, true); err != nil {
		t.Fatal(err)
	}
	w.run()
	again := &person{w: w, email: p.email}
	c := w.client(nil)
	a := w.do(c, "POST", "/v1/sys/auth", nil, func(r *http.Request) { r.SetBasicAuth(p.email, "correct horse") })
	var auth wire.AuthReply
	again.must(a, 200, &auth)
	again.token = auth.AccessToken
	var accounts wire.List[wire.Account]
	again.must(again.do("GET", "/v1/accounts", nil), 200, &accounts)
	if len(accounts.Items) != 1 || accounts.Items[0].Name != "before" {
		t.Errorf("accounts after the restore: %+v", accounts.Items)
	}
	if err := Backup(t.Context(), Options{Dir: t.TempDir(), Log: discard()}, file+"2"); err == nil {
		t.Error("a folder without a manager was backed up")
	}
}
