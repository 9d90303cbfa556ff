package convert

import (
	"encoding/base64"
	"encoding/hex"
	"iter"

	"hitoku.dev/measure/workload"
)

const capabilityXattr = "security.capability"

// fileList gives the manifest's form of each entry, one at a time. Of several
// names of a regular file the first in order is the file, the others are hard
// links to it; other files with several names are listed as if they were several.
func fileList(entries []entry) iter.Seq[*workload.File] {
	return func(yield func(*workload.File) bool) {
		first := map[*inode]int32{}
		for i := range entries {
			e := &entries[i]
			if workload.Within(e.path, workload.Dir) {
				continue
			}
			f := manifestFile(e)
			if e.ino.kind == kindFile {
				if at, linked := first[e.ino]; linked {
					f.Type = workload.TypeHardlink
					f.SetTarget(entries[at].path)
				} else {
					first[e.ino] = int32(i)
				}
			}
			if !yield(f) {
				return
			}
		}
	}
}

func manifestFile(e *entry) *workload.File {
	ino := e.ino
	f := &workload.File{UID: ino.uid, GID: ino.gid, Mode: uint32(ino.mode)}
	f.SetName(e.path)
	switch ino.kind {
	case kindDir:
		f.Type = workload.TypeDir
	case kindFile:
		f.Type, f.Size, f.SHA256 = workload.TypeFile, ino.size, hex.EncodeToString(ino.hash[:])
		if ino.caps != "" {
			f.Xattrs = map[string]string{capabilityXattr: base64.StdEncoding.EncodeToString([]byte(ino.caps))}
		}
	case kindSymlink:
		f.Type = workload.TypeSymlink
		f.SetTarget(ino.link)
	case kindFIFO:
		f.Type = workload.TypeFIFO
	case kindChar, kindBlock:
		f.Type, f.Rdev = workload.TypeChar, ino.rdev
		if ino.kind == kindBlock {
			f.Type = workload.TypeBlock
		}
	}
	return f
}
