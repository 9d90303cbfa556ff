// Package graminetest is a device as Gramine has it at /dev/attestation, for
// tests: buffers that each write replaces, quotes of a made-up platform that
// verify under that platform's root, sealing keys that depend on platform and
// identity, keys of encrypted mounts.
//
// It is wrong about one thing: its REPORT has no MAC.
package graminetest

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"io/fs"
	"strings"
	"sync"
	"syscall"

	"hitoku.dev/attest/collateral/collateraltest"
	"hitoku.dev/attest/dcap"
)

// Device is a fake /dev/attestation; it implements gramine.Files. Change its
// exported members before the first use only.
type Device struct {
	// Type is sgx.remote_attestation of the enclave's manifest; empty means Gramine's direct mode.
	Type string
	// Body is the identity of the enclave.
	Body dcap.ReportBody
	// Fail is asked before each use of a file; nil for never.
	Fail func(name string) error

	platform *collateraltest.Platform

	mu         sync.Mutex
	reportData [64]byte
	target     [512]byte
	keys       map[string][]byte // of encrypted mounts; nil until set
}

// New makes the device of an enclave on a platform. Names are the keys that its
// encrypted mounts name.
func New(p *collateraltest.Platform, body dcap.ReportBody, names ...string) *Device {
	d := &Device{Type: "dcap", Body: body, platform: p, keys: map[string][]byte{}}
	for _, n := range names {
		d.keys[n] = nil
	}
	return d
}

// Identity is the report body of an enclave of a measurement and signer with
// product id 3 and security version 4.
func Identity(measurement, signer [32]byte) dcap.ReportBody {
	return dcap.ReportBody{
		CPUSVN: [16]byte{5, 5, 2}, Flags: dcap.FlagInit | dcap.FlagMode64, XFRM: 7, MREnclave: measurement, MRSigner: signer, ISVProdID: 3, ISVSVN: 4,
	}
}

// Key returns what a key was set to, nil when it was not.
func (d *Device) Key(name string) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.keys[name]
}

// Read implements gramine.Files.
func (d *Device) Read(name string, limit int) ([]byte, error) {
	data, err := d.read(name)
	if err == nil && len(data) > limit {
		err = errors.New("longer than the limit")
	}
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: "/dev/attestation/" + name, Err: err}
	}
	return data, nil
}

func (d *Device) read(name string) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.failure(name); err != nil {
		return nil, err
	}
	if key, ok := strings.CutPrefix(name, "keys/"); ok {
		return d.key(key)
	}
	switch {
	case d.Type == "", d.Type == "none" && name == "quote":
		return nil, syscall.ENOENT
	case name == "attestation_type":
		return []byte(d.Type), nil
	case name == "user_report_data":
		return d.reportData[:], nil
	case name == "target_info":
		return d.target[:], nil
	case name == "my_target_info":
		out := make([]byte, 512)
		copy(out, d.Body.MREnclave[:])
		return out, nil
	case name == "report":
		body := d.body()
		raw := body.Bytes()
		return append(raw[:], make([]byte, 48)...), nil
	case name == "quote":
		return d.platform.QuoteOf(d.body()), nil
	}
	return nil, syscall.ENOENT
}

func (d *Device) body() dcap.ReportBody {
	body := d.Body
	body.ReportData = d.reportData
	return body
}

func (d *Device) failure(name string) error {
	if d.Fail == nil {
		return nil
	}
	return d.Fail(name)
}

// key derives the two sealing keys as EGETKEY would, from the platform's certificate.
func (d *Device) key(name string) ([]byte, error) {
	if d.Type != "" {
		mac := hmac.New(sha256.New, d.platform.Certificate().Raw)
		mac.Write(d.Body.CPUSVN[:])
		mac.Write([]byte{byte(d.Body.ISVProdID), byte(d.Body.ISVSVN), byte(d.Body.Flags & dcap.FlagDebug)})
		switch name {
		case "_sgx_mrenclave":
			mac.Write(append([]byte{1}, d.Body.MREnclave[:]...))
			return mac.Sum(nil)[:16], nil
		case "_sgx_mrsigner":
			mac.Write(append([]byte{2}, d.Body.MRSigner[:]...))
			return mac.Sum(nil)[:16], nil
		}
	}
	if key, ok := d.keys[name]; ok {
		return key, nil
	}
	return nil, syscall.ENOENT
}

// Write implements gramine.Files.
func (d *Device) Write(name string, data []byte) error {
	if err := d.write(name, data); err != nil {
		return &fs.PathError{Op: "write", Path: "/dev/attestation/" + name, Err: err}
	}
	return nil
}

func (d *Device) write(name string, data []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.failure(name); err != nil {
		return err
	}
	if key, ok := strings.CutPrefix(name, "keys/"); ok {
		if _, ok := d.keys[key]; !ok {
			return syscall.ENOENT
		}
		if len(data) != 16 {
			return syscall.EACCES
		}
		d.keys[key] = append([]byte{}, data...)
		return nil
	}
	switch {
	case d.Type == "":
		return syscall.ENOENT
	case name == "user_report_data":
		clear(d.reportData[:])
		copy(d.reportData[:], data)
		return nil
	case name == "target_info":
		clear(d.target[:])
		copy(d.target[:], data)
		return nil
	}
	return syscall.EACCES
}
