package policyfile

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"hitoku.dev/attest/policy"
)

// Marshal returns the file of a closed policy, with comment above it line by
// line. Binding and At, which belong to one judgement, are not part of a file.
func Marshal(p *policy.Policy, comment ...string) ([]byte, error) {
	if !p.Closed {
		return nil, errors.New("policy: only a closed policy can be a file")
	}
	var w writer
	w.put("version", Version)
	w.list("formats", p.Formats)
	var tees []string
	for _, t := range p.TEEs {
		tees = append(tees, string(t))
	}
	w.list("tees", tees)
	w.list("measurements", texts(p.Measurements))
	if p.AnyMeasurement {
		w.put("measurements", "any")
	}
	w.registers(p.Registers)
	w.list("signers", texts(p.Signers))
	if p.ProdID != nil {
		w.put("product_id", int(*p.ProdID))
	}
	if p.MinSVN != nil {
		w.put("min_svn", int(*p.MinSVN))
	}
	w.facts(p.Facts)
	if p.AllowDebug {
		w.put("debug", true)
	}
	if p.AllowSimulated {
		w.put("simulated", true)
	}
	w.nested("tcb", func(w *writer) {
		w.list("statuses", p.TCBStatuses)
		w.list("advisories", p.Advisories)
		if p.MinTCBEvaluation > 0 {
			w.put("min_evaluation", p.MinTCBEvaluation)
		}
		if !p.MinTCBDate.IsZero() {
			w.put("min_date", p.MinTCBDate.UTC().Format(time.DateOnly))
		}
		w.nested("min_svns", func(w *writer) {
			for _, part := range slices.Sorted(maps.Keys(p.MinSVNs)) {
				w.put(part, p.MinSVNs[part])
			}
		})
	})
	w.duration("max_evidence_age", p.MaxEvidenceAge)
	w.duration("max_collateral_age", p.MaxCollateralAge)
	w.duration("collateral_grace", p.CollateralGrace)
	w.list("platforms", p.PlatformIDs)
	w.bytes("report_data", p.ReportData)
	w.bytes("nonce", p.Nonce)
	w.devices("gpus", p.GPUs)
	w.devices("switches", p.Switches)
	if w.err != nil {
		return nil, fmt.Errorf("policy: %w", w.err)
	}
	var out bytes.Buffer
	for _, line := range comment {
		out.WriteString("# " + strings.Map(oneLine, line) + "\n")
	}
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := errors.Join(enc.Encode(&yaml.Node{Kind: yaml.MappingNode, Content: w.content}), enc.Close()); err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	// What cannot be read back must not be written.
	if _, err := Parse(out.Bytes()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// oneLine keeps a comment on its line and a terminal untouched.
func oneLine(c rune) rune {
	if c < ' ' || c == 0x7f || c >= 0x80 && c < 0xa0 || c == 0x2028 || c == 0x2029 {
		return ' '
	}
	return c
}

// writer collects the members of one mapping in order.
type writer struct {
	content []*yaml.Node
	err     error
}

func (w *writer) put(name string, value any) {
	var n yaml.Node
	if err := n.Encode(value); err != nil && w.err == nil {
		w.err = err
	}
	w.content = append(w.content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: name}, &n)
}

func (w *writer) list(name string, values []string) {
	if len(values) > 0 {
		w.put(name, values)
	}
}

func (w *writer) bytes(name string, value []byte) {
	if len(value) > 0 {
		w.put(name, hex.EncodeToString(value))
	}
}

func (w *writer) duration(name string, d time.Duration) {
	if d > 0 {
		w.put(name, d.String())
	}
}

func (w *writer) nested(name string, fill func(w *writer)) {
	var inner writer
	fill(&inner)
	if inner.err != nil && w.err == nil {
		w.err = inner.err
	}
	if len(inner.content) > 0 {
		w.content = append(w.content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: name}, &yaml.Node{Kind: yaml.MappingNode, Content: inner.content})
	}
}

func (w *writer) devices(name string, d *policy.Devices) {
	if d == nil {
		return
	}
	w.nested(name, func(w *writer) {
		w.put("min", d.Min)
		if d.Max > 0 {
			w.put("max", d.Max)
		}
		w.registers(d.Registers)
		w.facts(d.Facts)
	})
}

func (w *writer) registers(m map[string][][]byte) {
	w.nested("registers", func(w *writer) {
		for _, name := range slices.Sorted(maps.Keys(m)) {
			w.list(name, texts(m[name]))
		}
	})
}

func (w *writer) facts(m map[string][]string) {
	w.nested("facts", func(w *writer) {
		for _, name := range slices.Sorted(maps.Keys(m)) {
			w.list(name, m[name])
		}
	})
}

func texts(list [][]byte) []string {
	var out []string
	for _, b := range list {
		out = append(out, hex.EncodeToString(b))
	}
	return out
}
