package main

import (
	"fmt"
	"io"
	"os"
)

// readInput reads what is at most limit bytes long: a file, or standard input for "-".
func readInput(path string, stdin io.Reader, limit int64) ([]byte, error) {
	if path == "-" {
		return readAll(stdin, "standard input", limit)
	}
	return readLimited(path, limit)
}

// readLimited reads a file of at most limit bytes.
func readLimited(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f, path, limit)
}

func readAll(r io.Reader, name string, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", name, limit)
	}
	return b, err
}
