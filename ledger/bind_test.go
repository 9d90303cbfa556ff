package ledger

import (
	"strings"
	"testing"
)

func TestMachineRefusesBadApplications(t *testing.T) {
	t.Parallel()
	run := func(*Context, none) {}
	app := func(change func(a *App)) *App {
		a := testApp()
		change(a)
		return a
	}
	for want, apps := range map[string][]*App{
		"another application has this name":                 {testApp(), testApp()},
		"name is not 1 to 64 of a–z":                        {app(func(a *App) { a.Name = "Test" })},
		"version has 0 bytes":                               {app(func(a *App) { a.Version = "" })},
		"access 7 is unknown":                               {app(func(a *App) { a.Access = 7 })},
		"window is 65":                                      {app(func(a *App) { a.Window = 65 })},
		`state "number" is listed twice`:                    {app(func(a *App) { a.State = append(a.State, testNumber) })},
		`state "a b": name`:                                 {app(func(a *App) { a.State = append(a.State, NewCell[bool]("a b")) })},
		`state "f": type float64 cannot be used`:            {app(func(a *App) { a.State = append(a.State, NewCell[float64]("f")) })},
		`state "m": type []uint64 cannot be a key`:          {app(func(a *App) { a.State = append(a.State, NewMap[[]uint64, bool]("m")) })},
		`command name "set" is taken twice`:                 {app(func(a *App) { a.Commands = append(a.Commands, Command("set", run)) })},
		`command name "both" is taken twice`:                {app(func(a *App) { a.Commands = append(a.Commands, Command("x", run).Alias("both")) })},
		`command name "1" is not 1 to 64`:                   {app(func(a *App) { a.Commands = append(a.Commands, Command("1", run)) })},
		`command "x": parameters are uint64, want a struct`: {app(func(a *App) { a.Commands = append(a.Commands, Command("x", func(*Context, uint64) {})) })},
		`command "x": type struct { X map[string]int }`: {app(func(a *App) {
			a.Commands = append(a.Commands, Command("x", func(*Context, struct{ X map[string]int }) {}))
		})},
		`query name "number" is taken twice`:      {app(func(a *App) { a.Queries = append(a.Queries, Query("number", Read(testNumber))) })},
		`query "x": type chan int cannot be used`: {app(func(a *App) { a.Queries = append(a.Queries, Query("x", func(*View, none) chan int { return nil })) })},
		`query "y": type struct { x int }, field x: want an`: {app(func(a *App) {
			a.Queries = append(a.Queries, Query("y", func(*View, struct{ x int }) bool { return true }))
		})},
	} {
		if _, err := NewMachine(apps...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	m, err := NewMachine(testApp())
	if err != nil {
		t.Fatal(err)
	}
	info := m.Apps()[0]
	if info.Name != "test" || info.Window != 1 || info.Access.String() != "signatures" || info.Commands[0] != "set" || info.Queries[0] != "number" {
		t.Errorf("info %+v", info)
	}
}
