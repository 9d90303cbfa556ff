package simtee

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"

	"hitoku.dev/attest"
	"hitoku.dev/attest/dcap"
	"hitoku.dev/enclave/simtee/authority"
	"hitoku.dev/enclave/simtee/internal/proto"
)

const (
	reportKeyLabel   = "hitoku/simtee/report-key/1"
	reportKeyIDLabel = "hitoku/simtee/report-key-id/1"
)

// targetInfo names the program that a REPORT is for: what its report key depends on.
type targetInfo struct {
	measurement   [32]byte
	attributes    [16]byte
	cetAttributes byte
	configSVN     [2]byte
	miscSelect    [4]byte
	configID      [64]byte
}

// parseTargetInfo reads the 512-byte TARGETINFO (Intel SDM vol. 3D, table
// 36-22). EREPORT refuses reserved bytes that are set, so this does.
func parseTargetInfo(b []byte) (targetInfo, error) {
	var t targetInfo
	if len(b) != proto.TargetInfoSize {
		return t, fmt.Errorf("%d bytes", len(b))
	}
	for _, reserved := range [][]byte{b[49:50], b[56:64], b[128:]} {
		if len(bytes.TrimLeft(reserved, "\x00")) != 0 {
			return t, errors.New("reserved bytes that are set")
		}
	}
	copy(t.measurement[:], b)
	copy(t.attributes[:], b[32:])
	t.cetAttributes = b[48]
	copy(t.configSVN[:], b[50:])
	copy(t.miscSelect[:], b[52:])
	copy(t.configID[:], b[64:])
	return t, nil
}

func (t *targetInfo) bytes() []byte {
	b := make([]byte, proto.TargetInfoSize)
	copy(b, t.measurement[:])
	copy(b[32:], t.attributes[:])
	b[48] = t.cetAttributes
	copy(b[50:], t.configSVN[:])
	copy(b[52:], t.miscSelect[:])
	copy(b[64:], t.configID[:])
	return b
}

// targetOf returns the TARGETINFO by which others reach the program of a report body.
func targetOf(r *dcap.ReportBody) targetInfo {
	raw := r.Bytes()
	t := targetInfo{measurement: r.MREnclave, cetAttributes: r.CETAttributes, configID: r.ConfigID}
	copy(t.attributes[:], raw[48:64])
	copy(t.miscSelect[:], raw[16:20])
	copy(t.configSVN[:], raw[260:262])
	return t
}

// TargetInfo returns the 512-byte TARGETINFO of the quoting enclave (Intel SDM
// vol. 3D, table 36-22).
func (p *Platform) TargetInfo() []byte {
	t := targetOf(&p.qe.report)
	return t.bytes()
}

// reportKey derives the key that MACs reports for a target, as EGETKEY does for
// the target itself (Intel SDM vol. 3D, EGETKEY, REPORT_KEY): HKDF-SHA256 of the
// platform's secret, with
//
//	LV(label, MRENCLAVE, ATTRIBUTES, CET attributes, CONFIGSVN, MISCSELECT, CONFIGID of the target, CPUSVN, key id)
//
// as info, each item as its length in four big-endian bytes followed by the item.
func (p *Platform) reportKey(t targetInfo, keyID []byte) ([16]byte, error) {
	cpuSVN := authority.CPUSVN()
	var info []byte
	for _, item := range [][]byte{
		[]byte(reportKeyLabel), t.measurement[:], t.attributes[:], {t.cetAttributes}, t.configSVN[:], t.miscSelect[:], t.configID[:], cpuSVN[:], keyID,
	} {
		info = binary.BigEndian.AppendUint32(info, uint32(len(item)))
		info = append(info, item...)
	}
	key, err := hkdf.Key(sha256.New, p.sealRoot[:], nil, string(info), 16)
	if err != nil {
		return [16]byte{}, fmt.Errorf("report key: %w", err)
	}
	return [16]byte(key), nil
}

// report makes the 432-byte REPORT of a body for a target (Intel SDM vol. 3D,
// table 36-21): body, KEYID, AES-CMAC of the body. The key id is the platform's,
// as a CPU keeps one from start to start; a report is as fresh as the nonce in it.
func (p *Platform) report(body *dcap.ReportBody, t targetInfo) ([]byte, error) {
	raw := body.Bytes()
	keyID := sha256.Sum256(append([]byte(reportKeyIDLabel), p.ppid[:]...))
	key, err := p.reportKey(t, keyID[:])
	if err != nil {
		return nil, err
	}
	mac := cmac(key, raw[:])
	return append(append(raw[:], keyID[:]...), mac[:]...), nil
}

// checkReport returns the body of a REPORT that was made on this platform for a target.
func (p *Platform) checkReport(report []byte, t targetInfo) (*dcap.ReportBody, error) {
	if len(report) != proto.ReportSize {
		return nil, &RefusedError{Rule: "report_format", Wanted: fmt.Sprintf("a REPORT of %d bytes", proto.ReportSize), Seen: fmt.Sprintf("%d bytes", len(report))}
	}
	key, err := p.reportKey(t, report[384:416])
	if err != nil {
		return nil, err
	}
	if mac := cmac(key, report[:384]); subtle.ConstantTimeCompare(mac[:], report[416:]) != 1 {
		return nil, &RefusedError{
			Rule: "report_mac", Wanted: fmt.Sprintf("a MAC of platform %s for the program that asks, %x", p.ID(), t.measurement),
			Seen:   fmt.Sprintf("%x", report[416:]),
			Advice: "ask for the report on this machine, for the TARGETINFO that its node agent gives, and send it unchanged",
		}
	}
	return dcap.ParseReportBody(report[:384])
}

// programReport is EREPORT for a measured program: a REPORT over b for a target.
func (p *Platform) programReport(id identity, target []byte, b *attest.Binding) ([]byte, error) {
	t, err := parseTargetInfo(target)
	if err != nil {
		return nil, &RefusedError{Rule: "target_info", Wanted: fmt.Sprintf("a TARGETINFO of %d bytes, reserved bytes zero", proto.TargetInfoSize), Seen: err.Error()}
	}
	return p.report(id.body(b.ReportData()), t)
}

// QuoteReport is what the quoting enclave does with a REPORT (432 bytes) that a
// program made for it: it checks the MAC and returns a quote of the same body.
// Errors are ErrNotProvisioned, or a *RefusedError with rule report_format or
// report_mac.
func (p *Platform) QuoteReport(report []byte) ([]byte, error) {
	body, err := p.checkReport(report, targetOf(&p.qe.report))
	if err != nil {
		return nil, err
	}
	return p.sign(body)
}

// AnswerReport returns the quoting enclave's own REPORT (432 bytes) for the
// program that made a given one, which it checks. Its report data are subject,
// usually a SHA-256, and 32 zero bytes; no quote ever has such an identity.
func (p *Platform) AnswerReport(report []byte, subject [32]byte) ([]byte, error) {
	body, err := p.checkReport(report, targetOf(&p.qe.report))
	if err != nil {
		return nil, err
	}
	own := p.qe.report
	own.ReportData = [64]byte{}
	copy(own.ReportData[:], subject[:])
	return p.report(&own, targetOf(body))
}
