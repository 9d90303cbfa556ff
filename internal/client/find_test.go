package client

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestFind(t *testing.T) {
	t.Parallel()
	things := []object{
		{id: "aaaa1111-0000-4000-8000-000000000000", name: "web"},
		{id: "aaaa2222-0000-4000-8000-000000000000", name: "api", digest: "beef" + strings.Repeat("0", 60)},
		{id: "bbbb3333-0000-4000-8000-000000000000", name: "twin"},
		{id: "cccc4444-0000-4000-8000-000000000000", name: "twin"},
		{id: "dddd5555-0000-4000-8000-000000000000", name: "aaaa"}, // a name that another's id begins with
		{id: "eeee6666-0000-4000-8000-000000000000"},
	}
	for _, tc := range []struct {
		name string
		want int // index, or -1
		says string
	}{
		{"web", 0, ""},
		{things[1].id, 1, ""},
		{"aaaa1", 0, ""},
		{"AAAA1", 0, ""},
		{"aaaa", 4, ""},
		{"beef0", 1, ""},
		{"BEEF" + strings.Repeat("0", 60), 1, ""},
		{"aaaa1111-0000-4000-8000-0000000000001", -1, "no thing is called"},
		{"aaa", -1, `no thing is called "aaa"; there are: web, api, twin, twin, aaaa, eeee6666-`},
		{"WEB", -1, "no thing is called"},
		{"", -1, "no thing is called"},
		{"twin", -1, `thing "twin" stands for several: ` + things[2].id + ", " + things[3].id + "; give the id"},
	} {
		got, err := find("thing", tc.name, things, func(o object) object { return o })
		switch {
		case tc.want >= 0 && (err != nil || got != things[tc.want]):
			t.Errorf("%q: %v and %v, wanted %v", tc.name, got, err, things[tc.want])
		case tc.want < 0 && (err == nil || !strings.Contains(err.Error(), tc.says)):
			t.Errorf("%q: %v and %v, wanted %q", tc.name, got, err, tc.says)
		}
	}
	_, err := find("thing", "aaaa-", things[:2], func(o object) object { return o })
	var missing *NotFoundError
	if !errors.As(err, &missing) {
		t.Errorf("%T", err)
	}
	_, err = find("thing", "aaaa", things[:2], func(o object) object { return o })
	var ambiguous *AmbiguousError
	if !errors.As(err, &ambiguous) || len(ambiguous.IDs) != 2 {
		t.Errorf("the beginning of two ids: %v", err)
	}
}

func TestNotFoundNames(t *testing.T) {
	t.Parallel()
	_, err := find("node", "n", []object(nil), func(o object) object { return o })
	if err == nil || err.Error() != `no node is called "n"; there are none yet` {
		t.Error(err)
	}
	var many []object
	for i := range 30 {
		many = append(many, object{id: fmt.Sprint(i), name: fmt.Sprintf("n%d", i)})
	}
	_, err = find("node", "n", many, func(o object) object { return o })
	if err == nil || !strings.HasSuffix(err.Error(), ", n18, n19 and 10 more") {
		t.Error(err)
	}
}
