package main

import (
	"context"
	"fmt"
	"os"

	"hitoku.dev/measure/sgx/gramine"
)

// measureEnclave measures what a ready manifest and Gramine's loader make together. Errors
// name the file that they are about.
func measureEnclave(ctx context.Context, manifest, libpal string) (*gramine.Measurement, error) {
	text, err := readLimited(manifest, gramine.MaxManifest)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(libpal) // its pages are read while they are measured
	if err != nil {
		return nil, fmt.Errorf("--libpal: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("--libpal: %w", err)
	}
	loader, err := gramine.ReadLoader(file, info.Size())
	if err != nil {
		return nil, fmt.Errorf("--libpal %s: %w", libpal, err)
	}
	got, err := gramine.Measure(ctx, text, loader)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", manifest, err)
	}
	return got, nil
}
