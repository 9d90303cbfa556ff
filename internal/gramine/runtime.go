package gramine

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Where the files lie in an image.
const (
	Dir = "/.hitoku/gramine"
	// HostDir has the libraries of the loader outside the enclave. It is a folder of its own:
	// Gramine's patched C library must not serve it.
	HostDir = "/.hitoku/g"
)

// LibC is the C library that a program is linked with.
type LibC int

// The C libraries. Static programs have none.
const (
	NoLibC LibC = iota
	Glibc
	Musl
)

func (l LibC) String() string { return [...]string{"none", "glibc", "musl"}[l] }

// LibCDir is the folder of Gramine's C library in an image; empty for NoLibC.
func LibCDir(l LibC) string {
	if l == NoLibC {
		return ""
	}
	return Dir + "/runtime/" + l.String()
}

// File is one file or symbolic link for an image.
type File struct {
	Path string // absolute
	Mode uint32 // permission bits
	Data []byte // of a regular file
	Link string // target of a symbolic link, relative to its folder; empty for a regular file
}

// Runtime is a release of Gramine.
type Runtime struct {
	Version string // such as "1.8"
	// Digest is "sha256:" and the SHA-256 of the list of all files: path, mode, SHA-256, one a line.
	Digest string

	common []File          // loader, libpal.so, libsysdb.so, licences
	libc   map[LibC][]File // those that the source has
	host   []File          // for the loader outside the enclave; nil: the source has none
}

// The files that an image for SGX names.
const (
	LoaderPath = Dir + "/loader"      // outside the enclave
	PALPath    = Dir + "/libpal.so"   // the loader inside the enclave
	LibOSPath  = Dir + "/libsysdb.so" // the library OS
)

const (
	licencesPath = Dir + "/licences"

	hostLoader   = HostDir + "/ld.so"
	hostProtobuf = HostDir + "/libprotobuf-c.so.1"
)

// PAL is libpal.so, the loader inside the enclave, which is measured.
func (r *Runtime) PAL() []byte { return r.file(PALPath) }

func (r *Runtime) file(name string) []byte {
	i := slices.IndexFunc(r.common, func(f File) bool { return f.Path == name })
	return r.common[i].Data
}

// LayerFiles are the files for an image whose programs use libc, sorted by path. The loader
// outside the enclave finds libraries in HostDir, which the image's configuration must name in
// LD_LIBRARY_PATH: with system those that hardly any image has, to be used with the image's own C
// library (see Fits), else all of them, with a dynamic loader of its own.
func (r *Runtime) LayerFiles(libc LibC, system bool) ([]File, error) {
	out := slices.Clone(r.common)
	if libc != NoLibC {
		files := r.libc[libc]
		if files == nil {
			return nil, fmt.Errorf("the program needs %s, and this Gramine has none for the enclave; wanted its folder runtime/%s: Debian's packages have glibc only, a build with -D%s=enabled has it", libc, libc, libc)
		}
		out = append(out, files...)
	}
	if r.host == nil {
		return nil, errors.New("the source has no libraries for Gramine's loader (ld-linux-x86-64.so.2, libc.so.6 and libprotobuf-c.so.1): name an image or a whole root file system with Gramine in it")
	}
	for i := range r.host {
		if !system || r.host[i].Path == hostProtobuf {
			out = append(out, r.host[i])
		}
	}
	if !system {
		i := slices.IndexFunc(out, func(f File) bool { return f.Path == LoaderPath })
		b, err := PatchInterpreter(out[i].Data, hostLoader)
		if err != nil {
			return nil, fmt.Errorf("the loader of Gramine: %w", err)
		}
		out[i].Data = b
	}
	sortFiles(out)
	return out, nil
}

// Fits reports whether an image's libc.so.6 has every version of symbols that the loader
// outside the enclave needs of it.
func (r *Runtime) Fits(libc []byte) bool {
	have, err := elf.NewFile(bytes.NewReader(libc))
	if err != nil || have.Machine != elf.EM_X86_64 || r.host == nil {
		return false
	}
	versions, err := have.DynamicVersions()
	if err != nil {
		return false
	}
	defined := map[string]bool{}
	for _, v := range versions {
		defined[v.Name] = true
	}
	programs := [][]byte{r.file(LoaderPath)}
	for i := range r.host {
		if r.host[i].Path == hostProtobuf {
			programs = append(programs, r.host[i].Data)
		}
	}
	for _, b := range programs {
		e, err := elf.NewFile(bytes.NewReader(b))
		if err != nil {
			return false
		}
		needs, err := e.DynamicVersionNeeds()
		if err != nil || len(needs) == 0 {
			return false
		}
		for _, n := range needs {
			if n.Name != "libc.so.6" {
				continue
			}
			for _, dep := range n.Needs {
				if !defined[dep.Dep] {
					return false
				}
			}
		}
	}
	return true
}

func sortFiles(files []File) {
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
}

// digest is computed over everything that LayerFiles can give.
func (r *Runtime) digest() string {
	all := slices.Concat(r.common, r.libc[Glibc], r.libc[Musl], r.host)
	sortFiles(all)
	sum := sha256.New()
	for i := range all {
		f := &all[i]
		fmt.Fprintf(sum, "%q %04o %q %x\n", f.Path, f.Mode, f.Link, sha256.Sum256(f.Data))
	}
	return "sha256:" + hex.EncodeToString(sum.Sum(nil))
}

// PatchInterpreter returns a copy of a dynamic program that is started by another dynamic
// loader. The name has to fit where the present one is.
func PatchInterpreter(program []byte, name string) ([]byte, error) {
	e, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		return nil, fmt.Errorf("no ELF file: %w", err)
	}
	for _, p := range e.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		if p.Filesz == 0 || p.Off > uint64(len(program)) || p.Filesz > uint64(len(program))-p.Off {
			return nil, errors.New("its interpreter lies outside of the file")
		}
		if uint64(len(name)) >= p.Filesz {
			return nil, fmt.Errorf("its interpreter has room for %d bytes, %q needs %d", p.Filesz-1, name, len(name))
		}
		out := slices.Clone(program)
		place := out[p.Off : p.Off+p.Filesz]
		clear(place)
		copy(place, name)
		return out, nil
	}
	return nil, errors.New("it has no interpreter, so it is no dynamic program")
}

// checkELF wants a complete x86-64 file of one of the types.
func checkELF(name string, b []byte, types ...elf.Type) error {
	e, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return fmt.Errorf("%s: no ELF file: %w", name, err)
	}
	if e.Machine != elf.EM_X86_64 || e.Class != elf.ELFCLASS64 || !slices.Contains(types, e.Type) {
		return fmt.Errorf("%s: %s %s for %s, wanted one for 64-bit x86-64", name, e.Class, e.Type, e.Machine)
	}
	for _, p := range e.Progs {
		if p.Off > uint64(len(b)) || p.Filesz > uint64(len(b))-p.Off {
			return fmt.Errorf("%s: truncated: a segment ends at byte %d of %d", name, p.Off+p.Filesz, len(b))
		}
	}
	return nil
}
