package dcap

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// flipAll calls try with data in which one byte was changed, for every byte. The
// bit that changes moves along, so that the case of letters, line ends and high
// bits all have their turn.
func flipAll(data []byte, try func(i int, flipped []byte)) {
	for i := range data {
		flipped := slices.Clone(data)
		flipped[i] ^= 1 << (i % 8)
		try(i, flipped)
	}
}

func TestFlipEveryByteOfQuote(t *testing.T) {
	t.Parallel()
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, q := kind(t)
			q.CertData = append(q.CertData, 0) // as Intel's library ends it
			v := NewVerifier(w.root, w.collateral(), false)
			raw := w.seal(q)
			if r, err := v.Verify(raw, now); err != nil || !r.OK() {
				t.Fatalf("the honest quote was refused: %v", err)
			}
			flipAll(raw, func(i int, flipped []byte) {
				if r, err := v.Verify(flipped, now); err == nil && r.OK() {
					t.Errorf("byte %d of the quote changed from %#02x to %#02x, accepted", i, raw[i], flipped[i])
				}
			})
		})
	}
}

func TestTruncateQuoteAtEveryLength(t *testing.T) {
	t.Parallel()
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, q := kind(t)
			v := NewVerifier(w.root, w.collateral(), false)
			raw := w.seal(q)
			for n := range raw {
				if r, err := v.Verify(raw[:n:n], now); err == nil && r.OK() {
					t.Errorf("accepted at %d of %d bytes", n, len(raw))
				}
			}
			long := append(bytes.Clone(raw), make([]byte, 3065)...)
			if r, err := v.Verify(long, now); err != nil || !r.OK() {
				t.Errorf("bytes after the quote refused: %v", err)
			}
			if _, err := v.Verify(append(long, make([]byte, MaxQuoteSize)...), now); err == nil {
				t.Error("an oversized buffer was read")
			}
		})
	}
}

func TestFlipEveryByteOfCollateral(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	raw, honest := w.seal(w.quote()), w.collateral()
	ppid := w.quote()
	ppid.CertType, ppid.CertData = CertPPIDRSA3072, make([]byte, 404)
	withoutChain := w.seal(ppid)
	chain := pemOf(w.pck, w.ca, w.root)
	td := newTDWorld(t)
	td.levels, td.modules = td.levels[:1], td.modules[1:] // each byte costs a verification
	cases := map[string]struct {
		quote []byte
		item  func(c *Collateral) *[]byte
	}{
		"TCBInfo":         {raw, func(c *Collateral) *[]byte { return &c.TCBInfo }},
		"TCBInfoChain":    {raw, func(c *Collateral) *[]byte { return &c.TCBInfoChain }},
		"QEIdentity":      {raw, func(c *Collateral) *[]byte { return &c.QEIdentity }},
		"QEIdentityChain": {raw, func(c *Collateral) *[]byte { return &c.QEIdentityChain }},
		"PCKCRL":          {raw, func(c *Collateral) *[]byte { return &c.PCKCRL }},
		"PCKCRLChain":     {raw, func(c *Collateral) *[]byte { return &c.PCKCRLChain }},
		"RootCRL":         {raw, func(c *Collateral) *[]byte { return &c.RootCRL }},
		"PCKChain":        {withoutChain, func(c *Collateral) *[]byte { return &c.PCKChain }},
	}
	tdQuote, tdHonest := td.seal(td.tdQuote(Version5, true)), td.collateral()
	for _, name := range []string{"TCBInfo", "QEIdentity"} {
		tc := cases[name]
		tc.quote = tdQuote
		cases["TDX "+name] = tc
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, w := *honest, w
			if strings.HasPrefix(name, "TDX ") {
				c, w = *tdHonest, td
			}
			if name == "PCKChain" {
				c.PCKChain = chain
			}
			if r, err := Verify(tc.quote, Options{Root: w.root, Collateral: &c, At: now}); err != nil || !r.OK() {
				t.Fatalf("the honest collateral was refused: %v %v", err, failedNames(r.Rules))
			}
			item := tc.item(&c)
			good := *item
			flipAll(good, func(i int, flipped []byte) {
				*item = flipped
				if r, err := Verify(tc.quote, Options{Root: w.root, Collateral: &c, At: now}); err != nil || r.OK() {
					t.Errorf("byte %d changed from %q to %q, accepted: %v", i, good[i], flipped[i], err)
				}
			})
		})
	}
}
