package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/moby/client"
)

// engineCache remembers the table of contents of one image's export. It needs no
// trust: configuration and layers are compared with their digests as ever, and a
// table that does not lead to the engine's image id is not used. Failing to
// remember is no error.
type engineCache struct{ file string }

// cachedEntry is a tarEntry as it is kept.
type cachedEntry struct {
	Name   string   `json:"name"`
	Link   string   `json:"link,omitempty"`
	Order  int      `json:"order"`
	Size   int64    `json:"size"`
	Head   []byte   `json:"head,omitempty"`
	Digest *v1.Hash `json:"digest,omitempty"`
	Body   []byte   `json:"body,omitempty"`
}

// cache is keyed by the engine and its version too, since another one names and
// sorts the entries of an export in another way.
func (e *engine) cache(ctx context.Context, dir, id string) engineCache {
	if dir == "" {
		return engineCache{}
	}
	r, err := e.Info(ctx, client.InfoOptions{})
	if err != nil {
		return engineCache{}
	}
	key := sha256.Sum256(fmt.Appendf(nil, "engine export 1\n%q\n%q\n%q\n%q\n", e.host, r.Info.ID, r.Info.ServerVersion, id))
	return engineCache{file: filepath.Join(dir, fmt.Sprintf("export-%x.json", key))}
}

func (c engineCache) load() *tarIndex {
	if c.file == "" {
		return nil
	}
	f, err := os.Open(c.file)
	if err != nil {
		return nil
	}
	defer f.Close()
	// Twice the documents: they are kept in base64.
	b, err := io.ReadAll(io.LimitReader(f, 2*maxArchiveDocuments))
	if err != nil {
		return nil
	}
	// The check sum finds damage, which would else fail every reading from now on.
	sum, body, found := bytes.Cut(b, []byte("\n"))
	if !found || string(sum) != checkSum(body) {
		return nil
	}
	var entries []cachedEntry
	if err := json.Unmarshal(body, &entries); err != nil || len(entries) > maxArchiveEntries {
		return nil
	}
	x := &tarIndex{entries: map[string]*tarEntry{}}
	for _, k := range entries {
		t := &tarEntry{name: k.Name, link: k.Link, order: k.Order, size: k.Size, at: -1, head: k.Head, body: k.Body}
		if k.Digest != nil {
			t.digest = *k.Digest
		}
		x.entries[k.Name] = t
	}
	return x
}

func (c engineCache) store(x *tarIndex) {
	if c.file == "" {
		return
	}
	var entries []cachedEntry
	for _, t := range x.entries {
		k := cachedEntry{Name: t.name, Link: t.link, Order: t.order, Size: t.size, Head: t.head, Body: t.body}
		if t.digest != (v1.Hash{}) {
			k.Digest = &t.digest
		}
		entries = append(entries, k)
	}
	b, err := json.Marshal(entries)
	if err != nil || os.MkdirAll(filepath.Dir(c.file), 0o700) != nil {
		return
	}
	_ = atomicFile(c.file, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%s\n%s", checkSum(b), b)
		return err
	})
}

func checkSum(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b)) }
