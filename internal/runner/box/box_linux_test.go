package box

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// progFile is given where the tests run again as an ordinary user, who may have no Go.
var progFile = flag.String("prog", "", "test program that is built already")

// prog builds the test program once: a static one, as images hold.
var prog = sync.OnceValues(func() ([]byte, error) {
	if *progFile != "" {
		return os.ReadFile(*progFile)
	}
	dir, err := os.MkdirTemp("", "hitoku-box-test")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	cmd := exec.Command("go", "build", "-o", filepath.Join(dir, "prog"), "./testdata/prog")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	return os.ReadFile(filepath.Join(dir, "prog"))
})

// config returns a container that runs the test program with args.
func config(t *testing.T, args ...string) (Config, *bytes.Buffer) {
	t.Helper()
	if err := Check(); err != nil {
		t.Fatal(err)
	}
	raw, err := prog()
	if err != nil {
		t.Fatal(err)
	}
	users, err := CurrentUsers()
	if err != nil {
		t.Fatal(err)
	}
	top := t.TempDir()
	c := Config{
		Rootfs: filepath.Join(top, "rootfs"), Dir: filepath.Join(top, "run"), Overlay: true, Hostname: "box", Users: users,
		Args: append([]string{"/prog"}, args...), Env: []string{"PATH=/bin:/"}, WorkDir: "/",
	}
	for _, dir := range []string{"rootfs/etc", "run/upper", "run/work", "run/merged"} {
		if err := os.MkdirAll(filepath.Join(top, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(c.Rootfs, "prog"), raw, 0o755); err != nil {
		t.Fatal(err)
	}
	out := new(bytes.Buffer)
	c.Stdout, c.Stderr = out, out
	// Overlays leave folders that only their mapped owner can list.
	t.Cleanup(func() {
		if err := Remove(users, top); err != nil {
			t.Error(err)
		}
	})
	return c, out
}

func start1(t *testing.T, c Config) *Box {
	t.Helper()
	b, err := Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Kill(); <-b.Done() })
	return b
}

func wait(t *testing.T, b *Box) int {
	t.Helper()
	select {
	case <-b.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("the container does not end")
	}
	code, err := b.Wait()
	if err != nil {
		t.Error(err)
	}
	return code
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	for _, code := range []int{0, 1, 77, 255} {
		c, _ := config(t, "exit", fmt.Sprint(code))
		if got := wait(t, start1(t, c)); got != code {
			t.Errorf("exit code %d, wanted %d", got, code)
		}
	}
}

func TestPrograms(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		args []string
		code int
	}{
		"missing":         {[]string{"/nothing"}, 127},
		"not in PATH":     {[]string{"nothing"}, 127},
		"found in PATH":   {[]string{"prog", "exit", "0"}, 0},
		"not executable":  {[]string{"/etc/passwd"}, 126},
		"not a program":   {[]string{"/etc/junk"}, 126},
		"no interpreter":  {[]string{"/etc/script"}, 127},
		"a folder":        {[]string{"/etc"}, 126},
		"relative to dir": {[]string{"./prog", "exit", "0"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, _ := config(t)
			for file, mode := range map[string]os.FileMode{"passwd": 0o644, "junk": 0o755, "script": 0o755} {
				body := "#!/bin/nothing\n"
				if file == "junk" {
					body = "\x00\x01junk"
				}
				if err := os.WriteFile(filepath.Join(c.Rootfs, "etc", file), []byte(body), mode); err != nil {
					t.Fatal(err)
				}
			}
			c.Args = tc.args
			b, err := Start(t.Context(), c)
			var failed *StartError
			switch {
			case tc.code == 0 && err == nil:
				if got := wait(t, b); got != 0 {
					t.Errorf("exit code %d", got)
				}
			case !errors.As(err, &failed) || failed.Code != tc.code:
				t.Errorf("%v, wanted code %d", err, tc.code)
			}
		})
	}
}

func view1(t *testing.T, c Config, out *bytes.Buffer) (v struct {
	PID, UID, GID                int
	Groups                       []int
	Host, Dir, Caps              string
	Env, Interfaces, Mounts, FDs []string
	Root                         []string
	Processes                    int
},
) {
	t.Helper()
	if code := wait(t, start1(t, c)); code != 0 {
		t.Fatalf("exit code %d: %s", code, out)
	}
	if err := json.Unmarshal(out.Bytes(), &v); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	return v
}

func TestIsolation(t *testing.T) {
	t.Parallel()
	c, out := config(t, "look")
	c.WorkDir, c.Folders, c.Env = "/srv/app", []string{"/data"}, append(c.Env, "A=b")
	v := view1(t, c, out)
	if v.PID != 1 || v.Processes != 1 || v.UID != 0 || v.GID != 0 || v.Host != "box" || v.Dir != "/srv/app" {
		t.Errorf("%+v", v)
	}
	if os.Geteuid() == 0 && len(v.Groups) != 0 {
		t.Errorf("groups of the caller came along: %v", v.Groups)
	}
	if !slices.Equal(v.Interfaces, []string{"lo"}) {
		t.Errorf("interfaces %v", v.Interfaces)
	}
	if v.Caps != fmt.Sprintf("%016x", keptMask()) {
		t.Errorf("bounding set %s, wanted %016x", v.Caps, keptMask())
	}
	if !slices.Equal(v.Env, []string{"PATH=/bin:/", "A=b", "HOME=/root"}) {
		t.Errorf("environment %q", v.Env)
	}
	for _, fd := range v.FDs {
		if !strings.HasPrefix(fd, "anon_inode:") { // Go's own
			t.Errorf("open file came along: %s", fd)
		}
	}
	if !slices.Contains(v.Root, "data") || slices.Contains(v.Root, "work") {
		t.Errorf("root %v", v.Root)
	}
	for _, m := range v.Mounts {
		point, options, _ := strings.Cut(m, " ")
		top := strings.Split(point, "/")[1]
		if top != "" && top != "proc" && top != "sys" && top != "dev" {
			t.Errorf("mount %s", m)
		}
		if point == "/" && !strings.Contains(options, "nodev") {
			t.Errorf("devices of the image are alive: %s", m)
		}
		if point == "/proc/sys" && !strings.HasPrefix(options, "ro") {
			t.Errorf("kernel settings can be written: %s", m)
		}
	}
}

func keptMask() (mask uint64) {
	for _, c := range keptCapabilities() {
		mask |= 1 << c
	}
	return mask
}

func TestChangesStayInTheRun(t *testing.T) {
	t.Parallel()
	for name, overlay := range map[string]bool{"overlay": true, "plain": false} {
		t.Run(name, func(t *testing.T) {
			c, out := config(t, "write", "/etc/new")
			c.Overlay = overlay
			if code := wait(t, start1(t, c)); code != 0 || !strings.Contains(out.String(), "<nil>") {
				t.Fatalf("%d %s", code, out)
			}
			_, err := os.Stat(filepath.Join(c.Rootfs, "etc/new"))
			if overlay != errors.Is(err, os.ErrNotExist) {
				t.Errorf("in the root: %v", err)
			}
		})
	}
}

func TestSignals(t *testing.T) {
	t.Parallel()
	for s, want := range map[syscall.Signal]int{syscall.SIGTERM: 55, syscall.SIGUSR1: 50, syscall.SIGKILL: 137} {
		c, _ := config(t, "wait")
		r, w := io.Pipe()
		c.Stdout = w
		b := start1(t, c)
		io.ReadFull(r, make([]byte, 8))
		go io.Copy(io.Discard, r)
		if err := b.Signal(s); err != nil {
			t.Fatal(err)
		}
		if got := wait(t, b); got != want {
			t.Errorf("%v: exit code %d, wanted %d", s, got, want)
		}
	}
}

func TestPortsAndAgent(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{":8080", "[::1]:8080", "127.0.0.1:8080"} {
		c, _ := config(t, "serve", addr)
		b := start1(t, c)
		client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return b.Dial(ctx, 8080) }}}
		var body []byte
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			if res, err := client.Get("http://box/"); err == nil {
				body, _ = io.ReadAll(res.Body)
				res.Body.Close()
				break
			}
		}
		if string(body) != "hello from box" {
			t.Errorf("%s: %q", addr, body)
		}
		if _, err := b.Dial(t.Context(), 1); err == nil {
			t.Errorf("%s: a closed port answers", addr)
		}
		b.Kill()
		<-b.Done()
		if _, err := b.Dial(t.Context(), 8080); err == nil {
			t.Error("a container that has ended answers")
		}
	}
	c, out := config(t, "get", "http://127.0.0.1:9092/x")
	c.AgentPort = 9092
	b := start1(t, c)
	go http.Serve(b.Agent(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "agent "+r.URL.Path) }))
	if code := wait(t, b); code != 0 || out.String() != "agent /x" {
		t.Errorf("%d %s", code, out)
	}
}

func TestMounts(t *testing.T) {
	t.Parallel()
	host := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(host, "s.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, "socket")
			c.Close()
		}
	}()
	if err := os.WriteFile(filepath.Join(host, "f"), []byte("file"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args     []string
		readOnly bool
		want     string
	}{
		{[]string{"sock", "/run/hitoku/tee/s.sock"}, true, "socket"},
		{[]string{"sock", "/run/hitoku/tee/s.sock"}, false, "socket"},
		{[]string{"cat", "/run/hitoku/tee/f"}, true, "file"},
		{[]string{"write", "/run/hitoku/tee/g"}, true, "read-only"},
		{[]string{"write", "/run/hitoku/tee/g"}, false, "<nil>"},
	} {
		c, out := config(t, tc.args...)
		c.Mounts = []Mount{{Source: host, Target: "/run/hitoku/tee", ReadOnly: tc.readOnly}}
		wait(t, start1(t, c))
		if !strings.Contains(out.String(), tc.want) {
			t.Errorf("%v, read-only %v: %s", tc.args, tc.readOnly, out)
		}
	}
	c, out := config(t, "cat", "/etc/hosts")
	c.Mounts = []Mount{{Source: filepath.Join(host, "f"), Target: "/etc/hosts", ReadOnly: true}}
	if wait(t, start1(t, c)); out.String() != "file" {
		t.Errorf("%s", out)
	}
	c, _ = config(t, "exit", "0")
	c.Mounts = []Mount{{Source: "/nowhere", Target: "/x"}}
	if _, err := Start(t.Context(), c); err == nil || !strings.Contains(err.Error(), "/nowhere") {
		t.Errorf("missing source: %v", err)
	}
}

func TestHostileRoots(t *testing.T) {
	t.Parallel()
	// Links in the image must not move a mount, or a folder that is made, out of the container.
	for name, tc := range map[string]struct {
		setup func(root, host string) error
		want  string
	}{
		"proc is a link":     {func(root, host string) error { return os.Symlink(host, filepath.Join(root, "proc")) }, "no folder at /proc"},
		"dev is a file":      {func(root, host string) error { return os.WriteFile(filepath.Join(root, "dev"), nil, 0o644) }, "no folder at /dev"},
		"run is a link":      {func(root, host string) error { return os.Symlink(host, filepath.Join(root, "run")) }, ""},
		"run is a dots link": {func(root, host string) error { return os.Symlink("../../../../../.."+host, filepath.Join(root, "run")) }, ""},
		"data is a link":     {func(root, host string) error { return os.Symlink(host, filepath.Join(root, "data")) }, ""},
		"passwd is a FIFO":   {func(root, host string) error { return syscall.Mkfifo(filepath.Join(root, "etc/passwd"), 0o644) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			host, tee := t.TempDir(), t.TempDir()
			c, _ := config(t, "exit", "0")
			c.Mounts = []Mount{{Source: tee, Target: "/run/hitoku/tee", ReadOnly: true}}
			c.Folders = []string{"/data/sub"}
			if err := tc.setup(c.Rootfs, host); err != nil {
				t.Fatal(err)
			}
			b, err := Start(t.Context(), c)
			if err == nil {
				b.Kill()
				<-b.Done()
			}
			if tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("error %v, wanted %q", err, tc.want)
			}
			if entries, _ := os.ReadDir(host); len(entries) != 0 {
				t.Errorf("made on the host: %v", entries)
			}
		})
	}
}

func TestCallerCancels(t *testing.T) {
	t.Parallel()
	c, _ := config(t, "ignore")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if b, err := Start(ctx, c); err == nil {
		b.Kill()
		<-b.Done()
	} else if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestAsOrdinaryUser runs the tests of this file again without root.
func TestAsOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		return // this is that run, or all of them are
	}
	raw, err := prog()
	if err != nil {
		t.Fatal(err)
	}
	const uid = 12345 // nobody, with no ids in /etc/subuid
	dir, err := os.MkdirTemp("", "hitoku-box-user")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(
		os.WriteFile(filepath.Join(dir, "test"), self, 0o755), os.WriteFile(filepath.Join(dir, "prog"), raw, 0o755),
		os.Mkdir(filepath.Join(dir, "tmp"), 0o755), os.Chown(filepath.Join(dir, "tmp"), uid, uid), os.Chmod(dir, 0o755),
	)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(dir, "test"), "-test.v", "-test.timeout=90s", "-prog="+filepath.Join(dir, "prog"))
	cmd.Dir, cmd.Env = dir, []string{"TMPDIR=" + filepath.Join(dir, "tmp"), "PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestLookUpUser(t *testing.T) {
	t.Parallel()
	files := map[string][]string{
		"/etc/passwd": {"root:x:0:0:root:/root:/bin/sh", "www:x:33:34::/var/www:/bin/false", "broken", "bad:x:a:b::/:"},
		"/etc/group":  {"root:x:0:", "www:x:34:", "extra:x:50:www,other", "also:x:51:root"},
	}
	read := func(p string) []string { return files[p] }
	for text, want := range map[string]*account{
		"": {0, 0, []int{51}, "/root"}, "0": {0, 0, []int{51}, "/root"}, "root": {0, 0, []int{51}, "/root"},
		"www": {33, 34, []int{50}, "/var/www"}, "33": {33, 34, []int{50}, "/var/www"}, "33:0": {33, 0, nil, "/var/www"}, "www:extra": {33, 50, nil, "/var/www"},
		"1234": {1234, 0, nil, "/"}, "1234:7": {1234, 7, nil, "/"}, "nobody": nil, "www:none": nil,
	} {
		got, err := lookUpUser(text, read)
		if want == nil {
			if err == nil {
				t.Errorf("%q: accepted as %+v", text, got)
			}
			continue
		}
		if err != nil || got.uid != want.uid || got.gid != want.gid || !slices.Equal(got.groups, want.groups) || got.home != want.home {
			t.Errorf("%q: %+v, %v; wanted %+v", text, got, err, want)
		}
	}
	if got, err := lookUpUser("", func(string) []string { return nil }); err != nil || got.home != "/root" {
		t.Errorf("image without accounts: %+v, %v", got, err)
	}
}

func TestCheckSaysWhatHelps(t *testing.T) {
	t.Parallel()
	denied := func() error { return syscall.EPERM }
	for key, tc := range map[string]struct{ value, want string }{
		"kernel/apparmor_restrict_unprivileged_userns": {"1", "apparmor_restrict_unprivileged_userns=0"},
		"kernel/unprivileged_userns_clone":             {"0", "unprivileged_userns_clone=1"},
		"user/max_user_namespaces":                     {"0", "max_user_namespaces=15000"},
		"nothing":                                      {"", "in most containers"},
	} {
		err := check(func(name string) string {
			if name == key {
				return tc.value
			}
			return ""
		}, denied)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", key, err)
		}
		if err := check(func(string) string { return "1" }, func() error { return nil }); err != nil {
			t.Errorf("works, and yet: %v", err)
		}
	}
}
