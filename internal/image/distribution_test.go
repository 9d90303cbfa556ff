package image_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/partial"
	"golang.org/x/crypto/bcrypt"

	"hitoku.dev/internal/image"
)

// distributionPlace runs the registry that most others are made from, with a
// password and a private CA.
func distributionPlace(t *testing.T) (place, string) {
	t.Helper()
	program, err := exec.LookPath("docker-registry")
	if err != nil {
		t.Skip("docker-registry is not installed (Debian package docker-registry)")
	}
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host := l.Addr().String()
	l.Close()
	ca := selfSigned(t, dir)
	hash, err := bcrypt.GenerateFromPassword([]byte("s3cret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	for name, body := range map[string]string{
		"htpasswd": "ada:" + string(hash) + "\n",
		"config.yml": fmt.Sprintf(`version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: %[1]s/data}}
auth: {htpasswd: {realm: test, path: %[1]s/htpasswd}}
http: {addr: %[2]s, tls: {certificate: %[1]s/cert.pem, key: %[1]s/key.pem}}
`, dir, host),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	cmd := exec.CommandContext(t.Context(), program, "serve", filepath.Join(dir, "config.yml"))
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for start := time.Now(); ; {
		conn, err := net.Dial("tcp", host)
		if err == nil {
			conn.Close()
			break
		}
		if time.Since(start) > 20*time.Second {
			t.Fatalf("docker-registry does not listen: %s", log.String())
		}
		time.Sleep(20 * time.Millisecond)
	}
	return place{
		name: "distribution", opts: image.Options{Username: "ada", Password: "s3cret", CA: ca},
		ref: func(tag string) image.Ref { return ref(t, host+"/team/app:"+tag) },
	}, host
}

func selfSigned(t *testing.T, dir string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(filepath.Join(dir, "cert.pem"), cert, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600); err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestDistribution(t *testing.T) {
	t.Parallel()
	p, host := distributionPlace(t)
	for name, img := range samples(t) {
		p.write(t, p.ref(name), img)
		same(t, img, p.open(t, p.ref(name)).Image(), true)
	}
	img := samples(t)["oci-gzip"]

	// Another repository of the same registry.
	s := p.open(t, p.ref("oci-gzip"))
	other := ref(t, host+"/other/app:1")
	res, err := image.Write(t.Context(), other, s.Image(), image.WriteOptions{Options: p.opts, MountFrom: s})
	if err != nil {
		t.Fatal(err)
	}
	if res.Mounted.Blobs != 2 || res.Uploaded.Blobs != 1 {
		t.Errorf("%+v, wanted 2 mounts and the configuration sent", res)
	}
	same(t, img, p.open(t, other).Image(), true)

	// This registry has no referrers API.
	digest, err := image.WriteReferrer(t.Context(), other, *must(partial.Descriptor(img)), statement(t, "{}"), image.WriteOptions{Options: p.opts})
	if err != nil {
		t.Fatal(err)
	}
	byDigest := ref(t, host+"/other/app@"+digest.String())
	if ok, err := image.Exists(t.Context(), byDigest, p.opts); !ok || err != nil {
		t.Errorf("artifact: %v, %v", ok, err)
	}

	_, err = image.Open(t.Context(), p.ref("nosuch"), p.opts)
	wantError(t, err, image.Pull, image.ErrNoTag)
	_, err = image.Open(t.Context(), ref(t, host+"/no/such:1"), p.opts)
	wantError(t, err, image.Pull, image.ErrNoName, image.ErrNoTag)
	wrong := p.opts
	wrong.Password = "wrong"
	_, err = image.Write(t.Context(), p.ref("x"), img, image.WriteOptions{Options: wrong})
	wantError(t, err, image.Push, image.ErrAuth)
	_, err = image.Open(t.Context(), p.ref("oci-gzip"), image.Options{Username: "ada", Password: "s3cret"})
	wantError(t, err, image.Pull, image.ErrTLS)
	if !strings.Contains(err.Error(), "--registry-ca") {
		t.Errorf("error gives no advice: %v", err)
	}
}
