package main

import (
	"encoding/hex"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"hitoku.dev/measure/sgx"
)

// measuredStream is what measure sgxs prints as JSON.
type measuredStream struct {
	Measurement string `json:"measurement"`
	MRENCLAVE   string `json:"mrenclave"`
	EnclaveSize uint64 `json:"enclave_size"` // bytes
	Pages       uint64 `json:"pages"`
	Threads     uint64 `json:"threads"`
	Unmeasured  uint64 `json:"unmeasured"` // bytes
}

func newMeasureSGXSCommand() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:   "sgxs FILE",
		Short: "Compute MRENCLAVE of an SGX stream, such as Fortanix EDP's tools write",
		Long: `Compute MRENCLAVE of an SGX stream (SGXS, or ESGXS with UNMEASRD records), the form of
enclaves that Fortanix EDP's tools write.

Exit codes: 0 done, 1 the file cannot be read or is no such stream, 2 wrong usage.`,
		Example: `  hitoku measure sgxs app.sgxs`,
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			s, err := readSGXS(a[0])
			if err != nil {
				return fmt.Errorf("measure sgxs: %w", err)
			}
			hash := hex.EncodeToString(s.MRENCLAVE[:])
			res := &measuredStream{hash, hash, s.Size, s.Pages, s.Threads, s.Unmeasured}
			return o.print(cmd, res, func(w io.Writer) {
				fmt.Fprintf(w, "MRENCLAVE\t%s\nenclave\t%d bytes, %d pages, %d threads, %d bytes not measured\n", hash, s.Size, s.Pages, s.Threads, s.Unmeasured)
			})
		},
	}
	o.flag(cmd)
	return cmd
}

func readSGXS(path string) (*sgx.SGXS, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s, err := sgx.MeasureSGXS(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}
