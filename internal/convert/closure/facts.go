package closure

import (
	"encoding/binary"
	"slices"
)

// FactsVersion is the first byte of encoded facts. Facts of another version are as none, so
// whoever keeps facts has to read the files again. It is never 0.
const FactsVersion = 2

// MaxFacts is how many bytes the facts of one file have at most.
const MaxFacts = 64 << 10

// tag says what a fact is about. Encoded facts are a version byte, then for each fact a
// tag byte, the length of its text as an unsigned varint, and the text.
type tag byte

const (
	tagInterpreter tag = iota + 1 // the line after #!, or the loader of an ELF file
	tagELF                        // "dynamic" or "static"; the class and machine as two more bytes
	tagNeeded                     // name of a library
	tagRunPath                    // DT_RUNPATH, or DT_RPATH where there is no DT_RUNPATH
	tagRPath                      // set beside tagRunPath if it was DT_RPATH
	tagName                       // name of a library among an ELF file's strings
	tagPath                       // absolute path among an ELF file's strings
	tagImport                     // Python: a.b, .b; JavaScript: specifier
	tagFrom                       // Python: "a.b:c" for from a.b import c
	tagDynamic                    // imports by a computed name
	tagData                       // finds files beside itself
	tagContent                    // the whole text of a small file
	tagMain                       // package.json: main
	tagExport                     // package.json: "KEY TARGET" of exports and imports
	tagClassPath                  // JAR: one element of Class-Path
	tagMainClass                  // JAR: Main-Class
)

type fact struct {
	tag  tag
	text string
}

func encodeFacts(facts []fact) []byte {
	if len(facts) == 0 {
		return nil
	}
	out := []byte{FactsVersion}
	for _, f := range facts {
		if len(out)+len(f.text)+1+binary.MaxVarintLen64 > MaxFacts {
			continue
		}
		out = append(out, byte(f.tag))
		out = binary.AppendUvarint(out, uint64(len(f.text)))
		out = append(out, f.text...)
	}
	return slices.Clip(out)
}

// decodeFacts reads encoded facts; damaged or foreign ones give what came before the damage.
func decodeFacts(b []byte) []fact {
	if len(b) == 0 || b[0] != FactsVersion || len(b) > MaxFacts {
		return nil
	}
	var out []fact
	for b = b[1:]; len(b) > 1; {
		t := tag(b[0])
		n, used := binary.Uvarint(b[1:])
		if used <= 0 || n > uint64(len(b)-1-used) {
			return out
		}
		b = b[1+used:]
		out = append(out, fact{t, string(b[:n])})
		b = b[n:]
	}
	return out
}
