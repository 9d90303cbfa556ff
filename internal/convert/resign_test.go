package convert

import (
	"testing"

	"hitoku.dev/measure/sgx"
)

func resignRequest(t testing.TB, input string) ResignRequest {
	t.Helper()
	return ResignRequest{Input: input, Output: "oci:" + t.TempDir() + "/signed:1", Signer: testSigning().Signer}
}

// TestResign: a signature of another date is put on an image and back; the first bytes are there again.
func TestResign(t *testing.T) {
	t.Parallel()
	first := request(t, sample(t))
	a := convertOK(t, first)
	q := resignRequest(t, a.Name)
	q.Date = 20300102
	b, err := Resign(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	if b.Measurement != a.Measurement || b.MRSigner != a.MRSigner || b.Date != 20300102 || b.Digest == a.Digest {
		t.Errorf("%+v\nof %+v", b, a)
	}
	x, err := Measure(t.Context(), b.Name, q.OutputOptions)
	if err != nil {
		t.Fatal(err)
	}
	if x.Err() != nil || x.Date != 20300102 {
		t.Errorf("date %d, %v", x.Date, x.Err())
	}
	back := resignRequest(t, b.Name)
	back.Date = a.Date
	c, err := Resign(t.Context(), back)
	if err != nil {
		t.Fatal(err)
	}
	if c.Digest != a.Digest {
		t.Errorf("digest %s, the conversion made %s", c.Digest, a.Digest)
	}
}

func TestSigningRequest(t *testing.T) {
	t.Parallel()
	q := request(t, sample(t))
	a := convertOK(t, q)
	b, err := SigningRequest(t.Context(), a.Name, q.OutputOptions, 20300102)
	if err != nil {
		t.Fatal(err)
	}
	x, err := Inspect(t.Context(), a.Name, q.OutputOptions)
	if err != nil {
		t.Fatal(err)
	}
	s, err := sgx.Sign(t.Context(), resignParams(x.sigstruct, 20300102), testSigning().Signer)
	if err != nil {
		t.Fatal(err)
	}
	if string(b) != string(s.SignedBytes()) || len(b) != 256 {
		t.Errorf("%d bytes, which are not those that are signed", len(b))
	}
}

func TestResignRefusals(t *testing.T) {
	t.Parallel()
	q := request(t, sample(t))
	a := convertOK(t, q)
	if _, err := Resign(t.Context(), resignRequest(t, q.Input)); KindOf(err) != KindPlain {
		t.Errorf("%v, wanted a refusal of the plain image", err)
	}
	same := resignRequest(t, a.Name)
	same.Output = a.Name
	if _, err := Resign(t.Context(), same); KindOf(err) != KindRequest {
		t.Errorf("%v, wanted a refusal to write over the input", err)
	}
	changed := forge(t, func(f *forged) { f.own.guest = append(f.own.guest, 0) })
	if _, err := Resign(t.Context(), resignRequest(t, changed)); KindOf(err) != KindMismatch {
		t.Errorf("%v, wanted a refusal of the changed image", err)
	}
	if _, err := SigningRequest(t.Context(), changed, q.OutputOptions, 0); KindOf(err) != KindMismatch {
		t.Errorf("%v, wanted a refusal of the changed image", err)
	}
}
