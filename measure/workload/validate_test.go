package workload

import (
	"bytes"
	"strings"
	"testing"
)

func TestValidateRefuses(t *testing.T) {
	t.Parallel()
	find := func(m *Manifest, path string) *File {
		for i := range m.Files {
			if m.Files[i].Path == path {
				return &m.Files[i]
			}
		}
		panic(path)
	}
	for want, change := range map[string]func(m *Manifest){
		"schema 2":                    func(m *Manifest) { m.Schema = 2 },
		"tee \"tdx\"":                 func(m *Manifest) { m.TEE = "tdx" },
		"source \"windows/amd64\"":    func(m *Manifest) { m.Source = "windows/amd64" },
		"source \"linux/AMD\"":        func(m *Manifest) { m.Source = "linux/AMD" },
		"account_root \"x\"":          func(m *Manifest) { m.AccountRoot = "x" },
		"guest \"\"":                  func(m *Manifest) { m.Guest = "" },
		"log_path \"x\"":              func(m *Manifest) { m.LogPath = "x" },
		"neither entry nor args":      func(m *Manifest) { m.Exec.Entry, m.Exec.Args = nil, nil },
		"name is empty":               func(m *Manifest) { m.Exec.Entry = []string{""} },
		"exec.args: \"a\\x00\"":       func(m *Manifest) { m.Exec.Args = []string{"a\x00"} },
		"exec.entry: \"\\xff\"":       func(m *Manifest) { m.Exec.Entry = []string{"\xff"} },
		"item of 131073 bytes":        func(m *Manifest) { m.Exec.Args = []string{strings.Repeat("x", 128<<10+1)} },
		"4097 items":                  func(m *Manifest) { m.Exec.Args = make([]string, 4097) },
		"exec.groups":                 func(m *Manifest) { m.Exec.Groups = []uint32{7, 5} },
		"2^32-1 is no id":             func(m *Manifest) { m.Exec.UID = 1<<32 - 1 },
		"on_renew 65":                 func(m *Manifest) { m.Exec.OnRenew = 65 },
		"stop_grace -1":               func(m *Manifest) { m.Exec.StopGrace = -1 },
		"exec.home \"~\"":             func(m *Manifest) { m.Exec.Home = "~" },
		"exec.workdir \"\"":           func(m *Manifest) { m.Exec.WorkDir = "" },
		"exec.workdir \"/a/\"":        func(m *Manifest) { m.Exec.WorkDir = "/a/" },
		"PATH is there twice":         func(m *Manifest) { m.Env.Allowed = []string{"PATH"} },
		"LEVEL is there twice":        func(m *Manifest) { m.Env.Fixed = append(m.Env.Fixed, "LEVEL=2") },
		"env.fixed: \"X\"":            func(m *Manifest) { m.Env.Fixed = []string{"X"} },
		"env.fixed: \"\" is no name":  func(m *Manifest) { m.Env.Fixed = []string{"=x"} },
		"env.allowed: \"X=1\"":        func(m *Manifest) { m.Env.Allowed = []string{"X=1"} },
		"env.allowed: A stands after": func(m *Manifest) { m.Env.Allowed = []string{"B", "A"} },
		"env.mutable: A stands after": func(m *Manifest) { m.Env.Fixed, m.Env.Mutable = nil, []string{"B=1", "A=2"} },
		"folders: / cannot":           func(m *Manifest) { m.Folders = []Folder{{FolderRW, "/"}} },
		"/.hitoku/x cannot":           func(m *Manifest) { m.Folders = []Folder{{FolderRW, "/.hitoku/x"}} },
		"mode \"ro\"":                 func(m *Manifest) { m.Folders[0].Mode = "ro" },
		"/tmp repeated":               func(m *Manifest) { m.Folders = append(m.Folders, m.Folders[1]) },
		"subject is no DNS":           func(m *Manifest) { m.Certificates[0].Subject = "*.example.com" },
		"alt_names: \"IP:1\"":         func(m *Manifest) { m.Certificates[0].AltNames = []string{"IP:1"} },
		"repeated or not sorted":      func(m *Manifest) { a := m.Certificates[0].AltNames; a[0], a[1] = a[1], a[0] },
		"key EC-521":                  func(m *Manifest) { m.Certificates[0].KeySize = 521 },
		"key RSA-1024":                func(m *Manifest) { m.Certificates[0].KeyType, m.Certificates[0].KeySize = "RSA", 1024 },
		"key_path \"\"":               func(m *Manifest) { m.Certificates[0].KeyPath = "" },
		"/run/key.pem is used twice":  func(m *Manifest) { m.Certificates[0].CertPath = "/run/key.pem" },
		"cert_path /.hitoku/x":        func(m *Manifest) { m.Certificates[0].CertPath = "/.hitoku/x" },
		"without an account_root":     func(m *Manifest) { m.AccountRoot = "" },
		"has no certificate":          func(m *Manifest) { m.Certificates = nil },
		"ports run from":              func(m *Manifest) { m.Fronts[0].Forward = 0 },
		"port 8443 repeated":          func(m *Manifest) { m.Fronts = append(m.Fronts, m.Fronts[0]) },
		"listened on and forwarded":   func(m *Manifest) { m.Fronts = append(m.Fronts, Front{Listen: 9000, Forward: 8443}) },
		"crt is not PEM":              func(m *Manifest) { m.CACertificates[0].Certificate = "x" },
		"ca_certificates \"x\"":       func(m *Manifest) { m.CACertificates[0].Path = "x" },
		"first is not the root":       func(m *Manifest) { m.Files = m.Files[1:] },
		"root folder is missing":      func(m *Manifest) { m.Files = nil },
		"/dev/null\": its folder":     func(m *Manifest) { *find(m, "/dev") = File{Path: "/dew", Type: TypeDir} },
		"\"/data\": unknown type":     func(m *Manifest) { find(m, "/data").Type = "socket" },
		"belongs to the conversion":   func(m *Manifest) { find(m, "/data-b").Path = "/.hitoku" },
		"\"/fifo\": a fifo has nei":   func(m *Manifest) { find(m, "/fifo").Size = 1 },
		"\"/fifo\": a fifo has no li": func(m *Manifest) { find(m, "/fifo").Link = "x" },
		"\"/fifo\": a fifo has no rd": func(m *Manifest) { find(m, "/fifo").Rdev = 1 },
		"\"/data-b\": sha256":         func(m *Manifest) { find(m, "/data-b").SHA256 = strings.ToUpper(hash) },
		"mode out of range":           func(m *Manifest) { find(m, "/data-b").Mode = 0o10000 },
		"size or rdev":                func(m *Manifest) { find(m, "/data-b").Size = -1 },
		"value is not canonical":      func(m *Manifest) { find(m, "/data-b").Xattrs["security.capability"] = "AQ" },
		"xattr \"a b\"":               func(m *Manifest) { find(m, "/data-b").Xattrs["a b"] = "" },
		"hard link to \"/none\"":      func(m *Manifest) { find(m, "/hard").Link = "/none" },
		"hard link to \"/data\"":      func(m *Manifest) { find(m, "/hard").Link = "/data" },
		"differs from \"/data-b\"":    func(m *Manifest) { find(m, "/hard").Mode = 0o600 },
		"not a clean path":            func(m *Manifest) { find(m, "/fifo").Path = "/fifo/" },
		"path element of 256":         func(m *Manifest) { find(m, "/fifo").Path = "/" + strings.Repeat("f", 256) },
		"one of path and path_b64":    func(m *Manifest) { find(m, "/fifo").PathB64 = "/w==" },
		"bytes that are not UTF-8":    func(m *Manifest) { f := find(m, "/fifo"); f.Path, f.PathB64 = "", "L2ZpZm8=" },
		"one of link and link_b64":    func(m *Manifest) { find(m, "/hard").Link = "" },
	} {
		m := sample()
		change(m)
		err := m.Validate()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, wanted %q", err, want)
			continue
		}
		if _, err2 := Encode(m); err2 == nil {
			t.Errorf("%s: written all the same", want)
		}
	}
	if err := sample().Validate(); err != nil {
		t.Error(err)
	}
}

func TestEncodeFiles(t *testing.T) {
	t.Parallel()
	m := sample()
	want, err := Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	files := m.Files
	m.Files = nil
	seq := func(n int) func(func(*File) bool) {
		return func(yield func(*File) bool) {
			for i := range files[:n] {
				if !yield(&files[i]) {
					return
				}
			}
		}
	}
	var got bytes.Buffer
	if err := EncodeFiles(&got, m, seq(len(files))); err != nil || !bytes.Equal(got.Bytes(), want) {
		t.Errorf("%v\n%s\n%s", err, got.Bytes(), want)
	}
	if err := EncodeFiles(&got, m, seq(0)); err == nil {
		t.Error("no files: accepted")
	}
	files[3].Path = "/a"
	if err := EncodeFiles(&got, m, seq(len(files))); err == nil {
		t.Error("wrong order: accepted")
	}
	m.TEE = ""
	if err := EncodeFiles(&got, m, seq(len(files))); err == nil {
		t.Error("wrong header: accepted")
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	var f File
	f.SetName("/caf\xe9")
	f.SetTarget("x")
	if f.Path != "" || f.Name() != "/caf\xe9" || f.Link != "x" || f.Target() != "x" {
		t.Errorf("%+v", f)
	}
	if KeyTarget(2, KeyFile) != "/dev/shm/hitoku/2/current/key.pem" {
		t.Error(KeyTarget(2, KeyFile))
	}
	for name, want := range map[string]bool{"/a": true, "/a/b": true, "/ab": false, "/": false} {
		if Within(name, "/a") != want {
			t.Errorf("%s within /a: %v", name, !want)
		}
	}
	for name, want := range map[string]bool{
		"a": true, "a.b-c.de": true, "xn--caf-dma.example": true, "": false, "A.b": false, "a..b": false, "-a": false, "a-": false, "*.a": false,
		"a_b": false, "a.": false, strings.Repeat("a", 64): false, strings.Repeat("a.", 127) + "a": false,
	} {
		if IsDNSName(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
}
