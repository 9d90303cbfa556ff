package freeport_test

import (
	"net"
	"strconv"
	"testing"

	"hitoku.dev/internal/freeport"
)

func TestFind(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 20 {
		address, err := freeport.Find("127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := strconv.Atoi(port); err != nil || n < 20000 || n > 32767 {
			t.Errorf("port %s, wanted 20000 to 32767", port)
		}
		if seen[address] {
			t.Errorf("%s was found while somebody listens there", address)
		}
		seen[address] = true
	}
	if address, err := freeport.Find("192.0.2.1"); err == nil {
		t.Errorf("%s, which is no address of this machine", address)
	}
}
