package node

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"hitoku.dev/internal/ledger/api"
	"hitoku.dev/internal/ledger/replica"
	"hitoku.dev/internal/ledger/wire"
)

const (
	checkpointSize = 4*32 + 8 + 64 // an encoded SignedCheckpoint
	freshSize      = 8 + 32 + 64   // an answer to mode fresh: position ‖ chain ‖ signature
)

// peerHandler serves what other nodes ask.
func (n *Node) peerHandler() http.Handler {
	mux := http.NewServeMux()
	for pattern, serve := range map[string]func(http.ResponseWriter, *http.Request, standing) error{
		"POST " + pathCheckpoints: n.takeCheckpoints,
		"POST " + pathFresh:       n.giveFresh,
		"GET " + pathSnapshot:     n.giveSnapshot,
		"POST " + pathBackup:      n.takeBackup,
		"GET " + pathBackup:       n.giveBackup,
		"GET " + pathHeld:         n.giveHeld,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			from, err := n.caller(r.TLS)
			if err != nil {
				api.WriteError(w, api.Fail(http.StatusForbidden, api.CodeForbidden, "this is for members of the ledger: %v", err))
				return
			}
			if err := n.r.Err(); err != nil {
				api.WriteError(w, api.Fail(http.StatusServiceUnavailable, api.CodeHalted, "the node has halted"))
				return
			}
			if err := serve(w, r, from); err != nil {
				var e *api.Error
				if !errors.As(err, &e) {
					e = api.Fail(http.StatusConflict, api.CodeConflict, "%v", err)
				}
				api.WriteError(w, e)
			}
		})
	}
	return mux
}

// takeCheckpoints receives an executor's checkpoints.
func (n *Node) takeCheckpoints(w http.ResponseWriter, r *http.Request, from standing) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPush*checkpointSize))
	if err != nil || len(body)%checkpointSize != 0 {
		return api.Fail(http.StatusBadRequest, api.CodeBadRequest, "wanted at most %d checkpoints of %d bytes", maxPush, checkpointSize)
	}
	list := make([]wire.SignedCheckpoint, 0, len(body)/checkpointSize)
	for ; len(body) > 0; body = body[checkpointSize:] {
		c, err := wire.ParseSignedCheckpoint(body[:checkpointSize])
		if err != nil {
			return api.Fail(http.StatusBadRequest, api.CodeBadRequest, "%v", err)
		}
		list = append(list, c)
	}
	return n.r.Receive(from.id, list...)
}

func (n *Node) giveFresh(w http.ResponseWriter, r *http.Request, _ standing) error {
	var qid [16]byte
	if b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(len(qid)))); err != nil || copy(qid[:], b) != len(qid) {
		return api.Fail(http.StatusBadRequest, api.CodeBadRequest, "wanted the %d bytes of a query's id", len(qid))
	}
	a, err := n.r.Fresh(qid)
	if err != nil {
		return err
	}
	_, _ = w.Write(encodeFresh(a)) // who has gone learns nothing
	return nil
}

func encodeFresh(a replica.FreshAnswer) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, freshSize), a.Position)
	b = append(b, a.Chain[:]...)
	return append(b, a.Signature[:]...)
}

func parseFresh(b []byte) (a replica.FreshAnswer, err error) {
	if len(b) != freshSize {
		return a, fmt.Errorf("an answer of %d bytes, wanted %d", len(b), freshSize)
	}
	a.Position = binary.BigEndian.Uint64(b)
	copy(a.Chain[:], b[8:])
	copy(a.Signature[:], b[8+32:])
	return a, nil
}

// long lets a call take as long as a state may. Deadlines are by the kernel's clock, whatever the node's says.
func long(w http.ResponseWriter) {
	c := http.NewResponseController(w)
	until := time.Now().Add(stateTimeout)
	_ = c.SetReadDeadline(until) // not every writer has deadlines
	_ = c.SetWriteDeadline(until)
}
