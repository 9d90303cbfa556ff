package manager

import (
	"strings"
	"testing"

	"hitoku.dev/internal/manager/store"
)

func TestFilter(t *testing.T) {
	t.Parallel()
	by := columns{"name": "n", "node_id": "id"}
	for _, tc := range []struct {
		in     string
		values int // of all conditions
		want   string
	}{
		{`{}`, 0, ""},
		{`{"name":"a"}`, 1, ""},
		{` {"node_id":["a","b"],"name":"c"} `, 3, ""},
		{`{"name":[]}`, 0, ""},
		{`[]`, 0, "wanted a JSON object"},
		{`name`, 0, "wanted a JSON object"},
		{`{"mac":"a"}`, 0, `"mac" is none of name, node_id`},
		{`{"Name":"a"}`, 0, `"Name" is none of`},
		{`{"name":"a","name":"b"}`, 0, "given twice"},
		{`{"name":1}`, 0, "wanted a text"},
		{`{"name":null}`, 0, "wanted a text"},
		{`{"name":["a",null]}`, 0, "seen null"},
		{`{"name":{"$in":["a"]}}`, 0, "wanted a text"},
		{`{"name":"a"`, 0, "filter: "},
		{`{"name":"a"}{}`, 0, "follows"},
		{`{"name":["` + strings.Repeat(`a","`, maxFilterValues) + `"]}`, 0, "more than"},
	} {
		got, err := filter(tc.in, by)
		if tc.want != "" {
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s: %v, wanted %q", tc.in, err, tc.want)
			}
			continue
		}
		values := 0
		for _, c := range got {
			values += len(c.Values)
		}
		if err != nil || values != tc.values {
			t.Errorf("%s: %+v, %v", tc.in, got, err)
		}
	}
}

func TestListsAreFiltered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	one, two := w.app("one"), w.app("two")
	b := w.build(one, 1)
	w.build(two, 2)
	count := func(n int, err error) int {
		t.Helper()
		w.must(err)
		return n
	}
	apps := func(f string) int {
		l, err := w.m.Apps(ctx, w.admin, ListOptions{Filter: f}, AppFilter{})
		if err == nil && l.Metadata.FilteredCount != len(l.Items) {
			t.Errorf("%s: %+v", f, l.Metadata)
		}
		return count(len(l.Items), err)
	}
	builds := func(f string) int {
		l, err := w.m.Builds(ctx, w.admin, ListOptions{Filter: f}, BuildFilter{})
		return count(len(l.Items), err)
	}
	for f, want := range map[string]int{
		`{"app_id":"` + one.AppID + `"}`: 1, `{"name":["one","two"]}`: 2, `{"name":["one"],"app_id":["` + two.AppID + `"]}`: 0, `{"name":[]}`: 0, `{}`: 2,
	} {
		if got := apps(f); got != want {
			t.Errorf("applications by %s: %d, wanted %d", f, got, want)
		}
	}
	for f, want := range map[string]int{
		`{"app_id":"` + one.AppID + `"}`: 1, `{"build_id":["` + b.BuildID + `"]}`: 1, `{"status":"PENDING"}`: 2, `{"status":"WHITELISTED"}`: 0,
	} {
		if got := builds(f); got != want {
			t.Errorf("builds by %s: %d, wanted %d", f, got, want)
		}
	}
	tasks, err := w.m.Tasks(ctx, w.admin, ListOptions{Filter: `{"entity_id":"` + b.BuildID + `"}`}, TaskFilter{})
	w.must(err)
	if len(tasks.Items) != 1 || tasks.Items[0].TaskID != b.PendingTaskID {
		t.Errorf("tasks %+v", tasks.Items)
	}
	_, err = w.m.Nodes(ctx, w.admin, ListOptions{Filter: `{"status":"RUNNING"}`}, NodeFilter{})
	refused(t, "a key that is none", err, Invalid, CodeInvalidValue)
	nodes, err := w.m.Nodes(ctx, w.admin, ListOptions{Filter: `{"node_id":["x"]}`}, NodeFilter{})
	w.must(err)
	users, err := w.m.Users(ctx, w.admin, ListOptions{Filter: `{"user_email":"admin@example.org"}`})
	w.must(err)
	nobody, err := w.m.Users(ctx, w.admin, ListOptions{Filter: `{"user_email":"nobody@example.org"}`})
	w.must(err)
	if len(nobody.Items) != 0 {
		t.Errorf("users %+v", nobody.Items)
	}
	accounts, err := w.m.Accounts(ctx, w.admin, ListOptions{Filter: `{"name":"nobody"}`}, false)
	w.must(err)
	if len(nodes.Items) != 0 || len(users.Items) != 1 || len(accounts.Items) != 0 {
		t.Errorf("nodes %+v, users %+v, accounts %+v", nodes.Items, users.Items, accounts.Items)
	}
}

func FuzzFilter(f *testing.F) {
	for _, s := range []string{`{"name":"a"}`, `{"name":["a","b"],"node_id":[]}`, `{"mac":"x"}`, `{"name":null}`, `[`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		where, err := filter(text, columns{"name": "n", "node_id": "id"})
		if err != nil {
			return
		}
		for _, c := range where {
			if c.Column != "n" && c.Column != "id" || c.Op != store.In || len(c.Values) > maxFilterValues {
				t.Errorf("%q: %+v", text, c)
			}
		}
	})
}
