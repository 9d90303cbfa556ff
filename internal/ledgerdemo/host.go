package ledgerdemo

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// forms are the ways in which the secret amount, the accounts and their keys could stand somewhere.
func (d *demo) forms() map[string][]byte {
	forms := map[string][]byte{}
	add := func(what string, secret []byte) {
		for i, form := range encodings(secret) {
			forms[fmt.Sprintf("%s (form %d)", what, i)] = form
		}
	}
	add("the amount in decimal", strconv.AppendUint(nil, d.amount, 10))
	add("the amount, big-endian", binary.BigEndian.AppendUint64(nil, d.amount))
	add("the amount, little-endian", binary.LittleEndian.AppendUint64(nil, d.amount))
	for what, list := range map[string]map[string]string{"account": d.accounts, "key": d.keys} {
		for name, text := range list {
			if raw, err := hex.DecodeString(text); err == nil {
				add(name+"'s "+what, raw)
				add(name+"'s "+what+" in hexadecimal", []byte(text))
			}
		}
	}
	return forms
}

// encodings are a secret as it is, in hexadecimal, and what base64 makes of it at each of three places.
func encodings(secret []byte) [][]byte {
	text := hex.EncodeToString(secret)
	out := [][]byte{secret, []byte(text), []byte(strings.ToUpper(text))}
	for before := range 3 {
		encoded := base64.StdEncoding.EncodeToString(append(make([]byte, before), secret...))
		out = append(out, []byte(encoded[(8*before+5)/6:8*(before+len(secret))/6]))
	}
	return out
}

// hostSees looks for the amount and the accounts in all that the host has: every file
// but those of the clients, and all that went over the wire.
func (d *demo) hostSees(ctx context.Context) (string, error) {
	if len(d.accounts) == 0 {
		return "", fmt.Errorf("no account is known to look for")
	}
	forms := d.forms()
	if err := d.control(); err != nil {
		return "", err
	}
	var files int
	var size int64
	var leaks []string
	err := filepath.WalkDir(d.Dir, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case path == d.Path("client"):
			return filepath.SkipDir
		case !e.Type().IsRegular():
			return nil
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		found, err := find(ctx, f, forms)
		if err != nil {
			return err
		}
		if info, err := f.Stat(); err == nil {
			files, size = files+1, size+info.Size()
		}
		for name := range found {
			leaks = append(leaks, name+" stands in "+path)
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	if len(leaks) > 0 {
		slices.Sort(leaks)
		return "", fmt.Errorf("the host can read it: %s", strings.Join(leaks, "; "))
	}
	var wire int64
	for _, t := range d.taps {
		wire += t.captured.Load()
	}
	d.Note("$ grep -rlFe %d DEMO --exclude-dir=client", d.amount)
	return fmt.Sprintf("%d files, %.1f MiB, of them %.1f MiB captured between the parties: neither the amount %d\nnor an account or its key is in any of them, in %d forms. (The client's own receipt has them, and the same search finds them there.)",
		files, float64(size)/(1<<20), float64(wire)/(1<<20), d.amount, len(forms)), nil
}

// control is the proof that the search finds what is there: in the command that the
// client's receipt holds.
func (d *demo) control() error {
	raw, err := os.ReadFile(d.receipt)
	if err != nil {
		return err
	}
	command, err := receiptCommand(raw)
	if err != nil {
		return fmt.Errorf("%s: %w", d.receipt, err)
	}
	found, err := find(context.Background(), bytes.NewReader(command), d.forms())
	if err == nil && !found["the amount in decimal (form 0)"] {
		err = fmt.Errorf("%s: the search does not find the amount where it is", d.receipt)
	}
	return err
}
