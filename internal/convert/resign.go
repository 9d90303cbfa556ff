package convert

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"hitoku.dev/internal/image"
	"hitoku.dev/measure/sgx"
	"hitoku.dev/measure/workload"
)

// ResignRequest says which confidential image gets another signature.
type ResignRequest struct {
	Input, Output string // references as image.Parse reads them; Output must give a tag
	// InputOptions and OutputOptions say how to reach them.
	InputOptions, OutputOptions image.Options
	Signer                      sgx.Signer
	Date                        uint32 // yyyymmdd; 0 keeps the date of the present signature
}

// signaturePaths are where a confidential image has its SIGSTRUCT.
var signaturePaths = []string{workload.SigstructPath, sgxSignaturePath}

// Resign puts a signature of another key or date on a confidential image. The measurement,
// product id, version and attributes stay; the application's layers are not read.
func Resign(ctx context.Context, q ResignRequest) (*Result, error) {
	conv := Request{Input: q.Input, Output: q.Output}
	_, out, err := conv.refs()
	if err != nil {
		return nil, err
	}
	src, x, err := inspect(ctx, q.Input, q.InputOptions)
	if err != nil {
		return nil, about(q.Input, err)
	}
	defer src.Close()
	if err := x.Err(); err != nil {
		return nil, err
	}
	res, err := resign(ctx, &q, src, x, out)
	if err != nil {
		return nil, about(q.Input, err)
	}
	return res, nil
}

// SigningRequest returns the 256 bytes that the holder of a key signs to re-sign the image
// at ref: RSASSA-PKCS1-v1_5 with SHA-256 over them makes the signature.
func SigningRequest(ctx context.Context, ref string, o image.Options, date uint32) ([]byte, error) {
	src, x, err := inspect(ctx, ref, o)
	if err != nil {
		return nil, about(ref, err)
	}
	defer src.Close()
	if err := x.Err(); err != nil {
		return nil, err
	}
	s := *x.sigstruct
	if date != 0 {
		s.Date = date
	}
	return s.SignedBytes(), nil
}

func resign(ctx context.Context, q *ResignRequest, src *image.Source, x *Inspection, out image.Ref) (*Result, error) {
	sig, err := sgx.Sign(ctx, resignParams(x.sigstruct, q.Date), q.Signer)
	if err != nil {
		return nil, fail(KindSign, "%w", err)
	}
	signer := sig.MRSigner()
	c := &conversion{Request: &Request{
		TEE: x.TEE, Output: q.Output, OutputOptions: q.OutputOptions, Signing: Signing{ISVProdID: sig.ISVProdID, ISVSVN: sig.ISVSVN, Date: sig.Date},
	}, tell: newProgress(nil), src: src, m: x.Options.Manifest}
	res := &Result{
		Measurement: x.Measurement, MRSigner: hex.EncodeToString(signer[:]), ISVProdID: sig.ISVProdID, ISVSVN: sig.ISVSVN, Date: sig.Date,
		TEE: x.TEE, Source: x.Labels[LabelSource], Files: x.Files, AccountRoot: x.AccountRoot, Guest: x.Guest,
		Options: Header{Manifest: x.Options.Manifest}, Name: out.String(), Image: out.String(),
	}
	if x.Enclave != nil {
		res.Enclave = &Enclave{EnclaveShape: *x.Enclave, Runtimes: []string{}, Findings: []string{}, Weak: texts(x.Weak)}
	}
	img, layer, err := resigned(src.Image(), sig.Marshal(), res)
	if err != nil {
		return nil, err
	}
	if err := c.describe(img, []*addedLayer{layer}, res); err != nil {
		return nil, err
	}
	if err := c.write(ctx, img, out, res); err != nil {
		return nil, err
	}
	res.Notices = append([]string{}, c.note.list...)
	return res, nil
}

// resignParams are the parameters that a signature was made with.
func resignParams(s *sgx.Sigstruct, date uint32) sgx.Params {
	if date == 0 {
		date = s.Date
	}
	return sgx.Params{
		EnclaveHash: s.EnclaveHash, ISVProdID: s.ISVProdID, ISVSVN: s.ISVSVN, Date: date,
		Attributes: s.Attributes, AttributesMask: s.AttributesMask, MiscSelect: s.MiscSelect, MiscMask: s.MiscMask,
	}
}

// resigned is img with its last layer written again around another SIGSTRUCT.
func resigned(img v1.Image, sigstruct []byte, res *Result) (v1.Image, *addedLayer, error) {
	layers, err := img.Layers()
	if err != nil {
		return nil, nil, err
	}
	cf, err := img.ConfigFile()
	if err != nil {
		return nil, nil, err
	}
	last, err := img.Manifest()
	if err != nil {
		return nil, nil, err
	}
	list, err := layerEntries(layers[len(layers)-1], sigstruct)
	if err != nil {
		return nil, nil, fail(KindMismatch, "added layer: %w", err).advise(changedAdvice)
	}
	layer, err := buildLayer(list, last.Layers[len(layers)-1].MediaType, "")
	if err != nil {
		return nil, nil, err
	}
	config := cf.DeepCopy()
	if config.Config.Labels == nil {
		config.Config.Labels = map[string]string{}
	}
	config.Config.Labels[LabelMRSigner] = res.MRSigner
	out, err := withLastLayer(img, layer, config)
	return out, layer, err
}

// layerEntries reads a layer that buildLayer made, with the signature replaced.
func layerEntries(l v1.Layer, sigstruct []byte) ([]layerEntry, error) {
	rc, err := l.Uncompressed()
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	r := tar.NewReader(io.LimitReader(rc, maxOwnLayer))
	var list []layerEntry
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, err
		}
		e := layerEntry{path: path.Clean("/" + h.Name), ino: &inode{mode: uint16(h.Mode & 0o7777), uid: uint32(h.Uid), gid: uint32(h.Gid)}}
		switch h.Typeflag {
		case tar.TypeDir:
			e.ino.kind = kindDir
		case tar.TypeSymlink:
			e.ino.kind, e.ino.link = kindSymlink, h.Linkname
		case tar.TypeReg:
			var content bytes.Buffer
			if _, err := content.ReadFrom(r); err != nil {
				return nil, err
			}
			b := content.Bytes()
			if slices.Contains(signaturePaths, e.path) {
				b = sigstruct
			}
			e.ino.kind, e.ino.size, e.body = kindFile, int64(len(b)), bytesOf(b)
		default:
			return nil, fmt.Errorf("%s has type %s, which no conversion writes", e.path, strconv.QuoteRune(rune(h.Typeflag)))
		}
		list = append(list, e)
	}
}
