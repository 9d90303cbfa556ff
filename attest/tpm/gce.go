package tpm

import (
	"crypto/x509"
	"encoding/asn1"
	"strconv"
	"unicode"
)

func oidGCEInstance() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 1, 21}
}

// gceInstance is the extension by which Google Cloud says whose virtual TPM a
// certificate is of (go-tpm-tools, server/instance_info.go).
type gceInstance struct {
	Zone          string `asn1:"utf8"`
	ProjectNumber int64
	ProjectID     string `asn1:"utf8"`
	InstanceID    int64
	InstanceName  string        `asn1:"utf8"`
	Security      asn1.RawValue `asn1:"optional"`
}

// instanceInfo reads the extension as facts; nil when there is none, or it is not as expected.
func instanceInfo(c *x509.Certificate) map[string]string {
	for _, ext := range c.Extensions {
		if !ext.Id.Equal(oidGCEInstance()) {
			continue
		}
		var info gceInstance
		rest, err := asn1.Unmarshal(ext.Value, &info)
		if err != nil || len(rest) > 0 || !plain(info.Zone) || !plain(info.ProjectID) || !plain(info.InstanceName) {
			return nil
		}
		return map[string]string{
			"gce_zone": info.Zone, "gce_project_id": info.ProjectID, "gce_project_number": strconv.FormatInt(info.ProjectNumber, 10),
			"gce_instance_id": strconv.FormatInt(info.InstanceID, 10), "gce_instance_name": info.InstanceName,
		}
	}
	return nil
}

func plain(s string) bool {
	for _, r := range s {
		if r > unicode.MaxASCII || !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}
