package workload

import (
	"errors"
	"fmt"
	"strings"
)

func (m *Manifest) checkCertificates() error {
	if len(m.Certificates) > maxList || len(m.Fronts) > maxList {
		return fmt.Errorf("certificates, fronts: more than %d", maxList)
	}
	if m.AccountRoot == "" && len(m.Certificates) > 0 {
		return errors.New("certificates: nobody issues them without an account_root")
	}
	paths := map[string]bool{}
	for i := range m.Certificates {
		c := &m.Certificates[i]
		if err := c.check(); err != nil {
			return fmt.Errorf("certificates: %q: %w", c.Subject, err)
		}
		for _, p := range []string{c.KeyPath, c.CertPath, c.ChainPath} {
			if p != "" && paths[p] {
				return fmt.Errorf("certificates: path %s is used twice", p)
			}
			paths[p] = true
		}
	}
	last := 0
	for _, f := range m.Fronts {
		switch {
		case f.Listen < 1 || f.Listen > 65535 || f.Forward < 1 || f.Forward > 65535:
			return fmt.Errorf("fronts: %d=%d: ports run from 1 to 65535", f.Listen, f.Forward)
		case f.Listen <= last:
			return fmt.Errorf("fronts: port %d repeated or not sorted", f.Listen)
		case len(m.Certificates) == 0:
			return fmt.Errorf("fronts: port %d has no certificate", f.Listen)
		}
		last = f.Listen
	}
	for _, f := range m.Fronts {
		for _, g := range m.Fronts {
			if f.Forward == g.Listen {
				return fmt.Errorf("fronts: port %d is both listened on and forwarded to", f.Forward)
			}
		}
	}
	return nil
}

func (c *Certificate) check() error {
	if !IsDNSName(c.Subject) {
		return errors.New("the subject is no DNS name in lower case without wildcard")
	}
	for i, n := range c.AltNames {
		name, ok := strings.CutPrefix(n, "DNS:")
		if !ok || !IsDNSName(name) {
			return fmt.Errorf("alt_names: %q, wanted DNS:name in lower case without wildcard", n)
		}
		if i > 0 && n <= c.AltNames[i-1] {
			return fmt.Errorf("alt_names: %q repeated or not sorted", n)
		}
	}
	if len(c.AltNames) > maxList {
		return fmt.Errorf("alt_names: more than %d", maxList)
	}
	switch {
	case c.KeyType == "EC" && c.KeySize == 256:
	case c.KeyType == "RSA" && (c.KeySize == 2048 || c.KeySize == 3072 || c.KeySize == 4096):
	default:
		return fmt.Errorf("key %s-%d, wanted EC-256, RSA-2048, RSA-3072 or RSA-4096", c.KeyType, c.KeySize)
	}
	for _, p := range []struct{ what, path string }{{"key_path", c.KeyPath}, {"cert_path", c.CertPath}, {"chain_path", c.ChainPath}} {
		if p.path == "" && p.what == "chain_path" {
			continue
		}
		if err := checkPath(p.what, p.path); err != nil {
			return err
		}
		if p.path == "/" || Within(p.path, Dir) {
			return fmt.Errorf("%s %s is not free", p.what, p.path)
		}
	}
	return nil
}

func (m *Manifest) checkCAs() error {
	last := ""
	for _, c := range m.CACertificates {
		if err := checkPath("ca_certificates", c.Path); err != nil {
			return err
		}
		switch {
		case c.Path == "/" || Within(c.Path, Dir):
			return fmt.Errorf("ca_certificates: %s is not free", c.Path)
		case c.Path <= last:
			return fmt.Errorf("ca_certificates: %s repeated or not sorted", c.Path)
		case !strings.HasPrefix(c.Certificate, "-----BEGIN CERTIFICATE-----\n") || !strings.HasSuffix(c.Certificate, "-----END CERTIFICATE-----\n"):
			return fmt.Errorf("ca_certificates: %s is not PEM", c.Path)
		}
		last = c.Path
	}
	if len(m.CACertificates) > maxList {
		return fmt.Errorf("ca_certificates: more than %d", maxList)
	}
	return nil
}

// IsDNSName reports whether s is a host name as certificates of this product
// may carry it: lower case, no wildcard, no final dot, labels of letters,
// digits and hyphens.
func IsDNSName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := 0; i < len(label); i++ {
			if c := label[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
				return false
			}
		}
	}
	return true
}
