package convert

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"hitoku.dev/measure/workload"
)

func TestPlanExec(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config      v1.Config
		options     Options
		entry, args []string
		dir, want   string
	}{
		"entry and command":       {config: v1.Config{Entrypoint: []string{"a"}, Cmd: []string{"b"}, WorkingDir: "srv//x/"}, entry: []string{"a"}, args: []string{"b"}, dir: "/srv/x"},
		"command alone":           {config: v1.Config{Cmd: []string{"b", "c"}}, entry: []string{}, args: []string{"b", "c"}, dir: "/"},
		"new entry drops command": {config: v1.Config{Entrypoint: []string{"a"}, Cmd: []string{"b"}}, options: Options{Entrypoint: []string{"x"}}, entry: []string{"x"}, args: []string{}, dir: "/"},
		"new entry and arguments": {config: v1.Config{Cmd: []string{"b"}}, options: Options{Entrypoint: []string{"x"}, Args: []string{"y"}}, entry: []string{"x"}, args: []string{"y"}, dir: "/"},
		"arguments cleared":       {config: v1.Config{Entrypoint: []string{"a"}, Cmd: []string{"b"}}, options: Options{Args: []string{}}, entry: []string{"a"}, args: []string{}, dir: "/"},
		"nothing to start":        {want: "neither ENTRYPOINT nor CMD"},
		"empty words":             {config: v1.Config{Entrypoint: []string{""}}, want: "neither ENTRYPOINT nor CMD"},
		"cleared entry":           {config: v1.Config{Cmd: []string{"b"}}, options: Options{Entrypoint: []string{}}, want: "neither"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x, err := planExec(&c.config, &c.options)
			if c.want != "" {
				if KindOf(err) != KindNoEntry || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%v, wanted %q", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(workload.Exec{Entry: c.entry, Args: c.args, WorkDir: c.dir}, x); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestPlanEnv(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		image   []string
		options Options
		want    workload.Env
		notices int
		err     string
	}{
		"image alone, default PATH":      {image: []string{"A=1"}, want: workload.Env{Fixed: []string{"A=1", defaultPath}}},
		"last of two wins in place":      {image: []string{"PATH=/b", "A=1", "PATH=/c"}, want: workload.Env{Fixed: []string{"PATH=/c", "A=1"}}},
		"request replaces and adds":      {image: []string{"PATH=/b", "A=1"}, options: Options{Env: []string{"A=2", "B=="}}, want: workload.Env{Fixed: []string{"PATH=/b", "A=2", "B=="}}},
		"changeable replaces fixed":      {image: []string{"PATH=/b", "A=1"}, options: Options{MutableEnv: []string{"Z=1", "A=2"}}, want: workload.Env{Fixed: []string{"PATH=/b"}, Mutable: []string{"A=2", "Z=1"}}},
		"allowed name of the image":      {image: []string{"PATH=/b", "A=1"}, options: Options{AllowEnv: []string{"A", "N", "N"}}, want: workload.Env{Allowed: []string{"N"}, Fixed: []string{"PATH=/b"}, Mutable: []string{"A=1"}}},
		"sorted by name, not by text":    {image: []string{"PATH=/b"}, options: Options{MutableEnv: []string{"A-B=1", "A=2"}}, want: workload.Env{Fixed: []string{"PATH=/b"}, Mutable: []string{"A=2", "A-B=1"}}},
		"no pairs of the image left out": {image: []string{"PATH=/b", "X", "=y"}, want: workload.Env{Fixed: []string{"PATH=/b"}}, notices: 2},
		"dangerous names are told":       {image: []string{"PATH=/b"}, options: Options{AllowEnv: []string{"LD_PRELOAD", "PATH", "LANG"}}, want: workload.Env{Allowed: []string{"LANG", "LD_PRELOAD"}, Fixed: []string{}, Mutable: []string{"PATH=/b"}}, notices: 2},
		"fixed and changeable":           {options: Options{Env: []string{"A=1"}, MutableEnv: []string{"A=2"}}, err: "fixed and as changeable"},
		"fixed and allowed":              {options: Options{Env: []string{"A=1"}, AllowEnv: []string{"A"}}, err: "fixed and as changeable"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var n notices
			got, err := planEnv(&v1.Config{Env: c.image}, &c.options, &n)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("%v, wanted %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := workload.Env{Allowed: texts(c.want.Allowed), Fixed: texts(c.want.Fixed), Mutable: texts(c.want.Mutable)}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
			if len(n.list) != c.notices {
				t.Errorf("notices %q, wanted %d", n.list, c.notices)
			}
		})
	}
}

func TestPlanFolders(t *testing.T) {
	t.Parallel()
	show := func(o Options, volumes ...string) string {
		c := v1.Config{Volumes: map[string]struct{}{}}
		for _, v := range volumes {
			c.Volumes[v] = struct{}{}
		}
		fs, err := planFolders(&c, &o)
		if err != nil {
			return err.Error()
		}
		var out []string
		for _, f := range fs {
			if f.Mode == workload.FolderRW {
				f.Mode = ""
			}
			out = append(out, f.Path+strings.Replace(f.Mode, "encrypted", "!", 1))
		}
		return strings.Join(out, " ")
	}
	const usual = "/dev/shm /run /tmp /var/cache /var/log /var/run /var/tmp"
	for _, c := range []struct {
		options Options
		volumes []string
		want    string
	}{
		{want: usual},
		{volumes: []string{"/data/", "data2", "/tmp"}, want: "/data /data2 " + usual},
		{options: Options{ReadWrite: []string{"/srv/"}, Encrypted: []string{"/tmp", "/z"}}, want: "/dev/shm /run /srv /tmp! /var/cache /var/log /var/run /var/tmp /z!"},
		{options: Options{ReadOnly: []string{"/var/log", "/data"}}, volumes: []string{"/data"}, want: "/dev/shm /run /tmp /var/cache /var/run /var/tmp"},
		{options: Options{ReadOnly: []string{"/srv"}}, want: "--ro /srv: it is not writable by default"},
		{options: Options{ReadWrite: []string{"/.hitoku/x"}}, want: "/.hitoku/x belongs to the conversion and cannot be writable"},
		{volumes: []string{"/"}, want: "VOLUME \"/\" of the image cannot be writable\n  build the image without it"},
	} {
		if got := show(c.options, c.volumes...); got != c.want {
			t.Errorf("%+v %v: %s\nwanted %s", c.options, c.volumes, got, c.want)
		}
	}
}

func TestOptionsCheck(t *testing.T) {
	t.Parallel()
	ok := func() Options { return Options{AccountRoot: testRoot} }
	for want, change := range map[string]func(o *Options){
		"no account root":      func(o *Options) { o.AccountRoot = "" },
		"exclude each other":   func(o *Options) { o.NoManager = true },
		"wanted 64 lower-case": func(o *Options) { o.AccountRoot = strings.ToUpper(testRoot) },
		"nobody issues it":     func(o *Options) { o.AccountRoot, o.NoManager, o.Name = "", true, "a.example.com" },
		"TLS front needs a":    func(o *Options) { o.Fronts = []workload.Front{{Listen: 1, Forward: 2}} },
		"with --no-manager nobody": func(o *Options) {
			o.AccountRoot, o.NoManager, o.Fronts = "", true, []workload.Front{{Listen: 1, Forward: 2}}
		},
		"is no DNS name":             func(o *Options) { o.Name = "*.example.com" },
		"--rw \"tmp\"":               func(o *Options) { o.ReadWrite = []string{"tmp"} },
		"--encrypted \"/\"":          func(o *Options) { o.Encrypted = []string{"/"} },
		"--ro \"//\"":                func(o *Options) { o.ReadOnly = []string{"//"} },
		"wanted NAME=VALUE":          func(o *Options) { o.Env = []string{"A"} },
		"\"=x\": wanted NAME=VALUE":  func(o *Options) { o.MutableEnv = []string{"=x"} },
		"wanted a name alone":        func(o *Options) { o.AllowEnv = []string{"A=1"} },
		"without a path":             func(o *Options) { o.CAs = []CA{{}} },
		"is no absolute path":        func(o *Options) { o.CAs = []CA{{Path: "x"}} },
		"no certificate in PEM form": func(o *Options) { o.CAs = []CA{{System: true, PEM: []byte("x")}} },
		"PEM block \"PRIVATE KEY\", w": func(o *Options) {
			o.CAs = []CA{{System: true, PEM: []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")}}
		},
	} {
		o := ok()
		change(&o)
		if err := o.check(); KindOf(err) != KindRequest || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, wanted %q", err, want)
		}
	}
	o := ok()
	if err := o.check(); err != nil {
		t.Error(err)
	}
}

func TestResolveUser(t *testing.T) {
	t.Parallel()
	passwd := []byte("root:x:0:0:root:/root:/bin/sh\n\n  web:x:33:34::/var/www:\nodd:x:99\nhuge:x:4294967295:1::/:\n77:x:5:5::/seven:\nrel:x:8:8::home:\n")
	group := []byte("root:x:0:\nwww:x:34:\nlog:x:4:web,other\nadm:x:3:root,web\n20:x:21:\nbig:x:4294967295:web\n")
	for spec, want := range map[string]string{
		"":               "0:0 [0 3] /root",
		"root":           "0:0 [0 3] /root",
		"0":              "0:0 [0 3] /root",
		"web":            "33:34 [3 4 34] /var/www",
		"33":             "33:34 [3 4 34] /var/www",
		"web:":           "33:34 [3 4 34] /var/www",
		"web:log":        "33:4 [4] /var/www",
		"web:77":         "33:77 [77] /var/www",
		"1000":           "1000:0 [0] /",
		"1000:www":       "1000:34 [34] /",
		"1000:1000":      "1000:1000 [1000] /",
		":www":           "0:34 [34] /root",
		"odd":            "99:0 [0] /",
		"77":             "77:0 [0] /",
		"rel":            "8:8 [8] /",
		"nobody":         `no user "nobody"`,
		"web:nogroup":    `no group "nogroup"`,
		"huge":           "out of range",
		"4294967295":     "out of range",
		"-1":             "out of range",
		"1:4294967295":   "out of range",
		"1:-1":           "out of range",
		"99999999999999": "out of range",
	} {
		u, err := resolveUser(spec, passwd, group)
		got := ""
		if err != nil {
			got = err.Error()
			if !strings.Contains(got, want) || KindOf(err) != KindImage {
				t.Errorf("%q: %v, wanted %s", spec, err, want)
			}
			continue
		}
		if got = fmtUser(u); got != want {
			t.Errorf("%q: %s, wanted %s", spec, got, want)
		}
	}
	// An image without any file.
	if u, err := resolveUser("", nil, nil); err != nil || fmtUser(u) != "0:0 [0] /" {
		t.Errorf("%v %v", u, err)
	}
	if _, err := resolveUser("web", nil, nil); err == nil {
		t.Error("a name without /etc/passwd is accepted")
	}
}

func fmtUser(u user) string { return fmt.Sprintf("%d:%d %v %s", u.uid, u.gid, u.groups, u.home) }
