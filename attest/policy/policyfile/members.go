package policyfile

import (
	"fmt"
	"math"
	"slices"

	"go.yaml.in/yaml/v3"

	"hitoku.dev/attest"
	"hitoku.dev/attest/policy"
)

// Version of the file's form.
const Version = 1

// policy reads the outermost members.
func (r *reader) policy(n *yaml.Node, p *policy.Policy) {
	version := false
	r.members("", n, map[string]func(*yaml.Node){
		"version": func(n *yaml.Node) {
			version = true
			if v := r.integer("version", n, math.MaxUint16); v != Version {
				r.fail(n, "version: %d is not known; wanted %d", v, Version)
			}
		},
		"formats": func(n *yaml.Node) {
			p.Formats = r.words("formats", n, word, "a format, as `hitoku verify --json` prints it")
		},
		"tees": func(n *yaml.Node) { r.tees(n, p) },
		"measurements": func(n *yaml.Node) {
			if p.AnyMeasurement = n.Kind == yaml.ScalarNode && plain(n) && n.Value == "any"; !p.AnyMeasurement {
				p.Measurements = r.digests("measurements", n, 64)
			}
		},
		"registers": func(n *yaml.Node) { p.Registers = r.registers("registers", n) },
		"signers":   func(n *yaml.Node) { p.Signers = r.digests("signers", n, 64) },
		"product_id": func(n *yaml.Node) {
			v := uint16(r.integer("product_id", n, math.MaxUint16))
			p.ProdID = &v
		},
		"min_svn": func(n *yaml.Node) {
			v := uint16(r.integer("min_svn", n, math.MaxUint16))
			p.MinSVN = &v
		},
		"facts":              func(n *yaml.Node) { p.Facts = r.facts("facts", n) },
		"debug":              func(n *yaml.Node) { p.AllowDebug = r.boolean("debug", n) },
		"simulated":          func(n *yaml.Node) { p.AllowSimulated = r.boolean("simulated", n) },
		"tcb":                func(n *yaml.Node) { r.tcb(n, p) },
		"max_evidence_age":   func(n *yaml.Node) { p.MaxEvidenceAge = r.duration("max_evidence_age", n) },
		"max_collateral_age": func(n *yaml.Node) { p.MaxCollateralAge = r.duration("max_collateral_age", n) },
		"collateral_grace":   func(n *yaml.Node) { p.CollateralGrace = r.duration("collateral_grace", n) },
		"platforms": func(n *yaml.Node) {
			p.PlatformIDs = r.words("platforms", n, hexWord, "lower-case hexadecimal digits, as `platform_id` in `hitoku verify --json`")
		},
		"report_data": func(n *yaml.Node) { p.ReportData = r.digest("report_data", n, 512) },
		"nonce":       func(n *yaml.Node) { p.Nonce = r.digest("nonce", n, 512) },
		"gpus":        func(n *yaml.Node) { p.GPUs = r.devices("gpus", n) },
		"switches":    func(n *yaml.Node) { p.Switches = r.devices("switches", n) },
	})
	if !version && len(r.errs) == 0 {
		r.fail(n, "member \"version\" is missing; wanted version: %d", Version)
	}
}

func (r *reader) tees(n *yaml.Node, p *policy.Policy) {
	for _, s := range r.words("tees", n, word, "a kind of TEE") {
		if !slices.Contains(kinds(), attest.TEE(s)) {
			r.fail(n, "tees: %q is not known; wanted one of %s", s, fmt.Sprint(kinds()))
			continue
		}
		p.TEEs = append(p.TEEs, attest.TEE(s))
	}
}

func (r *reader) tcb(n *yaml.Node, p *policy.Policy) {
	r.members("tcb: ", n, map[string]func(*yaml.Node){
		"statuses": func(n *yaml.Node) {
			p.TCBStatuses = r.words("tcb.statuses", n, word, "a TCB status in the maker's words")
			for _, s := range p.TCBStatuses {
				if s == "Revoked" || s == "TCBNotSupported" {
					r.fail(n, "tcb.statuses: %s is never accepted", s)
				}
			}
		},
		"advisories": func(n *yaml.Node) {
			p.Advisories = r.words("tcb.advisories", n, word, "the id of an advisory, like INTEL-SA-00615")
		},
		"min_evaluation": func(n *yaml.Node) {
			p.MinTCBEvaluation = int(r.integer("tcb.min_evaluation", n, math.MaxInt32))
		},
		"min_date": func(n *yaml.Node) { p.MinTCBDate = r.date("tcb.min_date", n) },
		"min_svns": func(n *yaml.Node) { p.MinSVNs = r.svns("tcb.min_svns", n) },
	})
}

func (r *reader) devices(member string, n *yaml.Node) *policy.Devices {
	d := new(policy.Devices)
	r.members(member+": ", n, map[string]func(*yaml.Node){
		"min":       func(n *yaml.Node) { d.Min = int(r.integer(member+".min", n, maxList)) },
		"max":       func(n *yaml.Node) { d.Max = int(r.integer(member+".max", n, maxList)) },
		"registers": func(n *yaml.Node) { d.Registers = r.registers(member+".registers", n) },
		"facts":     func(n *yaml.Node) { d.Facts = r.facts(member+".facts", n) },
	})
	if d.Max > 0 && d.Max < d.Min {
		r.fail(n, "%s: max %d is below min %d", member, d.Max, d.Min)
	}
	return d
}
