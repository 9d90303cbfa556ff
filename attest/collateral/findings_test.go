package collateral_test

import (
	"compress/gzip"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"hitoku.dev/attest"
	"hitoku.dev/attest/collateral"
)

// TestCompressedAnswerIsBounded has a service answer with a few bytes that unpack to a gibibyte
// (docs/findings.md, 566): a caching service on the network could otherwise end the manager.
func TestCompressedAnswerIsBounded(t *testing.T) {
	t.Parallel()
	const parts = 1024 // of 1 MiB each
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Encoding", "gzip")
		z, zeros := gzip.NewWriter(rw), make([]byte, 1<<20)
		for range parts {
			if _, err := z.Write(zeros); err != nil {
				return // the client has seen enough
			}
		}
		z.Close()
	}))
	defer srv.Close()
	s := newSetup(t)
	c, err := collateral.NewClient(collateral.ClientOptions{HTTP: srv.Client(), PCS: srv.URL, RootCRL: srv.URL + "/root.der", Wait: s.world.Wait, Now: s.world.Now})
	if err != nil {
		t.Fatal(err)
	}
	src := collateral.NewSource(collateral.Options{Intel: s.world.Root(), Client: c, Now: s.world.Now})
	failed, _, err := s.judge(src, s.p.Quote(attest.SGX))
	if err == nil || !strings.Contains(err.Error(), "too long") || len(failed) == 0 {
		t.Errorf("error %.300v, wanted one that says too long; failed rules %v", err, failed)
	}
}

// TestErrorsKeepSecrets lets requests fail that carry a subscription key and what identifies a
// machine (docs/findings.md, 568): errors are logged, and shown to the members of an account.
func TestErrorsKeepSecrets(t *testing.T) {
	t.Parallel()
	const secret = "0123456789abcdef-subscription"
	for _, status := range []int{0, http.StatusUnauthorized, http.StatusInternalServerError} {
		s := newSetup(t)
		s.server.Fail(64, status, "", "")
		src := s.source(func(_ *collateral.Options, c *collateral.ClientOptions) { c.SubscriptionKey = secret })
		_, _, err := s.judge(src, s.p.QuoteByPPID())
		if err == nil {
			t.Fatalf("status %d: no error", status)
		}
		for _, text := range []string{secret, "encrypted_ppid=", "cpusvn="} {
			if strings.Contains(err.Error(), text) {
				t.Errorf("status %d: the error has %q: %v", status, text, err)
			}
		}
	}
}
