package wallet

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"

	"hitoku.dev/ledger"
)

// MaxAccounts is how many accounts a wallet holds.
const MaxAccounts = 100

// FirstAccount is the name of the account that every new wallet has.
const FirstAccount = "main"

var (
	// ErrNoAccount means that a wallet has no account of a name.
	ErrNoAccount = errors.New("no such account")
	// ErrAccount means that an account cannot be added.
	ErrAccount = errors.New("the account cannot be added")
)

var goodName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// Wallet is words and named accounts, one of which is current. It may not be used by several
// goroutines at once.
type Wallet struct {
	entropy  []byte
	seed     []byte
	accounts []entry
	current  string
}

// entry is an account as the file keeps it.
type entry struct {
	Name   string `json:"name"`
	Scheme uint8  `json:"scheme"`
	Index  uint32 `json:"index"`
}

// New makes a wallet of 12 or 24 words from random, with one Ed25519 account, FirstAccount.
func New(words int, random io.Reader) (*Wallet, error) {
	if words != 12 && words != 24 {
		return nil, fmt.Errorf("a wallet of %d words, wanted 12 or 24", words)
	}
	entropy := make([]byte, words/3*4)
	if _, err := io.ReadFull(random, entropy); err != nil {
		return nil, fmt.Errorf("wallet: randomness: %w", err)
	}
	return fromEntropy(entropy)
}

// Restore makes the wallet of 12 or 24 words, with one Ed25519 account, FirstAccount. Accounts that were
// added have to be added again, in the same order. Errors are ErrMnemonic.
func Restore(mnemonic string) (*Wallet, error) {
	entropy, err := ParseMnemonic(mnemonic)
	if err != nil {
		return nil, err
	}
	return fromEntropy(entropy)
}

func fromEntropy(entropy []byte) (*Wallet, error) {
	w, err := open(entropy)
	if err == nil {
		_, err = w.Add(FirstAccount, ledger.SchemeEd25519)
	}
	if err == nil {
		err = w.Use(FirstAccount)
	}
	return w, err
}

func open(entropy []byte) (*Wallet, error) {
	words, err := Mnemonic(entropy)
	if err != nil {
		return nil, err
	}
	seed, err := Seed(words, "")
	return &Wallet{entropy: entropy, seed: seed}, err
}

// Mnemonic is the wallet's words. Who has them has the keys.
func (w *Wallet) Mnemonic() (string, error) { return Mnemonic(w.entropy) }

// Add adds an account with the next number of its scheme: the k-th account of a scheme has number k−1.
// Errors are ErrAccount.
func (w *Wallet) Add(name string, scheme uint8) (*Account, error) {
	if !goodName.MatchString(name) {
		return nil, fmt.Errorf("%w: name %q, wanted 1 to 64 letters, digits, dots, dashes and underscores", ErrAccount, name)
	}
	if len(w.accounts) >= MaxAccounts {
		return nil, fmt.Errorf("%w: there are %d, at most %d fit", ErrAccount, len(w.accounts), MaxAccounts)
	}
	e := entry{Name: name, Scheme: scheme}
	for _, o := range w.accounts {
		if o.Name == name {
			return nil, fmt.Errorf("%w: %q is there already", ErrAccount, name)
		}
		if o.Scheme == scheme {
			e.Index++
		}
	}
	a, err := account(w.seed, e.Name, e.Scheme, e.Index)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAccount, err)
	}
	w.accounts = append(w.accounts, e)
	return a, nil
}

// Use makes an account the current one. The error is ErrNoAccount.
func (w *Wallet) Use(name string) error {
	if _, err := w.Account(name); err != nil {
		return err
	}
	w.current = name
	return nil
}

// Current is the name of the current account.
func (w *Wallet) Current() string { return w.current }

// Names lists the accounts in the order in which they were added.
func (w *Wallet) Names() []string {
	var out []string
	for _, e := range w.accounts {
		out = append(out, e.Name)
	}
	return out
}

// Account returns an account by its name, the current one for "". The error is ErrNoAccount.
func (w *Wallet) Account(name string) (*Account, error) {
	if name == "" {
		name = w.current
	}
	i := slices.IndexFunc(w.accounts, func(e entry) bool { return e.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("%w: %q; there are %q", ErrNoAccount, name, w.Names())
	}
	return account(w.seed, name, w.accounts[i].Scheme, w.accounts[i].Index)
}
