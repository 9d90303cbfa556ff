package collateraltest

import (
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/attest/dcap"
)

func tcbLevel(components [16]byte, pcesvn int, status string, tdx bool) map[string]any {
	var list []map[string]any
	for _, c := range components {
		list = append(list, map[string]any{"svn": c})
	}
	tcb := map[string]any{"sgxtcbcomponents": list, "pcesvn": pcesvn}
	if tdx {
		tdxList := make([]map[string]any, 16)
		for i := range tdxList {
			tdxList[i] = map[string]any{"svn": 0}
		}
		tcb["tdxtcbcomponents"] = tdxList
	}
	return map[string]any{"tcb": tcb, "tcbDate": "2026-05-01T00:00:00Z", "tcbStatus": status}
}

func (w *World) json(v any) []byte {
	raw, err := json.Marshal(v)
	w.check(err)
	return raw
}

// TCBInfo returns the signed TCB info of a TEE for an FMSPC and evaluation number.
func (w *World) TCBInfo(t attest.TEE, fmspc string, evaluation int) []byte {
	at := w.issuedAt()
	w.mu.Lock()
	status := w.status
	w.mu.Unlock()
	tdx := t == attest.TDX
	m := map[string]any{
		"id": strings.ToUpper(string(t)), "version": 3, "issueDate": at, "nextUpdate": at.Add(Lifetime),
		"fmspc": strings.ToUpper(fmspc), "pceId": "0000", "tcbType": 0, "tcbEvaluationDataNumber": evaluation,
		"tcbLevels": []any{tcbLevel([16]byte{5, 5, 2}, 13, status, tdx), tcbLevel([16]byte{}, 0, dcap.OutOfDate, tdx)},
	}
	if tdx {
		module := map[string]any{"mrsigner": strings.Repeat("00", 48), "attributes": "0000000000000000", "attributesMask": "FFFFFFFFFFFFFFFF"}
		m["tdxModule"] = module
		identity := map[string]any{"id": "TDX_01", "tcbLevels": []any{map[string]any{"tcb": map[string]any{"isvsvn": 4}, "tcbDate": "2026-05-01T00:00:00Z", "tcbStatus": status}}}
		for k, v := range module {
			identity[k] = v
		}
		m["tdxModuleIdentities"] = []any{identity}
	}
	return w.sign("tcbInfo", w.json(m))
}

// Identity returns a signed enclave identity: "QE", "TD_QE", "QVE" or "QAE".
func (w *World) Identity(id string, evaluation int) []byte {
	at := w.issuedAt()
	return w.sign("enclaveIdentity", w.json(map[string]any{
		"id": id, "version": 2, "issueDate": at, "nextUpdate": at.Add(Lifetime), "tcbEvaluationDataNumber": evaluation,
		"miscselect": "00000000", "miscselectMask": "FFFFFFFF",
		"attributes": "11000000000000000000000000000000", "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
		"mrsigner": hex.EncodeToString(make([]byte, 31)) + "07", "isvprodid": 1,
		"tcbLevels": []any{map[string]any{"tcb": map[string]any{"isvsvn": 8}, "tcbDate": "2026-05-01T00:00:00Z", "tcbStatus": dcap.UpToDate}},
	}))
}

// EvaluationNumbers returns the signed list of evaluation numbers of a TEE.
func (w *World) EvaluationNumbers(t attest.TEE) []byte {
	at := w.issuedAt()
	var list []any
	numbers := evaluations()
	slices.Reverse(numbers)
	for _, n := range numbers {
		day := at.AddDate(0, (n-20)*6, 0)
		list = append(list, map[string]any{"tcbEvaluationDataNumber": n, "tcbRecoveryEventDate": day.Format(time.RFC3339), "tcbDate": day.AddDate(0, 0, 1).Format(time.RFC3339)})
	}
	return w.sign("tcbEvaluationDataNumbers", w.json(map[string]any{
		"id": strings.ToUpper(string(t)), "version": 1, "issueDate": at, "nextUpdate": at.Add(Lifetime), "tcbEvalNumbers": list,
	}))
}
