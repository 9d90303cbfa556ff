package registry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// maxManifest bounds a manifest in bytes, as registries commonly do.
const maxManifest = 4 << 20

// manifests keeps on disk what the library's registry keeps in memory, by
// recording each change that it accepted and telling it again after a restart.
type manifests struct {
	dir  string
	next http.Handler
}

// record is one manifest under one tag or digest.
type record struct {
	Path        string `json:"path"`
	ContentType string `json:"content_type"`
	Body        []byte `json:"body"`
}

func (m *manifests) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.Contains(r.URL.Path, "/manifests/") || r.Method != http.MethodPut && r.Method != http.MethodDelete {
		m.next.ServeHTTP(w, r)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxManifest))
	if err != nil {
		refuse(w, http.StatusRequestEntityTooLarge, "SIZE_INVALID", fmt.Sprintf("a manifest has at most %d bytes", maxManifest))
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	reply := httptest.NewRecorder()
	m.next.ServeHTTP(reply, r)
	if reply.Code < 300 {
		if err := m.keep(r, body); err != nil {
			refuse(w, http.StatusInternalServerError, "UNKNOWN", err.Error())
			return
		}
	}
	for k, v := range reply.Header() {
		w.Header()[k] = v
	}
	w.WriteHeader(reply.Code)
	w.Write(reply.Body.Bytes())
}

func (m *manifests) file(path string) string {
	return filepath.Join(m.dir, fmt.Sprintf("%x.json", sha256.Sum256([]byte(path))))
}

func (m *manifests) keep(r *http.Request, body []byte) error {
	path := m.file(r.URL.Path)
	if r.Method == http.MethodDelete {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	b, err := json.Marshal(record{Path: r.URL.Path, ContentType: r.Header.Get("Content-Type"), Body: body})
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(m.dir, ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// restore tells the registry what was kept. An index is taken only after the
// manifests that it names, so rounds are made until nothing is left.
func (m *manifests) restore() error {
	if err := os.MkdirAll(m.dir, 0o755); err != nil {
		return err
	}
	names, err := filepath.Glob(filepath.Join(m.dir, "*.json"))
	if err != nil {
		return err
	}
	for len(names) > 0 {
		var again []string
		for _, name := range names {
			ok, err := m.replay(name)
			if err != nil {
				return err
			}
			if !ok {
				again = append(again, name)
			}
		}
		if len(again) == len(names) {
			return nil // indexes of manifests that were deleted
		}
		names = again
	}
	return nil
}

func (m *manifests) replay(name string) (bool, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return false, err
	}
	var rec record
	if err := json.Unmarshal(b, &rec); err != nil {
		return false, fmt.Errorf("%s: %w", name, err)
	}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPut, (&url.URL{Path: rec.Path}).String(), bytes.NewReader(rec.Body))
	if err != nil {
		return false, fmt.Errorf("%s: %w", name, err)
	}
	req.Header.Set("Content-Type", rec.ContentType)
	reply := httptest.NewRecorder()
	m.next.ServeHTTP(reply, req)
	return reply.Code < 300, nil
}

// refuse answers in the form of the OCI distribution specification.
func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{"errors": []map[string]string{{"code": code, "message": message}}})
}
