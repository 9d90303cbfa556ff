package dcap

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"hitoku.dev/attest"
)

func TestVerifyTDQuote(t *testing.T) {
	t.Parallel()
	w := newTDWorld(t)
	yes, no := true, false
	w.ext.Configuration = &PCKConfiguration{DynamicPlatform: &yes, CachedKeys: &yes, SMTEnabled: &no}
	w.ext.SGXType = SGXTypeScalable
	w.issue()
	for name, tc := range map[string]struct {
		quote  *Quote
		format string
	}{
		"v4":         {w.tdQuote(Version4, false), FormatTDX4},
		"v5 TDX 1.0": {w.tdQuote(Version5, false), FormatTDX5},
		"v5 TDX 1.5": {w.tdQuote(Version5, true), FormatTDX5},
	} {
		tc.quote.TD.TDAttributes |= TDPerfmon
		r, err := Verify(w.seal(tc.quote), Options{Root: w.root, Collateral: w.collateral(), At: now})
		if err != nil || !r.OK() {
			t.Fatalf("%s refused: %v %+v", name, err, r)
		}
		c := r.Claims
		if c.Format != tc.format || c.TEE != attest.TDX || c.Debug || c.Measurement[1] != 2 || len(c.Measurement) != 48 || c.Signer != nil || c.ReportData[0] != 42 ||
			c.TCB.Overall != UpToDate || c.TCB.Platform != UpToDate || c.TCB.Module != UpToDate || c.TCB.QE != UpToDate ||
			c.FMSPC != "00906ed50001" || c.PlatformID == "" || !c.CollateralDate.Equal(now.AddDate(0, 0, -1)) || c.TCBEvaluation != 20 {
			t.Errorf("%s: claims %+v", name, c)
		}
		wanted := []string{"mrconfigid", "mrowner", "mrownerconfig", "mrseam", "mrsignerseam", "mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3"}
		facts := map[string]string{
			"sept_ve_disable": "true", "migratable": "false", "pks": "false", "key_locker": "false", "lass": "false", "tpa": "false", "perfmon": "true",
			"td_attributes": "0000001000000080", "xfam": "e702060000000000", "tee_tcb_svn": "06010300000000000000000000000000",
			"sgx_type": "scalable", "dynamic_platform": "true", "cached_keys": "true", "smt_enabled": "false",
		}
		if tc.quote.TD.TDX15 {
			wanted = append(wanted, "mrservicetd")
			facts["tee_tcb_svn2"] = facts["tee_tcb_svn"]
		}
		slices.Sort(wanted)
		if got := slices.Sorted(maps.Keys(c.Measurements)); !slices.Equal(got, wanted) {
			t.Errorf("%s: measurements %v, wanted %v", name, got, wanted)
		}
		if got := c.Measurements["rtmr3"]; got != "0d"+strings.Repeat("0", 94) {
			t.Errorf("%s: RTMR3 %s", name, got)
		}
		if !maps.Equal(c.Facts, facts) {
			t.Errorf("%s: facts %v, wanted %v", name, c.Facts, facts)
		}
		if !slices.ContainsFunc(r.Rules, func(r attest.Rule) bool { return r.Name == "tdx_module" && r.Seen == "TDX_01, level of ISVSVN 6" }) {
			t.Errorf("%s: rules %+v", name, r.Rules)
		}
		if len(r.NotChecked) != 1 || !strings.HasPrefix(r.NotChecked[0], "event_log:") {
			t.Errorf("%s: not checked %v", name, r.NotChecked)
		}
	}
}

// TestTDXRefusals has one case for each way in which TDX differs from SGX.
func TestTDXRefusals(t *testing.T) {
	t.Parallel()
	noTCB := []string{"tcb_info_signature", "tcb_info_current", "tcb_info_match", "tdx_module", "tcb_level"}
	svn := func(b ...byte) func(w *world, q *Quote) {
		return func(_ *world, q *Quote) { q.TD.TEETCBSVN = [16]byte(append(b, make([]byte, 16-len(b))...)) }
	}
	broken := func(edit func(m map[string]any)) func(w *world, c *Collateral) {
		return func(w *world, c *Collateral) {
			m := w.tcbInfo()
			edit(m)
			c.TCBInfo = w.signJSON("tcbInfo", m)
		}
	}
	cases := map[string]struct {
		world          func(w *world)
		quote          func(w *world, q *Quote) // before signing
		coll           func(w *world, c *Collateral)
		failed         []string
		tcb            string
		module         string
		platformStatus string // when it is not that of overall
	}{
		"honest":                     {tcb: UpToDate, module: UpToDate},
		"module version 3":           {quote: svn(3, 3, 3), tcb: UpToDate, module: UpToDate},
		"module id in small letters": {world: func(w *world) { w.modules[1]["id"] = "tdx_01" }, tcb: UpToDate, module: UpToDate},
		"module version 0":           {quote: svn(6, 0, 3), tcb: UpToDate},
		"module version 0, lower":    {quote: svn(5, 0, 3), tcb: OutOfDate},
		"bytes 0 and 1 are the module's": {world: func(w *world) {
			w.levels[0] = tdLevel([16]byte{5, 5, 2}, 13, [16]byte{99, 99, 3}, UpToDate)
		}, tcb: UpToDate, module: UpToDate},
		"module out of date":    {quote: svn(5, 1, 3), tcb: OutOfDate, module: OutOfDate, platformStatus: UpToDate},
		"module revoked":        {quote: svn(2, 1, 3), tcb: Revoked, module: Revoked, platformStatus: UpToDate, failed: []string{"tcb_level"}},
		"module below all":      {quote: svn(1, 1, 3), tcb: NotSupported, module: NotSupported, platformStatus: UpToDate, failed: []string{"tcb_level"}},
		"module not named":      {quote: svn(6, 2, 3), tcb: NotSupported, module: NotSupported, platformStatus: UpToDate, failed: []string{"tdx_module", "tcb_level"}},
		"module of a stranger":  {quote: func(_ *world, q *Quote) { q.TD.MRSignerSEAM[5] = 1 }, tcb: NotSupported, module: NotSupported, platformStatus: UpToDate, failed: []string{"tdx_module", "tcb_level"}},
		"module in debug":       {quote: func(_ *world, q *Quote) { q.TD.SEAMAttributes = 1 }, tcb: NotSupported, module: NotSupported, platformStatus: UpToDate, failed: []string{"tdx_module", "tcb_level"}},
		"stranger of version 0": {quote: func(w *world, q *Quote) { svn(6, 0, 3)(w, q); q.TD.MRSignerSEAM[0] = 1 }, tcb: NotSupported, module: NotSupported, platformStatus: UpToDate, failed: []string{"tdx_module", "tcb_level"}},
		"attribute beyond the mask": {
			world:  func(w *world) { w.modules[1]["attributesMask"] = "0000000000000000" },
			quote:  func(_ *world, q *Quote) { q.TD.SEAMAttributes = 1 << 40 },
			failed: []string{"tdx_module", "tcb_level"}, tcb: NotSupported, module: NotSupported, platformStatus: UpToDate,
		},
		"platform out of date":            {quote: svn(6, 1, 2), tcb: OutOfDate, module: UpToDate},
		"microcode of the PCK is older":   {world: func(w *world) { w.ext.TCB.Components[1] = 4; w.issue() }, tcb: OutOfDate, module: UpToDate},
		"PCESVN of the PCK is older":      {world: func(w *world) { w.ext.TCB.PCESVN = 12; w.issue() }, tcb: OutOfDate, module: UpToDate},
		"last TDX component counts":       {world: func(w *world) { w.levels[0] = tdLevel([16]byte{}, 0, [16]byte{15: 1}, UpToDate) }, tcb: OutOfDate, module: UpToDate},
		"revoked level":                   {quote: svn(6, 1, 1), tcb: Revoked, module: UpToDate, failed: []string{"tcb_level"}},
		"no level":                        {world: func(w *world) { w.levels = w.levels[:2] }, quote: svn(6, 1, 1), tcb: NotSupported, module: UpToDate, failed: []string{"tcb_level"}},
		"no level for its microcode":      {world: func(w *world) { w.levels = w.levels[:2]; w.ext.TCB = PCKTCB{}; w.issue() }, tcb: NotSupported, module: UpToDate, failed: []string{"tcb_level"}},
		"QE out of date":                  {quote: func(_ *world, q *Quote) { q.QEReport.ISVSVN = 5 }, tcb: OutOfDate, module: UpToDate, platformStatus: UpToDate},
		"QE revoked":                      {quote: func(_ *world, q *Quote) { q.QEReport.ISVSVN = 2 }, tcb: Revoked, module: UpToDate, platformStatus: UpToDate, failed: []string{"tcb_level"}},
		"revoked module, QE not known":    {quote: func(w *world, q *Quote) { svn(2, 1, 3)(w, q); q.QEReport.ISVSVN = 1 }, tcb: Revoked, module: Revoked, platformStatus: UpToDate, failed: []string{"tcb_level"}},
		"platform and module out of date": {quote: svn(5, 1, 2), tcb: OutOfDate, module: OutOfDate},
		"configuration needed, module out of date": {
			world: func(w *world) { w.levels[0]["tcbStatus"] = ConfigurationAndSWHardeningNeeded },
			quote: svn(5, 1, 3), tcb: OutOfDateConfigurationNeeded, module: OutOfDate, platformStatus: ConfigurationAndSWHardeningNeeded,
		},
		"TCB info of SGX": {
			coll:   func(w *world, c *Collateral) { c.TCBInfo = newWorld(w.t).collateral().TCBInfo },
			failed: noTCB,
		},
		"genuine TCB info of SGX": {coll: func(w *world, c *Collateral) {
			m := w.tcbInfo()
			m["id"] = "SGX"
			c.TCBInfo = w.signJSON("tcbInfo", m)
		}, failed: []string{"tcb_info_match", "tdx_module", "tcb_level"}},
		"TCB info v2 called TDX":   {coll: broken(func(m map[string]any) { m["version"] = 2 }), failed: noTCB},
		"no tdxModule":             {coll: broken(func(m map[string]any) { delete(m, "tdxModule") }), failed: noTCB},
		"tdxModule with an id":     {coll: broken(func(m map[string]any) { m["tdxModule"] = tdModule("TDX_01") }), failed: noTCB},
		"no module identities":     {coll: broken(func(m map[string]any) { delete(m, "tdxModuleIdentities") }), failed: []string{"tdx_module", "tcb_level"}, tcb: NotSupported, module: NotSupported, platformStatus: UpToDate},
		"module without an id":     {coll: broken(func(m map[string]any) { m["tdxModuleIdentities"] = []any{tdModule("")} }), failed: noTCB},
		"module without levels":    {coll: broken(func(m map[string]any) { m["tdxModuleIdentities"] = []any{tdModule("TDX_01")} }), failed: noTCB},
		"module of unknown status": {coll: broken(func(m map[string]any) { m["tdxModuleIdentities"] = []any{tdModule("TDX_01", moduleLevel(1, "Fine"))} }), failed: noTCB},
		"module with a short MRSIGNER": {coll: broken(func(m map[string]any) {
			module := tdModule("TDX_01", moduleLevel(1, UpToDate))
			module["mrsigner"] = "00"
			m["tdxModuleIdentities"] = []any{module}
		}), failed: noTCB},
		"too many modules": {coll: broken(func(m map[string]any) {
			m["tdxModuleIdentities"] = slices.Repeat([]any{tdModule("TDX_01", moduleLevel(1, UpToDate))}, maxModules+1)
		}), failed: noTCB},
		"no TDX components": {coll: broken(func(m map[string]any) { m["tcbLevels"] = []any{level([16]byte{}, 0, UpToDate)} }), failed: noTCB},
		"component above 255": {coll: broken(func(m map[string]any) {
			l := tdLevel([16]byte{}, 0, [16]byte{}, UpToDate)
			l["tcb"].(map[string]any)["tdxtcbcomponents"].([]map[string]any)[3]["svn"] = 256
			m["tcbLevels"] = []any{l}
		}), failed: noTCB},
		"identity of the SGX QE": {coll: func(w *world, c *Collateral) {
			m := w.qeIdentity()
			m["id"] = "QE"
			c.QEIdentity = w.signJSON("enclaveIdentity", m)
		}, failed: []string{"qe_identity", "tcb_level"}, tcb: UpToDate, module: UpToDate},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTDWorld(t)
			if tc.world != nil {
				tc.world(w)
			}
			q := w.tdQuote(Version5, false)
			if tc.quote != nil {
				tc.quote(w, q)
			}
			raw, c := w.seal(q), w.collateral()
			if tc.coll != nil {
				tc.coll(w, c)
			}
			r, err := Verify(raw, Options{Root: w.root, Collateral: c, At: now})
			if err != nil {
				t.Fatal(err)
			}
			platform := tc.platformStatus
			if platform == "" {
				platform = tc.tcb
			}
			got := r.Claims.TCB
			if failed := failedNames(r.Rules); !slices.Equal(failed, tc.failed) || got.Overall != tc.tcb || got.Module != tc.module || got.Platform != platform {
				t.Errorf("failed %v, TCB %+v; wanted %v, %s, module %s, platform %s\n%+v", failed, got, tc.failed, tc.tcb, tc.module, platform, r.Rules)
			}
			// A part that has a level and is not up to date says of when that is.
			for part, status := range map[string]string{"tdx_module": got.Module, "qe": got.QE} {
				want := status != "" && status != UpToDate && status != NotSupported
				if _, err := time.Parse(time.DateOnly, r.Claims.Facts[part+"_tcb_date"]); (err == nil) != want {
					t.Errorf("%s is %s, its date %q", part, status, r.Claims.Facts[part+"_tcb_date"])
				}
			}
		})
	}
}

// TestGenuineCollateralOfTDX has collateral of TDX beside a quote of SGX.
func TestGenuineCollateralOfTDX(t *testing.T) {
	t.Parallel()
	w := newTDWorld(t)
	failed, _ := w.verify(w.seal(w.quote()), w.collateral())
	if !slices.Equal(failed, []string{"tcb_info_match", "qe_identity", "tcb_level"}) {
		t.Errorf("failed %v", failed)
	}
}

// TestEveryStatus makes each status of a level the platform's, for SGX and for TDX.
func TestEveryStatus(t *testing.T) {
	t.Parallel()
	for _, status := range []string{
		UpToDate, SWHardeningNeeded, ConfigurationNeeded, ConfigurationAndSWHardeningNeeded, OutOfDate, OutOfDateConfigurationNeeded, Revoked,
	} {
		for name, kind := range kinds {
			t.Run(status+"/"+name, func(t *testing.T) {
				t.Parallel()
				w, q := kind(t)
				w.levels[0]["tcbStatus"] = status
				r, err := Verify(w.seal(q), Options{Root: w.root, Collateral: w.collateral(), At: now})
				if err != nil || r.Claims.TCB.Overall != status || r.Claims.TCB.Platform != status || r.OK() != (status != Revoked) {
					t.Errorf("TCB %+v, rules %+v, error %v", r.Claims.TCB, r.Rules, err)
				}
			})
		}
	}
}

func TestDebugTD(t *testing.T) {
	t.Parallel()
	w := newTDWorld(t)
	for bit := range 64 {
		q := w.tdQuote(Version4, false)
		q.TD.TDAttributes = 1 << bit
		r, err := Verify(w.seal(q), Options{Root: w.root, Collateral: w.collateral(), At: now})
		if err != nil || r.Claims.Debug != (bit < 8) {
			t.Errorf("TD attribute %d: debug %v, %v", bit, r.Claims.Debug, err)
		}
	}
}

func TestAdvisoriesOfParts(t *testing.T) {
	t.Parallel()
	w := newTDWorld(t)
	w.qeLevels[0]["advisoryIDs"] = []string{"INTEL-SA-00009"}
	q := w.tdQuote(Version5, true)
	q.TD.TEETCBSVN = [16]byte{4, 1, 2}
	r, err := Verify(w.seal(q), Options{Root: w.root, Collateral: w.collateral(), At: now})
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Claims.TCB.Advisories; !slices.Equal(got, []string{"INTEL-SA-00001"}) {
		t.Errorf("advisories of the platform %v", got)
	}
	if m, qe := r.Claims.Facts["tdx_module_advisories"], r.Claims.Facts["qe_advisories"]; m != "INTEL-SA-00002 INTEL-SA-00003" || qe != "INTEL-SA-00009" {
		t.Errorf("advisories of the module %q, of the QE %q", m, qe)
	}
}
