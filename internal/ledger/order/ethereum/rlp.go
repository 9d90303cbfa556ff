package ethereum

import (
	"errors"
	"math/bits"
)

// item is a node of RLP (Ethereum yellow paper, appendix B): bytes, or a list of items.
type item struct {
	isList bool
	bytes  []byte
	list   []item
}

var errRLP = errors.New("ethereum: not RLP in its only form")

const (
	maxRLPDepth = 16
	maxRLPItems = 4096
)

func appendRLPBytes(b, s []byte) []byte {
	if len(s) == 1 && s[0] < 0x80 {
		return append(b, s[0])
	}
	return append(appendRLPHead(b, 0x80, len(s)), s...)
}

func appendRLPUint(b []byte, n uint64) []byte { return appendRLPBytes(b, minimal(n)) }

func appendRLPList(b, content []byte) []byte {
	return append(appendRLPHead(b, 0xc0, len(content)), content...)
}

func appendRLPHead(b []byte, base byte, n int) []byte {
	if n < 56 {
		return append(b, base+byte(n))
	}
	length := minimal(uint64(n))
	return append(append(b, base+55+byte(len(length))), length...)
}

// minimal is a number in as few big-endian bytes as it needs; none for zero.
func minimal(n uint64) []byte {
	size := (bits.Len64(n) + 7) / 8
	b := make([]byte, size)
	for i := size - 1; i >= 0; i-- {
		b[i] = byte(n)
		n >>= 8
	}
	return b
}

func (i item) append(b []byte) []byte {
	if !i.isList {
		return appendRLPBytes(b, i.bytes)
	}
	var content []byte
	for _, e := range i.list {
		content = e.append(content)
	}
	return appendRLPList(b, content)
}

// parseRLP reads exactly one item. It takes only the form that appendRLP writes, at most 4096 items, 16 deep.
func parseRLP(b []byte) (item, error) {
	count := 0
	i, rest, err := parseItem(b, 0, &count)
	if err == nil && len(rest) > 0 {
		err = errRLP
	}
	return i, err
}

func parseItem(b []byte, depth int, count *int) (i item, rest []byte, err error) {
	if *count++; len(b) == 0 || depth > maxRLPDepth || *count > maxRLPItems {
		return i, nil, errRLP
	}
	head := b[0]
	if head < 0x80 {
		return item{bytes: b[:1:1]}, b[1:], nil
	}
	base := byte(0x80)
	if head >= 0xc0 {
		base, i.isList = 0xc0, true
	}
	n, b := uint64(head-base), b[1:]
	if n > 55 {
		size := int(n - 55)
		if size > len(b) || b[0] == 0 {
			return i, nil, errRLP
		}
		n = 0
		for _, c := range b[:size] {
			n = n<<8 | uint64(c)
		}
		if b = b[size:]; n < 56 {
			return i, nil, errRLP
		}
	}
	if n > uint64(len(b)) {
		return i, nil, errRLP
	}
	content, rest := b[:n:n], b[n:]
	if !i.isList {
		if n == 1 && content[0] < 0x80 {
			return i, nil, errRLP
		}
		i.bytes = content
		return i, rest, nil
	}
	for len(content) > 0 {
		var e item
		if e, content, err = parseItem(content, depth+1, count); err != nil {
			return i, nil, err
		}
		i.list = append(i.list, e)
	}
	return i, rest, nil
}

// uint reads a number of at most 8 bytes without leading zeros.
func (i item) uint() (uint64, error) {
	if i.isList || len(i.bytes) > 8 || (len(i.bytes) > 0 && i.bytes[0] == 0) {
		return 0, errRLP
	}
	n := uint64(0)
	for _, c := range i.bytes {
		n = n<<8 | uint64(c)
	}
	return n, nil
}
