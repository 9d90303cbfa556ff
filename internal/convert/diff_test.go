package convert

import (
	"strings"
	"testing"
)

func TestDiff(t *testing.T) {
	t.Parallel()
	first := request(t, sample(t))
	a := convertOK(t, first)
	for name, c := range map[string]struct {
		change func(q *Request)
		want   []string // of the differences' names; nil for none
	}{
		"the same":    {func(*Request) {}, nil},
		"environment": {func(q *Request) { q.Options.Env = append(q.Options.Env, "MODE=test") }, []string{"env.fixed["}},
		"folder":      {func(q *Request) { q.Options.ReadWrite = append(q.Options.ReadWrite, "/opt") }, []string{"folders["}},
		"arguments":   {func(q *Request) { q.Options.AllowArgs = true }, []string{"exec.allow_args"}},
		"certificate authority": {func(q *Request) {
			q.Options.CAs = append(q.Options.CAs, CA{Path: "/etc/our-ca.pem", PEM: testCA(t)})
		}, []string{"ca_certificates[", "file /etc/our-ca.pem"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := first
			q.Options.Env, q.Options.ReadWrite = nil, nil
			q.Options.Env = append(q.Options.Env, first.Options.Env...)
			q.Options.ReadWrite = append(q.Options.ReadWrite, first.Options.ReadWrite...)
			q.Output = "oci:" + t.TempDir() + "/out:1"
			c.change(&q)
			convertOK(t, q)
			d, err := Diff(t.Context(), a.Name, q.Output, q.OutputOptions)
			if err != nil {
				t.Fatal(err)
			}
			if d.Same != (c.want == nil) || d.Same != (len(d.Differences) == 0) {
				t.Fatalf("same %v, %d differences: %+v", d.Same, len(d.Differences), d.Differences)
			}
			for _, w := range c.want {
				found := false
				for _, x := range d.Differences {
					found = found || strings.HasPrefix(x.What, w)
					if x.A == x.B {
						t.Errorf("%s: %q is no difference", x.What, x.A)
					}
				}
				if !found {
					t.Errorf("no difference named %s…: %+v", w, d.Differences)
				}
			}
		})
	}
}

func TestDiffRefusals(t *testing.T) {
	t.Parallel()
	q := request(t, sample(t))
	a := convertOK(t, q)
	if _, err := Diff(t.Context(), a.Name, q.Input, q.InputOptions); KindOf(err) != KindPlain {
		t.Errorf("%v, wanted a refusal of the plain image", err)
	}
	if _, err := Diff(t.Context(), "oci:/nowhere:1", a.Name, q.InputOptions); err == nil {
		t.Error("an image that is not there")
	}
}
