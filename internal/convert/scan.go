package convert

import (
	"context"
	"maps"
	"runtime"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"hitoku.dev/internal/image"
)

// scanner reads all layers of an image, or takes their indexes from the cache.
type scanner struct {
	cache  *cache // may be nil
	limits Limits
	note   *notices
	tell   *progress
	keep   func(path string, size int64) bool
	sniff  func(path string, size int64) sniffer // nil: no facts are wanted
}

// scan returns the merged root file system and how many layers came from the cache.
func (s *scanner) scan(ctx context.Context, src *image.Source) (*rootfs, int, error) {
	layers, err := src.Image().Layers()
	if err != nil {
		return nil, 0, err
	}
	workers := min(runtime.GOMAXPROCS(0), 4)
	if src.Ref().Kind() == image.KindEngine { // one export after the other
		workers = 1
	}
	return s.scanLayers(ctx, layers, src.ReadOrder(), workers)
}

func (s *scanner) scanLayers(ctx context.Context, layers []v1.Layer, order []int, workers int) (*rootfs, int, error) {
	r := &layerReader{limits: s.limits, keep: s.keep, sniff: s.sniff, count: s.tell.read}
	fs := &rootfs{layers: layers, indexes: make([]*layerIndex, len(layers)), reread: r, contents: map[*inode][]byte{}, facts: map[*inode][]byte{}}
	todo, cached, total, err := s.fromCache(fs, order)
	if err != nil {
		return nil, 0, err
	}
	s.tell.stage(StageRead, total)
	if err := s.readAll(ctx, fs, r, todo, workers); err != nil {
		return nil, 0, err
	}
	fs.merger = newMerger(s.limits.Entries)
	for i, x := range fs.indexes {
		if i > 0 && sameLayer(fs.indexes[:i], x) {
			// The same layer twice: names of one inode must not become hard links of each other.
			fs.indexes[i] = x.clone()
			x = fs.indexes[i]
		}
		if err := fs.add(x); err != nil {
			return nil, 0, err
		}
		for ino, c := range x.contents {
			fs.contents[ino] = c
		}
		maps.Copy(fs.facts, x.facts)
	}
	return fs, cached, nil
}

func sameLayer(before []*layerIndex, x *layerIndex) bool {
	for _, b := range before {
		if b == x {
			return true
		}
	}
	return false
}

// fromCache fills the indexes that the cache has and lists the layers to read:
// each digest once, in the order that costs least.
func (s *scanner) fromCache(fs *rootfs, order []int) (todo []int, cached int, total int64, err error) {
	seen := map[v1.Hash]bool{}
	for _, i := range order {
		l := fs.layers[i]
		digest, err := l.Digest()
		if err != nil {
			return nil, 0, 0, err
		}
		if s.cache != nil {
			diffID, err := l.DiffID()
			if err != nil {
				return nil, 0, 0, err
			}
			if x := s.cache.load(digest, diffID); x != nil && len(x.entries) <= s.limits.Entries && (x.sniffed || s.sniff == nil) {
				if err := charge(&fs.reread.used, x.expanded, s.limits); err != nil {
					return nil, 0, 0, layerError(digest, err)
				}
				fs.indexes[i] = x
				cached++
				continue
			}
		}
		if seen[digest] {
			continue
		}
		seen[digest] = true
		size, err := l.Size()
		if err != nil {
			return nil, 0, 0, err
		}
		total += size
		todo = append(todo, i)
	}
	return todo, cached, total, nil
}

func (s *scanner) readAll(ctx context.Context, fs *rootfs, r *layerReader, todo []int, workers int) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(workers)
	var mu sync.Mutex
	read := map[v1.Hash]*layerIndex{}
	for _, i := range todo {
		g.Go(func() error {
			if err := context.Cause(ctx); err != nil {
				return err
			}
			x, err := r.read(ctx, fs.layers[i])
			if err != nil {
				return err
			}
			digest, err := fs.layers[i].Digest()
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			read[digest] = x
			if s.cache != nil {
				if err := s.cache.store(digest, x); err != nil {
					s.note.add("%v", err)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i, l := range fs.layers {
		if fs.indexes[i] != nil {
			continue
		}
		digest, err := l.Digest()
		if err != nil {
			return err
		}
		fs.indexes[i] = read[digest]
	}
	return nil
}

// clone copies an index with inodes of its own.
func (x *layerIndex) clone() *layerIndex {
	c := &layerIndex{
		diffID: x.diffID, size: x.size, expanded: x.expanded, contents: map[*inode][]byte{},
		sniffed: x.sniffed, facts: map[*inode][]byte{},
	}
	twin := map[*inode]*inode{}
	for _, e := range x.entries {
		t := twin[e.ino]
		if t == nil {
			t = new(inode)
			*t = *e.ino
			twin[e.ino] = t
			if content, ok := x.contents[e.ino]; ok {
				c.contents[t] = content
			}
			if facts, ok := x.facts[e.ino]; ok {
				c.facts[t] = facts
			}
		}
		e.ino = t
		c.entries = append(c.entries, e)
	}
	return c
}
