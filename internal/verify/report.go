package verify

import (
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/attest/policy"
)

// What was judged.
const (
	KindServer      = "server"
	KindCertificate = "certificate"
	KindQuote       = "quote"
)

// Report is what `hitoku verify` prints.
type Report struct {
	Target           string
	Kind             string
	At               time.Time
	Verdict          attest.Verdict
	Claims           attest.Claims
	Binding          *attest.Binding     // nil for a bare quote
	Chain            []*x509.Certificate // leaf first; empty for a bare quote
	Image            string              // that was measured to compare with
	ImageMeasurement string
	Containers       []string // that the evidence was in, outermost first

	result attest.Result // what the policy judged
	policy policy.Policy // that judged it
}

// Accepted reports whether every rule held.
func (r *Report) Accepted() bool { return r.Verdict.Accepted }

// Err names the rules that failed; nil when the report accepts.
func (r *Report) Err() error {
	if r.Accepted() {
		return nil
	}
	var names []string
	for _, rule := range r.Verdict.Failed() {
		names = append(names, rule.Name)
	}
	return fmt.Errorf("%s refused: %s", r.Target, strings.Join(names, ", "))
}

type (
	tcbJSON struct {
		Overall    string   `json:"overall"`
		Platform   string   `json:"platform"`
		Module     string   `json:"module"`
		QE         string   `json:"qe"`
		Advisories []string `json:"advisories"`
		Date       string   `json:"date,omitempty"`
		Evaluation int      `json:"evaluation_data_number,omitempty"`
	}
	bindingJSON struct {
		Purpose     string `json:"purpose"`
		Subject     string `json:"subject"`
		Nonce       string `json:"nonce"`
		AccountRoot string `json:"account_root"`
		ConfigID    string `json:"config_id,omitempty"`
	}
	certificateJSON struct {
		Subject   string   `json:"subject"`
		Issuer    string   `json:"issuer"`
		Serial    string   `json:"serial"`
		NotBefore string   `json:"not_before"`
		NotAfter  string   `json:"not_after"`
		Names     []string `json:"names,omitempty"`
		SPKI      string   `json:"spki_sha256"`
	}
	ruleJSON struct {
		Name   string `json:"name"`
		Wanted string `json:"wanted"`
		Seen   string `json:"seen"`
		OK     bool   `json:"ok"`
		Advice string `json:"advice"`
	}
	deviceJSON struct {
		Format       string            `json:"format"`
		TEE          string            `json:"tee"`
		Debug        bool              `json:"debug"`
		PlatformID   string            `json:"platform_id,omitempty"`
		Nonce        string            `json:"nonce,omitempty"`
		Measurements map[string]string `json:"measurements"`
		Facts        map[string]string `json:"facts"`
	}
	reportJSON struct {
		Target           string            `json:"target"`
		Kind             string            `json:"kind"`
		At               string            `json:"at"`
		Format           string            `json:"format"`
		TEE              string            `json:"tee"`
		Containers       []string          `json:"containers"`
		Accepted         bool              `json:"accepted"`
		Simulated        bool              `json:"simulated"`
		Debug            bool              `json:"debug"`
		TCB              tcbJSON           `json:"tcb"`
		Measurement      string            `json:"measurement,omitempty"`
		MREnclave        string            `json:"mrenclave,omitempty"`
		MRSigner         string            `json:"mrsigner,omitempty"`
		ISVProdID        uint16            `json:"isv_prod_id"`
		ISVSVN           uint16            `json:"isv_svn"`
		Measurements     map[string]string `json:"measurements"`
		SVNs             map[string]uint64 `json:"svns"`
		Facts            map[string]string `json:"facts"`
		ReportData       string            `json:"report_data,omitempty"`
		Nonce            string            `json:"nonce,omitempty"`
		IssuedAt         string            `json:"issued_at,omitempty"`
		PlatformID       string            `json:"platform_id,omitempty"`
		FMSPC            string            `json:"fmspc,omitempty"`
		Image            string            `json:"image,omitempty"`
		ImageMeasurement string            `json:"image_measurement,omitempty"`
		Binding          *bindingJSON      `json:"binding,omitempty"`
		Certificates     []certificateJSON `json:"certificates,omitempty"`
		Devices          []deviceJSON      `json:"devices"`
		Rules            []ruleJSON        `json:"rules"`
		NotChecked       []string          `json:"not_checked"`
	}
)

// MarshalJSON returns the report in the form of `hitoku verify --json`.
func (r *Report) MarshalJSON() ([]byte, error) {
	c, v := &r.Claims, &r.Verdict
	out := reportJSON{
		Target: r.Target, Kind: r.Kind, At: r.At.UTC().Format(time.RFC3339),
		Format: v.Format, TEE: string(c.TEE), Containers: notNil(r.Containers), Accepted: v.Accepted, Simulated: v.Simulated, Debug: v.Debug,
		TCB: tcbJSON{
			Overall: v.TCB.Overall, Platform: v.TCB.Platform, Module: v.TCB.Module, QE: v.TCB.QE,
			Advisories: notNil(v.TCB.Advisories), Evaluation: c.TCBEvaluation,
		},
		Measurement: hex.EncodeToString(c.Measurement), MREnclave: c.Measurements["mrenclave"], MRSigner: c.Measurements["mrsigner"],
		ISVProdID: c.ProdID, ISVSVN: c.SVN, Measurements: notEmpty(v.Measurements), SVNs: notEmpty(c.SVNs), Facts: notEmpty(c.Facts),
		ReportData: hex.EncodeToString(c.ReportData), Nonce: hex.EncodeToString(c.Nonce), PlatformID: c.PlatformID, FMSPC: c.FMSPC,
		Image: r.Image, ImageMeasurement: r.ImageMeasurement,
		Devices: []deviceJSON{}, Rules: make([]ruleJSON, len(v.Rules)), NotChecked: notNil(v.NotChecked),
	}
	for i := range v.Rules {
		out.Rules[i] = ruleJSON(v.Rules[i])
	}
	for i := range c.Devices {
		d := &c.Devices[i]
		out.Devices = append(out.Devices, deviceJSON{
			Format: d.Format, TEE: string(d.TEE), Debug: d.Debug, PlatformID: d.PlatformID, Nonce: hex.EncodeToString(d.Nonce),
			Measurements: notEmpty(d.Measurements), Facts: notEmpty(d.Facts),
		})
	}
	if !c.IssuedAt.IsZero() {
		out.IssuedAt = c.IssuedAt.UTC().Format(time.RFC3339)
	}
	if !c.TCBDate.IsZero() {
		out.TCB.Date = c.TCBDate.UTC().Format(time.DateOnly)
	}
	if b := r.Binding; b != nil {
		out.Binding = &bindingJSON{string(b.Purpose), hex.EncodeToString(b.Subject[:]), hex.EncodeToString(b.Nonce), hex.EncodeToString(b.AccountRoot[:]), hex.EncodeToString(b.ConfigID)}
	}
	for _, cert := range r.Chain {
		spki := attest.SPKIHash(cert.RawSubjectPublicKeyInfo)
		j := certificateJSON{
			Subject: cert.Subject.String(), Issuer: cert.Issuer.String(), Serial: fmt.Sprintf("%x", cert.SerialNumber),
			NotBefore: cert.NotBefore.UTC().Format(time.RFC3339), NotAfter: cert.NotAfter.UTC().Format(time.RFC3339),
			Names: cert.DNSNames, SPKI: hex.EncodeToString(spki[:]),
		}
		for _, u := range cert.URIs {
			j.Names = append(j.Names, u.String())
		}
		out.Certificates = append(out.Certificates, j)
	}
	return json.Marshal(out)
}

func notNil(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func notEmpty[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return m
}
