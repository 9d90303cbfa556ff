package convert

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

const maxGuest = 64 << 20

var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// FindGuest is the guest program's place where nobody names one: hitoku-init
// beside the program executable.
func FindGuest(executable string) string {
	if real, err := filepath.EvalSymlinks(executable); err == nil {
		executable = real
	}
	return filepath.Join(filepath.Dir(executable), "hitoku-init")
}

// readGuest reads the guest program and makes sure that a container of any image
// can run it: a static ELF program for the image's architecture.
func readGuest(path, arch string) ([]byte, error) {
	const advice = "make build puts hitoku-init beside hitoku; --guest FILE names another"
	f, err := os.Open(path)
	if err != nil {
		return nil, fail(KindGuest, "guest program: %w", err).advise(advice)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxGuest+1))
	if err != nil {
		return nil, fail(KindGuest, "guest program: %w", err)
	}
	if len(b) > maxGuest {
		return nil, fail(KindGuest, "guest program %s has more than %d bytes", path, maxGuest)
	}
	if err := checkGuest(b, arch); err != nil {
		return nil, fail(KindGuest, "guest program %s: %w", path, err).advise(advice)
	}
	return b, nil
}

func checkGuest(b []byte, arch string) error {
	e, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return fmt.Errorf("no Linux program: %w", err)
	}
	want, known := machines[arch]
	if !known {
		return fmt.Errorf("there is no guest for linux/%s", arch)
	}
	if e.Machine != want || e.Class != elf.ELFCLASS64 {
		return fmt.Errorf("built for %s, the image is for linux/%s", e.Machine, arch)
	}
	if e.Type != elf.ET_EXEC && e.Type != elf.ET_DYN {
		return fmt.Errorf("ELF type %s, wanted a program", e.Type)
	}
	for _, p := range e.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("dynamically linked; build it with CGO_ENABLED=0")
		}
	}
	return nil
}
