package dcap

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Limits on the lists in a document.
const (
	maxLevels  = 128
	maxModules = 64
)

// Ids of TCB infos.
const (
	idSGX = "SGX"
	idTDX = "TDX"
)

// TCBInfo is the body of a TCB info: for SGX in version 2 or 3, for TDX in
// version 3 (Intel PCS API, "Get SGX TCB Info" and "Get TDX TCB Info").
type TCBInfo struct {
	ID               string // "SGX" or "TDX"; version 2, which has none, is of SGX
	Version          int
	IssueDate        time.Time
	NextUpdate       time.Time
	FMSPC            [6]byte
	PCEID            [2]byte
	TCBType          int
	EvaluationNumber int
	Levels           []TCBLevel  // in the maker's order, which is the order to search in
	Module           *TDXModule  // of version 0; only for TDX
	ModuleIdentities []TDXModule // of other versions; only for TDX, and not in older documents
}

// TCBLevel is one level of a TCB info.
type TCBLevel struct {
	Components    [16]byte
	TDXComponents [16]byte // only for TDX
	PCESVN        uint16
	Date          time.Time
	Status        string
	Advisories    []string
}

type tcbInfoJSON struct {
	ID                      *string         `json:"id"`
	Version                 int             `json:"version"`
	IssueDate               time.Time       `json:"issueDate"`
	NextUpdate              time.Time       `json:"nextUpdate"`
	FMSPC                   string          `json:"fmspc"`
	PCEID                   string          `json:"pceId"`
	TCBType                 *int            `json:"tcbType"`
	TCBEvaluationDataNumber *int            `json:"tcbEvaluationDataNumber"`
	TCBLevels               []levelJSON     `json:"tcbLevels"`
	TDXModule               *tdxModuleJSON  `json:"tdxModule"`
	TDXModuleIdentities     []tdxModuleJSON `json:"tdxModuleIdentities"`
}

type levelJSON struct {
	TCB         json.RawMessage `json:"tcb"`
	TCBDate     time.Time       `json:"tcbDate"`
	TCBStatus   string          `json:"tcbStatus"`
	AdvisoryIDs []string        `json:"advisoryIDs"`
}

// ParseTCBInfo reads the body of a TCB info: the value of the member "tcbInfo".
// Members that are not known are ignored, as later versions add some.
func ParseTCBInfo(body []byte) (*TCBInfo, error) {
	t, err := parseTCBInfo(body)
	if err != nil {
		return nil, fmt.Errorf("TCB info: %w", err)
	}
	return t, nil
}

func parseTCBInfo(body []byte) (*TCBInfo, error) {
	if len(body) > maxSignedJSON {
		return nil, fmt.Errorf("%d bytes, at most %d allowed", len(body), maxSignedJSON)
	}
	var j tcbInfoJSON
	if err := json.Unmarshal(body, &j); err != nil {
		return nil, err
	}
	t := &TCBInfo{ID: idSGX, Version: j.Version, IssueDate: j.IssueDate, NextUpdate: j.NextUpdate}
	switch {
	case j.Version != 2 && j.Version != 3:
		return nil, fmt.Errorf("version %d, wanted 2 or 3", j.Version)
	case j.ID == nil && j.Version == 3, j.ID != nil && *j.ID != idSGX && *j.ID != idTDX:
		return nil, errors.New(`id is not "SGX" or "TDX"`)
	case j.ID != nil && *j.ID == idTDX && j.Version != 3:
		return nil, fmt.Errorf("version %d for TDX, wanted 3", j.Version)
	case j.TCBType == nil || *j.TCBType != 0:
		return nil, errors.New("tcbType is missing or not 0")
	case j.TCBEvaluationDataNumber == nil || *j.TCBEvaluationDataNumber < 0:
		return nil, errors.New("tcbEvaluationDataNumber is missing or negative")
	case len(j.TCBLevels) == 0 || len(j.TCBLevels) > maxLevels:
		return nil, fmt.Errorf("%d TCB levels, wanted 1 to %d", len(j.TCBLevels), maxLevels)
	}
	if err := checkDates(t.IssueDate, t.NextUpdate); err != nil {
		return nil, err
	}
	if j.ID != nil {
		t.ID = *j.ID
	}
	t.TCBType, t.EvaluationNumber = *j.TCBType, *j.TCBEvaluationDataNumber
	if err := errors.Join(unhex("fmspc", j.FMSPC, t.FMSPC[:]), unhex("pceId", j.PCEID, t.PCEID[:])); err != nil {
		return nil, err
	}
	t.Levels = make([]TCBLevel, len(j.TCBLevels))
	for i := range j.TCBLevels {
		if err := t.Levels[i].read(&j.TCBLevels[i], t); err != nil {
			return nil, fmt.Errorf("TCB level %d: %w", i+1, err)
		}
	}
	if t.ID == idTDX {
		if err := t.readModules(&j); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func (i *TCBInfo) readModules(j *tcbInfoJSON) error {
	switch {
	case j.TDXModule == nil:
		return errors.New("tdxModule is missing")
	case j.TDXModule.ID != "":
		return errors.New("tdxModule has an id")
	case len(j.TDXModuleIdentities) > maxModules:
		return fmt.Errorf("%d tdxModuleIdentities, at most %d allowed", len(j.TDXModuleIdentities), maxModules)
	}
	i.Module = new(TDXModule)
	if err := i.Module.read(j.TDXModule); err != nil {
		return fmt.Errorf("tdxModule: %w", err)
	}
	i.ModuleIdentities = make([]TDXModule, len(j.TDXModuleIdentities))
	for n := range j.TDXModuleIdentities {
		id := &j.TDXModuleIdentities[n]
		if id.ID == "" {
			return fmt.Errorf("tdxModuleIdentities: number %d has no id", n+1)
		}
		if err := i.ModuleIdentities[n].read(id); err != nil {
			return fmt.Errorf("TDX module identity %s: %w", id.ID, err)
		}
	}
	return nil
}

func checkDates(issue, next time.Time) error {
	if issue.IsZero() || next.IsZero() || next.Before(issue) {
		return errors.New("issueDate or nextUpdate is missing, or they are in the wrong order")
	}
	return nil
}

func unhex(what, s string, out []byte) error {
	if len(s) != hex.EncodedLen(len(out)) {
		return fmt.Errorf("%s has %d digits, wanted %d", what, len(s), hex.EncodedLen(len(out)))
	}
	if _, err := hex.Decode(out, []byte(s)); err != nil {
		return fmt.Errorf("%s is not hexadecimal", what)
	}
	return nil
}

func (l *TCBLevel) read(j *levelJSON, of *TCBInfo) error {
	if err := checkStatus(j.TCBStatus); err != nil {
		return err
	}
	if j.TCBDate.IsZero() {
		return errors.New("tcbDate is missing")
	}
	l.Date, l.Status, l.Advisories = j.TCBDate, j.TCBStatus, j.AdvisoryIDs
	if of.Version == 2 {
		return l.readV2(j.TCB)
	}
	var tcb struct {
		PCESVN *uint16         `json:"pcesvn"`
		SGX    []componentJSON `json:"sgxtcbcomponents"`
		TDX    []componentJSON `json:"tdxtcbcomponents"`
	}
	if err := json.Unmarshal(j.TCB, &tcb); err != nil {
		return err
	}
	if tcb.PCESVN == nil {
		return errors.New("pcesvn is missing")
	}
	l.PCESVN = *tcb.PCESVN
	if err := readComponents("sgxtcbcomponents", tcb.SGX, &l.Components); err != nil {
		return err
	}
	if of.ID == idTDX {
		return readComponents("tdxtcbcomponents", tcb.TDX, &l.TDXComponents)
	}
	return nil
}

type componentJSON struct {
	SVN *int `json:"svn"`
}

func readComponents(what string, list []componentJSON, out *[16]byte) error {
	if len(list) != len(out) {
		return fmt.Errorf("%d %s, wanted %d", len(list), what, len(out))
	}
	for i, c := range list {
		switch {
		case c.SVN == nil:
			return fmt.Errorf("%s: number %d has no svn", what, i+1)
		case *c.SVN < 0 || *c.SVN > 255:
			return fmt.Errorf("%s: number %d has svn %d, wanted 0 to 255", what, i+1, *c.SVN)
		}
		out[i] = byte(*c.SVN)
	}
	return nil
}

// readV2 reads the older form, in which each component is a member of its own.
func (l *TCBLevel) readV2(raw json.RawMessage) error {
	var tcb map[string]uint16
	if err := json.Unmarshal(raw, &tcb); err != nil {
		return err
	}
	for i := range l.Components {
		v, ok := tcb[fmt.Sprintf("sgxtcbcomp%02dsvn", i+1)]
		if !ok || v > 255 {
			return fmt.Errorf("sgxtcbcomp%02dsvn is missing or above 255", i+1)
		}
		l.Components[i] = byte(v)
	}
	v, ok := tcb["pcesvn"]
	if !ok {
		return errors.New("pcesvn is missing")
	}
	l.PCESVN = v
	return nil
}

// Match returns the first level that t reaches in all 16 components and PCESVN,
// or nil.
func (i *TCBInfo) Match(t *PCKTCB) *TCBLevel {
	for n := range i.Levels {
		if i.Levels[n].reachedBy(t) {
			return &i.Levels[n]
		}
	}
	return nil
}

func (l *TCBLevel) reachedBy(t *PCKTCB) bool {
	for i, c := range l.Components {
		if t.Components[i] < c {
			return false
		}
	}
	return t.PCESVN >= l.PCESVN
}

// MatchTDX returns the first level that t reaches in all 16 SGX components and
// PCESVN, and the first that is reached in the TDX components of teeTCBSVN as
// well; nil for none. Where teeTCBSVN names a version of the TDX module, in its
// second byte, the first two bytes are left to that module's own identity.
func (i *TCBInfo) MatchTDX(t *PCKTCB, teeTCBSVN *[16]byte) (sgx, tdx *TCBLevel) {
	for n := range i.Levels {
		l := &i.Levels[n]
		if !l.reachedBy(t) {
			continue
		}
		if sgx == nil {
			sgx = l
		}
		if l.reachedByTDX(teeTCBSVN) {
			return sgx, l
		}
	}
	return sgx, nil
}

func (l *TCBLevel) reachedByTDX(svn *[16]byte) bool {
	from := 0
	if svn[1] > 0 {
		from = 2
	}
	for i := from; i < len(svn); i++ {
		if svn[i] < l.TDXComponents[i] {
			return false
		}
	}
	return true
}
