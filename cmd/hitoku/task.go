package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"hitoku.dev/internal/client"
	"hitoku.dev/internal/wire"
)

var taskTypes = []string{"BUILD_WHITELIST", "DOMAIN_WHITELIST", "NODE_ATTESTATION", "CERTIFICATE_ISSUANCE"}

func newTaskCommand() *cobra.Command {
	return group("task", "Approvals: list, show, approve, deny",
		newTaskListCommand(), newTaskShowCommand(), newTaskAnswerCommand("approve", "Approve a task", "APPROVED"),
		newTaskAnswerCommand("deny", "Deny a task, with a reason", "DENIED"))
}

func newTaskListCommand() *cobra.Command {
	var all bool
	var kind string
	var o output
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List what waits for an approval",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			kind = strings.ToUpper(kind)
			if kind != "" && !slices.Contains(taskTypes, kind) {
				return usageError{fmt.Errorf("task list: --type %s: wanted one of %s", kind, strings.Join(taskTypes, ", "))}
			}
			_, c, err := connect()
			if err != nil {
				return err
			}
			state := "PENDING"
			if all {
				state = ""
			}
			tasks, err := client.All[wire.Task](cmd.Context(), c, client.Query("/v1/tasks", "status", state, "task_type", kind))
			if err != nil {
				return err
			}
			return o.print(cmd, tasks, func(w io.Writer) {
				if len(tasks) == 0 && all {
					fmt.Fprintln(w, "There are no tasks.")
					return
				}
				if len(tasks) == 0 {
					fmt.Fprintln(w, "Nothing waits for an approval.")
					return
				}
				fmt.Fprintln(w, "ID\tTYPE\tSTATUS\tSINCE\tWHAT")
				for _, t := range tasks {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", t.TaskID, t.TaskType, t.Status.Status, day(t.Status.StatusUpdatedAt), or(t.Description))
				}
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "closed ones too")
	cmd.Flags().StringVar(&kind, "type", "", "only this type: "+strings.Join(taskTypes, ", "))
	o.flag(cmd)
	return cmd
}

func newTaskShowCommand() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show what a task would approve",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			_, c, err := connect()
			if err != nil {
				return err
			}
			t, err := c.Task(cmd.Context(), a[0])
			if err != nil {
				return err
			}
			return o.print(cmd, t, func(w io.Writer) { printTask(w, t) })
		},
	}
	o.flag(cmd)
	return cmd
}

func printTask(w io.Writer, t wire.Task) {
	fmt.Fprintf(w, "id\t%s\ntype\t%s\nwhat\t%s\nstatus\t%s since %s\nrequested by\t%s %s\n",
		t.TaskID, t.TaskType, or(t.Description), t.Status.Status, day(t.Status.StatusUpdatedAt),
		t.RequesterInfo.RequesterType, t.RequesterInfo.UserName+t.RequesterInfo.AppName)
	for _, k := range slices.Sorted(maps.Keys(t.Details)) {
		if k == "domains_added" || k == "domains_removed" { // below
			continue
		}
		fmt.Fprintf(w, "%s\t%s\n", k, or(t.Details[k]))
	}
	if len(t.DomainsAdded)+len(t.DomainsRemoved) > 0 {
		fmt.Fprintf(w, "names added\t%s\nnames removed\t%s\n", list(t.DomainsAdded), list(t.DomainsRemoved))
	}
	fmt.Fprintf(w, "digest\t%s\n", or(t.Digest))
	for _, a := range t.Approvals {
		fmt.Fprintf(w, "answer\t%s by %s %s\n", a.Status, or(a.UserName), a.DenialReason)
	}
}

func newTaskAnswerCommand(use, short, answer string) *cobra.Command {
	var reason, digest string
	var o output
	cmd := &cobra.Command{
		Use:   use + " ID",
		Short: short,
		Long: short + `.

The answer carries the digest of the task as it was shown, so that something
that changed in between is refused as stale. --digest takes the digest of an
earlier "hitoku task show".`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			if answer == "DENIED" && strings.TrimSpace(reason) == "" {
				return usageError{fmt.Errorf("task deny %s: --reason is missing; it is shown to the requester", a[0])}
			}
			s, c, err := connect()
			if err != nil {
				return err
			}
			t, err := c.Task(cmd.Context(), a[0])
			if err != nil {
				return err
			}
			if digest == "" {
				digest = t.Digest
			}
			var result wire.TaskResult
			err = c.Call(cmd.Context(), http.MethodPatch, "/v1/tasks/"+t.TaskID, wire.TaskUpdate{Status: answer, DenialReason: reason, Digest: digest}, &result)
			if err != nil {
				return fmt.Errorf("%s task %s (%s): %w", use, t.TaskID, t.Description, err)
			}
			return o.print(cmd, result, func(w io.Writer) {
				if result.TaskStatus != nil {
					t.Status = *result.TaskStatus
				}
				t.Approvals = append(t.Approvals, wire.ApprovalInfo{Status: answer, UserName: cmp.Or(s.Email, "you"), DenialReason: reason})
				printTask(w, t)
			})
		},
	}
	if answer == "DENIED" {
		cmd.Flags().StringVar(&reason, "reason", "", "why (required)")
	}
	cmd.Flags().StringVar(&digest, "digest", "", "digest of the task as you saw it (default: as it is now)")
	o.flag(cmd)
	return cmd
}
