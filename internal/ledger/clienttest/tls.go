package clienttest

import (
	"crypto/tls"
	"net"

	"hitoku.dev/internal/ledger/member"
)

// tls ends connections in the key that the node has at the time.
func (n *Node) tls(l net.Listener) net.Listener {
	return tls.NewListener(l, &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		n.mu.Lock()
		key := n.in.Key
		if n.evil.TLS != nil {
			key = n.evil.TLS
		}
		n.mu.Unlock()
		cert, err := member.Certificate(key, Now)
		if err != nil {
			return nil, err
		}
		return member.ServerConfig(cert, nil), nil
	}})
}
