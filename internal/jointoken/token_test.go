package jointoken

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func sample() *Token {
	t := &Token{Expires: time.Unix(1_800_000_000, 0).UTC(), Uses: 3}
	for i := range t.ID {
		t.ID[i] = byte(i)
	}
	for i := range t.Secret {
		t.Secret[i], t.ManagerKey[i], t.AccountRoot[i] = byte(0x20+i), byte(0x60+i), byte(0xa0+i)
	}
	return t
}

const sampleText = "hkt1_AAECAwQFBgcICQoLDA0ODyAhIiMkJSYnKCkqKywtLi8wMTIzNDU2Nzg5Ojs8PT4_YGFiY2RlZmdoaWprbG1ub3BxcnN0dXZ3eHl6e3x9fn8AAAAAa0nSAAAAAAOgoaKjpKWmp6ipqqusra6vsLGys7S1tre4ubq7vL2-vw"

func TestFormatIsFixed(t *testing.T) {
	t.Parallel()
	if got := sample().Format(); got != sampleText {
		t.Errorf("Format() = %s\nwanted     %s", got, sampleText)
	}
	if len(sampleText) != TextSize {
		t.Errorf("TextSize = %d, text has %d", TextSize, len(sampleText))
	}
	got, err := Parse(sampleText)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sample(), got); diff != "" {
		t.Error(diff)
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"empty":             "",
		"other prefix":      "hkt2_" + sampleText[5:],
		"upper-case prefix": "HKT1_" + sampleText[5:],
		"cut":               sampleText[:len(sampleText)-1],
		"longer":            sampleText + "A",
		"padding":           sampleText + "=",
		"blank in front":    " " + sampleText,
		"line break inside": sampleText[:20] + "\n" + sampleText[21:],
		"standard alphabet": strings.Replace(sampleText, "_Y", "/Y", 1),
		"unused bits set":   sampleText[:len(sampleText)-1] + "x",
		"expiry too large":  func() string { s := sample(); s.Expires = time.Unix(1<<41, 0); return s.Format() }(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Parse(text)
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("Parse = %v, wanted ErrMalformed", err)
			}
			if len(text) > 100 && strings.Contains(err.Error(), text[40:80]) {
				t.Errorf("the error repeats the token: %v", err)
			}
		})
	}
}

func TestEveryFlippedCharacterChangesTheToken(t *testing.T) {
	t.Parallel()
	for i := range sampleText {
		for _, c := range []byte("AZaz09-_=+/ \n\x00") {
			if sampleText[i] == c {
				continue
			}
			text := sampleText[:i] + string(c) + sampleText[i+1:]
			got, err := Parse(text)
			if err == nil && *got == *sample() {
				t.Fatalf("character %d replaced by %q: same token", i, c)
			}
		}
	}
}

func TestTheSecretStaysOutOfText(t *testing.T) {
	t.Parallel()
	tok := sample()
	secret := sampleText[30:70]
	for _, s := range []string{tok.String(), fmt.Sprintf("%v %+v %#v %s %v", tok, tok, tok, *tok, *tok), tok.LogValue().String()} {
		if strings.Contains(s, secret) || strings.Contains(s, "202122") {
			t.Errorf("shows the secret: %s", s)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(sampleText)
	f.Add("hkt1_")
	f.Add(strings.Repeat("A", TextSize))
	f.Fuzz(func(t *testing.T, text string) {
		tok, err := Parse(text)
		if err != nil {
			return
		}
		if again := tok.Format(); again != text {
			t.Fatalf("accepted %q, which is spelled %q", text, again)
		}
	})
}
