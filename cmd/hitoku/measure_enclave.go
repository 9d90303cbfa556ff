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
	loader, err := readLoader(libpal)
	if err != nil {
		return nil, fmt.Errorf("--libpal: %w", err)
	}
	got, err := gramine.Measure(ctx, text, loader)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", manifest, err)
	}
	return got, nil
}

func readLoader(path string) (*gramine.LoaderFile, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	loader, err := gramine.ReadLoader(file, info.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return loader, nil
}
