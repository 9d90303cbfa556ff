package verify

import (
	"crypto/x509"
	"slices"
	"testing"

	"hitoku.dev/attest"
)

// TestJoin counts devices by who they are, and judges the TCB of a TEE that lies beside another.
func TestJoin(t *testing.T) {
	t.Parallel()
	of := func(device bool, c attest.Claims) *piece {
		return &piece{format: &format{name: "device", device: device, verify: func([]byte, *Options) (*attest.Result, error) {
			return &attest.Result{Claims: c, Rules: []attest.Rule{{Name: "root_trusted", OK: true}}}, nil
		}}}
	}
	gpu := func(id string) *piece { return of(true, attest.Claims{TEE: attest.NVIDIAGPU, PlatformID: id}) }
	td := func(status string) *piece {
		return of(false, attest.Claims{TEE: attest.TDX, PlatformID: "1", TCB: attest.TCB{Overall: status}})
	}
	for name, tc := range map[string]struct {
		pieces []*piece
		failed []string
	}{
		"two devices":      {[]*piece{gpu("1"), gpu("2")}, nil},
		"one device twice": {[]*piece{gpu("1"), gpu("2"), gpu("1")}, []string{"device_3_distinct"}},
		"a nameless one":   {[]*piece{gpu("1"), gpu("")}, []string{"device_2_distinct"}},
		"a TEE":            {[]*piece{td("UpToDate"), td("UpToDate")}, nil},
		"an old TEE":       {[]*piece{gpu("1"), td("OutOfDate")}, []string{"device_2_tcb_status"}},
	} {
		var r attest.Result
		for _, p := range tc.pieces {
			join(&r, p, &Options{})
		}
		var failed []string
		for _, rule := range r.Rules {
			if !rule.OK {
				failed = append(failed, rule.Name)
			}
		}
		if !slices.Equal(failed, tc.failed) || len(r.Claims.Devices) != len(tc.pieces) {
			t.Errorf("%s: failed %v, %d devices", name, failed, len(r.Claims.Devices))
		}
	}
}

// TestJoinRoot: a root that was named for the TEE does not take the maker of its devices away.
func TestJoinRoot(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ device, pinned, named, ok bool }{
		"maker's device":   {device: true, pinned: true, ok: true},
		"device of a root": {device: true, named: true, ok: true},
		"false device":     {device: true},
		"maker's TEE":      {pinned: true},
		"TEE of a root":    {named: true, ok: true},
	} {
		p := &piece{format: &format{name: "device", device: tc.device, verify: func(_ []byte, o *Options) (*attest.Result, error) {
			rule := attest.Rule{Name: "root_trusted", OK: o.Root == nil && tc.pinned || o.Root != nil && tc.named}
			return &attest.Result{Claims: attest.Claims{TEE: attest.TPM, PlatformID: "1"}, Rules: []attest.Rule{rule}}, nil
		}}}
		var r attest.Result
		if join(&r, p, &Options{Root: new(x509.Certificate)}); r.OK() != tc.ok {
			t.Errorf("%s: %+v", name, r.Rules)
		}
	}
}
