package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
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
		if r := reflect.ValueOf(v); r.Kind() == reflect.Slice && r.IsNil() {
			v = []struct{}{} // [] and not null
		}
		enc := json.NewEncoder(cmd.OutOrStdout())
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(v)
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
	human(w)
	return w.Flush()
}

// done reports what a verb did: a sentence for people, or as JSON the object it was done to.
func (o *output) done(cmd *cobra.Command, v any, format string, a ...any) error {
	return o.print(cmd, v, func(w io.Writer) { fmt.Fprintf(w, format+"\n", a...) })
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
		if check(cmd, a) != nil {
			given := fmt.Sprintf("%d arguments are", len(a))
			if len(a) == 1 {
				given = "1 argument is"
			}
			return usageError{fmt.Errorf("%s: %s not what it takes; usage: %s", verb(cmd), given, cmd.UseLine())}
		}
		return nil
	}
}

// verb is the command's path without the program's name.
func verb(cmd *cobra.Command) string {
	_, path, found := strings.Cut(cmd.CommandPath(), " ")
	if !found {
		return cmd.CommandPath()
	}
	return path
}

// group is a command that only holds others.
func group(use, short string, subs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: func(cmd *cobra.Command, a []string) error {
		if len(a) == 0 {
			return nil
		}
		err := fmt.Errorf("there is no command `%s %s`", cmd.CommandPath(), a[0])
		if near := cmd.SuggestionsFor(a[0]); len(near) > 0 {
			return usageError{fmt.Errorf("%w; did you mean `%s %s`?", err, cmd.CommandPath(), near[0])}
		}
		return usageError{fmt.Errorf("%w; see `%s --help`", err, cmd.CommandPath())}
	}, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.SuggestionsMinimumDistance = 2
	cmd.AddCommand(subs...)
	return cmd
}

// flagError says in which command a flag is wrong, without the names of Go functions.
func flagError(cmd *cobra.Command, err error) error {
	text := err.Error()
	var number *strconv.NumError
	if errors.As(err, &number) {
		text = strings.Replace(text, number.Error(), number.Err.Error(), 1)
	}
	return usageError{fmt.Errorf("%s: %s; see `%s --help`", verb(cmd), text, cmd.CommandPath())}
}
