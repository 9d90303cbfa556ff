package workload

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var hash = strings.Repeat("0123456789abcdef", 4)

const testPEM = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"

// sample uses every member of the format.
func sample() *Manifest {
	bad := "/data/caf\xe9"
	return &Manifest{
		AccountRoot:    hash,
		CACertificates: []CAFile{{Path: "/usr/local/share/ca.crt", Certificate: testPEM, System: true}},
		Certificates: []Certificate{{
			AltNames: []string{"DNS:a.example.com", "DNS:b.example.com"}, CertPath: "/run/cert.pem", ChainPath: "/run/chain.pem",
			KeyPath: "/run/key.pem", KeySize: 256, KeyType: "EC", Subject: "app.example.com",
		}},
		Env: Env{Allowed: []string{"LANG"}, Fixed: []string{"PATH=/bin", "A=\x01\t\"\\é\u2028"}, Mutable: []string{"LEVEL=1"}},
		Exec: Exec{
			AllowArgs: true, Args: []string{"-c", ""}, Entry: []string{"/bin/sh"}, GID: 5, Groups: []uint32{5, 7},
			Home: "/home/u", OnRenew: 1, StopGrace: 10, UID: 1000, WorkDir: "/",
		},
		Files: []File{
			{Path: "/", Type: TypeDir, Mode: 0o755},
			{Path: "/data", Type: TypeDir, Mode: 0o1777},
			{Path: "/data-b", Type: TypeFile, SHA256: hash, Size: 3, Mode: 0o4755, Xattrs: map[string]string{"security.capability": "AQAAAg=="}},
			{PathB64: base64.StdEncoding.EncodeToString([]byte(bad)), Type: TypeSymlink, LinkB64: base64.StdEncoding.EncodeToString([]byte("\xff")), Mode: 0o777},
			{Path: "/dev", Type: TypeDir, Mode: 0o755},
			{Path: "/dev/null", Type: TypeChar, Rdev: 1<<32 | 3, Mode: 0o666},
			{Path: "/dev/sda", Type: TypeBlock, Rdev: 8 << 32, Mode: 0o660, GID: 6},
			{Path: "/fifo", Type: TypeFIFO, Mode: 0o600},
			{Path: "/hard", Type: TypeHardlink, Link: "/data-b", SHA256: hash, Size: 3, Mode: 0o4755, Xattrs: map[string]string{"security.capability": "AQAAAg=="}},
		},
		Folders: []Folder{{Mode: FolderEncrypted, Path: "/secret"}, {Mode: FolderRW, Path: "/tmp"}},
		Fronts:  []Front{{Forward: 5000, Listen: 8443}},
		Guest:   hash, LogPath: "/var/log/app", Schema: Schema, Source: "linux/amd64", TEE: "sim",
	}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	m := sample()
	b, err := Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(m, got); d != "" {
		t.Error(d)
	}
	// The bytes are RFC 8785: a generic canonicaliser (sorted maps, no escapes of HTML) agrees.
	var generic any
	if err := json.Unmarshal(b, &generic); err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	enc := json.NewEncoder(&want)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(generic); err != nil {
		t.Fatal(err)
	}
	w := strings.ReplaceAll(strings.TrimSuffix(want.String(), "\n"), `\u2028`, "\u2028")
	if w != string(b) {
		t.Errorf("canonical JSON differs:\n%s\n%s", b, w)
	}
}

// Every single change of a byte gives either a refusal or another manifest
// whose encoding is exactly the changed bytes: there is one encoding.
func TestFlipEveryByte(t *testing.T) {
	t.Parallel()
	b, err := Encode(sample())
	if err != nil {
		t.Fatal(err)
	}
	for i := range b {
		for _, x := range []byte{1, 2, 0x20, 0x80} {
			c := bytes.Clone(b)
			c[i] ^= x
			m, err := Decode(c)
			if err != nil {
				continue
			}
			again, err := Encode(m)
			if err != nil || !bytes.Equal(again, c) {
				t.Fatalf("byte %d ^ %#x: accepted, but encodes to other bytes (%v)", i, x, err)
			}
		}
	}
	for i := range b {
		if _, err := Decode(b[:i]); err == nil {
			t.Fatalf("accepted the first %d bytes", i)
		}
	}
}

func TestDecodeRefusesOtherEncodings(t *testing.T) {
	t.Parallel()
	good, err := Encode(sample())
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string][2]string{
		"space":               {`"schema":1`, `"schema": 1`},
		"unknown member":      {`"schema":1`, `"schema":1,"x":1`},
		"repeated member":     {`"schema":1`, `"schema":1,"schema":1`},
		"other order":         {`"allow_args":true,"args":["-c",""]`, `"args":["-c",""],"allow_args":true`},
		"leading zero":        {`"schema":1`, `"schema":01`},
		"exponent":            {`"schema":1`, `"schema":1e0`},
		"negative":            {`"on_renew":1`, `"on_renew":-1`},
		"fraction":            {`"on_renew":1`, `"on_renew":1.0`},
		"null list":           {`"allowed":["LANG"]`, `"allowed":null`},
		"escaped slash":       {`"/bin/sh"`, `"\/bin/sh"`},
		"needless escape":     {`"/bin/sh"`, `"\u002fbin/sh"`},
		"upper-case escape":   {`\u0001`, `\u000A`},
		"long form of tab":    {`\t`, `\u0009`},
		"raw control":         {`\t`, "\t"},
		"surrogate":           {`é`, `\ud83d\ude00`},
		"not UTF-8":           {`é`, "\xe9"},
		"explicit zero size":  {`"type":"fifo"`, `"size":0,"type":"fifo"`},
		"explicit empty link": {`{"gid":0,"mode":384`, `{"gid":0,"link":"","mode":384`},
		"empty xattrs":        {`"type":"fifo","uid":0`, `"type":"fifo","uid":0,"xattrs":{}`},
		"newer schema":        {`"schema":1`, `"schema":2`},
		"number too large":    {`"size":3`, `"size":9007199254740992`},
		"uid too large":       {`"uid":1000`, `"uid":4294967295`},
		"text after the end":  {`"tee":"sim"}`, `"tee":"sim"} `},
		"text before":         {`{"account_root"`, ` {"account_root"`},
	} {
		bad := strings.Replace(string(good), r[0], r[1], 1)
		if bad == string(good) {
			t.Errorf("%s: nothing replaced", name)
			continue
		}
		if _, err := Decode([]byte(bad)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := Decode(make([]byte, MaxSize+1)); err == nil {
		t.Error("accepted more than MaxSize bytes")
	}
}

func FuzzDecode(f *testing.F) {
	for _, m := range []*Manifest{sample(), enclave()} {
		b, err := Encode(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"account_root":"","ca_certificates":[],`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Decode(data)
		if err != nil {
			return
		}
		again, err := Encode(m)
		if err != nil {
			t.Fatalf("accepted but cannot be written: %v", err)
		}
		if !bytes.Equal(again, data) {
			t.Fatalf("two encodings of one manifest:\n%q\n%q", data, again)
		}
	})
}

func large(n int) *Manifest {
	m := sample()
	m.Files = []File{{Path: "/", Type: TypeDir, Mode: 0o755}}
	for i := 0; i < n; i++ {
		if i%50 == 0 {
			m.Files = append(m.Files, File{Path: fmt.Sprintf("/usr-lib-python3-dist-packages-%06d", i/50), Type: TypeDir, Mode: 0o755})
		}
		m.Files = append(m.Files, File{Path: fmt.Sprintf("/usr-lib-python3-dist-packages-%06d/module_%02d.py", i/50, i%50), Type: TypeFile, SHA256: hash, Size: int64(i + 1), Mode: 0o644})
	}
	return m
}

func TestDecodeLargeManifest(t *testing.T) {
	b, err := Encode(large(200_000))
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	start := time.Now()
	m, err := Decode(b)
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Fatal(err)
	}
	allocated := after.TotalAlloc - before.TotalAlloc
	t.Logf("%d files, %d bytes: %v, %d bytes allocated", len(m.Files), len(b), took, allocated)
	if limit := uint64(3 * len(b)); allocated > limit {
		t.Errorf("allocated %d bytes for a manifest of %d", allocated, len(b))
	}
}

func BenchmarkDecode(b *testing.B) {
	data, err := Encode(large(200_000))
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := Decode(data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	m := large(200_000)
	for b.Loop() {
		if _, err := Encode(m); err != nil {
			b.Fatal(err)
		}
	}
}
