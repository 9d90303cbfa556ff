package dcap

import (
	"encoding/asn1"
	"strings"
	"testing"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// refusal is a document that was made wrong in one place.
type refusal struct {
	edit func(m map[string]any)
	err  string
}

func set(name string, value any) func(m map[string]any) {
	return func(m map[string]any) { m[name] = value }
}

func drop(name string) func(m map[string]any) {
	return func(m map[string]any) { delete(m, name) }
}

// inLevel edits the first level, in its member "tcb" when tcb is set.
func inLevel(tcb bool, edit func(m map[string]any)) func(m map[string]any) {
	return func(m map[string]any) {
		l := m["tcbLevels"].([]map[string]any)[0]
		if tcb {
			l = l["tcb"].(map[string]any)
		}
		edit(l)
	}
}

func TestTCBInfoRefusals(t *testing.T) {
	t.Parallel()
	v2 := func(edit func(m map[string]any)) func(m map[string]any) {
		return func(m map[string]any) {
			delete(m, "id")
			m["version"], m["tcbLevels"] = 2, []map[string]any{levelV2([16]byte{1}, 2, UpToDate)}
			inLevel(true, edit)(m)
		}
	}
	many := func(m map[string]any) {
		list := make([]map[string]any, maxLevels+1)
		for i := range list {
			list[i] = level([16]byte{}, 0, UpToDate)
		}
		m["tcbLevels"] = list
	}
	for name, tc := range map[string]refusal{
		"version 1":          {set("version", 1), "version 1, wanted 2 or 3"},
		"version 4":          {set("version", 4), "version 4, wanted 2 or 3"},
		"version as text":    {set("version", "3"), "cannot unmarshal"},
		"no id":              {drop("id"), `id is not "SGX" or "TDX"`},
		"another id":         {set("id", "sgx"), `id is not "SGX" or "TDX"`},
		"no tcbType":         {drop("tcbType"), "tcbType"},
		"tcbType 1":          {set("tcbType", 1), "tcbType"},
		"no evaluation":      {drop("tcbEvaluationDataNumber"), "tcbEvaluationDataNumber"},
		"evaluation below 0": {set("tcbEvaluationDataNumber", -1), "tcbEvaluationDataNumber"},
		"no levels":          {set("tcbLevels", []any{}), "0 TCB levels"},
		"too many levels":    {many, "129 TCB levels"},
		"no issue date":      {drop("issueDate"), "issueDate or nextUpdate"},
		"no next update":     {drop("nextUpdate"), "issueDate or nextUpdate"},
		"dates reversed":     {set("nextUpdate", now.AddDate(-1, 0, 0)), "issueDate or nextUpdate"},
		"date of nonsense":   {set("issueDate", "yesterday"), "parsing time"},
		"short FMSPC":        {set("fmspc", "00906ed500"), "fmspc has 10 digits"},
		"FMSPC of letters":   {set("fmspc", "zz906ed50001"), "fmspc is not hexadecimal"},
		"short PCEID":        {set("pceId", "0"), "pceId has 1 digits"},
		"unknown status":     {inLevel(false, set("tcbStatus", "uptodate")), `tcbStatus "uptodate" is not known`},
		"relaunch as status": {inLevel(false, set("tcbStatus", RelaunchAdvised)), "is not known"},
		"no tcbDate":         {inLevel(false, drop("tcbDate")), "tcbDate is missing"},
		"no tcb":             {inLevel(false, drop("tcb")), "TCB level 1"},
		"no PCESVN":          {inLevel(true, drop("pcesvn")), "pcesvn is missing"},
		"PCESVN too high":    {inLevel(true, set("pcesvn", 65536)), "cannot unmarshal"},
		"15 components":      {inLevel(true, set("sgxtcbcomponents", make([]componentJSON, 15))), "15 sgxtcbcomponents, wanted 16"},
		"component of null":  {inLevel(true, set("sgxtcbcomponents", make([]componentJSON, 16))), "number 1 has no svn"},
		"component below 0":  {inLevel(true, set("sgxtcbcomponents", repeatSVN(-1))), "svn -1"},
		"v2 without one":     {v2(drop("sgxtcbcomp07svn")), "sgxtcbcomp07svn"},
		"v2 above 255":       {v2(set("sgxtcbcomp16svn", 256)), "sgxtcbcomp16svn"},
		"v2 without PCESVN":  {v2(drop("pcesvn")), "pcesvn is missing"},
		"v2 of text":         {v2(set("pcesvn", "2")), "cannot unmarshal"},
	} {
		w := newWorld(t)
		m := w.tcbInfo()
		tc.edit(m)
		body, _, err := splitSigned(w.signJSON(MemberTCBInfo, m), MemberTCBInfo)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseTCBInfo(body); err == nil || !strings.Contains(err.Error(), tc.err) || !strings.HasPrefix(err.Error(), "TCB info: ") {
			t.Errorf("%s: %v, wanted %q", name, err, tc.err)
		}
	}
	if _, err := ParseTCBInfo(make([]byte, maxSignedJSON+1)); err == nil {
		t.Error("an oversized TCB info was read")
	}
}

func repeatSVN(n int) []componentJSON {
	list := make([]componentJSON, 16)
	for i := range list {
		list[i].SVN = &n
	}
	return list
}

func TestEnclaveIdentityRefusals(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]refusal{
		"version 1":        {set("version", 1), "version 1, wanted 2"},
		"no evaluation":    {drop("tcbEvaluationDataNumber"), "tcbEvaluationDataNumber"},
		"no ISVPRODID":     {drop("isvprodid"), "isvprodid is missing"},
		"ISVPRODID high":   {set("isvprodid", 65536), "cannot unmarshal"},
		"no levels":        {drop("tcbLevels"), "0 TCB levels"},
		"no issue date":    {drop("issueDate"), "issueDate or nextUpdate"},
		"short MRSIGNER":   {set("mrsigner", "00"), "mrsigner has 2 digits"},
		"short MISCSELECT": {set("miscselect", "00"), "miscselect has 2 digits"},
		"short mask":       {set("attributesMask", "00"), "attributesMask has 2 digits"},
		"no ISVSVN":        {inLevel(true, drop("isvsvn")), "isvsvn or tcbDate is missing"},
		"no date":          {inLevel(false, drop("tcbDate")), "isvsvn or tcbDate is missing"},
		"unknown status":   {inLevel(false, set("tcbStatus", "")), "is not known"},
	} {
		w := newWorld(t)
		m := w.qeIdentity()
		tc.edit(m)
		body, _, err := splitSigned(w.signJSON(MemberEnclaveIdentity, m), MemberEnclaveIdentity)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseEnclaveIdentity(body); err == nil || !strings.Contains(err.Error(), tc.err) {
			t.Errorf("%s: %v, wanted %q", name, err, tc.err)
		}
	}
	if _, err := ParseEnclaveIdentity(make([]byte, maxSignedJSON+1)); err == nil {
		t.Error("an oversized identity was read")
	}
}

// TestSignedDocumentRefusals has one case for each way in which a document is not
// a body and its signature.
func TestSignedDocumentRefusals(t *testing.T) {
	t.Parallel()
	sig := `"signature":"` + strings.Repeat("ab", 64) + `"`
	for name, tc := range map[string]struct{ doc, err string }{
		"honest":                   {`{"tcbInfo":{},` + sig + `}`, ""},
		"signature first":          {`{` + sig + `,"tcbInfo":{}}` + "\r\n", ""},
		"empty":                    {"", "not a JSON object"},
		"a list":                   {"[]", "not a JSON object"},
		"not JSON":                 {`{"tcbInfo":{`, "not JSON"},
		"a key of nothing":         {`{"tcbInfo":{},`, "not JSON"},
		"no end":                   {`{"tcbInfo":{},` + sig, "not JSON"},
		"bytes after":              {`{"tcbInfo":{},` + sig + `}{}`, "bytes after the end"},
		"body twice":               {`{"tcbInfo":{},"tcbInfo":{},` + sig + `}`, "is not known or is there twice"},
		"signature twice":          {`{"tcbInfo":{},` + sig + `,` + sig + `}`, "is not known or is there twice"},
		"another member":           {`{"x":{},` + sig + `}`, "is not known or is there twice"},
		"another letter case":      {`{"TcbInfo":{},` + sig + `}`, "is not known or is there twice"},
		"no body":                  {`{` + sig + `}`, "is missing"},
		"no signature":             {`{"tcbInfo":{}}`, "is missing"},
		"signature of null":        {`{"tcbInfo":{},"signature":null}`, "not 128 lower-case hexadecimal digits"},
		"signature too short":      {`{"tcbInfo":{},"signature":"ab"}`, "not 128 lower-case hexadecimal digits"},
		"signature in capitals":    {strings.Replace(`{"tcbInfo":{},`+sig+`}`, "ab", "AB", 1), "not 128 lower-case hexadecimal digits"},
		"signature not in base 16": {strings.Replace(`{"tcbInfo":{},`+sig+`}`, "ab", "xy", 1), "not 128 lower-case hexadecimal digits"},
		"too long":                 {strings.Repeat(" ", maxSignedJSON+1), "at most"},
	} {
		_, _, err := splitSigned([]byte(tc.doc), MemberTCBInfo)
		if tc.err == "" && err != nil || tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)) {
			t.Errorf("%s: %v, wanted %q", name, err, tc.err)
		}
	}
}

// TestPCKExtensionRefusals builds extensions with one member exchanged.
func TestPCKExtensionRefusals(t *testing.T) {
	t.Parallel()
	type member struct {
		id    asn1.ObjectIdentifier
		value func(b *cryptobyte.Builder)
	}
	octets := func(n int) func(b *cryptobyte.Builder) {
		return func(b *cryptobyte.Builder) { b.AddASN1OctetString(make([]byte, n)) }
	}
	integer := func(n int64) func(b *cryptobyte.Builder) {
		return func(b *cryptobyte.Builder) { b.AddASN1Int64(n) }
	}
	sequence := func(list ...member) func(b *cryptobyte.Builder) {
		return func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				for _, m := range list {
					addMember(b, m.id, m.value)
				}
			})
		}
	}
	tcb := func(edit func(list []member) []member) func(b *cryptobyte.Builder) {
		var list []member
		for i := 1; i <= 16; i++ {
			list = append(list, member{below(oidTCB, i), integer(1)})
		}
		return sequence(edit(append(list, member{below(oidTCB, arcPCESVN), integer(2)}, member{below(oidTCB, arcCPUSVN), octets(16)}))...)
	}
	same := func(list []member) []member { return list }
	put := func(i int, m member) func(list []member) []member {
		return func(list []member) []member { list[i] = m; return list }
	}
	honest := func() []member {
		return []member{
			{oidPPID, octets(16)},
			{oidTCB, tcb(same)},
			{oidPCEID, octets(2)},
			{oidFMSPC, octets(6)},
			{oidSGXType, func(b *cryptobyte.Builder) { b.AddASN1Enum(1) }},
			{oidPlatformInstanceID, octets(16)},
			{oidConfiguration, sequence(member{below(oidConfiguration, 1), func(b *cryptobyte.Builder) { b.AddASN1Boolean(true) }})},
		}
	}
	null := func(b *cryptobyte.Builder) { b.AddASN1NULL() }
	for name, tc := range map[string]struct {
		edit func(list []member) []member
		err  string
	}{
		"honest":        {same, ""},
		"another order": {func(list []member) []member { list[0], list[4] = list[4], list[0]; return list }, ""},
		"unknown members": {func(list []member) []member {
			return append(list, member{asn1.ObjectIdentifier{1, 2, 3}, null}, member{below(OIDSGXExtension, 8), null})
		}, ""},
		"unknown configuration":   {put(6, member{oidConfiguration, sequence(member{below(oidConfiguration, 4), null})}), ""},
		"no PPID":                 {func(list []member) []member { return list[1:] }, "is missing"},
		"no SGX type":             {func(list []member) []member { return list[:4] }, "is missing"},
		"a member twice":          {func(list []member) []member { return append(list, list[3]) }, "is there twice"},
		"short PPID":              {put(0, member{oidPPID, octets(15)}), "15 bytes, wanted 16"},
		"PPID of another type":    {put(0, member{oidPPID, null}), "not an octet string"},
		"long FMSPC":              {put(3, member{oidFMSPC, octets(7)}), "7 bytes, wanted 6"},
		"SGX type as integer":     {put(4, member{oidSGXType, integer(1)}), "not an enumerated value"},
		"SGX type too high":       {put(4, member{oidSGXType, func(b *cryptobyte.Builder) { b.AddASN1Enum(256) }}), "out of range"},
		"short instance":          {put(5, member{oidPlatformInstanceID, octets(2)}), "2 bytes, wanted 16"},
		"TCB of nothing":          {put(1, member{oidTCB, null}), "not a sequence"},
		"TCB without CPUSVN":      {put(1, member{oidTCB, tcb(func(list []member) []member { return list[:17] })}), "CPUSVN is missing"},
		"TCB component twice":     {put(1, member{oidTCB, tcb(func(list []member) []member { return append(list, list[2]) })}), "is there twice"},
		"TCB component too high":  {put(1, member{oidTCB, tcb(put(3, member{below(oidTCB, 4), integer(256)}))}), "not an integer of 0 to 255"},
		"TCB component below 0":   {put(1, member{oidTCB, tcb(put(3, member{below(oidTCB, 4), integer(-1)}))}), "not an integer of 0 to 255"},
		"PCESVN too high":         {put(1, member{oidTCB, tcb(put(16, member{below(oidTCB, arcPCESVN), integer(65536)}))}), "not an integer of 0 to 65535"},
		"CPUSVN of another type":  {put(1, member{oidTCB, tcb(put(17, member{below(oidTCB, arcCPUSVN), integer(1)}))}), "not an octet string"},
		"configuration as number": {put(6, member{oidConfiguration, sequence(member{below(oidConfiguration, 2), integer(1)})}), "not a boolean"},
	} {
		var b cryptobyte.Builder
		sequence(tc.edit(honest())...)(&b)
		_, err := ParsePCKExtension(b.BytesOrPanic())
		if tc.err == "" && err != nil || tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)) {
			t.Errorf("%s: %v, wanted %q", name, err, tc.err)
		}
	}
	for name, der := range map[string]string{
		"empty": "", "a number": "\x02\x01\x01", "bytes after": "\x30\x00\x00", "too long": strings.Repeat("\x30", maxPCKExtension+1), "a member of nothing": "\x30\x02\x05\x00",
		"an item of nothing": "\x30\x13\x30\x11\x06\x0a\x2a\x86\x48\x86\xf8\x4d\x01\x0d\x01\x02\x30\x03\x30\x01\x00",
	} {
		if _, err := ParsePCKExtension([]byte(der)); err == nil {
			t.Errorf("%s: read", name)
		}
	}
}
