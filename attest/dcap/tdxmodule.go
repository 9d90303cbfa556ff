package dcap

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
)

// TDXModule is what a TCB info says about the TDX modules of one version, or
// about those whose version is 0 (Intel PCS API, "Get TDX TCB Info", tdxModule
// and tdxModuleIdentities).
type TDXModule struct {
	ID             string // "TDX_01"; empty for version 0
	MRSigner       [48]byte
	Attributes     uint64 // little-endian in the document, as in the report
	AttributesMask uint64
	Levels         []IdentityLevel // in the maker's order; none for version 0
}

type tdxModuleJSON struct {
	ID             string          `json:"id"`
	MRSigner       string          `json:"mrsigner"`
	Attributes     string          `json:"attributes"`
	AttributesMask string          `json:"attributesMask"`
	TCBLevels      []svnLevelsJSON `json:"tcbLevels"`
}

func (m *TDXModule) read(j *tdxModuleJSON) error {
	var attributes, mask [8]byte
	if err := errors.Join(
		unhex("mrsigner", j.MRSigner, m.MRSigner[:]),
		unhex("attributes", j.Attributes, attributes[:]),
		unhex("attributesMask", j.AttributesMask, mask[:]),
	); err != nil {
		return err
	}
	m.ID = j.ID
	m.Attributes, m.AttributesMask = binary.LittleEndian.Uint64(attributes[:]), binary.LittleEndian.Uint64(mask[:])
	if m.ID == "" {
		return nil
	}
	var err error
	m.Levels, err = readSVNLevels(j.ID, j.TCBLevels)
	return err
}

// Match returns the first level whose ISVSVN is not above svn, or nil.
func (m *TDXModule) Match(svn byte) *IdentityLevel { return matchSVN(m.Levels, uint16(svn)) }

// check compares a report with the module: who signed it, and its attributes.
func (m *TDXModule) check(r *TDReport) error {
	var errs []error
	if r.MRSignerSEAM != m.MRSigner {
		errs = append(errs, fmt.Errorf("MRSIGNERSEAM %x, wanted %x", r.MRSignerSEAM, m.MRSigner))
	}
	// Intel's library wants zero beyond the mask: no module in use has an attribute.
	if r.SEAMAttributes&m.AttributesMask != m.Attributes || r.SEAMAttributes != 0 {
		errs = append(errs, fmt.Errorf("SEAMATTRIBUTES %#x, wanted 0 and %#x under mask %#x", r.SEAMAttributes, m.Attributes, m.AttributesMask))
	}
	return errors.Join(errs...)
}

// TDXModule returns what the TCB info says about TDX modules of a version, or nil.
func (i *TCBInfo) TDXModule(version byte) *TDXModule {
	if version == 0 {
		return i.Module
	}
	id := "TDX_" + hex.EncodeToString([]byte{version})
	for n := range i.ModuleIdentities {
		if strings.EqualFold(i.ModuleIdentities[n].ID, id) {
			return &i.ModuleIdentities[n]
		}
	}
	return nil
}

// relaunch says whether a TD whose TCB is out of date only needs to be launched
// again, since the TDX module was updated under it: RelaunchAdvised or
// RelaunchAdvisedConfigurationNeeded, or else tdx unchanged. It follows the TD
// relaunch check of Intel's quote verification library. sgx is the status of
// the level that the platform reaches without its TDX components, tdx that of
// platform and module together.
func (i *TCBInfo) relaunch(r *TDReport, sgx, tdx, module, qe string) string {
	if qe == OutOfDate || qe == Revoked || qe == NotSupported || module != OutOfDate {
		return tdx
	}
	switch sgx {
	case UpToDate, SWHardeningNeeded, ConfigurationNeeded, ConfigurationAndSWHardeningNeeded:
	default:
		return tdx
	}
	if tdx != OutOfDate && tdx != OutOfDateConfigurationNeeded {
		return tdx
	}
	newest := &i.Levels[0]
	lowest := uint16(newest.TDXComponents[0])
	if version := r.TEETCBSVN2[1]; version > 0 {
		m := i.TDXModule(version)
		if m == nil || len(m.Levels) == 0 {
			return NotSupported
		}
		lowest = m.Levels[0].ISVSVN
	}
	if uint16(r.TEETCBSVN2[0]) < lowest || r.TEETCBSVN2[2] < newest.TDXComponents[2] {
		return tdx
	}
	if configurationNeeded(sgx) || configurationNeeded(tdx) {
		return RelaunchAdvisedConfigurationNeeded
	}
	return RelaunchAdvised
}

// IdentityLevel is one level of an enclave identity or a TDX module identity.
type IdentityLevel struct {
	ISVSVN     uint16
	Date       time.Time
	Status     string
	Advisories []string

	label string // for the rule
}

type svnLevelsJSON struct {
	TCB struct {
		ISVSVN *uint16 `json:"isvsvn"`
	} `json:"tcb"`
	TCBDate     time.Time `json:"tcbDate"`
	TCBStatus   string    `json:"tcbStatus"`
	AdvisoryIDs []string  `json:"advisoryIDs"`
}

func readSVNLevels(id string, list []svnLevelsJSON) ([]IdentityLevel, error) {
	if len(list) == 0 || len(list) > maxLevels {
		return nil, fmt.Errorf("%d TCB levels, wanted 1 to %d", len(list), maxLevels)
	}
	levels := make([]IdentityLevel, 0, len(list))
	for i := range list {
		l := &list[i]
		if l.TCB.ISVSVN == nil || l.TCBDate.IsZero() {
			return nil, fmt.Errorf("TCB level %d: isvsvn or tcbDate is missing", i+1)
		}
		if err := checkStatus(l.TCBStatus); err != nil {
			return nil, fmt.Errorf("TCB level %d: %w", i+1, err)
		}
		label := fmt.Sprintf("%s, level of ISVSVN %d", id, *l.TCB.ISVSVN)
		levels = append(levels, IdentityLevel{*l.TCB.ISVSVN, l.TCBDate, l.TCBStatus, l.AdvisoryIDs, label})
	}
	return levels, nil
}

func matchSVN(levels []IdentityLevel, svn uint16) *IdentityLevel {
	for i := range levels {
		if svn >= levels[i].ISVSVN {
			return &levels[i]
		}
	}
	return nil
}
