package gramine_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/attest/collateral/collateraltest"
	"hitoku.dev/attest/dcap"
	"hitoku.dev/enclave"
	"hitoku.dev/enclave/enclavetest"
	"hitoku.dev/enclave/gramine"
	"hitoku.dev/enclave/gramine/graminetest"
)

var (
	now         = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	measurement = [32]byte{1, 2, 3}
	signer      = [32]byte{4, 5}
)

func open(t testing.TB, files gramine.Files) *gramine.TEE {
	t.Helper()
	tee, err := gramine.Open(files)
	if err != nil {
		t.Fatal(err)
	}
	return tee
}

func device(t testing.TB) *graminetest.Device {
	return graminetest.New(collateraltest.New(t, now).Platform("00906ed50000", dcap.CAPlatform), graminetest.Identity(measurement, signer), "own")
}

func TestConformance(t *testing.T) {
	t.Parallel()
	world := collateraltest.New(t, now)
	here, there := world.Platform("00906ed50000", dcap.CAPlatform), world.Platform("00606a000000", dcap.CAPlatform)
	verifiers := []*dcap.Verifier{
		dcap.NewVerifier(world.Root(), here.Collateral(attest.SGX), false), dcap.NewVerifier(world.Root(), there.Collateral(attest.SGX), false),
	}
	at := func(p *collateraltest.Platform) func(t testing.TB) enclave.TEE {
		return func(t testing.TB) enclave.TEE {
			return open(t, graminetest.New(p, graminetest.Identity(measurement, signer)))
		}
	}
	enclavetest.Run(t, enclavetest.Driver{
		Open:          at(here),
		OpenElsewhere: at(there),
		Verify: func(t testing.TB, quote []byte) *attest.Result {
			var last *attest.Result
			for _, v := range verifiers {
				r, err := v.Verify(quote, now)
				if err != nil {
					t.Fatal(err)
				}
				if last = r; !failed(r) {
					break
				}
			}
			return last
		},
		Measurement: measurement[:], Signer: signer[:], ProdID: 3, SVN: 4,
		Purposes: []attest.Purpose{attest.PurposeAppTLS, attest.PurposeATLS, attest.PurposeLedgerMember, attest.PurposeApp},
	})
}

func failed(r *attest.Result) bool {
	for _, rule := range r.Rules {
		if !rule.OK {
			return true
		}
	}
	return false
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		edit func(d *graminetest.Device)
		want string
	}{
		"direct mode": {func(d *graminetest.Device) { d.Type = "" }, "not in direct mode"},
		"unreadable": {func(d *graminetest.Device) {
			d.Fail = func(string) error { return syscall.EACCES }
		}, "permission denied"},
		"no report": {func(d *graminetest.Device) {
			d.Fail = func(name string) error {
				if name == "report" {
					return syscall.EACCES
				}
				return nil
			}
		}, "report: permission denied"},
		"no target": {func(d *graminetest.Device) {
			d.Fail = func(name string) error {
				if name == "target_info" {
					return syscall.EIO
				}
				return nil
			}
		}, "input/output error"},
	} {
		d := device(t)
		c.edit(d)
		_, err := gramine.Open(d)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, wanted %q", name, err, c.want)
		}
		if got := errors.Is(err, gramine.ErrNoDevice); got != (name == "direct mode") {
			t.Errorf("%s: ErrNoDevice %v", name, got)
		}
	}
}

func TestEvidenceRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		edit func(d *graminetest.Device)
		want string
	}{
		"no attestation":  {func(d *graminetest.Device) { d.Type = "none" }, `remote attestation "none"`},
		"EPID":            {func(d *graminetest.Device) { d.Type = "epid" }, `remote attestation "epid"`},
		"quoting service": {func(d *graminetest.Device) { d.Fail = failAt("quote", syscall.EACCES) }, "AESM"},
		"report data":     {func(d *graminetest.Device) { d.Fail = failAt("user_report_data", syscall.EIO) }, "input/output error"},
	} {
		d := device(t)
		c.edit(d)
		tee := open(t, d)
		if _, err := tee.Evidence(t.Context(), enclavetest.Binding(attest.PurposeApp)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, wanted %q", name, err, c.want)
		}
		tee.Close()
	}
}

func failAt(file string, err error) func(string) error {
	return func(name string) error {
		if name == file {
			return err
		}
		return nil
	}
}

// meddler changes what the device answers.
type meddler struct {
	*graminetest.Device
	edit func(name string, data []byte) []byte
}

func (m *meddler) Read(name string, limit int) ([]byte, error) {
	data, err := m.Device.Read(name, limit)
	return m.edit(name, data), err
}

// TestForeignAnswers: what is not about this enclave and this question is not passed on.
func TestForeignAnswers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		edit func(name string, data []byte) []byte
		want string
	}{
		"short quote":     {at("quote", func(b []byte) []byte { return b[:400] }), "400 bytes"},
		"another version": {at("quote", func(b []byte) []byte { b[0] = 4; return b }), "version 4"},
		"other data":      {at("quote", func(b []byte) []byte { b[48+320]++; return b }), "something else in this process"},
		"other enclave":   {at("quote", func(b []byte) []byte { b[48+64]++; return b }), "something else in this process"},
		"short key":       {at("keys/_sgx_mrenclave", func(b []byte) []byte { return b[:15] }), "15 bytes"},
		"short report":    {at("report", func(b []byte) []byte { return b[:431] }), "431 bytes"},
	} {
		tee, err := gramine.Open(&meddler{device(t), c.edit})
		if err == nil {
			_, err = tee.Evidence(t.Context(), enclavetest.Binding(attest.PurposeApp))
		}
		if err == nil {
			_, err = tee.SealKey(t.Context(), enclave.SealRequest{})
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, wanted %q", name, err, c.want)
		}
	}
}

func at(file string, edit func([]byte) []byte) func(string, []byte) []byte {
	return func(name string, data []byte) []byte {
		if name == file {
			return edit(bytes.Clone(data))
		}
		return data
	}
}

func TestSealing(t *testing.T) {
	t.Parallel()
	key := func(d *graminetest.Device, r enclave.SealRequest) string {
		t.Helper()
		k, err := open(t, d).SealKey(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		return string(k)
	}
	platform := collateraltest.New(t, now).Platform("00906ed50000", dcap.CAPlatform)
	base := graminetest.New(platform, graminetest.Identity(measurement, signer))
	vary := func(edit func(b *dcap.ReportBody)) *graminetest.Device {
		body := base.Body
		edit(&body)
		return graminetest.New(platform, body)
	}
	seen := map[string]string{}
	for name, d := range map[string]*graminetest.Device{
		"plain":    base,
		"debug":    vary(func(b *dcap.ReportBody) { b.Flags |= dcap.FlagDebug }),
		"firmware": vary(func(b *dcap.ReportBody) { b.CPUSVN[0]++ }),
		"version":  vary(func(b *dcap.ReportBody) { b.ISVSVN++ }),
		"product":  vary(func(b *dcap.ReportBody) { b.ISVProdID++ }),
	} {
		for _, r := range []enclave.SealRequest{{}, {BySigner: true}} {
			k := key(d, r)
			if other, ok := seen[k]; ok {
				t.Errorf("%s and %s have one key", name, other)
			}
			seen[k] = name
		}
	}
	other := vary(func(b *dcap.ReportBody) { b.MREnclave[0]++ })
	if key(base, enclave.SealRequest{BySigner: true}) != key(other, enclave.SealRequest{BySigner: true}) {
		t.Error("another program of the signer has another key of the signer")
	}
	if key(base, enclave.SealRequest{}) == key(other, enclave.SealRequest{}) {
		t.Error("another program has the same key")
	}
	none := vary(func(b *dcap.ReportBody) { b.ISVProdID = 0 })
	if _, err := open(t, none).SealKey(t.Context(), enclave.SealRequest{BySigner: true}); err == nil || !strings.Contains(err.Error(), "product id") {
		t.Errorf("key of the signer without a product id: %v", err)
	}
}

func TestDebugAndMeasurement(t *testing.T) {
	t.Parallel()
	d := device(t)
	d.Body.Flags |= dcap.FlagDebug
	if tee := open(t, d); !tee.Debug() || tee.Measurement() != measurement {
		t.Error(tee.Debug(), tee.Measurement())
	}
	if open(t, device(t)).Debug() {
		t.Error("a release enclave says debug")
	}
}

func TestSetKey(t *testing.T) {
	t.Parallel()
	d := device(t)
	d.Type = "" // direct mode has the keys too
	want := [gramine.KeySize]byte{7}
	if err := gramine.SetKey(d, "own", want); err != nil || !bytes.Equal(d.Key("own"), want[:]) {
		t.Error(err, d.Key("own"))
	}
	if err := gramine.SetKey(d, "other", want); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "no encrypted mount") {
		t.Error(err)
	}
	d.Fail = func(string) error { return syscall.EACCES }
	if err := gramine.SetKey(d, "own", want); !errors.Is(err, fs.ErrPermission) {
		t.Error(err)
	}
}

// TestSlowQuote: a caller that gives up does not disturb the next one.
func TestSlowQuote(t *testing.T) {
	t.Parallel()
	d := device(t)
	asked, gate := make(chan struct{}), make(chan struct{})
	first := true
	d.Fail = func(name string) error {
		if name == "user_report_data" && first {
			first = false
			close(asked)
			<-gate
		}
		return nil
	}
	tee := open(t, d)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	if _, err := tee.Evidence(ctx, enclavetest.Binding(attest.PurposeApp)); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	gaveUp, end := context.WithCancel(t.Context())
	end()
	if _, err := tee.Evidence(gaveUp, enclavetest.Binding(attest.PurposeApp)); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	close(gate)
	if _, err := tee.Evidence(t.Context(), enclavetest.Binding(attest.PurposeATLS)); err != nil {
		t.Fatal(err)
	}
	if tee.Close() != nil || !errors.Is(tee.Close(), gramine.ErrClosed) {
		t.Error("closed twice")
	}
}

func TestFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := filepath.Join(dir, "quote")
	if err := os.WriteFile(name, []byte("1234"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := gramine.Folder(dir)
	if b, err := f.Read("quote", 4); err != nil || string(b) != "1234" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := f.Read("quote", 3); err == nil || !strings.Contains(err.Error(), "more than 3") {
		t.Error(err)
	}
	if _, err := f.Read("none", 3); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if err := f.Write("none", nil); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if err := f.Write("quote", []byte("ab")); err != nil {
		t.Error(err)
	}
	if b, _ := os.ReadFile(name); string(b) != "ab34" { // the pseudo file replaces, a file does not
		t.Errorf("%q", b)
	}
}
