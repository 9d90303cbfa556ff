package member_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/attest/collateral/collateraltest"
	"hitoku.dev/attest/dcap"
	"hitoku.dev/enclave/simtee/authority"
	"hitoku.dev/internal/ledger/member"
	"hitoku.dev/internal/ledger/member/membertest"
	"hitoku.dev/internal/ledger/wire"
	"hitoku.dev/internal/manager/issue/issuetest"
)

// state is what a case of the matrix may change.
type state struct {
	w        *membertest.World
	id       issuetest.Identity
	join     wire.Join
	joinTime uint64
	policy   wire.Policy
	t        uint64
}

func failedRules(v attest.Verdict) (names []string) {
	for _, r := range v.Failed() {
		names = append(names, r.Name)
	}
	return names
}

func TestAppraise(t *testing.T) {
	t.Parallel()
	edit := func(f func(s *state)) func(s *state) { return f }
	collateral := func(t testing.TB, s *state, f func(c *dcap.Collateral)) {
		c, err := member.ParseCollateral(s.join.Collateral)
		if err != nil {
			t.Fatal(err)
		}
		f(c)
		if s.join.Collateral, err = member.EncodeCollateral(c); err != nil {
			t.Fatal(err)
		}
	}
	strange := membertest.New(t, 99, start)
	for name, c := range map[string]struct {
		before func(w *membertest.World, id *issuetest.Identity) // the evidence is made
		after  func(s *state)
		want   string // rules that fail, in order; empty for none
	}{
		"good":                   {},
		"signer that may be any": {after: func(s *state) { s.policy.Programs[0].Signer = nil }},
		"second program": {after: func(s *state) {
			s.policy.Programs = slices.Insert(s.policy.Programs, 0, wire.Program{Measurement: make([]byte, 32)})
		}},
		"second line of a program": {after: func(s *state) {
			p := s.policy.Programs[0]
			p.Signer = make([]byte, 32)
			s.policy.Programs = slices.Insert(s.policy.Programs, 0, p)
		}},
		"second root":  {after: func(s *state) { s.policy.Roots = []wire.Hash{strange.Root(), s.w.Root()} }},
		"of age":       {after: func(s *state) { s.t = second + 7*day }},
		"JOIN after t": {after: func(s *state) { s.joinTime = second + 60 }},
		"another version allowed": {
			before: func(_ *membertest.World, id *issuetest.Identity) { id.SVN = 9 }, after: func(s *state) { s.policy.Programs[0].MinSVN = 9 },
		},
		"debug where it is allowed": {
			before: func(_ *membertest.World, id *issuetest.Identity) { id.Debug = true }, after: func(s *state) { s.policy.Flags |= wire.PolicyDebug },
		},
		"status where it is listed": {
			before: func(w *membertest.World, _ *issuetest.Identity) {
				setTCB(w, func(t *authority.TCB) { t.Status = "SWHardeningNeeded" })
			},
			after: func(s *state) { s.policy.TCBStatuses = append(s.policy.TCBStatuses, "SWHardeningNeeded") },
		},

		"other program":     {before: func(_ *membertest.World, id *issuetest.Identity) { id.Measurement[0]++ }, want: "measurement"},
		"no program":        {after: func(s *state) { s.policy.Programs = nil }, want: "measurement"},
		"empty measurement": {after: func(s *state) { s.policy.Programs = []wire.Program{{}} }, want: "measurement"},
		"other signer":      {before: func(_ *membertest.World, id *issuetest.Identity) { id.Signer[0]++ }, want: "signer"},
		"older version":     {before: func(_ *membertest.World, id *issuetest.Identity) { id.SVN = 3 }, want: "isv_svn"},
		"halves of two":     {after: func(s *state) { halves(s) }, want: "signer"},
		"debug":             {before: func(_ *membertest.World, id *issuetest.Identity) { id.Debug = true }, want: "debug"},
		"out of date": {before: func(w *membertest.World, _ *issuetest.Identity) {
			setTCB(w, func(t *authority.TCB) { t.Status = "OutOfDate" })
		}, want: "tcb_status"},
		"quoting enclave": {before: func(w *membertest.World, _ *issuetest.Identity) {
			setTCB(w, func(t *authority.TCB) { t.QEStatus = "OutOfDate" })
		}, want: "tcb_status"},
		"revoked, if listed": {before: func(w *membertest.World, _ *issuetest.Identity) {
			setTCB(w, func(t *authority.TCB) { t.Status = "Revoked" })
		}, after: func(s *state) { s.policy.TCBStatuses = []string{"Revoked"} }, want: "tcb_level tcb_status"},
		"no status listed": {after: func(s *state) { s.policy.TCBStatuses = nil }, want: "tcb_statuses"},
		"older evaluation": {after: func(s *state) { s.policy.MinEvaluation = 2 }, want: "tcb_evaluation"},
		"no evaluation":    {after: func(s *state) { s.policy.MinEvaluation = math.MaxUint32 }, want: "tcb_evaluation"},
		"too old":          {after: func(s *state) { s.t = second + 7*day + 1 }, want: "evidence_age"},
		"no age":           {after: func(s *state) { s.policy.EvidenceAge = 0; s.t++ }, want: "evidence_age"},
		"revoked platform": {
			after: func(s *state) {
				s.w.Authority.Revoke([16]byte{0xee, 15: 1}, start)
				s.join.Collateral = s.w.Collateral()
			}, want: "pck_revocation",
		},
		"other root":               {after: func(s *state) { s.policy.Roots = []wire.Hash{strange.Root()} }, want: "policy_root tcb_status tcb_evaluation"},
		"no root":                  {after: func(s *state) { s.policy.Roots = nil }, want: "policy_root tcb_status tcb_evaluation"},
		"simulated, not allowed":   {after: func(s *state) { s.policy.Flags = 0 }, want: "root_trusted"},
		"expired collateral":       {after: func(s *state) { s.t = second + 31*day; s.joinTime = s.t }, want: "pck_revocation root_crl tcb_info_current qe_identity_current"},
		"collateral of the future": {after: func(s *state) { s.t = second - day }, want: "root_trusted pck_chain pck_revocation root_crl tcb_info_signature tcb_info_current qe_identity_signature qe_identity_current"},
		"no collateral":            {after: func(s *state) { s.join.Collateral = nil }, want: "pck_revocation root_crl tcb_info_signature tcb_info_current tcb_info_match qe_identity_signature qe_identity_current qe_identity tcb_level tcb_status tcb_evaluation"},
		"no CRL":                   {after: edit(func(s *state) { collateral(t, s, func(c *dcap.Collateral) { c.PCKCRL = nil }) }), want: "pck_revocation"},
		"strange collateral":       {after: func(s *state) { s.join.Collateral = strange.Collateral() }, want: "pck_revocation root_crl …"},
		"unreadable collateral":    {after: func(s *state) { s.join.Collateral = append(s.join.Collateral, ' ') }, want: "pck_revocation …"},
		"no evidence":              {after: func(s *state) { s.join.Evidence = nil }, want: "evidence_format tee …"},
		"huge evidence":            {after: func(s *state) { s.join.Evidence = append(s.join.Evidence, make([]byte, member.MaxEvidence)...) }, want: "evidence_format tee …"},
		"changed evidence":         {after: func(s *state) { s.join.Evidence = flip(s.join.Evidence, 48+64) }, want: "quote_signature measurement"}, // MRENCLAVE
		"no binding":               {after: func(s *state) { s.join.Binding = nil }, want: "binding binding_format"},
		"other binding":            {after: func(s *state) { s.join.Binding = flip(s.join.Binding, 20) }, want: "binding"},
		"time beyond all times":    {after: func(s *state) { s.t = math.MaxUint64; s.joinTime = s.t }, want: "root_trusted …"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &state{w: membertest.New(t, 1, start), joinTime: second, t: second}
			s.id = s.w.Identity
			if c.before != nil {
				c.before(s.w, &s.id)
			}
			_, s.join, s.policy = join(t, s.w, s.id)
			if c.after != nil {
				c.after(s)
			}
			v := member.Judge(s.join, s.joinTime, s.policy, s.t)
			got := strings.Join(failedRules(v), " ")
			if wanted, open := strings.CutSuffix(c.want, "…"); got != c.want && !(open && strings.HasPrefix(got, wanted)) {
				t.Errorf("fails: %q\nwanted %q\n%v", got, c.want, v.Err())
			}
			err := member.Appraise(s.join, s.joinTime, s.policy, s.t)
			if (err == nil) != (c.want == "") || v.Accepted != (err == nil) {
				t.Errorf("Appraise: %v, accepted %v", err, v.Accepted)
			}
			if refused := new(attest.RefusedError); err != nil && (!errors.As(err, &refused) || !strings.Contains(err.Error(), "slot 3")) {
				t.Errorf("error %v", err)
			}
			for _, r := range v.Failed() {
				if r.Wanted == "" || r.Name == "" || r.Seen == "" {
					t.Errorf("rule %+v says too little", r)
				}
			}
		})
	}
}

func setTCB(w *membertest.World, f func(t *authority.TCB)) {
	t := w.Authority.TCB()
	f(&t)
	w.Authority.SetTCB(t)
}

// halves lists the measurement with another signer, and the signer with another measurement.
func halves(s *state) {
	p := s.policy.Programs[0]
	s.policy.Programs = []wire.Program{{Measurement: p.Measurement, Signer: make([]byte, 32)}, {Measurement: make([]byte, 32), Signer: p.Signer}}
}

func flip(b []byte, i int) []byte {
	b = bytes.Clone(b)
	b[i] ^= 1
	return b
}

// TestForeignPurpose: evidence for anything else is refused, however genuine.
func TestForeignPurpose(t *testing.T) {
	t.Parallel()
	w := membertest.New(t, 1, start)
	h, j, p := join(t, w, w.Identity)
	for _, purpose := range []attest.Purpose{attest.PurposeNode, attest.PurposeAppTLS, attest.PurposeATLS, attest.PurposeLedgerMember} {
		proof := w.Attester(1, w.Identity).Prove(&attest.Binding{Purpose: purpose, Subject: member.Subject(h, j), Nonce: h.AnchorChain[:]})
		j.Evidence, j.Binding = proof.Evidence, proof.Binding
		if got := failedRules(member.Judge(j, second, p, second)); !slices.Equal(got, []string{"purpose"}) {
			t.Errorf("%s: fails %v", purpose, got)
		}
		if err := member.CheckBinding(h, j); err == nil {
			t.Errorf("%s: taken as the binding", purpose)
		}
	}
}

// TestForgedRoot: a certificate with a listed key in it, which the key has not signed,
// is no root, wherever it stands.
func TestForgedRoot(t *testing.T) {
	t.Parallel()
	w := membertest.New(t, 1, start)
	_, j, p := join(t, w, w.Identity)
	strange := membertest.New(t, 2, start)
	quote := strange.Attester(1, w.Identity)
	other := quote.Prove(mustBinding(t, j.Binding))
	j.Evidence, j.Collateral = other.Evidence, other.Collateral
	forged := forgeRoot(t, w.Authority.Root())
	c, err := member.ParseCollateral(j.Collateral)
	if err != nil {
		t.Fatal(err)
	}
	c.PCKChain = forged
	if j.Collateral, err = member.EncodeCollateral(c); err != nil {
		t.Fatal(err)
	}
	v := member.Judge(j, second, p, second)
	if v.Accepted || !slices.Contains(failedRules(v), "policy_root") {
		t.Errorf("fails %v", failedRules(v))
	}
}

// TestIntelRoot: a policy may list Intel's root by its key alone.
func TestIntelRoot(t *testing.T) {
	t.Parallel()
	w := membertest.New(t, 1, start)
	_, j, p := join(t, w, w.Identity)
	p.Roots = []wire.Hash{attest.SPKIHash(dcap.IntelRoot().RawSubjectPublicKeyInfo)}
	p.Flags = 0
	v := member.Judge(j, second, p, second)
	for _, r := range v.Rules {
		if r.Name == "policy_root" && (!r.OK || !strings.Contains(r.Seen, "Intel")) {
			t.Errorf("%+v", r)
		}
		if r.Name == "root_trusted" && r.OK {
			t.Errorf("simulated evidence under Intel's root: %+v", r)
		}
	}
}

// TestOtherFormats: evidence that is no quote is refused by name.
func TestOtherFormats(t *testing.T) {
	t.Parallel()
	w := membertest.New(t, 1, start)
	_, j, p := join(t, w, w.Identity)
	for _, raw := range [][]byte{{}, []byte("{}"), make([]byte, 1184), []byte("-----BEGIN CERTIFICATE-----")} {
		j.Evidence = raw
		if got := failedRules(member.Judge(j, second, p, second)); len(got) == 0 || got[0] != "evidence_format" {
			t.Errorf("%.20q: fails %v", raw, got)
		}
	}
}

// TestTDX: a TD is named by all that says what runs in it.
func TestTDX(t *testing.T) {
	t.Parallel()
	w := collateraltest.New(t, start)
	platform := w.Platform("00806f050000", dcap.CAPlatform)
	quote := platform.Quote(attest.TDX)
	at := start
	result, err := dcap.Verify(quote, dcap.Options{Root: w.Root(), Collateral: platform.Collateral(attest.TDX), At: at})
	if err != nil {
		t.Fatal(err)
	}
	base := member.Measurement(&result.Claims)
	if len(base) != 32 || bytes.Equal(base, result.Claims.Measurement[:32]) {
		t.Fatalf("measurement %x", base)
	}
	for _, name := range []string{"mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "mrconfigid", "mrowner", "mrownerconfig"} {
		c := result.Claims
		c.Measurements = map[string]string{}
		for k, v := range result.Claims.Measurements {
			c.Measurements[k] = v
		}
		c.Measurements[name] = strings.Repeat("ab", 48)
		if bytes.Equal(member.Measurement(&c), base) {
			t.Errorf("%s does not change the measurement", name)
		}
	}
	if member.Measurement(&attest.Claims{TEE: attest.SEVSNP, Measurement: base}) != nil {
		t.Error("a measurement of another TEE")
	}
	raw, err := member.EncodeCollateral(platform.Collateral(attest.TDX))
	if err != nil {
		t.Fatal(err)
	}
	j := wire.Join{Evidence: quote, Collateral: raw}
	p := wire.Policy{
		Programs: []wire.Program{{Measurement: base}}, TCBStatuses: []string{"UpToDate"}, EvidenceAge: day,
		Roots: []wire.Hash{attest.SPKIHash(w.Root().RawSubjectPublicKeyInfo)},
	}
	now := uint64(at.Unix())
	if got := failedRules(member.Judge(j, now, p, now)); !slices.Equal(got, []string{"binding", "binding_format"}) {
		t.Errorf("fails %v", got)
	}
}

// TestDeterminism: the same arguments give the same verdict to the letter, in any order
// and from many goroutines.
func TestDeterminism(t *testing.T) {
	t.Parallel()
	w := membertest.New(t, 1, start)
	_, good, p := join(t, w, w.Identity)
	other := w.Identity
	other.Measurement[0]++
	_, bad, _ := join(t, w, other)
	expired := good
	expired.Collateral = nil
	joins := []wire.Join{good, bad, expired}
	show := func(i int) string {
		v := member.Judge(joins[i%3], second, p, second+uint64(i%3))
		return fmt.Sprint(v)
	}
	want := []string{show(0), show(1), show(2)}
	var group sync.WaitGroup
	for g := range max(4, runtime.GOMAXPROCS(0)) {
		group.Go(func() {
			for i := range 250 {
				n := (i*(g+1) + g) % 3
				if got := show(n); got != want[n] {
					t.Errorf("verdict %d: %s\nwanted %s", n, got, want[n])
					return
				}
			}
		})
	}
	group.Wait()
}

func TestNow(t *testing.T) {
	t.Parallel()
	w := membertest.New(t, 1, start)
	_, j, p := join(t, w, w.Identity)
	for name, c := range map[string]struct {
		joinTime uint64
		now      time.Time
		want     string
	}{
		"good":                 {second, start.Add(time.Hour), ""},
		"log a little ahead":   {second + 200, start, ""},
		"log ahead":            {second + 301, start, "set the clock"},
		"too old":              {second, start.Add(8 * day * time.Second), "evidence_age"},
		"clock before all":     {second, time.Unix(-5, 0), "set the clock"},
		"collateral ran out":   {second + 29*day, start.Add(31 * day * time.Second), "tcb_info_current"},
		"JOIN time of another": {second - 8*day, start, "evidence_age"},
	} {
		err := member.AppraiseNow(j, c.joinTime, p, c.now)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, wanted %q", name, err, c.want)
		}
	}
}

func BenchmarkAppraise(b *testing.B) {
	w := membertest.New(b, 1, start)
	_, j, p := join(b, w, w.Identity)
	for b.Loop() {
		if err := member.Appraise(j, second, p, second); err != nil {
			b.Fatal(err)
		}
	}
}
