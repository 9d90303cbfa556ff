package ledgerdemo

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/iotest"
)

func TestTapWritesBothSidesDown(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.Copy(c, c)
	}()
	file := filepath.Join(t.TempDir(), "captured")
	w, err := tap(ln.Addr().String(), file)
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", w.address())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	echo, err := io.ReadAll(c)
	if err != nil || string(echo) != "hello" {
		t.Fatalf("%q, %v", echo, err)
	}
	c.Close()
	w.close()
	for _, side := range []string{"said", "answered"} {
		raw, err := os.ReadFile(file + "-1-" + side)
		if err != nil || string(raw) != "hello" {
			t.Errorf("%s: %q, %v", side, raw, err)
		}
	}
	if n := w.captured.Load(); n != 10 {
		t.Errorf("%d bytes captured, wanted 10", n)
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	patterns := map[string][]byte{"a": []byte("needle"), "b": []byte("thimble")}
	long := append(bytes.Repeat([]byte("x"), 1<<20-3), "needle and thread"...)
	for _, r := range []io.Reader{bytes.NewReader(long), iotest.OneByteReader(bytes.NewReader(long[1<<20-50:])), iotest.HalfReader(bytes.NewReader(long))} {
		found, err := find(context.Background(), r, patterns)
		if err != nil || !found["a"] || found["b"] {
			t.Errorf("found %v, %v; wanted a alone", found, err)
		}
	}
	if _, err := find(context.Background(), iotest.ErrReader(io.ErrUnexpectedEOF), patterns); err == nil {
		t.Error("an error was lost")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := find(ctx, bytes.NewReader(long), patterns); err == nil {
		t.Error("it went on after the end of its context")
	}
}

func TestForms(t *testing.T) {
	t.Parallel()
	secret := []byte("a secret amount")
	list := encodings(secret)
	for _, text := range []string{
		"xx" + string(secret) + "yy",
		hex.EncodeToString(append([]byte("x"), secret...)),
		base64.StdEncoding.EncodeToString(append(secret, "y"...)),
		base64.StdEncoding.EncodeToString(append([]byte("x"), append(secret, "yz"...)...)),
		base64.StdEncoding.EncodeToString(append([]byte("xx"), append(secret, "y"...)...)),
	} {
		if !slices.ContainsFunc(list, func(form []byte) bool { return bytes.Contains([]byte(text), form) }) {
			t.Errorf("it is not found in %q", text)
		}
	}
	for _, form := range list {
		if len(form) < len(secret) {
			t.Errorf("the form %q is so short that it stands somewhere by chance", form)
		}
	}
}
