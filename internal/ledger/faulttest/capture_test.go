package faulttest

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hitoku.dev/internal/ledger/hosttest"
	"hitoku.dev/internal/ledger/ledgertest"
	"hitoku.dev/internal/ledger/order"
	"hitoku.dev/internal/ledger/order/embedded"
	"hitoku.dev/internal/ledger/wire"
)

// TestCapture records all that hosts can: every connection outside and inside TLS, what nodes log in full
// detail, the folders of nodes and log. Nothing of what clients do stands there in the clear, nor a key of a
// TEE; and the search finds it in what was sealed, so it would find it there.
func TestCapture(t *testing.T) {
	t.Parallel()
	for name, suite := range map[string]wire.Suite{"X25519": wire.SuiteX25519, "hybrid": wire.SuiteHybrid} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			capture(t, suite)
		})
	}
}

func capture(t *testing.T, suite wire.Suite) {
	var tape, plain hosttest.Tape
	folder := t.TempDir()
	log, err := embedded.Open(folder, embedded.Options{Now: time.Now, Rand: rand.Reader, MaxRecord: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() }) // the test is over
	sealed := plain.Piece("what was sealed")
	c := ledgertest.Start(t, ledgertest.Options{
		Executors: executors, Vaults: 1, Suite: suite, Window: 2, CheckpointEvery: 4, Compact: 1,
		Log: func(testing.TB, int) order.Log { return log },
		Front: func(slot int, address string) string {
			return hosttest.NewRelay(t, fmt.Sprintf("wire to slot %d", slot), address, &tape).Address()
		},
		Serve: func(slot int, h http.Handler) http.Handler { return tape.Serve(fmt.Sprintf("slot %d", slot), h) },
		Client: func(slot int, r http.RoundTripper) http.RoundTripper {
			return tape.Client(fmt.Sprintf("client of slot %d", slot), r)
		},
		Logger:   slog.New(slog.NewTextHandler(tape.Piece("log of the nodes"), &slog.HandlerOptions{Level: slog.LevelDebug})),
		Recorder: func(_, _, _, plaintext []byte) { _, _ = sealed.Write(plaintext) },
	})
	canaries := hosttest.NewCanaries(t)
	client := c.Client()
	canaries.Construct(t.Context(), client)
	canaries.Play(t.Context(), client)
	teeKeys(c, &canaries.Secrets)
	c.Rotate(1)
	teeKeys(c, &canaries.Secrets)
	c.Nodes[2].Kill()
	c.Nodes[2].Start()
	c.WaitRunning()
	canaries.Play(t.Context(), client)
	c.Backup(0)
	teeKeys(c, &canaries.Secrets)
	for _, n := range c.Nodes {
		for _, path := range []string{"/metrics", "/openapi.json", "/api/v1/members", "/api/v1/control", "/api/v1/checkpoints/1"} {
			_ = n.Get(path, nil) // JSON or not, a vault has it or not: it stands on the tape
		}
	}
	c.Stop()

	secrets := &canaries.Secrets
	leaks := secrets.InTape(&tape)
	files, size := 0, 0
	for _, dir := range append([]string{folder}, folders(c)...) {
		found, n, err := secrets.InFolder(dir)
		if err != nil || n == 0 {
			t.Errorf("%s: %d bytes, %v", dir, n, err)
		}
		leaks, files, size = append(leaks, found...), files+1, size+n
	}
	for _, l := range leaks {
		t.Errorf("the host sees %s", l)
	}
	t.Logf("%d commands, %d forms, %d bytes on the tape, %d bytes in %d folders", canaries.Commands, secrets.Forms(), tape.Len(), size, files)

	found := strings.Join(secrets.InTape(&plain), "\n")
	for _, want := range []string{"supply ", "transfer ", "approve ", "transferFrom ", "mint ", "burn ", "too much ", "account 0's public key", "account 1's id"} {
		if !strings.Contains(found, want) {
			t.Errorf("the search does not find %q in what was sealed", want)
		}
	}
	planted := filepath.Join(c.Nodes[0].Dir, "planted")
	command := canaries.Plain()
	if err := os.WriteFile(planted, command, 0o600); err != nil {
		t.Fatal(err)
	}
	if found, _, err := secrets.InFolder(c.Nodes[0].Dir); err != nil || len(found) == 0 {
		t.Errorf("the search does not find a command that a node wrote down: %v", err)
	}
	_, _ = tape.Piece("planted").Write(command) // never fails
	if len(secrets.InTape(&tape)) == 0 {
		t.Error("the search does not find a command on the tape")
	}
}

func folders(c *ledgertest.Cluster) (dirs []string) {
	for _, n := range c.Nodes {
		dirs = append(dirs, n.Dir)
	}
	return dirs
}

// teeKeys adds the keys that nodes hold now.
func teeKeys(c *ledgertest.Cluster, s *hosttest.Secrets) {
	for _, n := range c.Nodes {
		r := n.Replica()
		s.Bytes(fmt.Sprintf("key of the incarnation in slot %d", n.Slot), r.Key().Seed())
		for _, e := range r.EpochKeys() {
			for what, k := range map[string][32]byte{"init": e.Init, "log": e.Log, "digest": e.Digest, "snap": e.Snap, "random": e.Random} {
				if k != ([32]byte{}) {
					s.Bytes(fmt.Sprintf("%s key of epoch %d", what, e.Number), k[:])
				}
			}
		}
	}
}
