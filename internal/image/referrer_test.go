package image_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"hitoku.dev/internal/image"
	"hitoku.dev/internal/image/imagetest"
)

const statementType = "application/vnd.in-toto+json"

func statement(t testing.TB, body string) v1.Image {
	t.Helper()
	img := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	img = mutate.ConfigMediaType(img, statementType)
	img, err := mutate.Append(img, mutate.Addendum{Layer: static.NewLayer([]byte(body), statementType), MediaType: statementType})
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func TestReferrerInRegistry(t *testing.T) {
	t.Parallel()
	img := samples(t)["oci-gzip"]
	for name1, o := range map[string]imagetest.RegistryOptions{"referrers API": {}, "fallback tag": {NoReferrers: true}} {
		t.Run(name1, func(t *testing.T) {
			t.Parallel()
			reg := imagetest.NewRegistry(t, o)
			r := ref(t, reg.Image("app:1"))
			place{opts: anonymous}.write(t, r, img)
			subject := must(partial.Descriptor(img))
			digest, err := image.WriteReferrer(t.Context(), r, *subject, statement(t, `{"measurement":"00"}`), image.WriteOptions{Options: anonymous})
			if err != nil {
				t.Fatal(err)
			}
			at, err := name.NewDigest(reg.Image("app@" + subject.Digest.String()))
			if err != nil {
				t.Fatal(err)
			}
			idx, err := remote.Referrers(at)
			if err != nil {
				t.Fatal(err)
			}
			list := must(idx.IndexManifest()).Manifests
			if len(list) != 1 || list[0].Digest != digest || list[0].ArtifactType != statementType {
				t.Errorf("referrers %+v, wanted one of digest %s", list, digest)
			}
		})
	}
}

func TestReferrerInLayout(t *testing.T) {
	t.Parallel()
	img := samples(t)["oci-gzip"]
	dir := filepath.Join(t.TempDir(), "l")
	r := ref(t, "oci:"+dir+":1")
	place{opts: anonymous}.write(t, r, img)
	subject := must(partial.Descriptor(img))
	for range 2 { // writing it twice is writing it once
		if _, err := image.WriteReferrer(t.Context(), r, *subject, statement(t, `{}`), image.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	idx := must(must(layout.FromPath(dir)).ImageIndex())
	list := must(idx.IndexManifest()).Manifests
	if len(list) != 2 {
		t.Fatalf("index has %d entries, wanted image and artifact", len(list))
	}
	art := must(idx.Image(list[1].Digest))
	if m := must(art.Manifest()); m.Subject == nil || m.Subject.Digest != subject.Digest {
		t.Errorf("artifact names subject %v", m.Subject)
	}
	// The artifact does not stand in the image's way.
	for _, s := range []string{"oci:" + dir, "oci:" + dir + ":1"} {
		same(t, img, place{opts: anonymous}.open(t, ref(t, s)).Image(), true)
	}
	_, err := image.Open(t.Context(), ref(t, "oci:"+dir+"@"+list[1].Digest.String()), anonymous)
	wantError(t, err, image.Pull, image.ErrUnsupported)
}

func TestReferrerRefused(t *testing.T) {
	t.Parallel()
	subject := v1.Descriptor{MediaType: types.OCIManifestSchema1, Digest: v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("0", 64)}}
	for _, s := range []string{"docker-archive:x.tar", "docker-daemon:x"} {
		_, err := image.WriteReferrer(t.Context(), ref(t, s), subject, statement(t, "{}"), image.WriteOptions{})
		wantError(t, err, image.Push, image.ErrUnsupported)
	}
}
