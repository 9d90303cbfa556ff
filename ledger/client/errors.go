package client

import (
	"errors"
	"fmt"

	"hitoku.dev/ledger"
)

var (
	// ErrUnverified means that a node is not what it should be; nothing was sealed for it. It
	// comes with an [attest.RefusedError] where evidence is at fault.
	ErrUnverified = errors.New("the node cannot be verified")
	// ErrFork means that a node has another history than this client has seen.
	ErrFork = errors.New("the node has another history than the one seen before: the ledger was forked")
	// ErrStale means that a node is not as far as this client has seen.
	ErrStale = errors.New("the node is behind what was seen before")
	// ErrAnswer means that an answer of a verified node does not hold; its host may have changed it.
	ErrAnswer = errors.New("the node's answer does not hold")
	// ErrPending means that commands were handed over, and what becomes of them is not known yet. Handing
	// the same commands over again does not execute them twice.
	ErrPending = errors.New("the outcome is not known yet")
	// ErrStream means that a node does not have a stream of notifications any more.
	ErrStream = errors.New("the stream of notifications has ended; register again")
	// ErrTooLarge means that something does not fit into a request.
	ErrTooLarge = errors.New("does not fit into one request")
)

// NodeError is a node's refusal outside of the seal.
type NodeError struct {
	URL     string
	Status  int    // of HTTP
	Code    string // a word
	Message string
}

func (e *NodeError) Error() string {
	return fmt.Sprintf("%s refuses (%d %s): %.500s", e.URL, e.Status, e.Code, e.Message)
}

// lasting says whether asking again would be refused again.
func (e *NodeError) lasting() bool {
	return e.Status/100 == 4 && e.Status != 404 && e.Status != 409 && e.Status != 429
}

// RefusedError is what became of a command or a query that did not happen.
type RefusedError struct {
	Executed bool // it was ordered and executed, and failed; its number is used up if it was looked at
	Code     uint16
	Message  string
}

func (e *RefusedError) Error() string {
	s := "refused"
	if e.Executed {
		s = "executed and refused"
	}
	s += ": " + ledger.CodeWord(e.Code)
	if e.Message != "" {
		s += ": " + e.Message
	}
	return s
}
