package member_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"hitoku.dev/internal/ledger/member"
)

type peer struct {
	pk   [32]byte
	cert tls.Certificate
}

func newPeer(t testing.TB, n byte) peer {
	t.Helper()
	seed := make([]byte, ed25519.SeedSize)
	seed[0] = n
	sk := ed25519.NewKeyFromSeed(seed)
	cert, err := member.Certificate(sk, start)
	if err != nil {
		t.Fatal(err)
	}
	return peer{[32]byte(sk.Public().(ed25519.PublicKey)), cert}
}

// connect runs a handshake and says how either side ended, and who the server saw.
func connect(t testing.TB, server, client *tls.Config) (seen *tls.ConnectionState, serverErr, clientErr error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			serverErr = err
			return
		}
		defer c.Close()
		s := tls.Server(c, server)
		if serverErr = s.HandshakeContext(ctx); serverErr == nil {
			state := s.ConnectionState()
			seen = &state
			_, serverErr = s.Write([]byte("x"))
		}
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	conn := tls.Client(c, client)
	if clientErr = conn.HandshakeContext(ctx); clientErr == nil {
		_, clientErr = conn.Read(make([]byte, 1)) // a server refuses after the client's handshake
	} else {
		c.Close()
	}
	<-done
	return seen, serverErr, clientErr
}

func TestTLS(t *testing.T) {
	t.Parallel()
	a, b, stranger := newPeer(t, 1), newPeer(t, 2), newPeer(t, 3)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: start, NotAfter: start.Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	other := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	long := b.cert
	long.Certificate = append(long.Certificate[:1:1], a.cert.Certificate[0])
	stolen := tls.Certificate{Certificate: b.cert.Certificate, PrivateKey: stranger.cert.PrivateKey}

	for name, c := range map[string]struct {
		server *tls.Config
		client *tls.Config
		want   string // in either error
		seen   bool   // the server knows the client's key
	}{
		"peers":                {member.PeerServerConfig(a.cert, member.Only(b.pk)), member.ClientConfig(&b.cert, member.Only(a.pk)), "", true},
		"client":               {member.ServerConfig(a.cert, member.Only(b.pk)), member.ClientConfig(nil, member.Only(a.pk)), "", false},
		"peer at shared port":  {member.ServerConfig(a.cert, member.Only(b.pk)), member.ClientConfig(&b.cert, member.Only(a.pk)), "", true},
		"stranger":             {member.PeerServerConfig(a.cert, member.Only(b.pk)), member.ClientConfig(&stranger.cert, member.Only(a.pk)), "refused: key", false},
		"stranger, shared":     {member.ServerConfig(a.cert, member.Only(b.pk)), member.ClientConfig(&stranger.cert, member.Only(a.pk)), "refused: key", false},
		"no certificate":       {member.PeerServerConfig(a.cert, member.Only(b.pk)), member.ClientConfig(nil, member.Only(a.pk)), "client didn't provide a certificate", false},
		"other server":         {member.ServerConfig(stranger.cert, member.Only(b.pk)), member.ClientConfig(nil, member.Only(a.pk)), "refused: key", false},
		"other kind of key":    {member.ServerConfig(other, member.Only(b.pk)), member.ClientConfig(nil, member.Only(a.pk)), "wanted Ed25519", false},
		"more certificates":    {member.PeerServerConfig(a.cert, member.Only(b.pk)), member.ClientConfig(&long, member.Only(a.pk)), "2 certificates", false},
		"certificate alone":    {member.PeerServerConfig(a.cert, member.Only(b.pk)), member.ClientConfig(&stolen, member.Only(a.pk)), "invalid signature", false},
		"TLS 1.2 at server":    {&tls.Config{Certificates: []tls.Certificate{a.cert}, MaxVersion: tls.VersionTLS12}, member.ClientConfig(nil, member.Only(a.pk)), "protocol version", false},
		"TLS 1.2 at client":    {member.ServerConfig(a.cert, member.Only(b.pk)), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}, "protocol version", false},
		"nobody asked":         {member.ServerConfig(a.cert, nil), member.ClientConfig(&b.cert, member.Only(a.pk)), "", false},
		"nobody welcome":       {member.PeerServerConfig(a.cert, nil), member.ClientConfig(&b.cert, member.Only(a.pk)), "refused: nobody", false},
		"clock has no meaning": {member.ServerConfig(expired(t, 1), member.Only(b.pk)), member.ClientConfig(nil, member.Only(a.pk)), "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seen, serverErr, clientErr := connect(t, c.server, c.client)
			err := errors.Join(serverErr, clientErr)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Fatalf("server %v\nclient %v\nwanted %q", serverErr, clientErr, c.want)
			}
			if strings.HasPrefix(c.want, "refused") && !errors.Is(err, member.ErrPeer) {
				t.Errorf("%v is not ErrPeer", err)
			}
			if err != nil {
				return
			}
			pk, err := member.PeerKey(seen)
			if (err == nil) != c.seen || c.seen && pk != b.pk {
				t.Errorf("server saw %x, %v", pk, err)
			}
		})
	}
}

func expired(t testing.TB, n byte) tls.Certificate {
	t.Helper()
	seed := make([]byte, ed25519.SeedSize)
	seed[0] = n
	cert, err := member.Certificate(ed25519.NewKeyFromSeed(seed), time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// TestNoResumption: each connection is judged; what was accepted once counts no more.
func TestNoResumption(t *testing.T) {
	t.Parallel()
	a, b := newPeer(t, 1), newPeer(t, 2)
	client := member.ClientConfig(&b.cert, member.Only(a.pk))
	client.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	client.ServerName = "node"
	welcome := true
	server := member.PeerServerConfig(a.cert, func([32]byte) error {
		if !welcome {
			return errors.New("no member any more")
		}
		return nil
	})
	for range 2 {
		seen, serverErr, clientErr := connect(t, server, client)
		if err := errors.Join(serverErr, clientErr); err != nil || seen.DidResume {
			t.Fatal(err, seen)
		}
	}
	welcome = false
	if _, serverErr, _ := connect(t, server, client); !errors.Is(serverErr, member.ErrPeer) {
		t.Error(serverErr)
	}
}
