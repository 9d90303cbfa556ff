package main

import (
	"fmt"
	"runtime"
	"time"

	"hitoku.dev/internal/ledger/replica"
	"hitoku.dev/internal/ledger/wire"
	"hitoku.dev/ledger/erc20"
)

// processor sets the processor time of three nodes against the cryptography that a command needs.
func (b *bench) processor(t *bed) {
	fmt.Printf("\nprocessor time of a command on three nodes in one process (state machines: no network, no disk), beside the cryptography alone\n")
	fmt.Printf("  %-34s %10s %10s %6s   %s\n", "clients send", "µs/command", "crypto µs", "ratio", "of the nodes' clocks: open, verify, execute, seal")
	for _, each := range []int{1, 16, 64} {
		b.processorOf(t, each)
	}
}

func (b *bench) processorOf(t *bed, each int) {
	l := newLab(t, 3, 0, 120_000)
	commands := b.count(12_000)
	const outstanding = 640
	users := outstanding / each
	accounts := l.fund(users, 1<<30)
	info := l.info(0)
	perUser := max(1, commands/users/each)
	var clients []*sealed
	for _, a := range accounts {
		clients = append(clients, prepare(t, l.ledger, info, a, newAccount(t).id, perUser, each))
	}
	total := users * perUser * each
	const batch, size = 230, 66_000
	crypto := cryptography(t, each, batch, size)
	runtime.GC()
	before := l.nodes[1].Stats()
	records := len(l.log)
	begin := used()
	var last []wire.Hash
	for k := range perUser {
		last = last[:0]
		for _, c := range clients {
			id, _, err := l.nodes[0].Submit(c.requests[k])
			t.check(err)
			last = append(last, id)
		}
		l.until("replies", func() bool {
			for _, id := range last {
				if reply, _ := l.nodes[0].Ticket(id); reply == nil {
					return false
				}
			}
			return true
		})
	}
	spent := used() - begin
	runtime.GC() // what was measured must not be collected while the cryptography is
	after := l.nodes[1].Stats()
	for i, id := range last { // all commands were executed, not only answered
		reply, _ := l.nodes[0].Ticket(id)
		t.check(committed(reply, clients[i].openers[perUser-1]))
	}
	bytes := 0
	for _, e := range l.log[records:] {
		bytes += len(e.Record)
	}
	records = len(l.log) - records
	crypto = (cryptography(t, each, batch, size) + crypto) / 2 // before and after, since others use this machine too
	micro := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
	per := micro(spent) / float64(total)
	fmt.Printf("  %-34s %10.0f %10.0f %6.2f   %s; %d commands, %d a record of %d bytes\n", fmt.Sprintf("%d commands a request", each), per, micro(crypto), per/micro(crypto),
		shares(before, after), total, total/records, bytes/records)
}

// shares says how the clock of a node that gets no requests divides; what it seals is for one that does.
func shares(a, b replica.Stats) string {
	open, verify, execute, seal := b.Open-a.Open, b.Verify-a.Verify, b.Execute-a.Execute, b.Seal-a.Seal
	sum := float64(max(1, open+verify+execute+seal)) / 100
	return fmt.Sprintf("%.0f, %.0f, %.0f, %.0f %%", float64(open)/sum, float64(verify)/sum, float64(execute)/sum, float64(seal)/sum)
}

// cryptography is the least that a command takes on three nodes, of which one has it from a
// client: its part of the request that is opened and the reply that is sealed, three checks of its
// signature, its part of sealing a record once and opening it three times, of signing and
// checking the record and checkpoints, and the hashes of command and outcome.
func cryptography(t *bed, each, batch, record int) time.Duration {
	request := 1024
	for request < each*290+200 {
		request *= 2
	}
	in, out, rec, s := measure(t, request), measure(t, int(replyBucket(each))), measure(t, record), measureSmall()
	perRequest := in.hpke + in.hash + out.hmac + out.encr + 5*s.hmac
	perRecord := rec.sign + rec.hmac + rec.encr + 3*(rec.verify+rec.hmac+rec.decrypt+2*rec.hash) + 3*rec.sign + 6*rec.verify
	perCommand := 3 * (rec.verify + 3*s.hash + 2*s.hash + s.hmac)
	return perCommand + perRequest/time.Duration(each) + perRecord/time.Duration(batch)
}

// fund makes accounts that own something.
func (l *lab) fund(n int, amount uint64) []*account {
	owner := newAccount(l.bed)
	items := [][]byte{owner.command(l.ledger, erc20.App.Name, "construct", `{"total_supply":1000000000000000}`)}
	var out []*account
	for range n {
		a := newAccount(l.bed)
		out = append(out, a)
		items = append(items, owner.command(l.ledger, erc20.App.Name, "transfer", fmt.Sprintf(`{"recipient":"%x","amount":%d}`, a.id, amount)))
	}
	l.send(items)
	return out
}

// send has node 0 execute commands, in requests of 64.
func (l *lab) send(items [][]byte) {
	info := l.info(0)
	for len(items) > 0 {
		k := min(64, len(items))
		q, o := seal(l.bed, info, wire.RequestCommands, replyBucket(k), items[:k]...)
		items = items[k:]
		id, _, err := l.nodes[0].Submit(q)
		l.check(err)
		var reply []byte
		l.until("a reply", func() bool { reply, _ = l.nodes[0].Ticket(id); return reply != nil })
		l.check(committed(reply, o))
	}
}
