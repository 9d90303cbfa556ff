// Package poll is a secret ballot: everybody has one vote and may change it; the count is told when the
// poll has ended, and who voted for what is never told.
package poll

import "hitoku.dev/ledger"

type ballot struct {
	Question string
	Answers  []string
	EndsAt   uint64 // Unix seconds
}

var (
	newest  = ledger.NewCell[uint64]("newest")
	ballots = ledger.NewMap[uint64, ballot]("ballots")
	votes   = ledger.NewMap2[uint64, ledger.AccountID, uint8]("votes") // poll, voter: the answer's number
	counts  = ledger.NewMap2[uint64, uint8, uint64]("counts")          // poll, answer
)

// App is the application.
var App = &ledger.App{
	Name:    "poll",
	Version: "1",
	State:   []ledger.Stored{newest, ballots, votes, counts},
	Commands: []ledger.CommandDef{
		ledger.CommandWithResult("open", open),
		ledger.Command("vote", vote),
	},
	Queries: []ledger.QueryDef{
		ledger.Query("ownVote", ownVote).Alias("own_vote"),
		ledger.Query("count", count),
	},
}

// open takes {"question": "…", "answers": ["…", "…"], "ends_at": 1900000000} and gives the poll's number.
func open(ctx *ledger.Context, p struct {
	Question string   `max:"200"`
	Answers  []string `max:"10"`
	EndsAt   uint64
}) uint64 {
	ctx.Require(len(p.Answers) >= 2, "too_few_answers")
	ctx.Require(p.EndsAt > ctx.Time(), "ends_in_the_past")
	id := ctx.Add(newest.Get(ctx), 1)
	newest.Set(ctx, id)
	ballots.Set(ctx, id, ballot(p))
	return id
}

// vote takes {"poll": 1, "answer": 0}.
func vote(ctx *ledger.Context, p struct {
	Poll   uint64
	Answer uint8
}) {
	b, known := ballots.Lookup(ctx, p.Poll)
	ctx.Require(known, "unknown_poll")
	ctx.Require(ctx.Time() < b.EndsAt, "ended")
	ctx.Require(int(p.Answer) < len(b.Answers), "unknown_answer")
	if before, voted := votes.Lookup(ctx, p.Poll, ctx.Caller()); voted {
		counts.Set(ctx, p.Poll, before, ctx.Sub(counts.Get(ctx, p.Poll, before), 1))
	}
	votes.Set(ctx, p.Poll, ctx.Caller(), p.Answer)
	counts.Set(ctx, p.Poll, p.Answer, ctx.Add(counts.Get(ctx, p.Poll, p.Answer), 1))
}

// ownVote gives the caller's answer, or null.
func ownVote(v *ledger.View, p struct{ Poll uint64 }) *uint8 {
	answer, voted := votes.Lookup(v, p.Poll, v.Caller())
	if !voted {
		return nil
	}
	return &answer
}

// count gives the number of votes for each answer, once the poll has ended.
func count(v *ledger.View, p struct{ Poll uint64 }) []uint64 {
	b, known := ballots.Lookup(v, p.Poll)
	v.Require(known, "unknown_poll")
	v.Require(v.Time() >= b.EndsAt, "not_ended")
	all := make([]uint64, len(b.Answers))
	for answer, n := range counts.Of(v, p.Poll) {
		all[answer] = n
	}
	return all
}
