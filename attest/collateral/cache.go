package collateral

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// Cache is a folder of documents, one file each, in the form of [Encode]: so the
// folder itself is collateral that [Load] reads. Files are replaced whole, so
// that several processes may share it; what is read is verified again, so that
// who changes a file can only make it be ignored. Its files are found by root,
// kind, subject and choice of evaluation number (security decision S10): a
// document that one root verified is never found under another.
type Cache struct {
	dir *os.Root
}

// OpenCache opens a folder, which is made (mode 0700) when it is not there.
func OpenCache(path string) (*Cache, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("collateral cache: %w", err)
	}
	dir, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("collateral cache: %w", err)
	}
	return &Cache{dir}, nil
}

// Close closes the folder.
func (c *Cache) Close() error { return c.dir.Close() }

// key finds a document.
type key struct {
	root    string // rootHash
	kind    Kind
	subject string
	choice  Choice
}

func (d *Document) key() key {
	k := key{d.Root, d.Kind, d.Subject, d.Choice}
	if k.choice == "" && d.Kind.numbered() {
		k.choice = Pinned(d.Evaluation)
	}
	return k
}

// path is the name of a document's file: root/kind/subject.choice.json.
func (k key) path() string {
	name := "all"
	if k.subject != "" {
		name = fileName(k.subject)
	}
	if k.choice != "" {
		name += "." + string(k.choice)
	}
	return k.root[:32] + "/" + string(k.kind) + "/" + name + ".json"
}

// fileName keeps letters, digits and dashes.
func fileName(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-':
			return r
		}
		return '_'
	}, s[:min(len(s), 200)])
}

// errAbsent says that the cache has no such document.
var errAbsent = errors.New("not in the cache")

// get reads a document and verifies it under the root of its key.
func (c *Cache) get(k key, root *x509.Certificate) (*Document, error) {
	f, err := c.dir.Open(k.path())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errAbsent
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := readLimited(f, maxFile)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", k.path(), err)
	}
	docs, err := Decode(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", k.path(), err)
	}
	if len(docs) != 1 || docs[0].key() != k {
		return nil, fmt.Errorf("%s: another document than its name says", k.path())
	}
	v, err := docs[0].verify(root, docs[0].Chain)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", k.path(), err)
	}
	return docs[0].verifiedBy(v, docs[0].Chain), nil
}

// Put stores verified documents, those of [Bundle.Verified]. A document that is
// older than the one in its place is left out.
func (c *Cache) Put(docs ...*Document) error {
	for _, d := range docs {
		if err := c.put(d); err != nil {
			return fmt.Errorf("collateral cache: %s %s: %w", d.Kind, d.Subject, err)
		}
	}
	return nil
}

func (c *Cache) put(d *Document) error {
	if d.by == nil {
		return errors.New("no root verified it")
	}
	k := d.key()
	stored := *d
	stored.Choice = k.choice
	raw, err := Encode([]*Document{&stored})
	if err != nil {
		return err
	}
	if old, err := c.get(k, d.by.root); err == nil && old.Issued.After(d.Issued) {
		return nil
	}
	path := k.path()
	if err := c.dir.MkdirAll(path[:strings.LastIndexByte(path, '/')], 0o700); err != nil {
		return err
	}
	var unique [8]byte
	rand.Read(unique[:])
	temporary := path + "." + hex.EncodeToString(unique[:]) + ".part"
	if err := c.write(temporary, append(raw, '\n')); err != nil {
		return errors.Join(err, c.dir.Remove(temporary))
	}
	return c.dir.Rename(temporary, path)
}

func (c *Cache) write(name string, raw []byte) error {
	f, err := c.dir.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	return errors.Join(err, f.Sync(), f.Close())
}

// Bundle returns everything that can be read in the cache, unverified.
func (c *Cache) Bundle() (*Bundle, error) {
	b := new(Bundle)
	if _, err := b.folder(c.dir.FS()); err != nil {
		return nil, fmt.Errorf("collateral cache: %w", err)
	}
	return b, nil
}
