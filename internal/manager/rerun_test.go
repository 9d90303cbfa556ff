package manager

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"strings"
	"testing"
)

// What runs inside a transaction may run again, after a conflict. So it must not add to a
// slice of the function around it without having emptied it first.
func TestTransactionsCanRunAgain(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	files, found := token.NewFileSet(), 0
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		f, err := parser.ParseFile(files, e.Name(), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if fn := transaction(n); fn != nil {
				found++
				for _, a := range appendsOutside(fn) {
					t.Errorf("%s: %s grows each time that the transaction runs again", files.Position(a.Pos()), types.ExprString(a.Lhs[0]))
				}
			}
			return true
		})
	}
	if found < 50 {
		t.Errorf("only %d transactions found", found)
	}
}

func TestAppendsOutside(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]int{
		"all = append(all, 1)":                                           1,
		"q.Where = append(q.Where, 1)":                                   1,
		"for { if true { all = append(all, 1) } }":                       1,
		"all = all[:0]; all = append(all, 1)":                            0,
		"q := q; q.Where = append(q.Where, 1)":                           0,
		"var all []int; all = append(all, 1)":                            0,
		"q.Where = append(clone(q.Where), 1)":                            0,
		"all = append(all, 1); all = all[:0]":                            1,
		"for _, a := range x { a = append(a, 1) }":                       0,
		"all, err := f(); if err == nil { return }; all = append(all,1)": 0,
	} {
		e, err := parser.ParseExpr("func() {" + body + "}")
		if err != nil {
			t.Fatal(err)
		}
		if got := len(appendsOutside(e.(*ast.FuncLit))); got != want {
			t.Errorf("%s: %d, wanted %d", body, got, want)
		}
	}
}

// transaction returns the function that n hands to view or update.
func transaction(n ast.Node) *ast.FuncLit {
	call, ok := n.(*ast.CallExpr)
	if !ok || len(call.Args) != 2 {
		return nil
	}
	name, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || !strings.EqualFold(name.Sel.Name, "view") && !strings.EqualFold(name.Sel.Name, "update") {
		return nil
	}
	fn, _ := call.Args[1].(*ast.FuncLit)
	return fn
}

// appendsOutside finds x = append(x, …) where x is neither made nor set in fn before.
func appendsOutside(fn *ast.FuncLit) []*ast.AssignStmt {
	own := map[string]bool{} // names made, and expressions set
	var out []*ast.AssignStmt
	ast.Inspect(fn.Body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ValueSpec:
			for _, name := range n.Names {
				own[name.Name] = true
			}
		case *ast.RangeStmt:
			for _, e := range []ast.Expr{n.Key, n.Value} {
				if e != nil && n.Tok == token.DEFINE {
					own[types.ExprString(e)] = true
				}
			}
		case *ast.AssignStmt:
			if len(n.Lhs) == 1 && growsItself(n) {
				if text := types.ExprString(n.Lhs[0]); !own[text] && !own[root(n.Lhs[0])] {
					out = append(out, n)
				}
				return true
			}
			for _, e := range n.Lhs {
				own[types.ExprString(e)] = true
			}
		}
		return true
	})
	return out
}

func growsItself(n *ast.AssignStmt) bool {
	call, ok := n.Rhs[0].(*ast.CallExpr)
	return ok && types.ExprString(call.Fun) == "append" && types.ExprString(call.Args[0]) == types.ExprString(n.Lhs[0])
}

// root is the variable that an expression begins with.
func root(e ast.Expr) string {
	for {
		switch x := e.(type) {
		case *ast.SelectorExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		default:
			return types.ExprString(e)
		}
	}
}
