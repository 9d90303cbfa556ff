package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"hitoku.dev/measure/sgx"
)

type measureSigstructOptions struct {
	manifest, libpal string
	output
}

// shownSigstruct is what measure sigstruct prints as JSON.
type shownSigstruct struct {
	Measurement string `json:"measurement"`
	MRENCLAVE   string `json:"mrenclave"`
	MRSIGNER    string `json:"mrsigner"`
	ISVProdID   uint16 `json:"isv_prod_id"`
	ISVSVN      uint16 `json:"isv_svn"`
	Date        string `json:"date"` // YYYY-MM-DD
	Vendor      uint32 `json:"vendor"`
	Debug       bool   `json:"debug"`
	Attributes  string `json:"attributes"` // FLAGS and XFRM, 16 bytes little-endian in hexadecimal
	Mask        string `json:"attributes_mask"`
	MiscSelect  uint32 `json:"misc_select"`
	MiscMask    uint32 `json:"misc_mask"`
	Signature   string `json:"signature"`         // "right", or why it is not
	Enclave     string `json:"enclave,omitempty"` // with --manifest: "right", or what differs
}

func newMeasureSigstructCommand() *cobra.Command {
	var o measureSigstructOptions
	cmd := &cobra.Command{
		Use:   "sigstruct FILE",
		Short: "Show a SIGSTRUCT, and whether its signature and its enclave are right",
		Long: `Show what a SIGSTRUCT says (a file of 1808 bytes, such as Gramine's NAME.sig) and check
its signature with the key in it. With --manifest and --libpal the enclave is measured
and compared too.

Exit codes: 0 all is right, 1 something is not or the file cannot be read, 2 wrong usage.`,
		Example: `  hitoku measure sigstruct app.sig --manifest app.manifest.sgx --libpal libpal.so`,
		Args:    args(cobra.ExactArgs(1)),
		RunE:    func(cmd *cobra.Command, a []string) error { return o.run(cmd, a[0]) },
	}
	f := cmd.Flags()
	f.StringVar(&o.manifest, "manifest", "", "the Gramine manifest of the enclave, `FILE`.manifest.sgx")
	f.StringVar(&o.libpal, "libpal", "", "Gramine's libpal.so for SGX, a `FILE`")
	cmd.MarkFlagsRequiredTogether("manifest", "libpal")
	o.flag(cmd)
	return cmd
}

func (o *measureSigstructOptions) run(cmd *cobra.Command, path string) error {
	raw, err := readLimited(path, 64<<10)
	if err != nil {
		return fmt.Errorf("measure sigstruct: %w", err)
	}
	s, err := sgx.Parse(raw)
	if err != nil {
		return fmt.Errorf("measure sigstruct: %s: %w", path, err)
	}
	signer := s.MRSigner()
	hash := hex.EncodeToString(s.EnclaveHash[:])
	res := &shownSigstruct{
		Measurement: hash, MRENCLAVE: hash, MRSIGNER: hex.EncodeToString(signer[:]), ISVProdID: s.ISVProdID, ISVSVN: s.ISVSVN,
		Date: dateText(s.Date), Vendor: s.Vendor, Debug: s.Attributes.Flags&sgx.FlagDebug != 0,
		Attributes: s.Attributes.String(), Mask: s.AttributesMask.String(), MiscSelect: s.MiscSelect, MiscMask: s.MiscMask, Signature: "right",
	}
	wrong := s.Verify()
	if wrong != nil {
		res.Signature = wrong.Error()
	}
	if o.manifest != "" {
		err := o.compare(cmd, s)
		res.Enclave = "right"
		if err != nil {
			res.Enclave = err.Error()
		}
		wrong = errors.Join(wrong, err)
	}
	if err := o.print(cmd, res, func(w io.Writer) {
		fmt.Fprintf(w, "MRENCLAVE\t%s\nMRSIGNER\t%s\nproduct\t%d, version %d\nsigned\t%s\n", res.MRENCLAVE, res.MRSIGNER, res.ISVProdID, res.ISVSVN, res.Date)
		fmt.Fprintf(w, "attributes\t%s\nmask\t%s\nmiscselect\t%#x, mask %#x\ndebug\t%v\nsignature\t%s\n", res.Attributes, res.Mask, res.MiscSelect, res.MiscMask, res.Debug, res.Signature)
		if res.Enclave != "" {
			fmt.Fprintf(w, "enclave\t%s\n", res.Enclave)
		}
	}); err != nil {
		return err
	}
	if wrong != nil {
		return fmt.Errorf("measure sigstruct: %s: %w", path, wrong)
	}
	return nil
}

func (o *measureSigstructOptions) compare(cmd *cobra.Command, s *sgx.Sigstruct) error {
	got, err := measureEnclave(cmd.Context(), o.manifest, o.libpal)
	if err != nil {
		return err
	}
	return got.Manifest.CheckSigstruct(s, got.MRENCLAVE)
}
