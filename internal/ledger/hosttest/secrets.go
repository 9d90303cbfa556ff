package hosttest

import (
	"bytes"
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

// Secrets are what nobody but the clients and the TEEs may know, in every form in which it could
// stand somewhere: as it is, in hexadecimal of either case, and within base64 (both alphabets) at
// each of the three places that a byte can have there; numbers in decimal, two digits a byte, and in
// both byte orders. Texts are sought inside base64 and hexadecimal too, for JSON that was packed
// into JSON.
type Secrets struct {
	forms []form
	index map[[prefix]byte][]int // by the first bytes of a form
}

type form struct {
	what  string
	bytes []byte
}

// prefix is how many bytes of a form are looked up. Every form is longer: a shorter one would stand
// somewhere by chance.
const prefix = 8

// Number adds a number. It must be large, or it is anywhere.
func (s *Secrets) Number(what string, n uint64) {
	if n < 1<<56 {
		panic(fmt.Sprintf("hosttest: %s is %d, which is found everywhere", what, n))
	}
	s.text(what+" in decimal", strconv.AppendUint(nil, n, 10))
	s.Bytes(what+", big-endian", binary.BigEndian.AppendUint64(nil, n))
	s.Bytes(what+", little-endian", binary.LittleEndian.AppendUint64(nil, n))
	text := strconv.FormatUint(n, 10)
	packed, err := hex.DecodeString(text[:len(text)&^1]) // as commands stand in a batch
	if err != nil {
		panic(err) // decimal digits are hexadecimal ones
	}
	s.add(what+" in packed decimal", packed)
	s.within64(what+" in packed decimal", packed)
}

// Bytes adds a key, an account id, or whatever else is made of at least eight random bytes.
func (s *Secrets) Bytes(what string, b []byte) {
	s.add(what, b)
	s.within64(what, b)
	text := hex.EncodeToString(b)
	s.text(what+" in hexadecimal", []byte(text))
	s.text(what+" in upper-case hexadecimal", []byte(strings.ToUpper(text)))
}

func (s *Secrets) text(what string, b []byte) {
	s.add(what, b)
	s.add(what+", as text in hexadecimal", []byte(hex.EncodeToString(b))) // as chains pack it
	s.within64(what, b)
}

// within64 adds what base64 makes of the bytes wherever they begin, without the characters that
// neighbours have a part in.
func (s *Secrets) within64(what string, b []byte) {
	for before := range 3 {
		for name, e := range map[string]*base64.Encoding{"base64": base64.StdEncoding, "base64url": base64.URLEncoding} {
			t := e.EncodeToString(append(make([]byte, before), b...))
			s.add(what+" in "+name, []byte(t[(8*before+5)/6:8*(before+len(b))/6]))
		}
	}
}

func (s *Secrets) add(what string, b []byte) {
	if len(b) < prefix {
		panic(fmt.Sprintf("hosttest: %s is only %d bytes long", what, len(b)))
	}
	if s.index == nil {
		s.index = map[[prefix]byte][]int{}
	}
	key := [prefix]byte(b)
	for _, i := range s.index[key] {
		if bytes.Equal(s.forms[i].bytes, b) {
			return
		}
	}
	s.index[key] = append(s.index[key], len(s.forms))
	s.forms = append(s.forms, form{what, bytes.Clone(b)})
}

// Forms is how many byte strings are sought.
func (s *Secrets) Forms() int { return len(s.forms) }

// In names what stands in some bytes, each form once.
func (s *Secrets) In(b []byte) []string {
	found := map[int]bool{}
	for at := 0; at+prefix <= len(b); at++ {
		for _, i := range s.index[[prefix]byte(b[at:at+prefix])] {
			if !found[i] && bytes.HasPrefix(b[at:], s.forms[i].bytes) {
				found[i] = true
			}
		}
	}
	var out []string
	for i := range found {
		out = append(out, s.forms[i].what)
	}
	slices.Sort(out)
	return out
}

// InTape says what stands where on a tape.
func (s *Secrets) InTape(t *Tape) (leaks []string) {
	t.each(func(name string, b []byte) {
		for _, what := range s.In(b) {
			leaks = append(leaks, what+" in "+name)
		}
	})
	return leaks
}

// InFolder says what stands where in the files of a folder and below, names included. Bytes is how
// much was looked through.
func (s *Secrets) InFolder(dir string) (leaks []string, size int, err error) {
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		for _, what := range s.In([]byte(path)) {
			leaks = append(leaks, what+" in the name "+path)
		}
		if !e.Type().IsRegular() {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		size += len(b)
		for _, what := range s.In(b) {
			leaks = append(leaks, what+" in "+path)
		}
		return nil
	})
	return leaks, size, err
}
