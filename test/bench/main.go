// Command bench measures Hitoku beside what it is compared with, in one run,
// and prints each result as a ratio: conversion beside reading, decompressing
// and hashing the same layers and beside a plain pull and push; the start of a
// container with and without Hitoku; certificates through agent and manager
// beside the signatures that they need.
//
// Figures are of the machine that it runs on. It starts what it needs on
// loopback, and removes it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
)

type bench struct {
	bin   string // folder with hitoku, hitoku-init, hitoku-hello
	dir   string
	sizes []int64 // bytes of the images
}

func main() {
	bin := flag.String("bin", "bin", "folder with the built programs")
	dir := flag.String("dir", "", "working folder (default: a new one in the temporary folder; 12 GB for all sizes)")
	sizes := flag.String("sizes", "50M,1G,5G", "image sizes to convert, with suffix M or G")
	only := flag.String("only", "convert,start,certificates", "which benchmarks")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *bin, *dir, *sizes, *only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, bin, dir, sizes, only string) error {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return err
	}
	b := &bench{bin: bin, dir: dir}
	for _, s := range strings.Split(sizes, ",") {
		n, err := parseSize(s)
		if err != nil {
			return err
		}
		b.sizes = append(b.sizes, n)
	}
	if b.dir == "" {
		if b.dir, err = os.MkdirTemp("", "hitoku-bench-"); err != nil {
			return err
		}
		defer os.RemoveAll(b.dir)
	}
	for _, part := range strings.Split(only, ",") {
		switch part {
		case "convert":
			err = b.convert(ctx)
		case "start":
			err = b.start(ctx)
		case "certificates":
			err = b.certificates(ctx)
		default:
			err = fmt.Errorf("no benchmark is called %q", part)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", part, err)
		}
	}
	return nil
}

func parseSize(s string) (int64, error) {
	var n int64
	var unit string
	if _, err := fmt.Sscanf(s, "%d%s", &n, &unit); err != nil || n <= 0 {
		return 0, fmt.Errorf("size %q: wanted a number with M or G", s)
	}
	switch unit {
	case "M":
		return n << 20, nil
	case "G":
		return n << 30, nil
	}
	return 0, fmt.Errorf("size %q: unit %q, wanted M or G", s, unit)
}
