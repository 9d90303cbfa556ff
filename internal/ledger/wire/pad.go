package wire

// Bucket is the smallest padded size for n bytes with their length: a power of two from MinBucket to
// limit, or 0 when they do not fit.
func Bucket(n, limit int) int {
	for size := MinBucket; size <= limit; size *= 2 {
		if n+4 <= size {
			return size
		}
	}
	return 0
}

// Pad writes lv(b) and zeros up to size bytes; nil when it does not fit.
func Pad(b []byte, size int) []byte {
	if len(b)+4 > size {
		return nil
	}
	w := writer{make([]byte, 0, size)}
	w.lv(b)
	return w.b[:size]
}

// Unpad reads what Pad wrote; it refuses a length that is no power of two from MinBucket to limit,
// and bytes after lv(b) that are not zero.
func Unpad(b []byte, limit int) ([]byte, error) {
	return parse("padded bytes", b, limit, func(r *reader) []byte {
		r.bucket("length", len(b), limit)
		out := r.lv(limit, "content")
		for _, c := range r.take(len(r.b), "padding") {
			if c != 0 {
				r.fail("padding: %#x, wanted zeros", c)
				break
			}
		}
		return out
	})
}
