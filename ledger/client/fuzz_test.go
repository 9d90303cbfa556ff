package client

import (
	"bufio"
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"

	"hitoku.dev/internal/ledger/clienttest"
	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/wire"
)

// FuzzKeyReply: no answer of a stranger passes for a node's.
func FuzzKeyReply(f *testing.F) {
	l := clienttest.New(f, clienttest.Options{Executors: 1})
	control, err := json.Marshal(l.Control())
	if err != nil {
		f.Fatal(err)
	}
	info := wire.KeyInfo{Ledger: l.ID, Incarnation: l.Members[0].ID, Key: l.Members[0].PublicKey(), NotAfter: uint64(clienttest.Now.Unix()) + 1800}
	reply, err := json.Marshal(map[string]any{"key_info": info.Encode(), "signature": make([]byte, 64), "control": json.RawMessage(control)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(reply)
	f.Add([]byte(`{"key_info":"AA==","control":{}}`))
	c, err := New(Options{URLs: []string{"https://a:1"}, Ledger: l.ID, SimulatedRoots: []*x509.Certificate{l.Root()}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var r keyReply
		if json.Unmarshal(data, &r) != nil {
			return
		}
		if _, err := c.verify(r, l.Members[0].PublicKey()); err == nil {
			t.Error("a stranger's answer passes")
		}
		if _, err := c.follow(r.Control); err == nil && !bytes.Contains(data, []byte("records")) {
			t.Error("no control records pass")
		}
	})
}

// FuzzEvents: whatever a host streams, nothing opens that was not sealed for the stream.
func FuzzEvents(f *testing.F) {
	key, err := keys.NewHPKE(wire.SuiteX25519, bytes.NewReader(make([]byte, 32)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(": still here\n\nid: 1\ndata: AAAA\n\n"))
	f.Add([]byte("data\n\ndata:\n\nid:2\n\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		w := &Stream{c: &Client{}, key: key, stop: func() {}, body: io.NopCloser(bytes.NewReader(data)), lines: bufio.NewScanner(bytes.NewReader(data))}
		for {
			text, err := w.event(context.Background())
			if err != nil {
				return
			}
			if _, err := w.open(text); err == nil {
				t.Error("an event opens")
			}
		}
	})
}

// FuzzFloor: a floor that is read is what its file says, and can be raised.
func FuzzFloor(f *testing.F) {
	f.Add([]byte(`{"format":"hitoku-ledger-floor/1","ledger":"0000000000000000000000000000000000000000000000000000000000000000","position":1,"chain":"1100000000000000000000000000000000000000000000000000000000000000","epoch":1,"t":"0000000000000000000000000000000000000000000000000000000000000000"}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "floor")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		store := NewFileFloor(path, [32]byte{})
		floor, err := store.Load()
		if err != nil {
			return
		}
		floor.Epoch++
		if err := store.Save(floor); err != nil && floor.Epoch != 0 {
			t.Fatal(err)
		}
		if again, err := store.Load(); floor.Epoch != 0 && (err != nil || again != floor) {
			t.Errorf("%+v, %v", again, err)
		}
	})
}
