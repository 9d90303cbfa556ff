package nvgpu

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"runtime"
	"strings"
	"testing"
)

func FuzzReport(f *testing.F) {
	m := newMaker(f)
	u, sw := m.gpu(1), m.nvswitch(2)
	f.Add(u.report())
	f.Add(append(sw.report(), 0))
	u.measurements, u.opaque = u.measurements[:1], nil
	f.Add(u.report())
	v := NewVerifier(m.options())
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := ParseReport(raw)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Fatal(err)
			}
			return
		}
		if !Recognise(raw) {
			t.Fatal("parsed, but not recognised")
		}
		if !bytes.Equal(append(bytes.Clone(r.Signed), r.Signature...), raw[:len(raw)-r.Trailing]) {
			t.Fatal("other bytes")
		}
		_, _ = r.facts(true), r.facts(false)
		if result, err := v.Verify(raw[:len(raw)-r.Trailing], now); err != nil || result.OK() {
			t.Fatalf("parsed, but: %v", err)
		}
	})
}

func FuzzContainer(f *testing.F) {
	m := newMaker(f)
	u := m.gpu(1)
	u.measurements = u.measurements[:1]
	f.Add(list(u))
	f.Add(list(u, u))
	f.Add(encode(u.member()))
	f.Add(append(u.report(), pemOf(u.chain...)...))
	f.Add(fmt.Appendf(nil, "%x\n%s", u.report(), pemOf(u.chain...)))
	f.Add([]byte(`{"evidence_list":[{"evidence":"EeAB/w=="}],"nonce":""}`))
	v := NewVerifier(m.options())
	f.Fuzz(func(t *testing.T, raw []byte) {
		devices, err := read(raw)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Fatal(err)
			}
			return
		}
		if !Recognise(raw) {
			t.Fatal("read, but not recognised")
		}
		r, err := v.Verify(raw, now)
		if err != nil || len(r.Claims.Devices) == 0 || len(r.Claims.Devices) > len(devices) {
			t.Fatalf("read, but: %v", err)
		}
	})
}

func FuzzRIM(f *testing.F) {
	m := newMaker(f)
	rim := m.vbiosRIM()
	rim.golden = rim.golden[:2]
	f.Add(rim.bytes())
	f.Add([]byte(rim.body(true) + rimFoot))
	f.Add([]byte(`<a xmlns="b" xmlns:c="d" c:e='f'><c:g>h</c:g></a>`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := parseXML(raw)
		if err != nil {
			return
		}
		form := canonical(e, nil)
		if len(form) <= MaxRIM {
			again, err := parseXML(form)
			if err != nil || !bytes.Equal(canonical(again, nil), form) {
				t.Fatalf("the canonical form is not stable: %v\n%q", err, form)
			}
		}
		if _, err := ParseRIM(raw); err != nil && !errors.Is(err, ErrRIM) {
			t.Fatal(err)
		}
		if sig, err := readSignature(e); err == nil {
			_ = sig.verify(e, m.rimChain[0])
		}
	})
}

// TestHostileInputsStaySmall must not run beside other tests: they would be counted too.
func TestHostileInputsStaySmall(t *testing.T) {
	m := newMaker(t)
	u := m.gpu(1)
	u.measurements = u.measurements[:1]
	wide := *u
	hostile := sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: now, NotAfter: now, Subject: m.root.Subject, DNSNames: strings.Split(strings.Repeat("a ", 480), " ")[:480],
	}, m.root, newKey(t, m.rootKey.Curve), m.rootKey)
	wide.chain = []*x509.Certificate{u.chain[0], u.chain[1], u.chain[2], hostile, m.root}
	if n := len(hostile.Raw); n > maxCertificate || n < maxCertificate-400 {
		t.Fatalf("the hostile certificate has %d bytes", n)
	}
	many := make([]*unit, MaxDevices)
	for i := range many {
		many[i] = &wide
	}
	long := `{"nonce":"` + strings.Repeat("a", MaxSize-100) + `"}`
	v := NewVerifier(m.options())
	judge := func(raw []byte) func() {
		return func() {
			if r, err := v.Verify(raw, now); err == nil && r.OK() {
				t.Error("accepted")
			}
		}
	}
	rim := func(text string) func() { return func() { newSignedRIM([]byte(text), v.roots, &v.memory) } }
	honest := m.driverRIM().bytes()
	for name, f := range map[string]func(){
		"hostile certificates":       judge(list(many...)),
		"a long string":              judge([]byte(long)),
		"members":                    judge([]byte("{" + strings.Repeat(`"uuid":"",`, MaxSize/10-1) + "}")),
		"brackets":                   judge(bytes.Repeat([]byte("["), MaxSize)),
		"hexadecimal":                judge([]byte(requestHeadHex + strings.Repeat("0", MaxSize-8))),
		"PEM without an end":         judge(append(u.report(), "-----BEGIN CERTIFICATE-----\n"+strings.Repeat("A", MaxSize-8000)...)),
		"line ends":                  judge(append(u.report(), strings.Repeat("\n", MaxSize-8000)...)),
		"measurements":               judge(append([]byte(requestHead), bytes.Repeat([]byte{1, 1, 4, 0}, MaxSize/8)...)),
		"XML elements":               rim("<a>" + strings.Repeat("<b/>", MaxRIM/4-2) + "</a>"),
		"XML attributes":             rim("<a>" + strings.Repeat(`<b`+strings.Repeat(` c=""`, maxAttributes)+`/>`, 190) + "</a>"),
		"XML attributes that differ": rim("<a>" + strings.Repeat(`<b`+attributes(80)+`/>`, 100) + "</a>"),
		"XML depth":                  rim(strings.Repeat("<a>", MaxRIM/3)),
		"XML namespaces":             rim("<a" + strings.ReplaceAll(attributes(90), " a", " xmlns:a") + ">" + strings.Repeat("<b/>", 900) + "</a>"),
		"XML line ends":              rim("<a>" + strings.Repeat("\r\n\r", MaxRIM/3-10) + "</a>"),
		"an honest RIM file":         rim(string(honest)),
		"RIM file with long texts":   rim(strings.Replace(string(honest), "\n    <ns0:Entity", strings.Repeat(" ", MaxRIM-len(honest))+"<ns0:Entity", 1)),
	} {
		f() // what is made once for all
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
			t.Errorf("%s: %d bytes allocated, at most 1 MiB is wanted", name, n)
		}
	}
}

func attributes(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, ` a%d="b"`, i)
	}
	return b.String()
}

func BenchmarkVerify(b *testing.B) {
	m := newMaker(b)
	raw := list(m.gpu(1))
	v := NewVerifier(m.options(m.driverRIM().bytes(), m.vbiosRIM().bytes()))
	b.ReportAllocs()
	for b.Loop() {
		if r, err := v.Verify(raw, now); err != nil || !r.OK() {
			b.Fatal("refused")
		}
	}
}
