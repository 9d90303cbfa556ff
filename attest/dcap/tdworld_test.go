package dcap

import (
	"encoding/hex"
	"testing"
)

// newTDWorld is a world whose collateral is for TDX: modules of version 1 and 3,
// and a platform that is up to date.
func newTDWorld(t testing.TB) *world {
	w := newWorld(t)
	w.tdx = true
	w.levels = []map[string]any{
		tdLevel([16]byte{5, 5, 2}, 13, [16]byte{6, 0, 3}, UpToDate),
		tdLevel([16]byte{4, 4}, 10, [16]byte{5, 0, 2}, OutOfDate, "INTEL-SA-00001"),
		tdLevel([16]byte{}, 0, [16]byte{}, Revoked),
	}
	w.modules = []map[string]any{
		tdModule("TDX_03", moduleLevel(3, UpToDate)),
		tdModule("TDX_01", moduleLevel(6, UpToDate), moduleLevel(4, OutOfDate, "INTEL-SA-00002", "INTEL-SA-00003"), moduleLevel(2, Revoked)),
	}
	return w
}

func tdLevel(components [16]byte, pcesvn int, tdx [16]byte, status string, advisories ...string) map[string]any {
	l := level(components, pcesvn, status, advisories...)
	var list []map[string]any
	for _, c := range tdx {
		list = append(list, map[string]any{"svn": c, "category": "OS/VMM", "type": "TDX Module"})
	}
	l["tcb"].(map[string]any)["tdxtcbcomponents"] = list
	return l
}

func tdModule(id string, levels ...map[string]any) map[string]any {
	m := map[string]any{"mrsigner": hex.EncodeToString(make([]byte, 48)), "attributes": "0000000000000000", "attributesMask": "FFFFFFFFFFFFFFFF"}
	if id != "" {
		m["id"], m["tcbLevels"] = id, levels
	}
	return m
}

func moduleLevel(svn int, status string, advisories ...string) map[string]any {
	l := qeLevel(svn, status)
	l["advisoryIDs"] = advisories
	return l
}

// tdQuote makes an unsigned quote of a TD; seal signs it.
func (w *world) tdQuote(version uint16, tdx15 bool) *Quote {
	q := w.quote()
	q.Header.Version, q.Header.TEEType, q.Report = version, TEETypeTDX, ReportBody{}
	q.TD = &TDReport{
		TEETCBSVN: [16]byte{6, 1, 3}, MRSEAM: [48]byte{7}, TDAttributes: TDSEPTVEDisable, XFAM: 0x602e7,
		MRTD: [48]byte{1, 2, 3}, MRConfigID: [48]byte{4}, MROwner: [48]byte{5}, MROwnerConfig: [48]byte{6},
		RTMR: [4][48]byte{{10}, {11}, {12}, {13}}, ReportData: [64]byte{42}, TDX15: tdx15,
	}
	if tdx15 {
		q.TD.TEETCBSVN2, q.TD.MRServiceTD = q.TD.TEETCBSVN, [48]byte{8}
	}
	return q
}

// kinds are all kinds of quotes, with the world that each needs.
var kinds = map[string]func(t testing.TB) (*world, *Quote){
	"SGX v3": func(t testing.TB) (*world, *Quote) { w := newWorld(t); return w, w.quote() },
	"SGX v4": func(t testing.TB) (*world, *Quote) {
		w := newWorld(t)
		q := w.quote()
		q.Header.Version = Version4
		return w, q
	},
	"SGX v5": func(t testing.TB) (*world, *Quote) {
		w := newWorld(t)
		q := w.quote()
		q.Header.Version = Version5
		return w, q
	},
	"TDX v4":     func(t testing.TB) (*world, *Quote) { w := newTDWorld(t); return w, w.tdQuote(Version4, false) },
	"TDX v5 1.0": func(t testing.TB) (*world, *Quote) { w := newTDWorld(t); return w, w.tdQuote(Version5, false) },
	"TDX v5 1.5": func(t testing.TB) (*world, *Quote) { w := newTDWorld(t); return w, w.tdQuote(Version5, true) },
}
