package dcap

import (
	"fmt"
	"strings"
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
	// RelaunchAdvised is the status of a TD that was launched under an older TDX module than the
	// one that runs now: only a relaunch brings its measurements up to date.
	RelaunchAdvised                    = "RelaunchAdvised"
	RelaunchAdvisedConfigurationNeeded = "RelaunchAdvisedConfigurationNeeded"
	// NotSupported is the status where no level matches.
	NotSupported = "TCBNotSupported"
)

// checkStatus refuses statuses that no document of the maker holds.
func checkStatus(s string) error {
	switch s {
	case UpToDate, SWHardeningNeeded, ConfigurationNeeded, ConfigurationAndSWHardeningNeeded,
		OutOfDate, OutOfDateConfigurationNeeded, Revoked:
		return nil
	}
	return fmt.Errorf("tcbStatus %q is not known", s)
}

// Converge joins the status of a platform with that of its quoting enclave or
// its TDX module, as Intel's quote verification library does. An empty part
// means that the part is not known or has no status of its own.
func Converge(platform, part string) string {
	switch {
	case platform == "" || platform == NotSupported:
		return platform
	case part == Revoked || part == NotSupported:
		return part
	case strings.HasPrefix(part, OutOfDate):
		switch platform {
		case UpToDate, SWHardeningNeeded:
			return OutOfDate
		case ConfigurationNeeded, ConfigurationAndSWHardeningNeeded:
			return OutOfDateConfigurationNeeded
		}
	case part != UpToDate && part != "" && platform == UpToDate:
		return part // a status that Intel does not give to parts today
	}
	return platform
}

func configurationNeeded(status string) bool {
	switch status {
	case ConfigurationNeeded, ConfigurationAndSWHardeningNeeded, OutOfDateConfigurationNeeded:
		return true
	}
	return false
}
