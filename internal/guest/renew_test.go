package guest

import (
	"context"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hitoku.dev/measure/workload"
)

// stopClock ends a renewal loop after some waits and remembers them.
type stopClock struct {
	*fakeClock
	waits []time.Duration
	limit int
}

func (c *stopClock) Wait(ctx context.Context, d time.Duration) error {
	if len(c.waits) == c.limit {
		return context.Canceled
	}
	c.waits = append(c.waits, d)
	return c.fakeClock.Wait(ctx, d)
}

func newKeeper(t *testing.T, o *office, waits int) (*keeper, *stopClock, *int) {
	t.Helper()
	root := t.TempDir()
	must(t, os.MkdirAll(root+storeFolder, 0o755))
	clock, renewals := &stopClock{fakeClock: o.clock, limit: waits}, 0
	return &keeper{
		want: ecCertificate(), obtain: o.obtain, store: &keyStore{root: root, uid: 0, gid: 0},
		clock: clock, log: NewLog(o.lines), renewed: func() { renewals++ },
	}, clock, &renewals
}

func TestRenewal(t *testing.T) {
	t.Parallel()
	needRoot(t)
	o := newOffice(t)
	k, clock, renewals := newKeeper(t, o, 3)
	must(t, k.first(t.Context()))
	before, oldTLS := k.current.Load(), k.tls.Load()
	k.run(t.Context())
	if *renewals != 3 || len(clock.waits) != 3 {
		t.Fatalf("%d renewals, waits %v", *renewals, clock.waits)
	}
	for _, w := range clock.waits {
		if w < 11*time.Hour || w > 12*time.Hour {
			t.Errorf("waited %v, wanted half of a day", w)
		}
	}
	after := k.current.Load()
	if samePublic(after.chain[0], before.key) {
		t.Error("the key is the old one")
	}
	if k.tls.Load() == oldTLS {
		t.Error("the front still shows the old certificate")
	}
	current := filepath.Join(k.store.root, storeFolder, "0", "current")
	stored, err := os.ReadFile(filepath.Join(current, workload.CertFile))
	must(t, err)
	if got, err := parsePEM(string(stored)); err != nil || !samePublic(got[0], after.key) {
		t.Errorf("stored certificate: %v", err)
	}
}

func TestFailedRenewalKeepsTheCertificate(t *testing.T) {
	t.Parallel()
	needRoot(t)
	o := newOffice(t)
	k, clock, renewals := newKeeper(t, o, 5)
	must(t, k.first(t.Context()))
	before := k.current.Load()
	failures := 0
	o.agent.issue = func(*x509.CertificateRequest) (int, any) {
		if failures++; failures <= 4 {
			return 200, map[string]any{"task_status": "DENIED", "reason": "build was withdrawn"}
		}
		return 0, nil
	}
	k.run(t.Context())
	if *renewals != 1 || k.current.Load() == before {
		t.Errorf("%d renewals after the manager allowed it again", *renewals)
	}
	for _, w := range clock.waits[1:] {
		if w < shortestRetry || w > longestRetry {
			t.Errorf("tried again after %v", w)
		}
	}
	log := o.lines.String()
	if strings.Count(log, "is not renewed; the old one stays") != 4 || !strings.Contains(log, "build was withdrawn") {
		t.Errorf("log %q", log)
	}
}

// TestRenewalAfterTheTEERestarted: a node agent that restarts forgets whom it
// has measured.
func TestMeasuredConnectsAgain(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	dials := 0
	var down error
	m := &measured{
		dial: func(context.Context) (TEE, error) {
			dials++
			first := dials == 1
			return &fakeTEE{key: o.tee.key, fail: func() error {
				if first && down != nil {
					return down
				}
				return nil
			}}, nil
		},
		bytes: func() ([]byte, []byte, error) { return []byte("{}"), make([]byte, sigstructSize), nil },
	}
	must(t, m.open(t.Context()))
	o.issuer.tee = m
	_, err := o.obtain(t.Context(), ecCertificate())
	must(t, err)
	down = errors.New("broken pipe")
	_, err = o.obtain(t.Context(), ecCertificate())
	must(t, err)
	if dials != 2 {
		t.Errorf("dialled %d times, wanted 2", dials)
	}
	must(t, m.Close())
}

func TestObtainAllEndsAtTheFirstFailure(t *testing.T) {
	t.Parallel()
	failed := errors.New("refused")
	waits := func(ctx context.Context, _ *workload.Certificate) (*issued, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	fails := func(context.Context, *workload.Certificate) (*issued, error) { return nil, failed }
	if err := obtainAll(t.Context(), []*keeper{{obtain: waits}, {obtain: fails}, {obtain: waits}}); !errors.Is(err, failed) {
		t.Errorf("error %v", err)
	}
}
