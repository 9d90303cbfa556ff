//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"hitoku.dev/internal/convert/closure"
	"hitoku.dev/internal/freeport"
)

// traced is a program that does its work under strace, in the root of an image.
type traced struct {
	name, image string
	app         map[string]string
	argv        []string
	work        string
	env         []string
	user        string                                    // uid:gid, "" for root
	before      func(t *testing.T, root string)           // prepares the root
	ask         func(ctx context.Context) (string, error) // nil for programs that end by themselves
	want        string                                    // in the answer or the output
	most        int                                       // percent of the full listing that may be chosen; 0 for any
	own         []string                                  // folders that the program wrote itself
}

// TestSelectedFilesAreThoseOpened compares what is chosen without running a program with what
// the program opens while it does its work.
func TestSelectedFilesAreThoseOpened(t *testing.T) {
	flask, nginx, node, redis, pg := mustPort(t), mustPort(t), mustPort(t), mustPort(t), mustPort(t)
	const data = "/srv/data"
	for _, p := range []*traced{
		{
			name: "flask", image: "flask", work: "/srv/app", argv: []string{"python3", "app.py"}, most: 10, want: "hello, trace",
			app: map[string]string{
				"/srv/app/app.py": "from flask import Flask, jsonify, render_template\nimport greet\napp = Flask(__name__)\n" +
					"@app.route('/')\ndef index():\n    return render_template('index.html', name=greet.name())\n" +
					"if __name__ == '__main__':\n    app.run(port=" + flask + ")\n",
				"/srv/app/greet.py":             "def name():\n    import decimal, sqlite3\n    return 'trace'\n",
				"/srv/app/templates/index.html": "hello, {{ name }}",
			},
			ask: get("http://127.0.0.1:" + flask + "/"),
		},
		{
			name: "nginx", image: "nginx", work: "/", argv: []string{"nginx", "-g", "daemon off;"}, most: 10, want: "served",
			app: map[string]string{
				"/etc/nginx/sites-available/default": "server { listen 127.0.0.1:" + nginx + "; root /var/www/html; }\n",
				"/var/www/html/a.txt":                "served",
			},
			ask: get("http://127.0.0.1:" + nginx + "/a.txt"),
		},
		{
			name: "node", image: "node", work: "/srv/app", argv: []string{"node", "/srv/app/server.js"}, most: 10, want: "dep lib",
			app: map[string]string{
				"/srv/app/server.js":                        "const a = require('dep'), b = require('./lib');\nrequire('http').createServer((q, s) => s.end(a + ' ' + b)).listen(" + node + ", '127.0.0.1');\n",
				"/srv/app/lib.js":                           "module.exports = 'lib'\n",
				"/srv/app/package.json":                     `{"name":"app"}`,
				"/srv/app/node_modules/dep/package.json":    `{"name":"dep","main":"./lib/main.js"}`,
				"/srv/app/node_modules/dep/lib/main.js":     "module.exports = require('./part').word\n",
				"/srv/app/node_modules/dep/lib/part.js":     "exports.word = 'dep'\n",
				"/srv/app/node_modules/unused/package.json": `{"name":"unused"}`,
			},
			ask: get("http://127.0.0.1:" + node + "/"),
		},
		{
			name: "java", image: "java", work: "/srv/app", argv: []string{"java", "-cp", "/srv/app", "Hello"}, most: 10, want: "hello from a class",
			app: map[string]string{"/srv/app/Hello.class": helloClass("hello from a class")},
		},
		{
			name: "redis", image: "scripts", work: "/", argv: []string{"redis-server", "--port", redis, "--save", ""}, want: "$5\r\nvalue",
			ask: say("127.0.0.1:"+redis, "SET key value\r\nGET key\r\n", "$5\r\nvalue"),
		},
		{
			name: "ruby", image: "scripts", work: "/srv/app", argv: []string{"ruby", "/srv/app/a.rb"}, want: `{"a":1} local`,
			app: map[string]string{"/srv/app/a.rb": "require 'json'\nrequire 'set'\nrequire_relative 'b'\nputs JSON.generate({a: 1}) + ' ' + B\n", "/srv/app/b.rb": "B = 'local'\n"},
		},
		{
			name: "php", image: "scripts", work: "/srv/app", argv: []string{"php", "/srv/app/a.php"}, want: `{"a":1} local`,
			app: map[string]string{"/srv/app/a.php": "<?php require __DIR__ . '/b.php'; echo json_encode(['a' => 1]), ' ', b();\n", "/srv/app/b.php": "<?php function b() { return 'local'; }\n"},
		},
		{
			name: "perl", image: "scripts", work: "/srv/app", argv: []string{"perl", "/srv/app/a.pl"}, want: `{"a":1}`,
			app: map[string]string{"/srv/app/a.pl": "use strict; use JSON::PP; use POSIX; use File::Temp; print encode_json({a => 1});\n"},
		},
		{
			name: "postgres", image: "postgres", work: "/", argv: []string{"/usr/lib/postgresql/15/bin/postgres", "-D", data, "-p", pg, "-k", "/tmp"},
			user: "64321:64321", want: "42", own: []string{data},
			app: map[string]string{"/etc/passwd": "root:x:0:0:root:/root:/bin/sh\ndb:x:64321:64321::/srv:/bin/sh\n"},
			before: func(t *testing.T, root string) {
				if err := errors.Join(os.MkdirAll(root+data, 0o700), os.Chown(root+data, 64321, 64321)); err != nil {
					t.Fatal(err)
				}
				out, err := inRoot(t, root, "64321:64321", "/", "", "/usr/lib/postgresql/15/bin/initdb", "-D", data, "-U", "db", "-A", "trust", "--no-sync").CombinedOutput()
				if err != nil {
					t.Fatalf("initdb: %v: %s", err, out)
				}
			},
			ask: func(ctx context.Context) (string, error) {
				out, err := exec.CommandContext(ctx, "psql", "-h", "127.0.0.1", "-p", pg, "-U", "db", "-Atc", "select 6*7, to_tsvector('english', 'files')", "postgres").CombinedOutput()
				return string(out), err
			},
		},
	} {
		t.Run(p.name, p.run)
	}
}

func (p *traced) run(t *testing.T) {
	r := unpackRoot(t, p.image, p.app)
	if p.before != nil {
		p.before(t, r.root)
	}
	q := closure.Request{Argv: p.argv, WorkDir: p.work, Env: append(p.env, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")}
	s, err := closure.Select(t.Context(), r, q)
	if err != nil {
		t.Fatal(err)
	}
	full, chosen := r.listing(), r.entries(s)
	t.Logf("%d of %d paths (%.1f %%), runtimes %q", chosen, full, 100*float64(chosen)/float64(full), s.Runtimes)
	if p.most > 0 && chosen*100 > full*p.most {
		t.Errorf("%d of %d paths are chosen, wanted at most %d %%", chosen, full, p.most)
	}
	trace := filepath.Join(t.TempDir(), "trace")
	p.drive(t, inRoot(t, r.root, p.user, p.work, trace, p.argv...))
	missing := 0
	opened := r.opened(t, trace)
	t.Logf("%d files of the root were opened", len(opened))
	for _, f := range opened {
		if slices.Contains([]string{"/etc/hosts", "/etc/hostname", "/etc/resolv.conf"}, f) {
			continue // the container's engine and Gramine make these
		}
		if _, ok := slices.BinarySearch(s.Files, f); ok || slices.ContainsFunc(append(p.own, "/tmp", "/proc", "/sys", "/dev", "/run"), func(d string) bool { return strings.HasPrefix(f, d+"/") }) {
			continue
		}
		if missing++; missing <= 40 {
			t.Errorf("%s is opened and was not chosen", f)
		}
	}
	if len(opened) < 5 {
		t.Errorf("the trace shows %d opened files of the root only: %q", len(opened), opened)
	}
}

// drive runs a program until it ends, or until it gave the wanted answer.
func (p *traced) drive(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	limit := time.After(90 * time.Second)
	again := time.NewTicker(200 * time.Millisecond)
	defer again.Stop()
	var last string
	for {
		select {
		case err := <-ended:
			if p.ask != nil || err != nil || !strings.Contains(out.String(), p.want) {
				t.Fatalf("%q ended: %v: %s", p.argv, err, out.Bytes())
			}
			return
		case <-limit:
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			<-ended
			t.Fatalf("%q has not answered %q after 90 s: %s: %s", p.argv, p.want, last, out.Bytes())
		case <-again.C:
			if p.ask == nil {
				continue
			}
			ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
			answer, err := p.ask(ctx)
			stop()
			if last = fmt.Sprint(answer, err); err != nil || !strings.Contains(answer, p.want) {
				continue
			}
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
			select {
			case <-ended:
			case <-limit:
				_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
				<-ended
			}
			return
		}
	}
}

// inRoot is a command in a root with /proc and /dev; under strace if trace names a file.
func inRoot(t *testing.T, root, user, work, trace string, argv ...string) *exec.Cmd {
	t.Helper()
	var args []string
	if trace != "" {
		args = []string{"strace", "-f", "-y", "-qq", "-s", "4096", "-e", "trace=open,openat,openat2,execve", "-e", "signal=none", "-o", trace}
	}
	args = append(args, "unshare", "--root="+root, "--wd="+work)
	if uid, gid, ok := strings.Cut(user, ":"); ok {
		args = append(args, "--setuid="+uid, "--setgid="+gid)
	}
	args = append(args, argv...)
	sh := `mount -t proc proc "$0/proc" && mount --bind /dev "$0/dev" && exec "$@"`
	cmd := exec.Command("unshare", append([]string{"--mount", "--propagation=private", "sh", "-c", sh, root}, args...)...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

func get(url string) func(ctx context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		q, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			return "", err
		}
		a, err := http.DefaultClient.Do(q)
		if err != nil {
			return "", err
		}
		defer a.Body.Close()
		b, err := io.ReadAll(a.Body)
		return string(b), err
	}
}

// say sends a text and reads until a wanted one has come.
func say(addr, text, want string) func(ctx context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err != nil {
			return "", err
		}
		defer c.Close()
		if _, err := io.WriteString(c, text); err != nil {
			return "", err
		}
		var got []byte
		for b := make([]byte, 512); !bytes.Contains(got, []byte(want)); {
			n, err := c.Read(b)
			if got = append(got, b[:n]...); err != nil {
				return string(got), err
			}
		}
		return string(got), nil
	}
}

// helloClass is a compiled Java class Hello whose main prints a text.
func helloClass(text string) string {
	u2 := func(n int) string { return string([]byte{byte(n >> 8), byte(n)}) }
	u4 := func(n int) string { return u2(n>>16) + u2(n) }
	utf := func(s string) string { return "\x01" + u2(len(s)) + s }
	ref := func(kind string, n ...int) string {
		for _, i := range n {
			kind += u2(i)
		}
		return kind
	}
	pool := []string{ // numbered from 1
		utf("Hello"), ref("\x07", 1), utf("java/lang/Object"), ref("\x07", 3),
		utf("java/lang/System"), ref("\x07", 5), utf("out"), utf("Ljava/io/PrintStream;"), ref("\x0c", 7, 8), ref("\x09", 6, 9),
		utf("java/io/PrintStream"), ref("\x07", 11), utf("println"), utf("(Ljava/lang/String;)V"), ref("\x0c", 13, 14), ref("\x0a", 12, 15),
		utf(text), ref("\x08", 17), utf("main"), utf("([Ljava/lang/String;)V"), utf("Code"),
	}
	code := "\xb2" + u2(10) + "\x12\x12" + "\xb6" + u2(16) + "\xb1"
	body := u2(2) + u2(1) + u4(len(code)) + code + u2(0) + u2(0)
	return "\xca\xfe\xba\xbe" + u2(0) + u2(52) + u2(len(pool)+1) + strings.Join(pool, "") +
		u2(0x21) + u2(2) + u2(4) + u2(0) + u2(0) + u2(1) +
		u2(9) + u2(19) + u2(20) + u2(1) + u2(21) + u4(len(body)) + body + u2(0)
}

// mustPort is a port on which a program may listen later.
func mustPort(t *testing.T) string {
	t.Helper()
	at, err := freeport.Find("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(at)
	return port
}
