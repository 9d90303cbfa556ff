package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"hitoku.dev/measure/sgx"
)

type measureManifestOptions struct {
	libpal, signKey, date, out string
	output
}

// measuredEnclave is what measure sgx-manifest prints as JSON.
type measuredEnclave struct {
	Measurement  string   `json:"measurement"`
	MRENCLAVE    string   `json:"mrenclave"`
	MRSIGNER     string   `json:"mrsigner,omitempty"` // with --sign-key
	ISVProdID    uint16   `json:"isv_prod_id"`
	ISVSVN       uint16   `json:"isv_svn"`
	Date         string   `json:"date,omitempty"` // YYYY-MM-DD, with --sign-key
	EnclaveSize  uint64   `json:"enclave_size"`   // bytes
	Threads      int      `json:"threads"`
	EDMM         bool     `json:"edmm"`
	Debug        bool     `json:"debug"`
	TrustedFiles int      `json:"trusted_files"`
	Attributes   string   `json:"attributes"` // FLAGS and XFRM, 16 bytes little-endian in hexadecimal
	Mask         string   `json:"attributes_mask"`
	MiscSelect   uint32   `json:"misc_select"`
	MiscMask     uint32   `json:"misc_mask"`
	Out          string   `json:"out,omitempty"`
	Notices      []string `json:"notices"`
}

func newMeasureManifestCommand() *cobra.Command {
	var o measureManifestOptions
	cmd := &cobra.Command{
		Use:   "sgx-manifest FILE.manifest.sgx",
		Short: "Compute MRENCLAVE of a ready Gramine manifest, and sign it",
		Long: `Compute MRENCLAVE of the enclave that a ready Gramine manifest describes (the file
NAME.manifest.sgx, with the hashes of the trusted files in it), as SGX hardware will
measure it. Beside the manifest only Gramine's in-enclave loader is read, libpal.so of
the folder sgx. Gramine 1.7 to 1.9 are known.

With --sign-key the SIGSTRUCT is made too, the same bytes as Gramine's own signer
makes with the same key and date; --out writes it.

What Gramine's signer takes and its loader refuses is refused here: sizes that are no
power of two, keys that Gramine would ignore, and so on.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage.`,
		Example: `  hitoku measure sgx-manifest app.manifest.sgx --libpal /usr/lib/x86_64-linux-gnu/gramine/sgx/libpal.so
  hitoku measure sgx-manifest app.manifest.sgx --libpal libpal.so --sign-key key.pem --date 2026-05-06 --out app.sig`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error { return o.run(cmd, a[0]) },
	}
	f := cmd.Flags()
	f.StringVar(&o.libpal, "libpal", "", "Gramine's libpal.so for SGX, a `FILE` (required)")
	f.StringVar(&o.signKey, "sign-key", "", "sign with the key "+keyNames)
	f.StringVar(&o.date, "date", "", "date in the signature, `YYYY-MM-DD`; 0000-00-00 is none (default: SOURCE_DATE_EPOCH, else 2026-01-01)")
	f.StringVar(&o.out, "out", "", "write the SIGSTRUCT, 1808 bytes, to `FILE`")
	o.flag(cmd)
	return cmd
}

func (o *measureManifestOptions) run(cmd *cobra.Command, path string) error {
	switch {
	case o.libpal == "":
		return usageError{errors.New("measure sgx-manifest: --libpal is missing: Gramine's sgx/libpal.so is measured with the manifest")}
	case o.out != "" && o.signKey == "":
		return usageError{errors.New("measure sgx-manifest: --out needs --sign-key FILE")}
	case o.date != "" && o.signKey == "":
		return usageError{errors.New("measure sgx-manifest: --date needs --sign-key FILE: only the signature has a date")}
	}
	res, params, err := o.measure(cmd, path)
	if err != nil {
		return fmt.Errorf("measure sgx-manifest: %w", err)
	}
	if o.signKey != "" {
		if err := o.sign(cmd, res, params); err != nil {
			return err
		}
	}
	for _, n := range res.Notices {
		fmt.Fprintln(cmd.ErrOrStderr(), "note: "+n)
	}
	return o.print(cmd, res, func(w io.Writer) { printMeasured(w, res) })
}

func (o *measureManifestOptions) measure(cmd *cobra.Command, path string) (*measuredEnclave, sgx.Params, error) {
	got, err := measureEnclave(cmd.Context(), path, o.libpal)
	if err != nil {
		return nil, sgx.Params{}, err
	}
	m := got.Manifest
	p, notices, err := m.SignParams(got.MRENCLAVE, 0)
	if err != nil {
		return nil, sgx.Params{}, fmt.Errorf("%s: %w", path, err)
	}
	for _, w := range m.Weaknesses() {
		notices = append(notices, w.String())
	}
	hash := hex.EncodeToString(got.MRENCLAVE[:])
	return &measuredEnclave{
		Measurement: hash, MRENCLAVE: hash, ISVProdID: p.ISVProdID, ISVSVN: p.ISVSVN,
		EnclaveSize: got.EnclaveSize, Threads: got.Threads, EDMM: got.EDMM, Debug: m.SGX.Debug, TrustedFiles: len(m.SGX.TrustedFiles),
		Attributes: p.Attributes.String(), Mask: p.AttributesMask.String(), MiscSelect: p.MiscSelect, MiscMask: p.MiscMask,
		Notices: append([]string{}, notices...),
	}, p, nil
}

func (o *measureManifestOptions) sign(cmd *cobra.Command, res *measuredEnclave, p sgx.Params) error {
	if o.date == "0000-00-00" {
		p.NoDate = true
	} else {
		date, err := signingDate(o.date, os.Getenv("SOURCE_DATE_EPOCH"))
		if err != nil {
			return usageError{fmt.Errorf("measure sgx-manifest: %w", err)}
		}
		p.Date = date
	}
	signer, err := o.signer(cmd, res)
	if err != nil {
		return fmt.Errorf("measure sgx-manifest: %w", err)
	}
	s, err := sgx.Sign(cmd.Context(), p, signer)
	if err != nil {
		return fmt.Errorf("measure sgx-manifest: %w", err)
	}
	author := s.MRSigner()
	res.MRSIGNER, res.Date = hex.EncodeToString(author[:]), dateText(s.Date)
	if o.out == "" {
		return nil
	}
	if err := os.WriteFile(o.out, s.Marshal(), 0o644); err != nil {
		return fmt.Errorf("measure sgx-manifest: --out: %w", err)
	}
	res.Out = o.out
	return nil
}

func (o *measureManifestOptions) signer(cmd *cobra.Command, res *measuredEnclave) (sgx.Signer, error) {
	if isToken(o.signKey) {
		return tokenSigner(cmd.Context(), "--sign-key", o.signKey, nil, cmd.ErrOrStderr())
	}
	pem, err := readLimited(o.signKey, 64<<10)
	if err != nil {
		return nil, fmt.Errorf("--sign-key: %w", err)
	}
	if info, err := os.Stat(o.signKey); err == nil && info.Mode().Perm()&0o007 != 0 {
		res.Notices = append(res.Notices, fmt.Sprintf("signing key %s: mode %04o lets everybody read it", o.signKey, info.Mode().Perm()))
	}
	key, err := sgx.ParseKey(pem)
	if err != nil {
		return nil, fmt.Errorf("--sign-key %s: %w", o.signKey, err)
	}
	return sgx.KeySigner{Key: key}, nil
}

func printMeasured(w io.Writer, m *measuredEnclave) {
	fmt.Fprintf(w, "MRENCLAVE\t%s\nMRSIGNER\t%s\n", m.MRENCLAVE, or(m.MRSIGNER))
	fmt.Fprintf(w, "product\t%d, version %d\n", m.ISVProdID, m.ISVSVN)
	fmt.Fprintf(w, "enclave\t%d bytes, %d threads, EDMM %v, debug %v, %d trusted files\n", m.EnclaveSize, m.Threads, m.EDMM, m.Debug, m.TrustedFiles)
	if m.Date != "" {
		fmt.Fprintf(w, "signed\t%s\n", m.Date)
	}
	if m.Out != "" {
		fmt.Fprintf(w, "SIGSTRUCT\t%s\n", m.Out)
	}
}

func dateText(d uint32) string { return fmt.Sprintf("%04d-%02d-%02d", d/10000, d/100%100, d%100) }
