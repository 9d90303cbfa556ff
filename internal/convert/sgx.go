package convert

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path"
	"slices"
	"strings"

	"hitoku.dev/internal/convert/sgxplan"
	libos "hitoku.dev/internal/gramine"
	"hitoku.dev/measure/sgx/gramine"
	"hitoku.dev/measure/workload"
)

// enclave is one image's way to SGX.
type enclave struct {
	*conversion
	fs      *rootfs
	tree    *imageTree // fs, for look-ups by folder
	adds    *adder
	libc    libos.LibC
	system  []libos.File // Gramine's files, as they are in the image
	choice  *choice
	archive *archive // nil: nothing is unpacked
	spool   *spool
	info    *Enclave
	files   []*os.File // temporary ones
}

// enclaved is the target of SGX: the measurement is MRENCLAVE of Gramine's loader with a
// manifest that lists the files which the program may open.
func (c *conversion) enclaved(ctx context.Context, fs *rootfs, adds *adder, entries []entry) (*product, error) {
	e := &enclave{conversion: c, fs: fs, tree: newImageTree(fs), adds: adds}
	made, err := e.make(ctx, entries)
	if err != nil {
		return nil, errors.Join(err, e.close())
	}
	made.close = e.close
	return made, nil
}

// close removes the temporary files.
func (e *enclave) close() error {
	var errs []error
	for _, f := range e.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

func (e *enclave) tempDir() string {
	if e.CacheDir != "" {
		return e.CacheDir
	}
	return os.TempDir()
}

func (e *enclave) make(ctx context.Context, entries []entry) (*product, error) {
	c := e.conversion
	var err error
	if e.choice, err = e.choose(ctx, entries); err != nil {
		return nil, err
	}
	for _, n := range e.choice.notices {
		c.note.add("%s", n)
	}
	e.exactProgram()
	if c.SGX.Plan.JavaMode != "" {
		c.m.Env.Fixed = setVars(c.m.Env.Fixed, sgxplan.JavaEnv(c.SGX.Plan.JavaMode, c.m.Env.Fixed))
	}
	if err := e.takeRuntime(ctx); err != nil {
		return nil, err
	}
	m, report, err := e.plan(ctx)
	if err != nil {
		return nil, err
	}
	return e.finish(ctx, m, &report)
}

// takeRuntime decides which of Gramine's files the image needs.
func (e *enclave) takeRuntime(ctx context.Context) error {
	glibc, musl := slices.Contains(e.choice.runtimes, runtimeGlibc), slices.Contains(e.choice.runtimes, runtimeMusl)
	switch {
	case glibc && musl:
		e.note.add("the image has programs for glibc and for musl: Gramine's glibc is taken, and what needs musl does not start")
		e.libc = libos.Glibc
	case glibc:
		e.libc = libos.Glibc
	case musl:
		e.libc = libos.Musl
	}
	own, err := e.ownLibC(ctx)
	if err != nil {
		return err
	}
	if e.system, err = e.runtime.LayerFiles(e.libc, own); err != nil {
		return fail(KindRuntime, "%w", err)
	}
	e.system = slices.DeleteFunc(e.system, func(f libos.File) bool {
		return e.SGX.Files != FilesAll && slices.Contains(seldomUsed, path.Base(f.Path)) && !e.choice.has(path.Base(f.Path))
	})
	return nil
}

// seldomUsed are parts of the C library that go into an image only when its programs use them.
var seldomUsed = []string{"libmvec.so.1", "libnsl.so.1", "libanl.so.1"}

// ownLibC reports whether the loader outside the enclave can use the image's C library.
func (e *enclave) ownLibC(ctx context.Context) (bool, error) {
	if id, err := e.fs.lookup(hostInterpreter); err != nil || e.fs.nodes[id].ino.kind != kindFile {
		return false, nil
	}
	for _, dir := range []string{"/lib/x86_64-linux-gnu/", "/usr/lib/x86_64-linux-gnu/", "/lib64/", "/usr/lib64/"} { // ld.so(8): the first is taken
		if id, err := e.fs.lookup(dir + libcName); err == nil && e.fs.nodes[id].ino.kind == kindFile {
			b, err := e.fs.content(ctx, dir+libcName)
			return err == nil && e.runtime.Fits(b), ctx.Err()
		}
	}
	return false, nil
}

const hostInterpreter = "/lib64/ld-linux-x86-64.so.2"

// plan makes Gramine's manifest. What is unpacked into memory depends on which folders are in
// memory, so that it is made twice where there is such a thing.
func (e *enclave) plan(ctx context.Context) (*gramine.Manifest, sgxplan.Report, error) {
	in := e.input()
	if e.SGX.Files == FilesPacked {
		in.PackedFolders = packedFolders(e.choice, e.fs)
		if len(in.PackedFolders) == 0 {
			e.note.add("--files packed: no folder has %d files or more that the program needs; it is the same as lean", packedMany)
		}
	}
	m, report, err := sgxplan.Plan(in)
	if err != nil {
		return nil, report, refusedPlan(err)
	}
	if e.archive, err = newArchive(e.tree, report.SGX.Memory, e.choice.files, e.unpacks(report.SGX)); err != nil {
		return nil, report, err
	}
	changed, err := e.read(ctx)
	if err != nil || e.archive == nil && !changed {
		return m, report, err
	}
	if e.archive != nil {
		if err := e.archive.measure(ctx); err != nil {
			return nil, report, err
		}
		if n := e.archive.describe(); n != "" {
			e.note.add("%s", n)
		}
		in.Packed = e.archive.section()
	}
	if changed {
		in.Files = e.input().Files
	}
	if m, report, err = sgxplan.Plan(in); err != nil {
		return nil, report, refusedPlan(err)
	}
	return m, report, nil
}

// unpacks says which files in memory are put there at the start. In a listing of everything
// those are left out that programs make and take away: caches, logs, what is temporary.
func (e *enclave) unpacks(s *workload.SGX) func(string) bool {
	n := 0
	for i := range e.choice.files {
		f := &e.choice.files[i]
		switch {
		case slices.ContainsFunc(s.Encrypted, func(m workload.EncryptedMount) bool { return workload.Within(f.path, m.Path) }):
			e.note.add("%s of the image lies below an encrypted folder: the program does not see it", f.path)
		case e.SGX.Files == FilesAll && s.InMemory(f.path) && isDisposable(f.path):
			n++
		}
	}
	if n > 0 {
		e.note.add("%d files below %s are left out: the enclave has memory there", n, strings.Join(defaultWritable, ", "))
	}
	return func(name string) bool { return e.SGX.Files != FilesAll || !isDisposable(name) }
}

func isDisposable(name string) bool {
	return slices.ContainsFunc(defaultWritable, func(d string) bool { return workload.Within(name, d) })
}

func refusedPlan(err error) error { return fail(KindEnclave, "%w", err) }

// input is what the plan is made from.
func (e *enclave) input() sgxplan.Input {
	o := e.SGX.Plan
	o.ISVProdID, o.ISVSVN = e.Signing.ISVProdID, e.Signing.ISVSVN
	env := e.m.Env
	if len(e.m.Certificates) > 0 {
		env.Allowed = slices.Concat(env.Allowed, agentVars)
		slices.Sort(env.Allowed)
		env.Allowed = slices.Compact(env.Allowed)
	}
	in := sgxplan.Input{
		Hosts:  trustedBytes(hostsPath, []byte(hosts)),
		Config: &e.config.Config, Exec: e.m.Exec, Env: env, Folders: e.m.Folders, DirLinks: e.choice.links, Runtimes: e.choice.runtimes,
		LibC: libos.LibCDir(e.libc), Libraries: e.choice.libraries, Options: o,
	}
	for i := range e.choice.files {
		in.Files = append(in.Files, e.choice.files[i].trusted())
	}
	in.Files = append(in.Files, sgxplan.TrustedFile{Path: workload.GuestPath, SHA256: e.m.Guest, Size: int64(len(e.guest)), Mode: 0o555})
	for i := range e.system {
		f := &e.system[i]
		switch {
		case f.Path == libos.LibOSPath:
			in.Sysdb = trustedBytes(f.Path, f.Data)
		case in.LibC != "" && workload.Within(f.Path, in.LibC):
			in.Files = append(in.Files, trustedBytes(f.Path, e.content(f)))
		}
	}
	return in
}

// hosts is what programs find as /etc/hosts: the container's own is the host's to write.
const hosts = "127.0.0.1 localhost\n::1 localhost\n"

// agentVars are how the host says where the node agent is. The guest judges what the agent
// sends, not where it is.
var agentVars = []string{"NODE_AGENT", "NODE_AGENT_BASE_URL"}

// content is a runtime file's content, links followed.
func (e *enclave) content(f *libos.File) []byte {
	for range maxLinks {
		if f.Link == "" {
			return f.Data
		}
		to := f.Link
		if !path.IsAbs(to) {
			to = path.Join(path.Dir(f.Path), to)
		}
		i := slices.IndexFunc(e.system, func(o libos.File) bool { return o.Path == to })
		if i < 0 {
			return nil
		}
		f = &e.system[i]
	}
	return nil
}

func trustedBytes(name string, b []byte) sgxplan.TrustedFile {
	sum := sha256.Sum256(b)
	return sgxplan.TrustedFile{Path: name, SHA256: hex.EncodeToString(sum[:]), Size: int64(len(b))}
}

// read gets the contents that the conversion itself needs: of what is packed, and of compiled
// Python files, which it mends. It reports whether files changed.
func (e *enclave) read(ctx context.Context) (bool, error) {
	wanted := map[*inode]bool{}
	if e.archive != nil {
		e.archive.inodes(wanted)
	}
	if e.SGX.FixPyc {
		e.compiled(wanted)
	}
	if len(wanted) == 0 {
		return false, nil
	}
	f, err := tempFile(e.tempDir())
	if err != nil {
		return false, err
	}
	e.files = append(e.files, f)
	if e.spool, err = e.fs.newSpool(ctx, f, wanted); err != nil {
		return false, err
	}
	for _, a := range e.adds.list() {
		e.spool.hold(a.ino, a.content)
	}
	if e.archive != nil {
		e.archive.spool = e.spool
	}
	if !e.SGX.FixPyc {
		return false, nil
	}
	return e.mend()
}

// finish completes both manifests, and measures.
func (e *enclave) finish(ctx context.Context, m *gramine.Manifest, r *sgxplan.Report) (*product, error) {
	e.m.SGX = r.SGX
	var own bytes.Buffer
	if err := workload.EncodeFiles(&own, e.m, noFiles); err != nil {
		return nil, fail(KindImage, "%w", err)
	}
	if err := sgxplan.Trust(m, trustedBytes(workload.ManifestPath, own.Bytes())); err != nil {
		return nil, refusedPlan(err)
	}
	text := m.Encode()
	pal := e.runtime.PAL()
	loader, err := gramine.ReadLoader(bytes.NewReader(pal), int64(len(pal)))
	if err != nil {
		return nil, fail(KindRuntime, "%w", err)
	}
	got, err := gramine.Measure(ctx, text, loader)
	if err != nil {
		return nil, fail(KindEnclave, "%w", err)
	}
	params, warnings, err := m.SignParams(got.MRENCLAVE, e.Signing.Date)
	if err != nil {
		return nil, fail(KindEnclave, "%w", err)
	}
	e.tell(warnings, r)
	e.info = &Enclave{
		EnclaveShape: newShape(m, got, &params, r.SGX.Packed), Files: e.SGX.Files, Memory: r.Memory, Gramine: e.runtime.Version, GramineDigest: e.runtime.Digest,
		Runtimes: texts(e.choice.runtimes), Findings: []string{}, Weak: texts(r.Weak),
	}
	for _, f := range r.Findings {
		e.info.Findings = append(e.info.Findings, f.String())
	}
	return e.product(params, own.Bytes(), text), nil
}

// tell repeats what the plan has to say.
func (e *enclave) tell(warnings []string, r *sgxplan.Report) {
	for _, n := range slices.Concat(warnings, r.Notices) {
		e.note.add("%s", n)
	}
	for _, f := range r.Findings {
		e.note.add("%s", f)
	}
	for _, w := range r.Weak {
		e.note.add("allowed: %s", w)
	}
	for _, x := range r.Conflicts {
		e.note.add("--manifest: %s", x)
	}
	if len(e.m.Certificates) > 0 {
		e.note.add("certificates are not renewed on SGX: start the container again before they end")
	}
}

func noFiles(func(*workload.File) bool) {}
