package nvgpu_test

import (
	"fmt"

	"hitoku.dev/attest/nvgpu"
)

// Evidence of two GPUs, compared with the reference values of their driver and VBIOS.
// Without Roots and RIMRoots, NVIDIA's are trusted.
func ExampleVerify() {
	evidence, options := nvgpu.NewEvidence()

	result, err := nvgpu.Verify(evidence, options)
	if err != nil {
		fmt.Println(err) // not such evidence at all
		return
	}
	for _, rule := range result.Rules {
		if !rule.OK {
			fmt.Printf("%s: wanted %s, seen %s; %s\n", rule.Name, rule.Wanted, rule.Seen, rule.Advice)
		}
	}
	for _, d := range result.Claims.Devices {
		fmt.Println(d.TEE, d.PlatformID, d.Facts["chip"], "driver", d.Facts["driver_version"], "VBIOS", d.Facts["vbios_version"])
	}
	fmt.Println("nonce", len(result.Claims.Nonce), "bytes; all rules held:", result.OK())
	// Output:
	// nvidia-gpu 412901 GH100 A01 driver 590.12 VBIOS 96.00.A5.00.01
	// nvidia-gpu 412902 GH100 A01 driver 590.12 VBIOS 96.00.A5.00.01
	// nonce 32 bytes; all rules held: true
}

// A RIM file says which measurements a version of a driver or firmware has.
func ExampleParseRIM() {
	_, options := nvgpu.NewEvidence()

	rim, err := nvgpu.ParseRIM(options.RIMs[0])
	if err != nil {
		fmt.Println(err)
		return
	}
	golden := rim.Golden[7]
	fmt.Printf("%s %s: %s is one of %d values\n", rim.Product, rim.Version, golden.Name, len(golden.Values))
	// Output:
	// GH100 590.12: Measurement_7 is one of 2 values
}
