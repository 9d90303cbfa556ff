package ledger

import (
	"errors"
	"fmt"
	"reflect"
)

// Access says whose commands an application takes.
type Access uint8

const (
	// Signatures takes commands signed by the account's Ed25519 or P-256 key. It is the default.
	Signatures Access = iota
	// AnyoneMayClaimAnyAccount also takes commands of accounts that are only claimed, by a 20-byte id.
	// Everybody can act for every such account: for tests, and for clients that know nothing better.
	AnyoneMayClaimAnyAccount
)

func (a Access) String() string {
	if a == AnyoneMayClaimAnyAccount {
		return "none"
	}
	return "signatures"
}

func (a Access) admits(scheme uint8) bool {
	switch scheme {
	case SchemeEd25519, SchemeP256:
		return true
	case SchemeNone:
		return a == AnyoneMayClaimAnyAccount
	}
	return false
}

// App is an application. It is a description: nothing in it changes after [NewMachine] has taken it.
type App struct {
	Name    string // 1 to 64 of a–z, 0–9 and "-", a letter first
	Version string // 1 to 64 bytes
	Access  Access
	// Window is how many of an account's newest nonces may come in any order, 1 to 64. 0 is 1: each nonce
	// is exactly one above the last.
	Window   uint8
	State    []Stored // every cell and map that the application uses
	Commands []CommandDef
	Queries  []QueryDef
}

// CommandDef is a command of an application; [Command] and [CommandWithResult] make one.
type CommandDef struct{ action[*Context] }

// QueryDef is a query of an application; [Query] makes one.
type QueryDef struct{ action[*View] }

// action is what commands and queries have in common: names, and a function from JSON to JSON.
type action[C Reader] struct {
	names []string
	run   func(ctx C, args []byte) (result []byte)
	err   error // of a parameter or result type that cannot be used
}

// Command defines a command without a result. P is a struct; its members in JSON are its fields in
// snake_case, or what their json tags say. Other names that are read too stand in an alias tag, limits of
// text and lists in a max tag, and pointers are optional. P is struct{} when there are no parameters.
//
// A command refuses by [View.Require] or [View.Refuse], which do not return.
func Command[P any](name string, run func(*Context, P)) CommandDef {
	params, err := paramsOf[P]()
	return CommandDef{action[*Context]{names: []string{name}, err: err, run: func(ctx *Context, args []byte) []byte {
		run(ctx, arguments[P](ctx, params, args))
		return nil
	}}}
}

// CommandWithResult defines a command whose result the client gets in the sealed reply and the receipt.
func CommandWithResult[P, R any](name string, run func(*Context, P) R) CommandDef {
	return CommandDef{newAction(name, run)}
}

// Query defines a query. It reads committed state and cannot write.
func Query[P, R any](name string, run func(*View, P) R) QueryDef {
	return QueryDef{newAction(name, run)}
}

func newAction[C Reader, P, R any](name string, run func(C, P) R) action[C] {
	params, perr := paramsOf[P]()
	result, rerr := shapeOf(reflect.TypeFor[R]())
	return action[C]{names: []string{name}, err: errors.Join(perr, rerr), run: func(ctx C, args []byte) []byte {
		r := run(ctx, arguments[P](ctx, params, args))
		return result.appendJSON(nil, reflect.ValueOf(&r).Elem())
	}}
}

// Alias gives the command further names.
func (c CommandDef) Alias(names ...string) CommandDef {
	c.names = append(c.names[:len(c.names):len(c.names)], names...)
	return c
}

// Alias gives the query further names.
func (q QueryDef) Alias(names ...string) QueryDef {
	q.names = append(q.names[:len(q.names):len(q.names)], names...)
	return q
}

func paramsOf[P any]() (*shape, error) {
	t := reflect.TypeFor[P]()
	if t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("parameters are %s, want a struct", t)
	}
	return shapeOf(t)
}

func arguments[P any](r Reader, params *shape, args []byte) (p P) {
	if err := params.parse(args, reflect.ValueOf(&p).Elem()); err != nil {
		r.env().abort(refused(CodeBadArguments, "%s", err.Error()))
	}
	return p
}
