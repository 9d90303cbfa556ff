package poll

import (
	"testing"

	"hitoku.dev/ledger"
	"hitoku.dev/ledger/ledgertest"
)

func TestPoll(t *testing.T) {
	t.Parallel()
	ann, bob := ledgertest.Account("ann"), ledgertest.Account("bob")
	l := ledgertest.New(t, App)
	ends := l.Block.Time + 60

	l.Must(ann, "open", map[string]any{"question": "Tea?", "answers": []string{"yes", "no"}, "ends_at": ends})
	l.Must(ann, "vote", `{"poll": 1, "answer": 0}`)
	l.Must(bob, "vote", `{"poll": 1, "answer": 0}`)
	l.Must(bob, "vote", `{"poll": 1, "answer": 1}`) // changes his mind
	l.Refuses(bob, "vote", `{"poll": 1, "answer": 2}`, ledger.CodeRefused, "unknown_answer")
	l.Refuses(bob, "vote", `{"poll": 2, "answer": 0}`, ledger.CodeRefused, "unknown_poll")
	l.Refuses(bob, "vote", `{"poll": 1}`, ledger.CodeBadArguments, `member "answer" is missing`)

	l.Answers(bob, "ownVote", `{"poll": 1}`, "1")
	l.Answers(bob, "own_vote", `{"poll": 2}`, "null")
	if out := l.Ask(ann, "count", `{"poll": 1}`); out.Message != "not_ended" {
		t.Errorf("count before the end: %+v", out)
	}
	l.Block.Time = ends
	l.Answers(ann, "count", `{"poll": 1}`, "[1,1]")
	l.Refuses(ann, "vote", `{"poll": 1, "answer": 1}`, ledger.CodeRefused, "ended")
}
