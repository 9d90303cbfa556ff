package convert

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"hitoku.dev/internal/convert/closure"
)

// indexMagic begins a stored index and names its version: it changes with the
// format, with how layers are unpacked, with whose content is kept and with what is
// taken for a fact.
const indexMagic = "hitoku layer index 3\n"

const (
	flagImplied = 1 << iota
	flagOpaque
	flagShared // a further name of an inode that came before
	flagCaps
	flagContent
	flagFacts
)

// marshal writes an index: magic, counts, entries with front-coded paths, and
// the SHA-256 of all that.
func (x *layerIndex) marshal() []byte {
	b := []byte(indexMagic)
	b = appendText(b, x.diffID.String())
	b = binary.AppendUvarint(b, uint64(x.size))
	b = binary.AppendUvarint(b, uint64(x.expanded))
	sniffed := byte(0)
	if x.sniffed {
		sniffed = closure.FactsVersion // other versions say nothing to this one: the layer is read again
	}
	b = append(b, sniffed)
	b = binary.AppendUvarint(b, uint64(len(x.entries)))
	first := map[*inode]int{}
	last := ""
	for i := range x.entries {
		e := &x.entries[i]
		n := commonPrefix(last, e.path)
		last = e.path
		at, shared := first[e.ino]
		content, kept := x.contents[e.ino]
		facts, told := x.facts[e.ino]
		flags := byte(0)
		for _, f := range []struct {
			set bool
			bit byte
		}{{e.implied, flagImplied}, {e.opaque, flagOpaque}, {shared, flagShared}, {e.ino.caps != "", flagCaps}, {kept, flagContent}, {told, flagFacts}} {
			if f.set {
				flags |= f.bit
			}
		}
		b = append(b, flags)
		b = binary.AppendUvarint(b, uint64(n))
		b = appendText(b, e.path[n:])
		if shared {
			b = binary.AppendUvarint(b, uint64(at))
			continue
		}
		if e.ino.kind != kindDir {
			first[e.ino] = i
		}
		b = appendInode(b, e.ino)
		if kept {
			b = appendText(b, string(content))
		}
		if told {
			b = appendText(b, string(facts))
		}
	}
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

func appendInode(b []byte, ino *inode) []byte {
	b = append(b, byte(ino.kind))
	b = binary.AppendUvarint(b, uint64(ino.mode))
	b = binary.AppendUvarint(b, uint64(ino.uid))
	b = binary.AppendUvarint(b, uint64(ino.gid))
	switch ino.kind {
	case kindFile:
		b = binary.AppendUvarint(b, uint64(ino.size))
		b = append(b, ino.hash[:]...)
	case kindSymlink:
		b = appendText(b, ino.link)
	case kindChar, kindBlock:
		b = binary.AppendUvarint(b, ino.rdev)
	}
	if ino.caps != "" {
		b = appendText(b, ino.caps)
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func commonPrefix(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

var errIndex = errors.New("layer index is damaged")

// parseIndex reads what marshal wrote. Any change of the bytes is an error.
func parseIndex(data []byte) (*layerIndex, error) {
	if len(data) < len(indexMagic)+sha256.Size || !bytes.HasPrefix(data, []byte(indexMagic)) {
		return nil, fmt.Errorf("%w: not of this version", errIndex)
	}
	body, sum := data[:len(data)-sha256.Size], data[len(data)-sha256.Size:]
	if seen := sha256.Sum256(body); !bytes.Equal(seen[:], sum) {
		return nil, fmt.Errorf("%w: its hash is wrong", errIndex)
	}
	c := cursor{b: body[len(indexMagic):]}
	x := &layerIndex{contents: map[*inode][]byte{}, facts: map[*inode][]byte{}}
	diffID, err := v1.NewHash(c.text(200))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errIndex, err)
	}
	x.diffID = diffID
	x.size, x.expanded = int64(c.uint(1<<62)), int64(c.uint(1<<62))
	x.sniffed = c.byte() == closure.FactsVersion
	n := int(c.uint(uint64(len(c.b)))) // an entry takes more than a byte
	x.entries = make([]entry, 0, min(n, len(c.b)/4))
	inodes := make([]inode, 0, min(n, len(c.b)/4))
	path := []byte{}
	for i := 0; i < n && !c.bad; i++ {
		flags := c.byte()
		path = append(path[:c.uint(uint64(len(path)))], c.text(maxPath)...)
		e := entry{path: string(path), implied: flags&flagImplied != 0, opaque: flags&flagOpaque != 0}
		if len(path) > maxPath || i > 0 && e.path <= x.entries[i-1].path || (i == 0) != (e.path == "/") {
			return nil, fmt.Errorf("%w: paths out of order", errIndex)
		}
		if flags&flagShared != 0 {
			at := c.uint(uint64(max(i-1, 0)))
			if i == 0 || x.entries[at].ino.kind == kindDir {
				return nil, errIndex
			}
			e.ino = x.entries[at].ino
		} else {
			if len(inodes) == cap(inodes) { // never move inodes: entries point to them
				inodes = make([]inode, 0, 64)
			}
			inodes = append(inodes, c.inode(flags))
			e.ino = &inodes[len(inodes)-1]
			if flags&flagContent != 0 {
				x.contents[e.ino] = []byte(c.text(maxKept))
			}
			if flags&flagFacts != 0 {
				x.facts[e.ino] = []byte(c.text(maxFacts))
			}
		}
		x.entries = append(x.entries, e)
	}
	if c.bad || len(c.b) != 0 || n == 0 || x.entries[0].ino.kind != kindDir {
		return nil, errIndex
	}
	x.entries = slices.Clip(x.entries)
	return x, nil
}

// cursor reads fields until the first that is not there.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) uint(limit uint64) uint64 {
	v, n := binary.Uvarint(c.b)
	if n <= 0 || v > limit {
		c.bad, c.b = true, nil
		return 0
	}
	c.b = c.b[n:]
	return v
}

func (c *cursor) byte() byte {
	if len(c.b) == 0 {
		c.bad = true
		return 0
	}
	v := c.b[0]
	c.b = c.b[1:]
	return v
}

func (c *cursor) take(n int) []byte {
	if n > len(c.b) {
		c.bad, c.b = true, nil
		return nil
	}
	v := c.b[:n]
	c.b = c.b[n:]
	return v
}

func (c *cursor) text(limit uint64) string { return string(c.take(int(c.uint(limit)))) }

func (c *cursor) inode(flags byte) inode {
	ino := inode{kind: kind(c.byte()), mode: uint16(c.uint(0o7777)), uid: uint32(c.uint(maxID)), gid: uint32(c.uint(maxID))}
	switch ino.kind {
	case kindFile:
		ino.size = int64(c.uint(1 << 62))
		copy(ino.hash[:], c.take(len(ino.hash)))
	case kindSymlink:
		ino.link = c.text(maxPath)
	case kindChar, kindBlock:
		ino.rdev = c.uint(1 << 52)
	case kindDir, kindFIFO, kindWhiteout:
	default:
		c.bad = true
	}
	if flags&flagCaps != 0 {
		ino.caps = c.text(maxName)
	}
	return ino
}
