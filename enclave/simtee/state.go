package simtee

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	stateVersion = 1
	maxState     = 64 << 10
)

// platformState is the file of a platform. Whoever reads it is the platform.
type platformState struct {
	Version        int    `json:"version"`
	PPID           []byte `json:"ppid"`            // 16 bytes
	SealRoot       []byte `json:"seal_root"`       // 32 bytes
	PCKKey         []byte `json:"pck_key"`         // raw P-256 scalar
	AttestationKey []byte `json:"attestation_key"` // raw P-256 scalar
	PCKChain       string `json:"pck_chain,omitempty"`
}

func loadOrCreate(path string, random io.Reader) (*Platform, error) {
	p, err := load(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return p, err
	}
	if p, err = NewPlatform(random); err != nil {
		return nil, err
	}
	p.path = path
	if err := p.store(nil); err != nil {
		return nil, err
	}
	return p, nil
}

func load(path string) (*Platform, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("simulated platform: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("simulated platform: %w", err)
	}
	if mode := info.Mode(); !mode.IsRegular() || mode.Perm()&0o077 != 0 {
		return nil, fmt.Errorf("simulated platform %s: mode %v, wanted a file that only its owner may read; `chmod 600` it if nobody else has read it, or remove it and enrol the node again", path, mode)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxState+1))
	if err != nil {
		return nil, fmt.Errorf("simulated platform %s: %w", path, err)
	}
	p, err := parsePlatform(b)
	if err != nil {
		return nil, fmt.Errorf("simulated platform %s: %w", path, err)
	}
	p.path = path
	return p, nil
}

func parsePlatform(b []byte) (*Platform, error) {
	if len(b) > maxState {
		return nil, fmt.Errorf("more than %d bytes", maxState)
	}
	var s platformState
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("bytes after the end")
	}
	p := new(Platform)
	switch {
	case s.Version != stateVersion:
		return nil, fmt.Errorf("state version %d, wanted %d", s.Version, stateVersion)
	case len(s.PPID) != len(p.ppid):
		return nil, fmt.Errorf("platform id of %d bytes, wanted %d", len(s.PPID), len(p.ppid))
	case len(s.SealRoot) != len(p.sealRoot):
		return nil, fmt.Errorf("sealing secret of %d bytes, wanted %d", len(s.SealRoot), len(p.sealRoot))
	}
	copy(p.ppid[:], s.PPID)
	copy(p.sealRoot[:], s.SealRoot)
	var err error
	if p.pckKey, err = ecdsa.ParseRawPrivateKey(elliptic.P256(), s.PCKKey); err != nil {
		return nil, fmt.Errorf("PCK key: %w", err)
	}
	attestation, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), s.AttestationKey)
	if err != nil {
		return nil, fmt.Errorf("attestation key: %w", err)
	}
	if p.qe, err = newQuotingEnclave(p, attestation); err != nil {
		return nil, err
	}
	if s.PCKChain != "" {
		if p.chain, err = p.checkChain([]byte(s.PCKChain)); err != nil {
			return nil, fmt.Errorf("PCK chain: %w", err)
		}
	}
	return p, nil
}

// store writes the platform with the given chain; the old file stays whole
// until the new one is on disk.
func (p *Platform) store(chain []byte) error {
	if p.path == "" {
		return nil
	}
	s := platformState{Version: stateVersion, PPID: p.ppid[:], SealRoot: p.sealRoot[:], PCKChain: string(chain)}
	var err1, err2 error
	s.PCKKey, err1 = p.pckKey.Bytes()
	s.AttestationKey, err2 = p.qe.key.Bytes()
	b, err3 := json.MarshalIndent(s, "", "  ")
	if err := errors.Join(err1, err2, err3); err != nil {
		return fmt.Errorf("simulated platform %s: %w", p.path, err)
	}
	if err := writeAtomically(p.path, append(b, '\n')); err != nil {
		return fmt.Errorf("simulated platform %s: %w", p.path, err)
	}
	return nil
}

func writeAtomically(path string, data []byte) error {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
