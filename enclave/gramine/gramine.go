// Package gramine is the driver for a program in an SGX enclave under the Gramine
// library OS: evidence, sealing keys and the keys of encrypted mounts come from
// the pseudo files below /dev/attestation. It implements enclave.TEE.
//
// The device is raw: whoever runs inside the enclave can write any 64 bytes of
// report data (security decision S9). This package only asks for evidence over
// an [attest.Binding] and for no purpose but a program's, which keeps the
// program's own code honest; it cannot keep a hostile program in the same enclave
// from asking the device itself.
//
// The device has one buffer for report data, shared by the whole process, and no
// lock. A TEE uses it for one caller at a time and compares the quote that comes
// back with what was asked; another user of the device in the same process makes
// calls fail, never answer for somebody else.
//
// Trusted: Gramine and the processor. The quoting enclave outside is not: a quote
// is worth what its judge finds.
//
// What Gramine's sealing keys do not promise. EGETKEY is called with the present
// CPUSVN and ISVSVN and with KEYID 0, and the key is 128 bits. So the keys of
// an earlier security version cannot be had: [TEE.SealKey] for a lower SVN gives
// a key of this version, another one than the earlier version had. A platform
// whose firmware was updated (a new CPUSVN) gives other keys; what was sealed
// before cannot be opened. Attributes are bound as the enclave's manifest says in
// sgx.seal_key, by default debug mode among them.
package gramine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"

	"hitoku.dev/attest"
	"hitoku.dev/enclave"
)

// Dir is where Gramine has the device.
const Dir = "/dev/attestation"

// Sizes in bytes.
const (
	// MaxQuote is the size of Gramine's own buffer for a quote.
	MaxQuote = 8 << 10
	// KeySize is that of a key of an encrypted mount (AES-128).
	KeySize = 16

	reportSize     = 432 // Intel SDM vol. 3D, table 36-21, with key id and MAC
	targetInfoSize = 512 // table 36-22
	maxType        = 64
)

// Names of the files below Dir.
const (
	fileType       = "attestation_type"
	fileReportData = "user_report_data"
	fileQuote      = "quote"
	fileTarget     = "target_info"
	fileOwnTarget  = "my_target_info"
	fileReport     = "report"
	dirKeys        = "keys/"
)

var (
	// ErrNoDevice means that this process is in no SGX enclave: Gramine's direct mode has a
	// device without attestation, and elsewhere there is none.
	ErrNoDevice = errors.New("no SGX attestation here")
	// ErrClosed is returned by every call after Close.
	ErrClosed = errors.New("gramine: closed")
)

// TEE is the enclave that the caller runs in. Its methods may be called from
// several goroutines; they take turns.
type TEE struct {
	files   Files
	kind    string // of remote attestation, as the enclave's manifest says
	own     identity
	turn    chan struct{} // holds one token while nobody uses the device
	closing sync.Once
	closed  chan struct{}
}

var _ enclave.TEE = (*TEE)(nil)

// identity is what the processor says of this enclave.
type identity struct {
	cpuSVN              [16]byte
	measurement, signer [32]byte
	prodID, svn         uint16
	debug               bool
	reportData          [attest.ReportDataSize]byte
}

// Open reads what the device says of this enclave. The error is ErrNoDevice where
// there is no enclave.
func Open(files Files) (*TEE, error) {
	kind, err := files.Read(fileType, maxType)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s/%s is not there, which Gramine makes in SGX enclaves only, not in direct mode (%w)", ErrNoDevice, Dir, fileType, err)
	}
	if err != nil {
		return nil, fmt.Errorf("gramine: %w", err)
	}
	t := &TEE{files: files, kind: strings.TrimRight(string(kind), "\x00\n"), turn: make(chan struct{}, 1), closed: make(chan struct{})}
	if t.own, err = readIdentity(files); err != nil {
		return nil, fmt.Errorf("gramine: %w", err)
	}
	t.turn <- struct{}{}
	return t, nil
}

// readIdentity asks for a REPORT for this very enclave.
func readIdentity(files Files) (id identity, err error) {
	target, err := files.Read(fileOwnTarget, targetInfoSize)
	if err != nil {
		return id, err
	}
	if err := files.Write(fileTarget, target); err != nil {
		return id, err
	}
	report, err := files.Read(fileReport, reportSize)
	if err != nil {
		return id, err
	}
	if len(report) != reportSize {
		return id, fmt.Errorf("%s/%s has %d bytes, wanted %d", Dir, fileReport, len(report), reportSize)
	}
	return bodyIdentity(report), nil
}

// bodyIdentity reads a report body, of at least 384 bytes (Intel SDM vol. 3D, table 36-21).
func bodyIdentity(b []byte) (id identity) {
	const flagDebug = 2
	copy(id.cpuSVN[:], b)
	id.debug = b[48]&flagDebug != 0
	copy(id.measurement[:], b[64:])
	copy(id.signer[:], b[128:])
	id.prodID = binary.LittleEndian.Uint16(b[256:])
	id.svn = binary.LittleEndian.Uint16(b[258:])
	copy(id.reportData[:], b[320:])
	return id
}

// Measurement is MRENCLAVE.
func (t *TEE) Measurement() [32]byte { return t.own.measurement }

// Debug reports whether the enclave can be read with a debugger: then nothing in
// it is secret.
func (t *TEE) Debug() bool { return t.own.debug }

// Evidence implements [enclave.TEE]: it returns an SGX ECDSA quote, at most
// MaxQuote bytes. A purpose that is not for programs (attest.PurposeNode) is
// refused. The device's own wait for the quoting service cannot be cut short;
// when ctx ends, the call returns and the next one waits for it.
func (t *TEE) Evidence(ctx context.Context, b *attest.Binding) ([]byte, error) {
	if err := b.Check(); err != nil {
		return nil, err
	}
	switch b.Purpose {
	case attest.PurposeAppTLS, attest.PurposeATLS, attest.PurposeLedgerMember, attest.PurposeApp:
	default:
		return nil, fmt.Errorf("gramine: evidence for purpose %q: programs get it for %s, %s, %s and %s", b.Purpose, attest.PurposeAppTLS, attest.PurposeATLS, attest.PurposeLedgerMember, attest.PurposeApp)
	}
	if t.kind != "dcap" {
		return nil, fmt.Errorf("gramine: this enclave has remote attestation %q, wanted \"dcap\": convert the image with sgx.remote_attestation = \"dcap\", which is the default", t.kind)
	}
	return t.do(ctx, func() ([]byte, error) { return t.quote(b.ReportData()) })
}

func (t *TEE) quote(data [attest.ReportDataSize]byte) ([]byte, error) {
	if err := t.files.Write(fileReportData, data[:]); err != nil {
		return nil, err
	}
	quote, err := t.files.Read(fileQuote, MaxQuote)
	if err != nil {
		return nil, fmt.Errorf("%w: the quoting service did not answer; is AESM's socket mounted at /var/run/aesmd/aesm.socket, and does aesmd run with the DCAP quote plug-in?", err)
	}
	const header, body = 48, 384 // Intel DCAP ECDSA quote, version 3
	if len(quote) < header+body {
		return nil, fmt.Errorf("a quote of %d bytes, wanted at least %d", len(quote), header+body)
	}
	if v := binary.LittleEndian.Uint16(quote); v != 3 {
		return nil, fmt.Errorf("a quote of version %d, wanted 3", v)
	}
	said := bodyIdentity(quote[header:])
	if said.reportData != data || said.measurement != t.own.measurement {
		return nil, fmt.Errorf("the quote is about %x with report data %x, wanted %x and %x: something else in this process uses %s", said.measurement, said.reportData, t.own.measurement, data, Dir)
	}
	return quote, nil
}

// do uses the device when it is free. f is not interrupted: the token comes back
// when the device is done.
func (t *TEE) do(ctx context.Context, f func() ([]byte, error)) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case <-t.closed:
		return nil, ErrClosed
	default:
	}
	select {
	case <-t.closed:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-t.turn:
	}
	type answer struct {
		data []byte
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		data, err := f()
		t.turn <- struct{}{}
		answers <- answer{data, err}
	}()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case a := <-answers:
		if a.err != nil {
			return nil, fmt.Errorf("gramine: %w", a.err)
		}
		return a.data, nil
	}
}

// Close ends the use of the device. A call that is under way ends by itself.
func (t *TEE) Close() error {
	err := ErrClosed
	t.closing.Do(func() {
		close(t.closed)
		err = nil
	})
	return err
}
