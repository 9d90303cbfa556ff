package ledger

import (
	"errors"
	"fmt"

	"hitoku.dev/internal/ledger/state"
)

// Limits of what goes into and out of a command or query, in bytes. Beyond them: [CodeTooLarge].
const (
	MaxArgs   = 32 << 10
	MaxResult = 64 << 10
)

// Block is the place on the ledger at which commands are executed. Random is secret: nobody outside the
// TEEs may know it before the position is final. A query needs none.
type Block struct {
	Ledger   [32]byte
	Position uint64
	Time     uint64 // Unix seconds
	Random   [32]byte
}

// CommandCall is a command as it was signed. Whoever gives it to [Machine.Execute] has verified the
// signature and that Account is the key's ([AccountOf]).
type CommandCall struct {
	App       string
	Scheme    uint8
	Account   AccountID
	Nonce     uint64
	ExpiresAt uint64 // the last position at which it may be executed
	Name      string
	Args      []byte // JSON; empty stands for {}
}

// QueryCall is a query as it was signed; the same holds for its signature.
type QueryCall struct {
	App     string
	Scheme  uint8
	Account AccountID
	Name    string
	Args    []byte
}

// AppInfo is what a machine tells about an application.
type AppInfo struct {
	Name, Version string
	Access        Access
	Window        uint64
	Commands      []string // first names
	Queries       []string
}

// Machine executes commands of its applications. It keeps nothing between two calls; all that lasts is in
// the state it is given. Many goroutines may use it at once, each with a transaction of its own.
type Machine struct {
	apps  map[string]*boundApp
	infos []AppInfo
	// Panicked, when set before first use, is told of panics in applications. A node leaves it nil:
	// what is told may hold secrets, and hosts read logs.
	Panicked func(app, name string, value any)
}

// boundApp is an application as the machine needs it.
type boundApp struct {
	access   Access
	window   uint64
	prefix   []byte // lv8(name)
	stores   []*store
	commands map[string]CommandDef
	queries  map[string]QueryDef
}

// NewMachine takes applications. Its error names everything that is wrong with them: names that are not
// allowed or taken twice, and types that cannot be kept or read.
func NewMachine(apps ...*App) (*Machine, error) {
	m := &Machine{apps: map[string]*boundApp{}}
	var errs []error
	for _, a := range apps {
		bound, info, err := bind(a)
		if err == nil && m.apps[a.Name] != nil {
			err = errors.New("another application has this name")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("ledger: application %q: %w", a.Name, err))
			continue
		}
		m.apps[a.Name] = bound
		m.infos = append(m.infos, info)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return m, nil
}

// Apps describes the applications, in the order in which they were given.
func (m *Machine) Apps() []AppInfo { return append([]AppInfo(nil), m.infos...) }

// Execute runs one command, the index-th (from 0) of its position. It checks, in this order: the
// application is known, admits the scheme, the command is not expired, its nonce is the account's next or
// inside the window; a refusal so far changes nothing. From here on the nonce is used, whatever happens.
// Then: size of the arguments, the command's name, the arguments, the application's own conditions; a
// refusal undoes all that the command wrote.
func (m *Machine) Execute(b Block, index uint32, tx *state.Tx, c CommandCall) Outcome {
	app := m.apps[c.App]
	if out := admit(app, c.App, c.Scheme, c.Account); !out.OK() {
		return out
	}
	if c.ExpiresAt < b.Position {
		return refused(CodeExpired, "the command was good up to position %d, this is %d", c.ExpiresAt, b.Position)
	}
	if out := app.useNonce(tx, c.Account, c.Nonce); !out.OK() {
		return out
	}
	def, known := app.commands[c.Name]
	if out := callable(c.App, "command", c.Name, c.Args, known, CodeUnknownCommand); !out.OK() {
		return out
	}
	mark := tx.Mark()
	e := &env{app: app, block: b, index: index, caller: c.Account, cells: tx, tx: tx, maxReads: MaxReads}
	out := m.run(e, c.App, c.Name, func() []byte { return def.run(&Context{View{e}}, c.Args) })
	if !out.OK() {
		tx.Rollback(mark)
		return out
	}
	out.Events = e.events
	return out
}

// Query answers from t, the state after b's position. Outcome.Result is the answer.
func (m *Machine) Query(b Block, t *state.Tree, q QueryCall) Outcome {
	app := m.apps[q.App]
	if out := admit(app, q.App, q.Scheme, q.Account); !out.OK() {
		return out
	}
	def, known := app.queries[q.Name]
	if out := callable(q.App, "query", q.Name, q.Args, known, CodeUnknownQuery); !out.OK() {
		return out
	}
	e := &env{app: app, block: b, caller: q.Account, cells: t, maxReads: MaxQueryReads}
	return m.run(e, q.App, q.Name, func() []byte { return def.run(&View{e}, q.Args) })
}

// Counter is the highest nonce that the account has used in the application, 0 for none or for an
// application that is not here. The account's next nonce is one more.
func (m *Machine) Counter(t *state.Tree, app string, account AccountID) uint64 {
	a := m.apps[app]
	if a == nil {
		return 0
	}
	return a.nonces(t, account).highest
}

func admit(app *boundApp, name string, scheme uint8, account AccountID) Outcome {
	if app == nil {
		return refused(CodeUnknownApplication, "no application %q", clip(name))
	}
	if !app.access.admits(scheme) || (scheme == SchemeNone) != account.claimable() {
		return refused(CodePolicyRefused, "application %q does not take scheme %d for this account", name, scheme)
	}
	return Outcome{}
}

func callable(app, what, name string, args []byte, known bool, unknown uint16) Outcome {
	if len(args) > MaxArgs {
		return refused(CodeTooLarge, "arguments of %d bytes, want at most %d", len(args), MaxArgs)
	}
	if !known {
		return refused(unknown, "application %q has no %s %q", app, what, clip(name))
	}
	return Outcome{}
}

// run turns what happens in an application into an outcome.
func (m *Machine) run(e *env, app, name string, call func() []byte) (out Outcome) {
	defer func() {
		switch value := recover(); {
		case e.stopped: // whatever the application made of it
			out = e.outcome
		case value != nil:
			if m.Panicked != nil {
				m.Panicked(app, name, value)
			}
			out = refused(CodePanicked, "the application failed")
		}
		e.stopped = true
	}()
	result := call()
	if len(result) > MaxResult {
		return refused(CodeTooLarge, "result of %d bytes, want at most %d", len(result), MaxResult)
	}
	return Outcome{Result: result}
}
