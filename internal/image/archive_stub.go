package image

import (
	"context"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func openArchive(ctx context.Context, ref Ref, o Options) (*Source, error) {
	return nil, failf(ErrUnsupported, "not built in")
}
func openEngine(ctx context.Context, ref Ref, o Options) (*Source, error) {
	return nil, failf(ErrUnsupported, "not built in")
}
func writeArchive(ctx context.Context, ref Ref, img v1.Image, o WriteOptions) (Result, error) {
	return Result{}, failf(ErrUnsupported, "not built in")
}
func writeEngine(ctx context.Context, ref Ref, img v1.Image, o WriteOptions) (Result, error) {
	return Result{}, failf(ErrUnsupported, "not built in")
}
func resolveEngine(ctx context.Context, ref Ref, o Options) (v1.Hash, error) {
	return v1.Hash{}, failf(ErrUnsupported, "not built in")
}
