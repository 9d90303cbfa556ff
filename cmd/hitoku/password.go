package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// maxPassword bounds what is read from standard input.
const maxPassword = 4096

// passwordFlag reads a password from the terminal without showing it, or from
// standard input where that is asked for. It never comes from the command line,
// which everybody on the machine can see.
type passwordFlag struct {
	stdin bool
}

func (p *passwordFlag) flag(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&p.stdin, "password-stdin", false, "read the password from standard input")
}

// read asks for the password of whom; a new one is asked for twice.
func (p *passwordFlag) read(cmd *cobra.Command, whom string, isNew bool) (string, error) {
	if p.stdin {
		raw, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), maxPassword))
		if err != nil {
			return "", fmt.Errorf("--password-stdin: %w", err)
		}
		return strings.TrimRight(string(raw), "\r\n"), nil
	}
	in, ok := cmd.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return "", usageError{fmt.Errorf("%s: standard input is no terminal; give the password there with --password-stdin", verb(cmd))}
	}
	ask := func(question string) (string, error) {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s: ", question)
		raw, err := term.ReadPassword(int(in.Fd()))
		fmt.Fprintln(cmd.ErrOrStderr())
		return string(raw), err
	}
	if !isNew {
		return ask("Password of " + whom)
	}
	password, err := ask("New password of " + whom)
	if err != nil {
		return "", err
	}
	again, err := ask("The same again")
	if err != nil {
		return "", err
	}
	if again != password {
		return "", errors.New("the two passwords differ; nothing was done")
	}
	return password, nil
}
