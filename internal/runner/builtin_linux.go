package runner

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"hitoku.dev/internal/image"
	"hitoku.dev/internal/runner/box"
)

// agentPort is where the node agent is found inside a container of the built-in runner.
const agentPort = 9092

func checkBuiltin() error {
	if err := box.Check(); err != nil {
		return fmt.Errorf("builtin: %w", err)
	}
	return nil
}

// builtin is a container of the built-in runner.
type builtin struct {
	box      *box.Box
	forward  *forwarder
	stopWith syscall.Signal
	grace    time.Duration
	cleanup  func() error

	once sync.Once
	code int
	err  error
}

// defaultDir is where unpacked images are kept.
func defaultDir() (string, error) {
	if os.Geteuid() == 0 {
		return "/var/lib/hitoku/runner", nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("run: no place for unpacked images: %w; pass --runner-dir", err)
	}
	return filepath.Join(dir, "hitoku", "runner"), nil
}

func startBuiltin(ctx context.Context, o Options) (_ Container, err error) {
	if o.Dir == "" {
		if o.Dir, err = defaultDir(); err != nil {
			return nil, err
		}
	}
	users, err := box.CurrentUsers()
	if err != nil {
		return nil, err
	}
	s, err := openStore(o.Dir, users, o.logf)
	if err != nil {
		return nil, err
	}
	ref, err := image.Parse(o.Image)
	if err != nil {
		return nil, usage("%w", err)
	}
	src, err := image.Open(ctx, ref, o.Pull)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	cfg, err := src.Image().ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", o.Image, err)
	}
	img, err := s.image(ctx, src)
	if err != nil {
		return nil, err
	}
	r, err := s.run()
	if err != nil {
		img.release()
		return nil, err
	}
	b := &builtin{grace: o.stopTimeout(), stopWith: stopSignal(cfg.Config.StopSignal)}
	b.cleanup = sync.OnceValue(func() error { return errors.Join(r.remove(), img.release()) })
	defer func() {
		if err != nil {
			err = errors.Join(err, b.cleanup())
		}
	}()
	c, err := o.boxConfig(&cfg.Config, users, r.dir)
	if err != nil {
		return nil, err
	}
	if b.forward, err = newForwarder(o); err != nil {
		return nil, err
	}
	if b.box, err = startBox(ctx, c, s, img, src); err != nil {
		b.forward.close()
		return nil, err
	}
	b.forward.serve(b.box)
	return b, nil
}

// startBox starts on an overlay of the unpacked image, or on a copy where the
// system has no overlays for us.
func startBox(ctx context.Context, c *box.Config, s *store, img *unpacked, src *image.Source) (*box.Box, error) {
	c.Rootfs, c.Overlay = img.rootfs, true
	b, err := box.Start(ctx, *c)
	if !errors.Is(err, box.ErrOverlay) {
		return b, err
	}
	s.logf("no overlay file system here (%v), so the image is unpacked once more for this container", err)
	c.Rootfs, c.Overlay = filepath.Join(c.Dir, "rootfs"), false
	if _, err := s.unpack(ctx, src, c.Rootfs); err != nil {
		return nil, err
	}
	return box.Start(ctx, *c)
}

// boxConfig is what the image and the options say about the container.
func (o *Options) boxConfig(cfg *v1.Config, users *box.Users, dir string) (*box.Config, error) {
	c := &box.Config{
		Dir: dir, Hostname: o.Name, WorkDir: cfg.WorkingDir, User: cfg.User, AgentPort: agentPort,
		Users: users, Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr,
	}
	if c.Hostname == "" {
		var raw [6]byte
		rand.Read(raw[:]) // never fails (crypto/rand)
		c.Hostname = hex.EncodeToString(raw[:])
	}
	if !strings.HasPrefix(c.WorkDir, "/") {
		c.WorkDir = "/" + c.WorkDir
	}
	c.Args = append(c.Args, cfg.Entrypoint...)
	if len(o.Args) > 0 {
		c.Args = append(c.Args, o.Args...)
	} else {
		c.Args = append(c.Args, cfg.Cmd...)
	}
	if len(c.Args) == 0 {
		return nil, fmt.Errorf("image %s: it has no entry point and no command; give one after the image", o.Image)
	}
	c.Env = environment(c.Hostname, cfg.Env, o.Env)
	for dir := range cfg.Volumes {
		if strings.HasPrefix(dir, "/") {
			c.Folders = append(c.Folders, filepath.Clean(dir))
		}
	}
	return c, o.mounts(c)
}

// mounts adds the mounts that every container gets, and those asked for.
func (o *Options) mounts(c *box.Config) error {
	files := map[string]string{
		"hosts":       "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t" + c.Hostname + "\n",
		"hostname":    c.Hostname + "\n",
		"resolv.conf": "# No network but loopback in a container of the built-in runner.\n",
	}
	for _, name := range []string{"hosts", "hostname", "resolv.conf"} {
		path := filepath.Join(c.Dir, name)
		if err := os.WriteFile(path, []byte(files[name]), 0o644); err != nil {
			return fmt.Errorf("run: %w", err)
		}
		c.Mounts = append(c.Mounts, box.Mount{Source: path, Target: "/etc/" + name})
	}
	if _, err := os.Stat(o.teeDir()); err == nil {
		c.Mounts = append(c.Mounts, box.Mount{Source: o.teeDir(), Target: ContainerTEEDir, ReadOnly: true})
	} else {
		o.logf("no simulated TEE at %s: a converted image needs it; start `hitoku agent`, or pass its --tee-dir", o.teeDir())
	}
	for _, text := range o.Volumes {
		v, err := parseVolume(text)
		if err != nil {
			return err
		}
		c.Mounts = append(c.Mounts, box.Mount{Source: v.host, Target: v.container, ReadOnly: v.readOnly})
	}
	return nil
}

// environment merges what an engine sets, the image and the user, the later over
// the earlier. A name without a value takes the one of this process, if there is one.
func environment(hostname string, img, user []string) []string {
	var out []string
	at := map[string]int{}
	set := func(name, value string) {
		if i, ok := at[name]; ok {
			out[i] = name + "=" + value
			return
		}
		at[name] = len(out)
		out = append(out, name+"="+value)
	}
	set("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	set("HOSTNAME", hostname)
	for _, e := range img {
		name, value, _ := strings.Cut(e, "=")
		set(name, value)
	}
	set(agentVariable, "http://127.0.0.1:"+strconv.Itoa(agentPort))
	for _, e := range user {
		name, value, ok := strings.Cut(e, "=")
		if !ok {
			if value, ok = os.LookupEnv(name); !ok {
				continue
			}
		}
		set(name, value)
	}
	return out
}

// stopSignal reads the image's STOPSIGNAL: a name or a number.
func stopSignal(text string) syscall.Signal {
	if n, err := strconv.Atoi(text); err == nil && n > 0 && n < 65 {
		return syscall.Signal(n)
	}
	text = strings.ToUpper(text)
	if !strings.HasPrefix(text, "SIG") {
		text = "SIG" + text
	}
	if s := unix.SignalNum(text); s != 0 {
		return s
	}
	return syscall.SIGTERM
}

func (b *builtin) Wait() (int, error) {
	b.once.Do(func() {
		code, err := b.box.Wait()
		b.forward.close()
		b.code, b.err = code, errors.Join(err, b.cleanup())
	})
	return b.code, b.err
}

// Signal sends a signal to the program.
func (b *builtin) Signal(s syscall.Signal) error { return b.box.Signal(s) }

func (b *builtin) Stop() error {
	b.box.Signal(b.stopWith) // an error means that it has ended
	t := time.NewTimer(b.grace)
	defer t.Stop()
	select {
	case <-b.box.Done():
	case <-t.C:
		b.box.Kill()
	}
	return nil
}

func (b *builtin) Ports() map[int]string { return b.forward.addresses() }

// StartCode returns the exit code of a program that could not be started, as
// shells and container engines give it: 126 or 127.
func StartCode(err error) (int, bool) {
	var e *box.StartError
	if errors.As(err, &e) {
		return e.Code, true
	}
	return 0, false
}
