package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"hitoku.dev/internal/convert"
	"hitoku.dev/measure/workload"
)

// commandWords reads a command as a JSON list, or as words without quoting.
func commandWords(text string) ([]string, error) {
	if strings.HasPrefix(strings.TrimSpace(text), "[") {
		var words []string
		if err := json.Unmarshal([]byte(text), &words); err != nil {
			return nil, fmt.Errorf("%q is no JSON list of words: %w", text, err)
		}
		return words, nil
	}
	words := strings.Fields(text)
	if len(words) == 0 {
		return nil, errors.New("no words")
	}
	if strings.ContainsAny(text, "\"'\\") {
		return nil, fmt.Errorf("%q: quotes are not read here; write a JSON list", text)
	}
	return words, nil
}

func parseFront(text string) (workload.Front, error) {
	listen, forward, ok := strings.Cut(text, "=")
	l, err1 := strconv.ParseUint(listen, 10, 16)
	f, err2 := strconv.ParseUint(forward, 10, 16)
	if !ok || err1 != nil || err2 != nil || l == 0 || f == 0 || l == f {
		return workload.Front{}, errors.New("wanted LISTEN=FORWARD, two different ports from 1 to 65535")
	}
	return workload.Front{Listen: int(l), Forward: int(f)}, nil
}

// parseCertificateFlag reads subject=…,key=…,cert=…,chain=…,type=…,size=…,alt=….
func parseCertificateFlag(text string) (workload.Certificate, error) {
	c := convert.DefaultCertificate("")
	c.KeySize = 0
	seen := map[string]bool{}
	for part := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(part, "=")
		if !ok || value == "" {
			return c, fmt.Errorf("%q: wanted NAME=VALUE", part)
		}
		if seen[key] && key != "alt" {
			return c, fmt.Errorf("%s is there twice", key)
		}
		seen[key] = true
		switch key {
		case "subject":
			c.Subject = value
		case "key":
			c.KeyPath = value
		case "cert":
			c.CertPath = value
		case "chain":
			c.ChainPath = value
		case "type":
			c.KeyType = strings.ToUpper(value)
		case "size":
			n, err := strconv.Atoi(value)
			if err != nil {
				return c, fmt.Errorf("size %q is no number", value)
			}
			c.KeySize = n
		case "alt":
			c.AltNames = append(c.AltNames, "DNS:"+strings.TrimPrefix(value, "DNS:"))
		default:
			return c, fmt.Errorf("%q is not known; wanted subject, key, cert, chain, type, size, alt", key)
		}
	}
	if c.Subject == "" {
		return c, errors.New("subject is missing")
	}
	if !slices.Contains([]string{"EC", "RSA"}, c.KeyType) {
		return c, fmt.Errorf("type %q: wanted EC or RSA", c.KeyType)
	}
	if c.KeySize == 0 {
		c.KeySize = convert.DefaultKeySize(c.KeyType)
	}
	return c, nil
}
