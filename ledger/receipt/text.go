package receipt

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode"
)

// WriteText prints the report for a person.
func (r *Report) WriteText(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	row := func(cells ...string) {
		for i := range cells {
			cells[i] = clean(cells[i])
		}
		fmt.Fprintln(t, "  "+strings.TrimRight(strings.Join(cells, "\t"), "\t")) // the error comes with Flush
	}
	if r.Accepted {
		fmt.Fprintln(t, "ACCEPTED: every rule held.")
	} else {
		var failed []string
		for _, rule := range r.Rules {
			if !rule.OK {
				failed = append(failed, rule.Name)
			}
		}
		fmt.Fprintf(t, "REFUSED: %d of %d rules failed: %s.\n", len(failed), len(r.Rules), strings.Join(failed, ", "))
	}
	if r.Simulated {
		fmt.Fprintln(t, "SIMULATED: the executors run in simulated TEEs. No hardware protects them; trust it in tests only.")
	}
	title := "Proved"
	if !r.Accepted {
		title = "Claimed by the receipt, and not proved"
	}
	fmt.Fprintf(t, "\n%s\n", title)
	c, o := r.Command, r.Outcome
	row("on", fmt.Sprintf("ledger %s %q", r.Ledger, r.Name))
	row("account", c.Account+" ("+c.Scheme+")")
	row("asked for", fmt.Sprintf("%s of %s, with number %d", c.Name, c.Application, c.Nonce))
	row("", fold(c.Arguments))
	row("outcome", strings.TrimSuffix(o.Word+": "+o.Message, ": "))
	if o.Result != "" {
		row("", fold(o.Result))
	}
	row("at", fmt.Sprintf("position %d, command %d", r.Position, r.Index))
	row("signed by", fmt.Sprintf("%d of %d executors of epoch %d, slots %s", len(r.Signers), r.Executors, r.Epoch, strings.Trim(fmt.Sprint(r.Signers), "[]")))
	row("order", r.OrderAssurance)
	fmt.Fprintln(t, "\nRules")
	for _, rule := range r.Rules {
		if rule.OK {
			row("ok", rule.Name, fold(rule.Seen))
			continue
		}
		row("FAILED", rule.Name, fold(rule.Seen))
		row("", "", "wanted: "+fold(rule.Wanted))
		if rule.Advice != "" {
			row("", "", "-> "+fold(rule.Advice))
		}
	}
	fmt.Fprintln(t, "\nNot checked")
	for _, s := range r.NotChecked {
		name, rest, _ := strings.Cut(s, ": ")
		row("-", name, rest)
	}
	return t.Flush()
}

// clean replaces what a terminal might obey.
func clean(s string) string {
	return strings.Map(func(c rune) rune {
		if c == ' ' || unicode.IsPrint(c) {
			return c
		}
		return '?'
	}, s)
}

// fold keeps a cell at a length that a table can hold.
func fold(s string) string {
	const most = 400
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
