package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"hitoku.dev/measure/sgx"
)

// convert measures each size cold, with the cache, and beside two things that cost the
// same input: reading, decompressing and hashing it, and a plain pull and push.
func (b *bench) convert(ctx context.Context) error {
	fmt.Println("conversion, registry to the same registry (layers are mounted), signing key at hand")
	fmt.Printf("%8s  %9s %9s %9s  %10s %10s  %11s %11s  %9s\n", "image", "cold", "peak", "again", "read+hash", "pull+push", "cold/hash", "cold/pull", "peak again")
	for _, size := range b.sizes {
		if err := b.convertOne(ctx, size); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) convertOne(ctx context.Context, size int64) error {
	addr, stop, err := b.serveRegistry(ctx, fmt.Sprintf("registry-%d", size))
	if err != nil {
		return err
	}
	defer os.RemoveAll(filepath.Join(b.dir, fmt.Sprintf("registry-%d", size)))
	defer stop()
	other, stopOther, err := b.serveRegistry(ctx, fmt.Sprintf("other-%d", size))
	if err != nil {
		return err
	}
	defer os.RemoveAll(filepath.Join(b.dir, fmt.Sprintf("other-%d", size)))
	defer stopOther()
	ref := addr + "/plain:1"
	if err := b.makeImage(ctx, ref, size); err != nil {
		return err
	}
	cache := filepath.Join(b.dir, fmt.Sprintf("cache-%d", size))
	args := []string{"convert", ref, addr + "/converted:1", "--no-manager", "--cache", cache, "--key", filepath.Join(b.dir, "key.pem"), "--guest", filepath.Join(b.bin, "hitoku-init")}
	// The key is made before anything is timed.
	if _, err := sgx.LoadOrCreateKey(filepath.Join(b.dir, "key.pem"), rand.Reader); err != nil {
		return err
	}
	hash, err := readHash(ctx, ref)
	if err != nil {
		return err
	}
	cold, peak, err := b.hitoku(ctx, args...)
	if err != nil {
		return err
	}
	again, peakAgain, err := b.hitoku(ctx, args...)
	if err != nil {
		return err
	}
	pull, err := pullPush(ctx, ref, other+"/plain:1")
	if err != nil {
		return err
	}
	fmt.Printf("%6d M  %8.2fs %7d M %8.2fs  %9.2fs %9.2fs  %11.2f %11.2f  %7d M\n", size>>20, cold.Seconds(), peak>>20, again.Seconds(),
		hash.Seconds(), pull.Seconds(), cold.Seconds()/hash.Seconds(), cold.Seconds()/pull.Seconds(), peakAgain>>20)
	return nil
}

// hitoku runs the command and returns its time and its peak memory in bytes.
func (b *bench) hitoku(ctx context.Context, args ...string) (time.Duration, int64, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(b.bin, "hitoku"), args...)
	cmd.Env = append(os.Environ(), "HITOKU_SESSION="+filepath.Join(b.dir, "session.json"))
	begin := time.Now()
	out, err := cmd.CombinedOutput()
	took := time.Since(begin)
	if err != nil {
		return 0, 0, fmt.Errorf("hitoku %s: %w: %s", args[0], err, out)
	}
	return took, cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10, nil
}
