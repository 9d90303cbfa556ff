package ear

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"hitoku.dev/attest"
)

// Options are what a result says about its making.
type Options struct {
	At       time.Time     // when the verdict was made
	Life     time.Duration // for how long it may be used; 0: the token does not say
	Verifier VerifierID
	// PolicyIDs name the policies that were applied, in order; may be empty.
	PolicyIDs []string
	// Nonce is what the evidence was wanted to answer; it is in the result when it has the 8 to 64
	// bytes that EAT allows.
	Nonce []byte
	// Named says that the policy named the program (by measurement, registers or signer), so that
	// an accepted verdict speaks for the executables too.
	Named bool
}

// FromVerdict returns the result that says what v says: one submodule named after
// the TEE ("tdx", "sgx" …), and one for each device beside it ("nvidia-gpu-1" …).
//
// An accepted verdict is affirming, or warning where the policy tolerated a TCB
// that is not UpToDate, debug mode or simulation; a refused one is contraindicated.
func FromVerdict(v *attest.Verdict, c *attest.Claims, o Options) *Result {
	r := &Result{Profile: Profile, IssuedAt: o.At.Unix(), Verifier: o.Verifier, Submods: make(map[string]Appraisal)}
	if o.Life > 0 {
		r.Expires = o.At.Add(o.Life).Unix()
	}
	vector := &Vector{
		InstanceIdentity: Approved, Configuration: configuration(v), Executables: executables(v, o.Named),
		Hardware: hardware(v), RuntimeOpaque: opaque(v, c),
	}
	if !v.Accepted {
		vector.InstanceIdentity = 0
	}
	if failedCryptography(v) {
		*vector = Vector{InstanceIdentity: CryptoValidation, Hardware: CryptoValidation}
	}
	a := Appraisal{Status: status(v, vector), Vector: vector, PolicyIDs: o.PolicyIDs, Verdict: summary(v, c)}
	if v.Accepted && len(o.Nonce) >= 8 && len(o.Nonce) <= 64 {
		a.Nonce = base64.RawURLEncoding.EncodeToString(o.Nonce)
	}
	name := string(c.TEE)
	if name == "" {
		name = "attester"
	}
	r.Submods[name] = a
	for i := range c.Devices {
		d := &c.Devices[i]
		vector := new(Vector)
		if v.Accepted {
			vector.InstanceIdentity, vector.Hardware = Approved, Approved
		}
		if d.Debug {
			vector.Configuration, vector.RuntimeOpaque = Untrustworthy, Untrustworthy
		}
		r.Submods[fmt.Sprintf("%s-%d", d.TEE, i+1)] = Appraisal{
			Status: status(v, vector), Vector: vector, PolicyIDs: o.PolicyIDs,
			Verdict: &Verdict{Format: d.Format, Accepted: v.Accepted, Debug: d.Debug, Simulated: d.Simulated, Measurements: d.Measurements},
		}
	}
	r.Status = r.Overall()
	return r
}

func summary(v *attest.Verdict, c *attest.Claims) *Verdict {
	s := &Verdict{
		Format: v.Format, Accepted: v.Accepted, TCB: v.TCB.Overall, Advisories: v.TCB.Advisories, Debug: v.Debug, Simulated: v.Simulated,
		Measurements: v.Measurements, ReportData: hex.EncodeToString(c.ReportData), Nonce: hex.EncodeToString(c.Nonce), NotChecked: v.NotChecked,
	}
	for _, f := range v.Failed() {
		s.Failed = append(s.Failed, f.Name)
	}
	return s
}

func failed(v *attest.Verdict, names ...string) bool {
	return slices.ContainsFunc(v.Rules, func(r attest.Rule) bool {
		return !r.OK && slices.ContainsFunc(names, func(n string) bool { return r.Name == n || strings.HasSuffix(n, "_") && strings.HasPrefix(r.Name, n) })
	})
}

// failedCryptography reports whether a signature, a chain or a root did not hold.
func failedCryptography(v *attest.Verdict) bool {
	return slices.ContainsFunc(v.Rules, func(r attest.Rule) bool {
		return !r.OK && (strings.HasSuffix(r.Name, "_signature") || strings.HasSuffix(r.Name, "_chain") || r.Name == "root_trusted" || r.Name == "evidence" || strings.HasSuffix(r.Name, "_format"))
	})
}

func configuration(v *attest.Verdict) Claim {
	if v.Debug || failed(v, "fact_", "config") {
		return Untrustworthy
	}
	return 0
}

func executables(v *attest.Verdict, named bool) Claim {
	switch {
	case failed(v, "measurement", "signer", "isv_svn", "isv_prod_id", "register_"):
		return NotRecognised
	case v.Accepted && named:
		return ApprovedBoot
	}
	return 0
}

func hardware(v *attest.Verdict) Claim {
	switch {
	case v.TCB.Overall == "Revoked":
		return Untrustworthy
	case v.TCB.Overall == "TCBNotSupported", v.Simulated:
		return UnknownHardware
	case failed(v, "tcb_"):
		return Untrustworthy
	case v.TCB.Overall != "" && v.TCB.Overall != "UpToDate":
		return KnownWeakness
	case v.Accepted:
		return Approved
	}
	return 0
}

// opaque says whether the machine's owner can read the program's memory. A TPM alone does not prevent it.
func opaque(v *attest.Verdict, c *attest.Claims) Claim {
	switch {
	case v.Debug:
		return Untrustworthy
	case c.TEE == attest.TPM || c.TEE == "" || v.Simulated || !v.Accepted:
		return 0
	}
	return Approved
}

// status is no better than the vector, and affirming or warning only for what was accepted.
func status(v *attest.Verdict, vector *Vector) Tier {
	worst := vector.Worst()
	switch {
	case !v.Accepted:
		return Contraindicated
	case worst.rank() <= Affirming.rank() || worst == None:
		return Affirming
	}
	return worst
}
