package nodeconfig

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hitoku.dev/internal/ledger/wire"
)

func good() Config {
	return Config{
		Genesis: "g", Slot: 1, OperatorKey: "k", Dir: "d", Listen: "127.0.0.1:7411", TEE: "simulated:/t", Log: "127.0.0.1:7400",
		Peers: map[string]string{"2": "https://127.0.0.1:7412", "3": "https://127.0.0.1:7413"},
	}
}

func onChain() Config {
	c := good()
	c.Log, c.Chain = "", &Chain{Endpoints: []string{"http://127.0.0.1:8545"}, Key: "s"}
	return c
}

func TestRead(t *testing.T) {
	t.Parallel()
	for _, c := range []Config{good(), onChain()} {
		raw, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Read(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(&c, got); d != "" {
			t.Error(d)
		}
		peers, err := got.PeerURLs()
		if err != nil || peers[2] != "https://127.0.0.1:7412" || len(peers) != 2 {
			t.Errorf("peers %v, %v", peers, err)
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"no genesis", func(c *Config) { c.Genesis = "" }, "genesis: 0 bytes"},
		{"long folder", func(c *Config) { c.Dir = strings.Repeat("a", maxText+1) }, "dir: 4097 bytes"},
		{"no port", func(c *Config) { c.Listen = "localhost" }, `listen "localhost"`},
		{"unknown TEE", func(c *Config) { c.TEE = "sgx:/x" }, "simulated:FOLDER or app:SOCKET"},
		{"TEE without folder", func(c *Config) { c.TEE = "app:" }, "simulated:FOLDER or app:SOCKET"},
		{"peer without slot", func(c *Config) { c.Peers = map[string]string{"x": "https://h"} }, "number of a slot"},
		{"peer twice", func(c *Config) { c.Peers = map[string]string{"1": "https://h", "01": "https://h"} }, "twice"},
		{"peer without TLS", func(c *Config) { c.Peers = map[string]string{"1": "http://h"} }, "wanted https://"},
		{"peer without host", func(c *Config) { c.Peers = map[string]string{"1": "https:"} }, "is no URL"},
		{"no order", func(c *Config) { c.Log = "" }, "either log or chain"},
		{"two orders", func(c *Config) { c.Chain = &Chain{} }, "either log or chain"},
		{"log without port", func(c *Config) { c.Log = "localhost" }, "host:port or unix:PATH"},
		{"tick", func(c *Config) { c.TickMilliseconds = -1 }, "tick_ms -1"},
		{"no endpoint", func(c *Config) { c.Log, c.Chain = "", &Chain{Key: "k"} }, "0 endpoints"},
		{"endpoint", func(c *Config) { c.Log, c.Chain = "", &Chain{Key: "k", Endpoints: []string{"ws://h"}} }, "http:// or https://"},
		{"no key", func(c *Config) { c.Log, c.Chain = "", &Chain{Endpoints: []string{"http://h"}} }, "chain key: 0 bytes"},
		{"poll", func(c *Config) {
			c.Log, c.Chain = "", &Chain{Key: "k", Endpoints: []string{"http://h"}, PollMilliseconds: -1}
		}, "poll_ms -1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := good()
			tc.change(&c)
			if err := c.Check(); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, wanted %q in it", err, tc.want)
			}
		})
	}
	many := good()
	many.Peers = map[string]string{}
	for i := range maxPeers + 1 {
		many.Peers[strings.Repeat("0", i)+"1"] = "https://h"
	}
	if err := many.Check(); err == nil || !strings.Contains(err.Error(), "257 peers") {
		t.Errorf("error %v, wanted that there are too many peers", err)
	}
	for _, raw := range []string{"", "{", `{"colour":1}`, "{}{}", strings.Repeat(" ", MaxSize+1)} {
		if _, err := Parse([]byte(raw)); err == nil {
			t.Errorf("%.20q is taken", raw)
		}
	}
}

func TestFits(t *testing.T) {
	t.Parallel()
	embedded, chain := good(), onChain()
	for _, tc := range []struct {
		c    Config
		o    wire.Order
		want string
	}{
		{embedded, wire.Order{Driver: wire.DriverEmbedded}, ""},
		{chain, wire.Order{Driver: wire.DriverEthereum, Endpoints: 1}, ""},
		{chain, wire.Order{Driver: wire.DriverEmbedded}, "embedded log"},
		{embedded, wire.Order{Driver: wire.DriverEthereum}, "order is a chain"},
		{chain, wire.Order{Driver: wire.DriverEthereum, Endpoints: 2}, "2 endpoints that agree"},
	} {
		err := tc.c.Fits(tc.o)
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: %v, wanted %q", tc.o, err, tc.want)
		}
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"127.0.0.1:1": "tcp 127.0.0.1:1", "[::1]:1": "tcp [::1]:1", ":7400": "tcp :7400", "unix:/run/x": "unix /run/x",
		"": "", "unix:": "", "host": "", "host:": "", "a/b:1": "", "unix:" + strings.Repeat("a", 108): "",
	} {
		network, address, err := SplitAddress(in)
		if got := strings.TrimSpace(network + " " + address); got != want || (err == nil) != (want != "") {
			t.Errorf("%.20q: %q, %v; wanted %q", in, got, err, want)
		}
	}
	for in, ok := range map[string]bool{"2=https://h:1": true, "2": false, "x=https://h": false, "70000=https://h": false, "2=http://h": false} {
		if _, _, err := ParsePeer(in); (err == nil) != ok {
			t.Errorf("peer %q: %v", in, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, c := range []Config{good(), onChain()} {
		raw, err := json.Marshal(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add([]byte(`{"chain":{"endpoints":[""]},"peers":{"":""}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := Parse(raw)
		if err != nil {
			return
		}
		if _, err := c.PeerURLs(); err != nil {
			t.Error(err)
		}
		if _, _, err := c.SplitTEE(); err != nil {
			t.Error(err)
		}
	})
}
