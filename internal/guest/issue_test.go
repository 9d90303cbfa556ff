package guest

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/enclave/simtee/client"
	"hitoku.dev/measure/workload"
)

// office is an issuer with everything around it.
type office struct {
	*issuer
	agent *fakeAgent
	tee   *fakeTEE
	clock *fakeClock
	lines *logLines
}

func newOffice(t *testing.T) *office {
	t.Helper()
	o := &office{tee: newFakeTEE(t), clock: newFakeClock(), lines: &logLines{}}
	o.agent = newFakeAgent(t, o.tee, o.clock)
	o.issuer = &issuer{
		accountRoot: o.agent.ca.rootHash(), agent: newAgentClient(o.agent.URL), tee: o.tee,
		clock: o.clock, rand: rand.Reader, log: NewLog(o.lines), patience: time.Minute,
	}
	t.Cleanup(o.issuer.agent.http.CloseIdleConnections)
	return o
}

func ecCertificate() *workload.Certificate {
	return &workload.Certificate{Subject: "app.example", AltNames: []string{"DNS:app.example", "DNS:www.example"}, KeyType: "EC", KeySize: 256, KeyPath: "/run/key.pem", CertPath: "/run/cert.pem"}
}

func TestObtain(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]*workload.Certificate{
		"EC":       ecCertificate(),
		"RSA-2048": {Subject: "app.example", KeyType: "RSA", KeySize: 2048},
		"RSA-3072": {Subject: "app.example", KeyType: "RSA", KeySize: 3072},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOffice(t)
			got, err := o.obtain(t.Context(), c)
			must(t, err)
			if key, ok := got.key.(*rsa.PrivateKey); ok && key.N.BitLen() != c.KeySize {
				t.Errorf("key of %d bits", key.N.BitLen())
			}
			if d := got.halfLife().Sub(o.clock.Now()); d < 11*time.Hour || d > 13*time.Hour {
				t.Errorf("renewal in %v", d)
			}
			f, err := got.files()
			must(t, err)
			if n := strings.Count(string(f.cert), "BEGIN CERTIFICATE"); n != 2 || strings.Count(string(f.chain), "BEGIN CERTIFICATE") != 2 {
				t.Errorf("%d certificates in the certificate file", n)
			}
		})
	}
}

// TestEvilManager: whatever comes back that is not for this key, name, account
// and time, the guest does not accept.
func TestEvilManager(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		evil func(t *testing.T, o *office) func(*x509.Certificate, *evilReply)
		want string
	}{
		"wrong root": {func(t *testing.T, o *office) func(*x509.Certificate, *evilReply) {
			other := newFakeCA(t, "evil", o.clock.Now())
			return func(_ *x509.Certificate, r *evilReply) { r.issuer, r.root = other, other.root }
		}, "account_root"},
		"zone of another root": {func(t *testing.T, o *office) func(*x509.Certificate, *evilReply) {
			other := newFakeCA(t, "evil", o.clock.Now())
			return func(_ *x509.Certificate, r *evilReply) { r.issuer = other }
		}, "chain"},
		"the root's name, another key": {func(t *testing.T, o *office) func(*x509.Certificate, *evilReply) {
			other := newFakeCA(t, "account", o.clock.Now())
			return func(_ *x509.Certificate, r *evilReply) { r.issuer, r.root = other, other.root }
		}, "account_root"},
		"a root of the right key that is not signed by it": {func(t *testing.T, o *office) func(*x509.Certificate, *evilReply) {
			other := newFakeCA(t, "account", o.clock.Now())
			forged := other.sign(t, o.agent.ca.root, other.root, o.agent.ca.root.PublicKey, other.rootKey)
			return func(_ *x509.Certificate, r *evilReply) { r.root = forged }
		}, "chain"},
		"wrong key": {func(t *testing.T, o *office) func(*x509.Certificate, *evilReply) {
			key := newECKey(t)
			return func(_ *x509.Certificate, r *evilReply) { r.public = &key.PublicKey }
		}, "leaf_key"},
		"another name": {func(*testing.T, *office) func(*x509.Certificate, *evilReply) {
			return func(c *x509.Certificate, _ *evilReply) { c.DNSNames = []string{"other.example"} }
		}, "leaf_names"},
		"one name missing": {func(*testing.T, *office) func(*x509.Certificate, *evilReply) {
			return func(c *x509.Certificate, _ *evilReply) { c.DNSNames = c.DNSNames[:1] }
		}, "leaf_names"},
		"swapped leaf": {func(t *testing.T, o *office) func(*x509.Certificate, *evilReply) {
			key := newECKey(t)
			swapped := o.agent.ca.sign(t, leafTemplate([]string{"other.example"}, o.clock.Now()), o.agent.ca.zone, &key.PublicKey, o.agent.ca.zoneKey)
			return func(_ *x509.Certificate, r *evilReply) {
				r.certificate = func(_, zone *x509.Certificate) string { return pemOf(swapped, zone) }
			}
		}, "leaf_key"},
		"a CA certificate": {func(*testing.T, *office) func(*x509.Certificate, *evilReply) {
			return func(c *x509.Certificate, _ *evilReply) { c.IsCA = true }
		}, "leaf_ca"},
		"another use": {func(*testing.T, *office) func(*x509.Certificate, *evilReply) {
			return func(c *x509.Certificate, _ *evilReply) {
				c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{attest.OIDNodeEKU}
			}
		}, "leaf_eku"},
		"not for servers": {func(*testing.T, *office) func(*x509.Certificate, *evilReply) {
			return func(c *x509.Certificate, _ *evilReply) {
				c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
			}
		}, "leaf_eku"},
		"expired": {func(_ *testing.T, o *office) func(*x509.Certificate, *evilReply) {
			return func(c *x509.Certificate, _ *evilReply) { c.NotAfter = o.clock.Now().Add(-time.Second) }
		}, "chain"},
		"not valid yet": {func(_ *testing.T, o *office) func(*x509.Certificate, *evilReply) {
			return func(c *x509.Certificate, _ *evilReply) { c.NotBefore = o.clock.Now().Add(time.Hour) }
		}, "chain"},
		"signed by the root itself": {func(_ *testing.T, o *office) func(*x509.Certificate, *evilReply) {
			direct := *o.agent.ca
			direct.zone, direct.zoneKey = direct.root, direct.rootKey
			return func(_ *x509.Certificate, r *evilReply) { r.issuer = &direct }
		}, "the zone CA is not part of the chain"},
		"leaf alone": {func(*testing.T, *office) func(*x509.Certificate, *evilReply) {
			return func(_ *x509.Certificate, r *evilReply) {
				r.certificate = func(leaf, _ *x509.Certificate) string { return pemOf(leaf) }
			}
		}, "1 certificates, wanted leaf and zone CA"},
		"text": {func(*testing.T, *office) func(*x509.Certificate, *evilReply) {
			return func(_ *x509.Certificate, r *evilReply) {
				r.certificate = func(_, _ *x509.Certificate) string { return "trust me" }
			}
		}, "not PEM"},
		"a key instead": {func(*testing.T, *office) func(*x509.Certificate, *evilReply) {
			return func(_ *x509.Certificate, r *evilReply) {
				r.certificate = func(_, _ *x509.Certificate) string {
					return "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
				}
			}
		}, "not PEM of certificates"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOffice(t)
			o.agent.evil = c.evil(t, o)
			_, err := o.obtain(t.Context(), ecCertificate())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, wanted %q in it", err, c.want)
			}
		})
	}
}

func TestIssuedCertificateFlips(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	got, err := o.obtain(t.Context(), ecCertificate())
	must(t, err)
	want := wanted{o.accountRoot, got.key, []string{"app.example"}, o.clock.Now()}
	root, zone := got.chain[2], got.chain[1]
	der := got.chain[0].Raw
	for i := range der {
		flipped := append([]byte(nil), der...)
		flipped[i] ^= 1
		if _, err := checkIssued(pemOf(&x509.Certificate{Raw: flipped}, zone), pemOf(root), want); err == nil {
			t.Errorf("leaf with byte %d flipped is accepted", i)
		}
	}
}

func TestObtainRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		behave func(o *office)
		want   []string
	}{
		"denied with rules": {func(o *office) {
			o.agent.issue = func(*x509.CertificateRequest) (int, any) {
				return 200, map[string]any{"task_status": "DENIED", "reason": "build is not approved", "rules": []attest.Rule{
					{Name: "build_approved", Wanted: "WHITELISTED", Seen: "PENDING", Advice: "approve the build"}, {Name: "names", OK: true},
				}}
			}
		}, []string{"build is not approved", "build_approved", "WHITELISTED", "PENDING", "approve the build"}},
		"failed": {func(o *office) {
			o.agent.issue = func(*x509.CertificateRequest) (int, any) { return 200, map[string]any{"task_status": "FAILED"} }
		}, []string{"FAILED"}},
		"no state at all": {func(o *office) {
			o.agent.issue = func(*x509.CertificateRequest) (int, any) { return 200, map[string]any{} }
		}, []string{"app.example"}},
		"refused by status, with rules": {func(o *office) {
			o.agent.issue = func(*x509.CertificateRequest) (int, any) {
				return 403, map[string]any{"message": "node is deactivated", "code": "FORBIDDEN", "rules": []attest.Rule{{Name: "node_active", Wanted: "RUNNING", Seen: "DEACTIVATED"}}}
			}
		}, []string{"node is deactivated", "node_active", "DEACTIVATED"}},
		"not JSON": {func(o *office) { o.agent.issue = func(*x509.CertificateRequest) (int, any) { return 200, "<html>" } }, []string{"reply of /v1/certificate/issue"}},
		"not an agent": {func(o *office) {
			o.agent.target = func() (int, any) { return 200, map[string]string{"targetInfo": ""} }
		}, []string{"is it a Hitoku agent"}},
		"other call": {func(o *office) { o.agent.target = func() (int, any) { return 404, "nginx" } }, []string{"404", "nginx"}},
		"redirect":   {func(o *office) { o.agent.target = func() (int, any) { return 302, "" } }, []string{"302"}},
		"never enrolled": {func(o *office) {
			o.agent.target = func() (int, any) {
				return 503, map[string]string{"code": "NODE_NOT_ENROLLED", "message": "waits for the manager"}
			}
		}, []string{"did not help within 1m0s", "waits for the manager", "NODE_AGENT_BASE_URL"}},
		"unreachable":               {func(o *office) { o.agent.Close() }, []string{"did not help within", "connection refused"}},
		"evidence of somebody else": {func(o *office) { o.agent.verify = newFakeTEE(o.agent.t).verify }, []string{"DENIED", "evidence does not verify"}},
		"no evidence": {func(o *office) {
			o.tee.fail = func() error { return &client.RefusedError{Rule: "guest", Wanted: "a", Seen: "b"} }
		}, []string{"evidence", "wanted a, seen b"}},
		"pending, then denied": {func(o *office) {
			o.agent.issue = func(*x509.CertificateRequest) (int, any) {
				return 200, map[string]any{"task_id": "ab-1", "task_status": "PENDING_WHITELIST", "task": map[string]string{"description": "approve build 7"}}
			}
			o.agent.result = func(string) (int, any) {
				return 200, map[string]any{"task_id": "ab-1", "task_status": "DENIED", "reason": "not this one"}
			}
		}, []string{"DENIED", "not this one", "ab-1"}},
		"pending, task lost": {func(o *office) {
			o.agent.issue = func(*x509.CertificateRequest) (int, any) {
				return 200, map[string]any{"task_id": "ab-1", "task_status": "INPROGRESS"}
			}
			o.agent.result = func(string) (int, any) { return 404, map[string]string{"code": "NOT_FOUND"} }
		}, []string{"task ab-1", "NOT_FOUND"}},
		"a task id that is a path": {func(o *office) {
			o.agent.issue = func(*x509.CertificateRequest) (int, any) {
				return 200, map[string]any{"task_id": "../x", "task_status": "INPROGRESS"}
			}
		}, []string{"is no id"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOffice(t)
			c.behave(o)
			_, err := o.obtain(t.Context(), ecCertificate())
			if err == nil {
				t.Fatal("a certificate was accepted")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %q, wanted %q in it", err, w)
				}
			}
		})
	}
}

func TestObtainWaits(t *testing.T) {
	t.Parallel()
	t.Run("for an approval, then with fresh evidence", func(t *testing.T) {
		t.Parallel()
		o := newOffice(t)
		asked, polled := 0, 0
		o.agent.issue = func(*x509.CertificateRequest) (int, any) {
			if asked++; asked == 1 {
				return 200, map[string]any{"task_id": "ab-1", "task_status": "PENDING_WHITELIST", "task": map[string]string{"description": "approve build 7"}}
			}
			return 0, nil
		}
		o.agent.result = func(string) (int, any) {
			switch polled++; {
			case polled == 3:
				return 503, map[string]string{"message": "manager restarts"}
			case polled < 5:
				return 200, map[string]any{"task_id": "ab-1", "task_status": "PENDING_WHITELIST"}
			}
			// A certificate here is ignored: it would rest on old evidence.
			return 200, map[string]any{"task_id": "ab-1", "task_status": "SUCCESS", "certificate": "old"}
		}
		_, err := o.obtain(t.Context(), ecCertificate())
		must(t, err)
		if asked != 2 || polled != 5 || o.agent.issued != 1 {
			t.Errorf("asked %d times, polled %d times, issued %d", asked, polled, o.agent.issued)
		}
		if log := o.lines.String(); strings.Count(log, "waiting for task ab-1: approve build 7") != 1 {
			t.Errorf("log %q", log)
		}
	})
	t.Run("for an agent that is not enrolled yet", func(t *testing.T) {
		t.Parallel()
		o := newOffice(t)
		asked := 0
		o.agent.target = func() (int, any) {
			if asked++; asked < 4 {
				return 503, map[string]string{"code": "NODE_NOT_ENROLLED", "message": "no manager"}
			}
			return 0, nil
		}
		_, err := o.obtain(t.Context(), ecCertificate())
		must(t, err)
		if log := o.lines.String(); !strings.Contains(log, "waiting for the node agent") || !strings.Contains(log, "no manager") {
			t.Errorf("log %q", log)
		}
	})
	t.Run("until it is stopped", func(t *testing.T) {
		t.Parallel()
		o := newOffice(t)
		ctx, cancel := context.WithCancel(t.Context())
		o.agent.target = func() (int, any) { cancel(); return http.StatusServiceUnavailable, nil }
		if _, err := o.obtain(ctx, ecCertificate()); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	})
}

func TestAgentBase(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"http://10.0.0.1:9092": "http://10.0.0.1:9092", "http://10.0.0.1:9092/v1": "http://10.0.0.1:9092", "http://10.0.0.1:9092/v1/": "http://10.0.0.1:9092",
		"10.0.0.1:9092": "http://10.0.0.1:9092", "http://node": "http://node:9092", "http://[fd00::1]:80/": "http://[fd00::1]:80", "node:1": "http://node:1",
		"https://node": "", "": "", "http://": "", "http://u:p@node": "", "http://node/v2": "", "http://node:0": "", "http://node:70000": "", "http://node?x": "", "unix:///x": "", "http://a b": "",
	} {
		got, err := agentBase([]string{"NODE_AGENT_BASE_URL=" + value})
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q gives %q, %v; wanted %q", value, got, err, want)
		}
		if err != nil && !strings.Contains(err.Error(), "NODE_AGENT_BASE_URL") {
			t.Errorf("%q: error %q does not name the variable", value, err)
		}
	}
	if got, err := agentBase([]string{"NODE_AGENT=node:9092"}); err != nil || got != "http://node:9092" {
		t.Errorf("NODE_AGENT gives %q, %v", got, err)
	}
}

func FuzzAgentReply(f *testing.F) {
	f.Add([]byte(`{"task_id":"a","task_status":"DENIED","rules":[{"name":"x"}],"task":{"description":"y"}}`))
	f.Add([]byte(`{"message":"x","code":"Y","severity":"ERROR"}`))
	f.Add([]byte(`[`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := decodeAgentError(500, data); err == nil || err.Error() == "" {
			t.Error("no error")
		}
	})
}

func FuzzParsePEM(f *testing.F) {
	clock := newFakeClock()
	ca := newFakeCA(f, "a", clock.Now())
	f.Add(pemOf(ca.zone, ca.root))
	f.Add("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := parsePEM(text); err == nil && len(got) > maxChain {
			t.Error("too many")
		}
	})
}

func ExampleRefusal() {
	fmt.Println(Refusal{Rule: "closed_world", Path: "/etc/ld.so.preload", Wanted: "no such entry", Seen: "file", Advice: "remove it"})
	// Output: closed_world: /etc/ld.so.preload: wanted no such entry, seen file (remove it)
}
