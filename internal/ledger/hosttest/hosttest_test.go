package hosttest

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const amount = 0x0123456789abcdef

func TestSecretsAreFoundInEveryForm(t *testing.T) {
	t.Parallel()
	key := []byte("a key of thirty-two random bytes")
	var s Secrets
	s.Number("amount", amount)
	s.Bytes("key", key)
	big, little := binary.BigEndian.AppendUint64(nil, amount), binary.LittleEndian.AppendUint64(nil, amount)
	inJSON, err := json.Marshal(map[string][]byte{"request": []byte(`{"amount":` + strconv.Itoa(amount) + `}`)})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		strconv.Itoa(amount), string(big), string(little), hex.EncodeToString(big), strings.ToUpper(hex.EncodeToString(little)), string(inJSON),
		string(key), hex.EncodeToString(key), base64.RawURLEncoding.EncodeToString(append([]byte{1}, key...)),
		base64.StdEncoding.EncodeToString([]byte("x" + hex.EncodeToString(key))), base64.StdEncoding.EncodeToString(append([]byte("xy"), little...)),
	} {
		for _, around := range []string{"", "xxxxxxxxx"} {
			if len(s.In([]byte(around+text+around))) == 0 {
				t.Errorf("not found in %q", text)
			}
		}
		if found := s.In([]byte(text[1 : len(text)-1])); text == string(key) && len(found) != 0 {
			t.Errorf("found %q in a part", found)
		}
	}
	if found := s.In([]byte("nothing of this kind, 0123456789")); len(found) != 0 {
		t.Errorf("found %q in nothing", found)
	}
}

func TestSecretsThatWouldBeAnywhere(t *testing.T) {
	t.Parallel()
	for name, add := range map[string]func(*Secrets){
		"small number": func(s *Secrets) { s.Number("n", 1<<56-1) },
		"few bytes":    func(s *Secrets) { s.Bytes("b", make([]byte, 7)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			defer func() {
				if recover() == nil {
					t.Error("taken")
				}
			}()
			add(new(Secrets))
		})
	}
}

func TestFolder(t *testing.T) {
	t.Parallel()
	var s Secrets
	s.Number("amount", amount)
	dir := t.TempDir()
	if leaks, _, err := s.InFolder(dir); err != nil || len(leaks) != 0 {
		t.Fatal(leaks, err)
	}
	if err := os.WriteFile(filepath.Join(dir, strconv.Itoa(amount)), []byte(strconv.Itoa(amount)), 0o600); err != nil {
		t.Fatal(err)
	}
	if leaks, size, err := s.InFolder(dir); err != nil || len(leaks) != 2 || size == 0 {
		t.Errorf("%q, %d bytes, %v; wanted the name and the content", leaks, size, err)
	}
	if _, _, err := s.InFolder(filepath.Join(dir, "none")); err == nil {
		t.Error("a folder that is not there was looked through")
	}
}

func TestTapeInsideTLS(t *testing.T) {
	t.Parallel()
	var at, here Tape
	server := httptest.NewTLSServer(at.Serve("server", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
		_, _ = w.Write(append(b, " answered"...))
	})))
	defer server.Close()
	c := server.Client()
	c.Transport = here.Client("client", c.Transport)
	res, err := c.Post(server.URL+"/path", "text/plain", strings.NewReader("said"))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if b, err := io.ReadAll(res.Body); err != nil || string(b) != "said answered" {
		t.Fatalf("%q, %v", b, err)
	}
	for _, tape := range []*Tape{&at, &here} {
		var all strings.Builder
		tape.each(func(_ string, b []byte) { all.Write(b) })
		for _, want := range []string{"/path", "said", "said answered", "text/plain"} {
			if !strings.Contains(all.String(), want) {
				t.Errorf("%q is not on the tape: %q", want, all.String())
			}
		}
	}
}

func TestRelay(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
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
			go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
		}
	}()
	var tape Tape
	r := NewRelay(t, "echo", l.Addr().String(), &tape)
	say := func() (net.Conn, error) {
		c, err := net.Dial("tcp", r.Address())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("hello")); err != nil {
			return c, err
		}
		_, err = io.ReadFull(c, make([]byte, 5))
		return c, err
	}
	one, err := say()
	if err != nil {
		t.Fatal(err)
	}
	if tape.Len() != 10 {
		t.Errorf("%d bytes on the tape, wanted 10", tape.Len())
	}
	r.Break()
	if _, err := one.Read(make([]byte, 1)); err == nil {
		t.Error("the connection did not end")
	}
	two, err := say()
	if err != nil {
		t.Fatal(err)
	}
	r.Cut(true)
	if _, err := two.Read(make([]byte, 1)); err == nil {
		t.Error("the connection did not end")
	}
	if _, err := say(); err == nil {
		t.Error("a new one got through")
	}
	r.Cut(false)
	three, err := say()
	if err != nil {
		t.Error(err)
	}
	for _, c := range []net.Conn{one, two, three} {
		_ = c.Close()
	}
}
