package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
)

// maxLinks bounds the symbolic links followed for one path, as the kernel does (path_resolution(7)).
const maxLinks = 40

// split cleans a path of an archive into its components.
func split(name string) ([]string, error) {
	var parts []string
	for p := range strings.SplitSeq(name, "/") {
		switch p {
		case "", ".":
		case "..":
			return nil, fmt.Errorf("path %q: leaves its folder", name)
		default:
			if strings.ContainsRune(p, 0) {
				return nil, fmt.Errorf("path %q: has a zero byte", name)
			}
			parts = append(parts, p)
		}
	}
	return parts, nil
}

// resolveDir returns the real path below root of a folder named by parts. Links
// are followed inside root, absolute ones from its top. Missing folders are made
// when create is set.
func resolveDir(root *os.Root, parts []string, create bool) (string, error) {
	cur := "."
	links := 0
	for len(parts) > 0 {
		p := parts[0]
		parts = parts[1:]
		switch p {
		case "", ".":
			continue
		case "..":
			cur = path.Dir(cur) // of "." it is "." again
			continue
		}
		next := path.Join(cur, p)
		fi, err := root.Lstat(next)
		switch {
		case errors.Is(err, fs.ErrNotExist) && create:
			if err := root.Mkdir(next, 0o755); err != nil {
				return "", err
			}
			if err := root.Chmod(next, 0o755); err != nil {
				return "", err
			}
		case err != nil:
			return "", err
		case fi.Mode()&fs.ModeSymlink != 0:
			if links++; links > maxLinks {
				return "", fmt.Errorf("%s: %w", next, syscall.ELOOP)
			}
			target, err := root.Readlink(next)
			if err != nil {
				return "", err
			}
			if strings.HasPrefix(target, "/") {
				cur = "."
			}
			parts = append(strings.Split(target, "/"), parts...)
			continue
		case !fi.IsDir():
			return "", fmt.Errorf("%s: %w", next, syscall.ENOTDIR)
		}
		cur = next
	}
	return cur, nil
}

// Resolve returns the real path below root of an existing file, with the links of
// every component followed inside root.
func Resolve(root *os.Root, name string) (string, error) {
	parts := strings.Split(name, "/")
	for links := 0; ; links++ {
		if links > maxLinks {
			return "", fmt.Errorf("%s: %w", name, syscall.ELOOP)
		}
		for len(parts) > 0 && (parts[len(parts)-1] == "" || parts[len(parts)-1] == ".") {
			parts = parts[:len(parts)-1]
		}
		if len(parts) == 0 {
			return ".", nil
		}
		base := parts[len(parts)-1]
		if base == ".." {
			return resolveDir(root, parts, false)
		}
		dir, err := resolveDir(root, parts[:len(parts)-1], false)
		if err != nil {
			return "", err
		}
		full := path.Join(dir, base)
		fi, err := root.Lstat(full)
		if err != nil {
			return "", err
		}
		if fi.Mode()&fs.ModeSymlink == 0 {
			return full, nil
		}
		target, err := root.Readlink(full)
		if err != nil {
			return "", err
		}
		parts = strings.Split(target, "/")
		if !strings.HasPrefix(target, "/") {
			parts = append(strings.Split(dir, "/"), parts...)
		}
	}
}
