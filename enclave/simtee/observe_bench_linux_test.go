package simtee

import (
	"net"
	"path/filepath"
	"testing"
)

// BenchmarkObserve looks at a program as the server does before and after each request.
func BenchmarkObserve(b *testing.B) {
	s := newStage(b)
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: filepath.Join(s.dir, "observe"), Net: "unixpacket"})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	a := s.start(b, s.genuine)
	a.must("connect", l.Addr().String())
	c, err := l.AcceptUnix()
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	p, err := pin(c, "/proc")
	if err != nil {
		b.Fatal(err)
	}
	defer p.close()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.observe(); err != nil {
			b.Fatal(err)
		}
	}
}
