package convert

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"hitoku.dev/internal/convert/sgxplan"
	libos "hitoku.dev/internal/gramine"
	"hitoku.dev/measure/sgx/gramine"
	"hitoku.dev/measure/workload"
)

// describeEnclave computes MRENCLAVE of the enclave in an added layer.
func (x *Inspection) describeEnclave(ctx context.Context, own *ownContent) error {
	if own.enclave == nil || own.loader == nil || own.signature == nil {
		return fail(KindMismatch, "added layer: %s lacks one of app.manifest.sgx, app.sig and Gramine's libpal.so", workload.Dir).advise(changedAdvice)
	}
	mismatch := func(name string, err error) error {
		return fail(KindMismatch, "%s: %w", name, err).advise(changedAdvice)
	}
	loader, err := gramine.ReadLoader(bytes.NewReader(own.loader), int64(len(own.loader)))
	if err != nil {
		return mismatch(libos.PALPath, err)
	}
	got, err := gramine.Measure(ctx, own.enclave, loader)
	if err != nil {
		return mismatch(sgxManifestPath, err)
	}
	m := got.Manifest
	p, _, err := m.SignParams(got.MRENCLAVE, 0)
	if err != nil {
		return mismatch(sgxManifestPath, err)
	}
	shape := newShape(m, got, &p, x.Options.SGX.Packed)
	x.Measurement, x.Files, x.enclave, x.text, x.loader, x.Enclave = shape.MRENCLAVE, shape.TrustedFiles, m, own.enclave, own.loader, &shape
	for _, w := range m.Weaknesses() {
		x.Weak = append(x.Weak, w.String())
	}
	return nil
}

// ManifestText is the Gramine manifest of an image for SGX, byte for byte; empty for others.
func (x *Inspection) ManifestText() string { return string(x.text) }

// checkEnclave compares the two manifests and the signatures.
func (x *Inspection) checkEnclave(own *ownContent) {
	m, w := x.enclave, x.Options.Manifest
	err := m.CheckSigstruct(x.sigstruct, x.sigstruct.EnclaveHash)
	x.rule(err == nil, "sigstruct_enclave", "attributes and numbers of the enclave's manifest", said(err), changedAdvice)
	x.rule(bytes.Equal(own.signature, own.sigstruct), "signature_file", "the same SIGSTRUCT in "+sgxSignaturePath+" and "+workload.SigstructPath, same(own.signature, own.sigstruct), changedAdvice)
	sum := workload.Measurement(own.manifest)
	x.trusted("trusted "+workload.ManifestPath, workload.ManifestPath, hex.EncodeToString(sum[:]))
	x.trusted("trusted "+workload.GuestPath, workload.GuestPath, own.guest)
	x.rule(m.LibOS.Entrypoint == workload.GuestPath, "first_program", workload.GuestPath, m.LibOS.Entrypoint, changedAdvice)
	argv := slices.Concat([]string{workload.GuestPath}, w.Exec.Entry, w.Exec.Args)
	x.rule(slices.Equal(m.Loader.Argv, argv), "arguments", fmt.Sprintf("%q", argv), fmt.Sprintf("%q", m.Loader.Argv), changedAdvice)
	user, seen := fmt.Sprintf("%d:%d", w.Exec.UID, w.Exec.GID), fmt.Sprintf("%d:%d", m.Loader.UID, m.Loader.GID)
	x.rule(user == seen, "user", user, seen, changedAdvice)
	want, have := mountTexts(w.SGX), mountTexts(sgxplan.Section(m, nil))
	x.rule(want == have, "mounts", want, have, changedAdvice)
	x.trusted("trusted "+hostsPath, hostsPath, trustedBytes("", own.hosts).SHA256)
	if p := w.SGX.Packed; p != nil {
		x.trusted("trusted "+p.Path, p.Path, p.SHA256)
	}
}

// mountTexts are the mounts of a section in one line.
func mountTexts(s *workload.SGX) string {
	var out []string
	for _, e := range s.Encrypted {
		out = append(out, e.Path+" encrypted with "+e.Key)
	}
	for _, m := range s.Memory {
		out = append(out, m+" in memory")
	}
	return strings.Join(out, ", ")
}

// trusted is a rule that a file is in the enclave's list with this hash.
func (x *Inspection) trusted(rule, path, hash string) {
	seen := "not listed"
	if f := listed(x.enclave, path); f != nil {
		seen = f.SHA256
	}
	x.rule(seen == hash, rule, hash, seen, changedAdvice)
}

func listed(m *gramine.Manifest, path string) *gramine.TrustedFile {
	i := slices.IndexFunc(m.SGX.TrustedFiles, func(f gramine.TrustedFile) bool { return f.URI == "file:"+path })
	if i < 0 {
		return nil
	}
	return &m.SGX.TrustedFiles[i]
}

// compareTrusted lists the first trusted files that the layers have otherwise.
func compareTrusted(m *gramine.Manifest, fs *rootfs) []string {
	var diff firsts
	files := slices.Concat([]gramine.TrustedFile{m.Loader.Entrypoint}, m.SGX.TrustedFiles)
	for i := range files {
		path, _ := strings.CutPrefix(files[i].URI, "file:")
		seen := ""
		switch id, err := fs.lookup(path); {
		case err != nil:
			seen = err.Error()
		case fs.nodes[id].ino.kind != kindFile:
			seen = "no regular file"
		case hex.EncodeToString(fs.nodes[id].ino.hash[:]) != files[i].SHA256:
			seen = fmt.Sprintf("SHA-256 %x, wanted %s", fs.nodes[id].ino.hash, files[i].SHA256)
		default:
			continue
		}
		diff.add("%s: %s", path, seen)
	}
	return diff.all()
}

func said(err error) string {
	if err != nil {
		return err.Error()
	}
	return "as wanted"
}

func same(a, b []byte) string {
	if bytes.Equal(a, b) {
		return "the same"
	}
	return "two different ones"
}
