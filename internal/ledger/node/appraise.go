package node

import (
	"crypto/sha256"
	"sync"

	"hitoku.dev/internal/ledger/control"
	"hitoku.dev/internal/ledger/wire"
)

// maxRemembered is how many answers are kept; then all are forgotten.
const maxRemembered = 4096

// asked is what an appraisal depends on.
type asked struct {
	join, policy wire.Hash
	joinTime, t  uint64
}

// remembered gives the answer of a pure function again when the same is asked again. The
// replica asks at every tick whether its members are still acceptable.
func remembered(f control.AppraiseFunc) control.AppraiseFunc {
	var mu sync.Mutex
	answers := map[asked]error{}
	return func(j wire.Join, joinTime uint64, p wire.Policy, t uint64) error {
		q := asked{sha256.Sum256(j.Encode()), p.Hash(), joinTime, t}
		mu.Lock()
		err, known := answers[q]
		mu.Unlock()
		if known {
			return err
		}
		err = f(j, joinTime, p, t)
		mu.Lock()
		defer mu.Unlock()
		if len(answers) >= maxRemembered {
			clear(answers)
		}
		answers[q] = err
		return err
	}
}
