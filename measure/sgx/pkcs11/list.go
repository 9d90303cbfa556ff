package pkcs11

import (
	"encoding/hex"
	"errors"
	"strings"
)

// maxList is how much of pkcs11-tool's output is read, in bytes.
const maxList = 1 << 20

// errAmbiguous is for keys that a label does not tell apart.
var errAmbiguous = errors.New("more than one private key has this label, name it by id=%01%02 too")

// findID finds the id of the one key with the label in what pkcs11-tool --list-objects writes:
// for each object a line at the margin, and below it indented lines of "name: value".
func findID(list []byte, label string) (string, error) {
	var ids []string
	named, found := false, false
	for line := range strings.Lines(string(list)) {
		line = strings.TrimRight(line, "\r\n")
		name, value, ok := strings.Cut(strings.TrimLeft(line, " "), ":")
		if !strings.HasPrefix(line, " ") || !ok {
			named = false
			continue
		}
		switch value = strings.TrimLeft(value, " "); name {
		case "label":
			named = value == strings.TrimLeft(label, " ")
			found = found || named
		case "ID":
			if id, err := hex.DecodeString(value); named && err == nil && len(id) > 0 && len(id) <= maxID {
				ids = append(ids, string(id))
			}
		}
	}
	switch {
	case !found:
		return "", errors.New("no private key with this label was found")
	case len(ids) == 0:
		return "", errors.New("the key has no id, by which pkcs11-tool finds it: give it one with pkcs11-tool --set-id")
	case len(ids) > 1:
		return "", errAmbiguous
	}
	return ids[0], nil
}
