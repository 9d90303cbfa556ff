package convert

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hitoku.dev/measure/workload"
)

const snakeFile = `{
  "input_image": {"name": "docker.io/fortanix/python-flask:1", "auth_config": {"username": "in", "password": "p1"}},
  "output_image": {"name": "registry.example.com/flask:1", "auth_config": {"username": "out", "password": "p2"}},
  "converter_options": {
    "allow_cmdline_args": true, "allow_docker_pull_failure": false, "app": null, "ca_certificates": [{"path": "/ca.pem", "certificate": "PEM", "system": true}],
    "certificates": [{"issuer": "ManagerCa", "subject": "flask.example.com", "alt_names": ["DNS:b.example.com"], "key_type": "Rsa",
      "key_param": {"size": 2048}, "key_path": "/run/k.pem", "cert_path": "/run/c.pem", "chain_path": null}],
    "debug": false, "entry_point": ["/usr/bin/python3"], "entry_point_args": ["-m", "app"], "push_converted_image": true,
    "env_vars": ["A=1"], "mutable_env_vars": ["B=2"], "java_mode": null, "enable_overlay_filesystem_persistence": false,
    "ccm_configuration": {"ccm_url": "ccm.example.com:443"}, "dsm_configuration": {"dsm_url": "https://x"},
    "encrypted_dirs": ["/secret"], "rw_dirs": ["/srv"], "ro_dirs": ["/", "/var/log"], "isvprodid": 1, "isvsvn": 2
  },
  "nitro_enclaves_options": {"cpu_count": 2, "mem_size": "4096M"}
}`

const camelFile = `{
  "inputImageName": "docker.io/fortanix/python-flask:1", "outputImageName": "registry.example.com/flask:1",
  "inputAuthConfig": {"username": "in", "password": "p1"}, "outputAuthConfig": {"username": "out", "password": "p2"},
  "allowCmdlineArgs": true, "caCertificates": [{"caPath": "/ca.pem", "caCert": "PEM", "system": true}],
  "certificates": [{"issuer": "MANAGER_CA", "subject": "flask.example.com", "altNames": ["DNS:b.example.com"], "keyType": "RSA",
    "keyParam": {"size": 2048}, "keyPath": "/run/k.pem", "certPath": "/run/c.pem"}],
  "debug": false, "entrypoint": ["/usr/bin/python3"], "entrypointArgs": ["-m", "app"], "pushConvertedImage": true,
  "manifestEnv": ["A=1"], "mutableEnv": ["B=2"], "encryptedDirs": ["/secret"], "rwDirs": ["/srv"], "roDirs": ["/", "/var/log"],
  "isvprodid": 1, "isvsvn": 2, "memSize": "2048M", "threads": 128, "signingKey": {"default": {}}, "manifestOptions": {}
}`

func wantFile() *File {
	one, two := uint16(1), uint16(2)
	return &File{
		Input: "docker.io/fortanix/python-flask:1", Output: "registry.example.com/flask:1",
		InputAuth: &Auth{"in", "p1"}, OutputAuth: &Auth{"out", "p2"}, ISVProdID: &one, ISVSVN: &two,
		Options: Options{
			Entrypoint: []string{"/usr/bin/python3"}, Args: []string{"-m", "app"}, AllowArgs: true,
			Env: []string{"A=1"}, MutableEnv: []string{"B=2"}, Encrypted: []string{"/secret"}, ReadWrite: []string{"/srv"}, ReadOnly: []string{"/var/log"},
			Certificates: []workload.Certificate{{
				AltNames: []string{"DNS:b.example.com"}, CertPath: "/run/c.pem", KeyPath: "/run/k.pem", KeySize: 2048, KeyType: "RSA", Subject: "flask.example.com",
			}},
			CAs: []CA{{Path: "/ca.pem", PEM: []byte("PEM"), System: true}},
		},
	}
}

func TestParseFile(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text    string
		notices int
	}{
		"snake":   {snakeFile, 3},
		"camel":   {camelFile, 2},
		"wrapped": {`{"request": ` + strings.Replace(snakeFile, `"nitro_enclaves_options"`, `"app_id": "x", "snp_enclaves_options"`, 1) + `}`, 4},
	} {
		f, err := ParseFile([]byte(c.text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(f.Notices) != c.notices {
			t.Errorf("%s: notices %q, wanted %d", name, f.Notices, c.notices)
		}
		f.Notices = nil
		if d := cmp.Diff(wantFile(), f); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestParseFileDefaultsAndRefusals(t *testing.T) {
	t.Parallel()
	f, err := ParseFile([]byte(`{"input_image": {"name": "a"}, "output_image": {"name": "b"}, "auth_config": {"username": "u", "password": "p"},
		"converter_options": {"push_converted_image": false, "certificates": [{"subject": "x.example.com"}, {"subject": "y.example.com", "key_type": "EC"}]}}`))
	if err != nil {
		t.Fatal(err)
	}
	if !f.NoPush || f.InputAuth == nil || *f.InputAuth != *f.OutputAuth {
		t.Errorf("%+v", f)
	}
	if c := f.Options.Certificates; c[0].KeyType != "RSA" || c[0].KeySize != 3072 || c[0].KeyPath != defaultKeyPath || c[1].KeySize != 256 {
		t.Errorf("%+v", c)
	}
	for text, want := range map[string]string{
		``:                  "EOF",
		`[]`:                "wanted an object",
		`{} {}`:             "follows",
		`{"frobnicate": 1}`: "frobnicate is no known member",
		`{"converter_options": {"entry_point": ["a"], "entrypoint": ["b"]}}`: "is there twice",
		`{"entryPoint": ["a"], "entry_point": ["b"]}`:                        "is there twice",
		`{"input_image": "a", "inputImageName": "b"}`:                        "is there twice|named twice",
		`{"converter_options": {"debug": true}}`:                             "converter_options.debug: true is not supported",
		`{"enable_gpu_passthrough": true}`:                                   "not supported",
		`{"certificates": [{"issuer": "Node"}]}`:                             "certificates[0].issuer",
		`{"certificates": [{"issuer": "SELF_IAS"}]}`:                         "only the manager's CA",
		`{"certificates": [{"keyparam": {}}]}`:                               "keyparam is no known member",
		`{"certificates": [{"key_param": {"length": 1}}]}`:                   "certificates[0].key_param.length",
		`{"certificates": {}}`:                                               "certificates:",
		`{"manifestOptions": {"sgx.thread_num": 4}}`:                         "manifestOptions is not supported",
		`{"signingKey": {"name": "k", "apiKey": "x"}}`:                       "signingKey",
		`{"isvprodid": 65536}`:                                               "isvprodid",
		`{"isvsvn": -1}`:                                                     "isvsvn",
		`{"env_vars": "A=1"}`:                                                "env_vars",
		`{"input_image": {"name": "a", "digest": "b"}}`:                      "input_image.digest is no known member",
		`{"auth_config": {"token": "b"}}`:                                    "auth_config.token",
		`{"caCertificates": [{"file": "b"}]}`:                                "caCertificates[0].file",
	} {
		_, err := ParseFile([]byte(text))
		ok := err != nil && KindOf(err) == KindRequest
		if ok {
			ok = false
			for w := range strings.SplitSeq(want, "|") {
				ok = ok || strings.Contains(err.Error(), w)
			}
		}
		if !ok {
			t.Errorf("%s: %v, wanted %q", text, err, want)
		}
	}
}

func FuzzParseFile(f *testing.F) {
	f.Add([]byte(snakeFile))
	f.Add([]byte(camelFile))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := ParseFile(data)
		if (file == nil) == (err == nil) {
			t.Fatal("neither result nor error")
		}
	})
}

func TestParseAccountRoot(t *testing.T) {
	t.Parallel()
	ca := string(testCA(t))
	fromCert, err := ParseAccountRoot(ca)
	if err != nil || !workload.IsHash(fromCert) {
		t.Errorf("%q %v", fromCert, err)
	}
	if h, err := ParseAccountRoot("sha256:" + fromCert + "\n"); err != nil || h != fromCert {
		t.Errorf("%q %v", h, err)
	}
	for _, bad := range []string{
		"", "sha256:ab", "sha256:" + strings.ToUpper(fromCert), "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
		"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", strings.ReplaceAll(ca, "CERTIFICATE", "PRIVATE KEY"),
	} {
		if h, err := ParseAccountRoot(bad); KindOf(err) != KindRequest {
			t.Errorf("%q: %q %v", bad, h, err)
		}
	}
}
