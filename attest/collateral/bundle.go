package collateral

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"hitoku.dev/attest/dcap"
)

// Limits on a file or folder of collateral.
const (
	maxFiles     = 4096
	maxFile      = 1 << 20
	maxExport    = 16 << 20
	maxDocuments = 16384
)

// Bundle is a heap of collateral from which the parts for one platform and time
// are chosen. Nothing of it is verified until [Bundle.Inspect]; what is chosen is
// verified by the verifier that it is given to. The zero value is an empty one.
type Bundle struct {
	documents []*Document
	seen      map[documentID]bool

	set   *dcap.Collateral // the one whole set …
	mixed bool             // … unless there is more beside it
}

type documentID struct {
	kind Kind
	hash [32]byte
}

// Load reads collateral from a file, or from a folder of files in any mix and
// under any names; see [Bundle.Add] for what is recognised. Links in it are followed
// to files, not to folders. Files that hold no collateral are passed over.
func Load(path string) (*Bundle, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	b := new(Bundle)
	if info.IsDir() {
		known, err := b.folder(os.DirFS(path))
		if err == nil && known == 0 {
			err = errors.New("no file in it is collateral")
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return b, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := readLimited(f, maxExport)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if !b.Add(raw) {
		return nil, fmt.Errorf("%s: no collateral; wanted an exported bundle, a JSON file of a whole set, an answer of the maker's service, or a folder of such files", path)
	}
	return b, nil
}

// folder adds the files of a folder and returns how many held collateral.
func (b *Bundle) folder(root fs.FS) (known int, err error) {
	files := 0
	err = fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		link := err == nil && d.Type() == fs.ModeSymlink
		if err != nil || !d.Type().IsRegular() && !link {
			return err
		}
		if files++; files > maxFiles {
			return fmt.Errorf("more than %d files", maxFiles)
		}
		info, err := fs.Stat(root, name)
		switch {
		case link && (err != nil || !info.Mode().IsRegular()):
			return nil // it leads nowhere, to a folder or to a device
		case err != nil:
			return err
		case info.Size() > maxFile:
			return nil
		}
		f, err := root.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		raw, err := readLimited(f, maxFile)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if b.Add(raw) {
			known++
		}
		return nil
	})
	return known, err
}

var errTooLong = errors.New("too long")

// readLimited reads all of r, at most limit bytes.
func readLimited(r io.Reader, limit int64) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(raw)) > limit {
		return nil, fmt.Errorf("%w: more than %d bytes", errTooLong, limit)
	}
	return raw, nil
}

// put takes a document in once; it reports whether the bundle has it now.
func (b *Bundle) put(d *Document) bool {
	if b.set != nil {
		b.mixed = true
	}
	return b.insert(d)
}

func (b *Bundle) insert(d *Document) bool {
	id := d.id()
	if b.seen[id] && b.complete(d) {
		return true
	}
	if len(b.documents) >= maxDocuments {
		return false
	}
	if b.seen == nil {
		b.seen = make(map[documentID]bool)
	}
	b.seen[id] = true
	b.documents = append(b.documents, d)
	return true
}

// complete adds to a document that is there already what only d knows. It returns
// false when d was asked for as something else.
func (b *Bundle) complete(d *Document) bool {
	for _, o := range b.documents {
		if !o.equal(d) || o.Choice != "" && d.Choice != "" && o.Choice != d.Choice {
			continue
		}
		if o.Choice == "" {
			o.Choice = d.Choice
		}
		if len(o.Chain) == 0 {
			o.Chain = d.Chain
		}
		return true
	}
	return false
}

// NewBundle makes a bundle of documents.
func NewBundle(docs []*Document) *Bundle {
	b := new(Bundle)
	for _, d := range docs {
		b.put(d)
	}
	return b
}

// Documents returns what the bundle holds, in the order in which it was taken in.
func (b *Bundle) Documents() []*Document { return b.documents }

// Certs returns the DER of every certificate, those of the issuer chains too.
func (b *Bundle) Certs() [][]byte {
	all := new(Bundle)
	for _, c := range b.certificates() {
		all.insert(c)
	}
	var out [][]byte
	for _, d := range all.documents {
		out = append(out, d.Raw)
	}
	return out
}

// CRLs returns the DER of every revocation list.
func (b *Bundle) CRLs() [][]byte {
	var out [][]byte
	for _, d := range b.documents {
		if d.crl != nil {
			out = append(out, d.Raw)
		}
	}
	return out
}
