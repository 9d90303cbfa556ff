// Package attest holds the words that every part of attestation shares: what a
// piece of evidence is bound to, the claims read from it, and the verdict that
// judges them rule by rule.
//
// The package knows no format, no signature and no network. attest/dcap and its
// siblings turn bytes into a [Result]; attest/policy turns a Result into a
// [Verdict]. Programs inside a TEE import this package, so it imports nothing
// outside the standard library and little inside it.
//
// What it does not promise: a Result or Claims value says nothing by itself.
// Only a Verdict with Accepted set, made from every Rule, may be acted upon.
package attest

import "time"

// Rule is one check of a verdict: what was wanted, what was seen, whether it
// held, and what to do when it did not.
type Rule struct {
	Name   string `json:"name"`   // stable identifier in snake case, for example "tcb_status"
	Wanted string `json:"wanted"` // the value or condition that the rule asks for
	Seen   string `json:"seen"`   // the value observed
	OK     bool   `json:"ok"`
	Advice string `json:"advice,omitempty"` // what a person can do about a failure
}

// TCB is the state of a platform's trusted computing base in the maker's own
// words: for Intel UpToDate, SWHardeningNeeded, ConfigurationNeeded,
// ConfigurationAndSWHardeningNeeded, OutOfDate, OutOfDateConfigurationNeeded,
// Revoked, RelaunchAdvised, RelaunchAdvisedConfigurationNeeded; and
// TCBNotSupported where no level matches.
type TCB struct {
	Overall    string   `json:"overall"`
	Platform   string   `json:"platform,omitempty"`
	Module     string   `json:"module,omitempty"`
	QE         string   `json:"qe,omitempty"`
	Advisories []string `json:"advisories,omitempty"`
}

// TEE is the kind of protected place, or of device, that made evidence.
type TEE string

// The kinds that the packages below attest know.
const (
	SGX       TEE = "sgx"
	TDX       TEE = "tdx"
	SEVSNP    TEE = "sev-snp"
	Nitro     TEE = "nitro"
	TPM       TEE = "tpm" // a TPM alone protects no memory: it proves what was booted
	NVIDIAGPU TEE = "nvidia-gpu"
)

// Claims is what evidence says about its attester once it is parsed. Digests
// are raw bytes as the hardware reports them.
type Claims struct {
	Format      string // "sgx-quote-v3", "tdx-quote-v4", "sev-snp-report", …
	TEE         TEE    // empty is judged as strictly as the strictest
	Measurement []byte // MRENCLAVE (32 bytes), MRTD (48 bytes), launch digest (48 bytes), PCR0 …
	Signer      []byte // MRSIGNER (32 bytes), empty where the TEE has none
	ProdID      uint16 // ISVPRODID
	SVN         uint16 // ISVSVN
	Debug       bool
	ReportData  []byte // 64 bytes (SGX, TDX, SNP); user data of Nitro, at most 512 bytes
	// Nonce is the challenge where the format has a member of its own for it: Nitro's nonce,
	// a TPM quote's extraData, an SPDM requester's 32 bytes. Nil elsewhere.
	Nonce      []byte
	PlatformID string // lower-case hexadecimal; stable for one machine (security S2); empty when unknown
	FMSPC      string // lower-case hexadecimal, 12 digits (Intel)
	CPUSVN     []byte // 16 bytes (Intel)
	TCB        TCB
	TCBDate    time.Time // date of the matching TCB level
	// SVNs are security version numbers by part, where the maker publishes no status for them:
	// SNP's reported bootloader, tee, snp, microcode and, on Turin, fmc.
	SVNs map[string]uint64
	// Facts are statements that follow from signed bytes, or from a log that replays to signed
	// registers, by stable names in snake case: "secure_boot": "enabled". Never taken from a log alone.
	Facts map[string]string
	// IssuedAt is when the evidence says that it was made; zero where it does not say.
	IssuedAt time.Time
	// CollateralDate is the oldest issue date among the collateral used; zero when there is none.
	CollateralDate time.Time
	// Devices are those whose evidence was verified beside this one, such as GPUs.
	Devices []Claims
	// TCBEvaluation is the lowest tcbEvaluationDataNumber among the collateral used.
	TCBEvaluation int
	// Measurements names every register of the TEE in lower-case hexadecimal, for people and for JSON.
	Measurements map[string]string
	// Simulated is set when the evidence leads to a simulated root.
	Simulated bool
}

// Result is what a format's verifier returns: the claims, and each check that
// was made on the way to them. It is not a judgement; see attest/policy.
type Result struct {
	Claims     Claims
	Rules      []Rule
	NotChecked []string // what a reader might expect to be checked and was not
}

// OK reports whether every rule held.
func (r *Result) OK() bool { return rulesOK(r.Rules) }

// Verdict is the judgement on a piece of evidence, every rule of it listed.
// Its JSON form is what `hitoku verify --json` prints.
type Verdict struct {
	Format       string            `json:"format"`
	Accepted     bool              `json:"accepted"`
	Rules        []Rule            `json:"rules"`
	TCB          TCB               `json:"tcb"`
	Debug        bool              `json:"debug"`
	Simulated    bool              `json:"simulated,omitempty"`
	Measurements map[string]string `json:"measurements"`
	PlatformID   string            `json:"platform_id,omitempty"`
	NotChecked   []string          `json:"not_checked"`
}

// Failed returns the rules that did not hold, in order.
func (v *Verdict) Failed() []Rule {
	var f []Rule
	for _, r := range v.Rules {
		if !r.OK {
			f = append(f, r)
		}
	}
	return f
}

// Err returns nil for an accepted verdict and a [*RefusedError] otherwise.
func (v *Verdict) Err() error {
	if v.Accepted {
		return nil
	}
	return &RefusedError{Rules: v.Failed()}
}

// RefusedError says which rules refused something, with all three of rule,
// wanted and seen for each.
type RefusedError struct {
	What  string // what was refused, for example "certificate for build 5f…"; may be empty
	Rules []Rule
}

func (e *RefusedError) Error() string {
	s := "refused"
	if e.What != "" {
		s = e.What + " refused"
	}
	for i, r := range e.Rules {
		sep := "; "
		if i == 0 {
			sep = ": "
		}
		s += sep + r.Name + ": wanted " + r.Wanted + ", seen " + r.Seen
		if r.Advice != "" {
			s += " (" + r.Advice + ")"
		}
	}
	return s
}

func rulesOK(rules []Rule) bool {
	for _, r := range rules {
		if !r.OK {
			return false
		}
	}
	return len(rules) > 0
}
