package guest

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"hitoku.dev/enclave"
	"hitoku.dev/enclave/gramine"
	"hitoku.dev/measure/workload"
)

// In an SGX enclave the guest is the first program under the Gramine library OS.
// Gramine has checked the files (its manifest lists them), set user and
// environment, and made the mounts; it has no kernel to ask about them, no
// symbolic links, no descriptors of processes. The guest gives Gramine the keys of
// encrypted mounts, unpacks the packed archive into memory, obtains certificates,
// and then the program replaces it: under Gramine a child would be a second
// enclave. Hence no TLS front, no renewal, no copy of the output, no socket for
// the program, which asks /dev/attestation itself.

// SGXOptions are the guest's surroundings in an enclave, where Root is "/".
type SGXOptions struct {
	Root   string
	Args   []string // of this process, without its own name
	Env    []string // of this process: what the enclave's manifest sets or lets through
	Device gramine.Files
	Log    *Log
	Clock  Clock
	Rand   io.Reader
	// Replace executes the program in place of this process. It returns only on failure.
	Replace func(p *Replacement) error
}

// Replacement is the program that takes the guest's place.
type Replacement struct {
	Path   string // as seen from Root
	Args   []string
	Env    []string
	Dir    string
	Groups []uint32
}

// sgxTail ends the encoding of every manifest for SGX: "tee" is the last member.
const sgxTail = `"tee":"sgx"}`

// OnSGX reports whether the image at root was converted for SGX. A wrong answer
// of the host's leads to a refusal: both ways read the manifest again, strictly.
func OnSGX(root string) bool {
	f, err := os.Open(filepath.Join(root, workload.ManifestPath))
	if err != nil {
		return false
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || st.Size() < int64(len(sgxTail)) {
		return false
	}
	tail := make([]byte, len(sgxTail))
	if _, err := f.ReadAt(tail, st.Size()-int64(len(tail))); err != nil {
		return false
	}
	return string(tail) == sgxTail
}

// sgxGuest is one start in an enclave.
type sgxGuest struct {
	SGXOptions
	manifest *workload.Manifest
	tee      *gramine.TEE // nil in Gramine's direct mode
	program  *Replacement
}

// RunSGX does everything from the manifest to the program's start, and returns
// only when that failed: 126 or 127 when the program cannot be executed, else 1.
// The log names the step.
func RunSGX(ctx context.Context, o SGXOptions) int {
	g := &sgxGuest{SGXOptions: o}
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"manifest", g.load},
		{"surroundings", g.check},
		{"enclave", g.open},
		{"keys of encrypted folders", g.giveKeys},
		{"packed archive", g.unpack},
		{"certificates", g.certify},
		{"program", g.replace},
	} {
		if err := step.do(ctx); err != nil {
			o.Log.Error(err)
			o.Log.Printf("the program is not started: step %q failed", step.name)
			var start *startError
			if errors.As(err, &start) {
				return start.code
			}
			return 1
		}
	}
	return 1
}

func (g *sgxGuest) load(context.Context) error {
	raw, err := readOwn(g.Root, workload.ManifestPath, workload.MaxSize)
	if err != nil {
		return err
	}
	if g.manifest, err = workload.Decode(raw); err != nil {
		return fmt.Errorf("%s: %w; convert the image again", workload.ManifestPath, err)
	}
	if g.manifest.TEE != workload.TEESGX {
		return fmt.Errorf("%s is for %q, wanted %q: convert the image with --tee sgx", workload.ManifestPath, g.manifest.TEE, workload.TEESGX)
	}
	return nil
}

// check compares what Gramine made of its manifest with what this guest was
// measured with, and decides arguments and environment. GODEBUG has acted before the
// first line, so that a value which is not the image's own is refused.
func (g *sgxGuest) check(context.Context) error {
	x := &g.manifest.Exec
	refused := &refusals{}
	if uid, gid := os.Getuid(), os.Getgid(); uint32(uid) != x.UID || uint32(gid) != x.GID {
		refused.add(Refusal{Rule: "user", Path: "loader.uid, loader.gid", Wanted: fmt.Sprintf("%d:%d", x.UID, x.GID), Seen: fmt.Sprintf("%d:%d", uid, gid), Advice: "convert the image again"})
	}
	args := slices.Concat(x.Entry, x.Args)
	if !slices.Equal(g.Args, args) {
		refused.add(Refusal{Rule: "arguments", Path: "loader.argv", Wanted: fmt.Sprintf("%q", args), Seen: fmt.Sprintf("%q", g.Args), Advice: "convert the image again: the host gives no arguments to an enclave"})
	}
	given := envMap(g.Env)
	if v, ok := given["GODEBUG"]; ok && !slices.Contains(g.manifest.Env.Fixed, "GODEBUG="+v) {
		refused.add(Refusal{Rule: "environment", Path: "GODEBUG", Wanted: "not set, or as the image fixes it", Seen: fmt.Sprintf("%q", v), Advice: "it changes this program before its first line; take it out of loader.env"})
	}
	if err := refused.err(); err != nil {
		return err
	}
	libraries := given["LD_LIBRARY_PATH"]
	env, ignored := programEnv(g.manifest, slices.DeleteFunc(slices.Clone(g.Env), func(pair string) bool { return strings.HasPrefix(pair, "LD_LIBRARY_PATH=") }))
	for _, name := range ignored {
		g.Log.Printf("environment variable %s is ignored: the image does not allow it (hitoku convert --allow-env %s)", name, name)
	}
	g.program = &Replacement{Args: args, Env: withLibraries(env, libraries), Dir: x.WorkDir, Groups: x.Groups}
	return nil
}

// withLibraries puts the folders of the enclave's manifest first: Gramine looks
// there for the program's loader, and its C library is there.
func withLibraries(env []string, first string) []string {
	const name = "LD_LIBRARY_PATH="
	i := slices.IndexFunc(env, func(pair string) bool { return strings.HasPrefix(pair, name) })
	switch {
	case first == "":
	case i < 0:
		env = append(env, name+first)
	default:
		own := strings.TrimPrefix(env[i], name)
		if own != "" && own != first && !strings.HasSuffix(first, ":"+own) {
			first += ":" + own
		}
		env[i] = name + first
	}
	return env
}

// open finds the enclave's device. What needs none runs in Gramine's direct mode too.
func (g *sgxGuest) open(context.Context) error {
	tee, err := gramine.Open(g.Device)
	needs := ""
	switch {
	case len(g.manifest.Certificates) > 0:
		needs = "certificate for " + g.manifest.Certificates[0].Subject
	case len(ownKeys(g.manifest.SGX)) > 0:
		needs = "key " + ownKeys(g.manifest.SGX)[0] + " of an encrypted folder"
	}
	if errors.Is(err, gramine.ErrNoDevice) && needs == "" {
		g.Log.Printf("%v: nothing here is protected from the host", err)
		return nil
	}
	if err != nil {
		if needs != "" {
			err = fmt.Errorf("%s: %w", needs, err)
		}
		return err
	}
	g.tee = tee
	g.Log.Printf("measurement %x", tee.Measurement())
	if tee.Debug() {
		g.Log.Printf("this is a debug enclave: whoever runs the machine can read everything in it")
	}
	return nil
}

// ownKeys are the keys that Gramine does not derive itself, sorted, each once.
func ownKeys(s *workload.SGX) (names []string) {
	for _, e := range s.Encrypted {
		if e.Key != workload.KeyMREnclave && e.Key != workload.KeyMRSigner {
			names = append(names, e.Key)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

const volumeLabel = "hitoku/volume/1"

// giveKeys derives the image's own keys of encrypted folders (security decision
// S15): the first 16 bytes of
//
//	HKDF-SHA256(seal key, info = LV("hitoku/volume/1", account root, host input, name))
//
// over the seal key of the measurement with key id SHA-256("hitoku/volume/1") and
// security version 0. Host input is that of the program's own sealing keys.
func (g *sgxGuest) giveKeys(ctx context.Context) error {
	names := ownKeys(g.manifest.SGX)
	if len(names) == 0 {
		return nil
	}
	root, err := parseAccountRoot(g.manifest.AccountRoot)
	if err != nil {
		return err
	}
	secret, err := g.tee.SealKey(ctx, enclave.SealRequest{KeyID: sha256.Sum256([]byte(volumeLabel))})
	if err != nil {
		return err
	}
	input := hostInput(g.manifest, &launch{args: g.program.Args, env: g.program.Env})
	for _, name := range names {
		key, err := hkdf.Key(sha256.New, secret, nil, string(lengthValue(volumeLabel, string(root[:]), string(input[:]), name)), gramine.KeySize)
		if err != nil {
			return err
		}
		if err := gramine.SetKey(g.Device, name, [gramine.KeySize]byte(key)); err != nil {
			return err
		}
	}
	return nil
}

// certify obtains every certificate and writes it, with its key, where the program looks.
func (g *sgxGuest) certify(ctx context.Context) error {
	if g.tee != nil {
		defer g.tee.Close()
	}
	m := g.manifest
	issuer, err := newIssuer(m, g.Env, g.tee, g.Clock, g.Rand, g.Log)
	if issuer == nil {
		return err
	}
	defer issuer.agent.http.CloseIdleConnections()
	for i := range m.Certificates {
		c := &m.Certificates[i]
		got, err := issuer.obtain(ctx, c)
		if err != nil {
			return err
		}
		if err := g.store(c, got); err != nil {
			return fmt.Errorf("certificate for %s: %w", c.Subject, err)
		}
		leaf := got.chain[0]
		g.Log.Printf("certificate for %s: serial %x, ends at %s; nothing renews it, so start the container again before then", c.Subject, leaf.SerialNumber, leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}
