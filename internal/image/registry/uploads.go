package registry

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// uploads receives blobs straight to disk; the library's registry would hold
// each of them in memory. It also mounts: blobs are shared by all repositories.
type uploads struct {
	dir   string
	blobs *diskBlobs
	next  http.Handler

	mu   sync.Mutex
	open map[string]*upload
}

type upload struct {
	mu   sync.Mutex
	file *os.File
	sum  hash.Hash
	size int64
}

func newUploads(dir string, blobs *diskBlobs, next http.Handler) (*uploads, error) {
	// What an earlier process left unfinished cannot be continued.
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	return &uploads{dir: dir, blobs: blobs, next: next, open: map[string]*upload{}}, os.MkdirAll(dir, 0o755)
}

func (u *uploads) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	before, id, found := strings.Cut(r.URL.Path, "/blobs/uploads/")
	if !found {
		if before, found = strings.CutSuffix(r.URL.Path, "/blobs/uploads"); !found {
			u.next.ServeHTTP(w, r)
			return
		}
	}
	switch {
	case r.Method == http.MethodPost && id == "":
		u.start(w, r, before)
	case r.Method == http.MethodPatch:
		u.add(w, r, id)
	case r.Method == http.MethodPut:
		u.finish(w, r, id)
	case r.Method == http.MethodDelete:
		u.drop(id)
		w.WriteHeader(http.StatusNoContent)
	default:
		refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", r.Method+" is not known here")
	}
}

func (u *uploads) start(w http.ResponseWriter, r *http.Request, repo string) {
	q := r.URL.Query()
	if h, err := v1.NewHash(q.Get("mount")); err == nil && q.Get("from") != "" {
		if _, err := u.blobs.Stat(r.Context(), "", h); err == nil {
			w.Header().Set("Docker-Content-Digest", h.String())
			w.Header().Set("Location", repo+"/blobs/"+h.String())
			w.WriteHeader(http.StatusCreated)
			return
		}
	}
	id := rand.Text()
	f, err := os.OpenFile(filepath.Join(u.dir, id), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		refuse(w, http.StatusInternalServerError, "UNKNOWN", err.Error())
		return
	}
	u.mu.Lock()
	u.open[id] = &upload{file: f, sum: sha256.New()}
	u.mu.Unlock()
	if q.Get("digest") != "" { // the whole blob in one request
		u.finish(w, r, id)
		return
	}
	w.Header().Set("Location", repo+"/blobs/uploads/"+id)
	w.Header().Set("Range", "0-0")
	w.WriteHeader(http.StatusAccepted)
}

func (u *uploads) get(id string) *upload {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.open[id]
}

func (u *uploads) drop(id string) {
	u.mu.Lock()
	up := u.open[id]
	delete(u.open, id)
	u.mu.Unlock()
	if up != nil {
		up.file.Close()
		os.Remove(up.file.Name())
	}
}

func (up *upload) append(r *http.Request) error {
	n, err := io.Copy(io.MultiWriter(up.file, up.sum), r.Body)
	up.size += n
	return err
}

func (u *uploads) add(w http.ResponseWriter, r *http.Request, id string) {
	up := u.get(id)
	if up == nil {
		refuse(w, http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "no such upload")
		return
	}
	up.mu.Lock()
	defer up.mu.Unlock()
	if c := r.Header.Get("Content-Range"); c != "" {
		var from, to int64
		if _, err := fmt.Sscanf(c, "%d-%d", &from, &to); err != nil || from != up.size {
			refuse(w, http.StatusRequestedRangeNotSatisfiable, "BLOB_UPLOAD_INVALID", fmt.Sprintf("upload has %d bytes", up.size))
			return
		}
	}
	if err := up.append(r); err != nil {
		u.drop(id)
		refuse(w, http.StatusBadRequest, "BLOB_UPLOAD_INVALID", err.Error())
		return
	}
	w.Header().Set("Location", r.URL.Path)
	w.Header().Set("Range", fmt.Sprintf("0-%d", max(up.size-1, 0)))
	w.WriteHeader(http.StatusAccepted)
}

func (u *uploads) finish(w http.ResponseWriter, r *http.Request, id string) {
	up := u.get(id)
	if up == nil {
		refuse(w, http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "no such upload")
		return
	}
	up.mu.Lock()
	defer up.mu.Unlock()
	defer u.drop(id)
	want, err := v1.NewHash(r.URL.Query().Get("digest"))
	if err != nil || want.Algorithm != "sha256" {
		refuse(w, http.StatusBadRequest, "DIGEST_INVALID", "wanted a sha256 digest")
		return
	}
	if err := up.append(r); err != nil {
		refuse(w, http.StatusBadRequest, "BLOB_UPLOAD_INVALID", err.Error())
		return
	}
	if seen := fmt.Sprintf("%x", up.sum.Sum(nil)); seen != want.Hex {
		refuse(w, http.StatusBadRequest, "DIGEST_INVALID", fmt.Sprintf("wanted %s, seen sha256:%s", want, seen))
		return
	}
	path := u.blobs.path(want)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		refuse(w, http.StatusInternalServerError, "UNKNOWN", err.Error())
		return
	}
	if err := os.Rename(up.file.Name(), path); err != nil {
		refuse(w, http.StatusInternalServerError, "UNKNOWN", err.Error())
		return
	}
	w.Header().Set("Docker-Content-Digest", want.String())
	w.Header().Set("Location", "/v2/blobs/"+want.String())
	w.WriteHeader(http.StatusCreated)
}
