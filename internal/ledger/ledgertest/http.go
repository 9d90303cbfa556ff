package ledgertest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"hitoku.dev/internal/ledger/api"
	"hitoku.dev/internal/ledger/member"
)

// HTTP is a client for a node: TLS ends in the key of the incarnation that runs there.
func (n *Node) HTTP() *http.Client {
	n.c.tb.Helper()
	return n.clientOf(n.Replica().Key())
}

// clientOf is a client for the incarnation with a key.
func (n *Node) clientOf(key ed25519.PrivateKey) *http.Client {
	t := &http.Transport{TLSClientConfig: member.ClientConfig(nil, member.Only(public(key)))}
	n.c.tb.Cleanup(t.CloseIdleConnections)
	if wrap := n.c.o.Client; wrap != nil {
		return &http.Client{Transport: wrap(int(n.Slot), t)}
	}
	return &http.Client{Transport: t}
}

// Get asks a node. An answer that is not 2xx is an *api.Error.
func (n *Node) Get(path string, out any) error {
	n.c.tb.Helper()
	return n.call(n.HTTP(), "GET", path, nil, nil, out)
}

// Health asks how a node is, and returns the status, 0 when it does not answer.
func (n *Node) Health(out *api.Health) int {
	n.c.tb.Helper()
	r, err := n.HTTP().Get(n.URL + "/api/v1/health")
	if err != nil {
		return 0
	}
	defer func() { _ = r.Body.Close() }() // it was read
	if err := json.NewDecoder(r.Body).Decode(out); err != nil {
		n.c.tb.Fatal(err)
	}
	return r.StatusCode
}

// Post sends JSON to a node.
func (n *Node) Post(path string, in, out any) error {
	n.c.tb.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		n.c.tb.Fatal(err)
	}
	return n.call(n.HTTP(), "POST", path, body, nil, out)
}

// Admin makes a call that the slot's operator has signed. A nil in means no body.
func (n *Node) Admin(method, path string, in, out any) error {
	n.c.tb.Helper()
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			n.c.tb.Fatal(err)
		}
	}
	return n.call(n.HTTP(), method, path, body, n.SignCall(n.Operator, method, path, body), out)
}

// SignCall makes the headers of a signed call.
func (n *Node) SignCall(key ed25519.PrivateKey, method, path string, body []byte) http.Header {
	n.c.tb.Helper()
	var nonce [16]byte
	if _, err := io.ReadFull(rand.Reader, nonce[:]); err != nil {
		n.c.tb.Fatal(err)
	}
	notAfter := uint64(n.c.o.Now().Unix()) + 60
	message := api.AdminMessage(n.c.Ledger, n.Replica().ID(), method, path, body, notAfter, nonce)
	h := http.Header{}
	pk := public(key)
	h.Set(api.HeaderKey, hex.EncodeToString(pk[:]))
	h.Set(api.HeaderNotAfter, strconv.FormatUint(notAfter, 10))
	h.Set(api.HeaderNonce, hex.EncodeToString(nonce[:]))
	h.Set(api.HeaderSignature, base64.StdEncoding.EncodeToString(ed25519.Sign(key, message)))
	return h
}

func (n *Node) call(client *http.Client, method, path string, body []byte, header http.Header, out any) error {
	q, err := http.NewRequest(method, n.URL+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	for name, values := range header {
		q.Header[name] = values
	}
	if body != nil {
		q.Header.Set("Content-Type", "application/json")
	}
	r, err := client.Do(q)
	if err != nil {
		return err
	}
	defer func() { _ = r.Body.Close() }() // it was read
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	if r.StatusCode/100 != 2 {
		e := &api.Error{Status: r.StatusCode}
		if err := json.Unmarshal(b, e); err != nil || e.Code == "" {
			return fmt.Errorf("%s %s: %s: %.200q", method, path, r.Status, b)
		}
		return e
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(b, out)
}
