package collateral

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The exported form: one JSON object in the canonical form of RFC 8785 (members
// sorted, no white space), so that equal bundles are equal bytes.
//
//	{"documents":[
//	   {"chain":["<base64 of DER>",…],   issuers, nearest first; left out when there are none
//	    "choice":"standard",             what it was asked for as; left out when not known
//	    "kind":"sgx-tcb-info",
//	    "root":"<64 hexadecimal digits>", SHA-256 of the SubjectPublicKeyInfo of the root that verified it; left out when none did
//	    "subject":"00906ed50000",         for people; what counts is read from the value
//	    "value":"<base64>"},…],           sorted by kind, subject, choice, value
//	 "format":"hitoku-collateral",
//	 "version":1}
const (
	fileFormat  = "hitoku-collateral"
	fileVersion = 1
)

type file struct {
	Documents []record `json:"documents"`
	Format    string   `json:"format"`
	Version   int      `json:"version"`
}

type record struct {
	Chain   [][]byte `json:"chain,omitempty"`
	Choice  Choice   `json:"choice,omitempty"`
	Kind    Kind     `json:"kind"`
	Root    string   `json:"root,omitempty"`
	Subject string   `json:"subject,omitempty"`
	Value   []byte   `json:"value"`
}

// Encode writes documents as one file.
func Encode(docs []*Document) ([]byte, error) {
	f := file{Documents: make([]record, 0, len(docs)), Format: fileFormat, Version: fileVersion}
	for _, d := range docs {
		f.Documents = append(f.Documents, record{d.Chain, d.Choice, d.Kind, d.Root, printable(d.Subject), d.Raw})
	}
	slices.SortFunc(f.Documents, func(a, b record) int {
		if c := strings.Compare(string(a.Kind)+"\x00"+a.Subject+"\x00"+string(a.Choice), string(b.Kind)+"\x00"+b.Subject+"\x00"+string(b.Choice)); c != 0 {
			return c
		}
		return bytes.Compare(a.Value, b.Value)
	})
	f.Documents = slices.CompactFunc(f.Documents, func(a, b record) bool {
		return a.Kind == b.Kind && a.Choice == b.Choice && bytes.Equal(a.Value, b.Value)
	})
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(f); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// printable keeps a subject in the characters whose JSON form is the same for everybody.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return '?'
		}
		return r
	}, s)
}

// Decode reads what [Encode] wrote: that form and no other, except for a final
// line break. Kind and subject must be those that the value itself has. Nothing
// is verified; a document's Root is what the file says, and proves nothing.
func Decode(raw []byte) ([]*Document, error) {
	docs, err := decode(raw)
	if err != nil {
		return nil, fmt.Errorf("collateral bundle: %w", err)
	}
	return docs, nil
}

func decode(raw []byte) ([]*Document, error) {
	raw = bytes.TrimSuffix(raw, []byte("\n"))
	if len(raw) > maxExport {
		return nil, fmt.Errorf("%d bytes, at most %d allowed", len(raw), maxExport)
	}
	var f file
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil {
		return nil, err
	}
	switch {
	case f.Format != fileFormat:
		return nil, fmt.Errorf("format %q, wanted %q", f.Format, fileFormat)
	case f.Version != fileVersion:
		return nil, fmt.Errorf("version %d, wanted %d; a newer hitoku may read it", f.Version, fileVersion)
	case len(f.Documents) > maxDocuments:
		return nil, fmt.Errorf("%d documents, at most %d allowed", len(f.Documents), maxDocuments)
	}
	docs := make([]*Document, 0, len(f.Documents))
	for i := range f.Documents {
		d, err := f.Documents[i].document()
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", i+1, err)
		}
		docs = append(docs, d)
	}
	again, err := Encode(docs)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, raw) {
		return nil, errors.New("not in canonical form; export it anew")
	}
	return docs, nil
}

func (r *record) document() (*Document, error) {
	d, err := newDocument(r.Kind, r.Value)
	if err != nil {
		return nil, err
	}
	if printable(d.Subject) != r.Subject {
		return nil, fmt.Errorf("subject %q, and the value is about %q", r.Subject, d.Subject)
	}
	if !d.mayBe(r.Choice) {
		return nil, fmt.Errorf("choice %q does not fit", r.Choice)
	}
	if len(r.Chain) > maxChainCerts {
		return nil, fmt.Errorf("%d certificates in the chain, at most %d allowed", len(r.Chain), maxChainCerts)
	}
	for _, der := range r.Chain {
		if _, err := x509.ParseCertificate(der); err != nil || len(der) > maxCert {
			return nil, errors.New("the chain holds something that is no certificate")
		}
	}
	if r.Root != "" {
		if root, err := hex.DecodeString(r.Root); err != nil || len(root) != 32 || hex.EncodeToString(root) != r.Root {
			return nil, errors.New("root is not 64 lower-case hexadecimal digits")
		}
	}
	d.Choice, d.Chain, d.Root = r.Choice, r.Chain, r.Root
	return d, nil
}

// mayBe reports whether the document can have been asked for as c.
func (d *Document) mayBe(c Choice) bool {
	switch {
	case c == "":
		return true
	case d.Kind == AMDCRL:
		return c == "vcek" || c == "vlek"
	case d.Kind.numbered():
		_, err := ParseChoice(string(c))
		return err == nil && (c.number() == 0 || c.number() == d.Evaluation)
	}
	return false
}

// newDocument reads the value of a document of a kind.
func newDocument(kind Kind, value []byte) (*Document, error) {
	var d *Document
	switch {
	case len(value) > maxDocument:
		return nil, fmt.Errorf("%s of %d bytes, at most %d allowed", kind, len(value), maxDocument)
	case kind.signedMember() != "":
		d = signedDocument(value)
	case kind == PCKCRL || kind == RootCRL || kind == AMDCRL:
		d, _ = crlDocument(value)
	default:
		if cert, err := x509.ParseCertificate(value); err == nil {
			d = certDocument(cert)
		}
	}
	if d == nil || d.Kind != kind {
		return nil, fmt.Errorf("the value is no %s", kind)
	}
	return d, nil
}
