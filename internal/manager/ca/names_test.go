package ca

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"testing"
)

// TestEncodePEM: the blocks are those of encoding/pem, for all lengths of a last line.
func TestEncodePEM(t *testing.T) {
	t.Parallel()
	for n := range 200 {
		der := bytes.Repeat([]byte{byte(n), 0xff, 0}, n)[:n]
		if got, want := EncodePEM(&x509.Certificate{Raw: der}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}); got != string(want) {
			t.Fatalf("%d bytes: %q, wanted %q", n, got, want)
		}
		if got, want := EncodeRequestPEM(der), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}); got != string(want) {
			t.Fatalf("%d bytes: %q, wanted %q", n, got, want)
		}
		if len(EncodeRequestPEM(der)) > pemSize(n) {
			t.Fatalf("%d bytes: %d characters, thought to be at most %d", n, len(EncodeRequestPEM(der)), pemSize(n))
		}
	}
	one, two := &x509.Certificate{Raw: []byte("one")}, &x509.Certificate{Raw: []byte("two")}
	if got := EncodePEM(one, two); got != EncodePEM(one)+EncodePEM(two) || EncodePEM() != "" {
		t.Errorf("%q", got)
	}
}
