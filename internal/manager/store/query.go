package store

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Query selects rows of one table within an account. Column names are those of
// the schema; others are refused.
type Query struct {
	Where  []Condition // all must hold
	Search []Condition // at least one must hold, when there are any
	Sort   []Order     // before the table's own order: created_at, then id
	Limit  int         // no limit when 0
	Offset int
}

// Condition compares a column.
type Condition struct {
	Column string
	Op     Op
	Values []any // string, int64 or bool; several for In and NotIn
	any    []Condition
}

// Op is how a [Condition] compares.
type Op string

// The comparisons.
const (
	Equal    Op = "="
	Contains Op = "contains" // without regard to the case of letters
	In       Op = "in"
	NotIn    Op = "not in"
	Before   Op = "<"
	After    Op = ">"
)

// Is wants a value.
func Is(column string, v any) Condition {
	return Condition{Column: column, Op: Equal, Values: []any{v}}
}

// Like wants a text that contains part, whatever the case of letters.
func Like(column, part string) Condition {
	return Condition{Column: column, Op: Contains, Values: []any{part}}
}

// Either wants one of several conditions to hold.
func Either(c ...Condition) Condition { return Condition{any: c} }

// OneOf wants one of several values; without any it lets nothing through.
func OneOf[S ~string](column string, v ...S) Condition {
	c := Condition{Column: column, Op: In}
	for _, s := range v {
		c.Values = append(c.Values, string(s))
	}
	return c
}

// Order sorts by a column.
type Order struct {
	Column     string
	Descending bool
}

// Page is a part of a list and how much there is.
type Page[T any] struct {
	Items    []*T
	Total    int // rows of the account
	Filtered int // rows that Where and Search let through
}

type builder struct {
	columns []string
	args    []any
	err     error
}

func (b *builder) arg(v any) string {
	if s, ok := v.(string); ok {
		v = strings.ReplaceAll(s, "\x00", "") // PostgreSQL refuses it, and no text holds one
	}
	b.args = append(b.args, v)
	return "$" + strconv.Itoa(len(b.args))
}

func (b *builder) column(name string) string {
	if !slices.Contains(b.columns, name) {
		b.err = fmt.Errorf("store: no column %q", name)
	}
	return name
}

var likeEscaper = strings.NewReplacer("!", "!!", "%", "!%", "_", "!_")

func (b *builder) condition(c Condition) string {
	if len(c.any) > 0 {
		var some []string
		for _, x := range c.any {
			some = append(some, b.condition(x))
		}
		return "(" + strings.Join(some, " OR ") + ")"
	}
	col := b.column(c.Column)
	switch c.Op {
	case Equal, Before, After:
		return col + " " + string(c.Op) + " " + b.arg(c.Values[0])
	case Contains:
		part, _ := c.Values[0].(string)
		return "LOWER(" + col + ") LIKE LOWER(" + b.arg("%"+likeEscaper.Replace(part)+"%") + ") ESCAPE '!'"
	case In, NotIn:
		if len(c.Values) == 0 {
			return map[Op]string{In: "1 = 0", NotIn: "1 = 1"}[c.Op]
		}
		var p []string
		for _, v := range c.Values {
			p = append(p, b.arg(v))
		}
		return col + " " + strings.ToUpper(string(c.Op)) + " (" + strings.Join(p, ", ") + ")"
	}
	b.err = fmt.Errorf("store: no comparison %q", c.Op)
	return ""
}

func (b *builder) conditions(account string, global bool, q Query) string {
	var all []string
	if !global {
		all = append(all, "account_id = "+b.arg(account))
	}
	for _, c := range q.Where {
		all = append(all, b.condition(c))
	}
	if len(q.Search) > 0 {
		all = append(all, b.condition(Either(q.Search...)))
	}
	if len(all) == 0 {
		return ""
	}
	return "WHERE " + strings.Join(all, " AND ")
}

func (b *builder) order(t table, q Query) string {
	var by []string
	for _, o := range q.Sort {
		s := b.column(o.Column)
		if o.Descending {
			s += " DESC"
		}
		by = append(by, s)
	}
	for _, c := range []string{"seq", "created_at", t.id} {
		if slices.Contains(b.columns, c) && !slices.ContainsFunc(q.Sort, func(o Order) bool { return o.Column == c }) {
			by = append(by, c)
		}
	}
	return " ORDER BY " + strings.Join(by, ", ")
}

func list[T any, P pointer[T]](ctx context.Context, tx *Tx, account string, q Query) (Page[T], error) {
	var page Page[T]
	m := P(new(T))
	t := m.table()
	b := &builder{columns: columns(m.fields(), false)}
	where := b.conditions(account, t.global, q)
	order := b.order(t, q)
	if b.err != nil {
		return page, b.err
	}
	all := &builder{columns: b.columns}
	var err error
	if page.Total, err = count(ctx, tx, t, all.conditions(account, t.global, Query{}), all.args); err != nil {
		return page, err
	}
	page.Filtered = page.Total
	if len(q.Where)+len(q.Search) > 0 {
		if page.Filtered, err = count(ctx, tx, t, where, b.args); err != nil {
			return page, err
		}
	}
	if q.Limit > 0 {
		order += " LIMIT " + b.arg(int64(q.Limit)) + " OFFSET " + b.arg(int64(q.Offset))
	}
	rows, err := query[T, P](ctx, tx, where+order, b.args...)
	if err != nil {
		return page, err
	}
	for _, r := range rows {
		page.Items = append(page.Items, (*T)(r))
	}
	return page, nil
}

// find returns the rows for which every condition holds, in the table's order.
func find[T any, P pointer[T]](ctx context.Context, tx *Tx, account string, conditions []Condition) ([]*T, error) {
	m := P(new(T))
	t, q := m.table(), Query{Where: conditions}
	b := &builder{columns: columns(m.fields(), false)}
	where := b.conditions(account, t.global, q) + b.order(t, q)
	if b.err != nil {
		return nil, b.err
	}
	rows, err := query[T, P](ctx, tx, where, b.args...)
	if err != nil {
		return nil, err
	}
	out := make([]*T, len(rows))
	for i, r := range rows {
		out[i] = (*T)(r)
	}
	return out, nil
}

func count(ctx context.Context, tx *Tx, t table, where string, args []any) (int, error) {
	var n int
	if err := tx.q.QueryRowContext(ctx, "SELECT COUNT(*) FROM "+t.name+" "+where, args...).Scan(&n); err != nil {
		return 0, fmt.Errorf("%s: %w", t.kind, classify(err))
	}
	return n, nil
}
