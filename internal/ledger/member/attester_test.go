package member_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/attest/dcap"
	"hitoku.dev/enclave"
	"hitoku.dev/enclave/app"
	"hitoku.dev/internal/ledger/member"
	"hitoku.dev/internal/ledger/member/membertest"
)

// fakeTEE gives evidence over what edit makes of the binding.
type fakeTEE struct {
	a    *membertest.Attester
	edit func(b *attest.Binding)
	key  []byte
}

func (f fakeTEE) Evidence(_ context.Context, b *attest.Binding) ([]byte, error) {
	c := *b
	if f.edit != nil {
		f.edit(&c)
	}
	return f.a.Prove(&c).Evidence, nil
}

func (f fakeTEE) SealKey(_ context.Context, r enclave.SealRequest) ([]byte, error) {
	if r.BySigner || r.SVN != 0 {
		return nil, errors.New("not bound to the measurement")
	}
	return append(f.key, r.KeyID[:]...), nil
}

func (fakeTEE) Close() error { return nil }

func TestFromTEE(t *testing.T) {
	t.Parallel()
	w := membertest.New(t, 1, start)
	good := func(context.Context, []byte) ([]byte, error) { return w.Collateral(), nil }
	for name, c := range map[string]struct {
		edit       func(b *attest.Binding)
		collateral member.CollateralFunc
		want       string
	}{
		"good":          {collateral: good},
		"no collateral": {},
		"lying TEE":     {edit: func(b *attest.Binding) { b.Subject[0]++ }, want: "report data"},
		"other purpose": {edit: func(b *attest.Binding) { b.Purpose = attest.PurposeATLS }, want: "report data"},
		"callback":      {collateral: func(context.Context, []byte) ([]byte, error) { return nil, errors.New("no network") }, want: "no network"},
		"garbage":       {collateral: func(context.Context, []byte) ([]byte, error) { return []byte("{}"), nil }, want: "canonical"},
	} {
		a := member.FromTEE(fakeTEE{w.Attester(1, w.Identity), c.edit, nil}, c.collateral)
		p, err := a.Evidence(t.Context(), [32]byte{1}, [32]byte{2})
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, wanted %q", name, err, c.want)
		}
		if c.edit != nil && !errors.Is(err, member.ErrProof) {
			t.Errorf("%s: %v is not ErrProof", name, err)
		}
		if err == nil && (len(p.Collateral) > 0) != (c.collateral != nil) {
			t.Errorf("%s: %d bytes of collateral", name, len(p.Collateral))
		}
	}
	key, err := member.FromTEE(fakeTEE{}, nil).SealKey(t.Context(), [32]byte{7})
	if err != nil || key[0] != 7 {
		t.Errorf("%x, %v", key, err)
	}
	if _, err := member.FromTEE(fakeTEE{key: []byte{1}}, nil).SealKey(t.Context(), [32]byte{7}); err == nil {
		t.Error("a key of 33 bytes")
	}
}

// guest answers like the guest of a converted image, over what edit makes of the binding.
func guest(t *testing.T, a *membertest.Attester, edit func(b *attest.Binding)) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "member-") // short: the path of a socket is limited
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	name := filepath.Join(dir, "s")
	l, err := net.Listen("unix", name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			line, _ := bufio.NewReader(conn).ReadBytes('\n')
			var r app.Request
			if json.Unmarshal(line, &r) == nil && r.Op == "evidence" {
				b := &attest.Binding{Purpose: attest.PurposeApp, Subject: [32]byte(r.User), Nonce: r.Nonce, AccountRoot: [32]byte{9}}
				if edit != nil {
					edit(b)
				}
				p := a.Prove(b)
				_ = json.NewEncoder(conn).Encode(map[string][]byte{"evidence": p.Evidence, "binding": p.Binding})
			}
			conn.Close()
		}
	}()
	return name
}

func TestFromApp(t *testing.T) {
	t.Parallel()
	w := membertest.New(t, 1, start)
	a := w.Attester(1, w.Identity)
	h, j, p := join(t, w, w.Identity)
	collateral := func(context.Context, []byte) ([]byte, error) { return w.Collateral(), nil }
	proof, err := member.FromApp(guest(t, a, nil), collateral).Evidence(t.Context(), member.Subject(h, j), h.AnchorChain)
	if err != nil {
		t.Fatal(err)
	}
	j.Evidence, j.Binding, j.Collateral = proof.Evidence, proof.Binding, proof.Collateral
	if err := errors.Join(member.CheckBinding(h, j), member.Appraise(j, second, p, second)); err != nil {
		t.Error(err)
	}
	for name, edit := range map[string]func(b *attest.Binding){
		"purpose": func(b *attest.Binding) { b.Purpose = attest.PurposeAppTLS },
		"subject": func(b *attest.Binding) { b.Subject[0]++ },
		"nonce":   func(b *attest.Binding) { b.Nonce = slices.Repeat([]byte{3}, 32) },
	} {
		_, err := member.FromApp(guest(t, a, edit), nil).Evidence(t.Context(), member.Subject(h, j), h.AnchorChain)
		if !errors.Is(err, member.ErrProof) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := member.FromApp(filepath.Join(t.TempDir(), "none"), nil).Evidence(t.Context(), [32]byte{}, [32]byte{}); err == nil {
		t.Error("no guest, no error")
	}
}

func TestCollateral(t *testing.T) {
	t.Parallel()
	w := membertest.New(t, 1, start)
	raw := w.Collateral()
	file := filepath.Join(t.TempDir(), "collateral.json")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	_, j, _ := join(t, w, w.Identity)
	now := func() time.Time { return start }
	if got, err := member.CollateralFile(file, now)(t.Context(), j.Evidence); err != nil || string(got) != string(raw) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if _, err := member.CollateralFile(file+"x", now)(t.Context(), j.Evidence); err == nil {
		t.Error("no file, no error")
	}
	c, err := member.ParseCollateral(raw)
	if err != nil {
		t.Fatal(err)
	}
	c.RootCRL = make([]byte, member.MaxCollateral)
	if _, err := member.EncodeCollateral(c); err == nil {
		t.Error("collateral that fits into no JOIN")
	}
	if c, err := member.ParseCollateral(nil); err != nil || c.TCBInfo != nil {
		t.Errorf("no collateral: %+v, %v", c, err)
	}
	text := string(raw)
	for name, bad := range map[string]string{
		"white space":      text + "\n",
		"more members":     strings.Replace(text, "{", `{"x":1,`, 1),
		"twice":            strings.Replace(text, "{", `{"root_crl":null,`, 1),
		"other case":       strings.Replace(text, "tcb_info", "TCB_INFO", 1),
		"fewer members":    `{"tcb_info":null}`,
		"empty chain":      strings.TrimSuffix(text, "}") + `,"pck_chain":""}`,
		"escaped":          strings.Replace(text, "tcb_info", `tcb\u005finfo`, 1),
		"not JSON":         "x",
		"array":            "[]",
		"null":             "null",
		"too long":         strings.Repeat(" ", member.MaxCollateral+1),
		"loose base64":     strings.Replace(text, `"tcb_info":"`, `"tcb_info":"\n`, 1),
		"without the last": text[:len(text)-1],
	} {
		if _, err := member.ParseCollateral([]byte(bad)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// TestHostileCollateralStaysSmall: reading the worst that fits costs little. It must not
// run beside other tests: they would be counted too.
func TestHostileCollateralStaysSmall(t *testing.T) {
	w := membertest.New(t, 1, start)
	_, j, p := join(t, w, w.Identity)
	forged := forgeRoot(t, w.Authority.Root())
	chain := slices.Repeat(forged, 60<<10/len(forged))
	encode := func(c *dcap.Collateral) []byte {
		raw, err := member.EncodeCollateral(c)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	for name, raw := range map[string][]byte{
		"nested":       []byte(strings.Repeat("[", member.MaxCollateral)),
		"members":      []byte("{" + strings.Repeat(`"":0,`, member.MaxCollateral/6)),
		"roots":        encode(&dcap.Collateral{PCKChain: chain}),
		"no PEM":       encode(&dcap.Collateral{TCBInfoChain: slices.Repeat([]byte("-----BEGIN "), 5000)}),
		"revocations":  encode(&dcap.Collateral{PCKCRL: slices.Repeat([]byte{0x30}, 60<<10)}),
		"TCB info":     encode(&dcap.Collateral{TCBInfo: []byte(`{"tcbInfo":` + strings.Repeat("[", 60<<10))}),
		"huge":         make([]byte, 1<<22),
		"all the same": encode(&dcap.Collateral{PCKChain: chain[:15<<10], TCBInfoChain: chain[:15<<10], QEIdentityChain: chain[:15<<10], PCKCRLChain: chain[:15<<10]}),
	} {
		j.Collateral = raw
		member.Judge(j, second, p, second) // what is made once for all
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		v := member.Judge(j, second, p, second)
		runtime.ReadMemStats(&after)
		if v.Accepted {
			t.Errorf("%s: accepted", name)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 2<<20 {
			t.Errorf("%s: %d bytes allocated, at most 2 MiB is wanted", name, n)
		}
	}
}
