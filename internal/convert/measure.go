package convert

import (
	"context"
	"encoding/hex"
	"fmt"
	"iter"
	"maps"
	"strings"

	"hitoku.dev/internal/image"
	"hitoku.dev/measure/workload"
)

// Measure is Inspect, and beyond it reads every layer of the confidential image
// and compares the merged root file system with the manifest, entry by entry.
// When the result is OK, its Measurement is that of exactly these layers.
func Measure(ctx context.Context, ref string, o image.Options) (*Inspection, error) {
	return MeasureWith(ctx, ref, o, Limits{}, nil)
}

// MeasureWith is Measure with limits and progress.
func MeasureWith(ctx context.Context, ref string, o image.Options, limits Limits, tell func(Event)) (*Inspection, error) {
	src, x, err := inspect(ctx, ref, o)
	if err != nil {
		return nil, about(ref, err)
	}
	defer src.Close()
	limits = limits.withDefaults()
	s := &scanner{limits: limits, note: &notices{}, tell: newProgress(tell), keep: nil}
	fs, _, err := s.scan(ctx, src)
	if err != nil {
		return nil, about(ref, err)
	}
	fs.indexes = nil
	if x.enclave != nil {
		x.sameFiles("the enclave's manifest", compareTrusted(x.enclave, fs))
	} else {
		x.verifyFiles(fs.entries())
	}
	x.Verified, x.OK = true, x.Err() == nil
	return x, nil
}

// verifyFiles compares the manifest's list with the layers.
func (x *Inspection) verifyFiles(entries []entry) {
	x.sameFiles("the manifest", compare(x.Options.Manifest, fileList(entries)))
	own := 0
	for i := range entries {
		e := &entries[i]
		if !workload.Within(e.path, workload.Dir) {
			continue
		}
		own++
		if want := map[string]string{workload.GuestPath: x.Guest, workload.ManifestPath: x.Measurement}[e.path]; want != "" {
			hash := hex.EncodeToString(e.ino.hash[:])
			x.rule(e.ino.kind == kindFile && hash == want, "unpacked "+e.path, want, hash, changedAdvice)
		}
	}
	x.rule(own == 4, "own_files", "init, manifest.json and sigstruct in "+workload.Dir, fmt.Sprintf("%d files", own-1), changedAdvice)
}

// sameFiles is the rule that the layers have the files of a list.
func (x *Inspection) sameFiles(list string, diff []string) {
	seen := "the same"
	if len(diff) > 0 {
		seen = strings.Join(diff, "; ")
	}
	x.rule(len(diff) == 0, "files", fmt.Sprintf("the %d files of %s", x.Files, list), seen, changedAdvice)
}

const maxDifferences = 8

// firsts keeps the first differences of many.
type firsts struct {
	list []string
	more int
}

func (f *firsts) add(format string, args ...any) {
	if len(f.list) < maxDifferences {
		f.list = append(f.list, fmt.Sprintf(format, args...))
	} else {
		f.more++
	}
}

func (f *firsts) all() []string {
	if f.more > 0 {
		return append(f.list, fmt.Sprintf("and %d more", f.more))
	}
	return f.list
}

// compare lists the first differences between a manifest and the files of layers.
func compare(m *workload.Manifest, files iter.Seq[*workload.File]) []string {
	var diff firsts
	pairFiles(m.Files, files, func(want, seen *workload.File) {
		if seen == nil {
			diff.add("%s is missing", want.Name())
		} else if want == nil {
			diff.add("%s is not in the manifest", seen.Name())
		} else if d := difference(want, seen); d != "" {
			diff.add("%s: %s", seen.Name(), d)
		}
	})
	return diff.all()
}

func difference(want, seen *workload.File) string {
	switch {
	case want.Type != seen.Type:
		return fmt.Sprintf("type %s, seen %s", want.Type, seen.Type)
	case want.SHA256 != seen.SHA256 || want.Size != seen.Size:
		return fmt.Sprintf("content %s (%d bytes), seen %s (%d bytes)", want.SHA256, want.Size, seen.SHA256, seen.Size)
	case want.Target() != seen.Target():
		return fmt.Sprintf("link to %q, seen %q", want.Target(), seen.Target())
	case want.Mode != seen.Mode:
		return fmt.Sprintf("mode %04o, seen %04o", want.Mode, seen.Mode)
	case want.UID != seen.UID || want.GID != seen.GID:
		return fmt.Sprintf("owner %d:%d, seen %d:%d", want.UID, want.GID, seen.UID, seen.GID)
	case want.Rdev != seen.Rdev:
		return fmt.Sprintf("device %d, seen %d", want.Rdev, seen.Rdev)
	case !maps.Equal(want.Xattrs, seen.Xattrs):
		return "other capabilities"
	}
	return ""
}
