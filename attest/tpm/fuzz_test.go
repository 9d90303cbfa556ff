package tpm

import (
	"bytes"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"hitoku.dev/attest/eventlog"
)

func FuzzVerify(f *testing.F) {
	_, e, o := certified(f)
	f.Add(e.protobuf())
	e.EventLog = []byte("Spec ID")
	f.Add(e.protobuf())
	a := newAzure(f)
	report := a.snp(nil)
	f.Add(a.json(map[string]any{"hcl_report": report, "vcek": a.vcek.Raw}))
	f.Add(a.json(map[string]any{"report": ints(report), "td_quote": []int{4, 0, 2}}))
	f.Add(report)
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := Verify(raw, o)
		if err == nil && !Recognise(raw) {
			t.Fatal("verified, but not recognised")
		}
		if err == nil && len(r.Rules) == 0 {
			t.Fatal("a result without rules")
		}
	})
}

func FuzzStructures(f *testing.F) {
	for _, w := range []*world{newWorld(f), newWorldOf(f, newRSA(f), tpm2.TPMAlgRSAPSS, tpm2.TPMAlgSHA384)} {
		q := w.quote(eventlog.SHA256, 0, 7)
		f.Add(q.Attest)
		f.Add(q.Signature)
		f.Add(w.public())
	}
	key := newWorld(f).ak.Public()
	f.Fuzz(func(t *testing.T, raw []byte) {
		if a, err := ParseAttest(raw); err == nil {
			_, _, _ = a.digest(eventlog.SHA256, PCRs{})
			_ = a.selected()
		}
		if s, err := ParseSignature(raw); err == nil {
			_ = s.Verify(key, raw)
			_ = s.String()
		}
		if p, err := ParsePublic(raw); err == nil {
			if p.Key == nil || len(p.Name) < 34 || !bytes.Equal(p.Name[:2], []byte{byte(p.NameAlg >> 8), byte(p.NameAlg)}) {
				t.Fatalf("a key without a name: %+v", p)
			}
		}
	})
}
