// Package nodeconfig is the configuration of a ledger node's program, as one JSON
// object in a file or on standard input.
//
// Whoever starts the program writes it, so it is the host's, and nothing in it is
// measured. It may say where things are and whom to ask; it cannot say what the
// ledger is, who its members are, or what a node believes. docs/ledger.md lists for
// each member what a host gains by lying in it.
package nodeconfig

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"

	"hitoku.dev/internal/ledger/wire"
)

// MaxSize is the longest configuration in bytes.
const MaxSize = 256 << 10

const (
	maxPeers     = 256
	maxEndpoints = 16
	maxText      = 4096
)

// Config is one node's.
type Config struct {
	// Genesis is the file of the ledger's genesis.
	Genesis string `json:"genesis"`
	// Slot is the node's; the policy says whether it is an executor's or a vault's.
	Slot uint16 `json:"slot"`
	// OperatorKey is the file with the private key of the slot's operator.
	OperatorKey string `json:"operator_key"`
	// Dir is the folder for sealed state.
	Dir string `json:"dir"`
	// Listen is host:port for clients and other nodes.
	Listen string `json:"listen"`
	// Peers are the URLs of the other nodes by their slots.
	Peers map[string]string `json:"peers,omitempty"`
	// TEE says where evidence comes from: "simulated:FOLDER", or "app:SOCKET" in a converted image.
	TEE string `json:"tee"`
	// Collateral is a file or folder with what the TEE's maker signed, as `hitoku collateral`
	// keeps it; of a simulated TEE it lies in its folder.
	Collateral string `json:"collateral,omitempty"`
	// Log is the address of the embedded log.
	Log string `json:"log,omitempty"`
	// Chain is how to reach the chain.
	Chain *Chain `json:"chain,omitempty"`
	// TickMilliseconds is the time for which commands are gathered into one record; 0 is 20
	// for the embedded log and 200 for a chain.
	TickMilliseconds int `json:"tick_ms,omitempty"`
	// VaultEpochs is how many epochs' keys a vault keeps; 0 is 16.
	VaultEpochs uint64 `json:"vault_epochs,omitempty"`
	// DetailedMetrics adds counts that padding hides from the host to /metrics.
	DetailedMetrics bool `json:"detailed_metrics,omitempty"`
	// LogJSON has the program log JSON lines.
	LogJSON bool `json:"log_json,omitempty"`
}

// Chain is how a node reaches its chain.
type Chain struct {
	// Endpoints are the URLs of JSON-RPC servers; the genesis says how many must agree.
	Endpoints []string `json:"endpoints"`
	// Key is the file with the private key of an account that may submit, 64 hexadecimal digits.
	Key string `json:"key"`
	// FirstBlock is one before which there is no record.
	FirstBlock uint64 `json:"first_block,omitempty"`
	// PollMilliseconds is the time between two looks at the chain; 0 is 1000.
	PollMilliseconds int `json:"poll_ms,omitempty"`
	// Fees, in wei per gas, as in docs/ledger.md.
	LegacyFees bool   `json:"legacy_fees,omitempty"`
	GasPrice   uint64 `json:"gas_price,omitempty"`
	Tip        uint64 `json:"tip,omitempty"`
	MaxFee     uint64 `json:"max_fee,omitempty"`
}

// Kinds of TEE.
const (
	TEESimulated = "simulated"
	TEEApp       = "app"
)

// Read reads and checks a configuration.
func Read(r io.Reader) (*Config, error) {
	raw, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err != nil {
		return nil, err
	}
	return Parse(raw)
}

// Parse reads a configuration. Members that are not known are refused.
func Parse(raw []byte) (*Config, error) {
	if len(raw) > MaxSize {
		return nil, fmt.Errorf("configuration: more than %d bytes", MaxSize)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	c := new(Config)
	if err := d.Decode(c); err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("configuration: more than one JSON object")
	}
	return c, c.Check()
}

// Check says all that is wrong with a configuration.
func (c *Config) Check() error {
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf("configuration: "+format, a...)) }
	for _, f := range []struct{ name, value string }{
		{"genesis", c.Genesis}, {"operator_key", c.OperatorKey}, {"dir", c.Dir}, {"listen", c.Listen},
	} {
		if f.value == "" || len(f.value) > maxText {
			bad("%s: %d bytes, wanted 1 to %d", f.name, len(f.value), maxText)
		}
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		bad("listen %.100q: wanted host:port", c.Listen)
	}
	if _, _, err := c.SplitTEE(); err != nil {
		errs = append(errs, err)
	}
	if _, err := c.PeerURLs(); err != nil {
		errs = append(errs, err)
	}
	if c.TickMilliseconds < 0 || c.TickMilliseconds > 60_000 {
		bad("tick_ms %d: wanted 0 to 60000", c.TickMilliseconds)
	}
	switch {
	case (c.Log == "") == (c.Chain == nil):
		bad("wanted either log or chain: where the records are put in order")
	case c.Chain != nil:
		errs = append(errs, c.Chain.check())
	default:
		if _, _, err := SplitAddress(c.Log); err != nil {
			bad("log: %w", err)
		}
	}
	return errors.Join(errs...)
}

func (c *Chain) check() error {
	if n := len(c.Endpoints); n == 0 || n > maxEndpoints {
		return fmt.Errorf("configuration: %d endpoints of the chain, wanted 1 to %d", n, maxEndpoints)
	}
	for _, e := range c.Endpoints {
		if err := checkURL(e, "http", "https"); err != nil {
			return fmt.Errorf("configuration: endpoint: %w", err)
		}
	}
	switch {
	case c.Key == "" || len(c.Key) > maxText:
		return fmt.Errorf("configuration: chain key: %d bytes, wanted 1 to %d", len(c.Key), maxText)
	case c.PollMilliseconds < 0 || c.PollMilliseconds > 600_000:
		return fmt.Errorf("configuration: poll_ms %d: wanted 0 to 600000", c.PollMilliseconds)
	}
	return nil
}

// Fits says whether the order in the genesis is the one that the configuration reaches.
func (c *Config) Fits(o wire.Order) error {
	switch {
	case o.Driver == wire.DriverEmbedded && c.Log == "":
		return errors.New("the ledger's order is the embedded log: name its address (log), not a chain")
	case o.Driver == wire.DriverEthereum && c.Chain == nil:
		return errors.New("the ledger's order is a chain: name its endpoints (chain), not a log")
	case o.Driver == wire.DriverEthereum && len(c.Chain.Endpoints) < int(o.Endpoints):
		return fmt.Errorf("the genesis wants %d endpoints that agree, and %d are named", o.Endpoints, len(c.Chain.Endpoints))
	}
	return nil
}

// SplitTEE returns the kind of TEE and its folder or socket.
func (c *Config) SplitTEE() (kind, path string, err error) {
	kind, path, _ = strings.Cut(c.TEE, ":")
	if (kind != TEESimulated && kind != TEEApp) || path == "" || len(path) > maxText {
		return "", "", fmt.Errorf("configuration: tee %.100q: wanted simulated:FOLDER or app:SOCKET", c.TEE)
	}
	return kind, path, nil
}

// PeerURLs returns the peers by slot.
func (c *Config) PeerURLs() (map[uint16]string, error) {
	if len(c.Peers) > maxPeers {
		return nil, fmt.Errorf("configuration: %d peers, at most %d", len(c.Peers), maxPeers)
	}
	out := make(map[uint16]string, len(c.Peers))
	for text, u := range c.Peers {
		slot, err := strconv.ParseUint(text, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("configuration: peer %.100q: wanted the number of a slot", text)
		}
		if err := checkURL(u, "https"); err != nil {
			return nil, fmt.Errorf("configuration: peer %d: %w", slot, err)
		}
		out[uint16(slot)] = u
	}
	if len(out) != len(c.Peers) {
		return nil, errors.New("configuration: a peer's slot stands there twice")
	}
	return out, nil
}

// ParsePeer reads SLOT=URL.
func ParsePeer(s string) (slot uint16, link string, err error) {
	text, link, ok := strings.Cut(s, "=")
	n, err := strconv.ParseUint(text, 10, 16)
	if !ok || err != nil {
		return 0, "", fmt.Errorf("%.100q: wanted SLOT=https://HOST:PORT", s)
	}
	return uint16(n), link, checkURL(link, "https")
}

func checkURL(s string, schemes ...string) error {
	u, err := url.Parse(s)
	if err != nil || len(s) > maxText || u.Host == "" {
		return fmt.Errorf("%.100q is no URL", s)
	}
	for _, want := range schemes {
		if u.Scheme == want {
			return nil
		}
	}
	return fmt.Errorf("%.100q: wanted %s://…", s, strings.Join(schemes, ":// or "))
}

// SplitAddress reads the address of a socket: unix:PATH, or host:port. It returns what net.Dial takes.
func SplitAddress(s string) (network, address string, err error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		if path == "" || len(path) > 107 {
			return "", "", fmt.Errorf("%.200q: the path of a socket has 1 to 107 bytes", s)
		}
		return "unix", path, nil
	}
	if host, port, err := net.SplitHostPort(s); err != nil || port == "" || strings.ContainsAny(host, "/ ") {
		return "", "", fmt.Errorf("%.200q: wanted host:port or unix:PATH", s)
	}
	return "tcp", s, nil
}
