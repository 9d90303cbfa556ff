package nvgpu

import (
	"crypto/x509"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/attest/internal/p384"
	"hitoku.dev/internal/evidencetest"
)

// evidenceDir returns the folder of real evidence, or skips the test and says what is missing.
func evidenceDir(t testing.TB) string {
	t.Helper()
	return evidencetest.Dir(t, "other-evidence.json")
}

func readFile(t testing.TB, names ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(names...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// realTime is when the real evidence is judged: its certificates are valid to the end of 9999.
var realTime = time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)

// TestRealEvidence gives every JSON file of NVIDIA the outcome that the index states:
// all are authentic. What the index calls four switches of multi_switch_ls10.json is
// one switch four times.
func TestRealEvidence(t *testing.T) {
	t.Parallel()
	dir := evidenceDir(t)
	var items []struct {
		File string `json:"file"`
	}
	if err := json.Unmarshal(readFile(t, dir, "other-evidence.json"), &items); err != nil {
		t.Fatal(err)
	}
	devices := map[string]int{
		"hopper_evidence.json": 1, "hopper_evidence_cert_hold.json": 1, "multi_gpu_hopper.json": 4, "multi_switch_ls10.json": 1,
		"switch_evidence_ls10.json": 1, "ppcie_gpu_evidence.json": 8, "ppcie_switch_evidence.json": 4,
	}
	count := 0
	for _, item := range items {
		if !strings.HasPrefix(item.File, "nvidia-gpu/") || !strings.HasSuffix(item.File, ".json") {
			continue
		}
		count++
		t.Run(item.File, func(t *testing.T) {
			t.Parallel()
			raw := readFile(t, dir, item.File)
			r, err := Verify(raw, Options{At: realTime})
			if err != nil || !r.OK() || !Recognise(raw) {
				t.Fatalf("refused: %v %v", err, failed(r))
			}
			c := r.Claims
			if len(c.Devices) != devices[filepath.Base(item.File)] || len(c.Nonce) != 32 {
				t.Errorf("%d devices, nonce %x", len(c.Devices), c.Nonce)
			}
			for _, d := range c.Devices {
				isSwitch := strings.Contains(item.File, "switch")
				if d.PlatformID == "" || len(d.Measurement) != 48 || (d.TEE == Switch) != isSwitch || (d.TEE == attest.NVIDIAGPU) == isSwitch || d.Facts["vbios_version"] == "" {
					t.Errorf("device %s %s %v", d.TEE, d.PlatformID, d.Facts)
				}
			}
			if r, err := Verify(raw, Options{At: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)}); err != nil || r.OK() {
				t.Errorf("before the certificates: %v", err)
			}
		})
	}
	if count != len(devices) {
		t.Errorf("%d files in the index, wanted %d", count, len(devices))
	}
}

func TestRealEvidenceFlipped(t *testing.T) {
	t.Parallel()
	dir := evidenceDir(t)
	if testing.Short() {
		t.Skip("evidence is flipped byte by byte only without -short")
	}
	flipEveryByte(t, NewVerifier(Options{}), readFile(t, dir, "nvidia-gpu", "switch_evidence_ls10.json"))
}

// TestRealLocalVerifier reads the sample set of NVIDIA's local verifier. Its RIM files
// are authentic, and are of another driver and VBIOS than the report.
func TestRealLocalVerifier(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(evidenceDir(t), "nvidia-gpu", "local_verifier")
	report, chain := readFile(t, dir, "hopperAttestationReport.txt"), readFile(t, dir, "hopperCertChain.txt")
	if r, err := Verify(report, Options{At: realTime, Chain: chain}); err != nil || !r.OK() || r.Claims.Facts["driver_version"] != "550.90.07" {
		t.Errorf("refused: %v", err)
	}
	if r, err := Verify(append(slices.Clone(report), chain...), Options{At: realTime}); err != nil || !r.OK() {
		t.Errorf("refused: %v", err)
	}
	var rims [][]byte
	var memory p384.Memory
	for _, name := range []string{"Driver_RIM_test_no_gpu.swidtag", "1010_0200_882_96005E0001_test_no_gpu.swidtag", "1010_0200_882_96005E0001_PROD.swidtag", "g520_0200_885_9600740001_PROD.swidtag"} {
		raw := readFile(t, dir, name)
		rims = append(rims, raw)
		s := newSignedRIM(raw, []*x509.Certificate{RIMRoot()}, &memory)
		if s.err != nil || s.rim.Product != "GH100" || len(s.rim.Golden) != 64 {
			t.Errorf("%s: %v", name, s.err)
		}
		for i := 0; i < len(raw) && !testing.Short(); i += 17 {
			raw := slices.Clone(raw)
			raw[i] ^= 1 << (i % 8)
			if newSignedRIM(raw, []*x509.Certificate{RIMRoot()}, &memory).err == nil {
				t.Errorf("%s: byte %d changed, accepted", name, i)
			}
		}
	}
	r, err := Verify(report, Options{At: time.Date(2024, 6, 1, 0, 0, 0, 0, time.UTC), Chain: chain, RIMs: rims})
	if err != nil || !slices.Equal(failed(r), []string{"driver_rim", "vbios_rim", "measurements"}) {
		t.Errorf("RIM files of other versions: %v %v", err, failed(r))
	}
}
