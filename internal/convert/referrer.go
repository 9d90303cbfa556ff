package convert

import (
	"encoding/json"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// The artifact that lies beside a confidential image: an unsigned in-toto
// statement (https://in-toto.io/Statement/v1) that repeats the measurement, with a policy that accepts it.
const (
	StatementMediaType types.MediaType = "application/vnd.in-toto+json"
	PredicateType      string          = "https://hitoku.dev/measurement/v1"
)

type statement struct {
	Type          string             `json:"_type"`
	PredicateType string             `json:"predicateType"`
	Predicate     predicate          `json:"predicate"`
	Subject       []statementSubject `json:"subject"`
}

type statementSubject struct {
	Digest map[string]string `json:"digest"`
}

type predicate struct {
	AccountRoot string `json:"account_root"` // SHA-256 of its SubjectPublicKeyInfo, or empty
	Guest       string `json:"guest"`
	ISVProdID   uint16 `json:"isv_prod_id"`
	ISVSVN      uint16 `json:"isv_svn"`
	Measurement string `json:"measurement"`
	MRSigner    string `json:"mrsigner"`
	Policy      string `json:"policy"` // a policy file that accepts evidence of the image
	Source      string `json:"source"` // digest of the converted image
	TEE         string `json:"tee"`
}

// newReferrer makes the artifact; the same image gives the same bytes.
func newReferrer(image v1.Hash, p predicate) (v1.Image, error) {
	body, err := json.Marshal(statement{
		Type: "https://in-toto.io/Statement/v1", PredicateType: PredicateType, Predicate: p,
		Subject: []statementSubject{{map[string]string{image.Algorithm: image.Hex}}},
	})
	if err != nil {
		return nil, err
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), StatementMediaType)
	return mutate.AppendLayers(img, static.NewLayer(body, StatementMediaType))
}
