package ear

import (
	"encoding/json"
	"fmt"
	"time"
)

// Profile is the EAT profile of a result (draft-ietf-rats-ear, section 3).
const Profile = "tag:ietf.org,2026:rats/ear#03"

// Tier is one of AR4SI's four tiers of trustworthiness.
type Tier string

// The tiers, from no statement to the worst.
const (
	None            Tier = "none"
	Affirming       Tier = "affirming"
	Warning         Tier = "warning"
	Contraindicated Tier = "contraindicated"
)

// rank orders tiers by trust; a tier that is not known has none.
func (t Tier) rank() int {
	switch t {
	case Affirming:
		return 1
	case None:
		return 2
	case Warning:
		return 3
	case Contraindicated:
		return 4
	}
	return 0
}

// Claim is one statement of a trustworthiness vector, from -128 to 127; 0 is no statement.
type Claim int8

// Claims of AR4SI (draft-ietf-rats-ar4si, section 2.3) that [FromVerdict] makes.
const (
	Approved         Claim = 2  // recognised, genuine, approved: the best value of each member
	ApprovedBoot     Claim = 3  // executables: what was loaded during boot is approved
	KnownWeakness    Claim = 32 // genuine, with published weaknesses
	NotRecognised    Claim = 33 // executables: not among the approved
	Untrustworthy    Claim = 96 // recognised, and not to be trusted
	UnknownHardware  Claim = 97
	CryptoValidation Claim = 99 // cryptographic validation has failed
)

// Tier returns the tier of a claim: -1, 0 and 1 say nothing, up to 31 affirms, up
// to 95 warns, beyond that contraindicates; negative values likewise.
func (c Claim) Tier() Tier {
	switch {
	case c >= -1 && c <= 1:
		return None
	case c >= -32 && c <= 31:
		return Affirming
	case c >= -96 && c <= 95:
		return Warning
	}
	return Contraindicated
}

// Vector is a trustworthiness vector. A member that is 0 makes no statement and is left out.
type Vector struct {
	InstanceIdentity Claim `json:"instance-identity,omitempty"`
	Configuration    Claim `json:"configuration,omitempty"`
	Executables      Claim `json:"executables,omitempty"`
	FileSystem       Claim `json:"file-system,omitempty"`
	Hardware         Claim `json:"hardware,omitempty"`
	RuntimeOpaque    Claim `json:"runtime-opaque,omitempty"`
	StorageOpaque    Claim `json:"storage-opaque,omitempty"`
	SourcedData      Claim `json:"sourced-data,omitempty"`
}

// Worst returns the tier of the worst statement in v; None where there is none.
func (v *Vector) Worst() Tier {
	worst := None
	stated := false
	for _, c := range []Claim{v.InstanceIdentity, v.Configuration, v.Executables, v.FileSystem, v.Hardware, v.RuntimeOpaque, v.StorageOpaque, v.SourcedData} {
		t := c.Tier()
		if t == None {
			continue
		}
		if !stated || t.rank() > worst.rank() {
			worst, stated = t, true
		}
	}
	return worst
}

// VerifierID names the verifier that made a result.
type VerifierID struct {
	Developer string `json:"developer"`
	Build     string `json:"build"`
}

// Appraisal is the result for one attester.
type Appraisal struct {
	Status    Tier     `json:"ear_status"`
	Vector    *Vector  `json:"ear_trustworthiness_vector,omitempty"`
	PolicyIDs []string `json:"ear_appraisal_policy_ids,omitempty"`
	Nonce     string   `json:"eat_nonce,omitempty"` // of the evidence, in base64url
	// Verdict is an extension of this project's; other readers ignore it.
	Verdict *Verdict `json:"https://hitoku.dev/ear/verdict,omitempty"`
}

// Verdict is what a verdict says beyond the tiers. The identity of the machine is not in it.
type Verdict struct {
	Format       string            `json:"format"`
	Accepted     bool              `json:"accepted"`
	TCB          string            `json:"tcb,omitempty"`
	Advisories   []string          `json:"advisories,omitempty"`
	Debug        bool              `json:"debug"`
	Simulated    bool              `json:"simulated"`
	Measurements map[string]string `json:"measurements,omitempty"`
	ReportData   string            `json:"report_data,omitempty"` // hexadecimal
	Nonce        string            `json:"nonce,omitempty"`       // of the evidence, hexadecimal
	Failed       []string          `json:"failed,omitempty"`      // names of rules
	NotChecked   []string          `json:"not_checked,omitempty"`
}

// Result is the content of a token.
type Result struct {
	Profile  string     `json:"eat_profile"`
	IssuedAt int64      `json:"iat"`           // seconds since 1970
	Expires  int64      `json:"exp,omitempty"` // seconds since 1970; 0 where it does not say
	Verifier VerifierID `json:"ear_verifier_id"`
	Status   Tier       `json:"ear_status,omitempty"` // over all submodules
	// Nonce is the relying party's, 8 to 64 bytes in base64url; it makes the result fresh, not the evidence.
	Nonce   string               `json:"eat_nonce,omitempty"`
	Submods map[string]Appraisal `json:"submods"`
}

// limits of a result.
const (
	maxToken   = 256 << 10
	maxSubmods = 64
)

// check wants the members that the draft makes mandatory, and a status that its vector bears out.
func (r *Result) check() error {
	switch {
	case r.Profile != Profile:
		return fmt.Errorf("eat_profile %.64q, wanted %q", r.Profile, Profile)
	case r.IssuedAt <= 0:
		return fmt.Errorf("iat %d, wanted seconds since 1970", r.IssuedAt)
	case r.Expires != 0 && r.Expires < r.IssuedAt:
		return fmt.Errorf("exp %d lies before iat %d", r.Expires, r.IssuedAt)
	case r.Verifier.Developer == "" || r.Verifier.Build == "":
		return fmt.Errorf("ear_verifier_id must name a developer and a build")
	case len(r.Submods) == 0 || len(r.Submods) > maxSubmods:
		return fmt.Errorf("%d submods, wanted 1 to %d", len(r.Submods), maxSubmods)
	case r.Nonce != "" && (len(r.Nonce) < 11 || len(r.Nonce) > 88):
		return fmt.Errorf("eat_nonce of %d characters, wanted base64 of 8 to 64 bytes", len(r.Nonce))
	case r.Status != "" && r.Status.rank() == 0:
		return fmt.Errorf("ear_status %.32q is not known", r.Status)
	}
	for name, a := range r.Submods {
		if a.Status.rank() == 0 {
			return fmt.Errorf("submod %.64q: ear_status %.32q is not known", name, a.Status)
		}
		if a.Vector == nil {
			continue
		}
		worst := a.Vector.Worst()
		if worst != None && a.Status.rank() < worst.rank() {
			return fmt.Errorf("submod %.64q: ear_status %q claims more than its vector, which is %q", name, a.Status, worst)
		}
	}
	if r.Status != "" && r.Status.rank() < r.Overall().rank() {
		return fmt.Errorf("ear_status %q claims more than the worst submod, which is %q", r.Status, r.Overall())
	}
	return nil
}

// Overall returns the worst status among the submodules.
func (r *Result) Overall() Tier {
	worst := Affirming
	for _, a := range r.Submods {
		if a.Status.rank() == 0 || a.Status.rank() > worst.rank() {
			worst = a.Status
		}
	}
	return worst
}

// Time returns the time at which the result was made.
func (r *Result) Time() time.Time { return time.Unix(r.IssuedAt, 0).UTC() }

// decode reads claims strictly: no member twice, dates as whole numbers.
func decode(payload []byte) (*Result, error) {
	if err := unique(payload); err != nil {
		return nil, err
	}
	r := new(Result)
	if err := json.Unmarshal(payload, r); err != nil {
		return nil, err
	}
	return r, r.check()
}
