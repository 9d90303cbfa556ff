package dcap

import "testing"

// TestRelaunch has the cases in which Intel's quote verification library advises
// to launch a TD again, and their neighbours in which it does not.
func TestRelaunch(t *testing.T) {
	t.Parallel()
	newest := [16]byte{6, 1, 3}
	cases := map[string]struct {
		status string // of the newest level
		svn    [16]byte
		svn2   [16]byte
		world  func(w *world)
		qe     uint16
		tdx10  bool
		want   string
	}{
		"nothing to do":                     {svn: newest, svn2: newest, want: UpToDate},
		"module updated":                    {svn: [16]byte{4, 1, 3}, svn2: newest, want: RelaunchAdvised},
		"module not updated":                {svn: [16]byte{4, 1, 3}, svn2: [16]byte{4, 1, 3}, want: OutOfDate},
		"module updated, not enough":        {svn: [16]byte{4, 1, 3}, svn2: [16]byte{5, 1, 3}, want: OutOfDate},
		"updated to another version":        {svn: [16]byte{4, 1, 3}, svn2: [16]byte{3, 3, 3}, want: RelaunchAdvised},
		"updated to an unknown version":     {svn: [16]byte{4, 1, 3}, svn2: [16]byte{9, 9, 3}, want: NotSupported},
		"updated to version 0":              {svn: [16]byte{4, 1, 3}, svn2: [16]byte{6, 0, 3}, want: RelaunchAdvised},
		"updated to version 0, not enough":  {svn: [16]byte{4, 1, 3}, svn2: [16]byte{5, 0, 3}, want: OutOfDate},
		"microcode behind":                  {svn: [16]byte{4, 1, 2}, svn2: [16]byte{6, 1, 2}, want: OutOfDate},
		"microcode updated as well":         {svn: [16]byte{4, 1, 2}, svn2: newest, want: RelaunchAdvised},
		"module up to date, microcode old":  {svn: [16]byte{6, 1, 2}, svn2: newest, want: OutOfDate},
		"software hardening needed":         {status: SWHardeningNeeded, svn: [16]byte{4, 1, 3}, svn2: newest, want: RelaunchAdvised},
		"configuration needed":              {status: ConfigurationNeeded, svn: [16]byte{4, 1, 3}, svn2: newest, want: RelaunchAdvisedConfigurationNeeded},
		"configuration and software":        {status: ConfigurationAndSWHardeningNeeded, svn: [16]byte{4, 1, 3}, svn2: newest, want: RelaunchAdvisedConfigurationNeeded},
		"level out of date":                 {status: OutOfDate, svn: [16]byte{4, 1, 3}, svn2: newest, want: OutOfDate},
		"level out of date, configuration":  {status: OutOfDateConfigurationNeeded, svn: [16]byte{4, 1, 3}, svn2: newest, want: OutOfDateConfigurationNeeded},
		"level revoked":                     {status: Revoked, svn: [16]byte{4, 1, 3}, svn2: newest, want: Revoked},
		"module revoked":                    {svn: [16]byte{2, 1, 3}, svn2: newest, want: Revoked},
		"QE out of date":                    {svn: [16]byte{4, 1, 3}, svn2: newest, qe: 5, want: OutOfDate},
		"QE revoked":                        {svn: [16]byte{4, 1, 3}, svn2: newest, qe: 2, want: Revoked},
		"QE not known":                      {svn: [16]byte{4, 1, 3}, svn2: newest, qe: 1, want: NotSupported},
		"TDX 1.0 cannot tell":               {svn: [16]byte{4, 1, 3}, svn2: newest, tdx10: true, want: OutOfDate},
		"platform out of date for SGX":      {world: func(w *world) { w.ext.TCB.PCESVN = 12; w.issue() }, svn: [16]byte{4, 1, 3}, svn2: newest, want: OutOfDate},
		"lower level needs a configuration": {world: func(w *world) { w.levels[1]["tcbStatus"] = OutOfDateConfigurationNeeded }, svn: [16]byte{4, 1, 2}, svn2: newest, want: RelaunchAdvisedConfigurationNeeded},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTDWorld(t)
			if tc.status != "" {
				w.levels[0]["tcbStatus"] = tc.status
			}
			if tc.world != nil {
				tc.world(w)
			}
			q := w.tdQuote(Version5, !tc.tdx10)
			q.TD.TEETCBSVN = tc.svn
			if !tc.tdx10 {
				q.TD.TEETCBSVN2 = tc.svn2
			}
			if tc.qe > 0 {
				q.QEReport.ISVSVN = tc.qe
			}
			if _, got := w.verify(w.seal(q), w.collateral()); got != tc.want {
				t.Errorf("%s, wanted %s", got, tc.want)
			}
		})
	}
}
