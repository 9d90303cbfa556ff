package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"hitoku.dev/internal/sgxhost"
)

func newAgentPlatformCommand() *cobra.Command {
	var o output
	root := "/"
	cmd := &cobra.Command{
		Use:   "platform",
		Short: "Show whether this machine can run SGX enclaves, and what it lacks",
		Long: `Look at this machine's processor, kernel, devices and quoting service, and say
whether SGX enclaves can run here and get evidence. It changes nothing and needs no
agent. Exits 0 when nothing is missing, else 1.

It is advice for whoever sets the machine up: what a machine says of itself proves
nothing. See docs/sgx.md.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needsLinux("SGX", true); err != nil {
				return err
			}
			p := sgxhost.Detect(root)
			if err := o.print(cmd, p, func(w io.Writer) { printPlatform(w, p) }); err != nil {
				return err
			}
			if !p.Ready {
				return exitError{1}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&root, "root", root, "`folder` below which the machine's /dev, /proc and /sys are")
	o.flag(cmd)
	return cmd
}

// sgxSummary is one line about a machine.
func sgxSummary(p *sgxhost.Platform) string {
	if !p.Ready {
		rules := make([]string, len(p.Problems))
		for i, x := range p.Problems {
			rules[i] = x.Rule
		}
		return "not ready: " + strings.Join(rules, ", ") + " (see `hitoku agent platform`)"
	}
	return fmt.Sprintf("ready, %s, enclave memory %s", p.EnclaveDevice, epc(p.EPCBytes))
}

func epc(n uint64) string {
	if n == 0 {
		return "unknown"
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}

func printPlatform(w io.Writer, p *sgxhost.Platform) {
	yes := map[bool]string{true: "yes", false: "no"}
	sgx2 := "unknown"
	if p.SGX2 != nil {
		sgx2 = yes[*p.SGX2]
	}
	state := "ready"
	if !p.Ready {
		state = "not ready"
	}
	fmt.Fprintf(w, "SGX enclaves\t%s\nprocessor\t%s\nkernel\t%s\nSGX\t%s\nlaunch control\t%s\nSGX2 (EDMM)\t%s\nenclave memory\t%s\nenclave device\t%s\nprovisioning\t%s\nAESM socket\t%s\n",
		state, or(p.CPU), or(p.Kernel), yes[p.SGX], yes[p.LaunchControl], sgx2, epc(p.EPCBytes), or(p.EnclaveDevice), or(p.ProvisionDevice), or(p.AESM))
	for _, x := range p.Problems {
		fmt.Fprintf(w, "missing\t%s: wanted %s, seen %s\n\t  %s\n", x.Rule, x.Wanted, x.Seen, x.Advice)
	}
}
