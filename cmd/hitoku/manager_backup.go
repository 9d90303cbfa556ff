package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"hitoku.dev/internal/manager/serve"
)

func managerFolders(f *pflag.FlagSet, o *serve.Options) {
	f.StringVar(&o.Dir, "data-dir", "", "data `folder` of the manager (required)")
	f.StringVar(&o.KeyDir, "key-dir", "", "`folder` of master key and audit checkpoint (default: the data folder's name with -keys)")
	f.StringArrayVar(&o.KeyCommand, "master-key-command", nil, "program, and repeated for each argument, that prints the master key")
}

func newManagerBackupCommand() *cobra.Command {
	var o serve.Options
	var out output
	cmd := &cobra.Command{
		Use:   "backup --data-dir DIR FILE",
		Short: "Write a copy of the database, also while the manager runs",
		Long: `Write a consistent copy of the database. Secrets in it are encrypted under the
master key, which is not in it: keep a copy of the key folder in another place.`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			if o.Dir == "" {
				return usageError{errors.New("manager backup: --data-dir is missing")}
			}
			if err := serve.Backup(cmd.Context(), o, a[0]); err != nil {
				return fmt.Errorf("backup: %w", err)
			}
			return out.done(cmd, map[string]string{"file": a[0]}, "%s written. The master key is not in it: keep a copy of the key folder in another place.", a[0])
		},
	}
	managerFolders(cmd.Flags(), &o)
	out.flag(cmd)
	return cmd
}

func newManagerRestoreCommand() *cobra.Command {
	var o serve.Options
	var accept bool
	var out output
	cmd := &cobra.Command{
		Use:   "restore --data-dir DIR FILE",
		Short: "Put a backup in the database's place; the manager must not run",
		Long: `Verify a backup from its first audit event to its last and put it in the
database's place. The database before it stays beside it, with the ending
.before-restore. A backup older than the audit checkpoint undoes decisions, so it
is refused without --accept-rollback; with it, sessions, nonces and join tokens
are withdrawn and the audit log says so.`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			if o.Dir == "" {
				return usageError{errors.New("manager restore: --data-dir is missing")}
			}
			if err := serve.Restore(cmd.Context(), o, a[0], accept); err != nil {
				return fmt.Errorf("restore: %w", err)
			}
			return out.done(cmd, map[string]string{"file": a[0]}, "Restored from %s.", a[0])
		},
	}
	managerFolders(cmd.Flags(), &o)
	out.flag(cmd)
	cmd.Flags().BoolVar(&accept, "accept-rollback", false, "accept that what was decided since the backup is undone")
	return cmd
}
