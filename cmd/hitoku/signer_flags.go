package main

import (
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"hitoku.dev/measure/sgx"
)

// signerFlags say who signs, and the date in the signature.
type signerFlags struct {
	key, signerCommand, signerKey, date string
}

// register adds the flags; withoutKey and withoutDate say what happens where one is not given.
func (o *signerFlags) register(f *pflag.FlagSet, withoutKey, withoutDate string) {
	f.StringVar(&o.key, "key", "", "signing key "+keyNames+withoutKey)
	f.StringVar(&o.signerCommand, "signer-command", "", "`COMMAND` that signs its standard input instead of --key; JSON list, or words divided by blanks")
	f.StringVar(&o.signerKey, "signer-public-key", "", "public key `FILE` (PEM) of --signer-command, or of a token that has none for its key")
	f.StringVar(&o.date, "date", "", "date in the signature, `YYYY-MM-DD` (default: "+withoutDate+")")
}

// signer finds who signs. A dry run makes no key: without --key and without the default file
// there is no signer.
func (o *signerFlags) signer(cmd *cobra.Command, dryRun bool) (sgx.Signer, error) {
	if o.signerCommand != "" {
		if o.signerKey == "" || o.key != "" {
			return nil, usageError{errors.New("--signer-command needs --signer-public-key FILE and excludes --key")}
		}
		argv, err := commandWords(o.signerCommand)
		if err != nil {
			return nil, usageError{fmt.Errorf("--signer-command: %w", err)}
		}
		pub, err := o.publicKey()
		if err != nil {
			return nil, err
		}
		return sgx.CommandSigner{Argv: argv, PubKey: pub}, nil
	}
	if isToken(o.key) {
		var pub *rsa.PublicKey
		if o.signerKey != "" {
			var err error
			if pub, err = o.publicKey(); err != nil {
				return nil, err
			}
		}
		return tokenSigner(cmd.Context(), "--key", o.key, pub, cmd.ErrOrStderr())
	}
	path := o.key
	if path == "" {
		dir, err := os.UserConfigDir()
		if err != nil {
			return nil, fmt.Errorf("signing key: %w; name a file with --key", err)
		}
		path = filepath.Join(dir, "hitoku", "signing-key.pem")
	}
	if dryRun {
		key, err := sgx.LoadKey(path)
		switch {
		case err == nil:
			return sgx.KeySigner{Key: key}, nil
		case o.key == "" && errors.Is(err, fs.ErrNotExist):
			return nil, nil
		}
		return nil, fmt.Errorf("--key: %w", err)
	}
	if o.key == "" {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, err
		}
	}
	key, err := sgx.LoadOrCreateKey(path, rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	return sgx.KeySigner{Key: key}, nil
}

// publicKey reads --signer-public-key.
func (o *signerFlags) publicKey() (*rsa.PublicKey, error) {
	pem, err := os.ReadFile(o.signerKey)
	if err != nil {
		return nil, fmt.Errorf("--signer-public-key: %w", err)
	}
	pub, err := sgx.ParsePublicKey(pem)
	if err != nil {
		return nil, fmt.Errorf("--signer-public-key %s: %w", o.signerKey, err)
	}
	return pub, nil
}

// signingDate is the flag's date, else the one of SOURCE_DATE_EPOCH, else the
// fixed default, so that two conversions agree.
func signingDate(flag, epoch string) (uint32, error) {
	if flag != "" {
		return sgx.ParseDate(flag)
	}
	if epoch == "" {
		return sgx.DefaultDate, nil
	}
	n, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("SOURCE_DATE_EPOCH %q: wanted seconds since 1970", epoch)
	}
	return sgx.Date(time.Unix(n, 0)), nil
}
