package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"hitoku.dev/internal/client"
)

// output is shared by every verb that prints: a table for people, or JSON.
type output struct {
	json bool
}

func (o *output) flag(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON instead of a table")
}

// print writes v as JSON, or calls human with a writer that aligns tab-separated columns.
func (o *output) print(cmd *cobra.Command, v any, human func(w io.Writer)) error {
	if o.json {
		enc := json.NewEncoder(cmd.OutOrStdout())
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(v)
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
	human(w)
	return w.Flush()
}

// day formats a time in epoch seconds; 0 is a dash.
func day(epoch int64) string {
	if epoch == 0 {
		return "-"
	}
	return time.Unix(epoch, 0).UTC().Format("2006-01-02 15:04 UTC")
}

// or returns s, or a dash when it is empty.
func or(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func list(items []string) string { return or(strings.Join(items, ", ")) }

// args wraps a cobra argument check so that a wrong number of arguments is a usage error.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, a []string) error {
		if err := check(cmd, a); err != nil {
			return usageError{fmt.Errorf("%w; usage: %s", err, cmd.UseLine())}
		}
		return nil
	}
}

// group is a command that only holds others.
func group(use, short string, subs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: func(cmd *cobra.Command, a []string) error {
		if len(a) > 0 {
			return usageError{fmt.Errorf("%s: no such command %q; see `%s --help`", cmd.CommandPath(), a[0], cmd.CommandPath())}
		}
		return nil
	}, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(subs...)
	return cmd
}

// session is the log-in that a client verb works with.
type session struct {
	path string
	*client.Session
}
