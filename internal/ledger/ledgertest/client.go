package ledgertest

import (
	"crypto/x509"
	"time"

	"hitoku.dev/internal/ledger/wire"
	"hitoku.dev/ledger/client"
)

// Client is the public client, which verifies evidence, for the nodes of some slots in this
// order; none named means every executor.
func (c *Cluster) Client(slots ...int) *client.Client {
	c.tb.Helper()
	o := client.Options{Ledger: c.Ledger, SimulatedRoots: []*x509.Certificate{c.World.Authority.Root()}, Now: c.o.Now, Retry: 20 * time.Millisecond}
	for _, i := range slots {
		o.URLs = append(o.URLs, c.Nodes[i].URL)
	}
	for _, n := range c.Nodes {
		if len(slots) == 0 && n.Kind == wire.KindExecutor {
			o.URLs = append(o.URLs, n.URL)
		}
	}
	out, err := client.New(o)
	if err != nil {
		c.tb.Fatal(err)
	}
	c.tb.Cleanup(out.Close)
	return out
}
