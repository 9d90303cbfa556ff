package snp_test

import (
	"fmt"
	"time"

	"hitoku.dev/attest/snp"
)

// A report without its certificate cannot be verified; the rule that says so names
// the address at which AMD keeps the certificate.
func ExampleVerify() {
	report := exampleReport()
	result, err := snp.Verify(report, snp.Options{
		At:         time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC),
		Collateral: &snp.Collateral{}, // the VCEK certificate belongs here, or into the evidence
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(result.OK(), result.Claims.Facts["product"], result.Claims.SVNs["microcode"], result.Claims.Debug)
	for _, rule := range result.Rules {
		if rule.Name == "vcek_chain" {
			fmt.Println(rule.Advice)
		}
	}
	// Output:
	// false Turin 73 false
	// fetch https://kdsintf.amd.com/vcek/v1/Turin/0102030405060708?fmcSPL=01&blSPL=02&teeSPL=00&snpSPL=03&ucodeSPL=73
}

// The parts of a TCB version lie elsewhere in Turin's than in those of Milan and Genoa.
func ExampleTCBVersion_Parts() {
	fmt.Printf("%+v\n", snp.TCBVersion(0xdb18000000000004).Parts(snp.Milan))
	fmt.Printf("%+v\n", snp.TCBVersion(0x4900000003000201).Parts(snp.Turin))
	// Output:
	// {Bootloader:4 TEE:0 SNP:24 Microcode:219 FMC:0}
	// {Bootloader:2 TEE:0 SNP:3 Microcode:73 FMC:1}
}

// exampleReport makes an unsigned report of a Turin.
func exampleReport() []byte {
	tcb := snp.TCBParts{FMC: 1, Bootloader: 2, SNP: 3, Microcode: 73}.Version(snp.Turin)
	r := snp.Report{
		Version: 5, Policy: snp.NewPolicy(1, 55, snp.PolicySMT), SignatureAlgo: snp.SignatureECDSAP384,
		Family: 0x1a, Model: 0x02, Stepping: 1, ChipID: [64]byte{1, 2, 3, 4, 5, 6, 7, 8},
		CurrentTCB: tcb, ReportedTCB: tcb, CommittedTCB: tcb, LaunchTCB: tcb,
	}
	return r.Marshal()
}
