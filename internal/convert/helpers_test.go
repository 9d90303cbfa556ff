package convert

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"

	"hitoku.dev/internal/image"
	"hitoku.dev/internal/image/imagetest"
	"hitoku.dev/measure/sgx"
	"hitoku.dev/measure/workload"
)

// testLayer is a layer of given bytes; its digests may be lies.
type testLayer struct {
	stored         []byte
	digest, diffID v1.Hash
	mt             types.MediaType
}

func (l *testLayer) Digest() (v1.Hash, error)             { return l.digest, nil }
func (l *testLayer) DiffID() (v1.Hash, error)             { return l.diffID, nil }
func (l *testLayer) Size() (int64, error)                 { return int64(len(l.stored)), nil }
func (l *testLayer) MediaType() (types.MediaType, error)  { return l.mt, nil }
func (l *testLayer) Uncompressed() (io.ReadCloser, error) { panic("not used") }
func (l *testLayer) Compressed() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(l.stored)), nil
}

func hashOf(b []byte) v1.Hash {
	s := sha256.Sum256(b)
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(s[:])}
}

// layerOf makes a layer of a tar, compressed as how says: gzip, zstd or plain.
func layerOf(t testing.TB, how string, plain []byte) *testLayer {
	t.Helper()
	var b bytes.Buffer
	mt := types.OCILayer
	switch how {
	case "gzip":
		z := gzip.NewWriter(&b)
		if _, err := z.Write(plain); err != nil {
			t.Fatal(err)
		}
		z.Close()
	case "zstd":
		z, err := zstd.NewWriter(&b)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := z.Write(plain); err != nil {
			t.Fatal(err)
		}
		z.Close()
		mt = types.OCILayerZStd
	default:
		b.Write(plain)
		mt = types.OCIUncompressedLayer
	}
	return &testLayer{stored: b.Bytes(), digest: hashOf(b.Bytes()), diffID: hashOf(plain), mt: mt}
}

// save puts an image into an OCI layout and returns its reference.
func save(t testing.TB, img v1.Image) string {
	t.Helper()
	ref := "oci:" + filepath.Join(t.TempDir(), "in") + ":v1"
	r, err := image.Parse(ref)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := image.Write(context.Background(), r, img, image.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	return ref
}

// testGuest writes the smallest file that passes for a static Linux program.
func testGuest(t testing.TB) string {
	t.Helper()
	b := make([]byte, 64)
	copy(b, "\x7fELF\x02\x01\x01")
	binary.LittleEndian.PutUint16(b[16:], uint16(elf.ET_EXEC))
	binary.LittleEndian.PutUint16(b[18:], uint16(elf.EM_X86_64))
	binary.LittleEndian.PutUint32(b[20:], 1)
	binary.LittleEndian.PutUint16(b[52:], 64)
	binary.LittleEndian.PutUint16(b[54:], 56)
	binary.LittleEndian.PutUint16(b[58:], 64)
	p := filepath.Join(t.TempDir(), "hitoku-init")
	if err := os.WriteFile(p, append(b, strings.Repeat("guest", 1000)...), 0o755); err != nil {
		t.Fatal(err)
	}
	return p
}

// keyReader is a random source that repeats itself, so that tests share one key.
type keyReader struct{ h [32]byte }

func (r *keyReader) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		r.h = sha256.Sum256(r.h[:])
		n += copy(p[n:], r.h[:])
	}
	return n, nil
}

var testKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := sgx.GenerateKey(&keyReader{})
	if err != nil {
		panic(err)
	}
	return k
})

func testSigning() Signing {
	return Signing{Signer: sgx.KeySigner{Key: testKey()}, ISVProdID: 7, ISVSVN: 3}
}

var testRoot = strings.Repeat("ab", 32)

// request converts ref into a new OCI layout.
func request(t testing.TB, ref string) Request {
	t.Helper()
	return Request{
		Input: ref, Output: "oci:" + filepath.Join(t.TempDir(), "out") + ":c",
		TEE: "sim", Guest: testGuest(t), Signing: testSigning(), Options: Options{AccountRoot: testRoot},
	}
}

// readIndexes reads layers as a conversion does.
func readIndexes(t testing.TB, limits Limits, layers ...*testLayer) ([]*layerIndex, error) {
	t.Helper()
	r := &layerReader{limits: limits.withDefaults(), keep: keepUsual}
	var out []*layerIndex
	for _, l := range layers {
		x, err := r.read(t.Context(), l)
		if err != nil {
			return nil, err
		}
		out = append(out, x)
	}
	return out, nil
}

// mergedList is the merged view of layers as one line a file.
func mergedList(t testing.TB, layers ...[]imagetest.Entry) []string {
	t.Helper()
	m := newMerger(1000)
	for _, l := range layers {
		xs, err := readIndexes(t, Limits{}, layerOf(t, "plain", imagetest.Tar(l...)))
		if err != nil {
			t.Fatal(err)
		}
		if err := m.add(xs[0]); err != nil {
			t.Fatal(err)
		}
	}
	var out []string
	for f := range fileList(m.entries()) {
		out = append(out, line(f))
	}
	return out
}

func line(f *workload.File) string {
	s := f.Type + " " + strings.ReplaceAll(f.Name(), "\xe9", "?")
	if f.Link+f.LinkB64 != "" {
		s += " -> " + f.Target()
	}
	if f.SHA256 != "" {
		s += " " + f.SHA256[:4]
	}
	return s
}

// testCA is a CA certificate, the same each time.
func testCA(t testing.TB) []byte {
	t.Helper()
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	der, err := x509.CreateCertificate(nil, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Unix(1700000000, 0), NotAfter: time.Unix(1900000000, 0),
	}, &x509.Certificate{Subject: pkix.Name{CommonName: "test CA"}}, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
