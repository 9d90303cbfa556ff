package image

import (
	"bytes"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// maxZstdWindow bounds the memory that one zstd stream may ask for; it is what
// zstd's own command accepts (--long=27).
const maxZstdWindow = 128 << 20

// Decompress finds the compression of a layer or root file system by its first bytes, head,
// which are still to come from in, as engines do: gzip, zstd or none. Zstd frames are decoded
// by so many goroutines. The caller calls the second result when it is done.
func Decompress(head []byte, in io.Reader, goroutines int) (io.Reader, func(), error) {
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, nil, fmt.Errorf("not valid gzip: %w", err)
		}
		return z, func() { z.Close() }, nil
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}) || skippableFrame(head):
		z, err := zstd.NewReader(in, zstd.WithDecoderMaxWindow(maxZstdWindow), zstd.WithDecoderLowmem(true), zstd.WithDecoderConcurrency(goroutines))
		if err != nil {
			return nil, nil, fmt.Errorf("not valid zstd: %w", err)
		}
		return z, z.Close, nil
	}
	return in, func() {}, nil
}

// skippableFrame recognises the zstd frames (RFC 8878 section 3.1.2) that
// zstd:chunked and seekable files may begin with.
func skippableFrame(head []byte) bool {
	return len(head) >= 4 && head[0]&0xf0 == 0x50 && head[1] == 0x2a && head[2] == 0x4d && head[3] == 0x18
}
