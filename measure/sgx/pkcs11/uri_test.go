package pkcs11

import (
	"strings"
	"testing"
)

const rest = "?module-path=/m.so"

func TestParse(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]URI{
		"pkcs11:token=hk;object=k?module-path=/m.so&pin-source=file:/p":                 {Token: "hk", Object: "k", ModulePath: "/m.so", PINFile: "/p"},
		"pkcs11:object=my%20key;token=a%3bb;type=private?module-name=softhsm2":          {Token: "a;b", Object: "my key", ModuleName: "softhsm2"},
		"pkcs11:slot-id=7;id=%00%ff%2D?pin-value=a%26b&module-path=/a/b.so":             {SlotID: "7", ID: "\x00\xff-", ModulePath: "/a/b.so", PIN: "a&b"},
		"pkcs11:slot-description=%C3%BC;id=ab?module-path=/m.so&pin-source=file:///a/b": {SlotDescription: "ü", ID: "ab", ModulePath: "/m.so", PINFile: "///a/b"},
		"pkcs11:token=a=b;object=x&y;id=%01?module-path=/m.so&pin-source=/p":            {Token: "a=b", Object: "x&y", ID: "\x01", ModulePath: "/m.so", PINFile: "/p"},
		"pkcs11:token=" + strings.Repeat("t", 32) + ";id=" + strings.Repeat("%01", 100) + rest: {
			Token: strings.Repeat("t", 32), ID: strings.Repeat("\x01", 100), ModulePath: "/m.so",
		},
	} {
		if got, err := Parse(text); err != nil || *got != want {
			t.Errorf("%s: %+v, %v; wanted %+v", text, got, err, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	const good = "pkcs11:token=t;object=k"
	for text, want := range map[string]string{
		"":                                         "wanted pkcs11:",
		"PKCS11:token=t;object=k":                  "wanted pkcs11:",
		"key.pem":                                  "wanted pkcs11:",
		"pkcs11:":                                  "without a value",
		good:                                       "module-path=FILE",
		good + "?":                                 "without a value",
		good + ";" + rest:                          "without a value",
		good + rest + "&":                          "without a value",
		"pkcs11:token;object=k" + rest:             "without a value",
		"pkcs11:token=;object=k" + rest:            "token is empty",
		good + "?module-path=":                     "module-path is empty",
		"pkcs11:object=k" + rest:                   "one of token=LABEL",
		good + ";slot-id=1" + rest:                 "one of token=LABEL",
		good + ";slot-description=x" + rest:        "one of token=LABEL",
		"pkcs11:token=t" + rest:                    "the key is not named",
		good + ";token=t" + rest:                   "token is there twice",
		good + rest + "&module-path=/m.so":         "module-path is there twice",
		good + rest + "&module-name=m":             "one of module-path",
		good + rest + "&pin-source=/p&pin-value=1": "one of pin-source",
		good + ";serial=1" + rest:                  `"serial" cannot be kept`,
		good + ";manufacturer=x" + rest:            `"manufacturer" cannot be kept`,
		good + ";x-vendor=1" + rest:                `"x-vendor" cannot be kept`,
		good + ";=1" + rest:                        "cannot be kept",
		good + rest + "&12secret34=":               `"…" cannot be kept`,
		good + ";module-path=/m.so":                "module-path: wanted it behind",
		good + ";pin-value=1" + rest:               "pin-value: wanted it behind",
		good + rest + "&token=t":                   "token: wanted it before",
		good + ";type=public" + rest:               `type: "public", wanted private`,
		"pkcs11:slot-id=01;object=k" + rest:        "slot-id: wanted a decimal number",
		"pkcs11:slot-id=-1;object=k" + rest:        "slot-id: wanted a decimal number",
		"pkcs11:slot-id=18446744073709551616;object=k" + rest:          "slot-id: wanted a decimal number",
		good + "?module-path=m.so":                                     "wanted an absolute path",
		good + "?module-path=/m%00.so":                                 "control characters",
		good + "?module-name=../m":                                     "without folder",
		good + "?module-name=.m":                                       "without folder",
		good + "?module-name=a%2Fb":                                    "without folder",
		good + rest + "&pin-source=|/bin/pin":                          "commands are not run",
		good + rest + "&pin-source=pin":                                "wanted an absolute path",
		good + rest + "&pin-source=file:":                              "wanted an absolute path",
		good + rest + "&pin-source=file:file:/p":                       "wanted an absolute path",
		good + rest + "&pin-source=file://host/p":                      "file of this machine",
		good + rest + "&pin-value=1%0A2":                               "control characters",
		"pkcs11:token=a b;object=k" + rest:                             "byte 0x20 must be written %20",
		"pkcs11:token=a/b;object=k" + rest:                             "byte 0x2f must be written %2F",
		"pkcs11:token=é;object=k" + rest:                               "must be written",
		"pkcs11:token=a#b;object=k" + rest:                             "must be written",
		"pkcs11:token=%ff;object=k" + rest:                             "token: wanted UTF-8",
		"pkcs11:token=%4;object=k" + rest:                              "two hexadecimal digits",
		"pkcs11:token=%;object=k" + rest:                               "two hexadecimal digits",
		"pkcs11:token=%4g;object=k" + rest:                             "two hexadecimal digits",
		"pkcs11:token=%+1;object=k" + rest:                             "two hexadecimal digits",
		"pkcs11:token=" + strings.Repeat("t", 33) + ";object=k" + rest: "33 bytes, wanted at most 32",
		"pkcs11:token=t;id=" + strings.Repeat("%01", 101) + rest:       "101 bytes, wanted at most 100",
		good + rest + strings.Repeat("x", MaxURI):                      "wanted at most 8192",
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: %v; wanted %q", text, err, want)
		}
	}
}

func TestParseKeepsPINsOutOfErrors(t *testing.T) {
	t.Parallel()
	const pin = "s3cret"
	for _, text := range []string{
		"pkcs11:token=t;object=k?pin-value=" + pin,
		"pkcs11:token=t;object=k?module-path=/m.so&pin-value=" + pin + "&" + pin + "=1",
		"pkcs11:token=t;object=k?module-path=/m.so&pin-value=" + pin + "%00",
		"pkcs11:token=t;object=k?module-path=/m.so&pin-value=a;b&" + pin,
	} {
		if _, err := Parse(text); err == nil || strings.Contains(err.Error(), pin) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("pkcs11:token=hk;object=k?module-path=/m.so&pin-source=file:/p")
	f.Add("pkcs11:slot-id=7;id=%00%ff%2D?pin-value=a%26b&module-name=softhsm2")
	f.Add("pkcs11:slot-description=%C3%BC;type=private;id=a?module-path=/m.so&pin-source=file:///a")
	f.Add("pkcs11:token=%;=?&")
	f.Fuzz(func(t *testing.T, text string) {
		u, err := Parse(text)
		if err != nil {
			return
		}
		if err := u.check(); err != nil {
			t.Errorf("%q was read: %v", text, err)
		}
		for _, v := range []string{u.Token, u.SlotDescription, u.SlotID, u.Object, u.ModulePath, u.ModuleName, u.PINFile, u.PIN} {
			if notText(v) != "" {
				t.Errorf("%q was read as %q", text, v)
			}
		}
	})
}
