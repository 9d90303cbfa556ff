package gramine

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"hitoku.dev/measure/sgx"
)

// vectorFolder has what Gramine's own signer made; tests that need it skip without it.
func vectorFolder(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("HITOKU_GRAMINE_VECTORS")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "..", "shared", "reference", "gramine-vectors")
	}
	if _, err := os.Stat(filepath.Join(dir, "common")); err != nil {
		t.Skipf("no vectors of Gramine's signer: %s is missing; HITOKU_GRAMINE_VECTORS names the folder", dir)
	}
	return dir
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func loaderOf(t testing.TB, file []byte) *LoaderFile {
	t.Helper()
	l, err := ReadLoader(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestVectors: MRENCLAVE and the whole SIGSTRUCT are those of the reference signer.
func TestVectors(t *testing.T) {
	t.Parallel()
	dir := vectorFolder(t)
	key, err := sgx.ParseKey(readFile(t, filepath.Join(dir, "common", "test-key.pem")))
	if err != nil {
		t.Fatal(err)
	}
	metas, err := filepath.Glob(filepath.Join(dir, "*", "meta.json"))
	if err != nil || len(metas) == 0 {
		t.Fatalf("no vectors in %s: %v", dir, err)
	}
	for _, path := range metas {
		name := filepath.Base(filepath.Dir(path))
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var meta struct {
				Libpal, MRENCLAVE, MRSIGNER string
				Date                        string `json:"date_hex"`
			}
			if err := json.Unmarshal(readFile(t, path), &meta); err != nil {
				t.Fatal(err)
			}
			manifest := readFile(t, filepath.Join(filepath.Dir(path), name+".manifest.sgx"))
			want := readFile(t, filepath.Join(filepath.Dir(path), name+".sig"))
			l := loaderOf(t, readFile(t, filepath.Join(dir, "common", meta.Libpal)))
			got, err := Measure(t.Context(), manifest, l)
			if err != nil {
				t.Fatal(err)
			}
			if hex.EncodeToString(got.MRENCLAVE[:]) != meta.MRENCLAVE {
				t.Fatalf("MRENCLAVE %x, wanted %s", got.MRENCLAVE, meta.MRENCLAVE)
			}
			ref, err := sgx.Parse(want)
			if err != nil {
				t.Fatal(err)
			}
			m, err := Parse(manifest)
			if err != nil {
				t.Fatal(err)
			}
			if err := m.CheckSigstruct(ref, got.MRENCLAVE); err != nil {
				t.Error(err)
			}
			p, _, err := m.SignParams(got.MRENCLAVE, ref.Date)
			if err != nil {
				t.Fatal(err)
			}
			s, err := sgx.Sign(t.Context(), p, sgx.KeySigner{Key: key})
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(s.Marshal(), want) {
				t.Error("the SIGSTRUCT is not the reference signer's")
			}
		})
	}
}
