package guest

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"hitoku.dev/enclave"
	"hitoku.dev/measure/workload"
)

const sealLabel = "hitoku/app/seal/1"

// sealKey derives the program's key of a label (security decision S15):
//
//	HKDF-SHA256(seal key, info = LV("hitoku/app/seal/1", account root, host input, label))
//
// where LV writes each item as its length in four big-endian bytes followed by the
// item. The seal key is bound to the measurement, with key id
// SHA-256("hitoku/app/seal/1") and security version 0: a program that was only signed
// anew keeps its keys, one that was changed has others.
func (s *appServer) sealKey(ctx context.Context, label []byte) ([]byte, error) {
	if len(label) != 32 {
		return nil, fmt.Errorf("request: label has %d bytes, wanted 32", len(label))
	}
	root, err := s.tee.SealKey(ctx, enclave.SealRequest{KeyID: sha256.Sum256([]byte(sealLabel))})
	if err != nil {
		return nil, err
	}
	return hkdf.Key(sha256.New, root, nil, string(lengthValue(sealLabel, string(s.accountRoot[:]), string(s.hostInput[:]), string(label))), 32)
}

// hostInput is the SHA-256 of what the host gave to the program: its arguments, and the
// variables whose values the manifest leaves to the host. A host that starts the same
// image to do something else thus gets other keys. The host's name is not in it, since
// engines make one up at each start.
func hostInput(m *workload.Manifest, l *launch) [32]byte {
	open := map[string]bool{}
	for _, name := range m.Env.Allowed {
		open[name] = true
	}
	for _, pair := range m.Env.Mutable {
		name, _, _ := strings.Cut(pair, "=")
		open[name] = true
	}
	var env []string
	for _, pair := range l.env {
		if name, _, _ := strings.Cut(pair, "="); open[name] {
			env = append(env, pair)
		}
	}
	slices.Sort(env)
	return sha256.Sum256(lengthValue(string(lengthValue(l.args...)), string(lengthValue(env...))))
}

func lengthValue(items ...string) (out []byte) {
	for _, item := range items {
		out = binary.BigEndian.AppendUint32(out, uint32(len(item)))
		out = append(out, item...)
	}
	return out
}
