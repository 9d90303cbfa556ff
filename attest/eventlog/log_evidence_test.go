package eventlog

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"hitoku.dev/attest"
)

// rtmrsOf reads RTMR0 to 3 from the fixed place that they have in a TDX quote of version 4.
func rtmrsOf(quote []byte) Registers {
	r := Registers{Layout: RTMR, Alg: SHA384, Values: make(map[int][]byte)}
	for i := range 4 {
		off := 48 + 328 + 48*i
		r.Values[i+1] = bytes.Clone(quote[off : off+48])
	}
	return r
}

func claimsOf(r Registers) attest.Claims {
	c := attest.Claims{Format: "tdx-quote-v4", TEE: attest.TDX, Measurements: make(map[string]string)}
	for i, v := range r.Values {
		c.Measurements[fmt.Sprintf("rtmr%d", i-1)] = hex.EncodeToString(v)
	}
	return c
}

func TestEvidenceCCEL(t *testing.T) {
	t.Parallel()
	raw := readEvidence(t, "tdx/eventlog/gcp-cos-113/ccel_data.dat")
	signed := rtmrsOf(readEvidence(t, "tdx/eventlog/gcp-cos-113/cos-113-tdx-quote.dat"))
	l, err := Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	m, err := l.Match(signed)
	if err != nil {
		t.Fatal(err)
	}
	facts := m.Facts()
	for name, want := range map[string]string{
		FactSecureBoot: "disabled", FactExitBootServices: "succeeded", FactSeparators: "complete",
	} {
		if facts[name] != want {
			t.Errorf("%s is %q, wanted %q", name, facts[name], want)
		}
	}
	if facts[FactKernelCmdline] != "" {
		t.Error("a command line from RTMR2, where an event could be hidden as a file")
	}
	t.Log(m.Proved, m.Unexplained, facts)
	signed.Values[2][0] ^= 1
	if _, err := l.Facts(signed); err == nil {
		t.Error("a changed RTMR was accepted")
	}
}

func TestEvidenceDstack(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"quote-report": "3763bc34552cf3a27ff71ad5f7a90471562a1a2d", "tdx-lite-getquote": "86b0e55f2fa8e4fb69d890f14f54d5612707646e",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var file struct {
				Quote string `json:"quote"`
				Log   string `json:"event_log"`
			}
			if err := json.Unmarshal(readEvidence(t, "tdx/eventlog/dstack/"+name+".json"), &file); err != nil {
				t.Fatal(err)
			}
			quote, err := hex.DecodeString(file.Quote)
			if err != nil {
				t.Fatal(err)
			}
			l, err := Parse([]byte(file.Log))
			if err != nil {
				t.Fatal(err)
			}
			result := attest.Result{Claims: claimsOf(rtmrsOf(quote))}
			AppendTDX(&result, l, nil)
			if !result.OK() || result.Claims.Facts["dstack_app_id"] != want {
				t.Errorf("%+v", result)
			}
			t.Log(result.Claims.Facts, result.Rules, result.NotChecked)
		})
	}
}

func TestEvidenceTCGLogs(t *testing.T) {
	t.Parallel()
	for name, alg := range map[string]Alg{
		"tpm/tpm_eventlog.bin": SHA384, "tpm/eventlogs/arch-linux-workstation.bin": SHA256,
		"tpm/eventlogs/rhel8-uefi.bin": SHA384, "tpm/eventlogs/debian-10.bin": SHA1,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := Parse(readEvidence(t, name))
			if err != nil {
				t.Fatal(err)
			}
			facts, err := l.Facts(Registers{Alg: alg, Values: l.Replay(alg)}) // the registers of these machines are not known
			if err != nil {
				t.Fatal(err)
			}
			if want := map[string]string{"tpm/eventlogs/arch-linux-workstation.bin": "initrd=\\intel", "tpm/eventlogs/rhel8-uefi.bin": "(hd0,gpt2)/boot/vmlinuz"}[name]; !strings.HasPrefix(facts[FactKernelCmdline], want) || (want == "") != (facts[FactKernelCmdline] == "") {
				t.Errorf("command line %q", facts[FactKernelCmdline])
			}
			if (len(facts) > 0) != (alg != SHA1) {
				t.Errorf("facts %v", facts)
			}
			t.Log(l.Kind, l.Algs, facts)
		})
	}
}
