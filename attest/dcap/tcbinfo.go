package dcap

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// TCB statuses in Intel's words.
const (
	UpToDate                          = "UpToDate"
	SWHardeningNeeded                 = "SWHardeningNeeded"
	ConfigurationNeeded               = "ConfigurationNeeded"
	ConfigurationAndSWHardeningNeeded = "ConfigurationAndSWHardeningNeeded"
	OutOfDate                         = "OutOfDate"
	OutOfDateConfigurationNeeded      = "OutOfDateConfigurationNeeded"
	Revoked                           = "Revoked"
	// NotSupported is the status where no level matches.
	NotSupported = "TCBNotSupported"
)

const maxLevels = 512

// TCBInfo is the body of a TCB info for SGX, version 2 or 3 (Intel PCS API,
// "Get SGX TCB Info").
type TCBInfo struct {
	ID               string // "SGX"; empty in version 2
	Version          int
	IssueDate        time.Time
	NextUpdate       time.Time
	FMSPC            [6]byte
	PCEID            [2]byte
	TCBType          int
	EvaluationNumber int
	Levels           []TCBLevel // in the maker's order, which is the order to search in
}

// TCBLevel is one level of a TCB info.
type TCBLevel struct {
	Components [16]byte
	PCESVN     uint16
	Date       time.Time
	Status     string
	Advisories []string
}

type tcbInfoJSON struct {
	ID                      *string     `json:"id"`
	Version                 int         `json:"version"`
	IssueDate               time.Time   `json:"issueDate"`
	NextUpdate              time.Time   `json:"nextUpdate"`
	FMSPC                   string      `json:"fmspc"`
	PCEID                   string      `json:"pceId"`
	TCBType                 *int        `json:"tcbType"`
	TCBEvaluationDataNumber *int        `json:"tcbEvaluationDataNumber"`
	TCBLevels               []levelJSON `json:"tcbLevels"`
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
	t := &TCBInfo{Version: j.Version, IssueDate: j.IssueDate, NextUpdate: j.NextUpdate}
	switch {
	case j.Version != 2 && j.Version != 3:
		return nil, fmt.Errorf("version %d, wanted 2 or 3", j.Version)
	case j.Version == 3 && (j.ID == nil || *j.ID != "SGX"):
		return nil, errors.New(`id is not "SGX"`)
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
		if err := t.Levels[i].read(&j.TCBLevels[i], j.Version); err != nil {
			return nil, fmt.Errorf("TCB level %d: %w", i+1, err)
		}
	}
	return t, nil
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

func (l *TCBLevel) read(j *levelJSON, version int) error {
	if err := checkStatus(j.TCBStatus); err != nil {
		return err
	}
	if j.TCBDate.IsZero() {
		return errors.New("tcbDate is missing")
	}
	l.Date, l.Status, l.Advisories = j.TCBDate, j.TCBStatus, j.AdvisoryIDs
	if version == 2 {
		return l.readV2(j.TCB)
	}
	var tcb struct {
		PCESVN     *uint16 `json:"pcesvn"`
		Components []struct {
			SVN *uint8 `json:"svn"`
		} `json:"sgxtcbcomponents"`
	}
	if err := json.Unmarshal(j.TCB, &tcb); err != nil {
		return err
	}
	if tcb.PCESVN == nil || len(tcb.Components) != len(l.Components) {
		return errors.New("pcesvn or one of 16 sgxtcbcomponents is missing")
	}
	l.PCESVN = *tcb.PCESVN
	for i, c := range tcb.Components {
		if c.SVN == nil {
			return fmt.Errorf("component %d has no svn", i+1)
		}
		l.Components[i] = *c.SVN
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

func checkStatus(s string) error {
	switch s {
	case UpToDate, SWHardeningNeeded, ConfigurationNeeded, ConfigurationAndSWHardeningNeeded,
		OutOfDate, OutOfDateConfigurationNeeded, Revoked:
		return nil
	}
	return fmt.Errorf("tcbStatus %q is not known", s)
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

// Converge joins the status of a platform with that of its quoting enclave, as
// Intel's quote verification library does. An empty qe means that it is not known.
func Converge(platform, qe string) string {
	switch {
	case platform == Revoked || qe == Revoked:
		return Revoked
	case platform == NotSupported || qe == NotSupported:
		return NotSupported
	case strings.HasPrefix(qe, OutOfDate):
		switch platform {
		case UpToDate, SWHardeningNeeded:
			return OutOfDate
		case ConfigurationNeeded, ConfigurationAndSWHardeningNeeded:
			return OutOfDateConfigurationNeeded
		}
	case qe != UpToDate && qe != "" && platform == UpToDate:
		return qe // a status that Intel does not give to quoting enclaves today
	}
	return platform
}
