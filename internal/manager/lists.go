package manager

import (
	"slices"
	"strings"

	"hitoku.dev/internal/manager/store"
	"hitoku.dev/internal/wire"
)

// maxLimit is how many items one list reply holds.
const maxLimit = 1000

// ListOptions are what every list call takes.
type ListOptions struct {
	Limit, Offset int    // Limit 0 means as many as one reply holds
	SortBy        string // "key1:ASC,key2:DESC"
	AllSearch     string // matched against the fields that people read
	Filter        string // JSON object: key to value, or to list of values; see filter
}

// columns says which column of the store a published key stands for.
type columns map[string]string

// query turns list options into a query. sortable names the keys that may be
// sorted by, filterable those that Filter may hold, searched the columns that
// AllSearch looks into.
func (l ListOptions) query(sortable, filterable columns, searched ...string) (store.Query, error) {
	q := store.Query{Limit: l.Limit, Offset: l.Offset}
	if l.Limit < 0 || l.Offset < 0 {
		return q, invalid(CodeInvalidValue, "limit and offset must not be negative")
	}
	if q.Limit == 0 || q.Limit > maxLimit {
		q.Limit = maxLimit
	}
	if l.AllSearch != "" {
		for _, c := range searched {
			q.Search = append(q.Search, store.Like(c, l.AllSearch))
		}
	}
	for part := range strings.SplitSeq(l.SortBy, ",") {
		if part == "" {
			continue
		}
		key, direction, _ := strings.Cut(strings.TrimSpace(part), ":")
		column, ok := sortable[key]
		if !ok {
			return q, invalid(CodeInvalidValue, "sort_by: %q is none of %s", key, strings.Join(keysOf(sortable), ", "))
		}
		switch strings.ToUpper(direction) {
		case "ASC", "":
			q.Sort = append(q.Sort, store.Order{Column: column})
		case "DESC":
			q.Sort = append(q.Sort, store.Order{Column: column, Descending: true})
		default:
			return q, invalid(CodeInvalidValue, "sort_by: direction %q is neither ASC nor DESC", direction)
		}
	}
	if l.Filter != "" {
		where, err := filter(l.Filter, filterable)
		if err != nil {
			return q, err
		}
		q.Where = append(q.Where, where...)
	}
	return q, nil
}

func keysOf(c columns) []string {
	var keys []string
	for k := range c {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// like adds a condition for each column whose wanted part is not empty.
func like(q *store.Query, parts columns) {
	for _, c := range keysOf(parts) {
		if parts[c] != "" {
			q.Where = append(q.Where, store.Like(c, parts[c]))
		}
	}
}

func metadata(q store.Query, total, filtered int) *wire.Metadata {
	return &wire.Metadata{
		Page: q.Offset / q.Limit, Pages: (filtered + q.Limit - 1) / q.Limit, Limit: q.Limit,
		TotalCount: total, FilteredCount: filtered,
	}
}

// page turns stored rows into a list reply.
func page[T, W any](q store.Query, p store.Page[T], each func(*T) (W, error)) (*wire.List[W], error) {
	l := &wire.List[W]{Metadata: metadata(q, p.Total, p.Filtered), Items: make([]W, 0, len(p.Items))}
	for _, row := range p.Items {
		w, err := each(row)
		if err != nil {
			return nil, err
		}
		l.Items = append(l.Items, w)
	}
	return l, nil
}

func containsFold(s, part string) bool {
	return strings.Contains(strings.ToLower(s), strings.ToLower(part))
}
